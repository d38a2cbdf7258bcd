"""A figure of whether a model listens or copies: how near its lips come to the clip's own, and how much they move."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from latentsync.lab.analysis.leakage import BASELINES, LIKENESS, MOTION
from latentsync.lab.figures.shown import ShownFigure
from latentsync.lab.figures.style import COLOURS, GREY, MARKERS, plain_axis

TITLES = {
    LIKENESS: "likeness to the clip's own lips\n(correlation of the lip gap)",
    MOTION: "motion of the lips,\nover the clip's",
}


def leakage_figure(rows: pd.DataFrame) -> Figure:
    """Likeness and motion by what was heard, with intervals; hollow marks are models that do nothing.

    Args:
        rows: of `analysis.leakage.summary`, with one setting beside the reference.
    """
    heard = list(dict.fromkeys(rows["heard"]))
    figure = ShownFigure(figsize=(7.2, 0.42 * len(heard) + 1.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    references = list(dict.fromkeys(rows["reference"]))
    for axis, measure in zip(axes, (LIKENESS, MOTION), strict=True):
        axis.axvline(0, color=GREY, linewidth=0.8)
        axis.axvline(1, color=GREY, linewidth=0.8)
        for number, reference in enumerate(references):
            colour, marker = COLOURS[number], MARKERS[number]
            for row in rows[rows["reference"] == reference].to_dict("records"):
                y = heard.index(row["heard"]) + 0.16 * (number - (len(references) - 1) / 2)
                is_hollow = row["heard"] in BASELINES
                if not np.isnan(row[f"{measure}_low"]):
                    axis.plot([row[f"{measure}_low"], row[f"{measure}_high"]], [y, y], color=colour, linewidth=1.8)
                axis.plot(
                    row[measure], y, marker, color=colour, markersize=6, label=f"reference {reference}",
                    markerfacecolor="white" if is_hollow else colour,
                )  # fmt: skip
        axis.set_xlabel(TITLES[measure], fontsize=9)
        plain_axis(axis)
    axes[0].set_yticks(range(len(heard)), heard)
    axes[0].set_ylim(len(heard) - 0.5, -0.5)
    handles, labels = axes[0].get_legend_handles_labels()
    once = dict(reversed(list(zip(labels, handles, strict=True))))  # the first of each label, which is not hollow
    once = dict(reversed(once.items()))
    figure.legend(once.values(), once, loc="outside lower center", ncols=len(once), frameon=False, fontsize=8)
    return figure
