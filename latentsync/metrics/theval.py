"""Measures of lips after viewers' judgements: how much lips move, how still they rest, how they follow loudness.

Goal: judgements of viewers go with how lively lips are, how still they are in pauses, and how well they follow the
loudness, compared with the real clip of the same words; see arXiv 2511.04520. Definitions and code are this project's.

Conventions: one value per video frame (25 Hz). Gaps are `sync.lip_gap`, in eye distances, NaN without a face; loudness
is `sync.log_energy`, dB. Frames without a face are left out.

Measures: `lip_dynamics` (eye distances a second), `silent_deviation` (eye distances, lower is better),
`loudness_distance` (0..1, lower is better), `gap_dtw` (eye distances, lower is better) and `likeness` (at most 1, which
is best).
"""

import math
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from latentsync.constants import VIDEO_RATE_HZ
from latentsync.metrics.sync import LEAST_FRAMES, STEADY_DB, STILL_GAP

DTW_FRAMES = 5  # 0.2 s either way, within which `gap_dtw` forgives a lag
LEAST_SILENT = 8  # frames: 0.3 s
OUTER = (5.0, 95.0)  # percentiles that become 0 and 1

Series = Float[np.ndarray, " f"]


def lip_dynamics(gap: Series) -> float | None:
    """Mean absolute speed of the lip gap in eye distances a second; None below 25 steps between frames with a face."""
    steps = np.abs(np.diff(gap))
    steps = steps[np.isfinite(steps)]
    return float(steps.mean() * VIDEO_RATE_HZ) if len(steps) >= LEAST_FRAMES else None


def silent_deviation(gap: Series, stretches: Iterable[tuple[float, float]]) -> tuple[float | None, int]:
    """Median absolute deviation of the gap within silence, and how many frames counted.

    Each stretch is compared with its own median, so that a mouth may rest in another position after each sentence.

    Args:
        stretches: (start, stop) of each silence in seconds, see `audio.speech.silent_stretches`. Only frames that lie
            wholly within one count.

    Returns:
        The deviation in eye distances is None below 8 silent frames with a face.
    """
    parts = []
    for start_s, stop_s in stretches:
        first = math.ceil(start_s * VIDEO_RATE_HZ - 1e-6)
        last = len(gap) if math.isinf(stop_s) else math.floor(stop_s * VIDEO_RATE_HZ + 1e-6)
        part = gap[first:last]
        if len(part := part[np.isfinite(part)]):
            parts.append(np.abs(part - np.median(part)))
    count = sum(map(len, parts))
    return (float(np.median(np.concatenate(parts))) if count >= LEAST_SILENT else None), count


def loudness_distance(gap: Series, energy_db: Series) -> float | None:
    """Mean absolute difference of gap and loudness, each scaled so that its 5th and 95th percentiles are 0 and 1.

    Returns:
        0..1; None if fewer than 25 frames show a face, or the lips or the loudness do not move.

    Raises:
        ValueError: the series differ in length.
    """
    if gap.shape != energy_db.shape:
        raise ValueError(f"gap {gap.shape} and energy {energy_db.shape} differ; give one value of each per frame")
    seen = np.isfinite(gap)
    if seen.sum() < LEAST_FRAMES or gap[seen].std() < STILL_GAP or energy_db[seen].std() < STEADY_DB:
        return None
    scaled = [_scaled(series[seen]) for series in (gap, energy_db)]
    return None if any(one is None for one in scaled) else float(np.abs(scaled[0] - scaled[1]).mean())


def _scaled(values: Series) -> Series | None:
    low, high = np.percentile(values, OUTER)
    return np.clip((values - low) / (high - low), 0, 1) if high > low else None


def gap_dtw(gap: Series, truth: Series, most: int = DTW_FRAMES) -> float | None:
    """Mean absolute difference of two lip gaps along the best alignment in time (dynamic time warping).

    A frame may be compared with one at most `most` frames away. The alignment may leave out that many frames at either
    end, so a constant lag of up to `most` frames costs nothing. The least sum is found and divided by its comparisons.

    Returns:
        Eye distances; None if fewer than 25 frames show both faces.

    Raises:
        ValueError: the series differ in length.
    """
    if gap.shape != truth.shape:
        raise ValueError(f"gap {gap.shape} and truth {truth.shape} differ; give one value of each per frame")
    seen = np.isfinite(gap) & np.isfinite(truth)
    if (count := int(seen.sum())) < LEAST_FRAMES:
        return None
    ours, theirs = gap[seen].tolist(), truth[seen].tolist()
    before: dict[int, tuple[float, int]] = {}
    ends: list[tuple[float, int]] = []
    for i in range(count):
        row: dict[int, tuple[float, int]] = {}
        for j in range(max(0, i - most), min(count, i + most + 1)):
            ways = [way for way in (before.get(j - 1), before.get(j), row.get(j - 1)) if way is not None]
            cost, steps = (0.0, 0) if i == 0 or j == 0 else min(ways)
            row[j] = cost + abs(ours[i] - theirs[j]), steps + 1
        if i < count - 1 and count - 1 in row:
            ends.append(row[count - 1])
        before = row
    return min(cost / steps for cost, steps in [*ends, *before.values()])


def likeness(value: float, real: float) -> float:
    """How near a value is to the real clip's: 1 - |value - real| / |real|; 1 is equal, and far values are below 0.

    Raises:
        ValueError: the real value is 0.
    """
    if real == 0:
        raise ValueError("the real clip's value is 0, so nothing can be compared with it")
    return 1 - abs(value - real) / abs(real)
