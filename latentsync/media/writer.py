"""Writes video: one H.264 encode with the voice as its sound. The file appears only when it is complete."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.reformatter import ColorRange

from latentsync.arrays import Frame
from latentsync.config import SOUNDS
from latentsync.constants import VIDEO_RATE_HZ
from latentsync.errors import MediaError, OptionError, did_you_mean
from latentsync.files import whole_file
from latentsync.media.container import exact_rate
from latentsync.media.encoder import steady_options
from latentsync.media.sound_track import SoundTrack
from latentsync.media.yuv import YuvConverter

FINEST_CLOCK_HZ = 2_000_000  # of pictures; MP4 counts in 32 bits

_COLORSPACE_BT709 = 1  # AVCOL_SPC_BT709, and likewise for primaries and transfer


class VideoWriter:
    """Writes one H.264 MP4 with a sound. A context manager: the file appears if the block succeeds.

    Pictures: they are encoded once, as 4:2:0 in BT.709 limited range, with matching flags. The index is at the front of
    the file. H.264 in 4:2:0 needs even sizes, so the last row or column of an odd size is cropped. The first frame is
    at time 0. The same frames and arguments give the same bytes, see `encoder`.

    Sound: it begins with the first frame, as `sound.placed_sound` gives it, and is never stretched. It is cut at the
    end of the video only if it is longer by more than one frame; a copied sound is cut after the packet that reaches
    the end (at most 26 ms later for AAC and MP3 of 44.1 kHz). `sound_coding` chooses how it is stored:
    "auto": AAC-LC is copied packet by packet, and all else becomes AAC of its own rate and channels, so that phones and
    editors play it. A rate that AAC lacks becomes the next higher one, a rate above 48 kHz becomes 48 kHz.
    "copy": AAC, MP3, Opus, FLAC, ALAC, AC-3 and E-AC-3 are copied, the rest is as in "auto".
    "lossless": AAC and MP3 are copied, all else becomes FLAC of its own rate and channels. This is exact for sources of
    up to 24 bits (32 bit and float become 24 bit). Many phones and editors do not play it.
    MP3 below 16 kHz is never copied, because MP4 cannot hold it. Sound that starts late or early or has holes is not
    copied either, because the copy would play otherwise, nor is sound with `pads_sound`.

    The file is written beside its place under a hidden name and renamed when it is complete. An exception removes it.

    Args:
        path: of the MP4. Its folder must exist; a file of that name is replaced.
        width, height: of the frames, in px.
        crf: constant rate factor, 0 (lossless) .. 51.
        preset: of x264, ultrafast .. veryslow; slower presets make smaller files.
        sound: a sound file or a video with sound; None for a silent video.
        title, comment: metadata of the file; `comment` should say that the video is synthetic.
        sound_coding: one of `config.SOUNDS`, see above.
        times_s: for frames without a constant rate, when each begins, and when the last one ends, from 0 on;
            `rate_hz` is then not used.
        pads_sound: whether silence follows a sound that is shorter than the video, to the video's end.
        sound_track: which of several sound tracks, see `container.sound_stream_of`.

    Raises:
        OptionError: a side is shorter than 2 px, or `sound_coding` is unknown.
        MediaError: the folder is missing or cannot be written, no frame was written, or the sound cannot be read or
            has more than 8 channels.
    """

    def __init__(
        self,
        path: Path | str,
        width: int,
        height: int,
        rate_hz: float = VIDEO_RATE_HZ,
        crf: int = 18,
        sound: Path | str | None = None,
        title: str | None = None,
        comment: str | None = None,
        preset: str = "medium",
        sound_coding: str = "auto",
        times_s: Sequence[Fraction] | None = None,
        pads_sound: bool = False,
        sound_track: int | None = None,
    ) -> None:
        self.path = Path(os.path.abspath(path))
        self.width, self.height = width, height
        self.rate = exact_rate(rate_hz) if times_s is None else _average_rate(times_s)
        self.times_s, self.pads_sound = times_s, pads_sound
        self.crf, self.preset = crf, preset
        self.sound, self.sound_coding, self.sound_track = sound, sound_coding, sound_track
        self.metadata = {name: text for name, text in (("title", title), ("comment", comment)) if text}
        self.num_frames = self._num_stored = 0
        self._converter = YuvConverter(width, height)
        self._output, self._track = None, None
        self._whole = whole_file(self.path)
        if width < 2 or height < 2:
            raise OptionError(f"a video of {width} x {height} px cannot be written; each side must be at least 2 px")
        if sound_coding not in SOUNDS:
            raise OptionError(f"sound_coding {sound_coding!r} is unknown; {did_you_mean(str(sound_coding), SOUNDS)}")

    def rehearse(self) -> None:
        """Opens the file, the encoders and the sound, then removes the file. Takes no frame; the writer is used up.

        It raises what a block with this writer would raise before its first frame, so a target and a voice can be
        checked before anything is computed for them.
        """
        with suppress(_RehearsalOverError), self:
            raise _RehearsalOverError

    def __enter__(self) -> "VideoWriter":
        if not self.path.parent.is_dir():
            raise MediaError(f"the folder {self.path.parent} does not exist; create it first")
        if self.path.is_dir():
            raise MediaError(f"{self.path} is a folder; give the name of a file")
        with self._removed_on_error():
            self._output = av.open(str(self._whole.__enter__()), "w", format="mp4", options={"movflags": "+faststart"})
            self._output.metadata.update(self.metadata)
            self._video = self._add_video()
            if self.sound is not None:
                settings = self.sound_coding, self.pads_sound, self.sound_track
                self._track = SoundTrack(self._output, Path(self.sound), *settings)
            self._open_encoders()
        return self

    def _open_encoders(self) -> None:
        try:
            self._output.start_encoding()
        except (av.error.ArgumentError, av.error.ExternalError) as error:
            sound = "" if self._track is None else f", or the sound of {self.sound} ({self._track.info.codec})"
            raise MediaError(
                f"{self.path} cannot hold pictures of {self.width} x {self.height} px{sound} ({error.strerror}); "
                f"make the pictures smaller{', or convert the sound to WAV' if sound else ''}"
            ) from error

    def _add_video(self) -> av.VideoStream:
        options = {"crf": str(self.crf), "preset": self.preset, **steady_options()}
        if self.times_s is not None:
            options["bf"] = "0"  # MP4 stores how long a frame lasts in the order of decoding
        stream = self._output.add_stream("libx264", rate=self.rate, options=options)
        stream.width, stream.height = self.width // 2 * 2, self.height // 2 * 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = 1 / self.rate if self.times_s is None else _time_base(self.times_s)
        context.colorspace = context.color_primaries = context.color_trc = _COLORSPACE_BT709
        context.color_range = ColorRange.MPEG
        return stream

    def write(self, frame: Frame) -> None:
        """Appends one frame, uint8 RGB `(height, width, 3)`."""
        if frame.shape != (self.height, self.width, 3) or frame.dtype != np.uint8:
            raise ValueError(
                f"the frame is {frame.dtype} {frame.shape}; the video takes uint8 {(self.height, self.width, 3)}"
            )
        with self._removed_on_error():
            converted = self._converter(frame)
        self.write_converted(converted)

    def write_converted(self, yuv: av.VideoFrame) -> None:
        """Appends one frame that a `YuvConverter` of this size has converted. Several writers may take the same one."""
        yuv.time_base = self._video.codec_context.time_base
        yuv.pts = round(self._time_s(self.num_frames) / yuv.time_base)
        with self._removed_on_error():
            self._mux(self._video.encode(yuv))
            self.num_frames += 1
            if self._track is not None:
                self._track.advance(self._time_s(self.num_frames))

    def _mux(self, packets: list[av.Packet]) -> None:
        """Stores encoded frames. Without a constant rate each says how long it lasts."""
        for packet in packets:
            if self.times_s is not None:
                length_s = self._time_s(self._num_stored + 1) - self._time_s(self._num_stored)
                packet.duration = round(length_s / packet.time_base)
            self._num_stored += 1
            self._output.mux(packet)

    def _time_s(self, number: int) -> Fraction:
        """When a frame begins; it is also when the one before ends."""
        return number / self.rate if self.times_s is None else self.times_s[number]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._discard(error)
            return
        with self._removed_on_error():
            self._complete()

    def _complete(self) -> None:
        if self.num_frames == 0:
            raise MediaError(f"{self.path} was not written because no frame came; write at least one")
        self._mux(self._video.encode())
        if self._track is not None:
            end_s = self._time_s(self.num_frames)
            self._track.finish(end_s, end_s - self._time_s(self.num_frames - 1))
        self._output.close()
        self._whole.__exit__(None, None, None)

    @contextmanager
    def _removed_on_error(self) -> Iterator[None]:
        """Removes the unfinished file on any exception; turns errors of FFmpeg and the system into a MediaError."""
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            self._discard(error)
            raise unwritable(self.path, error) from error
        except BaseException as error:
            self._discard(error)
            raise

    def _discard(self, error: BaseException) -> None:
        """Closes all streams and removes the unfinished file; failures to close are ignored."""
        with suppress(av.FFmpegError, OSError, ValueError):
            if self._track is not None:
                self._track.close()
            if self._output is not None:
                self._output.close()
        self._whole.__exit__(type(error), error, error.__traceback__)


def unwritable(path: Path, error: OSError | av.FFmpegError) -> MediaError:
    """The error for a file that FFmpeg or the system cannot write."""
    return MediaError(
        f"{path} cannot be written ({error.strerror}); check the disk's space and the folder's permissions"
    )


def _average_rate(times_s: Sequence[Fraction]) -> Fraction:
    return max(Fraction(1, 1001), Fraction((len(times_s) - 1) / times_s[-1]).limit_denominator(1001))


def _time_base(times_s: Sequence[Fraction]) -> Fraction:
    """A unit in which all times are whole numbers, or one of 1/90000 s if that were too fine for the file."""
    units = math.lcm(*{time_s.denominator for time_s in times_s})
    return Fraction(1, units if units <= FINEST_CLOCK_HZ else 90_000)


class _RehearsalOverError(Exception):
    """Ends the block of a rehearsal, so that nothing is kept."""
