"""Compares measures of sync on results with those on the real clips, by gender and setting."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from latentsync.lab.analysis.estimates import Sample, untested
from latentsync.lab.analysis.intervals import UNBOUNDED, Interval
from latentsync.lab.analysis.judged import judges_on
from latentsync.lab.analysis.units import over_units, per_clip_and_voice, unit_kind
from latentsync.lab.records.labels import varied
from latentsync.lab.tables.tidy import require_columns
from latentsync.metrics.definitions import DEFINITIONS, base_name, bounds_of, definition_of
from latentsync.metrics.suspects import beats_real

NO_INTERVAL: Interval = (float("nan"), float("nan"))


def calibrated(table: pd.DataFrame) -> pd.DataFrame:
    """Measures of sync on results and on the real clips, by gender and setting.

    A measure may give one gender's voices higher values. The difference to the real clips of the same gender removes
    this bias; 0 is as good as the real clip, and nearer to 0 is better. Means and intervals are over units (speakers or
    clips, see `units`), as everywhere.

    Args:
        table: a table of `collect_wide`.

    Returns:
        One row per gender, guidance_scale, num_inference_steps, any other varied option, and metric: `generated`,
        `real` and `minus_real` (means over the clips that have all three), `low` and `high` (Student's t interval of
        minus_real, 95 %; NaN below 3 units), `unit` (speaker or clip), `units`, `clips`, `without` (clips that lack one
        of the three), `suspect`: whether the results beat the real clips, see `beats_real`, and `failing`: on how many
        real clips the judge fails, see `latentsync.metrics.judges`.

    Raises:
        OptionError: a column is missing.
    """
    cell = ["gender", "guidance_scale", "num_inference_steps", *varied(table)]
    names = [column.removesuffix("_minus_real") for column in table.columns if column.endswith("_minus_real")]
    columns = [*cell, "metric", "generated", "real", "minus_real", "low", "high", "unit", "units", "clips", "without"]
    columns += ["suspect", "failing"]
    if not names:
        return pd.DataFrame(columns=columns)
    require_columns(table, "clip", "voice", *cell)
    rows, kind = [], unit_kind(table)
    beside = {name: against_real(table, name, cell) for name in names}
    for key, part in table.groupby(cell):
        fails = {judge.confidence: set(part.loc[fails, "clip"]) for judge, fails in judges_on(part)}
        for name in names:
            own = beside[name][key]
            counts = kind, len(own.means), own.clips, own.without
            of_judge = next((len(clips) for confidence, clips in fails.items() if _is_of(name, confidence)), 0)
            rows.append((*key, name, *own.means.mean(), *own.interval, *counts, own.suspect, of_judge))
    return pd.DataFrame(rows, columns=columns)


def _is_of(metric: str, other: str) -> bool:
    """Whether two metrics come from the same judge."""
    return base_name(metric) in DEFINITIONS and definition_of(metric).family == definition_of(other).family


@dataclass(frozen=True)
class AgainstReal:
    """A measure of sync of results beside that of their real clips.

    Attributes:
        means: by unit: of the results, of the real clips, and of the difference.
        interval: Student's t of the mean difference, 95 %; NaN below 3 units.
        clips, without: the clips with all three, and those that lack one.
        suspect: whether the results beat the real clips, see `beats_real`.
    """

    means: pd.DataFrame
    interval: Interval
    clips: int
    without: int
    suspect: bool


def against_real(table: pd.DataFrame, metric: str, by: Sequence[str]) -> dict[tuple, AgainstReal]:
    """A measure beside that of the real clips, for each setting.

    Args:
        table: a wide table with METRIC, METRIC_real and METRIC_minus_real.
        by: the columns that make a setting; empty: all records are of one, ().
    """
    names = [metric, f"{metric}_real", f"{metric}_minus_real"]
    cells = per_clip_and_voice(table, names, by)
    if not by:
        return {(): _of_setting(cells, metric, names)}
    parts = cells.groupby(level=list(by))
    return {setting: _of_setting(part.droplevel(list(by)), metric, names) for setting, part in parts}


def _of_setting(cells: pd.DataFrame, metric: str, names: Sequence[str]) -> AgainstReal:
    whole = cells.dropna()
    means = over_units(whole)
    bounds = bounds_of(names[2]) if base_name(metric) in DEFINITIONS else UNBOUNDED
    interval = untested(Sample(whole[names[2]], bounds=bounds)).interval or NO_INTERVAL
    clips = whole.index.unique("clip").size
    suspect = beats_real(metric, means[names[2]].tolist(), means[names[1]].tolist(), interval)
    return AgainstReal(means, interval, clips, cells.index.unique("clip").size - clips, suspect)
