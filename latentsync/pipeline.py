"""`LipsyncPipeline`: from a clip and a voice to a lip-synced video. It only calls the other packages, in this order:

sound -> windows of Whisper states     (audio)
frames -> one affine a frame           (media, faces)
crops -> latents, mask                 (faces, generation.latents)
noise -> latents of the mouth          (generation.denoise)
latents -> crop -> frame               (generation.latents, faces)
frames -> file                         (generation.write, media)
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import torch

from latentsync import media
from latentsync.audio.features import WindowReader
from latentsync.checkpoints import model as model_files
from latentsync.config import GUIDANCE_INTERVAL, Options, Preset, resolve_guidance, takes_options
from latentsync.constants import SOUND_RATE_HZ, VIDEO_RATE_HZ
from latentsync.device import dtype_name, resolve_batch_size
from latentsync.errors import OptionError
from latentsync.generation import windows
from latentsync.generation.kept import PairCache
from latentsync.generation.networks import LipsyncNetworks, resolve_place
from latentsync.generation.references import frames_needed, reference_order
from latentsync.generation.results import GeneratedFrame, LipsyncOutput, PreparedPair, ProgressCallback, Stopwatch
from latentsync.generation.stage_cache import StageCache
from latentsync.generation.write import Target, notice, write_results


class LipsyncPipeline(LipsyncNetworks):
    """LatentSync from files to files: a model's networks, and all steps from a clip and a voice to a lip-synced video.

    `from_pretrained` and `from_checkpoint` load a model. The networks and where they run are attributes, as in
    `LipsyncNetworks`; `latentsync.config` lists the options.
    """

    @classmethod
    def from_pretrained(
        cls, model: str | Path = "mini", device: str | None = None, dtype: str | None = None, attention: str = "sdpa"
    ) -> Self:
        """Loads the embedded model by name, or any model from a folder in the diffusers layout (`save_pretrained`).

        Raises:
            WeightsError: no such model, or its weights are missing or do not fit.
            OptionError: there is no such device, precision or attention backend here.
        """
        parts = model_files.load_folder(model, resolve_place(device, dtype))
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
    ) -> Self:
        """Loads a published LatentSync UNet with the VAE and the Whisper it was trained with; see `load_published`.

        Raises:
            WeightsError: the checkpoint does not fit the configuration, or the VAE or Whisper is not on this machine.
            OptionError: there is no such device, precision or attention backend here.
        """
        place = resolve_place(device, dtype)
        parts = model_files.load_published(inference_ckpt_path, unet_config_path, vae, whisper, place)
        return cls(**parts).to(device, dtype, attention)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the model in the diffusers layout; `from_pretrained` gives the same numbers back."""
        model_files.save_folder(folder, self.vae, self.unet, self.scheduler, self.audio, self.settings)

    @cached_property
    def _pair_cache(self) -> PairCache:
        return PairCache()

    @property
    def cache(self) -> StageCache | None:
        """Keeps on disk what several settings of a pair share: faces, Whisper states, the VAE's posteriors.

        None, the default, keeps nothing there.
        """
        return self._pair_cache.disk

    @cache.setter
    def cache(self, cache: StageCache | None) -> None:
        self._pair_cache.disk = cache

    def resolve(self, options: Options) -> Options:
        """Fills in what the options leave open: an explicit value, else the model's own, else the general default.

        Raises:
            OptionError: the guidance is open (it depends on the speaker's gender), or a window is too long.
        """
        sampler, video, runtime = options.sampler, options.video, options.runtime
        if sampler.guidance_scale is None:
            raise OptionError("guidance_scale is open; give a value, or resolve it by preset with resolve_guidance()")
        num_frames, longest = sampler.num_frames or self.settings.num_frames, self.unet.max_num_frames
        if longest is not None and num_frames > longest:
            raise OptionError(
                f"num_frames is {num_frames}; {self.settings.name} takes windows of at most {longest} frames"
            )
        interval = sampler.guidance_interval or GUIDANCE_INTERVAL
        size_px = video.size_px or self.settings.size_px
        return Options(
            replace(
                sampler,
                guidance_scale=float(sampler.guidance_scale),
                num_frames=num_frames,
                guidance_interval=interval if sampler.guidance_schedule == "interval" else None,
            ),
            replace(
                video,
                width=size_px,
                height=size_px,
                mask=video.mask or self.settings.mask,
                reference=video.reference or "same",
            ),
            replace(
                runtime,
                dtype=dtype_name(self.dtype),
                device=str(self.device),
                attention=self.attention,
                batch_size=resolve_batch_size(runtime.batch_size, self.unet.num_parameters()),
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
        """Reads the voice, and finds the face in every frame of the clip that will be used.

        Args:
            options: resolved, so that none is open; see `resolve`.

        Raises:
            MediaError, FaceNotFoundError: the clip or the voice cannot be used for lip sync.
            OptionError: the clip is too short for references from elsewhere.
        """
        clip, voice, watch = Path(video_path), Path(audio_path), watch or Stopwatch()
        cache, reference = self._pair_cache, options.video.reference
        assert reference is not None  # the options are resolved
        info = media.probe(clip, VIDEO_RATE_HZ)
        with watch.stage("audio"):
            waveform = media.read_sound(voice, SOUND_RATE_HZ)
            states = partial(cache.states, self, voice)
            audio_windows = WindowReader(self.audio.whisper, waveform, VIDEO_RATE_HZ, voice.name, states)
        num_out = windows.num_output_frames(len(waveform), options.video.length)
        num_in = min(num_out, info.num_frames)
        num_aligned = min(frames_needed(num_in, reference), info.num_frames)
        with watch.stage("align"):
            faces = cache.faces(self, clip, num_aligned, options, on_progress)
            faces_key = cache.faces_key(self, clip, num_aligned, options)
        order = [int(i) for i in media.ping_pong(num_out, num_in)]
        reference_order(order, faces.has_face, reference, clip.name)  # refuses a clip that is too short
        return PreparedPair(clip, voice, info, order, faces, audio_windows, faces_key)

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
        """The frames of several results of one pair, denoised side by side. Gives one frame for each setting at a time.

        The results equal those of `generate`, except for the rounding of a batch of another size.

        Raises:
            OptionError: the settings differ in more than seed and guidance_scale.
        """
        on_step_end = callback_on_step_end and partial(callback_on_step_end, self)
        return windows.generate_together(self, self._pair_cache, pair, settings, on_progress, on_step_end, watch)

    @takes_options(guidance_scale=Preset().neutral)
    def __call__(
        self,
        video_path: str | Path,
        audio_path: str | Path,
        video_out_path: str | Path | None = None,
        video_mask_path: str | Path | None = None,
        *,
        weight_dtype: torch.dtype | str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        attention: str | None = None,
        callback_on_step_end: Callable | None = None,
        on_progress: ProgressCallback | None = None,
        **options: Any,
    ) -> LipsyncOutput:
        """Generates a new mouth for the clip, which follows the voice.

        The result has 25 frames/s and as many frames as the voice needs, ceil(seconds * 25): a longer clip is cut, a
        shorter one runs forward, backward, forward ... Its sound is the voice as given.

        Args:
            video_path: the clip, which shows a face.
            audio_path: the voice, a sound file or a video with sound.
            video_out_path: where to write the MP4. None writes to a temporary folder, which is removed together with
                the returned object.
            video_mask_path: where to write the frames with the region to be generated painted grey.
            weight_dtype: the original's name of `dtype`; it may be a torch.dtype. `dtype` wins if both are given.
            device, dtype, attention: move the networks, which then stay there; see `to`. None changes nothing.
            callback_on_step_end: called as (pipeline, step, timestep, {"latents", "frames"}) after each step.
            on_progress: called as (stage, done, total).
            options: by name, as listed below. An option that is None is open: the model or the machine decides.

        Raises:
            LatentSyncError: there is a problem with an option, a file or the memory; the message says what to do.
        """
        chosen = Options.of(**options)
        chosen = replace(chosen, sampler=resolve_guidance(chosen.sampler, Preset(), "neutral"))
        if isinstance(weight_dtype, torch.dtype):
            weight_dtype = dtype_name(weight_dtype)
        if any(one is not None for one in (weight_dtype, device, dtype, attention)):
            self.to(device or str(self.device), dtype or weight_dtype or dtype_name(self.dtype), attention)
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
        """Does the same as `__call__`, with the options as one object."""
        targets = [(Path(video_out_path), Path(video_mask_path) if video_mask_path else None)]
        (output,) = self.run_together(video_path, audio_path, targets, [options], on_progress, callback_on_step_end)
        return output

    def run_together(
        self,
        video_path: str | Path,
        audio_path: str | Path,
        targets: Sequence[Target],
        options: Sequence[Options],
        on_progress: ProgressCallback | None = None,
        callback_on_step_end: Callable | None = None,
    ) -> list[LipsyncOutput]:
        """Generates one pair with several settings, denoised side by side; see `generate_together`.

        Args:
            targets: for each setting, where to write the result and the painted frames.

        Returns:
            An output for each setting. Its timings are an equal share of the time that all took together.
        """
        settings, watch = [self.resolve(one) for one in options], Stopwatch()
        with watch.stage("total"):
            pair = self.prepare(video_path, audio_path, settings[0], on_progress, watch)
            frames = self.generate_together(pair, settings, on_progress, callback_on_step_end, watch)
            write_results(frames, pair, targets, settings[0], notice(self.settings.trained), watch)
        return [
            LipsyncOutput(
                video_path=video,
                mask_path=mask,
                num_frames=pair.num_frames,
                fps=VIDEO_RATE_HZ,
                frames_without_face=sum(not pair.faces.has_face[i] for i in pair.order),
                options=setting,
                timings={stage: seconds / len(settings) for stage, seconds in watch.seconds.items()},
                faces=pair.faces,
                order=pair.order,
            )
            for (video, mask), setting in zip(targets, settings, strict=True)
        ]

    def describe(self) -> dict:
        """The model's settings and the hashes of its weights, for records and headers."""
        return {**asdict(self.settings), "weights_sha256": self.weight_hashes}
