"""Intervals of means, shares, ratios and differences over clips, and tests of differences. Intervals are 95 % ones.

The functions take arrays and return numbers. `comparisons.py` applies them to the table of a sweep.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import integrate, optimize, stats

LEVEL = 0.95
ALPHA = 0.05
DRAWS = 10_000  # of a bootstrap and of a test
LEAST_UNITS = 3  # with fewer there is no interval: of two values it would be 13 times as wide as they are apart
LEAST_BCA = 8  # with fewer a bootstrap interval covers too little
FEW = 20  # with fewer units bootstrap samples are only approximate
LEAST_DRAWN = 5  # with fewer clips a figure shows the clips as dots: an interval would be wider than all of them
DUST = 1e-9  # a difference below this share of the compared values comes from rounding
POWER = 0.8  # the usual power: the probability that a test detects an existing effect
BLOCK = 2_000_000  # most drawn values in memory: 16 MB

Interval = tuple[float, float]
UNBOUNDED: Interval = (-math.inf, math.inf)


def interval_text(interval: Interval | None, form: str = "+.4f", none: str = "-") -> str:
    """An interval for people, "-0.0049 .. +0.0043".

    Args:
        form: the format of each number.
        none: what stands where there is no interval.
    """
    if interval is None or math.isnan(interval[0]):
        return none
    return f"{interval[0]:{form}} .. {interval[1]:{form}}"


def mean_interval(values: Sequence[float], bounds: Interval = UNBOUNDED) -> Interval | None:
    """Student's t interval of the mean; None for fewer than `LEAST_UNITS` values, or if all are equal.

    Args:
        bounds: the least and the greatest value that is possible, such as -1 and 1 of SSIM. The interval keeps them.
    """
    values = np.asarray(values, np.float64)
    if len(values) < LEAST_UNITS or np.ptp(values) <= DUST * np.abs(values).max():
        return None
    return t_interval(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values)), len(values) - 1, bounds)


def t_interval(mean: float, error: float, freedom: float, bounds: Interval = UNBOUNDED) -> Interval:
    """Student's t interval of a mean with this standard error and these degrees of freedom, within bounds."""
    reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    return max(mean - reach, min(mean, bounds[0])), min(mean + reach, max(mean, bounds[1]))


def t_p(mean: float, error: float, freedom: float) -> float:
    """Two-sided p of a mean of 0 by Student's t."""
    return 1.0 if mean == 0 else float(2 * stats.t.sf(abs(mean) / max(error, 1e-300), freedom))


def equivalence_p(mean: float, error: float, freedom: float, margin: float) -> float:
    """p of two one-sided t tests: small if the true mean lies within -margin .. margin.

    Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987.
    """
    if error == 0:
        return 0.0 if abs(mean) < margin else 1.0
    return float(stats.t.sf((margin - abs(mean)) / error, freedom))


def drawn_interval(values: Sequence[float], bounds: Interval = UNBOUNDED) -> Interval | None:
    """The interval of a mean as pages and figures show it; None for fewer than `LEAST_DRAWN` values."""
    return mean_interval(values, bounds) if len(values) >= LEAST_DRAWN else None


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
    """Student's t interval of the mean of paired differences; None as for `mean_interval`."""
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
    varied = np.flatnonzero(np.ptp(values, axis=1) > DUST * np.abs(values).max(axis=1))
    if len(varied):
        rows = values[varied]
        edges[varied] = _bca(_drawn_means(rows, draws, seed), rows.mean(axis=1), _skewness(rows), number)
    return edges


