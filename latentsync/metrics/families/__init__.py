"""Families: measures that are computed together. Each reads the frames of a result once and then gives its values.

`base` defines their input; `pictures`, `lips`, `theval` and `synchrony` hold the families;
`FAMILIES` lists them by name; `family_of` finds those of installed packages, too.
"""

from functools import cache
from importlib import import_module

from latentsync.errors import LatentSyncError
from latentsync.metrics.definitions import INSTALLED
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


@cache
def family_of(name: str) -> type[Family]:
    """The family of a name, see `definitions.FAMILIES`. That of another package is imported only here; where it cannot
    be, its measures have the reason and no value."""
    if name in FAMILIES:
        return FAMILIES[name]
    place = INSTALLED[name].place
    module, _, attribute = place.partition(":")
    try:
        family = getattr(import_module(module), attribute)
    except Exception as error:  # whatever the code of another package raises
        return _unusable(name, f"{place} cannot be imported ({type(error).__name__}: {error})")
    if not (isinstance(family, type) and issubclass(family, Family) and getattr(family, "name", None) == name):
        return _unusable(name, f"{place} is no class of latentsync.metrics.families.Family with the name {name!r}")
    return family


def _unusable(family: str, reason: str) -> type[Family]:
    class Unusable(Family):
        name = family

        def __init__(self, subject: Subject) -> None:
            raise LatentSyncError(reason)

    return Unusable


__all__ = ["FAMILIES", "Batch", "Family", "Networks", "Subject", "family_of"]
