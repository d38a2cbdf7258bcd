"""Compares two settings of a sweep's table: paired differences over speakers or clips, and tests, judged by `verdicts`.

Two records are compared if clip, voice and seed agree. Their differences are averaged over the seeds of a voice, the
voices of a clip and the clips of a speaker, so that intervals and tests get one value per unit (`units`). Where units
share voices, errors are clustered by unit and by voice.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from latentsync.config import SPEAKER_GENDERS
from latentsync.errors import OptionError
from latentsync.lab.analysis.intervals import (
    ALPHA,
    DUST,
    LEAST_BCA,
    LEAST_UNITS,
    Interval,
    bca_interval_of_two,
    bca_intervals,
    draws_for,
    holm,
    label_least,
    label_p,
    needed_clips,
    sign_flip_least,
    sign_flip_p,
    t_interval,
    t_p,
    welch_error,
)
from latentsync.lab.analysis.seeds import SETTINGS, margins
from latentsync.lab.analysis.units import (
    clustered_error,
    finite,
    over_units,
    shared_voices,
    unit_kind,
    units_of,
    weights_of,
    without_gaps,
)
from latentsync.lab.analysis.verdicts import Estimate, Interaction, Judged, PairedDifference
from latentsync.lab.records.labels import varied
from latentsync.lab.tables.tidy import require_columns
from latentsync.metrics.definitions import bounds_of
from latentsync.presets import Preset

MOST = 1e100  # a larger value was not measured, and its square is no number


# --- differences ---


def swept_beside(table: pd.DataFrame, column: str) -> list[str]:
    """The other swept parameters; compared records must agree in these."""
    swept = [name for name in SETTINGS if name in table and table[name].nunique() > 1]
    if column == "preset":  # a preset is a guidance_scale for each gender
        swept = [name for name in swept if name != "guidance_scale"]
    names = [name for name in (*swept, *varied(table)) if name != column]
    if column == "model":  # a model has its own values of some options
        names = [name for name in names if table.groupby("model")[name].nunique(dropna=False).max() > 1]
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
    key = ["clip", "voice", *within, "seed"]
    require_columns(table, *key, column, metric)
    _require_numbers(table, metric)
    for value in (setting, baseline):
        if not (table[column] == value).any():
            there = ", ".join(str(v) for v in sorted(table[column].dropna().unique()))
            raise OptionError(f"no record has {column}={value}; choose two of {there}")
    if setting == baseline:
        raise OptionError(f"{column}={setting} is compared with itself; choose two settings")
    table = table.reset_index(drop=True).assign(
        unit=units_of(table).to_numpy(), value=finite(table[[metric]]).to_numpy()
    )
    part = table[table[column].isin([setting, baseline])]
    beside = [name for name in (*SETTINGS, *varied(part)) if name in part and name not in (*within, column)]
    part = without_gaps(part[list(dict.fromkeys([*key, *beside, column, "unit", "value"]))], [*key, "unit"])
    if number := int(part.duplicated([*key, column]).sum()):
        raise OptionError(
            f"{number} records have the same {', '.join(key)} and {column} as another; keep one setting of the other "
            "swept parameters, or name these in `within`"
        )
    both = part[part[column] == setting].merge(part[part[column] == baseline], on=key, suffixes=("", "_before"))
    if column not in ("preset", "model"):
        _require_alike(both, beside, column)
    both = both.dropna(subset=["value", "value_before"])
    after, before = both["value"], both["value_before"]
    if of_logs:
        least = np.min([after, before], initial=1.0)
        if not least > 0:
            raise OptionError(f"{metric} is {least:g} in a record; logarithms need values above 0")
        after, before = np.log(after), np.log(before)
    dust = DUST * float(np.max(np.abs([after, before]), initial=0.0))
    differences = both[["unit", "clip", "voice"]].assign(difference=after - before)
    cells = differences.groupby(["unit", "clip", "voice"])["difference"].mean()
    return cells, dust, len(part) - 2 * len(both)


def _require_numbers(table: pd.DataFrame, metric: str) -> None:
    if not pd.api.types.is_numeric_dtype(table[metric]) or pd.api.types.is_bool_dtype(table[metric]):
        example = next((f", such as {value!r}" for value in table[metric].dropna()), "")
        raise OptionError(f"{metric} has no numbers{example}; name a metric of the table")
    values = table[metric].to_numpy(float, na_value=np.nan)
    if (large := values[np.isfinite(values) & (np.abs(values) > MOST)]).size:
        raise OptionError(f"{metric} is {large[0]:g} in a record, which cannot be measured; correct the table")


def _require_alike(both: pd.DataFrame, beside: Iterable[str], column: str) -> None:
    """Refuses partners that differ in another option than the compared one."""
    for name in beside:
        one, other = both[name], both[f"{name}_before"]
        if (differ := (one != other) & ~(one.isna() & other.isna())).any():
            first = int(np.flatnonzero(differ)[0])
            raise OptionError(
                f"records that differ in {column} also differ in {name} ({other.iloc[first]} and {one.iloc[first]}), "
                f"so the difference has two causes; keep one {name}, or name it in `within`"
            )


def unit_differences(
    table: pd.DataFrame, metric: str, column: str, setting: Any, baseline: Any,
    within: Sequence[str] = (), of_logs: bool = False,
) -> tuple[pd.Series, int]:  # fmt: skip
    """A metric at one setting minus that at another: one value per unit, and the number of records without a partner.

    Arguments and errors as for `paired`.
    """
    cells, dust, unpaired = paired(table, metric, column, setting, baseline, within, of_logs)
    return _over_units(cells, dust), unpaired


def _over_units(cells: pd.Series, dust: float) -> pd.Series:
    values = over_units(cells.to_frame("difference"))["difference"]
    return values.where(values.abs() > dust, 0.0)


def estimate_of(cells: pd.Series, dust: float = 0.0, bounds: Interval | None = None, comparisons: int = 1) -> Estimate:
    """The mean of differences over units with its interval and its test.

    The test flips the signs of units, or is Student's with clustered errors if units share voices.

    Args:
        cells: differences by `unit`, `clip` and `voice`.
        dust: differences that are not larger come from rounding.
        bounds: the least and the greatest possible difference.
        comparisons: in the family; sets the number of draws.
    """
    values = _over_units(cells, dust).to_numpy()
    number, draws = len(values), draws_for(comparisons)
    if not number:
        return Estimate(values, None, math.nan, 0, 0, None, None, None, math.nan)
    mean, bounds = float(values.mean()), bounds or (-math.inf, math.inf)
    voices = shared_voices(cells)
    if voices >= LEAST_UNITS and number >= LEAST_UNITS:
        scores = weights_of(cells) * (cells.to_numpy() - mean)
        labels = cells.index.get_level_values("unit"), cells.index.get_level_values("voice")
        return _clustered(values, mean, scores, labels, dust, bounds)
    error = float(values.std(ddof=1)) / math.sqrt(number) if number > 1 else math.nan
    is_told = number >= LEAST_UNITS and np.ptp(values) > dust
    low, high = bca_intervals(values[None])[0] if is_told and number >= LEAST_BCA else (math.nan, math.nan)
    return Estimate(
        values=values,
        mean=mean,
        error=error,
        freedom=number - 1,
        voices=voices,
        interval=t_interval(mean, error, number - 1, bounds) if is_told else None,
        bca=None if math.isnan(low) else _bounded(low, high, bounds),
        p=float(sign_flip_p(values[None], draws)[0]),
        least_p=sign_flip_least(int(np.count_nonzero(values)), draws),
    )


def _bounded(low: float, high: float, bounds: Interval) -> Interval:
    return max(float(low), bounds[0]), min(float(high), bounds[1])


def _clustered(
    values: np.ndarray, mean: float, scores: np.ndarray, labels: Sequence[Sequence], dust: float, bounds: Interval
) -> Estimate:
    """The estimate of a mean whose errors are clustered by unit and by voice."""
    error, freedom = clustered_error(scores, *labels)
    is_told = error * len(values) > dust
    is_flat = not np.any(values)
    return Estimate(
        values=values,
        mean=mean,
        error=error if is_told else math.nan,
        freedom=freedom,
        voices=len(set(labels[1])),
        interval=t_interval(mean, error, freedom, bounds) if is_told else None,
        bca=None,
        p=1.0 if is_flat else t_p(mean, error, freedom),
        least_p=0.0,
    )


def paired_difference(
    table: pd.DataFrame, metric: str, column: str, setting: Any, baseline: Any,
    within: Sequence[str] = (), of_logs: bool = False, comparisons: int = 1,
) -> PairedDifference:  # fmt: skip
    """The difference of a metric between two settings over units, with its interval and its p.

    Arguments and errors as for `paired`. p is not corrected; `comparisons` only sets the number of draws.
    """
    cells, dust, unpaired = paired(table, metric, column, setting, baseline, within, of_logs)
    bounds = None if of_logs else bounds_of_difference(metric)
    estimate = estimate_of(cells, dust, bounds, comparisons)
    clips = cells.index.get_level_values("clip").nunique()
    return PairedDifference(metric, column, setting, baseline, unit_kind(table), clips, unpaired, estimate)


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
    settings = _other_settings(table, column, baseline)
    number = 2 * len(metrics) * len(settings)
    return [
        paired_difference(table, name, column, value, baseline, within, of_logs, number)
        for name in metrics
        for value in settings
    ]


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
    settings = _other_settings(table, column, baseline)
    options = {"within": within, "of_logs": of_logs, "comparisons": 2 * len(names) * len(settings)}
    return [gender_interaction(table, name, column, value, baseline, **options) for name in names for value in settings]


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
    parts = [table[table["gender"] == group] for group in groups]
    if both := set(parts[0]["clip"]) & set(parts[1]["clip"]):
        raise OptionError(f"{', '.join(sorted(both))} has records of both genders; give each clip one gender")
    cells, dust = [], 0.0
    for part in parts:
        own = pd.Series(dtype=float, index=pd.MultiIndex.from_arrays([[]] * 3, names=["unit", "clip", "voice"]))
        if all((part[column] == value).any() for value in (setting, baseline)):
            own, rounding, _ = paired(part, metric, column, setting, baseline, within, of_logs)
            dust = max(dust, rounding)
        cells.append(own)
    samples = [_over_units(own, dust).to_numpy() for own in cells]
    means = [float(values.mean()) if len(values) else math.nan for values in samples]
    low, high = (-math.inf, math.inf) if of_logs else bounds_of_difference(metric)
    return Interaction(
        metric=metric,
        column=column,
        setting=setting,
        baseline=baseline,
        groups=groups,
        unit=unit_kind(table),
        units=(len(samples[0]), len(samples[1])),
        clips=tuple(own.index.get_level_values("clip").nunique() for own in cells),
        differences=(means[0], means[1]),
        estimate=_estimate_of_two(cells, samples, dust, (low - high, high - low), comparisons),
    )


def _estimate_of_two(
    cells: Sequence[pd.Series], samples: Sequence[np.ndarray], dust: float, bounds: Interval, comparisons: int
) -> Estimate:
    first, second = samples
    values = np.concatenate([first, -second])
    if not (len(first) and len(second)):
        return Estimate(values, None, math.nan, 0, 0, None, None, None, math.nan)
    mean, least, draws = float(first.mean() - second.mean()), min(map(len, samples)), draws_for(comparisons)
    both = pd.concat(cells)
    voices = shared_voices(both)
    if voices >= LEAST_UNITS and least >= LEAST_UNITS:
        scores = [s * weights_of(own) * (own - own.mean()) for s, own in zip((1, -1), cells, strict=True)]
        labels = both.index.get_level_values("unit"), both.index.get_level_values("voice")
        return _clustered(values, mean, np.concatenate(scores), labels, dust, bounds)
    if least < 2:
        return Estimate(values, mean, math.nan, 0, 0, None, None, None, math.nan)
    error, freedom = welch_error(first, second)
    varies = max(np.ptp(first), np.ptp(second)) > dust
    is_told = least >= LEAST_UNITS and varies
    bca = bca_interval_of_two(first, second) if is_told and least >= LEAST_BCA else None
    is_equal = not varies and abs(mean) <= dust
    return Estimate(
        values=np.zeros_like(values) if is_equal else values,
        mean=mean,
        error=error,
        freedom=freedom,
        voices=voices,
        interval=t_interval(mean, error, freedom, bounds) if is_told else None,
        bca=None if bca is None else _bounded(*bca, bounds),
        p=1.0 if is_equal else float(label_p(first, second, draws)),
        least_p=label_least(len(first), len(second), draws),
    )
