"""Who is who: links the faces of consecutive frames to people, and follows the one that was chosen.

Place, movement, the shape of landmarks and the colours of faces distinguish people. The order in which a detector lists
faces means nothing. A person ends at a cut. This module knows boxes and landmarks, but no networks, alignment or files.

Coordinates are in px with (0, 0) at the centre of the top left pixel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.optimize import linear_sum_assignment

from latentsync.arrays import Frame
from latentsync.config import DEFAULT_FACE, face_place
from latentsync.faces.landmarks import Box, overlaps

LOST_FRAMES = 12  # a face may be missing for so long (0.5 s at 25 Hz) before another visible face is followed
FORGOTTEN_FRAMES = 250  # a person who was not seen for so long (10 s at 25 Hz) is another one when there again
PAST_SHARE = 0.5  # of the last movement that is kept when the next one is known
LOOK_PX = 8  # sides of the small picture that stands for a face
LOOK_SCALE = 60.0  # levels of difference that count as much as no overlap at all
SHAPE_SCALE = 0.3  # the same for a difference in shape, in units of the face's size
# Levels, 0..255. On six clips a face differs by 2 from itself a frame later (median), and by at most 30 in all of the
# clip; two people differ by at least 23.
SAME_LOOK = 15.0
OTHER_LOOK = 30.0
SAME_PLACE = 0.5  # intersection over union
NEAR_POINT = 0.25  # of a face's longer side: so far from its box a point may be and still choose it


@dataclass(frozen=True)
class Sighting:
    """One face in one frame.

    Attributes:
        landmarks: x and y, px.
        box: around all of them, px.
        look: a small picture of what the box holds.
    """

    landmarks: Float[np.ndarray, "k 2"]
    box: Box
    look: UInt8[np.ndarray, "8 8 3"]

    @property
    def centre(self) -> Float[np.ndarray, " 2"]:
        """The middle of the box, px."""
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def area(self) -> float:
        """Of the box, px²."""
        return float(np.prod(self.box[2:] - self.box[:2]))


Sightings = Sequence[Sequence[Sighting]]  # the faces of each frame


def look_of(frame: Frame, box: Box) -> UInt8[np.ndarray, "8 8 3"]:
    """A small picture of what a box holds; grey for a box outside of the frame."""
    height, width = frame.shape[:2]
    left, top, right, bottom = (
        int(np.clip(edge, 0, length)) for edge, length in zip(np.rint(box), (width, height) * 2, strict=True)
    )
    part = frame[top:bottom, left:right]
    if not part.size:
        return np.full((LOOK_PX, LOOK_PX, 3), 127, np.uint8)
    return cv2.resize(part, (LOOK_PX, LOOK_PX), interpolation=cv2.INTER_AREA)


def look_difference(a: Sighting, b: Sighting) -> float:
    """The mean difference of two faces' small pictures, levels 0..255."""
    return float(np.abs(a.look.astype(np.int16) - b.look).mean())


def shape_difference(a: Sighting, b: Sighting) -> float:
    """How far the landmarks of two faces are apart, rms, after place, size and rotation are made equal; in units of the
    face's size (rms distance from its centre)."""
    one, other = (_standardised(sighting.landmarks) for sighting in (a, b))
    u, scales, vt = np.linalg.svd(one.T @ other)
    scales[-1] *= np.sign(np.linalg.det(u @ vt)) or 1
    return float(np.sqrt(max(0.0, 2 - 2 * scales.sum() / len(one))))


def _standardised(points: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, "k 2"]:
    points = points - points.mean(0)
    return points / max(float(np.sqrt(np.square(points).sum(1).mean())), 1e-9)


# --- people ---


@dataclass
class _Person:
    """Someone who was seen, as they were last."""

    number: int
    seen: Sighting
    frame: int
    movement: Float[np.ndarray, " 2"] = field(default_factory=lambda: np.zeros(2))  # px per frame

    def see(self, face: Sighting, frame: int) -> None:
        movement = (face.centre - self.seen.centre) / (frame - self.frame)
        self.movement = PAST_SHARE * self.movement + (1 - PAST_SHARE) * movement
        self.seen, self.frame = face, frame

    def likeness(self, face: Sighting, frame: int) -> float:
        """How likely a face is this person, at most 1; -inf if it cannot be."""
        gap, look = frame - self.frame, look_difference(self.seen, face)
        expected = self.seen.box + np.tile(self.movement * gap, 2)
        overlap = max(overlaps(box, face.box[None])[0] for box in (self.seen.box, expected))
        if overlap == 0 or (gap > 1 and look > OTHER_LOOK):
            return -np.inf
        return overlap - look / LOOK_SCALE - shape_difference(self.seen, face) / SHAPE_SCALE

    def stays(self, face: Sighting) -> bool:
        """Whether a face of the next frame is the same at the same place, whatever happens around it."""
        is_there = overlaps(self.seen.box, face.box[None])[0] >= SAME_PLACE
        return bool(is_there) and look_difference(self.seen, face) <= SAME_LOOK


def link(frames: Sightings, changes: Bool[np.ndarray, " f"]) -> tuple[list[list[int]], Bool[np.ndarray, " f"]]:
    """Links the faces of consecutive frames to people.

    Args:
        changes: in which frames the whole picture changes, see `cuts.CutDetector`.

    Returns:
        For each frame the number of the person behind each face, from 0 in order of appearance; and in which frames a
        shot begins: where the picture changes and no face stays as it is. People of two shots have different numbers.
    """
    people: list[_Person] = []
    numbers: list[list[int]] = []
    begins = np.zeros(len(frames), bool)
    count = 0
    for i, faces in enumerate(frames):
        if changes[i] and not any(person.frame == i - 1 and person.stays(face) for person in people for face in faces):
            begins[i], people = True, []
        people = [person for person in people if i - person.frame <= FORGOTTEN_FRAMES]
        matched = _matched(people, faces, i)
        for k, face in enumerate(faces):
            if k in matched:
                matched[k].see(face, i)
            else:
                matched[k] = _Person(count, face, i)
                people.append(matched[k])
                count += 1
        numbers.append([matched[k].number for k in range(len(faces))])
    return numbers, begins


