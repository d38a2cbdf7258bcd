"""The numbers of a report: a sweep's settings and metrics, means over clips, and values as text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from latentsync.lab.analysis.calibration import against_real
from latentsync.lab.analysis.intervals import drawn_interval
from latentsync.lab.analysis.units import per_unit
from latentsync.lab.records.labels import varied, word_of
from latentsync.metrics.definitions import (
    DEFINITIONS,
    HEADLINES,
    PREFIXES,
    SUFFIXES,
    base_name,
    bounds_of,
    direction_of,
)
from latentsync.metrics.suspects import can_be_suspect

BETTER = {"higher": "higher", "lower": "lower", "zero": "nearer to 0", "one": "nearer to 1", "none": "-"}


@dataclass(frozen=True)
class MeanRow:
    """A metric at one setting: mean and 95 % interval over `clips`, which are speakers where they are known.
    With fewer than `LEAST_DRAWN` of them there is no interval.

    `suspect` says that a difference from the real clips lies clearly on the better side, see `metrics.suspects`.
    `bar` has the positions of low, mean and high, in % of the range of all settings of the metric. `dots` has those of
    the clips where there is no interval.
    """

    metric: str
    setting: tuple
    mean: float
    low: float | None
    high: float | None
    clips: int
    unit: str
    better: str
    is_headline: bool
    suspect: bool = False
    bar: tuple[float, float, float] | None = None
    dots: tuple[float, ...] = ()


def is_headline(metric: str) -> bool:
    """Whether a metric, or the metric whose change (`change_`) or leak (`leaky_`) it measures, is shown first."""
    return _plain(metric) in HEADLINES


def settings_of(table: pd.DataFrame) -> list[str]:
    """The columns that distinguish a sweep's settings: guidance, or the preset that chose it, and others."""
    first = "preset" if (table["guidance_from"] == "preset").all() else "guidance_scale"
    steps = ["num_inference_steps"] if table["num_inference_steps"].nunique() > 1 else []
    return [first, *steps, *varied(table)]


def metrics_of(table: pd.DataFrame) -> list[str]:
    """The metrics of results that have a value, headline metrics first, without those of controls and real clips."""
    known = [name for name in table.columns if base_name(name) in DEFINITIONS or name == "seconds"]
    known = [name for name in known if table[name].notna().any()]
    known = [name for name in known if name.endswith("_minus_real") or not name.endswith(SUFFIXES)]
    return sorted(known, key=lambda name: HEADLINES.index(_plain(name)) if is_headline(name) else len(HEADLINES))


def _plain(metric: str) -> str:
    for prefix in PREFIXES:
        metric = metric.removeprefix(prefix)
    return metric


def means_over_clips(table: pd.DataFrame, columns: Sequence[str], metrics: Sequence[str]) -> list[MeanRow]:
    """Each metric at each setting: the mean over units with Student's interval (see `analysis.units`)."""
    kept = ["clip", "voice", *(["group"] if "group" in table else []), *columns, *metrics]
    clips = per_unit(table[list(dict.fromkeys(kept))], metrics, columns)
    rows = []
    for metric in metrics:
        unit = "s" if metric == "seconds" else DEFINITIONS[base_name(metric)].unit
        better = BETTER["lower" if metric == "seconds" else direction_of(metric)]
        of_metric = []
        suspects = _suspects(table, columns, metric)
        for setting, part in clips[metric].groupby(list(columns)):
            values = part.dropna().to_numpy()
            if len(values):
                low, high = drawn_interval(values, bounds_of(metric)) or (None, None)
                numbers = float(values.mean()), low, high, len(values), unit, better, is_headline(metric)
                dots = tuple(values.tolist()) if low is None else ()
                of_metric.append(MeanRow(metric, setting, *numbers, setting in suspects, dots=dots))
        rows += _with_bars(of_metric)
    return rows


def _suspects(table: pd.DataFrame, columns: Sequence[str], metric: str) -> set[tuple]:
    """The settings at which a difference from the real clips is suspect."""
    own = metric.removesuffix("_minus_real")
    if own == metric or not {own, f"{own}_real"} <= set(table) or not can_be_suspect(own):
        return set()
    return {setting for setting, one in against_real(table, own, columns).items() if one.suspect}


def _with_bars(rows: list[MeanRow]) -> list[MeanRow]:
    """The rows of one metric with the positions of low, mean and high, in % of the range of all rows."""
    edges = [value for row in rows for value in (row.low, row.mean, row.high, *row.dots) if value is not None]
    start, span = min(edges, default=0.0), max(edges, default=0.0) - min(edges, default=0.0)
    if not span:
        return rows

    def place(value: float) -> float:
        return round(100 * (value - start) / span, 2)

    lows_and_highs = [(row.mean, row.mean) if row.low is None else (row.low, row.high) for row in rows]
    return [
        replace(row, bar=(place(low), place(row.mean), place(high)), dots=tuple(map(place, row.dots)))
        for row, (low, high) in zip(rows, lows_and_highs, strict=True)
    ]


def setting_words(columns: Sequence[str], values: Iterable[Any]) -> str:
    """A setting in words: each column and its value."""
    return ", ".join(f"{word_of(name)} {value_text(value)}" for name, value in zip(columns, values, strict=True))


def value_text(value: Any) -> str:
    """A value as text: four significant digits, or a dash if there is none."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
