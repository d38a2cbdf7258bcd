"""What is missing from a comparison: clips without a value at some setting, and how far luck alone goes in a choice."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from latentsync.lab.analysis.intervals import luck_of_the_best
from latentsync.lab.analysis.units import finite, per_unit, without_gaps
from latentsync.lab.records.labels import word_of


def attrition(table: pd.DataFrame, metrics: Sequence[str], column: str, within: Sequence[str] = ()) -> pd.DataFrame:
    """The clips that have no value of a metric at some setting, though other settings have them.

    Clips that fail are rarely like the others. Means over the rest are about the rest alone, and plain means of two
    settings then compare different clips.

    Args:
        table: one row per record with `clip`, `voice`, `seed`, the metrics, the column and `within`.

    Returns:
        One row per metric and setting with a loss: `metric`, `setting`, `clips` (of all settings), `lost` (clips
        without any value there), `records` (clips, voices and seeds without a value there). A combination of setting,
        `within` and seed that no clip has was not asked for, and is not counted.
    """
    table, key = table.reset_index(drop=True), ["clip", "voice", *within, "seed"]
    asked = without_gaps(table[[*key, column]].drop_duplicates(), key).dropna(subset=[column])
    inputs = asked[key].drop_duplicates()
    grid = asked[[column, *within, "seed"]].drop_duplicates().merge(inputs, on=[*within, "seed"])
    rows = []
    for metric in metrics:
        values = without_gaps(table[[*key, column]].assign(value=finite(table[[metric]])[metric]), key)
        there = values.dropna(subset=["value"])[[*key, column]].drop_duplicates().assign(there=True)
        if there.empty:
            continue
        full = grid.merge(there, on=[*key, column], how="left")
        for setting, part in full.groupby(column):
            has_value = part["there"].eq(True)
            if not has_value.all():
                clips = has_value.groupby(part["clip"]).any()
                rows.append((metric, setting, len(clips), int((~clips).sum()), int((~has_value).sum())))
    return pd.DataFrame(rows, columns=["metric", "setting", "clips", "lost", "records"])


def attrition_lines(losses: pd.DataFrame, column: str) -> list[str]:
    """A sentence for each row of `attrition`."""
    return [
        f"{word_of(row.metric)} at {word_of(column)} {_short(row.setting)}: {row.lost} of {row.clips} clips have no "
        f"value ({row.records} {'records' if row.records > 1 else 'record'}); only the others are compared"
        for row in losses.itertuples()
    ]


def luck_line(table: pd.DataFrame, metric: str, column: str, within: Sequence[str] = ()) -> str | None:
    """How much better the best of the settings would seem if all were equal; None if it cannot be computed.

    The error of a setting's mean comes from what is left of the units' values without the means of units and settings.
    """
    means = per_unit(table, [metric], [*within, column])[metric].groupby(level=[column, "unit"]).mean()
    values = means.unstack(column).dropna().to_numpy()
    units, settings = values.shape
    if settings < 2 or units < 2:
        return None
    rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    error = math.sqrt((rest**2).sum() / ((units - 1) * (settings - 1)) / units)
    if error <= 1e-9 * np.abs(values).max():
        return None
    return (
        f"The best of {settings} settings looks good by luck, too: if all were equal, it would seem better than their "
        f"mean by {luck_of_the_best(settings) * error:.2g} in {word_of(metric)}. Confirm a choice on other clips."
    )


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
