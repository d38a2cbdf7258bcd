"""`LipsyncPipeline`: a video and a voice walk in, a lip-synced video walks out. Calls the rooms in order, nothing else.

sound -> windows of Whisper states     (audio)
frames -> one affine a frame           (media, faces)
crops -> latents, mask                 (crops, masks, latents)
noise -> latents of the mouth          (denoise)
latents -> crop -> frame -> file       (latents, composite, media)
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from einops import rearrange, repeat
from torch import Tensor

from latentsync import media
from latentsync.audio.features import RATE_HZ, Audio2Feature, WindowReader, num_reference_windows, num_states
from latentsync.audio.whisper_files import WHISPER_FILES
from latentsync.checkpoints import model as model_files
from latentsync.checkpoints.model import ModelSettings
from latentsync.config import GUIDANCE_INTERVAL, Options, Preset
from latentsync.device import dtype_name, memory_shortage_explained, resolve_batch_size, resolve_device, resolve_dtype
from latentsync.errors import OptionError, WeightsError
from latentsync.faces.composite import paint_hole, paste_kept, restore
from latentsync.faces.crops import aligned_crops, warping_of
from latentsync.faces.landmarks import LANDMARK_REFINEMENTS, LandmarkDetector, MediaPipeLandmarks
from latentsync.faces.masks import crops_to_pixels, mask_to_latents, masked_images, mouth_mask
from latentsync.faces.track import AlignedFaces, align
from latentsync.generation.denoise import Condition, denoise
from latentsync.generation.kept import ALIGNMENTS_KEPT, counted
from latentsync.generation.latents import (
    OwnDraws,
    Posterior,
    ReferenceDraws,
    decode,
    draws,
    latent_shape,
    posterior,
    sample,
)
from latentsync.generation.references import References, frames_needed, reference_order
from latentsync.generation.results import GeneratedFrame, LipsyncOutput, PreparedPair, ProgressCallback, Stopwatch
from latentsync.generation.stage_cache import StageCache, input_sha256, stage_key
from latentsync.generation.windows import window_batches
from latentsync.generation.write import SYNTHETIC_NOTICE, UNTRAINED_NOTICE
from latentsync.media import VIDEO_RATE_HZ
from latentsync.shapes import Crops, Latents, Mask, Pixels, Windows
from latentsync.unet.attention import set_backend
from latentsync.unet.model import UNet3DConditionModel
from latentsync.weights import state_dict_sha256
from latentsync.weights.tensors import Place

MULTILINGUAL = {name: file for name, file in WHISPER_FILES.items() if not name.endswith(".en")}


def _place(device: str | None, dtype: str | None) -> Place:
    """Where a model's tensors are to be read to; what is None is chosen by what there is."""
    chosen = resolve_device(device)
    return Place(chosen, resolve_dtype(dtype, chosen))


def num_output_frames(num_samples: int, length: str = "sound") -> int:
    """Video frames for so many samples of 16 kHz sound; see `config.VideoOptions.length`."""
    if length == "reference":
        return num_reference_windows(num_states(num_samples), VIDEO_RATE_HZ)
    return max(1, math.ceil(num_samples * VIDEO_RATE_HZ / RATE_HZ))


