"""What is measured together: each family sees the frames of a result go by once and then tells its values.

`base` says what they are shown; `pictures`, `lips` and `synchrony` hold them; `FAMILIES` is all of them by name.
"""

from latentsync.metrics.families.base import Batch, Family, Networks, Subject
from latentsync.metrics.families.lips import Identity, Jitter, LandmarkSync, Mouth, Silence
from latentsync.metrics.families.pictures import (
    Lpips,
    LpipsVgg,
    Reconstruction,
    Residual,
    Seam,
    Sharpness,
    WindowBoundary,
)
from latentsync.metrics.families.synchrony import StableSync, SyncMini, SyncNetV2

FAMILIES: dict[str, type[Family]] = {
    family.name: family
    for family in (
        Lpips, LpipsVgg, Reconstruction, Seam, Sharpness, Residual, WindowBoundary, LandmarkSync, Mouth, Silence,
        Jitter, Identity, SyncMini, StableSync, SyncNetV2,
    )
}  # fmt: skip

__all__ = ["FAMILIES", "Batch", "Family", "Networks", "Subject"]
