"""The mouths of records at equal times, with the clip's mouths above those of the results, in one picture."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from latentsync import media
from latentsync.config import recorded_options
from latentsync.errors import FaceNotFoundError, LatentSyncError, OptionError
from latentsync.faces.crops import aligned_pictures
from latentsync.faces.landmarks import LandmarkDetector
from latentsync.faces.track import align
from latentsync.generation.results import LipsyncOutput
from latentsync.lab.figures.shown import ShownFigure
from latentsync.lab.figures.style import mark_untrained
from latentsync.lab.records.inputs import clip_of
from latentsync.lab.records.store import Record
from latentsync.shapes import Affine, Frame

MOUTHS_A_STRIP = 8
FACE_PX = 256
MOUTHS = range(25, 49, 2)  # frames in a row of mouths: a second of speech, after the silence at the start
MOUTH_ROWS, MOUTH_COLUMNS = (0.5, 0.95), (0.2, 0.8)  # part of an aligned face


@dataclass(frozen=True)
class MouthRows:
    """Mouths of one clip and of results made from it, all cropped in the same way at the same times.

    Attributes:
        times_s: the times of the frames, in s.
        clip: a mouth for each time, uint8 (h, w, 3); None if the clip is missing.
        results: the mouths of each record, in order.
    """

    times_s: list[float]
    clip: list[Frame] | None
    results: list[list[Frame]]


def mouth_rows(
    records: Sequence[Record], detector: LandmarkDetector, count: int = MOUTHS_A_STRIP, face_px: int = FACE_PX
) -> MouthRows:
    """Mouths of records of one clip, at equal times. Faces are detected once: in the clip, or else in a result.

    It is the face that the first record's `video.face` chooses; frames without it are left out. If results differ in
    length, the shortest one sets the times.

    Args:
        face_px: side of the aligned faces from which the mouths are cropped, in px.

    Raises:
        OptionError: the records have several clips, or there is no record.
        MediaError: a video cannot be read.
        FaceNotFoundError: none of the frames shows a face.
    """
    clips = {record.content["pair"]["clip"]["sha256"] for record in records}
    if len(clips) != 1:
        raise OptionError(f"the records have {len(clips)} clips; give records of one clip")
    num_frames = min(media.probe(record.video_path).num_frames for record in records)
    clip = clip_of(records[0])
    options = recorded_options(records[0].content["options"])
    times = np.unique(np.linspace(0, num_frames - 1, count + 2)[1:-1].round().astype(int))
    rows = [list(media.read_frames_in_order(record.video_path, times)) for record in records]
    if clip is not None:
        there = min(num_frames, media.probe(clip, media.VIDEO_RATE_HZ).num_frames)
        order = media.arranged(num_frames, there, options["loop"])[times]
        rows = [list(media.read_frames_in_order(clip, order, media.VIDEO_RATE_HZ)), *rows]
    matrices = [_alignment(frame, detector, face_px, options["face"]) for frame in rows[0]]
    columns = [i for i, matrix in enumerate(matrices) if matrix is not None]
    if not columns:
        path = records[0].video_path
        raise FaceNotFoundError(f"none of {len(times)} frames of {path} shows a face; look at the video")
    times_s = [float(times[i] / media.VIDEO_RATE_HZ) for i in columns]
    affines = [matrices[i] for i in columns]
    mouths = [_mouths([frames[i] for i in columns], affines, face_px) for frames in rows]
    return MouthRows(times_s, None, mouths) if clip is None else MouthRows(times_s, mouths[0], mouths[1:])


def mouth_sheet(records: Mapping[str, Record], detector: LandmarkDetector, count: int = MOUTHS_A_STRIP) -> ShownFigure:
    """Mouths at equal times: a row for the clip, and below it a row for each record, cropped alike; times in s below.

    A record does not contain its clip; if the clip is missing, only the records' rows are drawn. Errors as for
    `mouth_rows`.

    Args:
        records: label -> record; all records have the same clip.
    """
    rows = mouth_rows(list(records.values()), detector, count)
    crops = {} if rows.clip is None else {"clip": rows.clip}
    crops |= zip(records, rows.results, strict=True)
    trained = all(record.content["model"]["trained"] for record in records.values())
    return _drawn(crops, [f"{time:.2f} s" for time in rows.times_s], trained)


def _alignment(frame: Frame, detector: LandmarkDetector, face_px: int, face: str) -> Affine | None:
    try:
        return align(iter([frame]), detector, face_px, face=face).matrices[0]
    except LatentSyncError:
        return None


def _mouths(frames: Iterable[Frame], matrices: Iterable[Affine], face_px: int) -> list[Frame]:
    return [mouth_of(face) for face in aligned_pictures(frames, matrices, face_px)]


def _drawn(crops: dict[str, list[Frame]], times: list[str], trained: bool) -> ShownFigure:
    figure = ShownFigure(
        figsize=(1.3 * len(times) + 0.3 + 0.07 * max(map(len, crops)), 0.98 * len(crops) + (0.3 if trained else 0.55))
    )
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    axes = figure.subplots(len(crops), len(times), squeeze=False)
    for row, (name, mouths) in zip(axes, crops.items(), strict=True):
        for axis, mouth in zip(row, mouths, strict=True):
            axis.imshow(mouth, interpolation="lanczos")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        row[0].set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")
    for axis, time in zip(axes[-1], times, strict=True):
        axis.set_xlabel(time, fontsize=8)
    if not trained:
        mark_untrained(figure)
    return figure


def mouth_of(face: np.ndarray) -> np.ndarray:
    """The part of an aligned face (r, r, 3) given by `MOUTH_ROWS` and `MOUTH_COLUMNS`."""
    rows, columns = (slice(*(round(edge * len(face)) for edge in edges)) for edges in (MOUTH_ROWS, MOUTH_COLUMNS))
    return face[rows, columns]


def mouths(videos: dict[str, Path], output: LipsyncOutput) -> Figure:
    """The mouths of several videos of one clip at the same times, with a labelled row for each.

    Args:
        videos: label -> file: the clip, or a result whose frames correspond to the clip's.
        output: the output of one of them; it has the position of the face.
    """
    size_px, last = output.options.video.size_px, min(output.num_frames, len(output.faces)) - 1
    times = [i for i in MOUTHS if i <= last] or range(0, last + 1, 2)
    figure = ShownFigure(figsize=(0.95 * len(times), 1.05 * len(videos)), layout="constrained")
    axes = figure.subplots(len(videos), 1, squeeze=False)[:, 0]
    for axis, (label, path) in zip(axes, videos.items(), strict=True):
        frames = media.read_frames_in_order(path, times, output.options.video.rate_hz)
        axis.imshow(np.hstack(_mouths(frames, output.faces.matrices[list(times)], size_px)))
        axis.set_title(label, loc="left", fontsize=9)
        axis.set_axis_off()
    return figure


def face_mouths(rows: Mapping[str, np.ndarray]) -> Figure:
    """The mouths of aligned faces side by side, in labelled rows.

    Args:
        rows: label -> faces, uint8 (f, r, r, 3), the same number in each row.
    """
    length = max(len(faces) for faces in rows.values())
    figure = ShownFigure(figsize=(0.95 * length + 1.2, 0.72 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axis, (label, faces) in zip(axes, rows.items(), strict=True):
        axis.imshow(np.hstack([mouth_of(face) for face in faces]))
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    return figure
