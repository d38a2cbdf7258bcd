"""Which frames of a clip a result shows, and when: by the options `fps`, `length` and `loop`."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import median_low

from latentsync import media
from latentsync.audio.features import STATES_HZ, num_reference_windows, num_states
from latentsync.config import VideoOptions
from latentsync.constants import SOUND_RATE_HZ, VIDEO_RATE_HZ


@dataclass(frozen=True)
class Timing:
    """The frames of a result.

    Attributes:
        order: for each frame that gets a new mouth, the number of the clip's frame that it is made from.
        rest: numbers of the clip's frames that play on after them as they are (`length="clip"`).
        times_s: when each frame of the result begins, and when the last one ends: one number more than frames.
        rate_hz: the rate at which the clip's frames are numbered; None: its own frames.
    """

    order: list[int]
    rest: list[int]
    times_s: list[Fraction]
    rate_hz: float | None


def num_output_frames(num_samples: int, length: str = "sound") -> int:
    """Video frames of 25 Hz for this many samples of 16 kHz sound.

    Args:
        length: "sound" or "reference", see `config.VideoOptions.length`.
    """
    if length == "reference":
        return num_reference_windows(num_states(num_samples), VIDEO_RATE_HZ)
    return max(1, math.ceil(num_samples * VIDEO_RATE_HZ / SOUND_RATE_HZ))


def timing_of(clip: Path | str, num_samples: int, video: VideoOptions) -> Timing:
    """The frames of the result of a clip and a voice.

    "sound" ends with the voice, and the clip is repeated if it is shorter; "clip" ends with the clip; "shortest" ends
    with the shorter of both. At 25 frames/s the last frame may end up to one frame after the voice. With the clip's own
    frames, the last one is cut there if it stands for longer than the clip's frames usually do.

    Args:
        num_samples: of the voice, at 16 kHz.

    Raises:
        MediaError: the clip cannot be read.
    """
    clip_s, sound_s = media.frame_times(clip, video.rate_hz), Fraction(num_samples, SOUND_RATE_HZ)
    there = len(clip_s) - 1
    if video.length == "clip":
        spoken = min(there, max(1, bisect_left(clip_s, sound_s)))
        return Timing(list(range(spoken)), list(range(spoken, there)), clip_s, video.rate_hz)
    if video.length == "shortest":
        sound_s = min(sound_s, clip_s[-1])
    usual_s = median_low(after - before for before, after in pairwise(clip_s))
    if video.length == "reference":
        if video.rate_hz is None:
            num_out = math.floor(num_states(num_samples) * Fraction(there, STATES_HZ) / clip_s[-1]) + 2
        else:
            num_out = num_output_frames(num_samples, "reference")
        order, times_s = _repeated(clip_s, usual_s, video.loop, num_out)
    else:
        order, times_s = _covering(clip_s, usual_s, video.loop, sound_s)
    if video.rate_hz is None and video.length != "reference":
        times_s[-1] = min(times_s[-1], max(sound_s, times_s[-2] + usual_s))
    return Timing(order, [], times_s, video.rate_hz)


def _repeated(
    clip_s: Sequence[Fraction], usual_s: Fraction, loop: str, num_out: int
) -> tuple[list[int], list[Fraction]]:
    """The order and times of `num_out` frames. Each frame lasts as in the clip; one that is held, as a usual frame."""
    there = len(clip_s) - 1
    order = [int(i) for i in media.arranged(num_out, min(num_out, there), loop)]
    is_held = loop == "hold"
    lengths = (usual_s if is_held and place >= there else clip_s[i + 1] - clip_s[i] for place, i in enumerate(order))
    return order, list(accumulate(lengths, initial=Fraction(0)))


def _covering(
    clip_s: Sequence[Fraction], usual_s: Fraction, loop: str, sound_s: Fraction
) -> tuple[list[int], list[Fraction]]:
    """The order and times of the fewest frames that last as long as the sound, at least one."""
    there = len(clip_s) - 1
    if sound_s <= clip_s[-1]:
        num_out = max(1, bisect_left(clip_s, sound_s))
    elif loop == "hold":
        num_out = there + math.ceil((sound_s - clip_s[-1]) / usual_s)
    else:
        num_out = there * math.ceil(sound_s / clip_s[-1])
    order, times_s = _repeated(clip_s, usual_s, loop, num_out)
    num_out = max(1, bisect_left(times_s, sound_s))
    return order[:num_out], times_s[: num_out + 1]


def at_rate(times_s: Sequence[Fraction], num_frames: int, rate_hz: float = VIDEO_RATE_HZ) -> list[int]:
    """For each frame of a constant rate, the number of the result's frame that is shown then, see `media.read_frames`.

    Args:
        times_s: of the result's frames, as in `Timing`.
        num_frames: how many of them from the start are covered.
    """
    rate = Fraction(rate_hz)
    count = max(1, math.floor(times_s[num_frames] * rate + Fraction(1, 2)))
    return [
        min(num_frames, max(1, bisect_left(times_s, (number + Fraction(1, 2)) / rate))) - 1 for number in range(count)
    ]
