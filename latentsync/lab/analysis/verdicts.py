"""Differences between two settings, as they are judged: their estimates, and what can be said of them in words.

`comparisons` computes them from a sweep's table.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from latentsync.lab.analysis.intervals import (
    ALPHA,
    LEAST_UNITS,
    Interval,
    detectable,
    equivalence_p,
    needed_clips,
    needed_clips_of_two,
)


@dataclass(frozen=True)
class Estimate:
    """The mean of differences over units with its error, and what follows from it.

    Attributes:
        values: one difference per unit, (n,); those that come from rounding are 0.
        mean: None without units.
        error, freedom: of Student's t. The error is NaN if no interval is possible.
        voices: the number of voices that units share; 0 if they share none. From 3 on errors are clustered by unit and
            voice.
        interval: by Student's t; None below 3 units, or if all units have the same difference.
        bca: the BCa interval, from 8 units on where errors are not clustered.
        p, least_p: of the test, and the smallest that these units could give; None and NaN without a test.
    """

    values: np.ndarray
    mean: float | None
    error: float
    freedom: float
    voices: int
    interval: Interval | None
    bca: Interval | None
    p: float | None
    least_p: float

    def equivalence_p(self, margin: float | None) -> float:
        """p of equivalence within the margin; NaN without an interval or a margin. Equal units are equivalent."""
        if margin is None or self.mean is None:
            return math.nan
        if not np.any(self.values) and len(self.values) >= LEAST_UNITS:
            return 0.0
        return math.nan if self.interval is None else equivalence_p(self.mean, self.error, self.freedom, margin)

    def detectable(self, comparisons: int) -> float:
        """The true difference that is found in 80 % of studies of this size; NaN without an interval."""
        return math.nan if self.interval is None else detectable(self.error, self.freedom, comparisons)


class _Estimated:
    """What a difference takes from its estimate."""

    estimate: Estimate

    @property
    def difference(self) -> float | None:
        """The mean of the estimate; None if no unit has both sides."""
        return self.estimate.mean

    @property
    def interval(self) -> Interval | None:
        """The t interval: Student's, or Welch's between two groups."""
        return self.estimate.interval

    @property
    def p(self) -> float | None:
        """p of the test, not corrected."""
        return self.estimate.p


@dataclass(frozen=True)
class PairedDifference(_Estimated):
    """A metric at one setting minus the same metric at the baseline, over units.

    `unit` is "speaker" or "clip". `differing` is the number of units whose difference is not 0; a sign-flip test uses
    only these. `unpaired` is the number of records without a partner or a value.
    """

    metric: str
    column: str
    setting: Any
    baseline: Any
    unit: str
    clips: int
    unpaired: int
    estimate: Estimate

    @property
    def units(self) -> int:
        """The number of units."""
        return len(self.estimate.values)

    @property
    def differing(self) -> int:
        """The number of units whose difference is not 0."""
        return int(np.count_nonzero(self.estimate.values))

    def verdict(self, judged: "Judged") -> str:
        """The conclusion in words."""
        units = _counted(self.units, self.unit)
        if not self.units:
            return "no comparison: no clip has both settings"
        if not self.differing:
            return f"equal in {units}"
        if not (judged.is_significant or judged.is_possible):
            return (
                f"too few {self.unit}s: {self.differing} of {units} differ, and {_compared(judged.comparisons)} "
                f"{'needs' if judged.comparisons == 1 else 'need'} at least {needed_clips(judged.comparisons)}"
            )
        return _verdict(self.estimate, judged, units, "higher", "lower")


@dataclass(frozen=True)
class Interaction(_Estimated):
    """How much more a setting changes a metric in the first group of clips than in the second.

    `units`, `clips` and `differences` have a value for each group; `estimate.mean` is the first minus the second, and
    `estimate` has Welch's interval. The test exchanges the groups of units. `judged` is None until `judge` has
    corrected p for the family of tests; before, the verdict is that of a single test.
    """

    metric: str
    column: str
    setting: Any
    baseline: Any
    groups: tuple[str, str]
    unit: str
    units: tuple[int, int]
    clips: tuple[int, int]
    differences: tuple[float, float]
    estimate: Estimate
    judged: "Judged | None" = None

    @property
    def can_be_significant(self) -> bool:
        """Whether any result of this many units could be significant."""
        if self.judged is not None:
            return self.judged.is_possible
        return self.estimate.least_p <= ALPHA

    @property
    def verdict(self) -> str:
        """The conclusion in words."""
        first, second = self.groups
        counts = f"{self.units[0]} and {_counted(self.units[1], self.unit)}"
        if not all(self.units):
            lacking = " and ".join(group for group, n in zip(self.groups, self.units, strict=True) if not n)
            return f"no comparison: no {lacking} clip has both settings"
        judged = self.judged or judge_one(self.estimate)
        if self.p is not None and not np.any(self.estimate.values):
            return f"equal in {counts}"
        if not (judged.is_significant or judged.is_possible):
            needed = needed_clips_of_two(judged.comparisons)
            verb = "needs" if judged.comparisons == 1 else "need"
            return (
                f"too few {self.unit}s ({counts}): {_compared(judged.comparisons)} {verb} about {needed} in each group"
            )
        return _verdict(
            self.estimate, judged, counts, f"more in {first} than in {second}", f"less in {first} than in {second}"
        )


@dataclass(frozen=True)
class Judged:
    """A difference within its family of tests.

    Attributes:
        comparisons: the number of tests in the family.
        p_holm: p after Holm's correction; NaN without a test.
        is_possible: whether any data of these units could be significant, for some order of Holm's steps.
        margin, p_equivalent, p_equivalent_holm: of equivalence, plain and after Holm's correction over the equivalence
            tests of the family; NaN without.
        detectable: the true difference that is found in 80 % of studies of this size; NaN without an interval.
    """

    comparisons: int
    p_holm: float
    is_possible: bool
    margin: float = math.nan
    p_equivalent: float = math.nan
    p_equivalent_holm: float = math.nan
    detectable: float = math.nan

    @property
    def is_significant(self) -> bool:
        """Whether the difference is shown."""
        return self.p_holm <= ALPHA

    @property
    def is_equivalent(self) -> bool:
        """Whether it is shown that the difference lies within the margin."""
        return self.p_equivalent_holm <= ALPHA


def judge_one(estimate: Estimate) -> Judged:
    """A difference that is the only one of its family."""
    p = math.nan if estimate.p is None else estimate.p
    return Judged(1, p, estimate.least_p <= ALPHA, detectable=estimate.detectable(1))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _compared(number: int) -> str:
    return _counted(number, "comparison")


def _verdict(estimate: Estimate, judged: Judged, counts: str, higher: str, lower: str) -> str:
    """The words for a tested difference. They give its direction only if it is significant."""
    within = f"equivalent within {judged.margin:.2g} (p {judged.p_equivalent_holm:.2g}, {counts})"
    if judged.is_significant:
        reaches = estimate.interval is not None and estimate.interval[0] <= 0 <= estimate.interval[1]
        way = higher if estimate.mean > 0 else lower
        notes = (
            "; the interval contains 0" * reaches + f"; within the margin of {judged.margin:.2g}" * judged.is_equivalent
        )
        return f"{way} (p {judged.p_holm:.2g}, {counts}){notes}"
    if judged.is_equivalent:
        return within
    text = f"no significant difference (p {judged.p_holm:.2g}, {counts})"
    if math.isnan(judged.detectable):
        return text
    return f"{text}; 80 % of such studies would find one of {judged.detectable:.2g}"
