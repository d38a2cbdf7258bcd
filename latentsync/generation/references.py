"""References: the frames of a clip that show the model what the face looks like.

The published pipeline takes the very frame that is to be filled. This leaks the true mouth if a clip gets its own
voice. Training takes a window at least a second away, and "elsewhere" does the same.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from latentsync import media
from latentsync.config import Options
from latentsync.constants import VIDEO_RATE_HZ
from latentsync.errors import OptionError
from latentsync.faces.crops import FramesOnDemand, aligned_crops, warping_of
from latentsync.generation.results import PreparedPair
from latentsync.shapes import Crops, HasFace

GAP_FRAMES = 25  # 1 s, the smallest distance in training
ROUNDING = 1e-6  # of a place, in frames

Places = Float[np.ndarray, " f"]


class References:
    """The crops that show the model the face, for one span of output frames after the other.

    Args:
        order: for each output frame, the number of the clip's frame that is its reference; see `reference_order`.

    Attributes:
        crops: of the current span, (f, 3, r, r) uint8; None while they have not been read.
    """

    def __init__(self, pair: PreparedPair, order: list[int], options: Options) -> None:
        self._matrices, self._order, self._options = pair.faces.matrices, order, options
        self._frames = FramesOnDemand(pair.video_path, order, pair.rate_hz)
        self._span = (0, 0)
        self.crops: Crops | None = None

    def move_to(self, start: int, stop: int, own: Crops) -> None:
        """Makes the output frames start..stop-1 the current span.

        Args:
            own: their own crops, which are their references under "same".
        """
        self._span, self.crops = (start, stop), own if self._options.video.reference == "same" else None

    def read(self) -> Crops:
        """The crops of the current span, (f, 3, r, r) uint8; they are decoded at the first call only.

        Raises:
            MediaError: the clip cannot be read.
        """
        if self.crops is None:
            matrices = self._matrices[self._order[slice(*self._span)]]
            options = self._options
            self.crops = aligned_crops(
                self._frames.read(*self._span), matrices, options.video.size_px, warping_of(options)
            )
        return self.crops


def places_of(clip: Path, rate_hz: float | None) -> Places:
    """When each frame of a clip begins, and when the last one ends, in 25ths of a second from its first frame.

    Args:
        rate_hz: the rate at which the clip is read; None: its own frames.

    Raises:
        MediaError: the clip cannot be read.
    """
    return np.array([float(time_s * GAP_FRAMES) for time_s in media.frame_times(clip, rate_hz)])


def frames_needed(num_shown: int, reference: str, places: Places | None = None) -> int:
    """How many of a clip's frames are aligned, so that each of the first `num_shown` has a reference.

    Args:
        places: of the clip's frames, see `places_of`; None: 25 frames/s.
    """
    if reference == "same":
        return num_shown
    if places is None:
        return max(num_shown, min(num_shown + GAP_FRAMES, 2 * GAP_FRAMES))
    there = len(places) - 1
    end = min(places[min(num_shown, there)] + GAP_FRAMES, 2 * GAP_FRAMES) - ROUNDING
    beyond = max(0.0, end - places[-1]) * there / places[-1]  # frames that the clip lacks
    return max(num_shown, int(np.searchsorted(places[:-1], end)) + math.ceil(beyond))


def references_of(pair: PreparedPair, options: Options) -> list[int]:
    """`reference_order` of a pair."""
    places = places_of(pair.video_path, pair.rate_hz)
    return reference_order(
        pair.order, pair.faces.has_face, options.video.reference, pair.video_path.name, places=places
    )


def reference_order(
    order: Sequence[int],
    has_face: HasFace,
    reference: str,
    name: str = "the clip",
    places: Places | None = None,
) -> list[int]:
    """For each output frame, the number of the clip's frame that is its reference.

    "same" is the frame that it is made from. "elsewhere" is the first frame with a face that lies at least 1 s (25
    frames) later. If there is none, it is the last frame with a face at least 1 s earlier. So consecutive frames have
    consecutive references, with one jump near the clip's end. A frame without a face is not generated; it may be its
    own reference.

    Args:
        order: for each output frame, the number of the clip's frame that it is made from.
        has_face: for each aligned frame of the clip, whether it shows a face.
        name: of the clip, for messages.
        places: of the clip's frames, see `places_of`; None: 25 frames/s.

    Raises:
        OptionError: a frame has no reference far enough away.
    """
    if reference == "same":
        return list(order)
    known = np.flatnonzero(has_face)
    references = np.arange(max(order, default=-1) + 1)
    when = np.arange(len(has_face), dtype=float) if places is None else places
    after = np.searchsorted(when[known], when[references] + GAP_FRAMES - ROUNDING)
    before = np.searchsorted(when[known], when[references] - GAP_FRAMES + ROUNDING, side="right") - 1
    chosen = np.where(after < known.size, after, before)
    far = chosen >= 0
    if (has_face[: references.size] & ~far).any():
        lonely = int(np.flatnonzero(has_face[: references.size] & ~far)[0])
        raise OptionError(
            f"reference=elsewhere needs a face at least {GAP_FRAMES} frames ({GAP_FRAMES / VIDEO_RATE_HZ:g} s) from "
            f"each frame, but frame {lonely} of {name} has none in {len(has_face)} frames; give a clip of at least "
            f"{frames_needed(references.size, reference, places)} frames with a face, or reference=same"
        )
    references[far] = known[chosen[far]]
    return [int(references[i]) for i in order]
