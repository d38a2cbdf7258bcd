"""Follows one face through a video, and computes the affine that puts it upright into a square crop.

Frames are processed one by one, and only a few numbers of each are stored. This module knows landmarks as points, but
not the networks that find them, and no files, latents or masks.

Coordinates are in px with (0, 0) at the centre of the top left pixel. An affine maps frame px to px of the crop box.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentsync.config import DEFAULT_FACE
from latentsync.errors import FaceNotFoundError
from latentsync.faces.following import follow_face
from latentsync.faces.geometry import DEFAULT_WARPING, Warping, px_per_unit
from latentsync.faces.landmarks import Box, LandmarkDetector
from latentsync.shapes import Affine, Frame, HasFace, Landmarks, Points

# The three alignment points of the published models are means over dlib's 68 points: 17-21, 22-26 and 27-35. These are
# the corresponding points of the mesh. They were compared with dlib's on 21 frames of a frontal clip, in units of the
# distance between the two brow points. dlib's brows lie 1.045 (sd 0.019) times closer, which BROW_SHRINK corrects. The
# nose differs by (-0.002, +0.003), under 0.3 px in a 256 px crop, and is not corrected. Measure again before a change.
LEFT_BROW = (70, 63, 105, 66, 107)  # left in the picture
RIGHT_BROW = (336, 296, 334, 293, 300)
NOSE = (168, 197, 5, 4, 75, 97, 2, 326, 305)
BROW_SHRINK = 0.045  # part of the distance to their midpoint by which each brow point moves

# The original's AlignRestore: target places of the three points in the crop box, in units of px_per_unit px
TEMPLATE = ((17.0, 20.0), (58.0, 20.0), (37.5, 40.0))
BIAS_OLD, BIAS_NEW = 0.2, 0.8  # weights of the nose's offset in the last frame and in this one
STILLNESS = 0.3  # px: if a point's squared movement divided by the face's width is this, 1.0 follows it by 1 - 1/e

FILE_NAMES = {"has_face": "found"}  # names in the cache's files, where they differ from the attributes


@dataclass(frozen=True)
class AlignedFaces:
    """The geometry of one face through a video; crops are cut from the frames when they are needed.

    Attributes:
        matrices: for each frame the affine, frame px -> crop box px, float64.
        has_face: for each frame, whether a face was found; if not, the matrix is interpolated.
        resolution: side of the crops in px.
        frame_size: height and width of the frames in px.
        landmarks: of the face in each frame, px, float32; NaN if it was not found. 3.7 kB per frame.
        tracks: for each frame the number of its track: one person in one shot, see `people.follow`.
    """

    matrices: Float[np.ndarray, "f 2 3"]
    has_face: HasFace
    resolution: int
    frame_size: tuple[int, int]
    landmarks: Float[np.ndarray, "f 468 2"]
    tracks: Int[np.ndarray, " f"]

    def __len__(self) -> int:
        return len(self.matrices)

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything as tensors, for a cache."""
        return {FILE_NAMES.get(name, name): torch.tensor(value) for name, value in vars(self).items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "AlignedFaces":
        """The inverse of `to_tensors`."""
        height, width = tensors["frame_size"].tolist()
        names = ("matrices", "has_face", "landmarks", "tracks")
        arrays = {name: tensors[FILE_NAMES.get(name, name)].numpy() for name in names}
        return cls(resolution=int(tensors["resolution"]), frame_size=(height, width), **arrays)


# --- alignment ---


def alignment_points(landmarks: Landmarks) -> Points:
    """Left brow, right brow (as seen in the picture) and nose, px: the alignment points of the published models."""
    left, right, nose = (landmarks[list(indices), :2].mean(0) for indices in (LEFT_BROW, RIGHT_BROW, NOSE))
    middle = (left + right) / 2
    return np.stack([p + BROW_SHRINK * (middle - p) for p in (left, right)] + [nose])


def template_points(resolution: int) -> Points:
    """The target places of the three points in the crop box, for a crop of resolution px."""
    return np.array(TEMPLATE) * px_per_unit(resolution)


def _normalise(points: Tensor, correction: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points with mean 0 and deviation 1 over all six numbers, and their centre and deviation before."""
    centre = points.mean(0)
    deviation = (points - centre).std(correction=correction)
    if not deviation > 0:
        raise FaceNotFoundError(
            f"the face's three alignment points coincide at {centre.numpy().round(1).tolist()} px; they must span an "
            "area, so cut the video to where a face is plainly visible"
        )
    return (points - centre) / deviation, centre, deviation


def align_points(
    points: Points, resolution: int, warping: Warping = DEFAULT_WARPING
) -> tuple[Affine, Float[np.ndarray, " 2"]]:
    """The similarity that maps the three points to the template, and the offset of the nose.

    The rotation comes from an SVD, the scale from the points' deviations. This is the original's `AlignRestore`. Like
    the original it uses torch in float32, so that its numbers are the same to the last digit. The offset is the
    template's nose minus the face's, each normalised but not rotated; the original adds it to the affine as if it were
    px. Points in mirrored order are rotated, not mirrored, as in the original since 1.5. Geometry "lanczos" is the
    original's 1.0: it computes in float64, mirrors such points, and normalises by the deviation of a population instead
    of a sample.

    Raises:
        FaceNotFoundError: the points coincide.
    """
    is_first = warping.geometry == "lanczos"
    dtype, correction = (torch.float64, 0) if is_first else (torch.float32, 1)
    source, source_centre, source_scale = _normalise(torch.tensor(points, dtype=dtype), correction)
    target, target_centre, target_scale = _normalise(torch.tensor(template_points(resolution), dtype=dtype), correction)
    u, _, vt = torch.linalg.svd(source.T @ target)
    if torch.linalg.det(vt.T @ u.T) < 0 and not is_first:
        vt[-1] *= -1
    rotation, scale = vt.T @ u.T, target_scale / source_scale
    translation = target_centre - scale * (rotation @ source_centre)
    return torch.column_stack([scale * rotation, translation]).numpy(), (target[2] - source[2]).numpy()


class PointHolder:
    """Holds points still against small movements, as the original's 1.0 does with its 68 landmarks.

    The only state is the last frame's points after holding. `restart` clears it, at a gap or a cut.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._last: Float[np.ndarray, "k 2"] | None = None

    def __call__(self, points: Float[np.ndarray, "k 2"], face_width_px: float) -> Float[np.ndarray, "k 2"]:
        if self._last is not None:
            squared_way = ((points - self._last) ** 2).sum(1, keepdims=True)
            share = np.exp(-squared_way / (STILLNESS * face_width_px))
            points = share * self._last + (1 - share) * points
        self._last = points
        return points


class AffineSmoother:
    """Affines of consecutive frames, with the nose's offset smoothed over time as in the original.

    The only state is the last frame's offset. `restart` clears it, at a gap or a cut.
    """

    def __init__(self, resolution: int, warping: Warping = DEFAULT_WARPING) -> None:
        self.resolution = resolution
        self.warping = warping
        self.restart()

    def restart(self) -> None:
        self._offset: Float[np.ndarray, " 2"] | None = None

    def __call__(self, points: Points) -> Affine:
        matrix, offset = align_points(points, self.resolution, self.warping)
        if self._offset is not None:
            offset = self._offset * offset.dtype.type(BIAS_OLD) + offset * offset.dtype.type(BIAS_NEW)
        self._offset = offset
        matrix[:, 2] += offset
        return matrix.astype(np.float64)


def align(
    frames: Iterable[Frame],
    detector: LandmarkDetector,
    resolution: int,
    warping: Warping = DEFAULT_WARPING,
    face: str = DEFAULT_FACE,
) -> AlignedFaces:
    """Follows one face through the frames and aligns it in each; affines of frames without it are interpolated.

    Frames are read one by one and not stored. So they may be a stream, and the caller may wrap them in a progress bar.
    Geometry "lanczos" holds the three points still (`PointHolder`), instead of the 68 points of the original's 1.0.

    Args:
        face: which face, see `config.VideoOptions.face` and `people.follow`.

    Raises:
        FaceNotFoundError: no frame shows a face, or none shows the chosen one.
    """
    known = follow_face(frames, detector, face, alignment_points)
    pairs = zip(known.measures, known.sightings, strict=True)
    tracked = [None if points is None else (points, sighting.box) for points, sighting in pairs]
    starts = np.diff(known.tracks, prepend=-1) != 0
    matrices = fill_gaps(_smooth(tracked, starts.tolist(), resolution, warping), known.has_face)
    return AlignedFaces(matrices, known.has_face, resolution, known.frame_size, known.landmarks, known.tracks)


def _smooth(
    tracked: Sequence[tuple[Points, Box] | None], starts: Sequence[bool], resolution: int, warping: Warping
) -> Float[np.ndarray, "f 2 3"]:
    """An affine for each frame, all 0 if the face is missing; smoothing restarts after a gap and at a new track."""
    holder, smoother = PointHolder(), AffineSmoother(resolution, warping)
    matrices = np.zeros((len(tracked), 2, 3))
    for i, (face, start) in enumerate(zip(tracked, starts, strict=True)):
        if face is None or start:
            holder.restart()
            smoother.restart()
        if face is not None:
            points, (left, _, right, _) = face
            held = holder(points, right - left) if warping.geometry == "lanczos" else points
            matrices[i] = smoother(held)
    return matrices


def fill_gaps(matrices: Float[np.ndarray, "f 2 3"], has_face: HasFace) -> Float[np.ndarray, "f 2 3"]:
    """Interpolates the matrices of missing frames linearly between their neighbours; both ends repeat the nearest."""
    known = np.flatnonzero(has_face)
    columns = matrices.reshape(len(matrices), -1)[known].T
    filled = [np.interp(np.arange(len(matrices)), known, column) for column in columns]
    return np.stack(filled, axis=1).reshape(-1, 2, 3)
