"""Intervals of means, shares, ratios and differences over clips: 95 % unless told otherwise. Arrays in, numbers out."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.95
DRAWS = 10_000  # of the bootstrap

Interval = tuple[float, float]


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Student's t interval of the mean; None for fewer than two values."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return None
    reach = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return float(values.mean()) - reach, float(values.mean()) + reach


def share_interval(share: float, number: int) -> Interval:
    """Wilson's interval of a share of so many independent trials."""
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    centre = (share + z * z / (2 * number)) / (1 + z * z / number)
    reach = z / (1 + z * z / number) * math.sqrt(share * (1 - share) / number + z * z / (4 * number * number))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def ratio_interval(upper: Sequence[float], lower: Sequence[float]) -> Interval | None:
    """Percentile bootstrap of mean(upper) / mean(lower), drawn in pairs by a fixed seed.

    None for fewer than two pairs, or where a drawn mean of `lower` is not above 0.
    """
    upper, lower = np.asarray(upper, np.float64), np.asarray(lower, np.float64)
    if upper.shape != lower.shape:
        raise ValueError(f"{upper.shape} and {lower.shape} values are no pairs; give as many of one as of the other")
    if len(upper) < 2:
        return None
    drawn = np.random.default_rng(0).integers(len(upper), size=(DRAWS, len(upper)))
    below = lower[drawn].mean(axis=1)
    if not (below > 0).all():
        return None
    edges = np.quantile(upper[drawn].mean(axis=1) / below, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(edges[0]), float(edges[1])


def difference_interval(after: Sequence[float], before: Sequence[float]) -> Interval | None:
    """Student's t interval of the mean of paired differences; None for fewer than two pairs."""
    return mean_interval(np.asarray(after, np.float64) - np.asarray(before, np.float64))