class LipsyncPipeline:
    """LatentSync from files to files.

    Args:
        vae, unet, scheduler, audio: the networks; use `from_pretrained` or `from_checkpoint`.
        settings: what the model says of itself: crop size, window length, mask, whether it has been trained.
        detector: finds the landmarks of faces; MediaPipe's 468 points, refined in each frame, by default.

    Attributes:
        cache: keeps what several settings share of a pair: faces, the sound's states, the VAE's posteriors. None, the
            default, keeps nothing.
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        unet: UNet3DConditionModel,
        scheduler: DDIMScheduler,
        audio: Audio2Feature,
        settings: ModelSettings,
        detector: LandmarkDetector | None = None,
    ) -> None:
        if audio.whisper.width != unet.config.cross_attention_dim:
            raise OptionError(
                f"Whisper's states are {audio.whisper.width} wide and the UNet takes "
                f"{unet.config.cross_attention_dim}; load the Whisper that fits"
            )
        if audio.whisper.english_only and settings.whisper in MULTILINGUAL:
            raise WeightsError(
                f"{settings.name} was trained with the multilingual Whisper {settings.whisper}, and this is an "
                f"English-only one, of the same shape with other numbers; use {MULTILINGUAL[settings.whisper]}"
            )
        self.vae, self.unet, self.scheduler, self.audio = vae, unet, scheduler, audio
        self.settings = settings
        self.attention = "sdpa"
        self.cache: StageCache | None = None
        self._detector, self._own_detector = detector, detector is not None
        self._aligned: dict[tuple, AlignedFaces] = {}

    @classmethod
    def from_pretrained(
        cls, model: str | Path = "mini", device: str | None = None, dtype: str | None = None, attention: str = "sdpa"
    ) -> "LipsyncPipeline":
        """The embedded model by name, or any model from a folder in the diffusers layout (`save_pretrained`).

        Raises:
            WeightsError: no such model, or its weights are missing or do not fit.
        """
        parts = model_files.load_folder(model, _place(device, dtype))
        return cls(**parts).to(device, dtype, attention)

    @classmethod
    def from_checkpoint(
        cls,
        inference_ckpt_path: str | Path,
        unet_config_path: str | Path | None = None,
        device: str | None = None,
        dtype: str | None = None,
        attention: str = "sdpa",
        vae: str | Path | None = None,
        whisper: str | Path | None = None,
    ) -> "LipsyncPipeline":
        """A published LatentSync UNet with the VAE and the Whisper it was trained with; see `load_published`.

        Raises:
            WeightsError: the checkpoint does not fit the configuration, or the VAE or Whisper is not on this machine.
        """
        place = _place(device, dtype)
        parts = model_files.load_published(inference_ckpt_path, unet_config_path, vae, whisper, place)
        return cls(**parts).to(device, dtype, attention)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the model in the diffusers layout; `from_pretrained` gives the same numbers back."""
        model_files.save_folder(folder, self.vae, self.unet, self.scheduler, self.audio, self.settings)

    def to(
        self, device: str | None = None, dtype: str | None = None, attention: str | None = None
    ) -> "LipsyncPipeline":
        """Moves the networks; what is None is chosen by what there is. Whisper stays in float32."""
        chosen = resolve_device(device)
        precision = resolve_dtype(dtype, chosen)
        with memory_shortage_explained(f"the model {self.settings.name} in {dtype_name(precision)}"):
            for network in (self.vae, self.unet):
                model_files.cast(network, chosen, precision)
            self.audio.whisper.to(chosen)
        self.__dict__.pop("weight_hashes", None)  # of the tensors as they are used
        if attention is not None:
            set_backend(self.unet, attention, chosen)
            self.attention = attention
        return self

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def detector(self) -> LandmarkDetector:
        if self._detector is None:
            self._detector = MediaPipeLandmarks(refinements=LANDMARK_REFINEMENTS)
        return self._detector

    @cached_property
    def weight_hashes(self) -> dict[str, str]:
        """SHA-256 of each network's tensors as they are used, for the identity of a record."""
        networks = {"unet": self.unet, "vae": self.vae, "whisper": self.audio.whisper}
        return {name: state_dict_sha256(network.state_dict()) for name, network in networks.items()}

    def resolve(self, options: Options) -> Options:
        """Fills in what the options leave open: an explicit value, else the model's own, else the general default.

        Raises:
            OptionError: the guidance is open (it depends on the speaker's gender), or a window is too long.
        """
        sampler, video = options.sampler, options.video
        if sampler.guidance_scale is None:
            raise OptionError("guidance_scale is open; give a value, or resolve it by preset with resolve_guidance()")
        num_frames = sampler.num_frames or self.settings.num_frames
        longest = self.unet.max_num_frames
        if longest is not None and num_frames > longest:
            raise OptionError(
                f"num_frames is {num_frames}; {self.settings.name} takes windows of at most {longest} frames"
            )
        size_px, is_interval = video.size_px or self.settings.size_px, sampler.guidance_schedule == "interval"
        interval = (sampler.guidance_interval or GUIDANCE_INTERVAL) if is_interval else None
        return Options(
            replace(
                sampler,
                guidance_scale=float(sampler.guidance_scale),
                num_frames=num_frames,
                guidance_interval=interval,
            ),
            replace(
                video,
                width=size_px,
                height=size_px,
                mask=video.mask or self.settings.mask,
                reference=video.reference or "same",
            ),
            replace(
                options.runtime,
                dtype=dtype_name(self.unet.dtype),
                device=str(self.device),
                attention=self.attention,
                batch_size=resolve_batch_size(options.runtime.batch_size, self.unet.num_parameters()),
            ),
        )

    def prepare(
        self,
        video_path: str | Path,
        audio_path: str | Path,
        options: Options,
        on_progress: ProgressCallback | None = None,
        watch: Stopwatch | None = None,
    ) -> PreparedPair:
        """Reads the voice and finds the face in every frame of the clip that will be used.

        Raises:
            MediaError, FaceNotFoundError: the files are not fit for lip sync.
            OptionError: the clip is too short for references from elsewhere.
        """
        video_path, audio_path, watch = Path(video_path), Path(audio_path), watch or Stopwatch()
        info = media.probe(video_path, VIDEO_RATE_HZ)
        with watch.stage("audio"):
            waveform = media.read_sound(audio_path, RATE_HZ)
            kept = partial(self._kept_states, audio_path)
            windows = WindowReader(self.audio.whisper, waveform, VIDEO_RATE_HZ, audio_path.name, kept)
        num_out = num_output_frames(len(waveform), options.video.length)
        num_in = min(num_out, info.num_frames)
        num_aligned = min(frames_needed(num_in, options.video.reference), info.num_frames)
        with watch.stage("align"):
            faces_key = self._faces_key(video_path, num_aligned, options)
            faces = self._align(video_path, num_aligned, options, on_progress, faces_key)
        order = [int(i) for i in media.ping_pong(num_out, num_in)]
        reference_order(order, faces.found, options.video.reference, video_path.name)
        return PreparedPair(video_path, audio_path, info, order, faces, windows, faces_key)

    def _kept_states(self, audio_path: Path, segment: int, compute: Callable[[], Tensor]) -> Tensor:
        """A segment's Whisper states, from the cache where there is one."""
        if self.cache is None:
            return compute()
        depends_on = {
            "voice": input_sha256(audio_path),
            "segment": segment,
            "whisper": self.weight_hashes["whisper"],
            "heads": self.audio.whisper.heads,
            "device": self.device.type,
        }
        key = stage_key("whisper states", depends_on, "media", "audio")
        return self.cache.get(key, lambda: {"states": compute()})["states"]

    def _faces_key(self, video_path: Path, num_frames: int, options: Options) -> str | None:
        """What the faces of a clip's first frames are kept under.

        None without a cache, and with a detector of one's own, of which nothing is known.
        """
        if self.cache is None or self._own_detector:
            return None
        depends_on = {
            "clip": input_sha256(video_path),
            "frames": num_frames,
            "refinements": LANDMARK_REFINEMENTS,
            "size_px": options.video.size_px,
            "geometry": options.video.geometry,
        }
        return stage_key("faces", depends_on, "media", "faces")

    def _align(
        self,
        video_path: Path,
        num_frames: int,
        options: Options,
        on_progress: ProgressCallback | None,
        cache_key: str | None,
    ) -> AlignedFaces:
        """The affines of a clip's first frames; those of the last few clips are remembered."""
        status = video_path.stat()
        size_px, geometry = options.video.size_px, options.video.geometry
        key = (video_path.resolve(), status.st_size, status.st_mtime_ns, num_frames, size_px, geometry)
        if key not in self._aligned:
            frames = media.read_frames(video_path, VIDEO_RATE_HZ, stop=num_frames)
            frames = counted(frames, "align", num_frames, on_progress)

            def compute() -> dict[str, Tensor]:
                return align(frames, self.detector, size_px, warping_of(options)).to_tensors()

            kept = compute() if cache_key is None else self.cache.get(cache_key, compute)
            faces = AlignedFaces.from_tensors(kept)
            while len(self._aligned) >= ALIGNMENTS_KEPT:
                del self._aligned[next(iter(self._aligned))]
            self._aligned[key] = faces
        return self._aligned[key]

    def generate(
        self,
        pair: PreparedPair,
        options: Options,
        on_progress: ProgressCallback | None = None,
        callback_on_step_end: Callable | None = None,
        watch: Stopwatch | None = None,
    ) -> Iterator[GeneratedFrame]:
        """The frames of the result one by one; only the windows denoised together are held in memory."""
        for (frame,) in self.generate_together(pair, [options], on_progress, callback_on_step_end, watch):
            yield frame

    def generate_together(
        self,
        pair: PreparedPair,
        settings: Sequence[Options],
        on_progress: ProgressCallback | None = None,
        callback_on_step_end: Callable | None = None,
        watch: Stopwatch | None = None,
    ) -> Iterator[tuple[GeneratedFrame, ...]]:
        """The frames of several results of one pair, denoised side by side; a frame for each setting.

        Results are those of `generate` within what floating point makes of another batch.

        Raises:
            OptionError: the settings differ in more than seed and guidance_scale.
        """
        if len({one.but_seed_and_guidance() for one in settings}) != 1:
            raise OptionError("settings that are generated together may differ in seed and guidance_scale only")
        options, watch = settings[0], watch or Stopwatch()
        mask, warping = mouth_mask(options.video.mask, options.video.size_px), warping_of(options)
        shape = latent_shape(self.vae, options.video.size_px)
        drawn = [draws(one.sampler.rng, one.sampler.seed, shape, self.device, self.unet.dtype) for one in settings]
        at_once = max(1, options.runtime.batch_size // len(settings))
        batches = window_batches(pair.num_frames, options.sampler.num_frames, at_once)
        steps_done = 0

        def on_step(index: int, timestep: int, latents: Latents) -> None:
            nonlocal steps_done
            steps_done += 1
            if on_progress is not None:
                on_progress("denoise", steps_done, len(batches) * options.sampler.num_inference_steps)
            if callback_on_step_end is not None:
                callback_on_step_end(self, index, timestep, {"latents": latents, "frames": (start, stop)})

        stream = media.read_frames_in_order(pair.video_path, pair.order, VIDEO_RATE_HZ)
        others = reference_order(pair.order, pair.faces.found, options.video.reference, pair.video_path.name)
        references = References(pair, others, options)
        for windows in batches:
            start, stop = windows[0][0], windows[-1][1]
            with watch.stage("read and crop"):
                frames = list(islice(stream, stop - start))
                matrices = [pair.faces.matrices[i] for i in pair.order[start:stop]]
                crops = aligned_crops(frames, matrices, options.video.size_px, warping)
                keys = [self._posterior_key(pair, options, others, window) for window in windows]
                references.move_to(start, stop, crops)
                if any(key is None or key not in self.cache for key in keys):
                    references.read()
                audio = pair.windows(start, stop)
            what = f"{len(settings) * (stop - start)} frames of {options.video.size_px} px in {options.runtime.dtype}"
            with memory_shortage_explained(what), torch.no_grad():
                generated = self._windows(crops, references, mask, audio, keys, settings, drawn, on_step, watch)
            for i, (frame, matrix) in enumerate(zip(frames, matrices, strict=True)):
                found = bool(pair.faces.found[pair.order[start + i]])
                made = [faces[i] if found else None for faces in generated]
                with watch.stage("composite"):
                    results = [frame if face is None else restore(frame, face, matrix, warping) for face in made]
                reference = None if references.crops is None else references.crops[i]
                yield tuple(
                    GeneratedFrame(frame, result, crops[i], reference, face, matrix)
                    for result, face in zip(results, made, strict=True)
                )

    def _posterior_key(
        self, pair: PreparedPair, options: Options, others: list[int], window: tuple[int, int]
    ) -> str | None:
        """What the VAE's posteriors of a window are kept under; None where they are not kept."""
        if self.cache is None or pair.faces_key is None:
            return None
        start, stop = window
        depends_on = {
            "faces": pair.faces_key,
            "frames": pair.order[start:stop],
            "references": others[start:stop],
            "rounding": options.video.rounding,
            "mask": options.video.mask,
            "vae": self.weight_hashes["vae"],
            "vae_config": {name: value for name, value in self.vae.config.items() if not name.startswith("_")},
            "dtype": options.runtime.dtype,
            "device": self.device.type,
        }
        return stage_key("posteriors", depends_on, "media", "faces", "masks", "latents")

    def _posteriors(
        self, pixels: Pixels, references: References, mask: Mask, keys: list[str | None]
    ) -> tuple[Posterior, Posterior]:
        """The VAE's posteriors of masked and reference images, window by window, from the cache where they are kept."""
        frames_each, found = len(pixels) // len(keys), []
        for index, key in enumerate(keys):
            part = slice(index * frames_each, (index + 1) * frames_each)

            def compute(part: slice = part) -> dict[str, Tensor]:
                of_masked = posterior(self.vae, masked_images(pixels[part], mask))
                of_reference = posterior(self.vae, crops_to_pixels(references.read()[part]))
                named = {"masked": of_masked, "reference": of_reference}
                return {f"{name}_{key}": value for name, of in named.items() for key, value in vars(of).items()}

            found.append(compute() if key is None else self.cache.get(key, compute))
        together = {name: torch.cat([part[name].to(self.device) for part in found]) for name in found[0]}
        return tuple(Posterior(together[f"{name}_mean"], together[f"{name}_std"]) for name in ("masked", "reference"))

    def _windows(
        self,
        crops: Crops,
        references: References,
        mask: Mask,
        audio: Windows,
        keys: list[str | None],
        settings: Sequence[Options],
        drawn: Sequence[OwnDraws | ReferenceDraws],
        on_step,
        watch: Stopwatch,
    ) -> list[Pixels]:
        """Generates the mouths of a batch of windows of one length for each setting; frames are in the video's order.

        Args:
            keys: for each window what its posteriors are kept under, or None.
            drawn: the random numbers of each setting.
        """
        options, windows, pixels = settings[0], len(keys), crops_to_pixels(crops)
        frames_each, batch = len(crops) // windows, windows * len(settings)
        place = {"device": self.device, "dtype": self.unet.dtype}
        with watch.stage("encode"):
            of_both = self._posteriors(pixels, references, mask, keys)
            for_both = zip(*(one.for_vae(windows, frames_each) for one in drawn), strict=True)
            masked, reference = (
                torch.cat([sample(self.vae, of, noise) for noise in noises])
                for of, noises in zip(of_both, for_both, strict=True)
            )

        def side_by_side(frames: Tensor) -> Tensor:
            return rearrange(frames.to(**place), "(b f) c h w -> b c f h w", b=batch)

        condition = Condition(
            mask=repeat(mask_to_latents(mask).to(**place), "c h w -> b c f h w", b=batch, f=frames_each),
            masked=side_by_side(masked),
            reference=side_by_side(reference),
            audio=repeat(audio.to(**place), "(b f) t d -> (s b) f t d", b=windows, s=len(settings)),
        )
        noise = torch.cat([one.noise.to(**place).expand(windows, -1, frames_each, -1, -1) for one in drawn])
        with watch.stage("denoise"):
            latents = denoise(
                self.unet,
                self.scheduler,
                noise,
                condition,
                [one.sampler.guidance_scale for one in settings for _ in range(windows)],
                options.sampler.num_inference_steps,
                on_step,
                options.sampler.deepcache_interval,
                solver=options.sampler.scheduler,
                guidance_schedule=options.sampler.guidance_schedule,
                guidance_interval=options.sampler.guidance_interval,
                guidance_mask=options.sampler.guidance_mask,
            )
        with watch.stage("decode"):
            decoded = decode(self.vae, rearrange(latents, "b c f h w -> (b f) c h w"))
        return [paste_kept(faces, pixels, mask) for faces in decoded.chunk(len(settings))]

    def __call__(
        self,
        video_path: str | Path,
        audio_path: str | Path,
        video_out_path: str | Path | None = None,
        video_mask_path: str | Path | None = None,
        *,
        weight_dtype: torch.dtype | str | None = None,
        callback_on_step_end: Callable | None = None,
        on_progress: ProgressCallback | None = None,
        **options: Any,
    ) -> LipsyncOutput:
        """Generates the clip's mouth anew so that it follows the voice.

        The result has 25 frames/s and as many frames as the voice needs, ceil(seconds * 25): a longer clip is cut, a
        shorter one runs forward, backward, forward ... Its sound is the voice as given.

        Args:
            video_path: a clip with a face.
            audio_path: a voice, as a sound file or a video with sound.
            video_out_path: of the MP4; None keeps it in a temporary folder for as long as the returned object lives.
            video_mask_path: where to write the frames with the region to be generated painted grey.
            weight_dtype: moves the networks to this precision for good; None leaves them as they are.
            callback_on_step_end: called as (pipeline, step, timestep, {"latents", "frames"}) after each step.
            on_progress: called as (stage, done, total).
            options: by name, see `latentsync.config`: of `SamplerOptions` such as guidance_scale (1.5 unless given),
                num_inference_steps and seed, of `VideoOptions` such as width and crf, of `RuntimeOptions` batch_size.

        Raises:
            LatentSyncError: an option, a file or the memory is at fault; the message says which and what to do.
        """
        chosen = Options.of(**{"guidance_scale": Preset().neutral, **options})
        if weight_dtype is not None:
            wanted = dtype_name(weight_dtype) if isinstance(weight_dtype, torch.dtype) else weight_dtype
            self.to(str(self.device), wanted)
        scratch = None
        if video_out_path is None:
            scratch = tempfile.TemporaryDirectory(prefix="latentsync-")
            video_out_path = Path(scratch.name) / "result.mp4"
        output = self.run(
            video_path, audio_path, video_out_path, video_mask_path, chosen, on_progress, callback_on_step_end
        )
        return replace(output, _scratch=scratch)

    def run(
        self,
        video_path: str | Path,
        audio_path: str | Path,
        video_out_path: str | Path,
        video_mask_path: str | Path | None,
        options: Options,
        on_progress: ProgressCallback | None = None,
        callback_on_step_end: Callable | None = None,
    ) -> LipsyncOutput:
        """As `__call__`, with the options as objects."""
        targets = [(Path(video_out_path), video_mask_path and Path(video_mask_path))]
        (output,) = self.run_together(video_path, audio_path, targets, [options], on_progress, callback_on_step_end)
        return output

    def run_together(
        self,
        video_path: str | Path,
        audio_path: str | Path,
        targets: Sequence[tuple[Path, Path | None]],
        options: Sequence[Options],
        on_progress: ProgressCallback | None = None,
        callback_on_step_end: Callable | None = None,
    ) -> list[LipsyncOutput]:
        """Results of one pair with several settings, denoised side by side; see `generate_together`.

        Args:
            targets: of each setting, where the result and the painted frames go.

        Returns:
            An output for each setting; timings are its share of the whole.
        """
        settings, watch = [self.resolve(one) for one in options], Stopwatch()
        with watch.stage("total"):
            pair = self.prepare(video_path, audio_path, settings[0], on_progress, watch)
            frames = self.generate_together(pair, settings, on_progress, callback_on_step_end, watch)
            self._write(frames, pair, targets, settings[0], watch)
        return [
            LipsyncOutput(
                video_path=video,
                mask_path=mask,
                num_frames=pair.num_frames,
                fps=VIDEO_RATE_HZ,
                frames_without_face=sum(not pair.faces.found[i] for i in pair.order),
                options=resolved,
                timings={stage: seconds / len(settings) for stage, seconds in watch.seconds.items()},
                faces=pair.faces,
                order=pair.order,
            )
            for (video, mask), resolved in zip(targets, settings, strict=True)
        ]

    def _write(
        self,
        frames: Iterator[tuple[GeneratedFrame, ...]],
        pair: PreparedPair,
        targets: Sequence[tuple[Path, Path | None]],
        options: Options,
        watch: Stopwatch,
    ) -> None:
        """Writes each result and, where asked for, the painted frames; all appear only when complete."""
        notice = SYNTHETIC_NOTICE if self.settings.trained else f"{SYNTHETIC_NOTICE} {UNTRAINED_NOTICE}"
        size = {
            "width": pair.info.width,
            "height": pair.info.height,
            "rate_hz": VIDEO_RATE_HZ,
            "crf": options.video.crf,
        }
        mouth = mouth_mask(options.video.mask, options.video.size_px)
        with ExitStack() as files:
            writers = [
                files.enter_context(media.VideoWriter(video, **size, sound=pair.audio_path, comment=notice))
                for video, _ in targets
            ]
            mask_writers = [
                files.enter_context(media.VideoWriter(mask, **size, comment=notice, preset="veryfast"))
                for _, mask in targets
                if mask is not None
            ]
            for results in frames:
                with watch.stage("write"):
                    for writer, made in zip(writers, results, strict=True):
                        writer.write(made.frame)
                    if mask_writers:
                        made = results[0]  # what is painted is the same for all
                        found = made.generated is not None
                        painted = paint_hole(made.source, mouth, made.matrix) if found else made.source
                    for writer in mask_writers:
                        writer.write(painted)
            with watch.stage("write"):
                files.close()  # the encoders' last frames, and the sound

    def describe(self) -> dict:
        """What the model is, for records and headers."""
        return {**asdict(self.settings), "weights_sha256": self.weight_hashes}
