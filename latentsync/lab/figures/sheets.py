"""Pictures of videos: frames and mouths side by side, on one sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from latentsync import media
from latentsync.arrays import Frame
from latentsync.lab.figures.mouths import MOUTH_COLUMNS, MOUTH_ROWS, mouth_of
from latentsync.lab.figures.previews import preview_of
from latentsync.lab.figures.shown import ShownFigure
from latentsync.lab.figures.style import mark_untrained
from latentsync.lab.records.labels import pair_label, pair_words, run_name
from latentsync.lab.records.store import Record

FRAMES_A_ROW = 6
THUMB_PX = 150
MAX_ROWS = 24
ROW_IN = 0.95  # height of a row of the contact sheet
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
    """A frame and the mouths at equal times, one row per record; at most 24 rows, evenly chosen.

    The mouths are those of the record's preview. A record without a face has frames instead.

    Raises:
        MediaError: a video cannot be read.
    """
    chosen = [records[i] for i in np.unique(np.linspace(0, len(records) - 1, min(len(records), MAX_ROWS)).astype(int))]
    rows = [_sheet_row(record) for record in chosen]
    width_in = max(row.shape[1] for row in rows) / THUMB_PX * ROW_IN
    figure = ShownFigure(figsize=(width_in + 0.2, (ROW_IN + 0.24) * len(chosen) + 0.35), layout="constrained")
    axes = figure.subplots(len(chosen), 1, squeeze=False)[:, 0]
    for axis, record, row in zip(axes, chosen, rows, strict=True):
        axis.imshow(row, interpolation="lanczos")
        axis.set_anchor("W")
        axis.set_axis_off()
        axis.set_title(_row_label(record), loc="left", fontsize=9, pad=2)
    if not all(record.content["model"]["trained"] for record in chosen):
        mark_untrained(figure)
    return figure


def _sheet_row(record: Record) -> np.ndarray:
    """The record's middle frame and its mouths side by side, uint8 (THUMB_PX, w, 3)."""
    import cv2

    strip = preview_of(record.runs_dir, record).strip
    if strip is None:
        return frame_strip(record.video_path)
    mouths = np.asarray(Image.open(strip).convert("RGB"))
    width = round(mouths.shape[1] * THUMB_PX / mouths.shape[0])
    mouths = cv2.resize(mouths, (width, THUMB_PX), interpolation=cv2.INTER_CUBIC)
    middle = media.probe(record.video_path).num_frames // 2
    return np.hstack([_thumb(next(media.read_frames_in_order(record.video_path, [middle])), THUMB_PX), mouths])


def _row_label(record: Record) -> str:
    pair, settings = run_name(record.content).split(" ", 1)
    return f"{pair_words(pair)}  ·  {settings}"


def frame_strip(video_path: Path, count: int = FRAMES_A_ROW, height_px: int = THUMB_PX) -> np.ndarray:
    """Frames at equal times side by side, uint8 (height_px, w, 3)."""
    wanted = np.linspace(0, media.probe(video_path).num_frames - 1, count).astype(int)
    return np.hstack([_thumb(frame, height_px) for frame in media.read_frames_in_order(video_path, wanted)])


def _thumb(frame: Frame, height_px: int) -> Frame:
    import cv2

    width = round(frame.shape[1] * height_px / frame.shape[0])
    return cv2.resize(frame, (width, height_px), interpolation=cv2.INTER_AREA)


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
    axes[0].set_ylabel(label.replace(", ", "\n"), rotation=0, ha="right", va="center", fontsize=8)
