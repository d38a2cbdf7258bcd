"""Families: measures that are computed together. Each reads the frames of a result once and then gives its values.

`base` defines their input; `pictures`, `lips`, `theval` and `synchrony` hold the families;
`FAMILIES` lists all of them by name.
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
from latentsync.metrics.families.synchrony import StableSync, StableSyncAccuracy, SyncMini, SyncMiniAccuracy, SyncNetV2
from latentsync.metrics.families.theval import LipDtw, Theval

FAMILIES: dict[str, type[Family]] = {
    family.name: family
    for family in (
        Lpips, LpipsVgg, Reconstruction, Seam, Sharpness, Residual, WindowBoundary, LandmarkSync, Mouth, Silence,
        Theval, LipDtw, Jitter, Identity, SyncMini, StableSync, SyncNetV2, SyncMiniAccuracy, StableSyncAccuracy,
    )
}  # fmt: skip

__all__ = ["FAMILIES", "Batch", "Family", "Networks", "Subject"]
