"""Previews of mouths: cut once from a record's video or from a clip, and kept for every page and widget that shows it.

runs/cache/previews/<two characters>/<key>/  strip.webp  mouths.mp4  preview.json

The mouth is held still, centred and in proportion. A preview is only a cache: it is made when a sweep makes its record,
or else when it is first asked for. It is made anew if it is missing, damaged, of an earlier version, or of another
video. Whoever finishes a preview first wins; other makers, in this process or beside it, take the same one.

This module loads without matplotlib and torch.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from latentsync import media
from latentsync.arrays import Affine, Frame
from latentsync.config import DEFAULT_FACE, recorded_options
from latentsync.constants import LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS
from latentsync.errors import FaceNotFoundError, LatentSyncError, MediaError
from latentsync.files import find_json, whole_folder, write_bytes, write_json
from latentsync.lab.records.inputs import clip_of
from latentsync.lab.records.store import RESULT_FILE, Record
from latentsync.weights import file_sha256

if TYPE_CHECKING:
    from latentsync.faces.landmarks import LandmarkDetector
    from latentsync.generation.results import LipsyncOutput

VERSION = 2  # of what a preview shows; raise it when the same video would give another preview
PREVIEWS_DIR = "cache/previews"  # below runs_dir
STRIP_FILE, VIDEO_FILE, FACTS_FILE = "strip.webp", "mouths.mp4", "preview.json"

MOUTHS_A_STRIP = 8
MOUTH_STEP = 5  # frames between the affines of a path; who follows it interpolates
MOUTH_SIZE_PX = (320, 240)  # width and height of the picture that a path maps to
PREVIEW_PX = (160, 120)  # width and height of one mouth in the strip, and of the video
VIEW_WIDTH = 1.8  # what the picture shows, in distances between the eyes' middles
MOUTH_POINTS = (61, 291, 0, 17)  # of the mesh: both corners, and the middles of the upper and the lower lip's edges
HOLD_FRAMES = 10  # before and after, over which the mouth's place in the face is averaged
NO_MOUTH = "no frame shows a whole face"
CRF = 26
WEBP_QUALITY = 82
FINEST_SCALE = 4  # a picture that shrinks is read this much finer at most, and then averaged

_making = threading.RLock()  # the landmark detector serves one thread at a time


@dataclass(frozen=True)
class Preview:
    """The mouths of one video.

    Attributes:
        strip: a WebP of up to 8 mouths at equal times side by side, each of `PREVIEW_PX`; None without a face.
        video: an MP4 (H.264, silent) of the mouth for the whole length, 25 frames/s, `PREVIEW_PX`; None without a face.
        path: affines frame px -> px of `MOUTH_SIZE_PX` for every `MOUTH_STEP`-th frame; None without a face.
        times_s: the times of the strip's mouths, in s.
        num_frames: of the video.
        frame_size: height and width of the video's own frames, px.
        reason: why there is no mouth; None if there is one.
    """

    strip: Path | None
    video: Path | None
    path: tuple[Affine, ...] | None
    times_s: tuple[float, ...]
    num_frames: int
    frame_size: tuple[int, int]
    reason: str | None = None


@dataclass(frozen=True)
class _Source:
    """The video that a preview is made from: its frames in the order of the result, 25 a second."""

    path: Path
    order: np.ndarray
    face: str


def preview_of(runs_dir: Path, record: Record, detector: "LandmarkDetector | None" = None) -> Preview:
    """The preview of a record's result. It is made and kept if there is none yet.

    Its mouth lies where that of the clip lies, so that the face is looked for only once for all results of a clip. If
    the clip is missing, the face is looked for in the result.

    Args:
        detector: finds the face; None takes the project's own.

    Raises:
        MediaError: the video cannot be read, or the preview cannot be written.
        DamagedFileError: the record is damaged.
    """

    def make(folder: Path) -> None:
        info = media.probe(record.video_path, media.VIDEO_RATE_HZ)
        face = recorded_options(record.content["options"])["face"]
        source = _Source(record.video_path, np.arange(info.num_frames), face)
        _make(folder, stamp, source, _path_of_clip(runs_dir, record, info, detector) or _followed(source, detector))

    stamp = _stamp(record.video_path, record.files)
    return _preview(_folder(runs_dir, record.id, record.id), stamp, make)


def _path_of_clip(
    runs_dir: Path, record: Record, info: media.VideoInfo, detector: "LandmarkDetector | None"
) -> tuple[Affine, ...] | None:
    """The path of the mouth in the clip of a record; None without one, or if the clip is missing or of another size."""
    try:
        clip = preview_of_its_clip(runs_dir, record, info.num_frames, detector)
    except MediaError:
        return None
    if clip is None or clip.path is None or clip.frame_size != (info.height, info.width):
        return None
    return clip.path


def preview_of_its_clip(
    runs_dir: Path, record: Record, num_frames: int, detector: "LandmarkDetector | None" = None
) -> Preview | None:
    """The preview of a record's clip, in step with the preview of the record; None if the clip is missing or changed.

    Args:
        num_frames: of the record's preview.

    Raises:
        MediaError: the clip cannot be read, or the preview cannot be written.
    """
    clip, options = clip_of(record), recorded_options(record.content["options"])
    if clip is None:
        return None
    sha256 = record.content["pair"]["clip"]["sha256"]
    return clip_preview_of(runs_dir, clip, sha256, num_frames, options["loop"], options["face"], detector)


def clip_preview_of(
    runs_dir: Path,
    clip: Path,
    sha256: str,
    num_frames: int,
    loop: str = "pingpong",
    face: str = DEFAULT_FACE,
    detector: "LandmarkDetector | None" = None,
) -> Preview:
    """The preview of a clip's frames as a result uses them: so it is in step with the preview of that result.

    Args:
        clip: its file, see `records.inputs.clip_of`.
        sha256: of the file, hex.
        num_frames: of the result at 25 frames/s.
        loop: how a shorter clip goes on, see `media.arranged`.
        face: whose mouth, see `config.VideoOptions`.
        detector: finds the face; None takes the project's own.

    Raises:
        MediaError: the clip cannot be read, or the preview cannot be written.
    """

    def make(folder: Path) -> None:
        source = _source_in(clip, num_frames, loop, face)
        _make(folder, stamp, source, _followed(source, detector))

    stamp = {"sha256": sha256}
    return _preview(_clip_folder(runs_dir, sha256, num_frames, loop, face), stamp, make)


def keep_previews(runs_dir: Path, record: Record, output: "LipsyncOutput") -> None:
    """Makes the previews of a new record and of its clip by the face that was followed for it, which takes little time.

    It does nothing where that face is not known for each frame at 25 frames/s; then they are made when they are first
    asked for. A preview that cannot be made is no fault of the record: the error is left to that time, too.

    Args:
        record: whole; it may still lie in the folder that it was made in.
        output: what the pipeline returned for the record.
    """
    order, faces, rate_hz = np.asarray(output.order), output.faces, output.options.video.rate_hz
    if rate_hz != media.VIDEO_RATE_HZ or len(order) != output.num_frames or order.max(initial=0) >= len(faces):
        return
    with contextlib.suppress(LatentSyncError, OSError):
        rows = order[::MOUTH_STEP]
        if (path := steady_path(faces.landmarks[rows], faces.tracks[rows], MOUTH_STEP)) is None:
            return
        clip, options = record.content["pair"]["clip"], recorded_options(record.content["options"])
        face, result = options["face"], record.video_path
        for target, stamp, source in (
            (
                _clip_folder(runs_dir, clip["sha256"], len(order), options["loop"], face),
                {"sha256": clip["sha256"]},
                _Source(Path(clip["path"]), order, face),
            ),
            (
                _folder(runs_dir, record.id, record.id),
                _stamp(result, record.files),
                _Source(result, np.arange(len(order)), face),
            ),
        ):
            if _find(target, stamp) is None:
                _make(target, stamp, source, path)


def steady_path(
    landmarks: Float[np.ndarray, "f 468 2"], tracks: Int[np.ndarray, " f"], hold: int = 1
) -> tuple[Affine, ...] | None:
    """Affines frame px -> px of `MOUTH_SIZE_PX` that hold the mouth still, one for each frame; None without a face.

    They are similarities that level the eyes and centre the mouth, so it keeps its proportions, unlike in the square
    face that the model sees. They follow the head, but not the lips: how far the mouth lies from the eyes, in the
    face's own axes, is averaged over `HOLD_FRAMES` before and after.

    Args:
        landmarks: px; NaN where the face was not found. There the affine is interpolated.
        tracks: for each frame the number of its track, see `people.follow`. Each is averaged by itself.
        hold: how many frames of the video each row stands for.
    """
    known = np.flatnonzero(np.isfinite(landmarks).all(axis=(1, 2)))
    if not known.size:
        return None
    faces = landmarks[known].astype(np.float64)
    left, right = (faces[:, list(corners)].mean(axis=1) for corners in (LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS))
    eyes, way = (left + right) / 2, (right - left) @ np.array([1, 1j])
    mouth = (faces[:, list(MOUTH_POINTS)].mean(axis=1) - eyes) @ np.array([1, 1j]) / way  # in the face's own axes
    reach = max(1, round(HOLD_FRAMES / hold))
    offset, size = (_averaged(values, tracks[known], reach) for values in (mouth, np.abs(way)))
    turn = way / np.abs(way)
    centre = eyes @ np.array([1, 1j]) + offset * way
    scale = MOUTH_SIZE_PX[0] / (VIEW_WIDTH * size)
    to_canvas = scale / turn  # a complex number turns and scales
    shift = complex(*MOUTH_SIZE_PX) / 2 - to_canvas * centre
    parts = np.stack([to_canvas, shift], axis=1)
    every = np.arange(len(landmarks))
    a, b = (np.interp(every, known, part.real) + 1j * np.interp(every, known, part.imag) for part in parts.T)
    return tuple(np.array([[x.real, -x.imag, y.real], [x.imag, x.real, y.imag]]) for x, y in zip(a, b, strict=True))


def _averaged(values: np.ndarray, tracks: np.ndarray, reach: int) -> np.ndarray:
    """Each value as the mean of those at most `reach` places away in its own track."""
    means = [values[max(0, i - reach) : i + reach + 1][tracks[max(0, i - reach) : i + reach + 1] == track].mean()
             for i, track in enumerate(tracks)]  # fmt: skip
    return np.array(means)


# --- what is kept ---


def _folder(runs_dir: Path, key: str, shard: str) -> Path:
    """Where a preview lies; in a place of this process alone where the runs folder cannot be written."""
    folder = Path(runs_dir) / PREVIEWS_DIR / shard[:2]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_writable = os.access(folder, os.W_OK)
    except OSError:
        is_writable = False
    return (folder if is_writable else _own_place()) / key


def _clip_folder(runs_dir: Path, sha256: str, num_frames: int, loop: str, face: str) -> Path:
    key = hashlib.sha256(json.dumps([sha256, num_frames, loop, face]).encode()).hexdigest()[:24]
    return _folder(runs_dir, f"clip-{key}", key)


@cache
def _own_place() -> Path:
    place = tempfile.TemporaryDirectory(prefix="latentsync-previews-")
    _own_places.append(place)
    return Path(place.name)


_own_places: list[tempfile.TemporaryDirectory] = []  # removed when the process ends


def _stamp(video: Path, files: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What tells one content of a video file from another: its recorded hash, or for an older record size and time."""
    if RESULT_FILE in files:
        return {"sha256": files[RESULT_FILE]["sha256"]}
    from latentsync.media.container import check_file

    check_file(video)
    status = video.stat()
    return {"bytes": status.st_size, "changed_ns": status.st_mtime_ns}


