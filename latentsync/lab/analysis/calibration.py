"""Compares measures of sync on results with those on the real clips, by gender and setting."""

import pandas as pd

from latentsync.lab.analysis.estimates import Sample, estimates_of
from latentsync.lab.analysis.intervals import UNBOUNDED, Interval
from latentsync.lab.analysis.suspects import beats_real
from latentsync.lab.analysis.units import over_units, per_clip_and_voice, unit_kind
from latentsync.lab.records.labels import varied
from latentsync.lab.tables.tidy import require_columns
from latentsync.metrics.definitions import DEFINITIONS, base_name, bounds_of

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
        of the three), and `suspect`: whether the results beat the real clips, see `beats_real`.

    Raises:
        OptionError: a column is missing.
    """
    cell = ["gender", "guidance_scale", "num_inference_steps", *varied(table)]
    names = [column.removesuffix("_minus_real") for column in table.columns if column.endswith("_minus_real")]
    columns = [*cell, "metric", "generated", "real", "minus_real", "low", "high", "unit", "units", "clips", "without"]
    columns.append("suspect")
    if not names:
        return pd.DataFrame(columns=columns)
    require_columns(table, "clip", "voice", *cell)
    rows, kind = [], unit_kind(table)
    for key, part in table.groupby(cell):
        for name in names:
            parts = [name, f"{name}_real", f"{name}_minus_real"]
            cells = per_clip_and_voice(part, parts)
            whole = cells.dropna()
            means = over_units(whole)
            bounds = bounds_of(parts[2]) if base_name(name) in DEFINITIONS else UNBOUNDED
            low, high = estimates_of([Sample(whole[parts[2]], bounds=bounds)])[0].interval or NO_INTERVAL
            clips = whole.index.unique("clip").size
            counts = kind, len(means), clips, cells.index.unique("clip").size - clips
            suspect = beats_real(name, means[parts[2]].tolist(), means[parts[1]].tolist(), (low, high))
            rows.append((*key, name, *means.mean(), low, high, *counts, suspect))
    return pd.DataFrame(rows, columns=columns)
