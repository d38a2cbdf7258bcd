"""Where the face is: landmarks, one identity through a video, and the affine that stands it upright in a square crop.

Works on one frame after the other and keeps a few numbers of each. Knows nothing of files, models' latents or masks
beyond the two small networks that find landmarks.

Coordinates are in px with (0, 0) at the centre of the top left pixel. An affine maps frame px to px of the crop box:
an upright rectangle of 210x280 px (width x height) for crops of 256 px, which the crop shows as a square.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from ai_edge_litert.interpreter import Interpreter
from einops import rearrange
from jaxtyping import Float
from scipy.special import expit
from torch import Tensor

from latentsync import weights
from latentsync.errors import FaceNotFoundError, OptionError
from latentsync.shapes import Affine, Crop, Found, Frame, Landmarks, Points

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
MESH_POINTS = 468
EYE_CORNERS = (33, 263)  # outer, left and right in the picture

# The three alignment points of the published models are means over dlib's 68 points: 17-21, 22-26 and 27-35. These are
# the corresponding points of the mesh, measured against dlib's on 21 frames of a frontal clip, in units of the distance
# between the two brow points: dlib's brows lie 1.045 (sd 0.019) times closer, hence the shrinking; the nose differs by
# (-0.002, +0.003), under 0.3 px in a 256 px crop, and is left as it is. Measure again before changing any of them.
LEFT_BROW = (70, 63, 105, 66, 107)  # left in the picture
RIGHT_BROW = (336, 296, 334, 293, 300)
NOSE = (168, 197, 5, 4, 75, 97, 2, 326, 305)
BROW_SHRINK = 0.045  # of each brow point's way to their midpoint

# The original's AlignRestore: where the three points come to lie, and the box that is cut out
TEMPLATE = ((17.0, 20.0), (58.0, 20.0), (37.5, 40.0))  # in units of TEMPLATE_RATIO px
BOX_UNITS = (75, 100)  # width, height
TEMPLATE_RATIO = 2.8  # px a unit in crops of TEMPLATE_RESOLUTION px
TEMPLATE_RESOLUTION = 256
BIAS_OLD, BIAS_NEW = 0.2, 0.8  # weights of the nose's offset in the last frame and in this one

FILL_LEVEL = 127  # grey where the crop reaches beyond the frame
LOST_FRAMES = 12  # how long a face may be missing while another is in view before that one is followed (0.5 s at 25 Hz)


@dataclass(frozen=True)
class AlignedFaces:
    """The geometry of one face through a video; crops are cut from the frames when they are needed.

    Attributes:
        matrices: for each frame the affine, frame px -> crop box px, float64.
        found: False where no face was found and the matrix is interpolated.
        resolution: side of the crops in px.
        frame_size: height and width of the frames in px.
    """

    matrices: Float[np.ndarray, "f 2 3"]
    found: Found
    resolution: int
    frame_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.matrices)


class LandmarkDetector(Protocol):
    """Finds the landmarks of every face in one frame, in MediaPipe's order of 468 points; each frame by itself."""

    def __call__(self, frame: Frame) -> list[Landmarks]: ...


# --- landmarks ---


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
        """The square as an image, read bilinearly at its pixels' corners as MediaPipe does."""
        axes = self.axes()
        to_frame = np.column_stack([axes / side_px, self.centre - axes.sum(1) / 2])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(frame, to_frame, (side_px, side_px), flags=flags, borderMode=border)


