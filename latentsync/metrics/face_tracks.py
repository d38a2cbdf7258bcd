"""Follows faces through a video and crops them as SyncNet v2 was trained on them.

Goal: turn the faces found in every frame into crops of 224 px with one face each, framed as in SyncNet's published
protocol, for `syncnet.clip_embeddings`. Any detector may find the faces: `s3fd.faces_of` is the protocol's own, and
`landmark_boxes` makes boxes from landmarks if S3FD is missing. Scores of different detectors are not comparable.

Conventions: 25 frames a second, RGB 0..255. A box is left, top, right, bottom in px of the frame. A cut is the first
frame of a new scene; this module does not detect scenes (the original uses PySceneDetect's ContentDetector). The sound
of a track is samples 640 start .. 640 (start + length) at 16 kHz. The protocol's score of a video is the mean of LSE-C
over its tracks; its offset is the mean of theirs, cut to a whole number.

Unlike in the original, nothing is compressed on the way. The original writes the video and the crops as MPEG-4 and the
frames as JPEG (-qscale:v 2), and LatentSync's copy of it writes a track's sound as AAC. So the numbers differ slightly.
`PROTOCOL` says so in records.

Source: the repository of SyncNet v2 (`syncnet_python`: `run_pipeline`), with the 50 frames of LatentSync's
`eval/syncnet_detect` as the least length of a track.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from scipy.signal import medfilt

from latentsync.constants import VIDEO_RATE_HZ
from latentsync.errors import FaceNotFoundError, MediaError
from latentsync.faces.landmarks import Box, bounds, overlaps
from latentsync.metrics.syncnet import FACE_PX
from latentsync.shapes import Frame, Landmarks

MAX_STEP = 25  # frames at most from one detection of a face to the next
SAME_FACE = 0.5  # a face of the same track overlaps the last detection by more than this
MIN_TRACK = 50  # a track must have more detections than this
MIN_FACE_PX = 100  # the mean width or height of a track's boxes must be larger than this

CROP_SCALE = 0.4  # in units of half the box's longer side: beside the face, and half of what is added below it
MEDIAN_FRAMES = 13
GREY = 110  # beyond the frame's edge

PROTOCOL = (
    f"faces followed over at most {MAX_STEP} frames by overlaps above {SAME_FACE}, kept if seen in more than "
    f"{MIN_TRACK} frames and larger than {MIN_FACE_PX} px on average; boxes interpolated and median-filtered over "
    f"{MEDIAN_FRAMES} frames; SyncNet's crops (scale {CROP_SCALE}, grey {GREY}) of {FACE_PX} px; frames and sound as "
    f"decoded, without the original's steps through JPEG, MPEG-4 and AAC"
)

Faces = Float[np.ndarray, "n 5"]  # boxes of one frame and their scores, highest score first


@dataclass(frozen=True)
class FaceTrack:
    """One face in consecutive frames.

    Attributes:
        start: its first frame.
        boxes: of the face in each frame, px; interpolated where it was not found.
    """

    start: int
    boxes: Float[np.ndarray, "f 4"]

    def __len__(self) -> int:
        return len(self.boxes)


# --- from faces to tracks ---


def landmark_boxes(faces: list[Landmarks]) -> Faces:
    """Boxes of landmark sets, each with score 1, for use without S3FD.

    A box is the smallest one around the points. MediaPipe's points reach from the upper forehead to the chin, roughly
    like S3FD's boxes. But the two are not equal, and scores of their crops are not comparable.
    """
    return np.array([[*bounds(face), 1.0] for face in faces]).reshape(-1, 5)


def find_tracks(detections: Sequence[Faces], cuts: Sequence[int] = ()) -> list[FaceTrack]:
    """The tracks of faces that are visible for long enough and large enough, in the order of their first frames.

    A track begins with the first face that belongs to no track yet. From each later frame it takes the first free face
    that overlaps the track's last face by more than 0.5 (intersection over union) and is at most 25 frames later. The
    original could also take two faces of one frame. With S3FD this cannot happen, since its boxes overlap by at most
    0.1.

    Args:
        detections: faces of every frame of the video.
        cuts: first frames of new scenes, in any order; no track crosses a cut.

    Raises:
        MediaError: there are fewer than 51 frames (2.04 s), too few for a track.
        FaceNotFoundError: no face is seen in more than 50 frames of a scene, or none of them is larger than 100 px.
        ValueError: faces have another shape or are not finite, or a cut lies outside the video.
    """
    _check_faces(detections)
    scenes = sorted({0, *cuts, len(detections)})
    if scenes[0] < 0 or scenes[-1] > len(detections):
        raise ValueError(f"cuts are {list(cuts)}; each must be one of the {len(detections)} frames, counted from 0")
    if len(detections) <= MIN_TRACK:
        raise MediaError(
            f"the video has {len(detections)} frames ({len(detections) / VIDEO_RATE_HZ:.2f} s); a face must be seen in "
            f"at least {MIN_TRACK + 1} ({(MIN_TRACK + 1) / VIDEO_RATE_HZ:.2f} s) for SyncNet's protocol, so give a "
            f"longer video"
        )
    sights = [track for first, end in pairwise(scenes) for track in _scene_tracks(detections[:end], first)]
    long = [_interpolated(track) for track in sights if len(track) > MIN_TRACK]
    large = [track for track in long if _mean_side(track) > MIN_FACE_PX]
    if not long:
        raise FaceNotFoundError(
            f"the face seen longest is found in {max(map(len, sights), default=0)} of {len(detections)} frames without "
            f"a cut; SyncNet's protocol needs more than {MIN_TRACK}, so give a video that shows one face for longer"
        )
    if not large:
        raise FaceNotFoundError(
            f"the largest face is {max(map(_mean_side, long)):.0f} px large on average; SyncNet's protocol needs more "
            f"than {MIN_FACE_PX} px, so give a video of more px or with a nearer face"
        )
    return large


def _check_faces(detections: Sequence[Faces]) -> None:
    for frame, faces in enumerate(detections):
        if faces.ndim != 2 or faces.shape[1] != 5 or not np.isfinite(faces).all():
            raise ValueError(
                f"the faces of frame {frame} have shape {faces.shape}; (n, 5) of finite numbers is needed: "
                f"left, top, right, bottom and score"
            )


def _scene_tracks(detections: Sequence[Faces], first: int) -> Iterator[dict[int, Box]]:
    """All detections of each face, by frame, from `first` to the end; each detection belongs to one track."""
    free = {frame: list(detections[frame][:, :4]) for frame in range(first, len(detections))}
    for start, faces in free.items():
        while faces:
            yield _follow(free, start, faces.pop(0))


def _follow(free: dict[int, list[Box]], start: int, box: Box) -> dict[int, Box]:
    """The detections of one face; they are removed from the free ones."""
    track = {start: box}
    last, frame = start, start + 1
    while frame in free and frame - last <= MAX_STEP:
        same = np.flatnonzero(overlaps(track[last], np.reshape(free[frame], (-1, 4))) > SAME_FACE)
        if len(same):
            track[frame] = free[frame].pop(same[0])
            last = frame
        frame += 1
    return track


def _interpolated(sights: dict[int, Box]) -> FaceTrack:
    known = list(sights)
    frames = np.arange(known[0], known[-1] + 1)
    series = np.array(list(sights.values()), np.float64).T
    return FaceTrack(known[0], np.column_stack([np.interp(frames, known, values) for values in series]))


def _mean_side(track: FaceTrack) -> float:
    """The larger of mean width and mean height, px."""
    return float((track.boxes[:, 2:] - track.boxes[:, :2]).mean(0).max())


# --- from a track to crops ---


def crop_track(frames: Iterable[Frame], track: FaceTrack) -> Iterator[UInt8[np.ndarray, "224 224 3"]]:
    """The face of a track, frame by frame, cropped for SyncNet; holds one frame at a time.

    Let s be half the box's longer side. s and the box's centre are median-filtered over 13 frames. The crop reaches s
    above the centre, 1.8 s below it and 1.4 s to either side, so the mouth is near its middle. Beyond the frame it is
    grey (110). As in the original, the median sees zeros before the first and after the last frame. So it is lower in
    the first and last 6 frames, and at the very ends it is the smallest of 7 numbers (sizes and places are positive).

    Args:
        frames: of the whole video, from its first frame on; read once, up to the track's end.
        track: from `find_tracks`.

    Raises:
        FaceNotFoundError: a crop has no area, or a face lies wholly beyond the padding.
        ValueError: there are fewer than 13 boxes, or the frames end before the track.
    """
    if track.boxes.ndim != 2 or track.boxes.shape[1] != 4 or len(track) < MEDIAN_FRAMES:
        raise ValueError(
            f"a track's boxes have shape {track.boxes.shape}; (f, 4), f at least {MEDIAN_FRAMES}, is needed"
        )
    places = _smoothed(_places(track.boxes), MEDIAN_FRAMES)
    num_crops = 0
    for place, frame in zip(places, islice(frames, track.start, None), strict=False):  # no frame beyond the last place
        yield cv2.resize(_square(frame, *place), (FACE_PX, FACE_PX))
        num_crops += 1
    if num_crops < len(track):
        raise ValueError(
            f"the frames end after {num_crops} of the track's {len(track)} from frame {track.start} on; give the whole "
            f"video from its first frame on"
        )


def framed_faces(frames: Iterable[Frame], boxes: Float[np.ndarray, "f 4"]) -> Iterator[UInt8[np.ndarray, "224 224 3"]]:
    """The face of a short piece, frame by frame, framed as in `crop_track`; holds one frame at a time.

    Two things differ from the protocol, so scores are close to the protocol's but not equal. First, beyond the ends the
    median sees the first or last box again instead of zeros, so a piece of any length keeps its framing there. Second,
    the crop is read between the pixels instead of at whole ones.

    Args:
        frames: of the piece alone.
        boxes: of the face in each frame, px.

    Raises:
        ValueError: the numbers of frames and boxes differ.
    """
    places = _places(boxes)
    size = min(MEDIAN_FRAMES, len(boxes) - 1 + len(boxes) % 2)
    half = size // 2
    held = np.pad(places, ((half, half), (0, 0)), mode="edge")
    for frame, (reach, x, y) in zip(frames, _smoothed(held, size)[half : half + len(boxes)], strict=True):
        beside = (1 + CROP_SCALE) * reach
        scale = FACE_PX / (2 * beside)
        to_crop = np.array([[scale, 0, -scale * (x - beside)], [0, scale, -scale * (y - reach)]])
        yield cv2.warpAffine(frame, to_crop, (FACE_PX, FACE_PX), borderValue=(GREY,) * 3)


def _places(boxes: Float[np.ndarray, "f 4"]) -> Float[np.ndarray, "f 3"]:
    """Half the longer side and the centre, x and y, of each box, px."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.column_stack([(high - low).max(1) / 2, (low + high) / 2])


