"""Pictures and videos for a page that is one file: as data in it, or as links beside it."""

import mimetypes
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from matplotlib.figure import Figure

from latentsync import media
from latentsync.errors import LatentSyncError
from latentsync.lab.figures.previews import preview_of, preview_of_its_clip
from latentsync.lab.figures.style import png_bytes
from latentsync.lab.pages.copies import Shown, embedded_bytes, file_showing, fitting
from latentsync.lab.pages.player import MP4, Track, data_uri, markup
from latentsync.lab.records.inputs import clip_of
from latentsync.lab.records.store import Record

if TYPE_CHECKING:
    from latentsync.faces.landmarks import LandmarkDetector

MOUTHS_BYTES = 6_000_000  # of a page, for mouths
FIGURE_DPI = 110
VIDEO_WIDTH_PX = 256


@dataclass
class PageVideo:
    """One video of a pair: the clip, or a result with its record's id and a few of its metrics."""

    label: str
    path: Path
    record: str | None = None
    details: dict[str, str] = field(default_factory=dict)
    mouths: str = ""
    source: str = ""
    is_embedded: bool = False
    is_copy: bool = False

    @property
    def embedded_bytes(self) -> int:
        """How many bytes the whole file takes in a page."""
        return embedded_bytes(self.path.stat().st_size)

    @property
    def track(self) -> Track:
        """The video as the player takes it."""
        notes = tuple(f"{name} {value}" for name, value in self.details.items())
        return Track(self.label, self.source, notes, is_source=self.record is None)


@dataclass
class PairMedia:
    """The videos of a pair, the clip first if it exists.

    `reasons` says why the pair is shown, and `notes` what is missing, and why.
    """

    name: str
    gender: str
    videos: list[PageVideo]
    times_s: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def is_embedded(self) -> bool:
        return all(video.is_embedded for video in self.videos)

    @property
    def player(self) -> str:
        """The markup of the pair's player. The first result is heard, because it has the voice."""
        tracks = [video.track for video in self.videos]
        heard = next((i for i, track in enumerate(tracks) if not track.is_source), 0)
        return markup(tracks, None, heard, VIDEO_WIDTH_PX, f"Videos of {self.name}")


def figure_source(figure: Figure) -> str:
    """A figure as a PNG in a data URI."""
    return data_uri(png_bytes(figure, FIGURE_DPI), "image/png")


def pair_media(
    runs_dir: Path, records: Sequence[Record], labels: Mapping[str, str], details: Mapping[str, dict[str, str]],
    reasons: Mapping[str, Sequence[str]], detector: "LandmarkDetector | None" = None, mouths_bytes: int = MOUTHS_BYTES,
) -> list[PairMedia]:  # fmt: skip
    """The clip, the results and the mouths of each pair, one of each gender in turn.

    Args:
        labels, details: record -> what its result is called, and the values below it.
        reasons: record -> why it is shown, see `chosen`.
        detector: finds the face of mouths that no preview has yet; None takes the project's own.
        mouths_bytes: pairs whose mouths would exceed it have none, and say so.
    """
    of_pair: dict[str, list[Record]] = {}
    for record in records:
        of_pair.setdefault(record.content["pair"]["name"], []).append(record)
    pairs = []
    for name in _in_turns(of_pair):
        pair = _pair(name, of_pair[name], labels, details)
        pair.reasons = _reasons(of_pair[name], labels, reasons)
        if mouths_bytes > 0:
            mouths_bytes -= _add_mouths(runs_dir, pair, of_pair[name], detector)
        else:
            pair.notes.append("Its mouths are left out to keep the page small.")
        pairs.append(pair)
    return pairs


def _reasons(records: Sequence[Record], labels: Mapping, reasons: Mapping[str, Sequence[str]]) -> list[str]:
    """Why a pair is shown: by rank, the settings in which it has it."""
    settings: dict[str, list[str]] = {}
    for record in records:
        for rank in reasons.get(record.id, ()):
            settings.setdefault(rank, []).append(labels[record.id])
    return [
        f"{rank} of {' and '.join(own) if len(own) < 3 else f'{len(own)} settings'}" for rank, own in settings.items()
    ]


def _in_turns(of_pair: Mapping[str, list[Record]]) -> list[str]:
    """Names of pairs, one of each gender after the other."""
    genders: dict[str, list[str]] = {}
    for name, records in of_pair.items():
        genders.setdefault(records[0].content["pair"]["gender"], []).append(name)
    return [name for names in zip_longest(*genders.values()) for name in names if name is not None]