def _matched(people: Sequence[_Person], faces: Sequence[Sighting], frame: int) -> dict[int, _Person]:
    """The known people of a frame, by the number of the face: the pairs that are together most alike."""
    if not people or not faces:
        return {}
    likeness = np.array([[person.likeness(face, frame) for face in faces] for person in people])
    is_open = np.isfinite(likeness)
    worst = -1e6  # far below any likeness, so that as many as possible are matched
    rows, columns = linear_sum_assignment(np.where(is_open, likeness, worst), maximize=True)
    return {int(k): people[row] for row, k in zip(rows, columns, strict=True) if is_open[row, k]}


# --- the chosen one ---


def follow(
    frames: Sightings,
    changes: Bool[np.ndarray, " f"],
    face: str = DEFAULT_FACE,
    frame_size: tuple[int, int] = (0, 0),
) -> tuple[list[int | None], Int[np.ndarray, " f"]]:
    """Follows the chosen face through each shot.

    "largest" is chosen in the first frame of the shot that shows a face. If it is lost for more than LOST_FRAMES while
    others are visible, the largest of them is followed from there on. Other choices are made in the first of those
    frames of the shot that show the most faces, or in the first where the point lies on a face. Then nobody else takes
    the place; only a face that looks the same, and that was not there together with the chosen one, counts as found
    again.

    Args:
        changes: as for `link`.
        face: see `config.VideoOptions.face`.
        frame_size: height and width of the frames, px; only "centre" uses it.

    Returns:
        For each frame the number of the followed face (None: missing), and the number of its track, from 0. A track is
        one person in one shot; a frame in which the face is missing has the number of the track before it.
    """
    people, begins = link(frames, changes)
    chosen: list[int | None] = [None] * len(frames)
    tracks = np.zeros(len(frames), np.int64)
    track = -1
    for start, stop in pairwise([0, *np.flatnonzero(begins).tolist(), len(frames)]):
        track, last = track + 1, None
        tracks[start:stop] = track
        for i, person in _followed(frames, people, range(start, stop), face, frame_size):
            if last not in (None, person):
                track += 1
                tracks[i:stop] = track
            chosen[i], last = people[i].index(person), person
    return chosen, tracks


def _followed(
    frames: Sightings, people: Sequence[Sequence[int]], shot: range, face: str, frame_size: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """The frames of a shot that show the chosen person, each with the person's number."""
    person = _chosen_person(frames, people, shot, face_place(face), frame_size)
    seen: Sighting | None = None
    for i in shot:
        if seen is not None and people[i] and person not in people[i]:
            upcoming = people[i + 1 : min(i + 1 + LOST_FRAMES, shot.stop)]
            if not any(person in numbers for numbers in upcoming):
                if face == DEFAULT_FACE:
                    person = people[i][_largest(frames[i])]
                else:
                    person = _found_again(frames, people, range(shot.start, i), i, person, seen)
        if person in people[i]:
            seen = frames[i][people[i].index(person)]
            yield i, person


def _found_again(
    frames: Sightings, people: Sequence[Sequence[int]], before: range, i: int, person: int, seen: Sighting
) -> int:
    """The number under which a lost person is there again: of a face that looks the same, and that was never there at
    the same time. The old number if there is none."""
    together = {other for k in before if person in people[k] for other in people[k]}
    alike = [
        (look_difference(seen, face), number)
        for face, number in zip(frames[i], people[i], strict=True)
        if number not in together
    ]
    difference, number = min(alike, default=(np.inf, person))
    return number if difference <= SAME_LOOK else person


def _largest(faces: Sequence[Sighting]) -> int:
    return int(np.argmax([face.area for face in faces]))


def _chosen_person(
    frames: Sightings,
    people: Sequence[Sequence[int]],
    shot: range,
    place: str | int | tuple[float, float],
    frame_size: tuple[int, int],
) -> int | None:
    """The person of a shot whom a choice means, see `config.face_place`; None if it means nobody."""
    if isinstance(place, tuple):
        on_point = ((i, _at_point(frames[i], place)) for i in shot)
        return next((people[i][k] for i, k in on_point if k is not None), None)
    if place == DEFAULT_FACE:
        return next((people[i][_largest(frames[i])] for i in shot if frames[i]), None)
    i = max(shot, key=lambda i: len(frames[i]), default=0)  # the first of those with the most faces
    if not shot or not frames[i]:
        return None
    middle = np.array(frame_size[::-1]) / 2
    by_column = sorted(range(len(frames[i])), key=lambda k: float(frames[i][k].centre[0]))
    if place == "centre":
        by_column = [min(by_column, key=lambda k: float(np.linalg.norm(frames[i][k].centre - middle)))]
    number = place - 1 if isinstance(place, int) else -1 if place == "right" else 0
    return people[i][by_column[number]] if number < len(by_column) else None


def _at_point(faces: Sequence[Sighting], point: tuple[float, float]) -> int | None:
    """The face on which a point lies, or that it all but touches; None if there is none."""
    near = []
    for k, face in enumerate(faces):
        beyond = np.maximum(np.maximum(face.box[:2] - point, point - face.box[2:]), 0)
        if np.linalg.norm(beyond) <= NEAR_POINT * np.max(face.box[2:] - face.box[:2]):
            near.append((float(np.linalg.norm(face.centre - point)), k))
    return min(near, default=(0.0, None))[1]
