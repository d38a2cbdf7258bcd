"""Finds the faces of frames and follows the chosen one, before anything is aligned.

Frames are processed one by one, and only a few numbers of each are stored. This module loads without torch.

Coordinates are in px with (0, 0) at the centre of the top left pixel.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float, Int

from latentsync.arrays import Frame, HasFace, Landmarks
from latentsync.config import DEFAULT_FACE, face_place
from latentsync.constants import MESH_POINTS
from latentsync.errors import FaceNotFoundError
from latentsync.faces.cuts import CutDetector
from latentsync.faces.landmarks import LandmarkDetector, bounds
from latentsync.faces.people import Sighting, Sightings, follow, look_of

NO_FACE = np.full((MESH_POINTS, 2), np.nan, np.float32)  # in place of landmarks
Measure = TypeVar("Measure")


@dataclass(frozen=True)
class FollowedFace(Generic[Measure]):
    """One face in the frames of a video.

    Attributes:
        sightings: of the face in each frame; None where it was not found.
        measures: what was asked of its landmarks in each frame; None where it was not found.
        tracks: for each frame the number of its track: one person in one shot, see `people.follow`.
        frame_size: height and width of the frames in px.
    """

    sightings: list[Sighting | None]
    measures: list[Measure | None]
    tracks: Int[np.ndarray, " f"]
    frame_size: tuple[int, int]

    @property
    def has_face(self) -> HasFace:
        """For each frame, whether the face was found."""
        return np.array([sighting is not None for sighting in self.sightings], dtype=bool)

    @property
    def landmarks(self) -> Float[np.ndarray, "f 468 2"]:
        """Of the face in each frame, px, float32; NaN if it was not found."""
        return np.stack([NO_FACE if sighting is None else sighting.landmarks for sighting in self.sightings])


def follow_face(
    frames: Iterable[Frame],
    detector: LandmarkDetector,
    face: str = DEFAULT_FACE,
    measure: Callable[[Landmarks], Measure | None] = lambda landmarks: None,
) -> FollowedFace[Measure]:
    """Finds one face in each frame. Frames are read one by one and not stored.

    Args:
        face: which face, see `config.VideoOptions.face` and `people.follow`.
        measure: is asked of all landmarks of each face while they are there; see `FollowedFace.measures`.

    Raises:
        FaceNotFoundError: no frame shows a face, or none shows the chosen one.
    """
    seen: list[list[Sighting]] = []
    measures: list[list[Measure | None]] = []
    cuts, frame_size = CutDetector(), (0, 0)
    for frame in frames:
        frame_size = frame.shape[:2]
        faces = detector(frame)
        cuts.add(frame)
        measures.append([measure(landmarks) for landmarks in faces])
        boxes = [bounds(landmarks) for landmarks in faces]
        seen.append([
            Sighting(landmarks[:MESH_POINTS, :2].astype(np.float32), box, look_of(frame, box))
            for landmarks, box in zip(faces, boxes, strict=True)
        ])  # fmt: skip
    chosen, tracks = follow(seen, cuts.cuts(), face, frame_size)
    if all(place is None for place in chosen):
        raise FaceNotFoundError(_nobody(seen, face, frame_size))

    def own(values: list[list]) -> list:
        return [None if place is None else each[place] for each, place in zip(values, chosen, strict=True)]

    return FollowedFace(own(seen), own(measures), tracks, frame_size)


def _nobody(seen: Sightings, face: str, frame_size: tuple[int, int]) -> str:
    """Why no face was followed, and what to do."""
    most = max(map(len, seen), default=0)
    if not most:
        return (
            f"no face was found in any of the {len(seen)} frames; at least one frame must show a face from the front "
            "that fills a tenth of the picture's longer side, so crop or rotate the video, or choose another"
        )
    if isinstance(face_place(face), int):
        return f"face is {face}, but no frame shows more than {most} face{'s'[: most > 1]}; give 1 to {most}"
    height, width = frame_size
    centres = (sighting.centre for sighting in next(faces for faces in seen if faces))
    places = " and ".join(",".join(map(str, centre.round().astype(int).tolist())) for centre in centres)
    return (
        f"face is {face}, and no face lies there in any of the {len(seen)} frames of {width}x{height} px; the first "
        f"faces are at {places}, so give one of these points"
    )