def _pair(name: str, records: Sequence[Record], labels: Mapping, details: Mapping) -> PairMedia:
    clip = clip_of(records[0])
    videos = [] if clip is None else [PageVideo("source clip", clip)]
    videos += [PageVideo(labels[r.id], r.video_path, r.id, details[r.id]) for r in records if r.video_path.is_file()]
    notes = ["The clip is not where it was, or has been changed; its results are shown alone."] if clip is None else []
    return PairMedia(name, records[0].content["pair"]["gender"], videos, notes=notes)


def _add_mouths(runs_dir: Path, pair: PairMedia, records: Sequence[Record], detector: "LandmarkDetector | None") -> int:
    """Puts mouths beside the videos of a pair; returns how many bytes they take."""
    own, lacks = {record.id: record for record in records}, set()
    for video in pair.videos:
        try:
            preview = (
                preview_of(runs_dir, own[video.record], detector)
                if video.record is not None
                else preview_of_its_clip(runs_dir, records[0], _num_frames(pair), detector)
            )
        except (LatentSyncError, OSError) as error:
            lacks.add(str(error))
            continue
        if preview is None or preview.strip is None:
            lacks |= {preview.reason} if preview is not None and preview.reason else set()
            continue
        pair.times_s = pair.times_s or list(preview.times_s)
        video.mouths = data_uri(preview.strip.read_bytes(), "image/webp")
    pair.notes += [f"Mouths are missing: {reason}" for reason in sorted(lacks)]
    return sum(len(video.mouths) for video in pair.videos)


def _num_frames(pair: PairMedia) -> int:
    """The frames of a pair's first result at 25 frames/s."""
    result = next(video for video in pair.videos if video.record is not None)
    return media.probe(result.path, media.VIDEO_RATE_HZ).num_frames


def link_videos(pairs: Sequence[PairMedia], folder: Path) -> None:
    """Gives every video a link that holds from a page in that folder."""
    for pair in pairs:
        for video in pair.videos:
            video.source = quote(Path(os.path.relpath(video.path.resolve(), folder.resolve())).as_posix())


def embed_videos(pairs: Sequence[PairMedia], max_bytes: int) -> str:
    """Puts the videos of whole pairs into the page, as many as fit. Of the first pair it takes single videos if needed.

    A pair that does not fit as it is gets copies of about the width shown, see `copies.fitting`. Copies take time, so
    once a pair does not fit even so, the pairs after it are taken only if they fit as they are.

    Returns:
        What was embedded and what is linked only, for the reader.
    """
    may_copy, first = True, []
    for pair in pairs:
        needed = sum(video.embedded_bytes for video in pair.videos)
        if needed <= max_bytes:
            shown = [Shown(video.path.read_bytes()) for video in pair.videos]
        elif may_copy:
            showings = [file_showing(video.path) for video in pair.videos]
            shown = fitting(showings, [VIDEO_WIDTH_PX] * len(showings), max_bytes)
            may_copy = None not in shown
            first = shown if pair is pairs[0] else first
        if needed <= max_bytes or may_copy:
            max_bytes -= _embed(pair, shown)
    if pairs and not any(pair.is_embedded for pair in pairs):
        _embed(pairs[0], first)
    every = [video for pair in pairs for video in pair.videos]
    number, num_copies = sum(video.is_embedded for video in every), sum(video.is_copy for video in every)
    copies = f" {num_copies} of them are copies, smaller than the files." if num_copies else ""
    if number == len(every):
        return f"All {number} videos are in this page.{copies}"
    return (
        f"{number} of {len(every)} videos are in this page, of {sum(pair.is_embedded for pair in pairs)} of "
        f"{len(pairs)} pairs all; the others would make it larger than it may be and are linked: they play where the "
        f"page lies beside its runs folder.{copies}"
    )


def _embed(pair: PairMedia, shown: Sequence[Shown | None]) -> int:
    """Puts the videos of a pair that fit into the page; returns how many bytes they take."""
    for video, one in zip(pair.videos, shown, strict=True):
        if one is not None:
            kind = MP4 if one.is_copy else mimetypes.guess_type(video.path.name)[0] or MP4
            video.source, video.is_embedded, video.is_copy = data_uri(one.content, kind), True, one.is_copy
    return sum(one.embedded_bytes for one in shown if one is not None)
