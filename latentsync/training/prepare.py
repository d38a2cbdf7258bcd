"""Cuts a raw video into pieces to train on: one face, aligned as at inference, with its sound.

A video is read at 25 frames a second and its sound at 16 kHz. The video is split into shots (`shots`), and one face is
followed in each. Its track is divided into pieces of equal length, and each piece gets its sound (`sound`). The crops
are exactly those of inference.

Memory holds one piece's crops and a few numbers per frame, for any length of the video. This module does not know where
pieces are stored, or which ones exist already.
"""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.constants import SAMPLES_PER_FRAME, SOUND_RATE_HZ, VIDEO_RATE_HZ
from latentsync.errors import MediaError
from latentsync.faces.crops import aligned_pictures
from latentsync.faces.geometry import crop_box_size
from latentsync.faces.landmarks import LandmarkDetector
from latentsync.media import VideoWriter, probe, read_frames
from latentsync.media.sound import write_wav
from latentsync.metrics.syncnet import SyncNet
from latentsync.names import NAME_MAX_BYTES, printable, shortened
from latentsync.shapes import Samples
from latentsync.training.clips import SOUND_END, VIDEO_END
from latentsync.training.options import PrepareOptions
from latentsync.training.shots import CutDetector, Dropped, Track, cut_detector_name, tracks
from latentsync.training.sound import (
    Placement,
    SyncMini,
    is_silent,
    landmark_sync,
    place_sound,
    spooled_sound,
    unlike_silence,
)
from latentsync.weights import file_sha256, state_dict_sha256

log = logging.getLogger(__name__)

PREPARE_VERSION = 2  # raise it when a change makes the same input and options give other pieces

PIECE_ROOM_BYTES = 20  # of a piece's name, beside that of its source: "-000000.json"
MAX_SHARE_WITHOUT_FACE = 0.10  # of a piece's frames


@dataclass(frozen=True)
class Source:
    """A raw video with its sound (a .wav beside it, or its own) and the JSON file with facts beside it, if any."""

    video: Path
    sound: Path
    sidecar: Path | None = None

    @property
    def name(self) -> str:
        """The name that its pieces begin with: that of the video, shortened if they would be too long for a disk."""
        return shortened(printable(self.video.stem), NAME_MAX_BYTES - PIECE_ROOM_BYTES)

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of the files."""
        files = {"video": self.video, "sound": self.sound, "sidecar": self.sidecar}
        return {what: file_sha256(path) for what, path in files.items() if path is not None}


@dataclass(frozen=True)
class Tools:
    """The networks and detectors that analyse frames and sound.

    Attributes:
        detector: finds the faces' landmarks.
        new_cut_detector: makes a detector of cuts for a video; None detects no cuts.
        syncnet: SyncNet v2 or a model's own, to correct offsets and to filter; None does neither.
    """

    detector: LandmarkDetector
    new_cut_detector: Callable[[], CutDetector] | None = None
    syncnet: SyncNet | SyncMini | None = None

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The properties of the tools that influence the pieces."""
        cuts = {"cuts": cut_detector_name() if self.new_cut_detector else None}
        if isinstance(self.syncnet, SyncMini):
            return cuts | {"sync_mini": self.syncnet.identity}
        return cuts | {"syncnet": None if self.syncnet is None else state_dict_sha256(self.syncnet.state_dict())}


@dataclass(frozen=True)
class Piece:
    """A piece in the work folder; `facts` is the content for its JSON file."""

    name: str
    video: Path
    sound: Path
    facts: dict[str, Any]


def signature(source: Source, options: PrepareOptions, tools: Tools) -> str:
    """One hash of everything that determines a source's pieces: files, options, networks, and this module's version."""
    parts = [PREPARE_VERSION, source.name, source.hashes, asdict(options), tools.identity]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


# --- pieces of a track ---


