"""Pictures of videos: frames and mouths side by side, on one sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentsync import media
from latentsync.lab.figures.mouths import MOUTH_COLUMNS, MOUTH_ROWS, mouth_of
from latentsync.lab.figures.shown import ShownFigure
from latentsync.lab.figures.style import mark_untrained
from latentsync.lab.records.labels import pair_label, run_name
from latentsync.lab.records.store import Record

FRAMES_A_ROW = 6
THUMB_PX = 150
MAX_ROWS = 24
PLACE_IN = 2.2  # height of the frame with the chosen face


@dataclass(frozen=True)
class PreviewWindow:
    """One window of one pair.

    Attributes:
        clip, result: the aligned faces, uint8 (f, r, r, 3).
        place: a frame of the clip with the outline of the crop and the mask's hole, uint8 (h, w, 3).
    """

    clip: np.ndarray
    result: np.ndarray
    place: np.ndarray


def contact_sheet(records: list[Record]) -> Figure:
    """Frames at equal times, one row per record; at most 24 rows, evenly chosen."""
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
        mark_untrained(figure)
    return figure


def _row_label(record: Record) -> str:
    pair, settings = run_name(record.content).split(" ", 1)
    return f"{pair_label(pair)}\n{settings}"


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
    """Frames of several videos at equal times, with a labelled row for each.

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
    """The mouths in one window of each cell: one row per cell, pairs side by side.

    Above them are a frame with the chosen face, its crop and mask, and the clip's own mouths: once, or above each group
    of cells that choose another face or mask.

    Args:
        rows: cell -> pair -> window.
    """
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    groups: list[dict[str, Mapping[str, PreviewWindow]]] = []
    for cell, row in rows.items():
        group = next((group for group in groups if all(_is_alike(row, other) for other in group.values())), None)
        if group is None:
            groups.append(group := {})
        group[cell] = row
    height, width = (edges[1] - edges[0] for edges in (MOUTH_ROWS, MOUTH_COLUMNS))
    row_in = 0.52
    lengths = {name: next(len(row[name].clip) for row in rows.values() if name in row) for name in names}
    widths = [row_in * length * width / height for length in lengths.values()]
    heights = [inches for group in groups for inches in (PLACE_IN, *[row_in] * (len(group) + 1))]
    size = (sum(widths) + 3.2, sum(heights) + 0.06 * (len(heights) - len(groups)) + 0.5)
    figure = ShownFigure(figsize=size, layout="constrained")
    axes = figure.subplots(len(heights), len(names), squeeze=False, width_ratios=widths, height_ratios=heights)
    lines = iter(axes)
    for group in groups:
        windows = {name: window for row in group.values() for name, window in row.items()}
        for name, axis in zip(names, next(lines), strict=True):
            axis.set_axis_off()
            if name in windows:
                axis.imshow(windows[name].place)
        strips_of = [("the clip", {name: window.clip for name, window in windows.items()})]
        strips_of += [(cell, {name: window.result for name, window in row.items()}) for cell, row in group.items()]
        for label, faces in strips_of:
            _draw_mouths(next(lines), label, [faces.get(name) for name in names])
    for name, axis in zip(names, axes[0], strict=True):
        axis.set_title(pair_label(name).replace("\n", ", "), fontsize=8)
    return figure


def _is_alike(row: Mapping[str, PreviewWindow], other: Mapping[str, PreviewWindow]) -> bool:
    """Whether two cells show the same face, crop and mask of each pair that both have."""
    return all(np.array_equal(row[name].place, other[name].place) for name in row if name in other)


def _draw_mouths(axes: Sequence[Axes], label: str, strips: Sequence[np.ndarray | None]) -> None:
    """A row of the sheet: the mouths of each pair's faces, with the label on the left."""
    for axis, faces in zip(axes, strips, strict=True):
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        if faces is not None:
            axis.imshow(np.hstack([mouth_of(face) for face in faces]))
    axes[0].set_ylabel(label.replace(", ", "\n"), rotation=0, ha="right", va="center", fontsize=6)
