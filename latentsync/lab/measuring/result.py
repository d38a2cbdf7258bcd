"""The frames of a result and of its clip, prepared for the metrics.

They are decoded once and cropped in the same way, while a thread finds the landmarks.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentsync import media, weights
from latentsync.audio.own_sound import find_voice
from latentsync.config import DEFAULT_SIZE_PX, VideoOptions
from latentsync.constants import MESH_POINTS, SOUND_RATE_HZ, VIDEO_RATE_HZ
from latentsync.errors import MediaError, OptionError
from latentsync.faces.crops import FramesOnDemand, aligned_crops
from latentsync.faces.following import NO_FACE
from latentsync.faces.geometry import Warping, apply_affine, crop_box_size
from latentsync.faces.landmarks import LandmarkDetector
from latentsync.faces.track import AlignedFaces, align
from latentsync.generation.references import answer_shift, frames_needed, places_of
from latentsync.generation.results import LipsyncOutput
from latentsync.generation.stage_cache import StageCache, input_sha256, stage_key
from latentsync.generation.timing import at_rate, timing_of
from latentsync.lab.options.schema import MetricsConfig
from latentsync.media.departures import clip_departures, read_with
from latentsync.media.prefetch import ahead
from latentsync.metrics.definitions import Entry
from latentsync.metrics.evaluate import Evaluation, evaluate, needed_parts
from latentsync.metrics.families import Batch, Networks, Subject
from latentsync.metrics.families.base import BATCH_FRAMES
from latentsync.metrics.identity import WEIGHTS as IDENTITY_WEIGHTS
from latentsync.metrics.identity import load_recogniser
from latentsync.metrics.own_syncnet import has_trained_syncnet, load_trained_syncnet
from latentsync.metrics.s3fd import load_s3fd
from latentsync.metrics.stable_syncnet import load_stable_syncnet
from latentsync.metrics.syncnet import load_syncnet
from latentsync.shapes import Affine, Crops, Frame, Landmarks, Waveform
from latentsync.weights import state_dict_sha256

SYNC_MINI_MODEL = "mini"
SYNCNET, S3FD_FACES = "auxiliary/syncnet_v2.model", "auxiliary/sfd_face.pth"
STABLE_SYNCNETS = ("latentsync-1.6/stable_syncnet.pt", "latentsync-1.5/stable_syncnet.pt")
HASH_DIGITS = 12
# The clip shows the right lips of a result, frame by frame, if so much of the voice is its own sound, at most so far
# apart in time.
WHOLE_SHARE, IN_STEP_S = 0.8, 0.1


def labelled(entries: dict[str, Entry], trained: bool) -> dict[str, Entry]:
    """The entries; each gets a label if the video was made by an untrained network."""
    return entries if trained else {name: {**entry, "model": "untrained"} for name, entry in entries.items()}


@dataclass(frozen=True)
class Result:
    """A result on disk, with the clip and voice that it was made from.

    Attributes:
        order: for each frame of the result with a new mouth, at 25 frames/s, the index of the clip's frame that it
            shows.
        faces: the faces in the clip's frames, in crops of their `resolution`.
        result_faces: the faces in the result's frames, if the frames have another size; None: same as `faces`.
        reference: which frames were the model's reference, see `config.VideoOptions`; None: unknown.
        window: the number of frames from one window to the next; None: unknown.
        rate_hz: the rate at which the clip's frames are numbered; None: its own frames.
        natural: how many frames from the start show the clip in its own order; None: all for which the frame's number
            is that of the clip's frame.
        voice_track: the sound track of the voice, see `config.VideoOptions`.
    """

    result: Path
    clip: Path
    voice: Path
    order: list[int]
    faces: AlignedFaces
    result_faces: AlignedFaces | None = None
    reference: str | None = None
    window: int | None = None
    mask: str = "mask"
    rate_hz: float | None = VIDEO_RATE_HZ
    natural: int | None = None
    voice_track: int | None = None

    @classmethod
    def of_output(cls, output: LipsyncOutput, clip: Path, voice: Path) -> "Result":
        """From an output of the pipeline.

        Raises:
            OptionError: the result was not written.
        """
        if output.video_path is None:
            raise OptionError("the result was not written, so it cannot be measured; give video_out_path")
        sampler, video = output.options.sampler, output.options.video
        facts = {
            "reference": video.reference,
            "window": sampler.num_frames - sampler.window_overlap,
            "mask": video.mask,
            "voice_track": video.voice_track,
        }
        if video.rate_hz is None:
            return cls._at_own_rate(output.video_path, clip, voice, output.order, output.times_s, output.faces, facts)
        return cls(output.video_path, clip, voice, output.order, output.faces, **facts)

    @classmethod
    def _at_own_rate(
        cls, result: Path, clip: Path, voice: Path, order: list[int], times_s: list[Fraction], faces: AlignedFaces,
        facts: dict[str, Any],
    ) -> "Result":  # fmt: skip
        """From a result with the clip's own frames; it is measured at 25 frames/s, the rate of the metrics."""
        shown = at_rate(times_s, len(order))
        natural = next((place for place, index in enumerate(order) if place != index), len(order))
        in_order = sum(place < natural for place in shown)
        return cls(result, clip, voice, [order[i] for i in shown], faces, rate_hz=None, natural=in_order, **facts)

    @classmethod
    def of_options(cls, result: Path, clip: Path, voice: Path, options: dict, detector: LandmarkDetector) -> "Result":
        """From the files of a record and its `config.recorded_options`. The clip's faces are detected again, as for it.

        Raises:
            MediaError, FaceNotFoundError: a file cannot be read, or shows no face.
        """
        video = VideoOptions(**{name: options[name] for name in ("length", "fps", "loop") if name in options})
        track = options.get("voice_track")
        num_there = media.probe(clip, video.rate_hz).num_frames
        times_s: list[Fraction] = []
        if video.rate_hz is None or video.length in ("clip", "shortest"):
            timing = timing_of(clip, len(media.read_sound(voice, SOUND_RATE_HZ, track)), video)
            order, times_s = timing.order, timing.times_s
        else:
            num_out = media.probe(result).num_frames
            order = [int(i) for i in media.arranged(num_out, min(num_out, num_there), video.loop)]
        shift = 0
        if options["reference"] == "elsewhere":
            shift = answer_shift(clip, media.read_sound(voice, SOUND_RATE_HZ, track))
        warping, places = Warping(options["geometry"], options["rounding"]), places_of(clip, video.rate_hz)
        num_aligned = min(frames_needed(max(order) + 1, options["reference"], shift, places), num_there)
        frames = media.read_frames(clip, video.rate_hz, stop=num_aligned)
        faces = align(frames, detector, options["size_px"], warping, options["face"])
        window = options["num_frames"] - options["window_overlap"]
        facts = {"reference": options["reference"], "window": window, "mask": options["mask"], "voice_track": track}
        if video.rate_hz is None:
            return cls._at_own_rate(result, clip, voice, order, times_s, faces, facts)
        return cls(result, clip, voice, order, faces, **facts)

    @classmethod
    def of_files(cls, video: Path, reference: Path, audio: Path, detector: LandmarkDetector) -> "Result":
        """From any video and the reference that it should look like, compared frame by frame from the start.

        Raises:
            MediaError, FaceNotFoundError: a file cannot be read, or shows no face.
        """
        infos = [media.probe(path, VIDEO_RATE_HZ) for path in (video, reference)]
        count = min(info.num_frames for info in infos)

        def aligned(path: Path) -> AlignedFaces:
            return align(media.read_frames(path, VIDEO_RATE_HZ, stop=count), detector, DEFAULT_SIZE_PX)

        faces = aligned(reference)
        count = min(count, len(faces))
        is_as_large = len({(info.width, info.height) for info in infos}) == 1
        result_faces = None if is_as_large else aligned(video)
        return cls(video, reference, audio, list(range(count)), faces, result_faces)

    @property
    def num_natural(self) -> int:
        """How many frames from the start show the clip in its own order."""
        if self.natural is not None:
            return self.natural
        turned = (i for i, index in enumerate(self.order) if i != index)
        return next(turned, len(self.order))

    @cached_property
    def clip_sound(self) -> Waveform | None:
        """See `own_sound`."""
        return own_sound(self.clip)

    def relation(self, voice: Waveform) -> str:
        """See `Subject.relation`."""
        found = None if self.clip_sound is None else find_voice(self.clip_sound, voice)
        if found is None or abs(found.shift_s) > IN_STEP_S or found.share < WHOLE_SHARE:
            return "change"
        return "leaky" if self.reference == "same" else "own"


