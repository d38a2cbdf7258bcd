"""FID and FVD of a folder of results against a folder of real clips; see `latentsync.metrics.sets`."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from latentsync import media
from latentsync.constants import VIDEO_RATE_HZ
from latentsync.device import resolve_device
from latentsync.errors import FaceNotFoundError, MediaError
from latentsync.faces.crops import aligned_pictures
from latentsync.faces.landmarks import LandmarkDetector, MediaPipeLandmarks
from latentsync.faces.track import align
from latentsync.media.kinds import clips_of
from latentsync.metrics import sets

SIZE_PX = 128
FRAME_EVERY = 5  # for FID, because neighbouring frames are similar


def videos_in(folder: Path) -> list[Path]:
    """The videos of a folder, sorted by name.

    Raises:
        MediaError: the folder cannot be read, or there is no video.
    """
    videos, _ = clips_of(folder)
    if not videos:
        raise MediaError(f"{folder} has no video; give a folder with videos")
    return videos


def write_faces(video: Path, folder: Path, detector: LandmarkDetector) -> np.ndarray:
    """Writes every fifth aligned face of a video as PNG; returns the 16 faces in its middle, (16, r, r, 3)."""
    faces = align(media.read_frames(video, VIDEO_RATE_HZ), detector, SIZE_PX)
    first = (len(faces) - sets.WINDOW_FRAMES) // 2
    if first < 0:
        raise MediaError(f"{video} has {len(faces)} frames; at least {sets.WINDOW_FRAMES} are needed")
    window = []
    pictures = aligned_pictures(media.read_frames(video, VIDEO_RATE_HZ), faces.matrices, SIZE_PX)
    for number, picture in enumerate(pictures):
        if number % FRAME_EVERY == 0:
            cv2.imwrite(str(folder / f"{video.stem}-{number:05d}.png"), picture[..., ::-1])
        if first <= number < first + sets.WINDOW_FRAMES:
            window.append(picture)
    return np.stack(window)


def measure_sets(generated: Path, real: Path, tell: Callable[[str], None] = lambda line: None) -> dict[str, dict]:
    """The distances "fid" and "fvd" between two folders of videos. Each video counts once.

    A video that cannot be read, is too short or shows no face is left out.

    Args:
        tell: called with a line for each video that is left out.

    Returns:
        An entry for each distance, in the form of a record's metrics; its `left_out` counts the videos. If a folder has
        too few videos (then nothing is decoded) or a package is not installed, the value is missing and the entry gives
        the reason.

    Raises:
        MediaError: a folder has no video.
    """
    folders = {"generated": videos_in(generated), "real": videos_in(real)}
    counts = [len(videos) for videos in folders.values()]
    device = str(resolve_device())
    if sets.refusal(*counts) is not None:
        nothing = [np.zeros((count, 1, 1, 1, 3), np.uint8) for count in counts]
        return {"fid": sets.fid(generated, real, *counts), "fvd": sets.fvd(*nothing)}
    detector, windows, left_out = MediaPipeLandmarks(), {}, 0
    with tempfile.TemporaryDirectory(prefix="sets-") as scratch:
        for name, videos in folders.items():
            pictures = Path(scratch) / name
            pictures.mkdir()
            faces = [np.zeros((0, sets.WINDOW_FRAMES, SIZE_PX, SIZE_PX, 3), np.uint8)]
            for video in videos:
                try:
                    faces.append(write_faces(video, pictures, detector)[None])
                except (MediaError, FaceNotFoundError) as error:
                    tell(f"left out   {video.name} of {name}: {error}")
                    left_out += 1
            windows[name] = np.concatenate(faces)
        used = [len(windows[name]) for name in folders]
        frames = sets.fid(*(Path(scratch) / name for name in folders), *used, device)
        entries = {"fid": frames, "fvd": sets.fvd(windows["generated"], windows["real"], device)}
        return {name: {**entry, "left_out": left_out} for name, entry in entries.items()}
