"""Recordings of real people for an evaluation: which clips of a folder can be used, and which are in sync.

A clip that is in sync with its own sound shows the right result for that sound, so it can be reconstructed. Unless the
clips are named, the embedded model's SyncNet decides, whichever model is evaluated. Its best offset must be small, and
its confidence must exceed what the same lips reach by chance: with their own sound moved around by 31 frames or more,
which no true offset reaches.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from latentsync import media
from latentsync.constants import SAMPLES_PER_FRAME, SOUND_RATE_HZ, VIDEO_RATE_HZ
from latentsync.errors import FaceNotFoundError, LatentSyncError, MediaError, OptionError, did_you_mean
from latentsync.faces.crops import aligned_crops
from latentsync.faces.landmarks import LandmarkDetector, MediaPipeLandmarks
from latentsync.faces.track import AlignedFaces, align
from latentsync.generation.stage_cache import input_sha256
from latentsync.lab.evaluation.reconstruction import scaled_affine
from latentsync.lab.measuring.result import networks
from latentsync.lab.options.schema import MetricsConfig
from latentsync.media.kinds import clips_of
from latentsync.media.sound import has_sound, to_int16, write_wav
from latentsync.metrics.families import Networks
from latentsync.metrics.stable_syncnet import StableSyncNet
from latentsync.metrics.sync import LEAST_FRAMES
from latentsync.metrics.sync_mini import (
    MAX_SHIFT,
    SyncMiniScores,
    embed_lips,
    embed_speech,
    num_frames,
    scores,
    shift_distances,
)
from latentsync.shapes import Crops

MOST_FRAMES = 250  # of a clip, 10 s
JUDGED_PX = 128  # side of the crops by which sync is judged, whatever the model's crops
MOST_OFFSET = 3  # frames; ITU-R BT.1359 finds 0.125 s of late sound just acceptable
LEAST_MOVED = 2 * MAX_SHIFT + 1  # frames: then no shift brings the sound back to its place
LEAST_MOVES, CHANCE = 19, 0.05  # with 19 moves the smallest share is 1 / 20
ALL = "all"


@dataclass(frozen=True)
class Recording:
    """A clip of a real person, its first 10 s.

    Attributes:
        faces: aligned for crops of 128 px.
        is_in_sync: whether it speaks in sync with its own sound; `why` says how this is known.
        offset, confidence, chance: sync_mini_offset and sync_mini_confidence with its own sound, and the share of
            moved sounds that reach that confidence; None if they could not be measured.
    """

    video: Path
    faces: AlignedFaces
    is_in_sync: bool
    why: str
    offset: int | None = None
    confidence: float | None = None
    chance: float | None = None

    @property
    def name(self) -> str:
        return self.video.name

    @contextmanager
    def voice(self) -> Iterator[Path]:
        """A file with the sound of these frames: the clip itself if it ends with them."""
        if media.probe(self.video, VIDEO_RATE_HZ).num_frames <= len(self.faces):
            yield self.video
            return
        sound = media.read_sound(self.video, SOUND_RATE_HZ)[: len(self.faces) * SAMPLES_PER_FRAME]
        with tempfile.TemporaryDirectory(prefix="recording-") as folder:
            path = Path(folder) / f"{self.video.stem}.wav"
            write_wav(path, to_int16(sound))
            yield path

    def crops(self, size_px: int, every: int) -> Crops:
        """Crops of size_px: the aligned face of each `every`-th frame that has one."""
        chosen = np.flatnonzero(self.faces.has_face)[::every]
        matrices = [scaled_affine(self.faces.matrices[i], self.faces.resolution, size_px) for i in chosen]
        return aligned_crops(media.read_frames_in_order(self.video, chosen, VIDEO_RATE_HZ), matrices, size_px)


class Recordings:
    """The clips of a folder; they are read when they are first needed.

    Args:
        folder: videos of real people.
        in_sync: names of the clips that speak in sync with their own sound, with or without their endings; "all": all
            of them. None: the embedded model's SyncNet decides.
        most_frames: read of each clip.

    Attributes:
        left_out: why files cannot be used, by name.
    """

    def __init__(self, folder: Path, in_sync: Sequence[str] | None = None, most_frames: int = MOST_FRAMES) -> None:
        self.folder, self.in_sync, self.most_frames = folder, in_sync, most_frames
        self.left_out: dict[str, str] = {}

    @cached_property
    def networks(self) -> Networks:
        """The judges of all models: the embedded model's SyncNet, and dlib's recogniser if it is installed."""
        return networks(MetricsConfig.of(("sync_mini", "identity")))

    @cached_property
    def videos(self) -> list[Path]:
        """The clips of the folder, whether they can be used or not.

        Raises:
            MediaError: the folder is missing, cannot be read, or has no video.
            OptionError: `in_sync` names a clip that is not there.
        """
        if not self.folder.is_dir():
            raise MediaError(f"there is no folder at {self.folder}; give a folder of videos of real people")
        videos, _ = clips_of(self.folder)
        if not videos:
            raise MediaError(f"{self.folder} has no video; give a folder of videos of real people")
        names = {name for video in videos for name in (video.name, video.stem)}
        for name in self.in_sync or ():
            if name != ALL and name not in names:
                raise OptionError(f"--in-sync names {name}, which is not in {self.folder}; {did_you_mean(name, names)}")
        return videos

    @cached_property
    def digest(self) -> str | None:
        """A hash of the clips and of what was said of them; None if there is none."""
        try:
            parts = [(video.name, input_sha256(video)) for video in self.videos]
        except LatentSyncError:
            return None
        judge = self.networks.hashes.get("sync_mini")
        return hashlib.sha256(repr((parts, self.in_sync, self.most_frames, judge)).encode()).hexdigest()[:12]

    @cached_property
    def clips(self) -> list[Recording]:
        """The clips that can be used; the others are in `left_out`.

        Raises:
            MediaError, OptionError: as for `videos`.
        """
        detector, clips = MediaPipeLandmarks(), []
        for video in self.videos:
            try:
                clips.append(self._recording(video, detector))
            except LatentSyncError as error:
                self.left_out[video.name] = str(error)
        return clips

    def _recording(self, video: Path, detector: LandmarkDetector) -> Recording:
        faces = align(media.read_frames(video, VIDEO_RATE_HZ, stop=self.most_frames), detector, JUDGED_PX)
        if (seen := int(faces.has_face.sum())) < LEAST_FRAMES:
            raise FaceNotFoundError(f"{video.name} shows a face in {seen} frames; at least {LEAST_FRAMES} are needed")
        if not has_sound(video):
            return Recording(video, faces, False, "it has no sound")
        if self.in_sync is not None:
            is_named = not {video.name, video.stem, ALL}.isdisjoint(self.in_sync)
            return Recording(video, faces, is_named, f"it is {'' if is_named else 'not '}named by --in-sync")
        judge = self.networks.sync_mini
        if judge is None:
            return Recording(video, faces, False, f"{self.networks.missing['sync_mini']}; name it with --in-sync")
        return self._judged(video, faces, judge)

    def _judged(self, video: Path, faces: AlignedFaces, judge: StableSyncNet) -> Recording:
        sound = media.read_sound(video, SOUND_RATE_HZ)[: len(faces) * SAMPLES_PER_FRAME]
        needed = num_frames(judge) - 1 + LEAST_MOVES + 2 * LEAST_MOVED - 1
        if (heard := min(len(faces), len(sound) // SAMPLES_PER_FRAME)) < needed:
            why = (
                f"it has {heard} frames with sound, too few to judge its sync (at least {needed}, "
                f"{needed / VIDEO_RATE_HZ:g} s); name it with --in-sync"
            )
            return Recording(video, faces, False, why)
        frames = islice(media.read_frames(video, VIDEO_RATE_HZ, stop=self.most_frames), len(faces))
        lips = embed_lips(judge, aligned_crops(frames, faces.matrices, JUDGED_PX))
        found, chance = own_sync(lips, embed_speech(judge, sound))
        is_in_sync = abs(found.sync_mini_offset) <= MOST_OFFSET and chance <= CHANCE
        why = (
            f"its offset in frames is {found.sync_mini_offset} (at most {MOST_OFFSET} either way) and its confidence "
            f"{found.sync_mini_confidence:.3f}, which {chance:.3f} of its sound's places reach (at most {CHANCE:g})"
        )
        return Recording(video, faces, is_in_sync, why, found.sync_mini_offset, found.sync_mini_confidence, chance)

    def facts(self, failures: Mapping[str, str]) -> dict:
        """The clips for evaluation.json: which are in sync and why, and which could not be used.

        Args:
            failures: why clips could not be reconstructed, by name.
        """
        clips = [
            {"clip": clip.name, "in_sync": clip.is_in_sync, "why": clip.why, "offset": clip.offset,
             "confidence": clip.confidence, "chance": clip.chance, "frames": len(clip.faces)}
            for clip in self.clips
        ]  # fmt: skip
        return {"digest": self.digest, "clips": clips, "left_out": self.left_out | dict(failures)}


def own_sync(lips: Float[Tensor, "n d"], speech: Float[Tensor, "m d"]) -> tuple[SyncMiniScores, float]:
    """The scores of lips with their own speech, and the share of places of the speech that fit as well.

    The speech is moved around in a circle by 31 frames or more, so that its true place is out of reach of all shifts.
    The true place counts as one of the places, so that the share is above 0, as in a permutation test.

    Raises:
        MediaError: as for `shift_distances`.
        ValueError: the speech is too short to be moved.
    """
    moves = range(LEAST_MOVED, len(speech) - LEAST_MOVED + 1)
    if not moves:
        raise ValueError(f"there are {len(speech)} windows of speech; at least {2 * LEAST_MOVED} are needed")
    own = scores(shift_distances(lips, speech))
    others = [scores(shift_distances(lips, torch.roll(speech, move, 0))).sync_mini_confidence for move in moves]
    as_good = sum(other >= own.sync_mini_confidence for other in others)
    return own, (as_good + 1) / (len(others) + 1)
