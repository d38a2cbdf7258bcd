"""Compares two settings of a sweep's table: paired differences over clips, their tests, and verdicts in words.

The unit is the clip. Two records are compared if clip, voice and seed agree. Their differences are averaged over the
seeds of a voice, then over the voices of a clip, so that intervals and tests get one value per clip.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from latentsync.config import SPEAKER_GENDERS
from latentsync.errors import OptionError
from latentsync.lab.analysis.intervals import (
    ALPHA,
    FEW,
    LEVEL,
    Interval,
    bca_interval_of_two,
    bca_intervals,
    draws_for,
    holm,
    label_p,
    mean_interval,
    needed_clips,
    needed_clips_of_two,
    sign_flip_p,
)
from latentsync.lab.tables.tidy import require_columns
from latentsync.presets import Preset


@dataclass(frozen=True)
class PairedDifference:
    """A metric at one setting minus the same metric at the baseline, over clips.

    `differing` is the number of clips whose difference is not 0; a sign-flip test uses only these. `unpaired` is the
    number of records without a partner or a value. `interval` is the BCa interval; `student` is Student's, given for
    fewer than 20 clips. Each is None if it cannot be computed.
    """

    metric: str
    column: str
    setting: Any
    baseline: Any
    clips: int
    differing: int
    unpaired: int
    difference: float | None
    interval: Interval | None
    student: Interval | None
    p: float | None

    @property
    def is_approximate(self) -> bool:
        """Whether there are too few clips for an exact bootstrap interval."""
        return self.clips < FEW

    def can_be_significant(self, comparisons: int) -> bool:
        """Whether any result of this many clips could reach significance after correcting for this many comparisons."""
        return self.differing > 0 and comparisons * 2.0 ** (1 - self.differing) <= ALPHA

    def verdict(self, p_holm: float | None, comparisons: int) -> str:
        """The conclusion in words, given p after Holm's correction for this many comparisons."""
        if not self.clips:
            return "no comparison: no clip has both settings"
        if not self.differing:
            return f"equal in {_clips(self.clips)}"
        if not self.can_be_significant(comparisons):
            return (
                f"too few clips: {self.differing} of {_clips(self.clips)} differ, and {_compared(comparisons)} "
                f"{'needs' if comparisons == 1 else 'need'} at least {needed_clips(comparisons)}"
            )
        return _said(self.difference, self.interval, p_holm, _clips(self.clips), "higher", "lower")


@dataclass(frozen=True)
class Interaction:
    """How much more a setting changes a metric in the first group of clips than in the second.

    `clips` and `differences` have a value for each group; `difference` is the first minus the second. `interval` is
    the BCa interval; `student` is Welch's, given if a group has fewer than 20 clips. Each is None if it cannot be
    computed.
    """

    metric: str
    column: str
    setting: Any
    baseline: Any
    groups: tuple[str, str]
    clips: tuple[int, int]
    differences: tuple[float, float]
    difference: float
    interval: Interval | None
    student: Interval | None
    p: float | None
    comparisons: int

    @property
    def is_approximate(self) -> bool:
        """Whether a group has too few clips for an exact bootstrap interval."""
        return min(self.clips) < FEW

    @property
    def can_be_significant(self) -> bool:
        """Whether any result of this many clips could reach significance after correcting for this many comparisons."""
        return self.p is not None and 2 * self.comparisons / math.comb(sum(self.clips), self.clips[0]) <= ALPHA

    @property
    def verdict(self) -> str:
        """The conclusion in words; p is multiplied by the number of comparisons."""
        first, second = self.groups
        counts = f"{self.clips[0]} and {self.clips[1]} clips"
        if not self.can_be_significant:
            needed = needed_clips_of_two(self.comparisons)
            verb = "needs" if self.comparisons == 1 else "need"
            return f"too few clips ({counts}): {_compared(self.comparisons)} {verb} about {needed} in each group"
        words = f"more in {first} than in {second}", f"less in {first} than in {second}"
        return _said(self.difference, self.interval, min(1.0, self.p * self.comparisons), counts, *words)


def _clips(number: int) -> str:
    return f"{number} clip{'s' if number != 1 else ''}"


def _compared(number: int) -> str:
    return f"{number} comparison{'s' if number != 1 else ''}"


def _said(difference: float, interval: Interval | None, p: float, counts: str, higher: str, lower: str) -> str:
    """The words for a tested difference. They give its direction only if it is significant."""
    if p > ALPHA:
        return f"no significant difference (p {p:.2g}, {counts})"
    reaches = interval is not None and interval[0] <= 0 <= interval[1]
    return f"{higher if difference > 0 else lower} (p {p:.2g}, {counts})" + ("; the interval contains 0" * reaches)


