"""Tables of measured videos, made by anything, as text: means beside the real clips, and what to doubt."""

from typing import Any

import pandas as pd

from latentsync.lab.analysis.calibration import against_real
from latentsync.lab.analysis.judged import judge_lines
from latentsync.lab.console import paragraph, table_text
from latentsync.lab.tables.tidy import widen
from latentsync.metrics.definitions import DEFINITIONS
from latentsync.metrics.judges import is_confidence
from latentsync.metrics.suspects import SUSPECT


def means_text(table: pd.DataFrame) -> str:
    """Means over videos as text: each metric beside the real clips' value and the difference, and what to doubt."""
    means = table.groupby("metric", sort=False)["value"].agg(["mean", "count"])
    bases = [name for name in means.index if name in DEFINITIONS or not name.endswith(("_real", "_minus_real"))]
    wide = widen(table)
    suspects = {name for name in bases if is_confidence(name) and _has_real(means, name)
                and against_real(wide, name, ())[()].suspect}  # fmt: skip
    empty = float("nan")

    def column(suffix: str) -> list[float]:
        return [float(means["mean"].get(name + suffix, empty)) for name in bases]

    differences = zip(bases, column("_minus_real"), strict=True)
    columns: dict[str, list[Any]] = {
        "metric": bases,
        "mean": column(""),
        "real": column("_real"),
        "minus real": [f"{value:.4g} *" if name in suspects else value for name, value in differences],
        "videos": [int(means["count"][name]) for name in bases],
    }
    notes = [*([SUSPECT] if suspects else []), *judge_lines(wide)]
    return "\n".join([table_text(columns), *map(paragraph, notes)])


def _has_real(means: pd.DataFrame, name: str) -> bool:
    return all(f"{name}{suffix}" in means.index for suffix in ("_real", "_minus_real"))
