"""Whether the lips move with the voice, from landmarks and loudness alone, without a SyncNet.

Goal: the correlation between the gap of the inner lips and the loudness of the voice, over shifts in time. Mouths open
on loud sounds, so in-sync speech has a peak near lag 0. This is a coarse measure, since a loud "m" is a closed mouth.
It compares settings on the same pair, and never has the names of SyncNet's scores.

Conventions: one value per video frame (25 Hz); video frame i stands for the sound from i / 25 s to (i + 1) / 25 s.
Positive lag: the lips come later than the sound. Frames without a face are NaN in the landmarks or the gap; they are
left out of every sum, and their number is reported.

Measures: `landmark_sync_peak` (largest correlation, -1..1, higher is better), `landmark_sync_lag` (frames, nearer to 0
is better).
"""

from dataclasses import dataclass

import numpy as np

from latentsync.constants import LEFT_EYE_CORNERS, MESH_POINTS, RIGHT_EYE_CORNERS, VIDEO_RATE_HZ
from latentsync.shapes import Waveform

INNER_LIPS = (13, 14)  # of MediaPipe's mesh: middle of the upper and lower one
FLOOR_DB = -60.0  # quieter counts as silence
MAX_LAG = 15  # frames either way, as SyncNet's offsets
LEAST_FRAMES = 25  # with a face and sound at a lag, for a meaningful correlation
STILL_GAP = 1e-4  # standard deviation, in eye distances, below which lips are still
STEADY_DB = 1e-3  # standard deviation below which a voice is silent or a steady tone


@dataclass(frozen=True)
class SyncCurve:
    """Correlation of lip gap and loudness over lags.

    Attributes:
        lags: whole frames, -max_lag .. max_lag; positive where the lips come later than the sound.
        correlation: Pearson's, per lag; NaN where the overlap is too short or does not vary.
        peak, lag: largest correlation, and its lag; None with a `reason`.
        num_used: frames with a face that are compared at lag 0.
        num_left_out: frames without a face.
        reason: why there is no number; None if there is one.
    """

    lags: np.ndarray
    correlation: np.ndarray
    peak: float | None
    lag: int | None
    num_used: int
    num_left_out: int
    reason: str | None = None


def validate(gap: np.ndarray, energy: np.ndarray, max_lag: int) -> None:
    """Refuses series that are not one value per frame.

    Raises:
        ValueError: a series is not one-dimensional or holds infinite values, a loudness is NaN, or the lag is negative.
    """
    if gap.ndim != 1 or energy.ndim != 1:
        raise ValueError(f"gap {gap.shape} and energy {energy.shape} must each be (f,), one value per video frame")
    if np.isinf(gap).any() or not np.isfinite(energy).all():
        raise ValueError("gap may hold NaN (no face) but nothing infinite, and energy must be finite")
    if max_lag < 0:
        raise ValueError(f"max_lag is {max_lag}; it must be at least 0 frames (15 is the usual choice)")


def lip_gap(landmarks: np.ndarray) -> np.ndarray:
    """Distance between the inner lips (13, 14) divided by the distance between the eyes' centres.

    An eye's centre is the mean of its corners. Both distances are in the image plane; z is a
    guess of the landmark network and is not used.

    Args:
        landmarks: `(f, 468, 3)`, x and y in px; NaN where there is no face.

    Returns:
        `(f,)`, in eye distances; NaN where there is no face.
    """
    if landmarks.ndim != 3 or landmarks.shape[1] < MESH_POINTS or landmarks.shape[2] < 2:
        raise ValueError(f"landmarks have shape {landmarks.shape}; it must be (f, {MESH_POINTS}, 3)")
    points = np.asarray(landmarks, dtype=np.float64)[..., :2]
    upper, lower = (points[:, index] for index in INNER_LIPS)
    return np.linalg.norm(upper - lower, axis=-1) / eye_distances(landmarks)


def eye_centres(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each eye's two corners in px, left and right in the picture, each `(f, 2)`, float64."""
    points = np.asarray(landmarks, dtype=np.float64)[..., :2]
    return tuple(points[:, list(corners)].mean(axis=1) for corners in (LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS))


def eye_distances(landmarks: np.ndarray) -> np.ndarray:
    """Distance between the eyes' centres in px, `(f,)`; NaN where there is no face or it is 0."""
    left, right = eye_centres(landmarks)
    distances = np.linalg.norm(left - right, axis=-1)
    return np.where(distances > 0, distances, np.nan)


def log_energy(waveform: Waveform, rate_hz: int, num_frames: int, video_rate_hz: float = VIDEO_RATE_HZ) -> np.ndarray:
    """Loudness of the sound under each video frame, in dB of full scale: 10 log10 of the mean square.

    Args:
        waveform: mono, -1..1, `(n,)`.

    Returns:
        `(num_frames,)`, at least -60 dB; frames after the end of the sound have that floor.
    """
    if waveform.ndim != 1:
        raise ValueError(f"waveform has shape {waveform.shape}; it must be (n,), mono")
    edges = np.round(np.arange(num_frames + 1) * rate_hz / video_rate_hz).astype(np.int64)
    total = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])
    inside = np.minimum(edges, waveform.size)
    counts = np.diff(inside)
    power = np.diff(total[inside]) / np.maximum(counts, 1)
    return 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))


def lip_energy_correlation(gap: np.ndarray, energy: np.ndarray, max_lag: int = MAX_LAG) -> SyncCurve:
    """Pearson's correlation of lip gap and loudness at each lag, over the frames that overlap and have a face.

    At lag l the gap of frame i + l is compared with the energy of frame i: positive where lips come later than sound.

    Args:
        gap: `(f,)`, NaN where there is no face.
        energy: `(f,)` in dB; if the lengths differ, both are cut to the shorter.
    """
    gap, energy = np.asarray(gap, dtype=np.float64), np.asarray(energy, dtype=np.float64)
    validate(gap, energy, max_lag)
    length = min(gap.size, energy.size)
    gap, energy = gap[:length], energy[:length]
    seen = np.isfinite(gap)
    lags = np.arange(-max_lag, max_lag + 1)
    correlation = np.array([_correlation_at(gap, energy, int(lag)) for lag in lags])
    reason = _reason(gap[seen], energy[seen], correlation)
    counts = int(seen.sum()), int((~seen).sum())
    if reason is not None:
        return SyncCurve(lags, correlation, None, None, *counts, reason)
    best = int(np.nanargmax(correlation))
    return SyncCurve(lags, correlation, float(correlation[best]), int(lags[best]), *counts)


def _correlation_at(gap: np.ndarray, energy: np.ndarray, lag: int) -> float:
    late, early = (gap[lag:], energy[: energy.size - lag]) if lag >= 0 else (gap[:lag], energy[-lag:])
    seen = np.isfinite(late)
    late, early = late[seen], early[seen]
    if late.size < LEAST_FRAMES or late.std() < STILL_GAP or early.std() < STEADY_DB:
        return np.nan
    return float(np.corrcoef(late, early)[0, 1])


def _reason(gap: np.ndarray, energy: np.ndarray, correlation: np.ndarray) -> str | None:
    """Why there is no peak; None if there is one. Takes only the frames with a face."""
    if gap.size < LEAST_FRAMES:
        return f"{gap.size} frames show a face and have sound; at least {LEAST_FRAMES} are needed"
    if gap.std() < STILL_GAP:
        return "the lips do not move"
    if energy.std() < STEADY_DB:
        return "the voice is silent or of constant loudness"
    if np.isnan(correlation).all():
        return f"no lag has {LEAST_FRAMES} frames in which both lips and voice vary"
    return None
