"""References: the frames of a clip that show the model what the face looks like.

The published pipeline takes the very frame that is to be filled. This leaks the true mouth if a clip gets its own
voice. Training takes a window at least a second away, and "elsewhere" does the same. It stays with the person: in a
clip with several shots or people, a frame's reference is of the same track.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from latentsync import media
from latentsync.audio.own_sound import find_voice
from latentsync.config import Options
from latentsync.constants import SOUND_RATE_HZ, VIDEO_RATE_HZ
from latentsync.errors import OptionError
from latentsync.faces.crops import FramesOnDemand, aligned_crops, warping_of
from latentsync.generation.results import PreparedPair
from latentsync.shapes import Crops, HasFace, Waveform

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


def answer_shift(clip: Path, voice: Waveform) -> int:
    """How many 25ths of a second after a frame of the clip the lips are that fit the voice at that frame.

    It is 0 if the voice is not the clip's own, or not trimmed at its beginning. A difference below GAP_FRAMES / 8 is
    taken for 0, since the distance of references covers it.

    Args:
        voice: mono, 16 kHz.
    """
    if not media.probe(clip).has_sound:
        return 0
    found = find_voice(media.read_sound(clip, SOUND_RATE_HZ), voice)
    shift = 0 if found is None else round(found.shift_s * VIDEO_RATE_HZ)
    return shift if abs(shift) > GAP_FRAMES // 8 else 0


def places_of(clip: Path, rate_hz: float | None) -> Places:
    """When each frame of a clip begins, and when the last one ends, in 25ths of a second from its first frame.

    Args:
        rate_hz: the rate at which the clip is read; None: its own frames.

    Raises:
        MediaError: the clip cannot be read.
    """
    return np.array([float(time_s * GAP_FRAMES) for time_s in media.frame_times(clip, rate_hz)])


def frames_needed(num_shown: int, reference: str, shift: int = 0, places: Places | None = None) -> int:
    """How many of a clip's frames are aligned, so that each of the first `num_shown` has a reference.

    Args:
        shift: see `answer_shift`.
        places: of the clip's frames, see `places_of`; None: 25 frames/s.
    """
    if reference == "same":
        return num_shown
    places = np.arange(2.0) if places is None else places
    length, count = float(places[-1]), len(places) - 1  # beyond its end the clip would go on at its mean rate
    end = places[num_shown] if num_shown <= count else num_shown * length / count
    until = min(end + GAP_FRAMES, 2 * GAP_FRAMES) if shift <= 0 else end + shift + GAP_FRAMES
    if until <= length:
        return max(num_shown, int(np.searchsorted(places, until - ROUNDING)))
    return max(num_shown, math.ceil(until * count / length - ROUNDING))


def reference_order(
    order: Sequence[int],
    has_face: HasFace,
    reference: str,
    name: str = "the clip",
    tracks: Int[np.ndarray, " f"] | None = None,
    shift: int = 0,
    places: Places | None = None,
) -> list[int]:
    """For each output frame, the number of the clip's frame that is its reference.

    "same" is the frame that it is made from. "elsewhere" is the first frame with a face of the same track that lies at
    least 1 s (25 frames) later. If there is none, it is the last one at least 1 s earlier. So consecutive frames have
    consecutive references, with one jump near the track's end. If a clip has several tracks and one is too short for
    this, the reference is the farthest frame of the track. A frame without a face is not generated; it may be its own
    reference.

    Args:
        order: for each output frame, the number of the clip's frame that it is made from.
        has_face: for each aligned frame of the clip, whether it shows a face.
        name: of the clip, for messages.
        tracks: for each aligned frame the number of its track, see `AlignedFaces`; None: all are of one.
        shift: see `answer_shift`. A reference is also 1 s from the frame that shows the lips of the voice.
        places: of the clip's frames, see `places_of`; None: 25 frames/s.

    Raises:
        OptionError: a frame has no reference far enough away, and the clip has one track.
    """
    if reference == "same":
        return list(order)
    tracks = np.zeros(len(has_face), np.int64) if tracks is None else tracks
    places = np.arange(len(has_face) + 1.0) if places is None else places
    frames = np.arange(max(order, default=-1) + 1)
    references = frames.copy()
    for track in np.unique(tracks[: frames.size]):
        known = np.flatnonzero(has_face & (tracks == track))
        mine = known[known < frames.size]
        chosen = _far_away(mine, known, shift, places)
        near = chosen < 0
        if near.any() and (tracks == tracks[0]).all():
            needed = frames_needed(frames.size, reference, shift, places)
            raise OptionError(
                f"reference=elsewhere needs a face at least {GAP_FRAMES} frames ({GAP_FRAMES / VIDEO_RATE_HZ:g} s) "
                f"from each frame, but frame {mine[near][0]} of {name} has none in {len(has_face)} frames; give a clip "
                f"of at least {needed} frames with a face, or reference=same"
            )
        if near.any():
            ends, times = known[[0, -1]], places[mine[near]]
            distances = np.minimum(*(np.abs(places[ends][:, None] - at) for at in (times, times + shift)))
            chosen[near] = ends[distances.argmax(0)]
        references[mine] = chosen
    return [int(references[i]) for i in order]


def references_of(pair: PreparedPair, options: Options) -> list[int]:
    """`reference_order` of a pair."""
    faces, reference = pair.faces, options.video.reference
    assert reference is not None  # noqa: S101 - for type checkers; the options are resolved
    places = places_of(pair.video_path, pair.rate_hz)
    name, tracks, shift = pair.video_path.name, faces.tracks, pair.answer_shift
    return reference_order(pair.order, faces.has_face, reference, name, tracks, shift, places)


def frames_near_reference(pair: PreparedPair, options: Options) -> int:
    """How many output frames have a reference from elsewhere that is less than 1 s away, or that shows lips less than
    this from the voice's: those in shots that are too short."""
    if options.video.reference == "same":
        return 0
    places = places_of(pair.video_path, pair.rate_hz)
    frames = np.array(pair.order)
    distances = places[references_of(pair, options)] - places[frames]
    is_near = np.minimum(abs(distances), abs(distances - pair.answer_shift)) < GAP_FRAMES - ROUNDING
    return int((is_near & pair.faces.has_face[frames]).sum())


def _far_away(
    frames: Int[np.ndarray, " k"], known: Int[np.ndarray, " n"], shift: int, places: Places
) -> Int[np.ndarray, " k"]:
    """The reference of each frame among known frames, at least 1 s from it and from its answer; -1: none."""
    times, known_times = places[frames], places[known]
    answers = times + shift
    ends = np.append(known, -1)

    def first_from(at: Places) -> Int[np.ndarray, " k"]:
        return ends[np.searchsorted(known_times, at - ROUNDING)]

    def last_to(at: Places) -> Int[np.ndarray, " k"]:
        return ends[np.searchsorted(known_times, at + ROUNDING, side="right") - 1]

    def is_near(chosen: Int[np.ndarray, " k"]) -> np.ndarray:
        return (chosen >= 0) & (np.abs(places[chosen] - answers) < GAP_FRAMES - ROUNDING)

    later, earlier = first_from(times + GAP_FRAMES), last_to(times - GAP_FRAMES)
    later = np.where(is_near(later), first_from(answers + GAP_FRAMES), later)
    earlier = np.where(is_near(earlier), last_to(answers - GAP_FRAMES), earlier)
    return np.where(later >= 0, later, earlier)
