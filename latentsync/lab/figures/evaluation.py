"""A figure of a model's evaluation: each value compared with its bar and with trivial baselines."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from latentsync.lab.figures.shown import ShownFigure
from latentsync.lab.figures.style import COLOURS, GREY, MARKERS, plain_axis

LIMITS = (-0.2, 2.6)  # of the axis; values beyond are drawn at its end


def evaluation_figure(rows: pd.DataFrame) -> Figure:
    """Each value divided by its bar, with its interval; hollow marks are the baselines.

    A value of 1 or more reaches the bar. Rows without a bar are left out. If the value must be at most the bar, the bar
    is divided by the value instead.

    Args:
        rows: a table of `evaluation.report.frame`.
    """
    rows = rows[rows["bound"].notna() & rows["value"].notna()]
    baselines = [name for name in rows.columns[rows.columns.get_loc("n") + 1 :] if rows[name].notna().any()]
    figure = ShownFigure(figsize=(6.6, 0.32 * len(rows) + 1.5), layout="constrained")
    axis = figure.subplots()
    axis.axvline(1, color=GREY, linewidth=1)
    for y, row in enumerate(rows.to_dict("records")):
        names = ("value", "low", "high", *baselines)
        place = dict(zip(names, _over_bar(np.array([row[name] for name in names]), row), strict=True))
        axis.plot([place["low"], place["high"]], [y, y], color=COLOURS[0], linewidth=1.8, solid_capstyle="butt")
        axis.plot(place["value"], y, "o", color=COLOURS[0], markersize=6, label="value, 95 % interval")
        for name, colour, marker in zip(baselines, COLOURS[1:], MARKERS[1:], strict=False):
            if not np.isnan(place[name]):
                axis.plot(place[name], y, marker, color=colour, markersize=6, markerfacecolor="white", label=name)
    axis.set_yticks(range(len(rows)), rows["row"].str.replace("_", " "))
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlim(LIMITS[0] - 0.05, LIMITS[1] + 0.05)
    axis.set_xlabel(
        "value divided by its bar (bar divided by value if lower is better); from 1 on the bar is reached", fontsize=8
    )
    plain_axis(axis)
    handles, labels = axis.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _over_bar(values: np.ndarray, row: dict) -> np.ndarray:
    with np.errstate(divide="ignore"):
        ratio = values / row["bound"] if row["is_least"] else row["bound"] / values
    return np.clip(ratio, *LIMITS)
