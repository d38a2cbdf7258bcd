"""Video and sound files: frames at a constant rate, 16 kHz mono sound, and one encode with the sound as given.

Everything goes through FFmpeg's libraries (PyAV) inside this process: no program is started, so a path may hold any
character. Reading is streamed: what is held in memory does not depend on the length of the clip. Knows nothing of faces
or models.

Conventions: frames are uint8 RGB `(h, w, 3)` as a player shows them, that is after the file's rotation and with square
pixels; sound is float32 mono, -1..1. Times are relative to the first frame of the video stream, or to the first audible
sample of the sound.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain, dropwhile
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter

from latentsync.errors import MediaError, OptionError
from latentsync.shapes import Frame, Waveform

VIDEO_RATE_HZ = 25.0  # the rate the models were trained at
SOUND_RATE_HZ = 16000  # the rate Whisper listens at
REVERSED_BLOCK_FRAMES = 32  # decoded together when frames are wanted backwards
REVERSED_BLOCK_BYTES = 128 << 20  # and at most so much memory
AAC_BIT_RATE = 192_000
AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)

# swscale's default YUV -> RGB path rounds down: measured on 1080x1920 frames it darkens luma by 1.15 levels of 255.
# These flags have no bias (0.00), and BITEXACT gives the same pixels on every processor.
_TO_RGB = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
# Left unsaid, swscale centres the chroma samples, but H.264 means the left ones: edges would turn coloured.
_TO_YUV = "out_color_matrix=bt709:out_range=tv:out_chroma_loc=left:flags=area+full_chroma_inp+accurate_rnd+bitexact"

_COLORSPACE_BT709 = 1  # AVCOL_SPC_BT709, and likewise for primaries and transfer
_COLORSPACE_UNSPECIFIED = 2
_HDR_TRANSFERS = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)  # PQ, HLG
_LOCAL_ONLY = {"protocol_whitelist": "file"}  # a playlist that poses as a clip must not reach the network

_COARSE_CLOCK = Fraction(1, 8000)  # Matroska's milliseconds: too coarse to place samples
_COPIED_SOUND = ("aac", "mp3")
_LOSSLESS_SOUND = ("flac", "alac", "wavpack", "tta", "ape", "mlp", "truehd", "tak", "als", "shorten")
_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")  # by number of channels, as FLAC names them


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    Attributes:
        width, height: in px as displayed, after rotation.
        duration_s: from the first frame to the end of the last.
        source_rate_hz: average rate of the file's own frames.
        num_frames: at the constant rate asked for.
        rotation: degrees clockwise that the file asks to be turned: 0, 90, 180 or 270. `width`, `height` and every
            frame read have it applied.
        has_sound: whether there is a sound stream.
    """

    path: Path
    width: int
    height: int
    duration_s: float
    source_rate_hz: float
    num_frames: int
    rotation: int
    has_sound: bool


@dataclass(frozen=True)
class SoundInfo:
    """What a sound file, or the sound track of a video, holds; `num_samples` per channel, counted by decoding."""

    path: Path
    duration_s: float
    rate_hz: int
    channels: int
    codec: str
    num_samples: int


# ---- opening and decoding ----


def _check_file(path: Path) -> None:
    if not path.exists():
        raise MediaError(f"{path} does not exist; check the path")
    if path.is_dir():
        raise MediaError(f"{path} is a folder; give a video or sound file")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes); copy or download it again")


def _open(path: Path | str) -> av.container.InputContainer:
    """Opens a file of any known format, or says in one sentence why not."""
    _check_file(Path(path))
    try:
        # An absolute path is never taken for an option or a protocol ("-a.mp4", "http:a.mp4").
        return av.open(os.path.abspath(path), options=_LOCAL_ONLY, metadata_errors="ignore")
    except (av.FFmpegError, OSError) as error:
        raise MediaError(
            f"{path} cannot be read as a video or sound file ({error.strerror}); "
            f"check that it is complete and plays, or convert it to MP4 or WAV"
        ) from error


def _video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    stream = container.streams.best("video")
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        raise MediaError(f"{path} has no video stream; give a file with moving pictures as the clip")
    stream.thread_type = "AUTO"
    return stream


