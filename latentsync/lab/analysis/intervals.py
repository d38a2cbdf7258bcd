"""Intervals of means, shares, ratios and differences over clips, and tests of differences. Intervals are 95 % ones.

The functions take arrays and return numbers. `comparisons.py` applies them to the table of a sweep.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats

LEVEL = 0.95
ALPHA = 0.05
DRAWS = 10_000  # of a bootstrap and of a test
FEW = 20  # with fewer clips a bootstrap interval is only approximate
LEAST_DRAWN = 5  # with fewer clips a figure shows the clips as dots: an interval would be wider than all of them
POWER = 0.8  # the usual power: the probability that a test detects an existing effect
BLOCK = 12_000_000  # most drawn values in memory: 96 MB

Interval = tuple[float, float]


def interval_text(interval: Interval | None, form: str = "+.4f", none: str = "-") -> str:
    """An interval for people, "-0.0049 .. +0.0043".

    Args:
        form: the format of each number.
        none: what stands where there is no interval.
    """
    if interval is None or math.isnan(interval[0]):
        return none
    return f"{interval[0]:{form}} .. {interval[1]:{form}}"


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Student's t interval of the mean; None for fewer than two values."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return None
    reach = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return float(values.mean()) - reach, float(values.mean()) + reach


def drawn_interval(values: Sequence[float]) -> Interval | None:
    """The interval of a mean as pages and figures show it; None for fewer than `LEAST_DRAWN` values."""
    return mean_interval(values) if len(values) >= LEAST_DRAWN else None


def share_interval(share: float, number: int) -> Interval:
    """Wilson's interval of a share of `number` independent trials."""
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    centre = (share + z * z / (2 * number)) / (1 + z * z / number)
    reach = z / (1 + z * z / number) * math.sqrt(share * (1 - share) / number + z * z / (4 * number * number))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def ratio_interval(upper: Sequence[float], lower: Sequence[float]) -> Interval | None:
    """Percentile bootstrap interval of mean(upper) / mean(lower). Pairs are drawn, with a fixed seed.

    None for fewer than two pairs, or if a drawn mean of `lower` is not above 0.
    """
    upper, lower = np.asarray(upper, np.float64), np.asarray(lower, np.float64)
    if upper.shape != lower.shape:
        raise ValueError(f"{upper.shape} and {lower.shape} values do not form pairs; give the same number of both")
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


def bca_intervals(values: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Bias-corrected and accelerated bootstrap intervals of the mean of each row of (rows, n). All rows use the same
    drawn indices.

    A bootstrap of n values is too narrow for two reasons: its variance is short by (n - 1) / n, and it takes the normal
    instead of Student's distribution. The level is raised for both (Hesterberg, The American Statistician 69, 2015:
    expanded percentiles).

    Returns:
        (rows, 2): low and high; NaN if n < 2 or all values of a row are equal.
    """
    values = np.asarray(values, np.float64)
    number = values.shape[1]
    edges = np.full((len(values), 2), np.nan)
    if number < 2:
        return edges
    varied = np.flatnonzero(np.ptp(values, axis=1) > 1e-12 * np.abs(values).max(axis=1))
    size = max(1, BLOCK // (draws * number))
    for start in range(0, len(varied), size):
        rows = varied[start : start + size]
        edges[rows] = _bca((values[rows],), lambda x, axis: x.mean(axis=axis), number, draws, seed)
    return edges


def bca_interval_of_two(first: Sequence[float], second: Sequence[float], draws: int = DRAWS) -> Interval | None:
    """The BCa interval of mean(first) - mean(second) for independent samples.

    The smaller sample decides how far the level is raised. None if a sample has fewer than two values, or if all values
    of each sample are equal.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if min(len(first), len(second)) < 2 or not (np.ptp(first) or np.ptp(second)):
        return None
    smaller = min(len(first), len(second))
    low, high = _bca((first, second), lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis), smaller, draws, 0)
    return None if math.isnan(low) or math.isnan(high) else (float(low), float(high))


