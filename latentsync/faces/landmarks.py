"""Landmarks: MediaPipe's two small networks, which find 468 points on every face in a frame.

This module knows single frames only, but no videos, identities, alignment or models.

Coordinates are in px with (0, 0) at the centre of the top left pixel.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from jaxtyping import Float
from scipy.special import expit

from latentsync import weights
from latentsync.arrays import Frame, Landmarks
from latentsync.constants import LEFT_EYE_CORNERS, MESH_POINTS, RIGHT_EYE_CORNERS
from latentsync.errors import OptionError

Box = Float[np.ndarray, " 4"]  # left, top, right, bottom in px
# MediaPipe's face detector, short range (mediapipe 0.10.21, face_detection_short_range.pbtxt)
DETECTOR_FILE = "mediapipe/face_detection_short_range.tflite"
DETECTOR_SIDE_PX = 128
DETECTOR_GRIDS = ((16, 2), (8, 6))  # (cells a side, anchors a cell): strides 8 and three times 16
DETECTOR_MIN_SCORE = 0.5
DETECTOR_MAX_OVERLAP = 0.3  # boxes that overlap more are one face
# MediaPipe's face mesh (mediapipe 0.10.21, face_landmark_cpu.pbtxt, face_detection_front_detection_to_roi.pbtxt,
# face_landmark_landmarks_to_roi.pbtxt)
MESH_FILE = "mediapipe/face_landmark.tflite"
MESH_SIDE_PX = 192
MESH_ROI_SCALE = 1.5  # of the longer side of the detected box
MESH_MIN_PRESENCE = 0.5
# The logit of the mesh's presence, on six clips (90 frames) upright, upside down and turned by 140 degrees: at least 16
# for a face that is seen the right way up, and at most 11 for one that is not, even where the network takes its chin
# for a forehead. Then the mesh is computed again on the square turned by half.
UPRIGHT_LOGIT = 15.0
OUTER_EYE_CORNERS = (LEFT_EYE_CORNERS[0], RIGHT_EYE_CORNERS[0])
# The two networks' input for each level of a picture
DETECTOR_LEVELS = (np.arange(256) / 127.5 - 1).astype(np.float32)
MESH_LEVELS = (np.arange(256) / 255).astype(np.float32)
LANDMARK_REFINEMENTS = 4  # 0.7 instead of 7.7 px rms of trembling on a face 14 px wide to the detector (docs/log.md)


class LandmarkDetector(Protocol):
    """Finds the landmarks of every face in one frame, in MediaPipe's order of 468 points. Frames are independent."""

    def __call__(self, frame: Frame) -> list[Landmarks]: ...


@dataclass(frozen=True)
class _Region:
    """A square in the frame, px: its centre, side, and clockwise rotation in radians."""

    centre: Float[np.ndarray, " 2"]
    side_px: float
    angle: float = 0.0

    def axes(self) -> Float[np.ndarray, "2 2"]:
        """Columns: the square's own x and y axis in the frame, of the square's length."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return self.side_px * np.array([[cos, -sin], [sin, cos]])

    def cut(self, frame: Frame, side_px: int, border: int) -> Frame:
        """The square as an image, read bilinearly at the corners of its pixels, as MediaPipe does."""
        axes = self.axes()
        to_frame = np.column_stack([axes / side_px, self.centre - axes.sum(1) / 2])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(frame, to_frame, (side_px, side_px), flags=flags, borderMode=border)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides output of native code to the standard error, such as the runtime's greeting for each new interpreter."""
    sys.stderr.flush()
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


class _Network:
    """One tflite network: takes a float32 image, gives its outputs by the width of their last axis."""

    def __init__(self, path: Path) -> None:
        with _quiet():
            self._interpreter = Interpreter(model_path=str(path), num_threads=1)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = {int(o["shape"][-1]): o["index"] for o in self._interpreter.get_output_details()}

    def __call__(self, image: Float[np.ndarray, "h w 3"]) -> dict[int, Float[np.ndarray, "n k"]]:
        self._interpreter.set_tensor(self._input, image[None])
        self._interpreter.invoke()
        return {k: self._interpreter.get_tensor(index).reshape(-1, k) for k, index in self._outputs.items()}