def per_clip(table: pd.DataFrame, columns: Sequence[str], within: Sequence[str] = ()) -> pd.DataFrame:
    """Means of columns by clip and `within`: first over the seeds of a voice, then over voices."""
    return table.groupby([*within, "clip", "voice"])[list(columns)].mean().groupby([*within, "clip"]).mean()


def clip_differences(
    table: pd.DataFrame, metric: str, column: str, setting: Any, baseline: Any,
    within: Sequence[str] = (), of_logs: bool = False,
) -> tuple[pd.Series, int]:  # fmt: skip
    """A metric at one setting minus that at another: one value per clip, and the number of records without a partner.

    Args:
        table: one row per record with `clip`, `voice`, `seed`, the metric and the column.
        within: other swept columns in which compared records must agree; differences are averaged over them too.
        of_logs: whether to take differences of natural logarithms, whose exp is a ratio. Use it for skewed metrics
            above 0.

    Raises:
        OptionError: a column is missing, no record has a setting, two records have the same clip, voice, seed and
            setting, or `of_logs` is set and a value is not above 0.
    """
    key = ["clip", "voice", *within, "seed"]
    require_columns(table, *key, column, metric)
    table = table[list(dict.fromkeys([*key, column, metric]))]  # a wide table is slow to take apart
    for value in (setting, baseline):
        if not (table[column] == value).any():
            there = ", ".join(str(v) for v in sorted(table[column].dropna().unique()))
            raise OptionError(f"no record has {column}={value}; choose two of {there}")
    if setting == baseline:
        raise OptionError(f"{column}={setting} is compared with itself; choose two settings")
    part = table[table[column].isin([setting, baseline])]
    if number := int(part.duplicated([*key, column]).sum()):
        raise OptionError(
            f"{number} records have the same {', '.join(key)} and {column} as another; keep one setting of the other "
            "swept parameters, or name these in `within`"
        )
    wide = part.pivot(index=key, columns=column, values=metric).astype(float)
    wide = wide[np.isfinite(wide).all(axis=1)]
    if of_logs:
        if not (wide > 0).all(axis=None):
            raise OptionError(f"{metric} is {wide.min(axis=None):g} in a record; logarithms need values above 0")
        wide = np.log(wide)
    differences = (wide[setting] - wide[baseline]).rename(metric).reset_index()
    return per_clip(differences, [metric])[metric], len(part) - 2 * len(wide)


def paired_difference(
    table: pd.DataFrame, metric: str, column: str, setting: Any, baseline: Any,
    within: Sequence[str] = (), of_logs: bool = False, comparisons: int = 1,
) -> PairedDifference:  # fmt: skip
    """The difference of a metric between two settings over clips, with its interval and its sign-flip p.

    Arguments and errors as for `clip_differences`. p is not corrected; `comparisons` only sets the number of draws.
    """
    differences, unpaired = clip_differences(table, metric, column, setting, baseline, within, of_logs)
    values = differences.to_numpy()
    low, high = bca_intervals(values[None])[0]
    return PairedDifference(
        metric=metric,
        column=column,
        setting=setting,
        baseline=baseline,
        clips=len(values),
        differing=int(np.count_nonzero(values)),
        unpaired=unpaired,
        difference=float(values.mean()) if len(values) else None,
        interval=None if math.isnan(low) or math.isnan(high) else (float(low), float(high)),
        student=mean_interval(values) if len(values) < FEW and np.count_nonzero(values) else None,
        p=float(sign_flip_p(values[None], draws_for(comparisons))[0]) if len(values) else None,
    )


def as_presets(table: pd.DataFrame, presets: Sequence[Preset]) -> pd.DataFrame:
    """The records of a wide table over guidance that the presets would have made, once for each preset.

    Returns:
        The table with `preset` set to the preset's name.

    Raises:
        OptionError: a gender of the table has no record with the guidance of a preset.
    """
    require_columns(table, "gender", "guidance_scale")
    parts = []
    for preset in presets:
        for gender, records in table.groupby("gender"):
            wanted = preset.guidance_scale(gender)
            part = records[np.isclose(records["guidance_scale"], wanted)]
            if part.empty:
                there = ", ".join(f"{value:g}" for value in sorted(records["guidance_scale"].unique()))
                raise OptionError(
                    f"preset {preset.name} needs guidance {wanted:g} for {gender} clips; the table has {there}"
                )
            parts.append(part.assign(preset=preset.name))
    return pd.concat(parts, ignore_index=True)