def bca_intervals_of_two(first: np.ndarray, second: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    """The BCa intervals of mean(first) - mean(second) for independent samples, each a row of (rows, n) and (rows, k).

    The smaller sample decides how far the level is raised.

    Returns:
        (rows, 2): low and high; NaN if a sample has fewer than two values, or if all values of each sample are equal.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    least, edges = min(first.shape[1], second.shape[1]), np.full((len(first), 2), np.nan)
    if least < 2:
        return edges
    varied = np.flatnonzero(np.ptp(first, axis=1) + np.ptp(second, axis=1))
    if len(varied):
        first, second = first[varied], second[varied]
        drawn = _drawn_means(first, draws, 0)
        drawn -= _drawn_means(second, draws, 1)
        (squares, cubes), (other_squares, other_cubes) = _moments(first), _moments(second)
        skewness = (cubes - other_cubes) / (6 * (squares + other_squares) ** 1.5)
        edges[varied] = _bca(drawn, first.mean(axis=1) - second.mean(axis=1), skewness, least)
    return edges


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sums of squares and of cubes of the influence of each value on the mean, over the last axis."""
    influence = (values - values.mean(axis=-1, keepdims=True)) / values.shape[-1]
    return (influence**2).sum(axis=-1), (influence**3).sum(axis=-1)


def _skewness(values: np.ndarray) -> np.ndarray:
    """The acceleration of a mean: a sixth of the skewness of its influences (Efron, JASA 82, 1987)."""
    squares, cubes = _moments(values)
    return cubes / (6 * squares**1.5)


def _drawn_means(values: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """The means of each row of (rows, n) in bootstrap samples, (rows, draws), a block of memory at a time."""
    generator, number = np.random.default_rng(seed), values.shape[1]
    means = np.empty((len(values), draws))
    size = max(1, BLOCK // number)
    for start in range(0, draws, size):
        drawn = generator.integers(number, size=(min(size, draws - start), number))
        offsets = number * np.arange(len(drawn))[:, None]
        counts = np.bincount((drawn + offsets).ravel(), minlength=drawn.size).reshape(drawn.shape)
        means[:, start : start + size] = values @ (counts / number).T
    return means


def _bca(drawn: np.ndarray, observed: np.ndarray, acceleration: np.ndarray, number: int) -> np.ndarray:
    """Edges (rows, 2) from drawn statistics (rows, draws) of samples of `number` values."""
    draws = drawn.shape[1]
    reach = min(math.sqrt(number / (number - 1)) * stats.t.ppf((1 + LEVEL) / 2, number - 1), stats.norm.isf(1 / draws))
    slack = 1e-12 * np.abs(observed)[:, None]  # ties up to rounding count half
    below = (drawn < observed[:, None] - slack).mean(axis=1) + (drawn <= observed[:, None] + slack).mean(axis=1)
    bias = stats.norm.ppf(np.clip(below / 2, 1 / draws, 1 - 1 / draws))
    edges = np.empty((len(drawn), 2))
    for side, z in enumerate((-reach, reach)):
        shifted = bias + (bias + z) / (1 - acceleration * (bias + z))
        shares = stats.norm.cdf(shifted)
        edges[:, side] = [np.quantile(row, share) for row, share in zip(drawn, shares, strict=True)]
    return edges


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
    total = 2**number if is_exact else draws
    least = np.abs(values.sum(axis=1)) - 1e-12 * np.abs(values).sum(axis=1)  # ties up to rounding count
    generator, counts = np.random.default_rng(seed), np.zeros(len(values))
    size = max(1, BLOCK // max(number, len(values)))
    for start in range(0, total, size):
        stop = min(start + size, total)
        if is_exact:
            signs = (np.arange(start, stop)[:, None] >> np.arange(number) & 1) * 2.0 - 1
        else:
            signs = generator.integers(2, size=(stop - start, number)) * 2.0 - 1
        counts += (np.abs(signs @ values.T) >= least).sum(axis=0)
    return counts / total if is_exact else (counts + 1) / (draws + 1)


def sign_flip_least(number: int, draws: int = DRAWS) -> float:
    """The smallest p that the sign-flip test can give for this number of differences; NaN without any."""
    if number == 0:
        return math.nan
    return 2.0 ** (1 - number) if 2**number <= draws else 1 / (draws + 1)


def label_least(first: int, second: int, draws: int = DRAWS) -> float:
    """The smallest p that exchanged labels of two groups of these sizes can give.

    With groups of one size, each labelling has a mirror image with the same difference.
    """
    labellings = math.comb(first + second, first)
    return (1 + (first == second)) / labellings if labellings <= draws else 1 / (draws + 1)


def label_p(first: np.ndarray, second: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Two-sided p of the difference of means of independent samples, by exchanging labels within each row.

    The statistic is the absolute value of Welch's t, so that unequal variances are rarely mistaken for unequal means
    (Chung and Romano, Annals of Statistics 41, 2013). p is exact for at most `draws` labellings; else labellings are
    drawn with the seed, the same for all rows. `scipy.stats.permutation_test` draws the same ones and gives the same
    result, in 20 times the time.

    Args:
        first, second: (rows, n) and (rows, k); n and k are 2 or more.
    """
    values = np.concatenate([first, second], axis=1, dtype=np.float64)
    values -= np.median(values, axis=1, keepdims=True)  # sums of squares then keep their digits beside an outlier
    size, number = np.shape(first)[1], values.shape[1]
    total = math.comb(number, size)
    is_exact = total <= draws
    observed = _welch_sizes((np.arange(number) < size)[None] * 1.0, values)[0]
    least, counts = observed * (1 - 1e-10) - 1e-10, np.zeros(len(values))  # ties up to rounding count
    chosen = _all_labels(number, size) if is_exact else _drawn_labels(number, size, draws, seed)
    while rows := list(itertools.islice(chosen, max(1, BLOCK // max(number, len(values))))):
        labels = np.zeros((len(rows), number))
        np.put_along_axis(labels, np.array(rows), 1.0, axis=1)
        counts += (_welch_sizes(labels, values) >= least).sum(axis=0)
    if is_exact:  # the observed labelling is one of all, and so is its mirror image
        return np.maximum(counts, 1 + (2 * size == number)) / total
    return (counts + 1) / (draws + 1)


def _all_labels(number: int, size: int) -> Iterator[Sequence[int]]:
    return itertools.combinations(range(number), size)


def _drawn_labels(number: int, size: int, draws: int, seed: int) -> Iterator[Sequence[int]]:
    generator = np.random.default_rng(seed)
    return (generator.permutation(number)[:size] for _ in range(draws))


def _welch_sizes(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Welch's |t| for each labelling (labellings, n), 1 in the first group and else 0, of each row of (rows, n)."""
    difference, error = 0.0, 0.0
    for sign, own in ((1, labels), (-1, 1 - labels)):
        size = own[0].sum()
        mean = own @ values.T / size
        difference += sign * mean
        error += np.maximum(own @ (values**2).T / size - mean**2, 0) / (size - 1)  # squared
    return np.abs(difference) / np.sqrt(np.maximum(error, 1e-24 * difference**2) + np.finfo(float).tiny)


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
        values: one difference per unit.
        comparisons: their number in the family; each is tested at 5 % divided by this number (Bonferroni).

    Returns:
        A value above 0, in the unit of the values; None for fewer than two values, or if all are equal.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2 or not np.ptp(values):
        return None
    return detectable(float(values.std(ddof=1)) / math.sqrt(len(values)), len(values) - 1, comparisons)


def detectable_difference_of_two(first: Sequence[float], second: Sequence[float], comparisons: int = 1) -> float | None:
    """The detectable difference of mean(first) - mean(second) for two independent samples, with Welch's t test."""
    samples = [np.asarray(values, np.float64) for values in (first, second)]
    if min(map(len, samples)) < 2 or not any(map(np.ptp, samples)):
        return None
    return detectable(*welch_error(*samples), comparisons)


def welch_error(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """The standard error of mean(first) - mean(second), and Welch's degrees of freedom."""
    parts = [float(values.var(ddof=1)) / len(values) for values in (first, second)]
    if not sum(parts):
        return 0.0, float(min(len(first), len(second)) - 1)
    share = [part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True)]
    return math.sqrt(sum(parts)), sum(parts) ** 2 / sum(share)


def units_to_detect(difference: float, deviation: float, comparisons: int = 1) -> int:
    """The number of units with which a t test detects a true mean in 80 % of studies.

    Args:
        difference: the true mean, not 0.
        deviation: the standard deviation of a unit's difference.
        comparisons: as for `detectable_difference`.
    """
    if not difference or not math.isfinite(difference):
        raise ValueError(f"difference is {difference}; give a difference other than 0")
    number = LEAST_UNITS
    while detectable(deviation / math.sqrt(number), number - 1, comparisons) > abs(difference):
        number = max(number + 1, int(number * 1.02))
    return number


def luck_of_the_best(number: int) -> float:
    """How many standard errors the best of several equal settings seems better than their mean, by luck alone."""
    return float(integrate.quad(lambda z: z * number * stats.norm.pdf(z) * stats.norm.cdf(z) ** (number - 1), -9, 9)[0])


def detectable(error: float, freedom: float, comparisons: int) -> float:
    """The effect that a two-sided t test detects with probability `POWER`, given its standard error and freedom."""
    edge = float(stats.t.ppf(1 - ALPHA / comparisons / 2, freedom))

    def lacking(effect: float) -> float:  # at this power the other tail adds nothing
        return float(stats.nct.sf(edge, freedom, effect)) - POWER

    return error * float(optimize.brentq(lacking, 0.0, 2 * edge + 5))
