"""Finds the cuts of a clip while its frames are read: where another shot begins from one frame to the next.

The picture is compared as a thumbnail of 16x16 px. At a cut it changes once, and by much more than in the frames around
it; when the camera or a person moves, several frames in a row change. A flash of one frame is no cut. Dissolves and
fades are not found. Where faces are followed, a face that stays as it is through such a change (the slides of a lecture
change, the lecturer does not) makes it no cut; see `people`.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float

from latentsync.arrays import Frame

THUMB_PX = 16
# On six clips (1,231 frames) the largest excess within a shot is 1.2 levels, where a camera is carried. At a cut
# between the two shipped speakers, who sit before the same wall, it is 21.
CUT_LEVELS = 5.0  # least excess of the change over twice the change of the frames around, mean of levels 0..255
MOTION_FACTOR = 2.0
NEAR_FRAMES = 4  # frames before and after that are compared with a change
RETURN_SHARE = 0.3  # of a change: if the picture is as near as this to the one before, it was a flash


class CutDetector:
    """Compares each frame with the two before it. Only a few numbers of each frame are stored."""

    def __init__(self) -> None:
        self._thumbs: list[Float[np.ndarray, "16 16 3"]] = []
        self._changes: list[float] = []
        self._changes_of_two: list[float] = []

    def add(self, frame: Frame) -> None:
        """Takes the next frame."""
        thumb = cv2.resize(frame, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
        changes = [float(np.abs(thumb - before).mean()) for before in self._thumbs]
        self._changes.append(changes[-1] if changes else 0.0)
        self._changes_of_two.append(changes[0] if len(changes) == 2 else np.inf)
        self._thumbs = [*self._thumbs[-1:], thumb]

    def cuts(self) -> Bool[np.ndarray, " f"]:
        """For each frame that was added, whether a shot begins with it; the first frame begins none."""
        return (self.excess() >= CUT_LEVELS) & ~self._flashes()

    def excess(self) -> Float[np.ndarray, " f"]:
        """For each frame, its change less twice the second largest change around it, levels.

        The second largest: so a cut is found although there is another one near it.
        """
        if not self._changes:
            return np.zeros(0)
        around = np.pad(np.array(self._changes), NEAR_FRAMES)
        near = np.lib.stride_tricks.sliding_window_view(around, 2 * NEAR_FRAMES + 1)
        second = np.sort(np.delete(near, NEAR_FRAMES, axis=1), axis=1)[:, -2]
        return np.array(self._changes) - MOTION_FACTOR * second

    def _flashes(self) -> Bool[np.ndarray, " f"]:
        """The frames of a flash, and those after: there the picture is again what it was two frames ago."""
        changes, of_two = np.array(self._changes), np.array(self._changes_of_two)
        is_back = of_two < RETURN_SHARE * changes
        is_flash = np.append(of_two[1:], np.inf) < RETURN_SHARE * changes
        return is_back | is_flash
