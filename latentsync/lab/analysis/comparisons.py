"""Compares two settings of a sweep's table: paired differences over speakers or clips, and tests, judged by `verdicts`.

Two records are compared if clip, voice and seed agree. Their differences are averaged over the seeds of a voice, the
voices of a clip and the clips of a speaker, so that intervals and tests get one value per unit (`units`). Where units
share voices, errors are clustered by unit and by voice.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from latentsync.config import SPEAKER_GENDERS
from latentsync.errors import OptionError
from latentsync.lab.analysis.estimates import Sample, estimates_of, estimates_of_two
from latentsync.lab.analysis.intervals import ALPHA, Interval, holm, needed_clips
from latentsync.lab.analysis.pairing import Pairs, records_of
from latentsync.lab.analysis.seeds import SETTINGS, margins
from latentsync.lab.analysis.units import unit_kind
from latentsync.lab.analysis.verdicts import Interaction, Judged, PairedDifference
from latentsync.lab.records.labels import varied
from latentsync.lab.tables.tidy import require_columns
from latentsync.metrics.definitions import bounds_of
from latentsync.presets import Preset

# --- differences ---


def swept_beside(table: pd.DataFrame, column: str) -> list[str]:
    """The other swept parameters; compared records must agree in these."""
    swept = [name for name in SETTINGS if name in table and table[name].nunique() > 1]
    if column == "preset":  # a preset is a guidance_scale for each gender
        swept = [name for name in swept if name != "guidance_scale"]
    names = [name for name in (*swept, *varied(table)) if name != column]
    if column == "model":  # a model has its own values of some options, which may depend on the clip
        own = table.groupby([name for name in ("model", "clip", "voice") if name in table], dropna=False)
        names = [name for name in names if own[name].nunique(dropna=False).max() > 1]
    return names


def paired(
    table: pd.DataFrame, metric: str, column: str, setting: Any, baseline: Any,
    within: Sequence[str] = (), of_logs: bool = False,
) -> tuple[pd.Series, float, int]:  # fmt: skip
    """A metric at one setting minus that at another, averaged over the seeds of a voice.

    Args:
        table: one row per record with `clip`, `voice`, `seed`, the metric and the column, and `group` where speakers
            are known.
        within: other swept columns in which compared records must agree; differences are averaged over them too.
        of_logs: whether to take differences of natural logarithms, whose exp is a ratio. Use it for skewed metrics
            above 0.

    Returns:
        The differences by `unit`, `clip` and `voice`; the difference below which a value comes from rounding; and the
        number of records without a partner.

    Raises:
        OptionError: a column is missing or has no numbers, no record has a setting, two records have the same clip,
            voice, seed and setting, compared records differ in another option, or `of_logs` is set and a value is not
            above 0.
    """
    pairs = Pairs(records_of(table, [metric], column, within), column, setting, baseline, within)
    sample, unpaired = pairs.sample(metric, of_logs)
    return sample.cells, sample.dust, unpaired


def unit_differences(
    table: pd.DataFrame, metric: str, column: str, setting: Any, baseline: Any,
    within: Sequence[str] = (), of_logs: bool = False,
) -> tuple[pd.Series, int]:  # fmt: skip
    """A metric at one setting minus that at another: one value per unit, and the number of records without a partner.

    Arguments and errors as for `paired`.
    """
    cells, dust, unpaired = paired(table, metric, column, setting, baseline, within, of_logs)
    return Sample(cells, dust).of_units, unpaired


def paired_difference(
    table: pd.DataFrame, metric: str, column: str, setting: Any, baseline: Any,
    within: Sequence[str] = (), of_logs: bool = False, comparisons: int = 1,
) -> PairedDifference:  # fmt: skip
    """The difference of a metric between two settings over units, with its interval and its p.

    Arguments and errors as for `paired`. p is not corrected; `comparisons` only sets the number of draws.
    """
    records = records_of(table, [metric], column, within)
    pairs = {setting: Pairs(records, column, setting, baseline, within)}
    return _differences(pairs, [metric], column, baseline, unit_kind(table), of_logs, comparisons)[0]


def _differences(
    pairs: Mapping[Any, Pairs], metrics: Sequence[str], column: str, baseline: Any, unit: str, of_logs: bool,
    comparisons: int,
) -> list[PairedDifference]:  # fmt: skip
    cases = [(name, setting) for name in metrics for setting in pairs]
    found = [pairs[setting].sample(name, of_logs, bounds_of_difference(name)) for name, setting in cases]
    estimates = estimates_of([sample for sample, _ in found], comparisons)
    return [
        PairedDifference(name, column, setting, baseline, unit, sample.labels("clip").nunique(), unpaired, estimate)
        for (name, setting), (sample, unpaired), estimate in zip(cases, found, estimates, strict=True)
    ]


def bounds_of_difference(metric: str) -> Interval:
    """The least and the greatest possible difference of two values of a metric."""
    low, high = bounds_of(metric)
    return low - high, high - low


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


# --- families of tests ---


def compare_all(
    table: pd.DataFrame, metric: str | Sequence[str], column: str, baseline: Any,
    within: Sequence[str] = (), of_logs: bool = False, margin: float | Mapping[str, float] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Compares every other setting of a column with the baseline, in one or several metrics, as one family of tests.

    Women against men (`interactions`) belong to the same family, where a table has enough of both. Arguments and errors
    as for `paired` and `seeds.margins`. Give all metrics that you look at, because Holm's correction counts only these.

    Returns:
        One row per metric and setting: `metric`, `setting`, `baseline`, `difference`, `low`, `high` (Student's t),
        `bca_low`, `bca_high` (from 8 units on, else NaN), `p`, `p_holm`, `verdict`, `detectable` (the true difference
        that 80 % of such studies would find), `margin`, `p_equivalent` and `p_equivalent_holm` (of equivalence within
        the margin: two one-sided t tests), `unit` (speaker or clip), `units`, `clips`, `voices` (that units share),
        `needed_clips` (the fewest units with which this many comparisons can be significant at all; a small effect
        needs more), `unpaired`.
    """
    names = [metric] if isinstance(metric, str) else list(metric)
    differences = differences_of(table, names, column, baseline, within, of_logs)
    beside = interactions(table, names, column, baseline, within, of_logs)
    return judge(differences, beside, margins(table, names, None if of_logs and margin is None else margin))[0]


