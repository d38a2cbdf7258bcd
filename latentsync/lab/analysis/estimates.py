"""Means of differences over units, with their errors, intervals and tests; many at once, since they share their draws.

Differences come by unit, clip and voice, as `comparisons` finds them in a table.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from latentsync.lab.analysis.intervals import (
    LEAST_BCA,
    LEAST_UNITS,
    UNBOUNDED,
    Interval,
    bca_intervals,
    bca_intervals_of_two,
    draws_for,
    label_least,
    label_p,
    sign_flip_least,
    sign_flip_p,
    t_interval,
    t_p,
    welch_error,
)
from latentsync.lab.analysis.units import clustered_error, over_units, shared_voices, weights_of
from latentsync.lab.analysis.verdicts import Estimate

NOTHING = Estimate(np.empty(0), None, math.nan, 0, 0, None, None, None, math.nan)


@dataclass(frozen=True)
class Sample:
    """Differences by `unit`, `clip` and `voice`.

    Attributes:
        dust: differences that are not larger come from rounding.
        bounds: the least and the greatest possible difference.
    """

    cells: pd.Series
    dust: float = 0.0
    bounds: Interval = UNBOUNDED

    @cached_property
    def of_units(self) -> pd.Series:
        """One difference per unit; those that come from rounding are 0."""
        values = over_units(self.cells.to_frame("difference"))["difference"]
        return values.where(values.abs() > self.dust, 0.0)

    @property
    def values(self) -> np.ndarray:
        """One difference per unit, (n,)."""
        return self.of_units.to_numpy()

    def labels(self, name: str) -> pd.Index:
        """The unit, clip or voice of each difference."""
        return self.cells.index.get_level_values(name)


def estimate_of(cells: pd.Series) -> Estimate:
    """The mean of differences by `unit`, `clip` and `voice`, see `estimates_of`."""
    return estimates_of([Sample(cells)])[0]


def estimates_of(samples: Sequence[Sample], comparisons: int = 1) -> list[Estimate]:
    """The mean of each sample over units with its interval and its test.

    The test flips the signs of units, or is Student's with clustered errors if units share voices.

    Args:
        comparisons: in the family; sets the number of draws.
    """
    draws, estimates = draws_for(comparisons), [untested(one) for one in samples]
    lengths = [len(one.values) if _lacks_test(one) else 0 for one in estimates]
    for number, places in _places(lengths):
        rows = np.stack([estimates[place].values for place in places])
        edges = bca_intervals(rows) if number >= LEAST_BCA else np.full((len(rows), 2), np.nan)
        for place, p, bca in zip(places, sign_flip_p(rows, draws), edges, strict=True):
            own = estimates[place]
            estimates[place] = replace(
                own,
                bca=None if own.interval is None else _bounded(bca, samples[place].bounds),
                p=float(p),
                least_p=sign_flip_least(int(np.count_nonzero(own.values)), draws),
            )
    return estimates


def untested(one: Sample) -> Estimate:
    """The estimate of `estimates_of` without what needs draws: a BCa interval, and a test unless voices are shared."""
    values = one.values
    number = len(values)
    if not number:
        return NOTHING
    mean, voices = float(values.mean()), shared_voices(one.cells)
    if voices >= LEAST_UNITS and number >= LEAST_UNITS:
        scores = weights_of(one.cells) * (one.cells.to_numpy() - mean)
        return _clustered(values, mean, scores, [one.labels("unit"), one.labels("voice")], one)
    error = float(values.std(ddof=1)) / math.sqrt(number) if number > 1 else math.nan
    is_told = number >= LEAST_UNITS and np.ptp(values) > one.dust
    interval = t_interval(mean, error, number - 1, one.bounds) if is_told else None
    return Estimate(values, mean, error, number - 1, voices, interval, bca=None, p=None, least_p=math.nan)


def _lacks_test(one: Estimate) -> bool:
    return one.mean is not None and one.p is None


def _places(lengths: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Each length above 0 with the places where it stands."""
    for length in sorted(set(lengths) - {0}):
        yield length, [place for place, other in enumerate(lengths) if other == length]