def own_sound(clip: Path) -> Waveform | None:
    """A clip's own sound, 16 kHz mono; None if it has none."""
    return media.read_sound(clip, SOUND_RATE_HZ) if media.probe(clip).has_sound else None


def is_own_voice(sound: Waveform | None, voice: Waveform) -> bool:
    """Whether a voice is the clip's own sound or a part of it, see `audio.own_sound`."""
    return sound is not None and find_voice(sound, voice) is not None


def measured(
    result: Result,
    wanted: MetricsConfig,
    detector: LandmarkDetector,
    relation: str | None = None,
    stage_cache: StageCache | None = None,
) -> Evaluation:
    """The wanted metrics of a result.

    Args:
        relation: see `Subject`; None: derived from whether the voice is the clip's own.
        stage_cache: stores what results of the same clip or voice share: crops of the clip, embeddings of lips and
            of speech.

    Raises:
        MediaError: a file cannot be read.
    """
    if not wanted.families:
        return Evaluation()
    voice = media.read_sound(result.voice, SOUND_RATE_HZ, result.voice_track)
    subject = Subject(
        size_px=result.faces.resolution,
        voice=voice,
        clip_sound=result.clip_sound,
        relation=relation or result.relation(voice),
        num_natural=result.num_natural,
        window=result.window,
        mask=result.mask,
        networks=networks(wanted),
        controls=wanted.controls,
        frames_again=lambda: media.read_frames(result.result, VIDEO_RATE_HZ),
        source_again=lambda: media.read_frames(result.clip, VIDEO_RATE_HZ),
        keep=None if stage_cache is None else partial(_from, stage_cache),
    )
    batches = ahead(_batches(result, needed_parts(wanted.families), detector, stage_cache), count=1)
    return evaluate(subject, batches, wanted.families)


