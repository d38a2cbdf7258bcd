"""Figures of the study of metrics: what each damage does to each metric, as a grid of coloured numbers."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from latentsync.lab.figures.shown import ShownFigure
from latentsync.lab.records.labels import word_of

LARGEST_EFFECT = 8.0  # where the colours of a sensitivity figure end


def sensitivity_figure(table: pd.DataFrame) -> Figure:
    """How much worse each metric becomes under each damage: one cell per metric and damage strength.

    Metrics without any value have no row.

    Args:
        table: a table of `evaluation.sensitivity.effects`.
    """
    table = table[table.groupby("metric")["effect"].transform(lambda effects: effects.notna().any())]
    texts = [f"{effect:.0f}" if abs(effect) >= 10 else f"{effect:.1f}" for effect in table["effect"]]
    cells = table.assign(text=texts, colour=table["effect"] / LARGEST_EFFECT)
    return _damage_grid(cells, "worse, in standard deviations of undamaged clips", LARGEST_EFFECT, cell_in=0.47)


def changes_figure(table: pd.DataFrame) -> Figure:
    """The change of each metric under each damage, in the metric's own unit; the colour shows how much worse it is.

    Colours are comparable within a row: 1 is the largest change of that metric by any damage. Below 0 the metric rates
    the damaged clip better.

    Args:
        table: a table of `evaluation.sensitivity.changes`.
    """
    table = table[table.groupby("metric")["share"].transform(lambda shares: shares.notna().any())]
    cells = table.assign(
        text=[f"{change:+.2g}" if change else "0" for change in table["change"]], colour=table["share"]
    )
    return _damage_grid(cells, "how much worse, as a share of the metric's largest change", 1.0, cell_in=0.62)


def _damage_grid(table: pd.DataFrame, label: str, limit: float, cell_in: float) -> Figure:
    """A coloured cell with a text for each metric, damage and strength.

    Args:
        table: a table with the columns `text` and `colour` (clipped to -1..1; NaN: no value, shown as "-").
        label, limit: the label of the colour bar, and the value of a colour of 1.
        cell_in: width of a cell in inches.
    """
    metrics = list(dict.fromkeys(table["metric"]))
    steps = list(dict.fromkeys(zip(table["damage"], table["strength"], strict=True)))
    grid = table.pivot(index="metric", columns=["damage", "strength"], values=["colour", "text"]).reindex(metrics)
    colours, texts = grid["colour"][steps].to_numpy(float), grid["text"][steps].to_numpy()
    figure = ShownFigure(figsize=(cell_in * len(steps) + 3.6, 0.31 * len(metrics) + 1.6), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(limit * np.clip(colours, -1, 1), cmap="PuOr_r", aspect="auto", vmin=-limit, vmax=limit)
    for (row, column), colour in np.ndenumerate(colours):
        text, dark = "-" if np.isnan(colour) else texts[row, column], abs(colour) > 0.7
        axis.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axis.set_yticks(range(len(metrics)), map(word_of, metrics), fontsize=8)
    axis.set_xticks(range(len(steps)), [f"{strength:g}" for _, strength in steps], fontsize=8)
    damages = [damage for damage, _ in steps]
    for damage in dict.fromkeys(damages):
        first, number = damages.index(damage), damages.count(damage)
        if first:
            axis.axvline(first - 0.5, color="black", linewidth=0.8)
        axis.text(first + (number - 1) / 2, -0.8, damage, ha="center", va="bottom", fontsize=9)
    axis.tick_params(length=0)
    bar = figure.colorbar(image, ax=axis, shrink=0.6, extend="both" if (np.abs(colours) > 1).any() else "neither")
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure
