"""Sound in: the waveform of a sound file or of a video's sound track."""

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import MediaError
from latentsync.media.container import decode_packets, open_input, packets_of, sound_stream_of
from latentsync.shapes import Samples, Waveform


@dataclass(frozen=True)
class SoundInfo:
    """What a sound file, or the sound track of a video, holds; `num_samples` per channel, counted by decoding."""

    path: Path
    duration_s: float
    rate_hz: int
    channels: int
    codec: str
    num_samples: int


def probe_sound(path: Path | str) -> SoundInfo:
    """What a sound file or a video's sound track holds; decodes it, so the length is exact for MP3 and AAC too.

    Raises:
        MediaError: the file is missing, unreadable or empty, or has no sound.
    """
    path = Path(path)
    with open_input(path) as container:
        stream = sound_stream_of(container, path)
        num_samples, rate_hz, channels = 0, 0, 0
        for frame in decode_packets(packets_of(container, stream)):
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
    with open_input(path) as container:
        stream = sound_stream_of(container, path)
        frames = decode_packets(packets_of(container, stream))
        blocks = [frame.to_ndarray()[0] for frame in resampled(frames, "s16", "mono", rate_hz)]
    samples = np.concatenate(blocks) if blocks else np.empty(0, np.int16)
    if samples.size == 0:
        raise MediaError(f"{path} holds no sound (0 samples can be decoded); record or convert it again")
    return samples.astype(np.float32) / 32768


def resampled(
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


def write_wav(path: Path, samples: Samples) -> None:
    """Mono int16 samples at 16 kHz as a WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())
