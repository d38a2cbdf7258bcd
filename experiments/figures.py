"""Figures of sweeps: tidy table in, matplotlib Figure out."""

from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.labels import departures, varied
from experiments.sheets import pair_label
from experiments.style import COLOURS, ShownFigure, mark_untrained

METRIC_LABELS = {
    "lpips_alex_mouth": "LPIPS of mouths (AlexNet)\n(lower is better)",
    "sync_mini_confidence": "sync_mini confidence\n(higher is better)",
    "landmark_sync_peak": "landmark sync, peak correlation\n(higher is better)",
}
MAX_COLUMNS = 8  # pairs; the table has them all
LARGEST_EFFECT = 8.0  # that the colours of a sensitivity figure tell apart


def sweep_figure(table: pd.DataFrame) -> Figure:
    """Each metric against guidance_scale, a column per pair (the first 8); lines are means of seeds, dots records.

    Args:
        table: as `experiments.collect.collect_wide` gives it.
    """
    metrics = [name for name in METRIC_LABELS if name in table and table[name].notna().any()] or ["seconds"]
    pairs, others = list(dict.fromkeys(table["pair"]))[:MAX_COLUMNS], varied(table)
    figure = ShownFigure(figsize=(3.4 * len(pairs) + 1.2, 2.6 * len(metrics) + 0.9), layout="constrained")
    axes = figure.subplots(len(metrics), len(pairs), squeeze=False, sharex=True, sharey="row")
    for row, metric in enumerate(metrics):
        for column, pair in enumerate(pairs):
            axis = axes[row, column]
            _draw_metric(axis, table[table["pair"] == pair], metric, others)
            if row == 0:
                axis.set_title(pair_label(pair), fontsize=9)
            if row == len(metrics) - 1:
                axis.set_xlabel("guidance_scale", fontsize=9)
        axes[row, 0].set_ylabel(METRIC_LABELS.get(metric, "generation (s)"), fontsize=8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8)
    if not table["trained"].all():
        mark_untrained(figure)
    return figure


def _draw_metric(axis, table: pd.DataFrame, metric: str, others: list[str]) -> None:
    lines = table.groupby(["num_inference_steps", *others])
    for colour, ((steps, *_), group) in zip(cycle(COLOURS), lines, strict=False):
        means = group.groupby("guidance_scale")[metric].mean()
        label = ", ".join([f"{steps} steps", *departures(group.iloc[0])])
        axis.plot(means.index, means.to_numpy(), color=colour, linewidth=1.6, label=f"{label} (mean of seeds)")
        axis.plot(group["guidance_scale"], group[metric], "o", color=colour, markersize=4, alpha=0.6)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def sensitivity_figure(table: pd.DataFrame) -> Figure:
    """How much worse each metric becomes by each damage: one cell a metric and damage strength.

    Metrics without any effect to show, for want of a value, have no row.

    Args:
        table: as `experiments.sensitivity.effects` gives it.
    """
    table = table[table.groupby("metric")["effect"].transform(lambda effects: effects.notna().any())]
    metrics = list(dict.fromkeys(table["metric"]))
    steps = list(dict.fromkeys(zip(table["damage"], table["strength"], strict=True)))
    grid = table.pivot(index="metric", columns=["damage", "strength"], values="effect").reindex(metrics)[steps]
    figure = ShownFigure(figsize=(0.47 * len(steps) + 3.2, 0.31 * len(metrics) + 1.6), layout="constrained")
    axis = figure.subplots()
    values = grid.to_numpy()
    image = axis.imshow(np.clip(values, -LARGEST_EFFECT, LARGEST_EFFECT), cmap="PuOr_r", aspect="auto",
                        vmin=-LARGEST_EFFECT, vmax=LARGEST_EFFECT)  # fmt: skip
    for (row, column), value in np.ndenumerate(values):
        text = "-" if np.isnan(value) else f"{value:.0f}" if abs(value) >= 10 else f"{value:.1f}"
        dark = abs(value) > 0.7 * LARGEST_EFFECT
        axis.text(column, row, text, ha="center", va="center", fontsize=6, color="white" if dark else "black")
    axis.set_yticks(range(len(metrics)), metrics, fontsize=7)
    axis.set_xticks(range(len(steps)), [f"{strength:g}" for _, strength in steps], fontsize=6)
    damages = [damage for damage, _ in steps]
    for damage in dict.fromkeys(damages):
        first, number = damages.index(damage), damages.count(damage)
        if first:
            axis.axvline(first - 0.5, color="black", linewidth=0.8)
        axis.text(first + (number - 1) / 2, -0.8, damage, ha="center", va="bottom", fontsize=8)
    axis.tick_params(length=0)
    bar = figure.colorbar(image, ax=axis, shrink=0.6, extend="both")
    bar.set_label("worse by standard deviations of undamaged clips", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return figure