def _sound_stream(container: av.container.InputContainer, path: Path) -> av.AudioStream:
    stream = container.streams.best("audio")
    if stream is None:
        raise MediaError(f"{path} has no sound stream; give a file with sound as the voice")
    return stream


def _packets(container: av.container.InputContainer, stream: av.stream.Stream) -> Iterator[av.Packet]:
    """The stream's packets; a read error in the file is its end, as it is for ffmpeg."""
    try:
        yield from container.demux(stream)
    except av.FFmpegError:
        return


def _decode(packets: Iterator[av.Packet]) -> Iterator[Any]:
    """The packets' frames; a broken packet is left out and decoding goes on, as in ffmpeg."""
    for packet in packets:
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            continue
        yield from frames


# ---- video in ----


@dataclass(frozen=True)
class _Timeline:
    """When each source frame is shown, from the file's packets alone, and how its pixels become a picture.

    Attributes:
        pts: of all shown frames, sorted, in units of `time_base`.
        end: when the last frame ends.
        keys: pts of all keyframes.
        is_counted: the file does not say when a frame is shown; then the k-th decoded frame is at `pts[k]`.
        size: (width, height) of the coded picture with square pixels, before rotation.
        orientation: 2x2 signs of the display matrix, None where the picture is upright.
    """

    pts: np.ndarray
    end: int
    keys: frozenset
    time_base: Fraction
    is_counted: bool
    size: tuple[int, int]
    orientation: tuple[int, int, int, int] | None
    source_rate_hz: float
    has_sound: bool

    def slot(self, pts: int, rate: Fraction) -> int:
        """The output frame at which a source frame is first shown: its time rounded to the nearest, halves up."""
        return math.floor((pts - int(self.pts[0])) * self.time_base * rate + Fraction(1, 2))

    def num_frames(self, rate: Fraction) -> int:
        return max(1, self.slot(self.end, rate))

    def last_pts_in(self, slot: int, rate: Fraction) -> int:
        """The source frame that output frame `slot` shows."""
        bound = int(self.pts[0]) + math.ceil((slot + Fraction(1, 2)) / (rate * self.time_base))
        return int(self.pts[max(0, np.searchsorted(self.pts, bound, side="left") - 1)])


