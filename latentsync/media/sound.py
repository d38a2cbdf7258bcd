"""Reads the sound of any file, reads and writes 16-bit WAV files, and converts samples to floats and back."""

import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from latentsync.arrays import Samples, Waveform
from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import MediaError
from latentsync.files import whole_file
from latentsync.media.channels import channel_conversion, channel_of, picked
from latentsync.media.container import check_file, decode_packets, open_input, packets_of, sound_stream_of
from latentsync.media.conversions import Conversion

FULL_SCALE = 32768  # the 16-bit number that stands for 1.0
RATES_HZ = (1000, 768_000)  # of sound files, the least and the most

# --- any file ---


@dataclass(frozen=True)
class SoundInfo:
    """The properties of a sound file or of a video's sound track; `num_samples` is counted per channel."""

    path: Path
    duration_s: float
    rate_hz: int
    channels: int
    codec: str
    num_samples: int


def probe_sound(path: Path | str, track: int | None = None) -> SoundInfo:
    """The properties of a sound file or of a video's sound track. Decodes it, so MP3 and AAC have exact lengths too.

    Args:
        track: which of several sound tracks, see `container.sound_stream_of`.

    Raises:
        MediaError: the file is missing, unreadable or empty, or has no sound.
    """
    path = Path(path)
    with open_input(path) as container:
        stream = sound_stream_of(container, path, track)
        num_samples, rate_hz, channels = 0, 0, 0
        for frame in decode_packets(packets_of(container, stream)):
            num_samples += frame.samples
            rate_hz, channels = frame.sample_rate, frame.layout.nb_channels
        codec = stream.codec_context.codec.canonical_name
    if num_samples == 0:
        raise _nothing_heard(path)
    _check_rate(path, rate_hz)
    return SoundInfo(path, num_samples / rate_hz, rate_hz, channels, codec, num_samples)


def read_sound(path: Path | str, rate_hz: int = SOUND_RATE_HZ, track: int | None = None) -> Waveform:
    """The sound of a file as mono float32, -1..1, `(n,)`: ffmpeg's resampler gives 16 bit, divided by 32768.

    `ffmpeg -ac 1 -ar 16000 -f s16le` gives the same samples, as used in the original's (Whisper's) `load_audio`. Only
    a sound whose channels would cancel out is read from one of them, see `channels`.

    Args:
        track: which of several sound tracks, see `container.sound_stream_of`.

    Raises:
        MediaError: as `probe_sound`.
    """
    blocks = list(sound_blocks(path, rate_hz, track))
    samples = np.concatenate(blocks) if blocks else np.empty(0, np.int16)
    if samples.size == 0:
        raise _nothing_heard(path)
    return to_float(samples)


def sound_blocks(path: Path | str, rate_hz: int = SOUND_RATE_HZ, track: int | None = None) -> Iterator[Samples]:
    """The samples of `read_sound`, times 32768, block by block: int16 `(n,)`. A file without samples gives none.

    Raises:
        MediaError: the file is missing or unreadable, or has no sound track.
    """
    path = Path(path)
    check_file(path)
    channel = channel_of(path, track)
    with open_input(path) as container:
        stream = sound_stream_of(container, path, track)
        frames = _of_sane_rate(path, decode_packets(packets_of(container, stream)))
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


def _of_sane_rate(path: Path, frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    for frame in frames:
        _check_rate(path, frame.sample_rate)
        yield frame


def _check_rate(path: Path, rate_hz: int) -> None:
    """Refuses a rate that no recorder has: the file's header is wrong."""
    least, most = RATES_HZ
    if not least <= rate_hz <= most:
        raise MediaError(
            f"{path} says that its rate is {rate_hz} Hz; {least} to {most} Hz are possible; its header is wrong, "
            f"convert it again"
        )


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
        frame.pts = None  # gaps in the file's clock are not filled, as with ffmpeg's raw output
        yield from resampler.resample(frame)
    if resampler is not None:
        yield from (rest for rest in resampler.resample(None) if rest is not None)


# --- samples as numbers ---


def to_float(samples: Samples) -> Waveform:
    """16-bit samples as float32, -1..1."""
    return samples.astype(np.float32) / FULL_SCALE


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
    except (OSError, EOFError, wave.Error) as error:
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