def _preview(folder: Path, stamp: Mapping[str, Any], make: Callable[[Path], None]) -> Preview:
    """The preview in a folder, made there if it is not whole."""
    if (preview := _find(folder, stamp)) is not None:
        return preview
    with _making:
        if (preview := _find(folder, stamp)) is None:  # else another thread has made it meanwhile
            make(folder)
            preview = _find(folder, stamp)
    if preview is None:
        raise MediaError(f"{folder} was changed while it was written; try again")
    return preview


def _find(folder: Path, stamp: Mapping[str, Any]) -> Preview | None:
    """The whole preview of that video in a folder; None if it is to be made."""
    facts = find_json(folder / FACTS_FILE, _facts_fault)
    if facts is None or facts["version"] != VERSION or facts["stamp"] != stamp:
        return None
    try:
        for name, sha256 in facts["files"].items():
            if file_sha256(folder / name) != sha256:
                return None
    except OSError:
        return None
    known = tuple(facts["times_s"]), facts["num_frames"], tuple(facts["frame_size"])
    if facts["reason"] is not None:
        return Preview(None, None, None, *known, facts["reason"])
    path = tuple(np.array(matrix) for matrix in facts["path"])
    return Preview(folder / STRIP_FILE, folder / VIDEO_FILE, path, *known)


