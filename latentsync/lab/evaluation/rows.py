"""A row of the evaluation: a value over clips with its interval, its bar, and whether the value reaches the bar.

A value is a mean over clips with a 95 % interval. The baselines are the scores of a model that does nothing (the
unchanged input, a frozen mouth, the mouth of the reference). A bar that a baseline reaches has no meaning.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from latentsync.lab.analysis.intervals import Interval, difference_interval, mean_interval, ratio_interval

INPUT, FROZEN, REFERENCE = "output = input", "frozen mouth", "copied reference"
BASELINE_NAMES = (INPUT, FROZEN, REFERENCE)
SCOPES = {"value": "", "interval": " (the whole interval)", "each": " (every clip)"}


@dataclass(frozen=True)
class Bar:
    """A bound for a row: at least, at most, or both.

    Attributes:
        bound: at least this, or at most this.
        at_least: which of both.
        most: with `at_least`, the value must also be at most this.
        scope: what must keep the bound: "value", "interval" (both of its ends), or "each" (the value of every clip).
    """

    bound: float
    at_least: bool = True
    most: float = math.inf
    scope: str = "value"

    def holds(self, value: float) -> bool:
        return self.bound <= value <= self.most if self.at_least else value <= self.bound

    def __str__(self) -> str:
        if self.most < math.inf:
            return f"{self.bound:g} .. {self.most:g}{SCOPES[self.scope]}"
        return f"{'>=' if self.at_least else '<='} {self.bound:g}{SCOPES[self.scope]}"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: the name of the row; `part` is the part of the evaluation that it belongs to, as in `--rows`.
        what, protocol: a short and a full description of the value.
        value, interval: None if there is a `reason`.
        number: number of clips or pairs.
        bar: None if there is no bar.
        baselines: their values by name.
        note: more about the value.
        is_void: whether the value has no meaning, because the judging network has not been trained.
        each: the values by case.
    """

    name: str
    part: str
    what: str
    protocol: str
    value: float | None
    interval: Interval | None
    number: int
    bar: Bar | None = None
    baselines: dict[str, float] = field(default_factory=dict)
    note: str = ""
    reason: str | None = None
    each: Mapping[str, float | list] = field(default_factory=dict)
    is_void: bool = False

    @property
    def passed(self) -> bool | None:
        """Whether the value reaches the bar; None without a bar or a trained judge. A missing value fails."""
        if self.bar is None or self.is_void:
            return None
        judged = {"value": [self.value], "interval": self.interval or [], "each": list(self.each.values())}
        numbers = judged[self.bar.scope]
        return self.value is not None and bool(numbers) and all(map(self.bar.holds, numbers))

    @property
    def idle_baselines(self) -> list[str]:
        """The baselines that reach the bar; there should be none."""
        if self.bar is None or self.is_void:
            return []
        return [name for name, value in self.baselines.items() if self.bar.holds(value)]


def not_measured(name: str, part: str, reason: str, what: str = "not measured") -> Row:
    """The row of a value that could not be measured."""
    return Row(name, part, what, "", None, None, 0, reason=reason)


def row_of(
    name: str, part: str, what: str, protocol: str, value: float, interval: Interval | None, number: int,
    bar: Bar | None, each: Mapping[str, float | list], **more,
) -> Row:  # fmt: skip
    """A row. A value that is not finite becomes None with a reason."""
    if not math.isfinite(value):
        more["reason"] = "the value is no finite number"
        return Row(name, part, what, protocol, None, None, number, bar, each=each, **more)
    return Row(name, part, what, protocol, value, interval, number, bar, each=each, **more)


def row_of_means(
    name: str, part: str, what: str, protocol: str, each: Mapping[str, float], bar: Bar | None, **more
) -> Row:
    """A row with a mean over cases and its t interval."""
    values = list(each.values())
    return row_of(
        name, part, what, protocol, float(np.mean(values)), mean_interval(values), len(values), bar, each, **more
    )


def row_of_differences(
    name: str, part: str, what: str, protocol: str, after: Mapping[str, float], before: Mapping[str, float],
    bar: Bar | None, **more,
) -> Row:  # fmt: skip
    """A row with the mean over cases of `after` less `before`, and its paired t interval."""
    each = {case: value - before[case] for case, value in after.items()}
    interval = difference_interval(list(after.values()), [before[case] for case in after])
    return row_of(
        name, part, what, protocol, float(np.mean(list(each.values()))), interval, len(each), bar, each, **more
    )


def ratio_of(upper: Sequence[float], lower: Sequence[float]) -> tuple[float, Interval | None]:
    """The ratio of two means with its interval; NaN if the lower mean is not above 0."""
    below = float(np.mean(lower))
    return (float(np.mean(upper)) / below, ratio_interval(upper, lower)) if below > 0 else (math.nan, None)


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """The values that are finite numbers."""
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}