def _smoothed(places: Float[np.ndarray, "f 3"], size: int) -> Float[np.ndarray, "f 3"]:
    """Medians over time, each of `size` frames; zeros beyond the ends."""
    return np.column_stack([medfilt(series, size) for series in places.T])


def _square(frame: Frame, reach: float, x: float, y: float) -> UInt8[np.ndarray, "a b 3"]:
    """The crop around a face, grey beyond the frame.

    The original pads the frame on all sides by int(1.8 s) and truncates the crop's edges to whole px of the padded
    frame. Here only the crop is computed. Like the original's it ends where the padding ends, which happens if the
    face's centre lies beyond the frame.
    """
    border = int(reach * (1 + 2 * CROP_SCALE))
    rows = _span(y + border - reach, y + border + reach * (1 + 2 * CROP_SCALE), frame.shape[0], border)
    beside = reach * (1 + CROP_SCALE)
    columns = _span(x + border - beside, x + border + beside, frame.shape[1], border)
    if not rows or not columns:
        raise FaceNotFoundError(
            f"a face at ({x:.0f}, {y:.0f}) px with half a side of {reach:.1f} px leaves no crop of a frame of "
            f"{frame.shape[1]}x{frame.shape[0]} px; its box must lie in the frame"
        )
    part = np.full((len(rows), len(columns), 3), GREY, np.uint8)
    there = tuple(slice(max(0, span.start), max(0, span.stop)) for span in (rows, columns))
    seen = frame[there]
    top, left = (max(0, -span.start) for span in (rows, columns))
    part[top : top + seen.shape[0], left : left + seen.shape[1]] = seen
    return part


def _span(begin: float, end: float, length: int, border: int) -> range:
    """Rows or columns of a frame, negative before it, from edges in px of the frame with a border around it."""
    return range(max(int(begin), 0) - border, min(int(end), length + 2 * border) - border)