def _bounded(edges: Iterable[float], bounds: Interval) -> Interval | None:
    low, high = map(float, edges)
    return None if math.isnan(low) else (max(low, bounds[0]), min(high, bounds[1]))


def _clustered(
    values: np.ndarray, mean: float, scores: np.ndarray, labels: Sequence[pd.Index], one: Sample
) -> Estimate:
    """The estimate of a mean whose errors are clustered by unit and by voice."""
    error, freedom = clustered_error(scores, *labels)
    is_told = error * len(values) > one.dust
    return Estimate(
        values=values,
        mean=mean,
        error=error if is_told else math.nan,
        freedom=freedom,
        voices=len(set(labels[1])),
        interval=t_interval(mean, error, freedom, one.bounds) if is_told else None,
        bca=None,
        p=t_p(mean, error, freedom) if np.any(values) else 1.0,
        least_p=0.0,
    )


def estimates_of_two(pairs: Sequence[tuple[Sample, Sample]], comparisons: int = 1) -> list[Estimate]:
    """The difference of the means of two independent samples, for each pair, with its interval and its test.

    The test exchanges the labels of units, or is Student's with clustered errors if units share voices. Dust and bounds
    are those of the first sample; `values` are those of the first and the negative ones of the second.

    Args:
        comparisons: in the family; sets the number of draws.
    """
    draws, estimates = draws_for(comparisons), []
    sizes: dict[tuple[int, int], list[int]] = {}
    values = [(one.values, other.values) for one, other in pairs]
    for place, (both, (first, second)) in enumerate(zip(pairs, values, strict=True)):
        estimates.append(_by_welch(both, first, second, draws))
        if _lacks_test(estimates[-1]) and min(len(first), len(second)) > 1:
            sizes.setdefault((len(first), len(second)), []).append(place)
    for (number, other), places in sizes.items():
        rows = [np.stack([values[place][side] for place in places]) for side in (0, 1)]
        has_bca = min(number, other) >= LEAST_BCA
        edges = bca_intervals_of_two(*rows) if has_bca else np.full((len(places), 2), np.nan)
        for place, p, bca in zip(places, label_p(*rows, draws), edges, strict=True):
            own = estimates[place]
            estimates[place] = replace(
                own,
                bca=None if own.interval is None else _bounded(bca, pairs[place][0].bounds),
                p=float(p),
            )
    return estimates


def _by_welch(pair: tuple[Sample, Sample], first: np.ndarray, second: np.ndarray, draws: int) -> Estimate:
    """The estimate of two samples, without a test where that needs draws."""
    one, values = pair[0], np.concatenate([first, -second])
    if not (len(first) and len(second)):
        return replace(NOTHING, values=values)
    mean, least, both = float(first.mean() - second.mean()), min(len(first), len(second)), [own.cells for own in pair]
    if shared_voices(whole := pd.concat(both)) >= LEAST_UNITS and least >= LEAST_UNITS:
        scores = [sign * weights_of(own) * (own - own.mean()) for sign, own in zip((1, -1), both, strict=True)]
        labels = [whole.index.get_level_values(name) for name in ("unit", "voice")]
        return _clustered(values, mean, np.concatenate(scores), labels, one)
    if least < 2:
        return replace(NOTHING, values=values, mean=mean)
    error, freedom = welch_error(first, second)
    varies = max(np.ptp(first), np.ptp(second)) > one.dust
    interval = t_interval(mean, error, freedom, one.bounds) if least >= LEAST_UNITS and varies else None
    is_equal = not varies and abs(mean) <= one.dust
    return Estimate(
        values=np.zeros_like(values) if is_equal else values,
        mean=mean,
        error=error,
        freedom=freedom,
        voices=shared_voices(whole),
        interval=interval,
        bca=None,
        p=1.0 if is_equal else None,
        least_p=label_least(len(first), len(second), draws),
    )
