"""How well lips follow known lips: gap, width and shape of a mouth against those that it should have.

Goal: sometimes the right lips are known. They are exact in a drawn clip, and visible in a clip that is given its own
voice. Then the landmarks in a video can be compared with them: over time by correlation, which does not depend on the
size of the faces or on the network's scale and offset, and frame by frame by the distance of the lips' points. While
the voice is silent, lips should rest.

Conventions: one value or landmark set per video frame (25 Hz). Gaps are `sync.lip_gap` and widths `lip_width`, in eye
distances, NaN if no face is seen. A drawn truth may have any unit. Frames without a face are left out.

Measures: `gap_correlation` (of gaps or widths; Pearson's, at lag 0, -1..1, higher is better), `lip_motion` (standard
deviation of the gap over time, in eye distances; 0 is a still mouth), `mouth_distances` and `jaw_distances` (eye
distances, lower is better), `silent_motion` (`lip_motion` while the voice is silent; lower is better).
"""

import numpy as np
from jaxtyping import Bool, Float

from latentsync.metrics.sync import LEAST_FRAMES, STILL_GAP, eye_centres, eye_distances
from latentsync.metrics.temporal import CHIN

# MediaPipe's 468 points: the outer and the inner outline of the lips.
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip
MOUTH_CORNERS = (61, 291)
SILENCE_DB = 25.0  # a frame this far below the loud frames (95th percentile) counts as silent
QUIET_DBFS = -50.0  # a voice that is never louder is silent throughout
SETTLING_FRAMES = 5  # 0.2 s, in which lips may close after speech and open before it
LEAST_SILENT = 10  # frames that a meaningful deviation needs

Series = Float[np.ndarray, " f"]


def validate(gap: Series, truth: Series) -> None:
    """Refuses series that cannot be compared.

    Raises:
        ValueError: the series are not both (f,) of one length, a value is infinite, or fewer than 25 frames show a face
            in both.
    """
    if gap.ndim != 1 or gap.shape != truth.shape:
        raise ValueError(f"gap {gap.shape} and truth {truth.shape} must both be (f,), one value per video frame")
    if np.isinf(gap).any() or np.isinf(truth).any():
        raise ValueError("gap and truth may hold NaN (no face) but nothing infinite")
    if (seen := int((np.isfinite(gap) & np.isfinite(truth)).sum())) < LEAST_FRAMES:
        raise ValueError(f"{seen} frames show a face; at least {LEAST_FRAMES} are needed")


def lip_width(landmarks: np.ndarray) -> Series:
    """Distance of the mouth's corners (61, 291) divided by that of the eyes' centres, in the image plane.

    Args:
        landmarks: (f, 468, 2 or 3), px; NaN where there is no face.
    """
    points = np.asarray(landmarks, dtype=np.float64)[..., :2]
    left, right = (points[:, index] for index in MOUTH_CORNERS)
    return np.linalg.norm(left - right, axis=-1) / eye_distances(landmarks)


def gap_correlation(gap: Series, truth: Series) -> float:
    """Pearson's correlation over the frames with a face; 0 if either does not move, since still lips follow nothing.

    Raises:
        ValueError: as `validate`.
    """
    validate(gap, truth)
    seen = np.isfinite(gap) & np.isfinite(truth)
    gap, truth = gap[seen], truth[seen]
    if gap.std() < STILL_GAP or truth.std() == 0:
        return 0.0
    return float(np.corrcoef(gap, truth)[0, 1])


def lip_motion(gap: Series) -> float:
    """Standard deviation of the gap over the frames with a face, eye distances.

    Raises:
        ValueError: as `validate`.
    """
    validate(gap, np.zeros_like(gap))
    return float(np.nanstd(gap))


def mouth_distances(landmarks: np.ndarray, reference: np.ndarray) -> Series:
    """Mean distance of the 40 lip points of each frame to those of the reference, in eye distances.

    Both faces are first moved, turned and scaled so that their eyes' centres lie at (-1/2, 0) and (1/2, 0).

    Args:
        landmarks, reference: (f, 468, 2 or 3), px; NaN where there is no face.

    Returns:
        (f,), NaN where either has no face.

    Raises:
        ValueError: the numbers of frames differ.
    """
    return _distances(landmarks, reference, LIPS)


def jaw_distances(landmarks: np.ndarray, reference: np.ndarray) -> Series:
    """Mean distance of the 15 points of chin and jaw (`temporal.CHIN`), as `mouth_distances` for the lips."""
    return _distances(landmarks, reference, CHIN)


def _distances(landmarks: np.ndarray, reference: np.ndarray, points: tuple[int, ...]) -> Series:
    if len(landmarks) != len(reference):
        raise ValueError(f"{len(landmarks)} and {len(reference)} frames cannot be compared; give as many of both")
    difference = _by_the_eyes(landmarks, points) - _by_the_eyes(reference, points)
    return np.linalg.norm(difference, axis=-1).mean(axis=1)


def _by_the_eyes(landmarks: np.ndarray, chosen: tuple[int, ...]) -> Float[np.ndarray, "f k 2"]:
    points = np.asarray(landmarks, dtype=np.float64)[..., :2]
    left, right = eye_centres(landmarks)
    across = right - left
    scale = np.square(across).sum(axis=1)[:, None, None]
    moved = points[:, chosen] - ((left + right) / 2)[:, None]
    turned = np.stack([across, np.stack([-across[:, 1], across[:, 0]], axis=1)], axis=2)  # columns: along, upright
    with np.errstate(invalid="ignore", divide="ignore"):
        return moved @ turned / scale


def silent_frames(energy_db: Series) -> Bool[np.ndarray, " f"]:
    """The frames in which the voice is silent, and also during the 0.2 s before and after.

    Args:
        energy_db: `sync.log_energy`.
    """
    loud = energy_db > max(np.percentile(energy_db, 95) - SILENCE_DB, QUIET_DBFS)
    near = np.convolve(loud, np.ones(2 * SETTLING_FRAMES + 1), "same") > 0.5
    return ~near


def silent_motion(gap: Series, energy_db: Series) -> tuple[float | None, int]:
    """Standard deviation of the gap during silence, and how many frames counted.

    Each stretch of silence is compared with its own mean.

    Returns:
        The deviation is None if fewer than 10 silent frames show a face.

    Raises:
        ValueError: the series differ in length.
    """
    if gap.shape != energy_db.shape:
        raise ValueError(f"gap {gap.shape} and energy {energy_db.shape} differ; give one value of each per frame")
    silent = silent_frames(energy_db)
    stretch = np.cumsum(np.diff(silent, prepend=False))  # a number for each run of silence or sound
    usable = silent & np.isfinite(gap)
    if usable.sum() < LEAST_SILENT:
        return None, int(usable.sum())
    squares = [
        np.square(run - run.mean()).sum() for run in (gap[usable & (stretch == k)] for k in set(stretch[usable]))
    ]
    return float(np.sqrt(sum(squares) / usable.sum())), int(usable.sum())
