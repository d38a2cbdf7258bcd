"""Changes of brightness from frame to frame."""

import numpy as np

from latentsync.metrics.definitions import Entry, entry
from latentsync.metrics.families import Batch, Family, Subject
from latentsync.metrics.families.base import rounded
from latentsync.shapes import Crops


class Flicker(Family):
    """Flicker of the result and of the clip, in frames with a face."""

    name = "flicker"
    needs = frozenset({"crops", "source_crops"})

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.levels: list[tuple[float, float]] = []  # of the result and the clip; NaN without a face

    def add(self, batch: Batch) -> None:
        """Sees the next frames."""
        both = np.stack([_brightness(batch.crops), _brightness(batch.source_crops)], axis=1)
        self.levels += np.where(batch.has_face[:, None], both, np.nan).tolist()

    def entries(self) -> dict[str, Entry]:
        """The mean over all pairs of consecutive frames that both show a face."""
        changes = self._changes()
        known = changes[np.isfinite(changes).all(axis=1)]
        if not len(known):
            return self.without(self.subject, "no two consecutive frames show a face")
        counts = {"used": len(known), "left_out": len(changes) - len(known)}
        ours, clips = known.mean(axis=0)
        ratio = float(ours / clips) if clips else None
        return {
            "flicker": entry("flicker", float(ours), **counts),
            "flicker_ratio": entry("flicker_ratio", ratio, "the clip's brightness never changes", **counts),
        }

    def curves(self) -> dict[str, list[float | None]]:
        """The change before each frame but the first."""
        return {"flicker": rounded(self._changes()[:, 0])}

    def _changes(self) -> np.ndarray:
        return np.abs(np.diff(np.array(self.levels).reshape(-1, 2), axis=0))


def _brightness(crops: Crops) -> np.ndarray:
    return crops.float().mean(dim=(1, 2, 3)).numpy()
