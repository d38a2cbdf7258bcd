"""Compares measures of sync on results with those on the real clips, by gender and setting."""

import pandas as pd

from latentsync.lab.analysis.intervals import mean_interval
from latentsync.lab.records.labels import varied


def calibrated(table: pd.DataFrame) -> pd.DataFrame:
    """Measures of sync on results and on the real clips, by gender and setting.

    A measure may give one gender's voices higher values. The difference to the real clips of the same gender removes
    this bias. Seeds are averaged within a pair, and intervals are over pairs.

    Args:
        table: a table of `collect_wide`.

    Returns:
        One row per gender, guidance_scale, num_inference_steps, any other varied option, and metric: `generated`,
        `real` and `minus_real` (means over the pairs that have all three), `low` and `high` (95 % interval of
        minus_real; NaN for a single pair), `pairs`, and `without` (pairs that lack one of the three).
    """
    cell = ["gender", "guidance_scale", "num_inference_steps", *varied(table)]
    names = [column.removesuffix("_minus_real") for column in table.columns if column.endswith("_minus_real")]
    rows = []
    for key, part in table.groupby(cell):
        for name in names:
            parts = [name, f"{name}_real", f"{name}_minus_real"]
            pairs = part.groupby("pair")[parts].mean()
            whole = pairs.dropna()
            low, high = mean_interval(whole[parts[2]]) or (float("nan"), float("nan"))
            counts = len(whole), len(pairs) - len(whole)
            rows.append((*key, name, *whole.mean(), low, high, *counts))
    columns = [*cell, "metric", "generated", "real", "minus_real", "low", "high", "pairs", "without"]
    return pd.DataFrame(rows, columns=columns)
