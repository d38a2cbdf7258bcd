"""Videos as a page shows them: whole, or as copies of the width that is shown, within the bytes that a page may have.

Reports and notebooks use the same function, `fitting`. A page holds a video as base64, which takes a third more bytes.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from latentsync import media
from latentsync.arrays import Frame
from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import MediaError
from latentsync.files import kept_per_file
from latentsync.lab.pages.player import Track
from latentsync.media.sound import write_wav

PAGE_BYTES = 30_000_000  # that a page, or the output of a notebook's cell, may have
SMALL_BYTES = 200_000  # a video of at most this size stays whole
DENSITIES = (2, 1)  # px of a copy for each px shown; a display of double density shows two
CRF = 23  # of a copy
ADDRESS_BYTES = 64  # of a data URI beside its content


@dataclass(frozen=True)
class Shown:
    """A video as a page shows it.

    Attributes:
        content: of the file, or an MP4 that is a copy.
        is_copy: whether it is a copy.
        scale: px of `content` for each px of the video, in x and y.
    """

    content: bytes
    is_copy: bool = False
    scale: tuple[float, float] = (1.0, 1.0)

    @property
    def embedded_bytes(self) -> int:
        """How many bytes it takes in a page."""
        return embedded_bytes(len(self.content))


Showing = Callable[[int], Shown]  # a video that can be shown, given how many px wide it may be


def embedded_bytes(size: int) -> int:
    """How many bytes a file of this size takes in a page."""
    return 4 * -(-size // 3) + ADDRESS_BYTES


def fitting(showings: Sequence[Showing], widths_px: Sequence[int], max_bytes: int) -> list[Shown | None]:
    """Videos of one player that fit into a page together.

    Videos that are at most twice as wide as shown stay whole. Larger ones become copies of twice the width shown. If
    all together are too large, copies of the width shown are taken; if these are too large, too, some are left out.

    Args:
        showings: the videos.
        widths_px: how wide each is shown.
        max_bytes: what all may take in the page.

    Returns:
        For each video, what is embedded; None where it does not fit.

    Raises:
        MediaError: a video cannot be read.
    """
    for density in DENSITIES:
        all_shown = [showing(density * width) for showing, width in zip(showings, widths_px, strict=True)]
        if sum(one.embedded_bytes for one in all_shown) <= max_bytes:
            return [*all_shown]
    fits: list[Shown | None] = []
    for one in all_shown:
        fits.append(one if one.embedded_bytes <= max_bytes else None)
        max_bytes -= one.embedded_bytes if fits[-1] is not None else 0
    return fits


def embedded(
    tracks: Sequence[Track], showings: Sequence[Showing], widths_px: Sequence[int], max_bytes: int = PAGE_BYTES
) -> list[Track]:
    """Tracks for a notebook, with their videos embedded by `fitting`. One that does not fit has a warning instead.

    Args:
        tracks: without addresses; their mouths are for videos of full size.
        showings, widths_px, max_bytes: as `fitting`.

    Raises:
        MediaError: a video cannot be read.
    """
    shown = fitting(showings, widths_px, max_bytes)
    return [
        _left_out(track) if one is None else replace(track, content=one.content, mouth=_scaled(track, one))
        for track, one in zip(tracks, shown, strict=True)
    ]


def _left_out(track: Track) -> Track:
    reason = f"This video is not shown: all together would take more than {PAGE_BYTES / 1e6:.0f} MB. Play its file."
    return replace(track, warning=" ".join(filter(None, [track.warning, reason])), mouth=None)


def _scaled(track: Track, shown: Shown) -> Sequence[np.ndarray] | None:
    """The path of a mouth in the px of what is shown."""
    scale = np.array([*shown.scale, 1.0])
    return track.mouth if track.mouth is None or not shown.is_copy else [one / scale for one in track.mouth]


def file_showing(path: Path) -> Showing:
    """A video file. Its copy has the file's rate and sound. Copies are kept in memory."""

    def showing(width_px: int) -> Shown:
        try:
            path.stat()
        except OSError as error:
            raise MediaError(f"{path} cannot be read ({error.strerror}); check the path") from error
        return _shown_file(path, width_px)

    return showing


@kept_per_file(64)
def _shown_file(path: Path, width_px: int) -> Shown:
    """A file, whole or as a copy."""
    size = path.stat().st_size
    if size <= SMALL_BYTES:
        return Shown(path.read_bytes())
    try:
        info = media.probe(path)
    except MediaError:  # the browser may still play it
        return Shown(path.read_bytes())
    if info.width <= width_px:
        return Shown(path.read_bytes())
    rate_hz = info.source_rate_hz
    copied = copy_of(media.read_frames(path, rate_hz), info, width_px, rate_hz, path if info.has_sound else None)
    return copied if len(copied.content) < size else Shown(path.read_bytes())


def copy_of(
    frames: Iterator[Frame],
    info: media.VideoInfo,
    width_px: int,
    rate_hz: float = media.VIDEO_RATE_HZ,
    sound: Path | None = None,
) -> Shown:
    """An MP4 of frames, at most `width_px` wide.

    Args:
        frames: of the size that `info` has.
        sound: a file with the sound; None: the copy has a track of silence. Browsers play a video without a track of
            sound by another clock, which begins up to 90 ms before that of the videos beside it.

    Raises:
        MediaError: the frames or the sound cannot be read.
    """
    width = min(info.width, max(2, width_px // 2 * 2))
    height = info.height if width == info.width else max(2, round(info.height * width / info.width / 2) * 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy.mp4"
        if is_silent := sound is None:
            sound = Path(folder) / "silence.wav"
            write_wav(sound, np.zeros(SOUND_RATE_HZ // 10, np.float32), SOUND_RATE_HZ)
        with media.VideoWriter(
            path, width, height, rate_hz, CRF, sound, preset="veryfast", pads_sound=is_silent
        ) as writer:
            for frame in frames:
                is_smaller = (width, height) != (info.width, info.height)
                writer.write(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) if is_smaller else frame)
        return Shown(path.read_bytes(), True, (width / info.width, height / info.height))