def _least_frames(options: PrepareOptions) -> int:
    """Of a piece."""
    return math.ceil(options.min_seconds * VIDEO_RATE_HZ)


def _stretches(track: Track, options: PrepareOptions) -> Iterator[Track | Dropped]:
    """The track in equal parts of at most max_seconds; parts that are too short or often lack the face are dropped."""
    number = max(1, math.ceil(len(track) / math.floor(options.max_seconds * VIDEO_RATE_HZ)))
    edges = np.linspace(0, len(track), number + 1).round().astype(int).tolist()
    for start, stop in pairwise(edges):
        part = track.part(start, stop)
        missing = int((~part.has_face).sum())
        span = part.start, part.start + len(part)
        if len(part) < _least_frames(options):
            yield Dropped(
                *span, f"one face is followed for {len(part) / VIDEO_RATE_HZ:g} s; {options.min_seconds:g} s are needed"
            )
        elif missing > MAX_SHARE_WITHOUT_FACE * len(part):
            yield Dropped(
                *span, f"{missing} of {len(part)} frames show no face; at most {MAX_SHARE_WITHOUT_FACE:.0%} may"
            )
        else:
            yield part


# --- the JSON file beside the video ---


def read_sidecar(path: Path | None) -> dict[str, Any]:
    """The known facts of a JSON file beside a video: identity, sentence, voice, and per-frame truth at 25 Hz.

    `latentsync speakers` writes such files. For your own videos, `{"identity": "a name"}` is enough to have all videos
    of a person on one side of a held-out split. Other content, and files that are not JSON, are ignored.

    Returns:
        identity, sentence and voice as they are, and truth as {"columns": [...], "rows": [[...], ...]}; unknown facts
        are absent.
    """
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    facts = {name: content[name] for name in ("identity", "sentence", "voice") if name in content}
    match content:
        case {"columns": list(columns), "truth": list(rows), "fps": rate} if rate == VIDEO_RATE_HZ:
            facts["truth"] = {"columns": columns, "rows": rows}
    return facts


# --- the whole source ---