@contextmanager
def _quiet() -> Iterator[None]:
    """Drops what native code writes to the standard error; the runtime greets each new interpreter there."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class _Network:
    """One tflite network: an image in, its outputs by width of their last axis."""

    def __init__(self, path: Path) -> None:
        with _quiet():
            self._interpreter = Interpreter(model_path=str(path), num_threads=1)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = {int(o["shape"][-1]): o["index"] for o in self._interpreter.get_output_details()}

    def __call__(self, image: Float[np.ndarray, "h w 3"]) -> dict[int, Float[np.ndarray, "n k"]]:
        self._interpreter.set_tensor(self._input, image[None].astype(np.float32))
        self._interpreter.invoke()
        return {k: self._interpreter.get_tensor(index).reshape(-1, k) for k, index in self._outputs.items()}


class MediaPipeLandmarks:
    """MediaPipe's FaceMesh in static image mode: 468 points of every face, each frame by itself.

    The points agree with MediaPipe's own run to 0.3 px at most on 1080x1920 px frames. They depend on the detected
    box, which is rough where the face is small: on 200 frames of a clip whose face is a tenth of the picture's height,
    the alignment points tremble by 7.9 px rms (residual of a quadratic fit over 5 frames). `refinements` looks again
    that many times, at the square around the points just found, with which MediaPipe would track; 4 of them bring the
    tremble to 0.6 px there. Where the face fills a seventh of the height they change the points by 3 px (median), and
    the tremble not at all.

    Args:
        refinements: 0 is MediaPipe's static image mode; 4 is where the points come to rest.

    Raises:
        OptionError: refinements is negative.
        WeightsError: one of the two networks is absent and cannot be fetched.
    """

    def __init__(self, refinements: int = 0) -> None:
        if refinements < 0:
            raise OptionError(f"refinements is {refinements}; it must be at least 0 (4 is where the points rest)")
        self.refinements = refinements
        self._detector = _Network(weights.locate(DETECTOR_FILE))
        self._mesh = _Network(weights.locate(MESH_FILE))

    def __call__(self, frame: Frame) -> list[Landmarks]:
        """Landmarks of every face in the frame, the surest first; z is in px, smaller is nearer."""
        meshes = (self._refined(frame, self._landmarks(frame, region)) for region in self._regions(frame))
        return [landmarks for landmarks in meshes if landmarks is not None]

    def _refined(self, frame: Frame, landmarks: Landmarks | None) -> Landmarks | None:
        """The mesh seen again in the square around itself, as long as the network sees a face there."""
        for _ in range(self.refinements if landmarks is not None else 0):
            finer = self._landmarks(frame, _mesh_region(landmarks))
            if finer is None:
                break
            landmarks = finer
        return landmarks

    def _regions(self, frame: Frame) -> list[_Region]:
        """The square around each detected face, turned so that the eyes are level."""
        height, width = frame.shape[:2]
        letterbox = _Region(np.array([width, height]) / 2, float(max(width, height)))
        image = letterbox.cut(frame, DETECTOR_SIDE_PX, cv2.BORDER_CONSTANT)
        outputs = self._detector(image / 127.5 - 1)
        boxes, eyes = _detections(outputs[16], outputs[1][:, 0])
        corner = letterbox.centre - letterbox.side_px / 2
        return [_face_region(*(p * letterbox.side_px + corner for p in face)) for face in zip(boxes, eyes, strict=True)]

    def _landmarks(self, frame: Frame, region: _Region) -> Landmarks | None:
        """The mesh in one region, or None where the network sees no face."""
        outputs = self._mesh(region.cut(frame, MESH_SIDE_PX, cv2.BORDER_REPLICATE) / 255)
        if expit(outputs[1].item()) <= MESH_MIN_PRESENCE:
            return None
        points = outputs[3 * MESH_POINTS].reshape(MESH_POINTS, 3) / MESH_SIDE_PX
        flat = (points[:, :2] - 0.5) @ region.axes().T + region.centre
        return np.column_stack([flat, points[:, 2] * region.side_px])


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
    """Boxes (two corners) and eyes (two points) of the faces, the surest first, in 0..1 of the detector's image."""
    scores = expit(logits)
    kept = np.flatnonzero(scores >= DETECTOR_MIN_SCORE)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    raw, anchors = raw[kept].astype(np.float64) / DETECTOR_SIDE_PX, _anchors()[kept]
    centres, halves = raw[:, :2] + anchors, raw[:, 2:4] / 2
    eyes = raw[:, 4:8] + np.tile(anchors, 2)  # the first two of six key points
    candidates = np.column_stack([centres - halves, centres + halves, eyes])
    merged = _merge_overlapping(candidates, scores[kept]).reshape(-1, 4, 2)
    return merged[:, :2], merged[:, 2:]


