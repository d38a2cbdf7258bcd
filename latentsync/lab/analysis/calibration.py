"""Compares measures of sync on results with those on the real clips, by gender and setting."""

import pandas as pd

from latentsync.lab.analysis.comparisons import estimate_of
from latentsync.lab.analysis.intervals import Interval
from latentsync.lab.analysis.units import over_units, per_clip_and_voice, unit_kind
from latentsync.lab.records.labels import varied
from latentsync.lab.tables.tidy import require_columns
from latentsync.metrics.definitions import DEFINITIONS, base_name, bounds_of, direction_of

NO_INTERVAL: Interval = (float("nan"), float("nan"))
CLEAR_SHARE = 0.1  # of the real clip's value; a single result that is better by more is suspect


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
            bounds = bounds_of(parts[2]) if base_name(name) in DEFINITIONS else None
            low, high = estimate_of(whole[parts[2]], bounds=bounds).interval or NO_INTERVAL
            clips = whole.index.unique("clip").size
            counts = kind, len(means), clips, cells.index.unique("clip").size - clips
            suspect = beats_real(name, means[parts[2]], means[parts[1]], (low, high))
            rows.append((*key, name, *means.mean(), low, high, *counts, suspect))
    return pd.DataFrame(rows, columns=columns)


def beats_real(metric: str, minus_real: pd.Series, real: pd.Series, interval: Interval) -> bool:
    """Whether results are clearly better than the real clips, which is suspect.

    No lips are more in sync than the real ones. Results that score better please the measure, or the sound of the real
    clips is not their own.

    Args:
        metric: a metric of sync; one that is not better higher or lower cannot be beaten.
        minus_real, real: by unit.
        interval: of the mean of minus_real. It must lie on the better side of 0. If there is none, every unit must be
            better as in `is_clearly_better`.
    """
    if pd.isna(interval[0]):
        pairs = zip(minus_real, real, strict=True)
        return len(real) > 0 and all(is_clearly_better(metric, *pair) for pair in pairs)
    sign = _sign(metric)
    return sign * interval[0] > 0 and sign * interval[1] > 0


def is_clearly_better(metric: str, minus_real: float, real: float) -> bool:
    """Whether a value is better than that of the real clip by more than a tenth of it."""
    return _sign(metric) * minus_real > CLEAR_SHARE * abs(real)


def _sign(metric: str) -> int:
    """1 where higher is better, -1 where lower is, 0 elsewhere."""
    way = direction_of(metric) if base_name(metric) in DEFINITIONS else "none"
    return {"higher": 1, "lower": -1}.get(way, 0)
