"""The figure of a rating study: strengths of the settings with intervals."""

import pandas as pd
from matplotlib.figure import Figure

from latentsync.lab.figures.shown import ShownFigure
from latentsync.lab.figures.style import COLOURS


def rating_figure(fitted: pd.DataFrame) -> Figure:
    """The strengths from `preferences.fit` with intervals, and how often each setting is preferred to the baseline."""
    figure = ShownFigure(figsize=(7.6, 0.42 * len(fitted) + 1.6), layout="constrained")
    axis = figure.subplots()
    for place, row in enumerate(fitted.itertuples()):
        is_base = row.setting == row.baseline
        colour = "#555555" if is_base else COLOURS[0]
        axis.plot([row.low, row.high], [place, place], color=colour, linewidth=1.8, solid_capstyle="butt")
        axis.plot(row.strength, place, "s" if is_base else "o", color=colour, markersize=6)
        text = f"{row.preferred:.0%}  [{row.preferred_low:.0%}, {row.preferred_high:.0%}]"
        axis.annotate(
            "baseline" if is_base else text, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=9
        )
    first = fitted.iloc[0]
    axis.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axis.set_yticks(range(len(fitted)), [_setting_label(first["by"], value) for value in fitted["setting"]])
    axis.set_ylim(-0.6, len(fitted) - 0.4)
    text = f"95 % intervals: {first['interval']}; {fitted['votes'].sum() // 2} votes"
    axis.set_xlabel(f"strength (Bradley-Terry, log odds; higher is preferred)\n{text}", fontsize=9)
    axis.annotate(
        f"preferred to {_setting_label(first['by'], first['baseline'])}", (1.02, 1.02), xycoords="axes fraction",
        va="bottom", fontsize=9, color="#555555",
    )  # fmt: skip
    axis.grid(axis="x", alpha=0.25)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(labelsize=9, left=False)
    return figure


def _setting_label(by: str, value: float | str) -> str:
    words = {"guidance_scale": "guidance {}", "num_inference_steps": "{} steps"}
    text = f"{value:g}" if isinstance(value, float) else value
    return words.get(by, by + " {}").format(text)
