"""How steady a face is over time: trembling points, and jumps at the seams between the network's windows.

Goal: measure what a viewer sees as flicker. Speech moves a face smoothly, so a generated face should tremble no more
than its clip. And the change from one frame to the next should be as large at the seam of two windows as within them.

Conventions: one landmark set or crop per video frame (25 Hz), in order. Landmarks are MediaPipe's 468 in px, NaN where
no face is seen; crops are aligned faces, uint8. Every difference that involves a frame without a face is left out.

Measures: `landmark_jitter` (second difference of chin and jaw over time, root mean square, in thousandths of the eyes'
distance), `landmark_jitter_ratio` (generated divided by source: 1 is as steady as the source, lower is steadier),
`window_boundary_ratio` (mean difference of neighbouring crops at seams divided by that elsewhere: 1 is an invisible
seam, nearer to 1 is better).
"""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float

from latentsync.constants import MESH_POINTS
from latentsync.metrics.sync import eye_distances
from latentsync.shapes import Crop

# MediaPipe's 468 points: the lower half of the face's outline, from jaw to jaw over the chin. It is generated, but
# unlike the lips its motion does not depend much on the voice.
CHIN = (58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288)
LEAST_TRIPLES = 10  # of consecutive frames with a face, for a meaningful mean
STILL_JITTER = 1e-3  # below this the source is a still picture, and no ratio has a meaning

Landmarks = Float[np.ndarray, "f 468 d"]


def validate(landmarks: Landmarks) -> None:
    """Refuses an array that is not one landmark set per frame.

    Raises:
        ValueError: the landmarks are not (f, 468, 2) or (f, 468, 3), or hold infinite values.
    """
    if landmarks.ndim != 3 or landmarks.shape[1] < MESH_POINTS or landmarks.shape[2] not in (2, 3):
        raise ValueError(f"landmarks have shape {landmarks.shape}; it must be (f, {MESH_POINTS}, 2 or 3)")
    if np.isinf(landmarks).any():
        raise ValueError("landmarks may hold NaN (no face) but nothing infinite")


def landmark_jitter(landmarks: Landmarks) -> float | None:
    """Root mean square over frames and points of |x(t - 1) - 2 x(t) + x(t + 1)|, in thousandths of the eyes' distance.

    Returns:
        None if fewer than 10 triples of consecutive frames show a face.

    Raises:
        ValueError: as `validate`.
    """
    validate(landmarks)
    points = landmarks[:, CHIN, :2].astype(np.float64)
    bend = np.linalg.norm(points[:-2] - 2 * points[1:-1] + points[2:], axis=-1)
    bend = 1000 * bend / eye_distances(landmarks)[1:-1, None]
    seen = np.isfinite(bend).all(axis=1)
    return float(np.sqrt(np.square(bend[seen]).mean())) if seen.sum() >= LEAST_TRIPLES else None


def landmark_jitter_ratio(generated: Landmarks, source: Landmarks) -> float | None:
    """`landmark_jitter` of the generated video divided by that of its source.

    Returns:
        None if either has too few frames with a face, or the source does not move at all.

    Raises:
        ValueError: as `validate`.
    """
    result, given = landmark_jitter(generated), landmark_jitter(source)
    return None if result is None or given is None or given < STILL_JITTER else result / given


def crop_differences(crops: Iterable[Crop | None]) -> Float[np.ndarray, " f"]:
    """Mean absolute difference of each crop to the crop before it, in levels of 0..255.

    It is NaN for the first crop, and where one of the two frames has no face (None). Crops are read once.
    """
    differences = [np.nan]
    for before, crop in pairwise(crops):
        known = before is not None and crop is not None
        differences.append(float((crop.to(torch.int16) - before).abs().float().mean()) if known else np.nan)
    return np.array(differences)


def boundary_ratio(differences: Float[np.ndarray, " f"], period: int) -> float | None:
    """Mean of the differences at frames period, 2 period, ... divided by the mean of the others.

    Args:
        differences: `crop_differences`.
        period: frames from seam to seam: the network's window, or 750 for Whisper's 30 s.

    Returns:
        None if there is no seam, or nothing moves elsewhere.

    Raises:
        ValueError: the differences are not (f,), or the period is below 2.
    """
    if differences.ndim != 1 or period < 2:
        raise ValueError(f"differences have shape {differences.shape} and period is {period}; (f,) and 2 are the least")
    places = np.arange(len(differences))
    is_seam, known = places % period == 0, np.isfinite(differences) & (places > 0)
    seams, others = differences[is_seam & known], differences[~is_seam & known]
    if not len(seams) or not len(others) or others.mean() == 0:
        return None
    return float(seams.mean() / others.mean())
