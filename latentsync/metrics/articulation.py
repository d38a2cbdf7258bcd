"""How well lips follow lips that are known: the measured gap of a mouth against the one that was drawn.

Goal: for painted speakers it is known to the hundredth of a millimetre how far the lips of each frame are apart. The
correlation over time of what a landmark network sees in a video with that truth says whether the mouth opens when it
should, whatever the faces' sizes and the network's own scale and offset.

Conventions: one value per video frame (25 Hz); gaps are `sync.lip_gap`, in eye distances, NaN where no face is seen;
the truth in any unit. Frames without a face are left out.

Measures: `gap_correlation` (Pearson's, at lag 0, -1..1, higher is better), `lip_motion` (standard deviation of the gap
over time, in eye distances; 0 is a still mouth).
"""

import numpy as np
from jaxtyping import Float

from latentsync.metrics.sync import LEAST_FRAMES, STILL_GAP

Series = Float[np.ndarray, " f"]


def validate(gap: Series, truth: Series) -> None:
    """Refuses series that cannot be compared.

    Raises:
        ValueError: not both (f,) of one length, a truth that is not finite, or fewer than 25 frames with a face.
    """
    if gap.ndim != 1 or gap.shape != truth.shape:
        raise ValueError(f"gap {gap.shape} and truth {truth.shape} must both be (f,), one value per video frame")
    if np.isinf(gap).any() or not np.isfinite(truth).all():
        raise ValueError("gap may hold NaN (no face) but nothing infinite, and truth must be finite")
    if np.isfinite(gap).sum() < LEAST_FRAMES:
        raise ValueError(f"{np.isfinite(gap).sum()} frames show a face; at least {LEAST_FRAMES} are needed")


def gap_correlation(gap: Series, truth: Series) -> float:
    """Pearson's correlation over the frames with a face; 0 where either does not move: still lips follow nothing.

    Raises:
        ValueError: as `validate`.
    """
    validate(gap, truth)
    seen = np.isfinite(gap)
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
