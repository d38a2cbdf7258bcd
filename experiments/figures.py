"""Figures of sweeps: tidy table or records in, matplotlib Figure out. One style, colour-blind safe, units on axes."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.labels import departures, varied
from experiments.record import Record
from experiments.trackers import run_name
from latentsync import media
from latentsync.geometry import warp_crop
from latentsync.results import LipsyncOutput

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito (2008)
METRIC_LABELS = {
    "lpips_alex_mouth": "LPIPS of mouths (AlexNet)\n(lower is better)",
    "sync_mini_confidence": "sync_mini confidence\n(higher is better)",
    "landmark_sync_peak": "landmark sync, peak correlation\n(higher is better)",
}
FRAMES_A_ROW = 6
THUMB_PX = 150
MAX_ROWS = 24
MAX_COLUMNS = 8  # pairs; the table has them all
UNTRAINED = "untrained model: plumbing only"
DPI = 150
LARGEST_EFFECT = 8.0  # that the colours of a sensitivity figure tell apart
MOUTHS = range(25, 49, 2)  # frames of a mouth's row: a second of speech, after the silence that it begins with
MOUTH_ROWS, MOUTH_COLUMNS = (0.5, 0.95), (0.2, 0.8)  # of an aligned face


@dataclass(frozen=True)
class PreviewWindow:
    """One window of one pair: the aligned faces of the clip and of the result, uint8 (f, r, r, 3)."""

    clip: np.ndarray
    result: np.ndarray


class ShownFigure(Figure):
    """A figure that a notebook shows by itself, without pyplot and its global state."""

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG."""
    figure.savefig(path, dpi=DPI)


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
        figure.suptitle(UNTRAINED, fontsize=10, color="#B00020")
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


def contact_sheet(records: list[Record]) -> Figure:
    """Frames at equal times, a row per record; at most 24 rows, chosen evenly."""
    chosen = [records[i] for i in np.unique(np.linspace(0, len(records) - 1, min(len(records), MAX_ROWS)).astype(int))]
    height = 0.98 * len(chosen) + 0.35
    figure = ShownFigure(figsize=(0.9 * FRAMES_A_ROW + 1.2, height), layout="constrained")
    axes = figure.subplots(len(chosen), 1, squeeze=False)[:, 0]
    for axis, record in zip(axes, chosen, strict=True):
        axis.imshow(frame_strip(record.video_path))
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.set_ylabel(_row_label(record), rotation=0, ha="right", va="center", fontsize=7)
    if not all(record.content["model"]["trained"] for record in chosen):
        figure.suptitle(UNTRAINED, fontsize=10, color="#B00020")
    return figure


def _row_label(record: Record) -> str:
    pair, settings = run_name(record.content).split(" ", 1)
    return f"{pair_label(pair)}\n{settings}"


def pair_label(pair: str) -> str:
    """`g-clara__g-clara` -> "g-clara, own voice"; the two names one above the other where they differ."""
    clip, _, voice = pair.partition("__")
    return f"{clip}, own voice" if clip == voice else f"{clip}\n{voice}"


def frame_strip(video_path: Path, count: int = FRAMES_A_ROW, height_px: int = THUMB_PX) -> np.ndarray:
    """Frames at equal times side by side, uint8 (height_px, w, 3)."""
    import cv2

    wanted = np.linspace(0, media.probe(video_path).num_frames - 1, count).astype(int)
    thumbs = []
    for frame in media.read_frames_in_order(video_path, wanted):
        width = round(frame.shape[1] * height_px / frame.shape[0])
        thumbs.append(cv2.resize(frame, (width, height_px), interpolation=cv2.INTER_AREA))
    return np.hstack(thumbs)


def strips(videos: dict[str, Path], count: int = FRAMES_A_ROW) -> Figure:
    """Frames at equal times of several videos, a labelled row each.

    Args:
        videos: label -> file.
    """
    figure = ShownFigure(figsize=(1.7 * count, 1.95 * len(videos)), layout="constrained")
    axes = figure.subplots(len(videos), 1, squeeze=False)[:, 0]
    for axis, (label, path) in zip(axes, videos.items(), strict=True):
        axis.imshow(frame_strip(path, count, height_px=256))
        axis.set_title(label, loc="left", fontsize=10)
        axis.set_axis_off()
    return figure


def preview_sheet(rows: Mapping[str, Mapping[str, PreviewWindow]]) -> Figure:
    """The mouths of one window of each cell, pair beside pair, the clip's own above them.

    Args:
        rows: cell -> pair -> window.
    """
    pairs = list(dict.fromkeys(name for row in rows.values() for name in row))
    shown = {name: next(row[name] for row in rows.values() if name in row) for name in pairs}
    height, width = (edges[1] - edges[0] for edges in (MOUTH_ROWS, MOUTH_COLUMNS))
    row_in = 0.52
    widths = [row_in * len(window.clip) * width / height for window in shown.values()]
    figure = ShownFigure(figsize=(sum(widths) + 3.2, (row_in + 0.06) * (len(rows) + 1) + 0.5), layout="constrained")
    axes = figure.subplots(len(rows) + 1, len(pairs), squeeze=False, width_ratios=widths)
    strips_of = [("the clip", {name: window.clip for name, window in shown.items()})]
    strips_of += [(cell, {name: window.result for name, window in row.items()}) for cell, row in rows.items()]
    for (label, faces), line in zip(strips_of, axes, strict=True):
        for name, axis in zip(pairs, line, strict=True):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if name in faces:
                axis.imshow(np.hstack([mouth_of(face) for face in faces[name]]))
        line[0].set_ylabel(label.replace(", ", "\n"), rotation=0, ha="right", va="center", fontsize=6)
    for name, axis in zip(pairs, axes[0], strict=True):
        axis.set_title(pair_label(name).replace("\n", ", "), fontsize=8)
    return figure


def mouth_of(face: np.ndarray) -> np.ndarray:
    """The part of an aligned face (r, r, 3) that `MOUTH_ROWS` and `MOUTH_COLUMNS` say."""
    rows, columns = (slice(*(round(edge * len(face)) for edge in edges)) for edges in (MOUTH_ROWS, MOUTH_COLUMNS))
    return face[rows, columns]


def mouths(videos: dict[str, Path], output: LipsyncOutput) -> Figure:
    """The mouth at the same moments of several videos of one clip, a labelled row each.

    Args:
        videos: label -> file: the clip, or what was made of it, frame for frame.
        output: of one of them; knows where the face is.
    """
    size_px, shown = output.options.size_px, [i for i in MOUTHS if i < len(output.faces)]
    figure = ShownFigure(figsize=(0.95 * len(shown), 1.05 * len(videos)), layout="constrained")
    axes = figure.subplots(len(videos), 1, squeeze=False)[:, 0]
    for axis, (label, path) in zip(axes, videos.items(), strict=True):
        frames = media.read_frames_in_order(path, shown, output.fps)
        faces = [warp_crop(f, output.faces.matrices[i], size_px) for f, i in zip(frames, shown, strict=True)]
        axis.imshow(np.hstack([mouth_of(face.numpy().transpose(1, 2, 0)) for face in faces]))
        axis.set_title(label, loc="left", fontsize=9)
        axis.set_axis_off()
    return figure


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