def compare_all(
    table: pd.DataFrame, metric: str | Sequence[str], column: str, baseline: Any,
    within: Sequence[str] = (), of_logs: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Compares every other setting of a column with the baseline, in one or several metrics, as one family of tests.

    Arguments and errors as for `clip_differences`. Give all metrics that you look at, because Holm's correction counts
    only these.

    Returns:
        One row per metric and setting: `metric`, `setting`, `baseline`, `difference`, `low`, `high` (BCa),
        `student_low`, `student_high` (below 20 clips, else NaN), `p`, `p_holm`, `verdict`, `clips`, `needed_clips` (the
        fewest clips with which this many comparisons can be significant at all; a small effect needs more),
        `approximate`, `unpaired`.
    """
    metrics = [metric] if isinstance(metric, str) else list(metric)
    require_columns(table, column)
    settings = [value for value in sorted(table[column].dropna().unique()) if value != baseline]
    if not settings:
        raise OptionError(f"{column} has only the value {baseline}; compare a sweep over at least two settings")
    number = len(metrics) * len(settings)
    comparisons = [
        paired_difference(table, name, column, value, baseline, within, of_logs, number)
        for name in metrics
        for value in settings
    ]
    adjusted = holm(np.array([math.nan if row.p is None else row.p for row in comparisons]))
    rows = [
        {
            "metric": row.metric,
            "setting": row.setting,
            "baseline": baseline,
            "difference": row.difference,
            **dict(zip(("low", "high"), row.interval or (math.nan, math.nan), strict=True)),
            **dict(zip(("student_low", "student_high"), row.student or (math.nan, math.nan), strict=True)),
            "p": row.p,
            "p_holm": p_holm,
            "verdict": row.verdict(p_holm, number),
            "clips": row.clips,
            "needed_clips": needed_clips(number),
            "approximate": row.is_approximate,
            "unpaired": row.unpaired,
        }
        for row, p_holm in zip(comparisons, adjusted.tolist(), strict=True)
    ]
    return pd.DataFrame(rows)


def gender_interaction(
    table: pd.DataFrame, metric: str, column: str, setting: Any, baseline: Any,
    groups: tuple[str, str] = SPEAKER_GENDERS, within: Sequence[str] = (), comparisons: int = 1,
) -> Interaction:  # fmt: skip
    """Whether a setting changes a metric more for one gender than for the other. The clips of both are independent.

    For sync use NAME_minus_real, because a measure of sync may give one gender's voices higher values. p comes from
    exchanging the labels, with Welch's t as the statistic.

    Raises:
        OptionError: as for `clip_differences`; or a group has no clip with both settings, or a clip is in both groups.
    """
    require_columns(table, "gender")
    table = table.filter(items=dict.fromkeys(["clip", "voice", "seed", "gender", *within, column, metric]))
    parts = [table[table["gender"] == group] for group in groups]
    if shared := set(parts[0]["clip"]) & set(parts[1]["clip"]):
        raise OptionError(f"{', '.join(sorted(shared))} has records of both genders; give each clip one gender")
    samples = [clip_differences(part, metric, column, setting, baseline, within)[0].to_numpy() for part in parts]
    first, second = samples
    if not (len(first) and len(second)):
        raise OptionError(f"{len(first)} and {len(second)} clips of {groups} have both settings; each group needs one")
    is_tested = min(len(first), len(second)) > 1
    student = None
    if is_tested and min(len(first), len(second)) < FEW and (np.ptp(first) or np.ptp(second)):
        welch = stats.ttest_ind(first, second, equal_var=False).confidence_interval(LEVEL)
        student = float(welch.low), float(welch.high)
    means = float(first.mean()), float(second.mean())
    return Interaction(
        metric=metric,
        column=column,
        setting=setting,
        baseline=baseline,
        groups=groups,
        clips=(len(first), len(second)),
        differences=means,
        difference=means[0] - means[1],
        interval=bca_interval_of_two(first, second),
        student=student,
        p=_p_of_two(first, second, comparisons) if is_tested else None,
        comparisons=comparisons,
    )


def _p_of_two(first: np.ndarray, second: np.ndarray, comparisons: int) -> float:
    """p of exchanged labels; 1 if all values are equal up to rounding."""
    both = np.concatenate([first, second])
    if np.ptp(both) <= 1e-12 * np.abs(both).max():
        return 1.0
    return float(label_p(first, second, draws_for(comparisons)))
