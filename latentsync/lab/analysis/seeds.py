"""How much the seed alone changes a metric: the default margin within which settings count as equivalent."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from latentsync.errors import OptionError
from latentsync.lab.analysis.intervals import DUST
from latentsync.lab.analysis.units import finite, without_gaps
from latentsync.lab.records.labels import varied
from latentsync.lab.tables.tidy import require_columns

SETTINGS = ("guidance_scale", "num_inference_steps")


def settings_in(table: pd.DataFrame) -> list[str]:
    """The columns that make a setting: guidance, steps, and the other options that vary."""
    return [*(name for name in SETTINGS if name in table), *varied(table)]


def seed_deviation(table: pd.DataFrame, metric: str) -> float | None:
    """The standard deviation of a metric between seeds of the same clip, voice and setting.

    Variances are averaged over clips, voices and settings.

    Args:
        table: one row per record with `clip`, `voice`, `seed`, the metric and the options.

    Returns:
        A value above 0, in the metric's unit; None if no clip has two seeds of one setting, or if seeds change nothing.
    """
    require_columns(table, "clip", "voice", "seed", metric)
    table, keys = table.reset_index(drop=True), ["clip", "voice", *settings_in(table)]
    rows = without_gaps(table[[*keys, "seed"]].assign(value=finite(table[[metric]])[metric]), keys)
    rows = rows.dropna(subset=["value"]).drop_duplicates([*keys, "seed"])
    deviation = math.sqrt(rows.groupby(keys)["value"].var().mean())  # the variance of a single seed is missing
    return deviation if deviation > DUST * rows["value"].abs().max() else None


def margins(
    table: pd.DataFrame, metrics: Sequence[str], margin: float | Mapping[str, float] | None = None
) -> dict[str, float | None]:
    """The margin of each metric within which two settings count as equivalent.

    Args:
        margin: one for all metrics, or by metric. Where none is given it is `seed_deviation`.

    Raises:
        OptionError: a margin is not above 0, or is of another metric.
    """
    given = margin if isinstance(margin, Mapping) else {} if margin is None else dict.fromkeys(metrics, margin)
    if foreign := [name for name in given if name not in metrics]:
        raise OptionError(f"there is a margin of {foreign[0]}, which is not compared; choose of {', '.join(metrics)}")
    for name, value in given.items():
        if not (isinstance(value, int | float) and 0 < value < math.inf):
            raise OptionError(f"the margin of {name} is {value}; give a number above 0, in the metric's unit")
    has_seeds = "seed" in table
    return {name: given.get(name) or (seed_deviation(table, name) if has_seeds else None) for name in metrics}
