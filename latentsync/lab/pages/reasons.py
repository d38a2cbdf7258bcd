"""Why a result is weak, in sentences: from the frames, curves and metrics of its record.

Frames are counted at 25 a second, as in the player and in the curves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentsync.constants import VIDEO_RATE_HZ
from latentsync.lab.records.labels import word_of
from latentsync.lab.records.store import Record
from latentsync.metrics.definitions import Entry, direction_of
from latentsync.metrics.judges import failure_notes
from latentsync.metrics.suspects import is_clearly_better

Curve = Sequence[float | None]
OFFSETS = ("lse_offset", "sync_mini_offset", "landmark_sync_lag")  # positive where lips come later; the first counts
LIP_FRAMES = 5  # over which the difference of two mouths is averaged
REAL = "_real"


@dataclass(frozen=True)
class Reason:
    """One sentence, and the frame that shows it, if there is one."""

    text: str
    frame: int | None = None


@dataclass(frozen=True)
class Worst:
    """Where a curve is worst: the place in it, the value there, and the first and last frame that it covers."""

    place: int
    value: float
    first: int
    last: int

    @property
    def frame(self) -> int:
        """The frame in the middle."""
        return (self.first + self.last) // 2

    @property
    def time_text(self) -> str:
        """`from 1.24 to 1.56 s`, or `at 1.24 s`."""
        first, end = self.first / VIDEO_RATE_HZ, (self.last + 1) / VIDEO_RATE_HZ
        return f"at {first:.2f} s" if self.first == self.last else f"from {first:.2f} to {end:.2f} s"


def worst_of(curve: Curve | None, num_frames: int) -> Worst | None:
    """The largest value of a curve that has one for each frame, or for each window that begins at frames 0, 1, 2 ...

    None without any value.
    """
    values = _numbers(curve)
    if not np.isfinite(values).any():
        return None
    place, length = int(np.nanargmax(values)), max(1, num_frames - len(values) + 1)
    return Worst(place, float(values[place]), place, min(place + length, max(num_frames, len(values))) - 1)


def reasons_of(record: Record) -> list[Reason]:
    """What makes a record weak by itself, the gravest first: faces, offset, worst places, and the real clip's values.

    Raises:
        DamagedFileError, OSError: as for `Record.content` and `Record.metrics`.
    """
    content, metrics, curves = record.content, record.metrics, record.curves
    frames = record.num_frames
    parts = [
        _faces(content),
        *_failing_judges(metrics),
        _offset(metrics),
        _window(metrics, curves, frames),
        _lips(metrics, curves, frames),
        _picture(metrics, curves, frames),
        *_against_real(metrics),
    ]
    return [part for part in parts if part is not None]


def _faces(content: dict) -> Reason | None:
    lost, frames = content["video"].get("frames_without_face") or 0, content["video"]["num_frames"]
    if not lost:
        return None
    return Reason(f"No face was found in {lost} of {frames} frames ({lost / frames:.0%}).")


def _failing_judges(metrics: dict[str, Entry]) -> list[Reason]:
    return [Reason(f"{note}.") for note in failure_notes({name: _value(metrics, name) for name in metrics})]


def _offset(metrics: dict[str, Entry]) -> Reason | None:
    name = next((name for name in OFFSETS if _value(metrics, name) is not None), None)
    frames = 0 if name is None else round(_value(metrics, name))
    if not frames:
        return None
    size = f"{abs(frames)} {'frame' if abs(frames) == 1 else 'frames'} ({abs(frames) * 1000 / VIDEO_RATE_HZ:.0f} ms)"
    return Reason(f"The lips come {size} {'later' if frames > 0 else 'earlier'} than the voice ({word_of(name)}).")


def _window(metrics: dict[str, Entry], curves: dict[str, Curve], frames: int) -> Reason | None:
    worst = worst_of(curves.get("sync_mini_by_window"), frames)
    if worst is None:
        return None
    mean, real = np.nanmean(_numbers(curves["sync_mini_by_window"])), _value(metrics, "sync_mini_distance_real")
    of_clip = _numbers(curves.get("sync_mini_real_by_window"))
    text = f"Lips and voice fit worst {worst.time_text}: distance {worst.value:.2f} there, {mean:.2f} on average"
    if worst.place < len(of_clip) and np.isfinite(of_clip[worst.place]):
        text += f"; the real clip has {of_clip[worst.place]:.2f} there"
    elif real is not None:
        text += f"; the real clip has {real:.2f} on average"
    return Reason(f"{text} (less is better).", worst.frame)


def _lips(metrics: dict[str, Entry], curves: dict[str, Curve], frames: int) -> Reason | None:
    """Where the lips are least as in the clip, if they should be as there: with another voice they should not."""
    own, clip = _numbers(curves.get("lip_gap")), _numbers(curves.get("lip_gap_source"))
    count = min(len(own), len(clip))
    if "lip_gap_correlation" not in metrics or count < LIP_FRAMES:
        return None
    means = [np.convolve(values[:count], np.full(LIP_FRAMES, 1 / LIP_FRAMES), "valid") for values in (own, clip)]
    worst = worst_of(np.abs(means[0] - means[1]).tolist(), count)
    if worst is None:
        return None
    of_own, of_clip = (float(mean[worst.place]) for mean in means)
    word = "less" if of_own < of_clip else "more"
    text = f"The mouth opens {worst.value:.3f} eye distances {word} than in the clip {worst.time_text}"
    return Reason(f"{text} ({of_own:.3f}, the clip {of_clip:.3f}).", worst.frame)


def _picture(metrics: dict[str, Entry], curves: dict[str, Curve], frames: int) -> Reason | None:
    worst, mean = worst_of(curves.get("lpips_alex"), frames), _value(metrics, "lpips_alex")
    if worst is None or mean is None:
        return None
    text = f"The face looks least like the clip's {worst.time_text}: LPIPS {worst.value:.3f}, {mean:.3f} on average"
    return Reason(f"{text} (less is better).", worst.frame)


def _against_real(metrics: dict[str, Entry]) -> list[Reason]:
    """The metrics in which the real clip is better, or so much worse that the number is suspect."""
    reasons = []
    for name in metrics:
        value, real, direction = _value(metrics, name), _value(metrics, f"{name}{REAL}"), direction_of(name)
        if value is None or real is None or direction not in ("higher", "lower"):
            continue
        text = f"{word_of(name)} is {value:.3g}, that of the real clip {real:.3g} ({direction} is better)"
        if (value < real) == (direction == "higher") and value != real:
            reasons.append(Reason(f"{text}."))
        elif is_clearly_better(name, value - real, real):
            reasons.append(Reason(f"{text}. This is suspect: no lips are more in sync than the real ones."))
    return reasons


def _value(metrics: dict[str, Entry], name: str) -> float | None:
    return metrics.get(name, {}).get("value")


def _numbers(curve: Curve | None) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in curve or ()], float)
