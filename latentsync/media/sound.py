"""Reads the sound of any file, reads and writes 16-bit WAV files, and converts samples to floats and back."""

import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from latentsync.arrays import Samples, Waveform
from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import MediaError
from latentsync.files import whole_file
from latentsync.media.channels import channel_conversion, channel_of, picked
from latentsync.media.clock import clock_of
from latentsync.media.container import check_file, decode_packets, open_input, packets_of, reads_media, sound_stream_of
from latentsync.media.conversions import Conversion
from latentsync.media.limits import check_silence, sound_within_limits

FULL_SCALE = 32768  # the 16-bit number that stands for 1.0

# --- any file ---


@dataclass(frozen=True)
class SoundInfo:
    """The properties of a sound file or of a video's sound track.

    Attributes:
        duration_s: from the clock's zero to the end of the sound, see `placed_sound`.
        num_samples: in that time, per channel.
        is_gapless: whether the file's packets play like the placed sound if they are put one after the other.
    """

    path: Path
    duration_s: float
    rate_hz: int
    channels: int
    codec: str
    num_samples: int
    is_gapless: bool = True


@reads_media
def probe_sound(path: Path | str, track: int | None = None) -> SoundInfo:
    """The properties of a sound file or of a video's sound track. Decodes it, so MP3 and AAC have exact lengths too.

    The sound is that of `placed_sound`.

    Args:
        track: which of several sound tracks, see `container.sound_stream_of`.

    Raises:
        MediaError: the file is missing, unreadable or empty, or has no sound.
    """
    path = Path(path)
    with open_input(path) as container:
        stream = sound_stream_of(container, path, track)
        num_samples, rate_hz, channels, placed = 0, 0, 0, placed_sound(path, container, stream)
        for frame in placed:
            num_samples += frame.samples
            rate_hz, channels = frame.sample_rate, frame.layout.nb_channels
        codec = stream.codec_context.codec.canonical_name
    if num_samples == 0:
        raise _nothing_heard(path)
    return SoundInfo(path, num_samples / rate_hz, rate_hz, channels, codec, num_samples, placed.is_gapless)


def read_sound(path: Path | str, rate_hz: int = SOUND_RATE_HZ, track: int | None = None) -> Waveform:
    """The sound of a file as mono float32, -1..1, `(n,)`: ffmpeg's resampler gives 16 bit, divided by 32768.

    The sound of a video begins with its pictures, and holes are silence: see `placed_sound`. For other files
    `ffmpeg -ac 1 -ar 16000 -f s16le` gives the same samples, as used in the original's (Whisper's) `load_audio`. Only
    a sound whose channels would cancel out is read from one of them, see `channels`.

    Args:
        track: which of several sound tracks, see `container.sound_stream_of`.

    Raises:
        MediaError: as `probe_sound`.
    """
    samples = bytearray()  # grows in place, so that a sound of hours is in memory once
    for block in sound_blocks(path, rate_hz, track):
        samples += block.tobytes()
    if not samples:
        raise _nothing_heard(path)
    return to_float(np.frombuffer(samples, np.int16))


def sound_blocks(path: Path | str, rate_hz: int = SOUND_RATE_HZ, track: int | None = None) -> Iterator[Samples]:
    """The samples of `read_sound`, times 32768, block by block: int16 `(n,)`. A file without samples gives none.

    Raises:
        MediaError: the file is missing or unreadable, or has no sound track.
    """
    path = Path(path)
    check_file(path)
    channel = channel_of(path, track)
    with open_input(path) as container:
        frames = placed_sound(path, container, sound_stream_of(container, path, track))
        for frame in resampled(picked(frames, channel), "s16", "mono", rate_hz):
            yield frame.to_ndarray()[0]


def has_sound(path: Path | str) -> bool:
    """Whether a file has sound that can be decoded. A sound track without samples is none, as muted recorders write."""
    path = Path(path)
    try:
        with open_input(path) as container:
            packets = packets_of(container, sound_stream_of(container, path))
            return any(frame.samples for frame in decode_packets(packets))
    except MediaError:
        return False


def sound_conversions(path: Path | str, track: int | None = None) -> tuple[Conversion, ...]:
    """What `read_sound` changes in a voice, apart from its rate: a single channel is taken.

    Raises:
        MediaError: the file cannot be read.
    """
    check_file(Path(path))
    channel = channel_of(Path(path), track)
    return () if channel is None else (channel_conversion(channel),)


def _nothing_heard(path: Path | str) -> MediaError:
    return MediaError(f"{path} holds no sound (0 samples can be decoded); record or convert it again")


def placed_sound(path: Path, container: av.container.InputContainer, stream: av.AudioStream) -> "PlacedSound":
    """A file's decoded sound on the file's clock, as frames that follow each other without a gap from time 0.

    Time 0 is the first picture of a file with pictures, and the first sample that is heard of a file with sound only.
    Sound that starts late is preceded by silence, and what lies before time 0 is left out. A hole becomes silence, and
    of sound that overlaps only the first is kept. Where the clock jumps, the sound goes on, see `clock.Clock`.

    Args:
        container: the opened file.
        stream: one of its sound streams.
    """
    clock = clock_of(path)
    frames = sound_within_limits(path, decode_packets(clock.continued(packets_of(container, stream), stream)))
    zero_s = None if clock.pictures is None else clock.pictures.start_s
    return PlacedSound(frames, zero_s, is_gapless=not clock.shifts.get(stream.index), path=path)