def differences_of(
    table: pd.DataFrame, metrics: Sequence[str], column: str, baseline: Any,
    within: Sequence[str] = (), of_logs: bool = False,
) -> list[PairedDifference]:  # fmt: skip
    """The difference of each other setting of a column from the baseline, in each metric. Errors as for `paired`."""
    pairs = _all_pairs(table, metrics, column, baseline, within)
    number = 2 * len(metrics) * len(pairs)
    return _differences(pairs, metrics, column, baseline, unit_kind(table), of_logs, number)


def _all_pairs(
    table: pd.DataFrame, metrics: Sequence[str], column: str, baseline: Any, within: Sequence[str]
) -> dict[Any, Pairs]:
    """The pairs of each other setting with the baseline."""
    settings, records = _other_settings(table, column, baseline), records_of(table, metrics, column, within)
    return {value: Pairs(records, column, value, baseline, within) for value in settings}


def _other_settings(table: pd.DataFrame, column: str, baseline: Any) -> list:
    require_columns(table, column)
    settings = [value for value in sorted(table[column].dropna().unique()) if value != baseline]
    if not settings:
        raise OptionError(f"{column} has only the value {baseline}; compare a sweep over at least two settings")
    return settings


def judge(
    differences: Sequence[PairedDifference], interactions: Sequence[Interaction],
    margins: Mapping[str, float | None] | None = None,
) -> tuple[pd.DataFrame, list[Interaction]]:  # fmt: skip
    """Corrects p for all tests together, and gives each difference its verdict.

    An interaction that no data of its units could show counts as no test (Tarone, Biometrics 46, 1990).

    Args:
        margins: by metric, within which settings count as equivalent.

    Returns:
        The rows of `compare_all`, and the interactions with their place in the family.
    """
    tested = [one for one in interactions if one.estimate.least_p <= ALPHA]
    estimates = [one.estimate for one in (*differences, *tested)]
    number = len(estimates)
    adjusted = holm(np.array([math.nan if one.p is None else one.p for one in estimates]))
    best = holm(np.array([one.least_p for one in estimates]))
    of_metrics = [(margins or {}).get(one.metric) for one in (*differences, *tested)]
    equivalence = np.array([one.equivalence_p(margin) for one, margin in zip(estimates, of_metrics, strict=True)])
    equivalent = holm(equivalence)
    judged = [
        Judged(
            number,
            float(adjusted[i]),
            bool(best[i] <= ALPHA),
            math.nan if of_metrics[i] is None else of_metrics[i],
            float(equivalence[i]),
            float(equivalent[i]),
            one.detectable(number),
        )
        for i, one in enumerate(estimates)
    ]
    rows = [_row(one, own) for one, own in zip(differences, judged, strict=False)]
    places = {id(one): own for one, own in zip(tested, judged[len(differences) :], strict=True)}
    none = Judged(max(number, 1), math.nan, False)
    return pd.DataFrame(rows), [replace(one, judged=places.get(id(one), none)) for one in interactions]


