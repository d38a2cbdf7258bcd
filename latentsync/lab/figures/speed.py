"""The figure of a benchmark: for each model a roofline, and beside it how much faster each variant is than plain."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from latentsync.lab.figures.shown import ShownFigure
from latentsync.lab.figures.style import COLOURS, GREY, MARKERS, plain_axis

COLOUR_OF = {"float32": COLOURS[0], "bfloat16": COLOURS[1], "float16": COLOURS[2]}
STAGE_WORDS = {
    "unet": "UNet call", "vae_encode": "VAE encode", "vae_decode": "VAE decode", "window": "whole window",
    "pipeline": "whole pipeline",
}  # fmt: skip
PANEL_IN, BAR_IN = 3.6, 0.19
ROOM = 1.6  # factor between the outermost mark and the edge of a roofline


def speed_figure(benchmark: Mapping[str, Any]) -> Figure:
    """The figure of a benchmark.

    Left: operations a second against operations per byte, on logarithmic axes, below the peaks of the same run; a
    hollow mark is the plain algorithm, a filled one has the exact savings. Right: times faster than plain float32.

    Args:
        benchmark: the content of its JSON.
    """
    by_model = {}
    for row in benchmark["rows"]:
        by_model.setdefault(row["model"], []).append(row)
    heights = [
        max(PANEL_IN, 0.7 + BAR_IN * (len(rows) + len({row["stage"] for row in rows}))) for rows in by_model.values()
    ]
    figure = ShownFigure(figsize=(10.4, sum(heights) + 0.35), layout="constrained")
    panels = figure.subplots(len(by_model), 2, squeeze=False, height_ratios=heights, width_ratios=[1.25, 1])
    for (roof, bars), (model, rows) in zip(panels, by_model.items(), strict=True):
        _roofline(roof, [row for row in rows if row["gflop_per_s"]], benchmark["peaks"])
        roof.set_title(_title(model, rows[0]), fontsize=10, loc="left")
        _bars(bars, rows)
    machine = benchmark["environment"]
    figure.suptitle(
        f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}", fontsize=9, color=GREY
    )
    return figure


def _title(model: str, row: Mapping[str, Any]) -> str:
    windows = f"{row['windows']} windows of " if row["windows"] > 1 else ""
    return f"{model}: {windows}{row['num_frames']} frames, {row['size_px']} px"


def _roofline(axis: Axes, rows: Sequence[Mapping[str, Any]], peaks: Mapping[str, Mapping[str, float]]) -> None:
    plain_axis(axis)
    axis.set(xscale="log", yscale="log")
    intensities = [row["gflop"] / row["gbyte"] for row in rows]
    speeds = [row["gflop_per_s"] for row in rows]
    roofs = {dtype: kinds for dtype, kinds in peaks.items() if "gemm" in kinds}
    bandwidth = next((kinds["copy"] for kinds in peaks.values() if "copy" in kinds), None)
    top = max([*speeds, *(max(kinds.values()) for kinds in roofs.values())])
    left, right = min(intensities, default=1.0) / ROOM, max(intensities, default=100.0) * ROOM**2
    if bandwidth:  # the widest roof is to be seen
        right = max(right, top / bandwidth * ROOM**2)
    axis.set_xlim(left, right)
    axis.set_ylim(min(speeds, default=1.0) / ROOM**2, top * ROOM)  # the legend stands below the marks
    xs = np.geomspace(left, right, 200)
    for dtype, kinds in roofs.items():
        colour = COLOUR_OF.get(dtype, GREY)
        for kind, style, word in (("gemm", "-", "matrix product"), ("convolution", (0, (4, 2)), "convolution")):
            roof = np.minimum(kinds[kind], bandwidth * xs) if bandwidth else np.full_like(xs, kinds[kind])
            axis.plot(xs, roof, color=colour, linestyle=style, linewidth=1.2, alpha=0.8)
            is_upper = kinds[kind] == max(kinds["gemm"], kinds["convolution"])
            axis.annotate(
                f"{word}, {dtype}: {kinds[kind]:,.0f}", (right, kinds[kind]), (-4, 3 if is_upper else -3),
                textcoords="offset points", ha="right", va="bottom" if is_upper else "top", fontsize=7, color=colour,
            )  # fmt: skip
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    for x, row in zip(intensities, rows, strict=True):
        colour, is_saved = COLOUR_OF.get(row["dtype"], GREY), row["algorithm"] == "saved"
        marker = MARKERS[stages.index(row["stage"]) % len(MARKERS)]
        axis.plot(
            x, row["gflop_per_s"], marker=marker, markersize=8, linestyle="none", color=colour,
            markerfacecolor=colour if is_saved else "white", markeredgewidth=1.4, zorder=3,
        )  # fmt: skip
    marks = [
        Line2D(
            [], [], marker=MARKERS[i % len(MARKERS)], linestyle="none", color=GREY, label=STAGE_WORDS.get(stage, stage)
        )
        for i, stage in enumerate(stages)
    ]
    marks += [
        Line2D([], [], marker="o", linestyle="none", color=GREY, markerfacecolor=face, label=word)
        for word, face in (("plain", "white"), ("saved", GREY))
    ]
    axis.legend(handles=marks, fontsize=7, loc="lower center", ncols=3, framealpha=0.8, edgecolor="none")
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_formatter("{x:g}")
        each.set_minor_formatter(NullFormatter())
        each.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_xlabel("operations per byte read and written (FLOP/byte)", fontsize=9)
    axis.set_ylabel("GFLOP/s", fontsize=9)


def _bars(axis: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    plain_axis(axis)
    axis.grid(visible=False, axis="y")
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    at, ticks, longest = 0.0, [], max(row["times_faster"] for row in rows)
    for stage in stages:
        of_stage = [row for row in rows if row["stage"] == stage]
        ticks.append((at + (len(of_stage) - 1) / 2, STAGE_WORDS.get(stage, stage) + " *" * of_stage[0]["is_computed"]))
        for row in of_stage:
            colour, is_saved = COLOUR_OF.get(row["dtype"], GREY), row["algorithm"] == "saved"
            axis.barh(
                at, row["times_faster"], 0.8, color=colour if is_saved else "white", edgecolor=colour, linewidth=1.2
            )
            text = f"{row['times_faster']:.2f}   {row['algorithm']} {row['dtype']}, {_time(row['median_s'])}"
            axis.annotate(text, (row["times_faster"], at), (4, 0), textcoords="offset points", va="center", fontsize=7)
            at += 1
        at += 1
    axis.set_yticks([place for place, _ in ticks], [word for _, word in ticks])
    axis.invert_yaxis()
    axis.set_xlim(0, longest * 1.75)
    axis.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
    note = "; * one encoding, all steps, one decoding" if any(row["is_computed"] for row in rows) else ""
    axis.set_xlabel(f"times faster than plain float32{note}", fontsize=9)


def _time(seconds: float) -> str:
    if seconds >= 100:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
