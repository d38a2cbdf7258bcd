"""When results that are better than the real clips are suspect."""

import math
from collections.abc import Sequence

from latentsync.metrics.definitions import DEFINITIONS, base_name, direction_of

SUSPECT = (
    "* is suspect: it beats the real clips, and no lips are more in sync than those. See whether the sound of the real "
    "clips is their own."
)
SYNC_FAMILIES = ("syncnet", "stable_syncnet", "sync_mini", "landmark_sync")
CLEAR_SHARE = 0.1  # of the real clip's value; a single result that is better by more is suspect


def beats_real(metric: str, minus_real: Sequence[float], real: Sequence[float], interval: tuple[float, float]) -> bool:
    """Whether results are clearly better than the real clips, which is suspect.

    No lips are more in sync than the real ones. Results that score better please the measure, or the sound of the real
    clips is not their own.

    Args:
        metric: a metric of sync; one that is not better higher or lower cannot be beaten.
        minus_real, real: by unit.
        interval: of the mean of minus_real, which must lie on the better side of 0. If there is none (NaN), every unit
            must be better as in `is_clearly_better`.
    """
    if math.isnan(interval[0]):
        pairs = zip(minus_real, real, strict=True)
        return len(real) > 0 and all(is_clearly_better(metric, *pair) for pair in pairs)
    sign = _sign(metric)
    return sign * interval[0] > 0 and sign * interval[1] > 0


def is_clearly_better(metric: str, minus_real: float, real: float) -> bool:
    """Whether a value is better than that of the real clip by more than a tenth of it."""
    return _sign(metric) * minus_real > CLEAR_SHARE * abs(real)


def can_be_suspect(metric: str) -> bool:
    """Whether a metric is one of sync that is better higher or lower."""
    return _sign(metric) != 0


def _sign(metric: str) -> int:
    """1 where a higher value is more in sync, -1 where a lower one is, 0 for measures of other things."""
    known = DEFINITIONS.get(base_name(metric))
    if known is None or known.family not in SYNC_FAMILIES:
        return 0
    return {"higher": 1, "lower": -1}.get(direction_of(metric), 0)