def _merge_overlapping(
    candidates: Float[np.ndarray, "n 8"], scores: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "m 8"]:
    """Weighted non-maximum suppression, as MediaPipe: a face is the mean, by score, of what overlaps its surest box."""
    merged = []
    while len(candidates):
        same = overlaps(candidates[0, :4], candidates[:, :4]) > DETECTOR_MAX_OVERLAP
        same[0] = True
        merged.append(np.average(candidates[same], axis=0, weights=scores[same]))
        candidates, scores = candidates[~same], scores[~same]
    return np.array(merged).reshape(-1, 8)


def _face_region(box: Float[np.ndarray, "2 2"], eyes: Float[np.ndarray, "2 2"]) -> _Region:
    """The square the mesh looks at, from a box (two corners) and two eyes, all in px."""
    across = eyes[1] - eyes[0]
    side = MESH_ROI_SCALE * float(np.max(box[1] - box[0]))
    return _Region(box.mean(0), side, float(np.arctan2(across[1], across[0])))


def _mesh_region(landmarks: Landmarks) -> _Region:
    """The square around a mesh, as MediaPipe's tracking makes it for the next frame."""
    return _face_region(_bounds(landmarks).reshape(2, 2), landmarks[list(EYE_CORNERS), :2])


# --- one identity ---