class PlacedSound:
    """Iterates over decoded frames in their places; see `placed_sound`.

    At the start, a frame's time counts to 1 ms. Later it may be up to 20 ms (half a video frame) off before something
    is put in or left out. So rounded times and slow drift do no harm. Recorders may also store a few packets with late
    times and then go on as before. Therefore nothing changes until 0.2 s of sound in a row is off.

    Attributes:
        is_gapless: false once something was put in or left out.
    """

    ROUNDING_S = Fraction(1, 1000)
    LARGEST_ERROR_S = Fraction(1, 50)
    LEAST_OFF_S = Fraction(1, 5)

    def __init__(
        self,
        frames: Iterator[av.AudioFrame],
        zero_s: Fraction | None,
        is_gapless: bool = True,
        path: Path | str = "the sound",
    ) -> None:
        self._frames, self._zero_s, self._path = frames, zero_s, path
        self._due_s: Fraction | None = None  # the end of what is placed; None: nothing is
        self._off: list[tuple[Fraction, av.AudioFrame]] = []  # (error, frame) of the last frames in a row that are off
        self._silent_s = Fraction(0)  # put into holes
        self.is_gapless = is_gapless

    def __iter__(self) -> Iterator[av.AudioFrame]:
        for frame in self._frames:
            yield from self._add(frame)
        while self._off:
            yield from self._settled()

    def _add(self, frame: av.AudioFrame) -> Iterator[av.AudioFrame]:
        start_s = None if frame.pts is None else frame.pts * frame.time_base
        if self._due_s is None:
            yield from self._begun(frame, start_s)
            return
        due_s = self._due_s + sum(_length_s(held) for _, held in self._off)
        error_s = Fraction(0) if start_s is None else start_s - due_s
        if abs(error_s) <= self.LARGEST_ERROR_S:
            yield from self._released()
            yield self._placed(frame)
            return
        if self._off and (error_s > 0) != (self._off[0][0] > 0):
            yield from self._released()
        self._off.append((error_s, frame))
        if sum(_length_s(held) for _, held in self._off) >= self.LEAST_OFF_S:
            yield from self._settled()

    def _begun(self, frame: av.AudioFrame, start_s: Fraction | None) -> Iterator[av.AudioFrame]:
        """The first frames: silence before them, or the part that lies after time 0."""
        zero_s = self._zero_s if self._zero_s is not None else start_s
        late_s = Fraction(0) if start_s is None or zero_s is None else start_s - zero_s
        if abs(late_s) > self.ROUNDING_S:
            self.is_gapless = False
        else:
            late_s = Fraction(0)
        if late_s <= -_length_s(frame):
            return
        self._due_s = (start_s or Fraction(0)) - late_s
        if late_s > 0:
            check_silence(self._path, float(late_s))
            yield from map(self._placed, _silence(frame, late_s))
        yield self._placed(frame if late_s >= 0 else _without_start(frame, -late_s))

    def _released(self) -> Iterator[av.AudioFrame]:
        """The frames that were off, one after the other: the clock has come back to them."""
        yield from (self._placed(frame) for _, frame in self._off)
        self._off.clear()

    def _settled(self) -> Iterator[av.AudioFrame]:
        """The frames that are off, moved by the smallest of their errors."""
        frames, error_s = [frame for _, frame in self._off], min((error_s for error_s, _ in self._off), key=abs)
        self._off.clear()
        self.is_gapless = False
        if error_s > 0:
            self._silent_s += error_s
            check_silence(self._path, float(self._silent_s))
            yield from map(self._placed, _silence(frames[0], error_s))
        for frame in frames:
            if error_s < 0:
                cut_s = min(-error_s, _length_s(frame))
                error_s += cut_s
                if cut_s == _length_s(frame):
                    continue
                frame = _without_start(frame, cut_s)
            yield from self._add(frame)

    def _placed(self, frame: av.AudioFrame) -> av.AudioFrame:
        self._due_s += _length_s(frame)
        return frame


