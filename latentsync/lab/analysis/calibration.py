"""Measures of sync on results beside those on the real clips, by gender and setting."""

import pandas as pd

from latentsync.lab.analysis.intervals import mean_interval
from latentsync.lab.records.labels import varied


def calibrated(table: pd.DataFrame) -> pd.DataFrame:
    """What measures of sync say of results beside what they say of the real clips, by gender and setting.

    A measure may judge the voices of one gender higher than those of the other; the difference to the real clips of
    that gender does not know of it. Seeds are averaged within a pair, intervals go over pairs.

    Args:
        table: as `collect_wide` gives it.

    Returns:
        One row a gender, guidance_scale, num_inference_steps, whatever else of the sampler was varied, and metric:
        `generated`, `real` and `minus_real` (means over the pairs that have all three), `low` and `high` (95 % of
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