def overlaps(box: Box, boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Intersection over union of one box with several, 0..1; 0 for boxes without area."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    union = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - shared
    return np.divide(shared, union, out=np.zeros(len(boxes)), where=union > 0)


def _bounds(landmarks: Landmarks) -> Box:
    return np.concatenate([landmarks[:, :2].min(0), landmarks[:, :2].max(0)])


def _best_match(box: Box | None, boxes: Float[np.ndarray, "n 4"]) -> int | None:
    """Which of the boxes overlaps the box most; None where none does."""
    if box is None:
        return None
    shares = overlaps(box, boxes)
    return int(shares.argmax()) if shares.any() else None


def follow(boxes: Sequence[Float[np.ndarray, "n 4"]]) -> tuple[list[int | None], list[bool]]:
    """One identity through a video: in each frame the box that overlaps the followed face's last one most.

    It starts with the largest face. Where other faces are in view but none overlaps, the followed face counts as
    missing if it is seen again within LOST_FRAMES; else the scene was cut, and the largest face is followed from here.

    Args:
        boxes: of the faces in each frame, px; a frame without a face has none.

    Returns:
        For each frame the number of the followed face (None: missing), and whether a new track starts there.
    """
    chosen: list[int | None] = []
    starts: list[bool] = []
    last: Box | None = None
    for i, faces in enumerate(boxes):
        index = _best_match(last, faces)
        cut = index is None and len(faces) > 0 and not _returns(last, boxes[i + 1 : i + 1 + LOST_FRAMES])
        if cut:
            index = int(np.prod(faces[:, 2:] - faces[:, :2], axis=1).argmax())
        if index is not None:
            last = faces[index]
        chosen.append(index)
        starts.append(cut)
    return chosen, starts


def _returns(box: Box | None, upcoming: Sequence[Float[np.ndarray, "n 4"]]) -> bool:
    return any(_best_match(box, faces) is not None for faces in upcoming)


# --- alignment ---


def alignment_points(landmarks: Landmarks) -> Points:
    """Left brow, right brow (as seen in the picture) and nose, px: the points the published models were aligned by."""
    left, right, nose = (landmarks[list(indices), :2].mean(0) for indices in (LEFT_BROW, RIGHT_BROW, NOSE))
    middle = (left + right) / 2
    return np.stack([p + BROW_SHRINK * (middle - p) for p in (left, right)] + [nose])


def template_points(resolution: int) -> Points:
    """Where the three points come to lie in the crop box of a crop of resolution px."""
    return np.array(TEMPLATE) * _template_scale(resolution)


def crop_box_size(resolution: int) -> tuple[int, int]:
    """Width and height in px of the box that a crop of resolution px shows: 210, 280 for 256."""
    return tuple(int(units * _template_scale(resolution)) for units in BOX_UNITS)


def _template_scale(resolution: int) -> float:
    return resolution / TEMPLATE_RESOLUTION * TEMPLATE_RATIO


def _normalise(points: Points) -> tuple[Points, Float[np.ndarray, " 2"], float]:
    """Points with mean 0 and deviation 1 over all six numbers, and the centre and deviation taken out."""
    centre = points.mean(0)
    deviation = float(np.std(points - centre, ddof=1))
    if not deviation > 0:
        raise FaceNotFoundError(
            f"the face's three alignment points coincide at {centre.round(1).tolist()} px; they must span an area, "
            "so cut the video to where a face is plainly visible"
        )
    return (points - centre) / deviation, centre, deviation


def align_points(points: Points, resolution: int) -> tuple[Affine, Float[np.ndarray, " 2"]]:
    """The similarity that lays the three points on the template, and the offset of the nose.

    Rotation by SVD, without reflection, scale by the points' deviations, float64; the original's `AlignRestore` of 1.5
    and 1.6. The offset is the template's nose less the face's, each normalised but not rotated; the original adds it to
    the affine as if it were px.

    Raises:
        FaceNotFoundError: the points coincide.
    """
    source, source_centre, source_scale = _normalise(np.asarray(points, np.float64))
    target, target_centre, target_scale = _normalise(template_points(resolution))
    u, _, vt = np.linalg.svd(source.T @ target)
    if np.linalg.det(vt.T @ u.T) < 0:
        vt[-1] *= -1
    linear = (target_scale / source_scale) * (vt.T @ u.T)
    return np.column_stack([linear, target_centre - linear @ source_centre]), target[2] - source[2]


class AffineSmoother:
    """Affines of consecutive frames, with the nose's offset smoothed over time as the original does.

    The only state is the last frame's offset; `restart` forgets it, at a gap or a cut.
    """

    def __init__(self, resolution: int) -> None:
        self.resolution = resolution
        self.restart()

    def restart(self) -> None:
        self._offset: Float[np.ndarray, " 2"] | None = None

    def __call__(self, points: Points) -> Affine:
        matrix, offset = align_points(points, self.resolution)
        if self._offset is not None:
            offset = BIAS_OLD * self._offset + BIAS_NEW * offset
        self._offset = offset
        matrix[:, 2] += offset
        return matrix


def align(frames: Iterable[Frame], detector: LandmarkDetector, resolution: int) -> AlignedFaces:
    """Follows one face through the frames and aligns it in each; missing frames are interpolated.

    Frames are taken one by one and forgotten, so they may be a stream, and the caller may wrap them in a progress bar.

    Raises:
        FaceNotFoundError: no frame shows a face.
    """
    boxes: list[Float[np.ndarray, "n 4"]] = []
    points: list[Float[np.ndarray, "n 3 2"]] = []
    frame_size = (0, 0)
    for frame in frames:
        frame_size = frame.shape[:2]
        faces = detector(frame)
        boxes.append(np.array([_bounds(face) for face in faces]).reshape(-1, 4))
        points.append(np.array([alignment_points(face) for face in faces]).reshape(-1, 3, 2))
    chosen, starts = follow(boxes)
    found = np.array([index is not None for index in chosen], dtype=bool)
    if not found.any():
        raise FaceNotFoundError(
            f"no face was found in any of the {len(boxes)} frames; at least one frame must show a face from the front "
            "that fills a tenth of the picture's longer side, so crop or rotate the video, or choose another"
        )
    tracked = [p[index] if index is not None else None for p, index in zip(points, chosen, strict=True)]
    return AlignedFaces(fill_gaps(_smooth(tracked, starts, resolution), found), found, resolution, frame_size)


def _smooth(tracked: Sequence[Points | None], starts: Sequence[bool], resolution: int) -> Float[np.ndarray, "f 2 3"]:
    """An affine for each frame, 0 where the face is missing; smoothing restarts after a gap and at a new track."""
    smoother = AffineSmoother(resolution)
    matrices = np.zeros((len(tracked), 2, 3))
    for i, (points, start) in enumerate(zip(tracked, starts, strict=True)):
        if points is None or start:
            smoother.restart()
        if points is not None:
            matrices[i] = smoother(points)
    return matrices


def fill_gaps(matrices: Float[np.ndarray, "f 2 3"], found: Found) -> Float[np.ndarray, "f 2 3"]:
    """Matrices of missing frames interpolated linearly between their neighbours, and held at both ends."""
    known = np.flatnonzero(found)
    columns = matrices.reshape(len(matrices), -1)[known].T
    filled = [np.interp(np.arange(len(matrices)), known, column) for column in columns]
    return np.stack(filled, axis=1).reshape(-1, 2, 3)


# --- crops ---


def inverse_affine(matrix: Affine) -> Affine | None:
    """Crop box px -> frame px, or None for an affine that has no inverse."""
    matrix = np.asarray(matrix, np.float64)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:, :2])) < np.finfo(np.float64).tiny:
        return None
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def apply_affine(
    matrix: Affine, x: Float[np.ndarray, "..."], y: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "2 ..."]:
    """The points (x, y) mapped by the affine; x and y broadcast."""
    return np.stack([row[0] * x + row[1] * y + row[2] for row in matrix])