def _bca(samples: tuple[np.ndarray, ...], statistic, number: int, draws: int, seed: int) -> np.ndarray:
    reach = math.sqrt(number / (number - 1)) * stats.t.ppf((1 + LEVEL) / 2, number - 1)
    level = min(1 - 2 * stats.norm.sf(reach), 1 - 2 / draws)  # there is no quantile beyond the last draw
    result = stats.bootstrap(
        samples, statistic, n_resamples=draws, vectorized=True, axis=-1, confidence_level=level, method="BCa",
        random_state=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return np.stack([result.low, result.high], axis=-1)


def sign_flip_p(values: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Two-sided p of the mean of each row of (rows, n) differences, if each sign were + or - with equal probability.

    If there are at most `draws` combinations of signs (2 ** n), all are tried and p is exact. Else `draws` combinations
    are drawn with the seed, and the observed one is counted with them. NaN without values.
    `scipy.stats.permutation_test` gives the same result in 20 times the time.
    """
    values = np.asarray(values, np.float64)
    number = values.shape[1]
    if number == 0:
        return np.full(len(values), np.nan)
    is_exact = 2**number <= draws
    if is_exact:
        signs = (np.arange(2**number)[:, None] >> np.arange(number) & 1) * 2.0 - 1
    else:
        signs = np.random.default_rng(seed).integers(2, size=(draws, number)) * 2.0 - 1
    sums = np.empty(len(values))
    size = max(1, BLOCK // len(signs))
    for start in range(0, len(values), size):
        rows = values[start : start + size]
        least = np.abs(rows.sum(axis=1)) - 1e-12 * np.abs(rows).sum(axis=1)  # ties up to rounding count
        sums[start : start + size] = (np.abs(signs @ rows.T) >= least).sum(axis=0)
    return sums / len(signs) if is_exact else (sums + 1) / (draws + 1)


def label_p(first: np.ndarray, second: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Two-sided p of the difference of means of two independent samples, (..., n) and (..., k), by exchanging labels.

    The statistic is the absolute value of Welch's t, so that unequal variances are rarely mistaken for unequal means
    (Chung and Romano, Annals of Statistics 41, 2013). p is exact for at most `draws` labellings; else labellings are
    drawn with the seed.
    """
    answer = stats.permutation_test(
        (np.asarray(first, np.float64), np.asarray(second, np.float64)), _welch_size, permutation_type="independent",
        vectorized=True, n_resamples=draws, axis=-1, alternative="greater", random_state=np.random.default_rng(seed),
    )  # fmt: skip
    return np.asarray(answer.pvalue)


def _welch_size(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
    difference = first.mean(axis=axis) - second.mean(axis=axis)
    variance = sum(x.var(axis=axis, ddof=1) / x.shape[axis] for x in (first, second))
    return np.abs(difference) / np.sqrt(np.maximum(variance, 1e-24 * difference**2) + np.finfo(float).tiny)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p of the m comparisons along the last axis. NaN stays NaN and counts as a comparison."""
    p = np.asarray(p, np.float64)
    order = np.argsort(p, axis=-1)  # NaN last
    scaled = np.take_along_axis(p, order, -1) * np.arange(p.shape[-1], 0, -1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(scaled, axis=-1), 1), -1)
    return adjusted


def draws_for(comparisons: int) -> int:
    """Draws needed so that the smallest possible p is 1/20 of the significance level after correction."""
    return max(DRAWS, math.ceil(20 * comparisons / ALPHA))


def needed_clips(comparisons: int) -> int:
    """The fewest clips whose smallest possible sign-flip p, 2 ** (1 - n), is significant after correction."""
    return 1 + math.ceil(math.log2(comparisons / ALPHA))


def needed_clips_of_two(comparisons: int) -> int:
    """The fewest clips in each of two groups whose smallest possible p of exchanged labels is significant."""
    number = 2
    while 2 * comparisons / math.comb(2 * number, number) > ALPHA:
        number += 1
    return number


def detectable_difference(values: Sequence[float], comparisons: int = 1) -> float | None:
    """The true mean that a t test detects in 80 % of samples of the same size and spread as these values.

    A test without a significant result does not rule out a smaller effect. Cohen, Statistical Power Analysis, 1988,
    section 2.3.

    Args:
        values: one difference per clip.
        comparisons: their number in the family; each is tested at 5 % divided by this number (Bonferroni).

    Returns:
        A value above 0, in the unit of the values; None for fewer than two values, or if all are equal.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2 or not np.ptp(values):
        return None
    return _detectable(float(values.std(ddof=1)) / math.sqrt(len(values)), len(values) - 1, comparisons)


def detectable_difference_of_two(first: Sequence[float], second: Sequence[float], comparisons: int = 1) -> float | None:
    """The detectable difference of mean(first) - mean(second) for two independent samples, with Welch's t test."""
    samples = [np.asarray(values, np.float64) for values in (first, second)]
    if min(map(len, samples)) < 2 or not any(map(np.ptp, samples)):
        return None
    parts = [float(values.var(ddof=1)) / len(values) for values in samples]
    freedom = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, samples, strict=True))
    return _detectable(math.sqrt(sum(parts)), freedom, comparisons)


def _detectable(error: float, freedom: float, comparisons: int) -> float:
    """The effect that a two-sided t test detects with probability `POWER`, given its standard error."""
    edge = float(stats.t.ppf(1 - ALPHA / comparisons / 2, freedom))

    def lacking(effect: float) -> float:  # at this power the other tail adds nothing
        return float(stats.nct.sf(edge, freedom, effect)) - POWER

    return error * float(optimize.brentq(lacking, 0.0, 2 * edge + 5))