def followed_by_silence(frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """The frames, and then silent frames of their kind without end."""
    frame = None
    for frame in frames:
        yield frame
    while frame is not None:
        yield from _silence(frame, Fraction(1))


def _length_s(frame: av.AudioFrame) -> Fraction:
    return Fraction(frame.samples, frame.sample_rate)


def _silence(frame: av.AudioFrame, seconds: Fraction) -> Iterator[av.AudioFrame]:
    """Silent frames of a frame's kind, of at most one second each."""
    left = round(seconds * frame.sample_rate)
    while left > 0:
        count = min(left, frame.sample_rate)
        samples = np.zeros_like(frame.to_ndarray(), shape=_shape(frame, count))
        samples += 128 if frame.format.name in ("u8", "u8p") else 0
        yield _like(frame, samples)
        left -= count


def _without_start(frame: av.AudioFrame, seconds: Fraction) -> av.AudioFrame:
    """The frame without its first samples; its time is later by them."""
    count = round(seconds * frame.sample_rate)
    width = _shape(frame, 1)[1]
    new = _like(frame, np.ascontiguousarray(frame.to_ndarray()[:, count * width :]))
    if frame.pts is not None:
        new.time_base = Fraction(1, frame.sample_rate)
        new.pts = round((frame.pts * frame.time_base + Fraction(count, frame.sample_rate)) * frame.sample_rate)
    return new


def _shape(frame: av.AudioFrame, count: int) -> tuple[int, int]:
    """The shape of the array of `count` samples of a frame's kind."""
    channels = frame.layout.nb_channels
    return (channels, count) if frame.format.is_planar else (1, count * channels)


def _like(frame: av.AudioFrame, samples: np.ndarray) -> av.AudioFrame:
    new = av.AudioFrame.from_ndarray(samples, format=frame.format.name, layout=frame.layout.name)
    new.sample_rate = frame.sample_rate
    return new


def resampled(
    frames: Iterator[av.AudioFrame], sample_format: str, layout: str, rate_hz: int
) -> Iterator[av.AudioFrame]:
    """Frames in another format. A change of rate or channels on the way starts a new resampler, as in ffmpeg."""
    resampler, setup = None, None
    for frame in frames:
        now = (frame.format.name, frame.layout.name, frame.sample_rate)
        if now != setup:
            if resampler is not None:
                yield from resampler.resample(None)
            resampler, setup = av.AudioResampler(sample_format, layout, rate_hz), now
        frame.pts = None  # frames follow each other, see `placed_sound`
        yield from resampler.resample(frame)
    if resampler is not None:
        yield from (rest for rest in resampler.resample(None) if rest is not None)


# --- samples as numbers ---


def to_float(samples: Samples) -> Waveform:
    """16-bit samples as float32, -1..1."""
    waveform = samples.astype(np.float32)
    waveform /= FULL_SCALE
    return waveform


def to_int16(waveform: Waveform) -> Samples:
    """Floats -1..1 as 16-bit samples: times 32768, rounded, and clipped at both ends, as FFmpeg writes them.

    Raises:
        ValueError: as `validate_waveform`.
    """
    validate_waveform(waveform)
    scaled = np.rint(waveform * np.float32(FULL_SCALE))
    return np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def validate_waveform(waveform: Waveform) -> None:
    """Refuses an array that is not a waveform of floats.

    Raises:
        ValueError: the array is not of floats, has not one dimension, or is empty.
    """
    if waveform.ndim != 1 or not np.issubdtype(waveform.dtype, np.floating) or not waveform.size:
        raise ValueError(
            f"the waveform has shape {waveform.shape} and type {waveform.dtype}; (n,) of floats -1..1 at "
            f"{SOUND_RATE_HZ} Hz is needed"
        )


# --- WAV files ---


@contextmanager
def _wav(path: Path) -> Iterator[wave.Wave_read]:
    """An open WAV file.

    Raises:
        MediaError: the file cannot be read or is not a WAV file.
    """
    try:
        with wave.open(str(path), "rb") as file:
            if not file.getframerate():
                raise wave.Error("its rate is 0 Hz")
            yield file
    except MediaError:
        raise
    except (OSError, EOFError, wave.Error, ValueError, ArithmeticError, MemoryError, RuntimeError) as error:
        raise MediaError(f"{path} is no WAV file ({error}); give a mono 16-bit WAV") from error


def probe_wav(path: Path) -> SoundInfo:
    """The properties of a WAV file, from its header; nothing is decoded.

    Raises:
        MediaError: the file cannot be read or is not a WAV file.
    """
    with _wav(path) as file:
        rate_hz, count, bits = file.getframerate(), file.getnframes(), 8 * file.getsampwidth()
        codec = "pcm_u8" if bits == 8 else f"pcm_s{bits}le"
        return SoundInfo(path, count / rate_hz, rate_hz, file.getnchannels(), codec, count)


def read_wav(path: Path) -> tuple[Samples, int]:
    """Samples, int16 `(n,)`, and rate in Hz of a mono 16-bit WAV file.

    Raises:
        MediaError: the file cannot be read, is not a WAV file, or has other samples.
    """
    with _wav(path) as file:
        channels, bits = file.getnchannels(), 8 * file.getsampwidth()
        if (channels, bits) != (1, 16):
            raise MediaError(f"{path} has {channels} channels of {bits} bits; give a mono 16-bit WAV")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16), file.getframerate()


def write_wav(path: Path, samples: Samples, rate_hz: int = SOUND_RATE_HZ) -> None:
    """Writes a mono 16-bit WAV file; another process sees the old or the new one."""
    with whole_file(path) as part, wave.open(str(part), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