def covering_slices(points: Float[np.ndarray, "2 n"], size: tuple[int, int], margin_px: int) -> tuple[slice, slice]:
    """Rows and columns of an image of this size (height, width) that hold the points and a margin; may be empty."""
    low, high = np.floor(points.min(1)) - margin_px, np.ceil(points.max(1)) + margin_px + 1
    return tuple(
        slice(int(np.clip(low[axis], 0, length)), int(np.clip(high[axis], 0, length)))
        for axis, length in ((1, size[0]), (0, size[1]))
    )


def sample(image: Float[Tensor, "c h w"], at: Float[np.ndarray, "2 p q"], fill: float) -> Float[Tensor, "c p q"]:
    """The image read bilinearly at (x, y) px, with fill beyond its edge."""
    size = np.array([image.shape[2], image.shape[1]]).reshape(2, 1, 1)
    grid = torch.from_numpy(((at + 0.5) / size * 2 - 1).astype(np.float32)).to(image.device)
    grid = rearrange(grid, "xy p q -> 1 p q xy")
    return F.grid_sample(image[None] - fill, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0] + fill


def warp_crop(frame: Frame, matrix: Affine, resolution: int) -> Crop:
    """The aligned face as a square crop; FILL_LEVEL where it reaches beyond the frame.

    The crop box is read bilinearly and truncated to whole levels, then resized with Lanczos; the float32 path of the
    original's 1.6.
    """
    box = _crop_box(frame, matrix, resolution)
    crop = cv2.resize(box, (resolution, resolution), interpolation=cv2.INTER_LANCZOS4)
    return rearrange(torch.from_numpy(crop), "h w c -> c h w").contiguous()


def _crop_box(frame: Frame, matrix: Affine, resolution: int) -> Frame:
    """The crop box at its own size; only the part of the frame under it is touched."""
    width, height = crop_box_size(resolution)
    empty = np.full((height, width, 3), FILL_LEVEL, np.uint8)
    inverse = inverse_affine(matrix)
    if inverse is None:
        return empty
    at = apply_affine(inverse, np.arange(width)[None, :], np.arange(height)[:, None])
    rows, columns = covering_slices(at.reshape(2, -1), frame.shape[:2], margin_px=1)
    patch = torch.from_numpy(np.ascontiguousarray(frame[rows, columns]))
    if not patch.numel():
        return empty
    origin = np.array([columns.start, rows.start]).reshape(2, 1, 1)
    levels = sample(rearrange(patch, "h w c -> c h w").float(), at - origin, fill=FILL_LEVEL)
    return rearrange(levels.clamp(0, 255).to(torch.uint8), "c h w -> h w c").contiguous().numpy()