def _facts_fault(facts: dict) -> str | None:
    """What is missing in the facts of a preview; None if nothing is."""
    kinds = {"version": int, "stamp": dict, "files": dict, "num_frames": int, "reason": str | None}
    kinds |= dict.fromkeys(("times_s", "frame_size", "path"), list)
    wrong = [name for name, kind in kinds.items() if not isinstance(facts.get(name, ...), kind)]
    return f"it has no {wrong[0]}" if wrong else None


def _make(folder: Path, stamp: Mapping[str, Any], source: _Source, path: tuple[Affine, ...] | str) -> None:
    """Writes a preview, whole or not at all.

    Args:
        path: of the mouth, or the reason why there is none.
    """
    info = media.probe(source.path, media.VIDEO_RATE_HZ)
    facts = {
        "version": VERSION,
        "stamp": stamp,
        "num_frames": len(source.order),
        "frame_size": [info.height, info.width],
    }
    facts |= {"reason": None, "files": {}, "times_s": [], "path": []}
    with whole_folder(folder, is_kept=lambda there: _find(there, stamp) is not None) as part:
        if isinstance(path, str):
            write_json(part / FACTS_FILE, {**facts, "reason": path})
            return
        wanted = np.unique(np.linspace(0, len(source.order) - 1, MOUTHS_A_STRIP + 2)[1:-1].round().astype(int))
        mouths = []
        with media.VideoWriter(part / VIDEO_FILE, *PREVIEW_PX, crf=CRF, preset="veryfast") as writer:
            for number, mouth in enumerate(_mouths(source, path)):
                writer.write(mouth)
                if number in wanted:
                    mouths.append(mouth)
        buffer = BytesIO()
        Image.fromarray(np.hstack(mouths)).save(buffer, "webp", quality=WEBP_QUALITY, method=4)
        write_bytes(part / STRIP_FILE, buffer.getvalue())
        facts |= {
            "times_s": [float(number / media.VIDEO_RATE_HZ) for number in wanted],
            "path": [matrix.round(6).tolist() for matrix in path],
            "files": {name: file_sha256(part / name) for name in (STRIP_FILE, VIDEO_FILE)},
        }
        write_json(part / FACTS_FILE, facts)