def _row(one: PairedDifference, judged: Judged) -> dict[str, Any]:
    nothing = math.nan, math.nan
    return {
        "metric": one.metric,
        "setting": one.setting,
        "baseline": one.baseline,
        "difference": math.nan if one.difference is None else one.difference,
        **dict(zip(("low", "high"), one.interval or nothing, strict=True)),
        **dict(zip(("bca_low", "bca_high"), one.estimate.bca or nothing, strict=True)),
        "p": math.nan if one.p is None else one.p,
        "p_holm": judged.p_holm,
        "verdict": one.verdict(judged),
        "detectable": judged.detectable,
        "margin": judged.margin,
        "p_equivalent": judged.p_equivalent,
        "p_equivalent_holm": judged.p_equivalent_holm,
        "unit": one.unit,
        "units": one.units,
        "clips": one.clips,
        "voices": one.estimate.voices,
        "needed_clips": needed_clips(judged.comparisons),
        "unpaired": one.unpaired,
    }


# --- women and men ---


def interactions(
    table: pd.DataFrame, metrics: str | Sequence[str], column: str, baseline: Any,
    within: Sequence[str] = (), of_logs: bool = False,
) -> list[Interaction]:  # fmt: skip
    """Whether each other setting changes a metric more for one gender; none without clips of both genders.

    A clip in both genders has no gender, so a table with such a clip has no interactions either. Errors as for
    `paired`.
    """
    if column == "preset" or "gender" not in table:
        return []
    genders = [set(table.loc[table["gender"] == gender, "clip"]) for gender in SPEAKER_GENDERS]
    if not all(genders) or genders[0] & genders[1]:
        return []
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    pairs = _all_pairs(table, names, column, baseline, within)
    number = 2 * len(names) * len(pairs)
    return _interactions(pairs, names, column, baseline, SPEAKER_GENDERS, genders, unit_kind(table), of_logs, number)


def gender_interaction(
    table: pd.DataFrame, metric: str, column: str, setting: Any, baseline: Any,
    groups: tuple[str, str] = SPEAKER_GENDERS, within: Sequence[str] = (), of_logs: bool = False, comparisons: int = 1,
) -> Interaction:  # fmt: skip
    """Whether a setting changes a metric more for one gender than for the other. The units of both are independent.

    For sync use NAME_minus_real, because a measure of sync may give one gender's voices higher values. p comes from
    exchanging the labels of units, with Welch's t as the statistic; or from Student's t with clustered errors, if units
    share 3 voices or more. `comparisons` only sets the number of draws; `judge` corrects p.

    Raises:
        OptionError: as for `paired`; or a clip is in both groups.
    """
    require_columns(table, "gender", "clip")
    clips = [set(table.loc[table["gender"] == group, "clip"]) for group in groups]
    if both := clips[0] & clips[1]:
        raise OptionError(f"{', '.join(sorted(both))} has records of both genders; give each clip one gender")
    own = table[table["gender"].isin(groups)]
    pairs = {setting: Pairs(records_of(own, [metric], column, within), column, setting, baseline, within)}
    return _interactions(pairs, [metric], column, baseline, groups, clips, unit_kind(table), of_logs, comparisons)[0]


def _interactions(
    pairs: Mapping[Any, Pairs], metrics: Sequence[str], column: str, baseline: Any, groups: tuple[str, str],
    clips: Sequence[Collection[str]], unit: str, of_logs: bool, comparisons: int,
) -> list[Interaction]:  # fmt: skip
    """How each setting changes each metric in two groups of clips, in the order of metrics."""
    parts = {setting: [own.of_clips(of_group) for of_group in clips] for setting, own in pairs.items()}
    cases = [(name, setting) for name in metrics for setting in pairs]
    samples = [_of_two(parts[setting], name, of_logs) for name, setting in cases]
    estimates = estimates_of_two(samples, comparisons)
    return [
        Interaction(
            metric=name,
            column=column,
            setting=setting,
            baseline=baseline,
            groups=groups,
            unit=unit,
            units=(len(first.values), len(second.values)),
            clips=(first.labels("clip").nunique(), second.labels("clip").nunique()),
            differences=(_mean(first.values), _mean(second.values)),
            estimate=estimate,
        )
        for (name, setting), (first, second), estimate in zip(cases, samples, estimates, strict=True)
    ]


def _of_two(parts: Sequence[Pairs], metric: str, of_logs: bool) -> tuple[Sample, Sample]:
    """The differences of two groups, with the dust of both, within the bounds of a difference of differences."""
    low, high = bounds_of_difference(metric)
    samples = [part.sample(metric, of_logs, (low - high, high - low))[0] for part in parts]
    dust = max(one.dust for one in samples)
    first, second = (replace(one, dust=dust) for one in samples)
    return first, second


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
