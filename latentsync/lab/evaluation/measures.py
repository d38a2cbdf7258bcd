"""Runs the model on held-out cases and measures the results. It keeps a few numbers of each case, and no pictures."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float

from latentsync import media
from latentsync.config import Options, SamplerOptions, VideoOptions
from latentsync.constants import SAMPLES_PER_FRAME, SOUND_RATE_HZ, VIDEO_RATE_HZ
from latentsync.errors import LatentSyncError
from latentsync.faces.composite import paste_kept, restore
from latentsync.faces.crops import aligned_crops
from latentsync.faces.landmarks import LandmarkDetector, Landmarks, MediaPipeLandmarks
from latentsync.faces.masks import crops_to_pixels, mouth_mask, pixels_to_crops
from latentsync.generation.latents import round_trip
from latentsync.generation.results import GeneratedFrame
from latentsync.lab.evaluation.bars import bars_for
from latentsync.lab.evaluation.kept import KeptCases
from latentsync.lab.evaluation.material import Case, HeldOutClip, Material
from latentsync.lab.evaluation.reconstruction import Reconstruction, Values, follows, reconstructed
from latentsync.lab.evaluation.recordings import MOST_FRAMES, Recording, Recordings
from latentsync.lab.evaluation.rows import Bar
from latentsync.metrics.articulation import lip_motion
from latentsync.metrics.families import Networks
from latentsync.metrics.reconstruction import psnr_db
from latentsync.metrics.stable_syncnet import StableSyncNet
from latentsync.metrics.sync import LEAST_FRAMES, lip_gap
from latentsync.metrics.sync_mini import embed_lips, embed_speech, scores, shift_distances
from latentsync.pipeline import LipsyncPipeline
from latentsync.shapes import Crops, Frame, Waveform
from latentsync.speakers import samples

SPEED_CLIP, SPEED_VOICE = samples.FOLDER / "g-clara.mp4", samples.FOLDER / "g-clara-weather.wav"
GUIDANCE_SCALE = 1.5
VAE_EVERY = 8  # frames, because neighbouring frames are similar
LANDMARK_THREADS = 2  # a detector uses one core
MAX_INJECTED = 10  # frames in both directions
OFFSET_TOLERANCE = 1  # frames

Gaps = Float[np.ndarray, " f"]


@dataclass(frozen=True)
class Plan:
    """The amount of measurement. `QUICK` checks that everything runs; its values say nothing about quality.

    Attributes:
        cases, self_cases, silent_cases, real_cases: how many cases are dubbed with another voice, with their own
            voice, with silence, and with real recordings (None: all).
        seconds: shortest and longest length of a sentence.
        steps: of the solver; None: the model's own.
        guidance_steps: of the guidance row; the model's own, if they are fewer.
        guidance_cases, guidance_seeds, guidance_scales, guidance_frames: the cells of the guidance row.
        speed_calls: number of calls of the pipeline; the last one is timed.
        real_frames: read of each clip of a real person.
    """

    cases: int = 24
    self_cases: int = 16
    silent_cases: int = 12
    real_cases: int | None = None
    seconds: tuple[float, float] = (2.8, 4.2)
    steps: int | None = None
    guidance_steps: int = 10
    guidance_cases: int = 20
    guidance_seeds: tuple[int, ...] = (1247, 7, 42)
    guidance_scales: tuple[float, ...] = (1.0, 1.5, 2.0)
    guidance_frames: int = 48
    speed_calls: int = 2
    real_frames: int = MOST_FRAMES


QUICK = Plan(
    cases=2,
    self_cases=1,
    silent_cases=1,
    real_cases=1,
    seconds=(2.2, 2.6),
    steps=1,
    guidance_steps=1,
    guidance_cases=2,
    guidance_seeds=(1247,),
    guidance_scales=(1.0, 2.0),
    guidance_frames=40,
    speed_calls=1,
    real_frames=100,
)


@dataclass(frozen=True)
class Dub:
    """The values of one dubbed case, by the video that was measured.

    Attributes:
        lips: correlation of the lip gap with the drawn truth of the voice, for "generated", "true" (the drawn clip,
            which is the ceiling), "wrong" (generated lips with the truth of the input clip's sentence), and the
            baselines "input" and "frozen".
        confidence: sync_mini_confidence of the same videos; "wrong" has generated lips and the input clip's own sound.
            Empty for real recordings.
        motion: `lip_motion` of "generated" and "input".
    """

    lips: dict[str, float]
    confidence: dict[str, float]
    motion: dict[str, float]


class Bench:
    """A model, its SyncNet and the material. Values that several rows need are measured once.

    Args:
        recordings: of real people; None: there are none.
        sheets: the folder for pictures of them.

    Attributes:
        kept: what was measured of cases.
        failures: why recordings could not be reconstructed, by name.
    """

    def __init__(
        self,
        pipe: LipsyncPipeline,
        syncnet: StableSyncNet,
        is_syncnet_trained: bool,
        material: Material,
        plan: Plan,
        recordings: Recordings | None = None,
        sheets: Path = Path("sheets"),
    ) -> None:
        self.pipe, self.material, self.plan = pipe, material, plan
        self.recordings, self.sheets = recordings, sheets
        self.kept = KeptCases()
        self.failures: dict[str, str] = {}
        self.syncnet, self.is_syncnet_trained = syncnet.eval(), is_syncnet_trained
        self._true_crops: dict[Path, Crops] = {}
        self._true_gaps: dict[Path, Gaps] = {}
        self._detectors: SimpleQueue[LandmarkDetector] = SimpleQueue()
        for _ in range(LANDMARK_THREADS):  # here, because this redirects stderr for a moment
            self._detectors.put(MediaPipeLandmarks())

    def options(
        self, steps: int | None, guidance_scale: float = GUIDANCE_SCALE, seed: int = 1247, **video: str
    ) -> Options:
        """The options of a generation."""
        sampler = SamplerOptions(guidance_scale, steps, seed)
        return self.pipe.resolve(Options(sampler, VideoOptions(**video)))

    @cached_property
    def bars(self) -> dict[str, Bar]:
        """The bars of this model's rows."""
        return bars_for(self.pipe.settings.size_px)

    @cached_property
    def mask(self) -> torch.Tensor:
        """The model's mouth mask: 1 keep, 0 generate."""
        return mouth_mask(self.pipe.settings.mask, self.pipe.settings.size_px)

    # --- results ---

    def generate(self, video: Path, sound: Path, options: Options) -> tuple[list[GeneratedFrame], list[int]]:
        """The frames of a result, and for each the index of the clip's frame from which it was made."""
        pair = self.pipe.prepare(video, sound, options)
        return list(self.pipe.generate(pair, options)), pair.order

    def true_crops(self, clip: HeldOutClip) -> Crops:
        """The aligned faces of a rendered clip."""
        if clip.video not in self._true_crops:
            faces = self.pipe.prepare(clip.video, clip.sound, self.options(1)).faces
            frames = media.read_frames(clip.video, VIDEO_RATE_HZ, stop=len(faces))
            self._true_crops[clip.video] = aligned_crops(frames, faces.matrices, faces.resolution)
        return self._true_crops[clip.video]

    def true_gaps(self, clip: HeldOutClip) -> Gaps:
        """The measured lip gaps of a rendered clip."""
        if clip.video not in self._true_gaps:
            self._true_gaps[clip.video] = self.gaps(media.read_frames(clip.video, VIDEO_RATE_HZ))
        return self._true_gaps[clip.video]

    def dub(self, case: Case) -> Dub:
        """Dubs and measures a case."""
        return Dub(**self.kept.of("dub", case.name, lambda: asdict(self._measured(case))))

    def _measured(self, case: Case) -> Dub:
        dubbed, order = self.generate(case.clip.video, case.wanted.sound, self.options(self.plan.steps))
        frozen_crops, frozen_frames = self.pasted(dubbed, [dubbed[0].crop] * len(dubbed))
        with ThreadPoolExecutor(LANDMARK_THREADS) as threads:
            videos = ((frame.frame for frame in dubbed), frozen_frames)
            measured = [threads.submit(self.gaps, frames) for frames in videos]
            measured += [threads.submit(self.true_gaps, clip) for clip in (case.wanted, case.clip)]
            generated, frozen, true, of_clip = (gaps.result() for gaps in measured)
        gaps = {"generated": generated, "frozen": frozen, "true": true, "input": of_clip[order]}
        lips = {name: follows(gap, case.wanted.gaps) for name, gap in gaps.items()}
        lips["wrong"] = follows(generated, case.clip.gaps[order])
        motion = {name: _motion(gaps[name]) for name in ("generated", "input")}
        if case.voice_kind == "real":
            return Dub(lips, {}, motion)
        crops = {"generated": _outcome(dubbed), "frozen": frozen_crops, "true": self.true_crops(case.wanted)}
        crops["input"] = torch.stack([frame.crop for frame in dubbed])
        return Dub(lips, self._confidences(crops, case), motion)

    def _confidences(self, crops: dict[str, Crops], case: Case) -> dict[str, float]:
        heard, other = (embed_speech(self.syncnet, self.sound(clip)) for clip in (case.wanted, case.clip))
        seen = {name: embed_lips(self.syncnet, part) for name, part in crops.items()}
        return {name: _confidence(lips, heard) for name, lips in seen.items()} | {
            "wrong": _confidence(seen["generated"], other)
        }

    def silent_motion(self, case: Case) -> float:
        """`lip_motion` of a case that is dubbed with the sound of a quiet room, of the same length as its voice."""

        def motion() -> float:
            sound = self.material.silence(len(self.sound(case.wanted)))
            frames, _ = self.generate(case.clip.video, sound, self.options(self.plan.steps))
            return _motion(self.gaps(frame.frame for frame in frames))

        return self.kept.of("silent motion", case.name, motion)

    def self_dub(self, case: Case) -> Values:
        """Dubs and measures the input clip with its own voice and with references from elsewhere."""

        def values() -> Values:
            options = self.options(self.plan.steps, reference="elsewhere")
            pair = self.pipe.prepare(case.clip.video, case.clip.sound, options)
            return reconstructed(self.pipe, pair, options, self.faces_in).values

        return self.kept.of("self dub", case.name, values)

    def real_dub(self, clip: Recording) -> Reconstruction | None:
        """Dubs and measures a real person's clip as `self_dub` a painted one's; None, with a failure, if it cannot.

        It is not kept, since its pictures are needed.
        """
        judges = Networks() if self.recordings is None else self.recordings.networks
        options = self.options(self.plan.steps, reference="elsewhere")
        try:
            with clip.voice() as voice:
                pair = self.pipe.prepare(clip.video, voice, options)
                return reconstructed(self.pipe, pair, options, self.faces_in, judges.sync_mini, judges.identity)
        except LatentSyncError as error:
            self.failures[clip.name] = str(error)
            return None

    def pasted(self, dubbed: list[GeneratedFrame], mouths: list[torch.Tensor]) -> tuple[Crops, Iterable[Frame]]:
        """The crops with the given mouths in the mask's hole, and an iterator of their frames."""
        pixels, others = (crops_to_pixels(torch.stack(crops)) for crops in ([f.crop for f in dubbed], mouths))
        both = paste_kept(others, pixels, self.mask)
        frames = (restore(frame.source, face, frame.matrix) for frame, face in zip(dubbed, both, strict=True))
        return pixels_to_crops(both), frames

    # --- measurements ---

    def gaps(self, frames: Iterable[Frame]) -> Gaps:
        """`lip_gaps`, with a detector that no other thread uses."""
        with self._detector() as detector:
            return lip_gaps(detector, frames)

    def faces_in(self, frame: Frame) -> list[Landmarks]:
        """The landmarks of the faces in a frame, with a detector that no other thread uses."""
        with self._detector() as detector:
            return detector(frame)

    @contextmanager
    def _detector(self) -> Iterator[LandmarkDetector]:
        detector = self._detectors.get()
        try:
            yield detector
        finally:
            self._detectors.put(detector)

    def sound(self, clip: HeldOutClip) -> Waveform:
        """The sound of a rendered clip."""
        return media.read_sound(clip.sound, SOUND_RATE_HZ)

    def offsets(self, clip: HeldOutClip) -> dict[int, int]:
        """The measured offset for each injected offset of -10..10 frames; positive if the lips come later.

        Frames or sound are cut at the beginning, so that no padding is compared.
        """
        lips, sound, offsets = embed_lips(self.syncnet, self.true_crops(clip)), self.sound(clip), {}
        for cut in range(MAX_INJECTED + 1):
            speech = embed_speech(self.syncnet, sound[cut * SAMPLES_PER_FRAME :])
            offsets[cut] = scores(shift_distances(lips, speech)).sync_mini_offset
            if cut == 0:
                later = {-i: shift_distances(lips[i:], speech) for i in range(1, MAX_INJECTED + 1)}
                offsets |= {offset: scores(distances).sync_mini_offset for offset, distances in later.items()}
        return offsets

    def round_trip_psnr(self, clip: HeldOutClip) -> float:
        """PSNR in dB of every eighth crop of a clip after encoding to the mean of the VAE's posterior and decoding."""
        return vae_psnr(self.pipe.vae, self.true_crops(clip)[::VAE_EVERY])

    def guidance_confidences(self, case: Case) -> Float[np.ndarray, "scales seeds"]:
        """sync_mini_confidence of the first frames of a case, for each guidance scale and seed."""
        return np.array(self.kept.of("guidance", case.name, lambda: self._guided(case)))

    def _guided(self, case: Case) -> list[list[float]]:
        plan = self.plan
        pair = self.pipe.prepare(case.clip.video, case.wanted.sound, self.options(1))
        pair = replace(pair, order=pair.order[: plan.guidance_frames])
        heard = embed_speech(self.syncnet, self.sound(case.wanted)[: pair.num_frames * SAMPLES_PER_FRAME])

        def one(scale: float, seed: int) -> float:
            options = self.options(plan.guidance_steps, scale, seed)
            return _confidence(embed_lips(self.syncnet, _outcome(list(self.pipe.generate(pair, options)))), heard)

        return [[one(scale, seed) for seed in plan.guidance_seeds] for scale in plan.guidance_scales]

    def frames_per_second(self) -> float:
        """The speed of the whole pipeline on the shipped clip, from files to a file, in the last of several calls."""
        settings = {"num_inference_steps": self.plan.steps, "guidance_scale": GUIDANCE_SCALE}
        results = [self.pipe(SPEED_CLIP, SPEED_VOICE, **settings) for _ in range(self.plan.speed_calls)]
        return results[-1].num_frames / results[-1].timings["total"]


def vae_psnr(vae: AutoencoderKL, crops: Crops) -> float:
    """PSNR in dB of crops after encoding to the mean of the VAE's posterior and decoding."""
    return psnr_db(pixels_to_crops(round_trip(vae, crops_to_pixels(crops))), crops)


def _outcome(frames: list[GeneratedFrame]) -> Crops:
    """The aligned faces of a result; frames without a detected face have the input's crop."""
    return torch.stack(
        [frame.crop if frame.generated is None else pixels_to_crops(frame.generated) for frame in frames]
    )


def _confidence(lips: torch.Tensor, speech: torch.Tensor) -> float:
    """sync_mini_confidence of embedded lips and speech."""
    return scores(shift_distances(lips, speech)).sync_mini_confidence


def _motion(gap: Gaps) -> float:
    """`lip_motion`; NaN for a result in which almost no face is detected."""
    return lip_motion(gap) if np.isfinite(gap).sum() >= LEAST_FRAMES else np.nan


def lip_gaps(detector: LandmarkDetector, frames: Iterable[Frame]) -> Gaps:
    """Lip gaps of the most confident face in each frame; NaN without a face."""
    return np.array([lip_gap(faces[0][None])[0] if (faces := detector(frame)) else np.nan for frame in frames])