# --- mouths ---


@lru_cache(maxsize=128)
def mouth_path(
    video: Path, key: str, num_frames: int, loop: str = "pingpong", face: str = DEFAULT_FACE
) -> tuple[Affine, ...] | None:
    """The path of the mouth in a video, as `Preview.path`, where no preview is to be kept.

    Args:
        key: tells files of one name apart.
        loop: how a shorter video goes on, see `media.arranged`.
        face: whose mouth, see `config.VideoOptions`.

    Raises:
        MediaError: the video cannot be read.
    """
    path = _followed(_source_in(video, num_frames, loop, face), None)
    return None if isinstance(path, str) else path


def _source_in(video: Path, num_frames: int, loop: str, face: str) -> _Source:
    """The first frames of a video as a result uses them."""
    there = media.probe(video, media.VIDEO_RATE_HZ).num_frames
    return _Source(video, media.arranged(num_frames, there, loop), face)


@cache
def _detector() -> "LandmarkDetector":
    from latentsync.faces.landmarks import MediaPipeLandmarks

    return MediaPipeLandmarks()


def _followed(source: _Source, detector: "LandmarkDetector | None") -> tuple[Affine, ...] | str:
    """The path of the mouth, from every `MOUTH_STEP`-th frame; or the reason why there is none."""
    from latentsync.faces.following import follow_face

    frames = media.read_frames_in_order(source.path, source.order[::MOUTH_STEP], media.VIDEO_RATE_HZ)
    try:
        face = follow_face(frames, detector or _detector(), source.face)
    except FaceNotFoundError as error:
        return str(error)
    return steady_path(face.landmarks, face.tracks, MOUTH_STEP) or NO_MOUTH


def _mouths(source: _Source, path: Sequence[Affine]) -> Iterator[Frame]:
    """The mouth in each frame of the source, of `PREVIEW_PX`."""
    numbers, known = np.arange(len(source.order)), np.arange(len(path)) * MOUTH_STEP
    entries = np.stack(path).reshape(len(path), -1).T * PREVIEW_PX[0] / MOUTH_SIZE_PX[0]
    matrices = np.stack([np.interp(numbers, known, entry) for entry in entries], axis=1).reshape(-1, 2, 3)
    frames = media.read_frames_in_order(source.path, source.order, media.VIDEO_RATE_HZ)
    for frame, matrix in zip(frames, matrices, strict=True):
        yield _cut(frame, matrix)


def _cut(frame: Frame, matrix: Affine) -> Frame:
    """The part of a frame that an affine maps to `PREVIEW_PX`; where it shrinks, pixels are averaged."""
    shrinks = 1 / max(1e-6, float(np.sqrt(abs(np.linalg.det(matrix[:, :2])))))
    finer = int(np.clip(np.ceil(shrinks), 1, FINEST_SCALE))
    size = tuple(finer * side for side in PREVIEW_PX)
    centre = (finer - 1) / 2  # pixels are counted from their centres
    matrix = finer * np.asarray(matrix, np.float64) + np.array([[0, 0, centre], [0, 0, centre]])
    cut = cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return cut if finer == 1 else cv2.resize(cut, PREVIEW_PX, interpolation=cv2.INTER_AREA)