@dataclass(frozen=True)
class _Job:
    """Cuts one source into pieces."""

    source: Source
    options: PrepareOptions
    tools: Tools
    work: Path
    samples: Samples
    sidecar: dict[str, Any] = field(default_factory=dict)

    def make(self, name: str, track: Track) -> Piece | Dropped:
        """Writes a piece's two files into the work folder, unless its sound is unusable.

        A silent piece is taken as recorded if the mouth rests. No SyncNet can judge it.
        """
        recorded = self.samples[track.start * SAMPLES_PER_FRAME : (track.start + len(track)) * SAMPLES_PER_FRAME]
        judge = None if is_silent(recorded) else self.tools.syncnet
        placement = place_sound(self.source.video, track, self.samples, judge, self.options.size_px)
        span = track.start, track.start + len(track)
        if isinstance(placement, str):
            return Dropped(*span, placement)
        track = track.part(placement.first, placement.last)
        first = (track.start - placement.offset) * SAMPLES_PER_FRAME
        sound = np.array(self.samples[first : first + len(track) * SAMPLES_PER_FRAME])
        if len(track) < _least_frames(self.options):
            return Dropped(*span, f"after correcting the offset of {placement.offset} frames, too little sound is left")
        if is_silent(sound):
            if (reason := unlike_silence(track.gaps)) is not None:
                return Dropped(*span, reason)
            log.warning("%s: the sound is silent; the piece is taken, because the mouth rests.", name)
        video, wav = self.work / f"{name}{VIDEO_END}", self.work / f"{name}{SOUND_END}"
        self._write_crops(video, track)
        write_wav(wav, sound)
        return Piece(name, video, wav, self._facts(name, track, placement, sound, video, wav))

    def _write_crops(self, path: Path, track: Track) -> None:
        size, start = self.options.size_px, track.start
        frames = read_frames(self.source.video, VIDEO_RATE_HZ, start, start + len(track))
        with VideoWriter(path, size, size, crf=self.options.crf, comment=f"aligned from {self.source.name}") as writer:
            for picture in aligned_pictures(frames, track.matrices, size):
                writer.write(picture)

    def _facts(
        self, name: str, track: Track, placement: Placement, sound: Samples, video: Path, wav: Path
    ) -> dict[str, Any]:
        start, stop = track.start, track.start + len(track)
        facts = {
            "version": PREPARE_VERSION,
            "name": name,
            "signature": signature(self.source, self.options, self.tools),
            "source": {
                "video": self.source.video.name,
                "sound": self.source.sound.name,
                "sha256": self.source.hashes["video"],
                "sound_sha256": self.source.hashes["sound"],
            },
            "start_s": start / VIDEO_RATE_HZ,
            "start_frame": start,
            "frames": len(track),
            "fps": VIDEO_RATE_HZ,
            "rate_hz": SOUND_RATE_HZ,
            "size_px": self.options.size_px,
            "crop_box_px": list(crop_box_size(self.options.size_px)),  # what the matrices map to
            "frames_without_face": np.flatnonzero(~track.has_face).tolist(),
            "matrices": track.matrices.round(6).tolist(),
            "landmark_sync": landmark_sync(track.gaps, sound),
            "is_silent": is_silent(sound),
            "syncnet": None,
            "files": {
                "video_bytes": video.stat().st_size,
                "sound_bytes": wav.stat().st_size,
                "sound_sha256": file_sha256(wav),
            },
        }
        facts |= placement.facts
        facts |= {key: self.sidecar[key] for key in ("identity", "sentence", "voice") if key in self.sidecar}
        if "truth" in self.sidecar and len(self.sidecar["truth"]["rows"]) >= stop:
            facts["truth"] = {**self.sidecar["truth"], "rows": self.sidecar["truth"]["rows"][start:stop]}
        return facts


def prepare_source(
    source: Source,
    options: PrepareOptions,
    tools: Tools,
    work: Path,
    is_done: Callable[[str], bool] = lambda name: False,
    on_frame: Callable[[], None] = lambda: None,
) -> Iterator[Piece | Dropped | str]:
    """Makes a source's pieces one after the other in the work folder; the caller must move each away.

    Every part that is long enough and shows its face gets a number, even if it is dropped later. So a name always means
    the same part, for the same source and options. The last frame may lack up to 40 ms of sound; it is then left out.

    Args:
        work: a folder for this call alone.
        is_done: whether the piece of a name, `STEM-000`, exists already. Then only its name is yielded.
        on_frame: called after each frame.

    Raises:
        MediaError: the video or sound cannot be read, or is too short.
    """
    info = probe(source.video, VIDEO_RATE_HZ)
    samples = spooled_sound(source.sound, work)
    num_frames = min(info.num_frames, len(samples) // SAMPLES_PER_FRAME)
    if num_frames < _least_frames(options):
        raise MediaError(
            f"{source.video.name} has {info.duration_s:.2f} s of pictures and {len(samples) / SOUND_RATE_HZ:.2f} s of "
            f"sound; at least {options.min_seconds:g} s of both are needed"
        )
    job = _Job(source, options, tools, work, samples, read_sidecar(source.sidecar))
    frames = read_frames(source.video, VIDEO_RATE_HZ, 0, num_frames)
    number = 0
    begins_shot = tools.new_cut_detector() if tools.new_cut_detector else None
    for track in tracks(frames, tools.detector, begins_shot, options.size_px, on_frame):
        stretches: Sequence = [track] if isinstance(track, Dropped) else list(_stretches(track, options))
        for stretch in stretches:
            if isinstance(stretch, Dropped):
                yield stretch
                continue
            name = f"{source.name}-{number:03d}"
            number += 1
            yield name if is_done(name) else job.make(name, stretch)