def _timeline(path: Path | str) -> _Timeline:
    """The file's timeline; remembered for as long as the file's size and time stay the same."""
    _check_file(Path(path))
    status = os.stat(path)
    return _scan(Path(os.path.abspath(path)), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _scan(path: Path, size: int, changed_ns: int) -> _Timeline:
    """Reads all packets (without decoding them) and the first frame."""
    with _open(path) as container:
        stream = _video_stream(container, path)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        time_base = stream.time_base or 1 / rate
        times, keys = [], set()
        for packet in _packets(container, stream):
            if packet.is_keyframe:
                keys.add(packet.pts)
            if packet.size and not packet.is_discard:
                times.append((packet.pts, packet.dts, packet.duration))
        # AVI keeps no order of display: with B-frames its times are guesses, so frames are counted.
        is_unordered = container.format.name == "avi" and stream.codec_context.has_b_frames
        aspect = stream.sample_aspect_ratio or Fraction(1)
        has_sound = container.streams.best("audio") is not None
    frame = _first_frame(path)
    pts, end, is_counted = _shown_times(times, max(1, round(1 / (rate * time_base))), is_unordered)
    size_px, orientation = _square_size(frame, aspect), _orientation(frame)
    return _Timeline(pts, end, frozenset(keys), time_base, is_counted, size_px, orientation, float(rate), has_sound)


def _first_frame(path: Path) -> av.VideoFrame:
    with _open(path) as container:
        frame = next(_decode(_packets(container, _video_stream(container, path))), None)
    if frame is None:
        raise MediaError(f"no frame of {path} can be decoded; check that it is complete and plays")
    return frame


def _shown_times(times: list[tuple], frame_length: int, is_unordered: bool) -> tuple[np.ndarray, int, bool]:
    """(pts sorted, end, is_counted) of packets' (pts, dts, duration); counts frames where the pts are of no use."""
    is_counted = is_unordered or any(pts is None for pts, _, _ in times)
    if not is_counted:
        end = max(pts + (duration or frame_length) for pts, _, duration in times)
        return np.array(sorted(pts for pts, _, _ in times), dtype=np.int64), end, False
    if all(dts is not None for _, dts, _ in times):
        pts = np.array(sorted(dts for _, dts, _ in times), dtype=np.int64)
    else:
        pts = np.arange(len(times), dtype=np.int64) * frame_length
    return pts, int(pts[-1]) + frame_length, True


def _square_size(frame: av.VideoFrame, aspect: Fraction) -> tuple[int, int]:
    """(width, height) with the pixels made square by widening or narrowing the picture."""
    return max(2, round(frame.width * aspect)), frame.height


def _orientation(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """Signs (a, b, c, d) of the display matrix, rounded to quarter turns: x' = a x + c y, y' = b x + d y."""
    data = frame.side_data.get(SideDataType.DISPLAYMATRIX)
    if data is None:
        return None
    a, b, _, c, d, *_ = (int(value) for value in np.frombuffer(bytes(data), dtype="<i4"))
    turned = abs(b) > abs(a)
    signs = (0, _sign(b), _sign(c), 0) if turned else (_sign(a), 0, 0, _sign(d))
    return None if signs == (1, 0, 0, 1) else signs


def _sign(value: int) -> int:
    return -1 if value < 0 else 1


def _upright(picture: Frame, orientation: tuple[int, int, int, int] | None) -> Frame:
    """Turns and mirrors a coded picture by quarter turns so that it stands as a player shows it."""
    if orientation is None:
        return picture
    a, b, c, d = orientation
    if a == 0:
        picture = picture.transpose(1, 0, 2)
    return np.ascontiguousarray(picture[:: b or d, :: a or c])


def _rotation(orientation: tuple[int, int, int, int] | None) -> int:
    """Degrees clockwise of an orientation, its mirroring left aside."""
    a, b, _, _ = orientation or (1, 0, 0, 1)
    return {(1, 0): 0, (0, 1): 90, (-1, 0): 180, (0, -1): 270}[a, b]


def _to_rgb(frame: av.VideoFrame, timeline: _Timeline, converter: VideoReformatter) -> Frame:
    """One decoded frame as upright RGB.

    The file's colour flags are followed. Without a matrix flag HD is taken as BT.709 and smaller pictures as BT.601, as
    players do. PQ and HLG (HDR) are mapped to BT.709; other transfers are left as they are, as ffmpeg does.
    """
    width, height = timeline.size
    options: dict[str, Any] = {}
    if frame.colorspace == _COLORSPACE_UNSPECIFIED and not frame.format.is_rgb and _is_hd(frame):
        options["src_colorspace"] = Colorspace.ITU709
    if frame.color_trc in _HDR_TRANSFERS:
        options |= {"dst_color_trc": ColorTrc.BT709, "dst_color_primaries": ColorPrimaries.BT709}
    picture = converter.reformat(frame, width, height, "rgb24", interpolation=_TO_RGB, **options)
    return _upright(picture.to_ndarray(), timeline.orientation)


def _is_hd(frame: av.VideoFrame) -> bool:
    return max(frame.width, frame.height) >= 1280 or min(frame.width, frame.height) > 576


def _exact_rate(rate_hz: float) -> Fraction:
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise OptionError(f"rate_hz is {rate_hz}; it must be a finite number above 0 (25 is the usual choice)")
    return Fraction(rate_hz).limit_denominator(100_000)


def probe(path: Path | str, rate_hz: float = VIDEO_RATE_HZ) -> VideoInfo:
    """What a video file holds; reads its packets and decodes its first frame.

    Raises:
        MediaError: the file is missing, unreadable or empty, has no video stream, or no decodable frame.
    """
    timeline = _timeline(path)
    rotation = _rotation(timeline.orientation)
    width, height = timeline.size if rotation % 180 == 0 else timeline.size[::-1]
    return VideoInfo(
        path=Path(path),
        width=width,
        height=height,
        duration_s=float((timeline.end - int(timeline.pts[0])) * timeline.time_base),
        source_rate_hz=timeline.source_rate_hz,
        num_frames=timeline.num_frames(_exact_rate(rate_hz)),
        rotation=rotation,
        has_sound=timeline.has_sound,
    )


def read_frames(
    path: Path | str, rate_hz: float = VIDEO_RATE_HZ, start: int = 0, stop: int | None = None
) -> Iterator[Frame]:
    """Streams frames `start` .. `stop` - 1 of a clip at a constant rate, uint8 RGB `(h, w, 3)`.

    Output frame i is the last source frame shown before (i + 1/2) / rate, times counted from the first frame: ffmpeg's
    rule `fps=rate:round=near`. There are `probe(path, rate_hz).num_frames` of them. `stop` is clipped to that number,
    as in slicing. A `start` in the middle seeks to the keyframe before it and gives the same pixels as skipping does.

    Raises:
        MediaError: as `probe`.
        OptionError: a rate of 0 or less, or a negative `start` or `stop`.
    """
    rate = _exact_rate(rate_hz)
    if start < 0 or (stop is not None and stop < 0):
        raise OptionError(f"start is {start} and stop is {stop}; frames are counted from 0")
    timeline = _timeline(path)
    total = timeline.num_frames(rate)
    return _stream_frames(Path(path), timeline, rate, start, total if stop is None else min(stop, total))


def _stream_frames(path: Path, timeline: _Timeline, rate: Fraction, start: int, stop: int) -> Iterator[Frame]:
    """Holds each source frame until the next one's slot; only frames that are shown are converted."""
    if start >= stop:
        return
    held, cursor, converter = None, start, VideoReformatter()
    for pts, frame in _timed_frames(path, timeline, timeline.last_pts_in(start, rate)):
        if held is not None:
            upto = min(timeline.slot(pts, rate), stop)
            yield from _repeated(held, upto - cursor, timeline, converter)
            cursor = max(cursor, upto)
        if cursor >= stop:
            return
        held = frame
    if held is None:
        raise MediaError(f"frame {start} of {path} cannot be decoded; check that the file is complete and plays")
    yield from _repeated(held, stop - cursor, timeline, converter)


def _repeated(frame: av.VideoFrame, count: int, timeline: _Timeline, converter: VideoReformatter) -> Iterator[Frame]:
    """One frame `count` times, each an array of its own so that a caller may write into it."""
    if count <= 0:
        return
    picture = _to_rgb(frame, timeline, converter)
    for _ in range(count - 1):
        yield picture.copy()
    yield picture


def _timed_frames(path: Path, timeline: _Timeline, first_pts: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """(pts, frame) in the order shown, from the source frame at `first_pts` or one before it."""
    can_seek = not timeline.is_counted and first_pts > timeline.pts[0]
    for is_sought in (True, False) if can_seek else (False,):
        with _open(path) as container:
            stream = _video_stream(container, path)
            packets = (
                _packets_from(container, stream, first_pts, timeline.keys) if is_sought else _packets(container, stream)
            )
            if packets is None:
                continue
            frames = _decode(packets)
            if timeline.is_counted:
                yield from zip(timeline.pts.tolist(), frames, strict=False)
            else:
                yield from ((frame.pts, frame) for frame in frames if frame.pts is not None)
            return


def _packets_from(
    container: av.container.InputContainer, stream: av.VideoStream, pts: int, keys: frozenset
) -> Iterator[av.Packet] | None:
    """Packets from a keyframe shown at or before `pts`, so that the frame at `pts` decodes exactly; None if none is.

    A container may seek by decoding time and land on a keyframe that is shown later; then it is tried further back. One
    that tells a keyframe's time otherwise after a seek (MPEG-PS does) is not trusted.
    """
    for back_s in (0, 2, 10, 60):
        try:
            container.seek(pts - int(back_s / stream.time_base), stream=stream)
        except av.FFmpegError:
            return None
        packets = dropwhile(lambda packet: not packet.is_keyframe, _packets(container, stream))
        first = next(packets, None)
        if first is not None and first.pts in keys and first.pts <= pts:
            return chain([first], packets)
    return None


def ping_pong(num_out: int, num_in: int) -> np.ndarray:
    """The order in which `num_in` frames are shown to fill `num_out`: forward, backward, forward ...

    The frame at each turn is shown twice, as in the original's `loop_video`; fewer than `num_in` is a plain cut.

    Returns:
        int64 indices, `(num_out,)`.
    """
    if num_in < 1 or num_out < 0:
        raise OptionError(f"num_in is {num_in} and num_out is {num_out}; at least one frame must come in")
    place = np.arange(num_out) % (2 * num_in)
    return np.where(place < num_in, place, 2 * num_in - 1 - place)


def read_frames_in_order(path: Path | str, order: Sequence[int], rate_hz: float = VIDEO_RATE_HZ) -> Iterator[Frame]:
    """Streams the frames `order` of a clip at a constant rate, as `[all_frames[i] for i in order]` would.

    Ascending runs are streamed; descending runs are decoded in blocks of at most 32 frames (fewer for large pictures),
    each after a seek, so memory stays flat for any length.

    Args:
        order: frame numbers, each 0 .. `probe(path, rate_hz).num_frames` - 1; made for `ping_pong`.

    Raises:
        MediaError: as `probe`.
        OptionError: a number out of range.
    """
    order = np.asarray(order, dtype=np.int64)
    info = probe(path, rate_hz)
    if order.size and not (order.min() >= 0 and order.max() < info.num_frames):
        wrong = order.min() if order.min() < 0 else order.max()
        raise OptionError(f"frame {wrong} is asked for; {path} has frames 0 to {info.num_frames - 1} at {rate_hz} Hz")
    fitting = REVERSED_BLOCK_BYTES // (info.width * info.height * 3)
    block = max(1, min(REVERSED_BLOCK_FRAMES, fitting))
    return _stream_in_order(path, order, rate_hz, block)


def _stream_in_order(path: Path | str, order: np.ndarray, rate_hz: float, block: int) -> Iterator[Frame]:
    for run in _monotone_runs(order):
        if run[0] <= run[-1]:
            yield from _picked(read_frames(path, rate_hz, int(run[0]), int(run[-1]) + 1), run - run[0])
            continue
        while run.size:
            part = run[run > run[0] - block]
            yield from _held(path, part, rate_hz)
            run = run[part.size :]


def _held(path: Path | str, order: np.ndarray, rate_hz: float) -> Iterator[Frame]:
    """A short falling run, decoded as a whole; its memory is free again when it ends."""
    low = int(order[-1])
    frames = list(read_frames(path, rate_hz, low, int(order[0]) + 1))
    for index in order:
        yield frames[index - low].copy()


def _monotone_runs(order: np.ndarray) -> Iterator[np.ndarray]:
    """Splits into the longest pieces that only rise or only fall; equal neighbours belong to either."""
    begin, direction = 0, 0
    for place, step in enumerate(np.sign(np.diff(order)), start=1):
        if direction and step == -direction:
            yield order[begin:place]
            begin, direction = place, 0
        else:
            direction = direction or step
    if order.size:
        yield order[begin:]


def _picked(frames: Iterator[Frame], order: np.ndarray) -> Iterator[Frame]:
    """Those of streamed frames whose numbers are in `order`, which rises; a number may come more than once."""
    numbers, counts = np.unique(order, return_counts=True)
    wanted = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    for number, frame in enumerate(frames):
        for _ in range(wanted.get(number, 0) - 1):
            yield frame.copy()
        if number in wanted:
            yield frame


# ---- sound in ----


def probe_sound(path: Path | str) -> SoundInfo:
    """What a sound file or a video's sound track holds; decodes it, so the length is exact for MP3 and AAC too.

    Raises:
        MediaError: the file is missing, unreadable or empty, or has no sound.
    """
    path = Path(path)
    with _open(path) as container:
        stream = _sound_stream(container, path)
        num_samples, rate_hz, channels = 0, 0, 0
        for frame in _decode(_packets(container, stream)):
            num_samples += frame.samples
            rate_hz, channels = frame.sample_rate, frame.layout.nb_channels
        codec = stream.codec_context.codec.canonical_name
    if num_samples == 0:
        raise MediaError(f"{path} holds no sound (0 samples can be decoded); record or convert it again")
    return SoundInfo(path, num_samples / rate_hz, rate_hz, channels, codec, num_samples)


def read_sound(path: Path | str, rate_hz: int = SOUND_RATE_HZ) -> Waveform:
    """The sound of a file as mono, float32 -1..1, `(n,)`: 16 bit through ffmpeg's resampler, divided by 32768.

    This is what `ffmpeg -ac 1 -ar 16000 -f s16le` gives, the original's (Whisper's) `load_audio`.

    Raises:
        MediaError: as `probe_sound`.
    """
    path = Path(path)
    with _open(path) as container:
        stream = _sound_stream(container, path)
        frames = _decode(_packets(container, stream))
        blocks = [frame.to_ndarray()[0] for frame in _resampled(frames, "s16", "mono", rate_hz)]
    samples = np.concatenate(blocks) if blocks else np.empty(0, np.int16)
    if samples.size == 0:
        raise MediaError(f"{path} holds no sound (0 samples can be decoded); record or convert it again")
    return samples.astype(np.float32) / 32768


def _resampled(
    frames: Iterator[av.AudioFrame], sample_format: str, layout: str, rate_hz: int
) -> Iterator[av.AudioFrame]:
    """Frames in another format; a change of rate or channels on the way starts a new resampler, as in ffmpeg."""
    resampler, setup = None, None
    for frame in frames:
        now = (frame.format.name, frame.layout.name, frame.sample_rate)
        if now != setup:
            if resampler is not None:
                yield from resampler.resample(None)
            resampler, setup = av.AudioResampler(sample_format, layout, rate_hz), now
        frame.pts = None  # gaps in the file's clock are not filled, as with ffmpeg's raw output
        yield from resampler.resample(frame)
    if resampler is not None:
        yield from (rest for rest in resampler.resample(None) if rest is not None)


# ---- video out ----


class VideoWriter:
    """Writes one H.264 MP4 with the voice as given. A context manager: the file appears when the block ends well.

    Pictures: encoded once, 4:2:0, BT.709 limited range and flagged so; the index is at the front of the file. H.264 in
    4:2:0 has even sizes: the last row or column of an odd size is cropped. First frame at time 0.

    Sound: AAC and MP3 are copied packet by packet; PCM, FLAC and other lossless sound is stored as FLAC, exact for
    sources of up to 24 bits (32 bit and float become 24 bit), with its own rate and channels; anything else becomes AAC
    of 192 kb/s. It is cut at the end of the video only where it is longer by more than one frame (a copied sound after
    the packet that reaches the end, 26 ms at most for AAC and MP3 of 44.1 kHz), and never stretched.

    The file is written beside its place as `.NAME.PID.tmp` and renamed when complete; on an exception it is removed.

    Args:
        path: of the MP4; its folder must exist, a file of that name is replaced.
        width, height: of the frames, in px.
        crf: constant rate factor, 0 (lossless) .. 51.
        sound: a sound file or a video with sound; None for a silent video.
        title, comment: metadata of the file; `comment` is the place to say that the video is synthetic.

    Raises:
        MediaError: the folder is missing or cannot be written, no frame was written, or the sound cannot be read.
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
    ) -> None:
        self.path = Path(os.path.abspath(path))
        self.width, self.height = width, height
        self.rate = _exact_rate(rate_hz)
        self.crf = crf
        self.sound = sound
        self.metadata = {name: text for name, text in (("title", title), ("comment", comment)) if text}
        self.num_frames = 0
        self._output, self._track = None, None
        self._part = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        if width < 2 or height < 2:
            raise OptionError(f"a video of {width} x {height} px cannot be written; each side must be at least 2 px")

    def __enter__(self) -> "VideoWriter":
        if not self.path.parent.is_dir():
            raise MediaError(f"the folder {self.path.parent} does not exist; create it first")
        with self._removed_on_error():
            self._output = av.open(str(self._part), "w", format="mp4", options={"movflags": "+faststart"})
            self._output.metadata.update(self.metadata)
            self._video = self._add_video()
            self._to_yuv = _yuv_graph(self._video)
            self._track = _SoundTrack(self._output, Path(self.sound)) if self.sound is not None else None
        return self

    def _add_video(self) -> av.VideoStream:
        stream = self._output.add_stream("libx264", rate=self.rate, options={"crf": str(self.crf)})
        stream.width, stream.height = self.width // 2 * 2, self.height // 2 * 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = 1 / self.rate
        context.colorspace = context.color_primaries = context.color_trc = _COLORSPACE_BT709
        context.color_range = ColorRange.MPEG
        return stream

    def write(self, frame: Frame) -> None:
        """Appends one frame, uint8 RGB `(height, width, 3)`."""
        if frame.shape != (self.height, self.width, 3) or frame.dtype != np.uint8:
            raise ValueError(
                f"the frame is {frame.dtype} {frame.shape}; the video takes uint8 {(self.height, self.width, 3)}"
            )
        even = np.ascontiguousarray(frame[: self._video.height, : self._video.width])
        source = av.VideoFrame.from_numpy_buffer(even, format="rgb24")
        source.pts, source.time_base = self.num_frames, 1 / self.rate
        with self._removed_on_error():
            self._to_yuv.vpush(source)
            self._output.mux(self._video.encode(self._to_yuv.vpull()))
            self.num_frames += 1
            if self._track is not None:
                self._track.advance(self.num_frames / self.rate)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        with self._removed_on_error():
            self._complete()

    def _complete(self) -> None:
        if self.num_frames == 0:
            raise MediaError(f"{self.path} was not written because no frame came; write at least one")
        self._output.mux(self._video.encode())
        if self._track is not None:
            self._track.finish(self.num_frames / self.rate, 1 / self.rate)
        self._output.close()
        os.replace(self._part, self.path)

    @contextmanager
    def _removed_on_error(self) -> Iterator[None]:
        """Removes the unfinished file on any exception; says FFmpeg's and the system's errors in a sentence."""
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            self._discard()
            raise MediaError(
                f"{self.path} cannot be written ({error.strerror}); check the disk's space and the folder's permissions"
            ) from error
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        """Closes what is open and removes the unfinished file; what goes wrong in that has no bearing."""
        with suppress(av.FFmpegError, OSError, ValueError):
            if self._track is not None:
                self._track.close()
            if self._output is not None:
                self._output.close()
        self._part.unlink(missing_ok=True)


def _yuv_graph(stream: av.VideoStream) -> av.filter.Graph:
    """RGB frames in, 4:2:0 frames in BT.709 limited range out."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=stream.width,
        height=stream.height,
        format=av.VideoFormat("rgb24"),
        time_base=stream.codec_context.time_base,
    )
    steps = graph.add("scale", _TO_YUV), graph.add("format", "pix_fmts=yuv420p"), graph.add("buffersink")
    graph.link_nodes(source, *steps).configure()
    return graph


class _SoundTrack:
    """The voice on its way into a file: copied or encoded, released as the video advances so that both interleave."""

    def __init__(self, output: av.container.OutputContainer, path: Path) -> None:
        self.info = probe_sound(path)
        if self.info.channels > len(_LAYOUTS):
            raise MediaError(
                f"{path} has {self.info.channels} channels; mix it down to at most {len(_LAYOUTS)} (mono is best)"
            )
        self._output = output
        self._input = _open(path)
        self._source = _sound_stream(self._input, path)
        self._is_copied = self.info.codec in _COPIED_SOUND
        if self._is_copied:
            self._stream = output.add_stream_from_template(self._source)
            self._pieces = _copied_packets(path, self._input, self._source, self._stream)
        else:
            self._stream = self._add_encoder()
            self._pieces = self._frames()
        self._next = next(self._pieces, None)

    def _add_encoder(self) -> av.AudioStream:
        info = self.info
        is_lossless = info.codec.startswith("pcm_") or info.codec in _LOSSLESS_SOUND
        if is_lossless:
            is_16_bit = self._source.codec_context.format.name.rstrip("p") in ("u8", "s16")
            stream = self._output.add_stream("flac", rate=info.rate_hz)
            stream.codec_context.format = "s16" if is_16_bit else "s32"  # FLAC takes the upper 24 of the 32 bits
        else:
            rate_hz = info.rate_hz if info.rate_hz in AAC_RATES_HZ else 48000
            stream = self._output.add_stream("aac", rate=rate_hz)
            stream.codec_context.bit_rate = AAC_BIT_RATE
            stream.codec_context.format = "fltp"
        stream.codec_context.layout = _LAYOUTS[info.channels - 1]
        return stream

    def _frames(self) -> Iterator[tuple[Fraction, Fraction, av.AudioFrame]]:
        """(start, end, frame) with times in s, in the encoder's sample format and rate, with the source's channels."""
        context, layout = self._stream.codec_context, self._source.codec_context.layout.name
        start = 0
        frames = _decode(_packets(self._input, self._source))
        for frame in _resampled(frames, context.format.name, layout, context.sample_rate):
            end = start + frame.samples
            yield Fraction(start, context.sample_rate), Fraction(end, context.sample_rate), frame
            start = end

    def advance(self, video_s: Fraction) -> None:
        """Writes what ends before the video does so far."""
        while self._next is not None and self._next[1] <= video_s:
            self._put(self._next)
            self._next = next(self._pieces, None)

    def finish(self, video_s: Fraction, frame_s: Fraction) -> None:
        """Writes the rest, or the rest up to the video's end where the sound goes on for more than a frame after it."""
        is_cut = self.info.duration_s > video_s + frame_s
        while self._next is not None and not (is_cut and self._next[0] >= video_s):
            self._put(self._next, video_s if is_cut else None)
            self._next = next(self._pieces, None)
        if not self._is_copied:
            self._output.mux(self._stream.encode())
        self.close()

    def _put(self, piece: tuple[Fraction, Fraction, Any], end_s: Fraction | None = None) -> None:
        start_s, stop_s, data = piece
        if self._is_copied:
            self._output.mux(data)
            return
        stop_s = stop_s if end_s is None else min(stop_s, end_s)
        self._output.mux(self._stream.encode(self._relabelled(data, start_s, stop_s)))

    def _relabelled(self, frame: av.AudioFrame, start_s: Fraction, stop_s: Fraction) -> av.AudioFrame:
        """The frame's samples up to `stop_s` under the encoder's channel layout, at `start_s`; no mixing is done."""
        context = self._stream.codec_context
        rate_hz = context.sample_rate
        count = round((stop_s - start_s) * rate_hz)
        width = 1 if frame.format.is_planar else frame.layout.nb_channels
        samples = np.ascontiguousarray(frame.to_ndarray()[:, : count * width])
        new = av.AudioFrame.from_ndarray(samples, format=frame.format.name, layout=context.layout.name)
        new.sample_rate, new.time_base, new.pts = rate_hz, Fraction(1, rate_hz), round(start_s * rate_hz)
        return new

    def close(self) -> None:
        self._input.close()


def _copied_packets(
    path: Path, container: av.container.InputContainer, source: av.AudioStream, target: av.AudioStream
) -> Iterator[tuple[Fraction, Fraction, av.Packet]]:
    """(start, end, packet) with times in s, moved so that the first audible sample is at 0.

    AAC and MP3 begin with samples that a decoder drops (priming). The first decoded frame's time is where those end, so
    the packets before it get negative times, which MP4 stores as an edit list and every player drops again.
    """
    offset_s = _first_audible_s(path)
    rate_hz, clock_s = source.codec_context.sample_rate, None
    for packet in _packets(container, source):
        if not packet.size:
            continue
        length_s = _packet_length_s(packet, source)
        start_s = clock_s if packet.pts is None else packet.pts * packet.time_base - offset_s
        if clock_s is not None and abs(start_s - clock_s) < length_s / 2:
            start_s = clock_s  # Matroska rounds its times to milliseconds
        clock_s = start_s + length_s
        packet.stream, packet.time_base = target, Fraction(1, rate_hz)
        packet.pts = packet.dts = round(start_s * rate_hz)
        packet.duration = round(length_s * rate_hz)
        yield start_s, clock_s, packet


def _first_audible_s(path: Path) -> Fraction:
    """The packet clock at the first sample that is heard."""
    with _open(path) as container:
        stream = _sound_stream(container, path)
        first = next(packet for packet in _packets(container, stream) if packet.size)
        if first.time_base > _COARSE_CLOCK and first.has_sidedata("skip_samples"):
            skipped = int.from_bytes(bytes(first.get_sidedata("skip_samples"))[:4], "little")
            return (first.pts or 0) * first.time_base + Fraction(skipped, stream.codec_context.sample_rate)
    with _open(path) as container:
        frame = next(_decode(_packets(container, _sound_stream(container, path))))
        return (frame.pts or 0) * frame.time_base


def _packet_length_s(packet: av.Packet, source: av.AudioStream) -> Fraction:
    if packet.time_base > _COARSE_CLOCK and source.codec_context.frame_size:
        return Fraction(source.codec_context.frame_size, source.codec_context.sample_rate)
    return (packet.duration or 0) * packet.time_base