class MediaPipeLandmarks:
    """MediaPipe's FaceMesh on single frames: 468 points of every face, refined by default.

    Without refinements the points are those of MediaPipe's static image mode, up to 0.3 px on 1080x1920 px frames. They
    depend on the detected box, which is imprecise for a small face. On 200 frames of a clip whose face is a tenth of
    the picture's height, the alignment points tremble by 7.9 px rms (residual of a quadratic fit over 5 frames). A
    refinement runs the mesh network again on the square around the last points, as MediaPipe does when it tracks. Four
    refinements reduce the trembling to 0.6 px there. If the face fills a seventh of the height, they move the points by
    3 px (median) and do not change the trembling.

    Args:
        refinements: how often the mesh runs again. 0 is MediaPipe's static image mode. After 4 the points no longer
            move.

    Raises:
        OptionError: refinements is negative.
        WeightsError: one of the two networks is missing and cannot be fetched.
    """

    def __init__(self, refinements: int = LANDMARK_REFINEMENTS) -> None:
        if refinements < 0:
            raise OptionError(f"refinements is {refinements}; it must be at least 0 (4 is where the points rest)")
        self.refinements = refinements
        self._detector = _Network(weights.locate(DETECTOR_FILE))
        self._mesh = _Network(weights.locate(MESH_FILE))

    def __call__(self, frame: Frame) -> list[Landmarks]:
        """Landmarks of every face in the frame, highest score first; z is in px, smaller is nearer."""
        meshes = (self._face(frame, region) for region in self._regions(frame))
        return [landmarks for landmarks in meshes if landmarks is not None]

    def _face(self, frame: Frame, region: _Region) -> Landmarks | None:
        """The mesh of the face in a region; None if there is none. The face may stand on its head."""
        landmarks, logit = self._refined(frame, region)
        if logit >= UPRIGHT_LOGIT:
            return landmarks
        if landmarks is not None:
            region = _mesh_region(landmarks)
        turned, turned_logit = self._refined(frame, replace(region, angle=region.angle + np.pi))
        return turned if turned_logit >= max(UPRIGHT_LOGIT, logit) else landmarks

    def _refined(self, frame: Frame, region: _Region) -> tuple[Landmarks | None, float]:
        """The mesh in a region, computed again in the square around itself while the network sees a face there."""
        landmarks, logit = self._landmarks(frame, region)
        for _ in range(self.refinements if landmarks is not None else 0):
            finer, its_logit = self._landmarks(frame, _mesh_region(landmarks))
            if finer is None:
                break
            landmarks, logit = finer, its_logit
        return landmarks, logit

    def _regions(self, frame: Frame) -> list[_Region]:
        """The square around each detected face, turned so that the eyes are level."""
        height, width = frame.shape[:2]
        letterbox = _Region(np.array([width, height]) / 2, float(max(width, height)))
        image = letterbox.cut(frame, DETECTOR_SIDE_PX, cv2.BORDER_CONSTANT)
        outputs = self._detector(cv2.LUT(image, DETECTOR_LEVELS))
        boxes, eyes = _detections(outputs[16], outputs[1][:, 0])
        corner = letterbox.centre - letterbox.side_px / 2
        return [_face_region(*(p * letterbox.side_px + corner for p in face)) for face in zip(boxes, eyes, strict=True)]

    def _landmarks(self, frame: Frame, region: _Region) -> tuple[Landmarks | None, float]:
        """The mesh in one region and the logit of its presence; None for a mesh if the network sees no face there."""
        outputs = self._mesh(cv2.LUT(region.cut(frame, MESH_SIDE_PX, cv2.BORDER_REPLICATE), MESH_LEVELS))
        logit = outputs[1].item()
        if expit(logit) <= MESH_MIN_PRESENCE:
            return None, logit
        points = outputs[3 * MESH_POINTS].reshape(MESH_POINTS, 3) / MESH_SIDE_PX
        flat = (points[:, :2] - 0.5) @ region.axes().T + region.centre
        return np.column_stack([flat, points[:, 2] * region.side_px]), logit


@cache
def _anchors() -> Float[np.ndarray, "896 2"]:
    """Centres of the detector's 896 anchors, x and y in 0..1, in the order of its outputs."""
    grids = []
    for cells, repeats in DETECTOR_GRIDS:
        y, x = np.mgrid[:cells, :cells]
        grids.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2) + 0.5, repeats, axis=0) / cells)
    return np.concatenate(grids)


def _detections(
    raw: Float[np.ndarray, "896 16"], logits: Float[np.ndarray, " 896"]
) -> tuple[Float[np.ndarray, "n 2 2"], Float[np.ndarray, "n 2 2"]]:
    """Boxes (two corners) and eyes (two points) of the faces, highest score first, in 0..1 of the detector's image."""
    scores = expit(logits)
    order = np.flatnonzero(scores >= DETECTOR_MIN_SCORE)
    order = order[np.argsort(-scores[order], kind="stable")]
    raw, anchors = raw[order].astype(np.float64) / DETECTOR_SIDE_PX, _anchors()[order]
    centres, halves = raw[:, :2] + anchors, raw[:, 2:4] / 2
    eyes = raw[:, 4:8] + np.tile(anchors, 2)  # the first two of six key points
    candidates = np.column_stack([centres - halves, centres + halves, eyes])
    merged = _merge_overlapping(candidates, scores[order]).reshape(-1, 4, 2)
    return merged[:, :2], merged[:, 2:]


def _merge_overlapping(
    candidates: Float[np.ndarray, "n 8"], scores: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "m 8"]:
    """Weighted non-maximum suppression, as in MediaPipe: boxes that overlap the best one are averaged by score."""
    merged = []
    while len(candidates):
        same = overlaps(candidates[0, :4], candidates[:, :4]) > DETECTOR_MAX_OVERLAP
        same[0] = True
        merged.append(np.average(candidates[same], axis=0, weights=scores[same]))
        candidates, scores = candidates[~same], scores[~same]
    return np.array(merged).reshape(-1, 8)


def _face_region(box: Float[np.ndarray, "2 2"], eyes: Float[np.ndarray, "2 2"]) -> _Region:
    """The square for the mesh network, from a box (two corners) and two eyes, all in px."""
    across = eyes[1] - eyes[0]
    side = MESH_ROI_SCALE * float(np.max(box[1] - box[0]))
    return _Region(box.mean(0), side, float(np.arctan2(across[1], across[0])))


def _mesh_region(landmarks: Landmarks) -> _Region:
    """The square around a mesh, as MediaPipe's tracking computes it for the next frame."""
    return _face_region(bounds(landmarks).reshape(2, 2), landmarks[list(OUTER_EYE_CORNERS), :2])


# --- boxes ---


def overlaps(box: Box, boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Intersection over union of one box with several, 0..1; 0 for boxes without area."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    union = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - shared
    return np.divide(shared, union, out=np.zeros(len(boxes)), where=union > 0)


def bounds(landmarks: Landmarks) -> Box:
    """The smallest box that holds all the points."""
    return np.concatenate([landmarks[:, :2].min(0), landmarks[:, :2].max(0)])
