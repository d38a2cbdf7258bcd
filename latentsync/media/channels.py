"""Which channels of a voice are heard: all of them mixed to one, or a single one where the mix would be silent.

Some recordings have the voice on two channels with opposite signs: a balanced cable on a stereo input, or a "widened"
track. Every player plays them, but their sum is zero. Then the louder channel is the voice.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np

from latentsync.files import kept_per_file
from latentsync.media.container import decode_packets, open_input, packets_of, reads_media, sound_stream_of
from latentsync.media.conversions import Conversion
from latentsync.media.limits import sound_within_limits

LEAST_SHARE = 0.05  # of the channels' mean power, in the mix: unrelated channels keep 0.5, opposite ones 0
ENOUGH_S = 60.0  # of audible sound, after which the file is judged
AUDIBLE_POWER = 1e-8  # of full scale: -80 dB


@reads_media
@kept_per_file(1024)
def channel_of(path: Path, track: int | None = None) -> int | None:
    """The one channel of a file's sound that is the voice; None if all channels are mixed, as is usual.

    The answer is kept while the file's size and time of change stay the same.

    Raises:
        MediaError: the file cannot be read, or has no such track.
    """
    with open_input(path) as container:
        stream = sound_stream_of(container, path, track)
        if stream.codec_context.layout.nb_channels < 2:
            return None
        powers, mixed, audible_s = np.zeros(0), 0.0, 0.0
        for frame in sound_within_limits(path, decode_packets(packets_of(container, stream))):
            samples = waveform_of(frame)
            if len(samples) < 2:
                return None
            if len(powers) != len(samples):
                powers, mixed = np.zeros(len(samples)), 0.0
            each = np.einsum("cn,cn->c", samples, samples)
            powers, mixed = powers + each, mixed + float((samples.mean(axis=0) ** 2).sum())
            if each.mean() > AUDIBLE_POWER * frame.samples:
                audible_s += frame.samples / frame.sample_rate
            if audible_s > ENOUGH_S:
                break
    if not audible_s or mixed >= LEAST_SHARE * powers.mean():
        return None
    return int(powers.argmax())


def waveform_of(frame: av.AudioFrame) -> np.ndarray:
    """The samples of a frame as float32 -1..1, `(channels, n)`."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if np.issubdtype(samples.dtype, np.integer):
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float32)


def picked(frames: Iterable[av.AudioFrame], channel: int | None) -> Iterator[av.AudioFrame]:
    """The frames with one of their channels only, without times; as they are if `channel` is None."""
    for frame in frames:
        if channel is None or frame.layout.nb_channels <= channel:
            yield frame
            continue
        one = av.AudioFrame.from_ndarray(waveform_of(frame)[[channel]].copy(), format="flt", layout="mono")
        one.sample_rate = frame.sample_rate
        yield one


def channel_conversion(channel: int) -> Conversion:
    """What is said of a voice of which one channel is taken."""
    return Conversion(
        f"channel-{channel}-1", f"has channels that cancel out when mixed (opposite phase); channel {channel} was taken"
    )
