"""Splits a stream of frames into shots, and follows one face through each: a track. Knows no sound, files or pieces.

A shot begins at each cut that scenedetect (extra "train") finds, and wherever a new track of the followed face starts:
at another person, and at the plain cuts that `faces.cuts` finds. Each shot is aligned by itself with the code of
inference (`faces.align`), so a video without cuts gives the affines of inference.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from latentsync.constants import VIDEO_RATE_HZ
from latentsync.errors import FaceNotFoundError
from latentsync.faces.landmarks import LandmarkDetector
from latentsync.faces.track import AlignedFaces, align
from latentsync.metrics.sync import lip_gap
from latentsync.shapes import Frame, HasFace

SHOT_SIDE_PX = 256  # longer side of the picture in which cuts are searched
SHOT_THRESHOLD = 27.0  # scenedetect's default: mean change of hue, saturation and luma, 0..255

CutDetector = Callable[[Frame], bool]  # called with every frame in order; returns whether a shot begins with it


@dataclass(frozen=True)
class Dropped:
    """A range of a source's frames that gives no piece, and the reason."""

    start: int
    stop: int
    reason: str

    def entry(self) -> dict[str, Any]:
        return {"start_s": self.start / VIDEO_RATE_HZ, "stop_s": self.stop / VIDEO_RATE_HZ, "reason": self.reason}


# --- cuts ---


class ContentCuts:
    """scenedetect's ContentDetector, frame by frame: a shot begins where a small copy of the picture changes much.

    Raises:
        ImportError: scenedetect is not installed.
    """

    def __init__(self, threshold: float = SHOT_THRESHOLD) -> None:
        from scenedetect import ContentDetector, FrameTimecode

        self._detector = ContentDetector(threshold, min_scene_len=0)  # 0 reports cuts at once; flashes become short
        self._timecode = FrameTimecode
        self._number = 0

    def __call__(self, frame: Frame) -> bool:
        height, width = frame.shape[:2]
        scale = min(1.0, SHOT_SIDE_PX / max(height, width))
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        at = self._timecode(self._number, VIDEO_RATE_HZ)
        self._number += 1
        return bool(self._detector.process_frame(at, np.ascontiguousarray(small[..., ::-1])))


def find_cut_detector() -> Callable[[], CutDetector] | None:
    """The class of the cut detector; None if scenedetect is not installed."""
    try:
        ContentCuts()
    except ImportError:
        return None
    return ContentCuts


def cut_detector_name() -> str:
    """The detector with its version, which decides where shots begin."""
    for package in ("scenedetect-headless", "scenedetect"):
        with suppress(PackageNotFoundError):
            return f"scenedetect {version(package)} ContentDetector {SHOT_THRESHOLD:g}"
    return "scenedetect"


class _Shots:
    """One stream of frames, given out shot by shot. The frame that begins the next shot is stored for it."""

    def __init__(self, frames: Iterable[Frame], begins_shot: CutDetector | None) -> None:
        self._frames = iter(frames)
        self._begins_shot = begins_shot
        self._next = self._read()
        self.position = 0  # of the next frame

    def _read(self) -> tuple[Frame, bool] | None:
        frame = next(self._frames, None)
        return None if frame is None else (frame, self._begins_shot is not None and self._begins_shot(frame))

    def __bool__(self) -> bool:
        """Whether there is another frame."""
        return self._next is not None

    def frames(self) -> Iterator[Frame]:
        """The frames up to the next cut."""
        is_first = True
        while self._next is not None and (is_first or not self._next[1]):
            frame, is_first = self._next[0], False
            self._next, self.position = self._read(), self.position + 1
            yield frame


# --- one face through a shot ---


@dataclass(frozen=True)
class Track:
    """One face through consecutive frames of the source. It was found in the first and in the last frame.

    Attributes:
        start: number of its first frame in the source.
        matrices, has_face: as in `AlignedFaces`.
        boxes: of the face, px; interpolated where it was not found.
        gaps: of the lips; NaN where the face was not found.
    """

    start: int
    matrices: Float[np.ndarray, "f 2 3"]
    has_face: HasFace
    boxes: Float[np.ndarray, "f 4"]
    gaps: Float[np.ndarray, " f"]

    def __len__(self) -> int:
        return len(self.has_face)

    def part(self, start: int, stop: int) -> "Track":
        cut = slice(start, stop)
        return Track(self.start + start, self.matrices[cut], self.has_face[cut], self.boxes[cut], self.gaps[cut])


def tracks(
    frames: Iterable[Frame],
    detector: LandmarkDetector,
    begins_shot: CutDetector | None,
    size_px: int,
    on_frame: Callable[[], None],
) -> Iterator[Track | Dropped]:
    """The tracks of a video, shot by shot, and the shots without one.

    Args:
        begins_shot: detects cuts; None detects none.
        size_px: size of the crops that the affines are for.
        on_frame: called after each frame.
    """
    shots = _Shots(frames, begins_shot)
    while shots:
        first = shots.position
        try:
            faces = align(_counted(shots.frames(), on_frame), detector, size_px)
        except FaceNotFoundError as error:
            yield Dropped(first, shots.position, str(error))
        else:
            yield from _tracks_of_shot(first, faces)


def _counted(frames: Iterator[Frame], on_frame: Callable[[], None]) -> Iterator[Frame]:
    for frame in frames:
        yield frame
        on_frame()


def _tracks_of_shot(first: int, faces: AlignedFaces) -> Iterator[Track | Dropped]:
    """Splits a shot where a new track starts: at another person, or at a cut that was not detected."""
    boxes = np.concatenate([faces.landmarks.min(1), faces.landmarks.max(1)], axis=1)
    gaps = lip_gap(faces.landmarks)
    edges = [*np.flatnonzero(np.diff(faces.tracks, prepend=-1)).tolist(), len(faces)]
    whole = Track(first, faces.matrices, faces.has_face, boxes, gaps)
    for start, stop in pairwise(edges):
        known = np.flatnonzero(faces.has_face[start:stop])
        if not known.size:
            yield Dropped(first + start, first + stop, f"no face was found in {stop - start} frames between two cuts")
            continue
        track = whole.part(start + int(known[0]), start + int(known[-1]) + 1)
        yield Track(track.start, track.matrices, track.has_face, _without_gaps(track.boxes, track.has_face), track.gaps)


def _without_gaps(boxes: Float[np.ndarray, "f 4"], has_face: HasFace) -> Float[np.ndarray, "f 4"]:
    known = np.flatnonzero(has_face)
    return np.stack([np.interp(np.arange(len(boxes)), known, column) for column in boxes[known].T], axis=1)