def _from(
    stage_cache: StageCache, stage: str, depends_on: Mapping[str, object], compute: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    return stage_cache.get(stage_key(stage, depends_on), compute)


def _batches(
    result: Result, parts: frozenset[str], detector: LandmarkDetector, stage_cache: StageCache | None
) -> Iterator[Batch]:
    results = media.read_frames(result.result, VIDEO_RATE_HZ, stop=len(result.order))
    clip = FramesOnDemand(result.clip, result.order, result.rate_hz)
    resolution = result.faces.resolution
    for start in range(0, len(result.order), BATCH_FRAMES):
        order = result.order[start : start + BATCH_FRAMES]
        frames = list(islice(results, len(order)))
        sources = list(clip.read(start, start + len(order))) if "source_frames" in parts else None
        if len(frames) < len(order):
            raise MediaError(
                f"{result.result} has {start + len(frames)} frames, but {len(result.order)} are expected; make it again"
            )
        given, has_face = result.faces.matrices[order], result.faces.has_face[order]
        own, here = result.result_faces, slice(start, start + len(order))
        matrices = given if own is None else own.matrices[here]
        landmarks = None
        if own is not None:
            landmarks, has_face = own.landmarks[here], has_face & own.has_face[here]
        elif "landmarks" in parts:
            landmarks = np.stack([
                followed(detector, frame, matrix, resolution) if is_visible else NO_FACE
                for frame, matrix, is_visible in zip(frames, matrices, has_face, strict=True)
            ])  # fmt: skip
        yield Batch(
            has_face=has_face,
            crops=aligned_crops(frames, matrices, resolution) if "crops" in parts else None,
            source_crops=_source_crops(result, start, clip, sources, stage_cache) if "source_crops" in parts else None,
            landmarks=landmarks,
            source_landmarks=result.faces.landmarks[order],
            frames=frames,
            source_frames=sources,
            matrices=list(matrices),
        )


def _source_crops(
    result: Result, start: int, clip: FramesOnDemand, sources: list[Frame] | None, stage_cache: StageCache | None
) -> Crops:
    """The clip's crops of a batch, from the cache or else from its frames, which are read if necessary."""
    order, size_px = result.order[start : start + BATCH_FRAMES], result.faces.resolution
    matrices = result.faces.matrices[order]

    def compute() -> dict[str, Tensor]:
        frames = clip.read(start, start + len(order)) if sources is None else sources
        return {"crops": aligned_crops(frames, matrices, size_px)}

    if stage_cache is None:
        return compute()["crops"]
    depends_on = {
        "clip": input_sha256(result.clip),
        **read_with(clip_departures(result.clip)),
        "frames": order,
        "matrices": state_dict_sha256({"": torch.from_numpy(matrices)}),
        "size_px": size_px,
    }
    if result.rate_hz is None:
        depends_on["fps"] = "source"
    return stage_cache.get(stage_key("source crops", depends_on, "media", "faces"), compute)["crops"]


def followed(detector: LandmarkDetector, frame: Frame, matrix: Affine, size_px: int) -> np.ndarray:
    """Landmarks of the face nearest to the crop's centre, (468, 2), in px; NaN if there is no face."""
    faces: list[Landmarks] = detector(frame)
    if not faces:
        return NO_FACE
    middles = np.array([face[:, :2].mean(axis=0) for face in faces])
    in_box = apply_affine(matrix, middles[:, 0], middles[:, 1])
    box_middle = np.array(crop_box_size(size_px))[:, None] / 2
    nearest = int(np.argmin(np.linalg.norm(in_box - box_middle, axis=0)))
    return faces[nearest][:MESH_POINTS, :2].astype(np.float32)


def networks(wanted: MetricsConfig) -> Networks:
    """The networks that the wanted metrics need, as far as this machine has them."""
    loaded = Networks()
    if not {"sync_mini", "sync_mini_accuracy"}.isdisjoint(wanted.families):
        loaded = _with(loaded, "sync_mini", *embedded_syncnet())
    if not {"stable_syncnet", "stable_syncnet_accuracy"}.isdisjoint(wanted.families):
        loaded = _with(loaded, "stable_syncnet", *_stable_syncnet())
    if "syncnet" in wanted.families:
        loaded = _with(loaded, "syncnet", *_published(SYNCNET, load_syncnet))
        loaded = _with(loaded, "s3fd", *_published(S3FD_FACES, load_s3fd))
    if "identity" in wanted.families:
        loaded = _with(loaded, "identity", *_recogniser())
    return loaded


def _with(loaded: Networks, name: str, network: torch.nn.Module | None, fact: str) -> Networks:
    """The networks with one more; `fact` is its hash, or the reason why there is none."""
    if network is None:
        return replace(loaded, missing={**loaded.missing, name: fact})
    return replace(loaded, **{name: network}, hashes={**loaded.hashes, name: fact})


@cache
def embedded_syncnet() -> tuple[torch.nn.Module | None, str]:
    """The SyncNet of the embedded model. It judges the lips of every model, as a metric with its own name."""
    if not has_trained_syncnet(SYNC_MINI_MODEL):
        return None, f"the model {SYNC_MINI_MODEL} has no trained SyncNet"
    network = load_trained_syncnet(SYNC_MINI_MODEL)
    return network, _sha256(network)[:HASH_DIGITS]


def _stable_syncnet() -> tuple[torch.nn.Module | None, str]:
    """The SyncNet of version 1.6, or that of 1.5 if the former is missing."""
    there = next((name for name in STABLE_SYNCNETS if weights.find(name) is not None), STABLE_SYNCNETS[0])
    return _published(there, load_stable_syncnet)


def _recogniser() -> tuple[Any | None, str]:
    """The recogniser of dlib. Its tensors cannot be read, so its hash is that of the file."""
    try:
        return _published(IDENTITY_WEIGHTS, load_recogniser, lambda _: weights.known(IDENTITY_WEIGHTS).sha256)
    except OptionError as error:
        return None, str(error)


def _sha256(network: torch.nn.Module) -> str:
    return state_dict_sha256(network.state_dict())


@cache
def _published(
    name: str, load: Callable[[Path], Any], sha256: Callable[[Any], str] = _sha256
) -> tuple[Any | None, str]:
    """A published network, if its weights are on this machine. Nothing is downloaded."""
    if (path := weights.find(name)) is None:
        return None, f"{name} is not on this machine; `latentsync weights fetch {name}` downloads it"
    network = load(path)
    return network, sha256(network)[:HASH_DIGITS]
