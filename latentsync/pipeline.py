"""`LipsyncPipeline`: from a clip and a voice to a lip-synced video. It only calls the other packages, in this order:

sound -> windows of Whisper states     (audio)
frames -> one affine a frame           (media, faces)
crops -> latents, mask                 (faces, generation.latents)
noise -> latents of the mouth          (generation.denoise)
latents -> crop -> frame               (generation.latents, faces)
frames -> file                         (generation.write, media)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from latentsync import media
from latentsync.audio.features import WindowReader
from latentsync.audio.speech import silent_stretches
from latentsync.config import STUDENT_STEPS, Options, takes_options
from latentsync.constants import SOUND_RATE_HZ, VIDEO_RATE_HZ
from latentsync.device import dtype_name, resolve_batch_size
from latentsync.errors import FaceNotFoundError, OptionError, did_you_mean
from latentsync.generation import windows
from latentsync.generation.guidance import in_effect
from latentsync.generation.kept import PairCache
from latentsync.generation.latents import drawn_by
from latentsync.generation.memory import fit
from latentsync.generation.networks import LipsyncNetworks
from latentsync.generation.progress import ProgressBar
from latentsync.generation.references import (
    answer_shift,
    frames_near_reference,
    frames_needed,
    places_of,
    references_of,
)
from latentsync.generation.results import (
    OUTPUT_TYPES,
    GeneratedFrame,
    LipsyncOutput,
    PreparedPair,
    ProgressCallback,
    Stopwatch,
    batch_of_frames,
)
from latentsync.generation.silence import silent_shares
from latentsync.generation.stage_cache import StageCache
from latentsync.generation.students import sampler_for
from latentsync.generation.timing import timing_of
from latentsync.generation.write import Target, check_targets, notice, scratch_video, write_results
from latentsync.presets import Preset, resolve_guidance
from latentsync.runtime import apply_runtime
from latentsync.shapes import Frame


class LipsyncPipeline(LipsyncNetworks):
    """LatentSync from files to files: a model's networks, and all steps from a clip and a voice to a lip-synced video.

    `from_pretrained` and `from_checkpoint` load a model. The networks and where they run are attributes, as in
    `LipsyncNetworks`; `latentsync.config` lists the options.
    """

    _bar_options: Mapping[str, Any] = MappingProxyType({})

    def set_progress_bar_config(self, **options: Any) -> None:
        """Sets the options of `tqdm` for the bar that a call shows: `disable=True` shows none."""
        self._bar_options = options

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
            OptionError: the guidance is open (it depends on the speaker's gender), a window is too long, windows share
                more than half of their frames, or an option does not suit a student (see `students.sampler_for`).

        If the scheduler that was assigned to this pipeline is not DDIM, an open `scheduler` stays open: it is used.
        """
        sampler, video, runtime = options.sampler, options.video, options.runtime
        if sampler.guidance_scale is None:
            raise OptionError("guidance_scale is open; give a value, or resolve it by preset with resolve_guidance()")
        guidance_scale = float(sampler.guidance_scale)
        if sampler.num_inference_steps is None:
            sampler = replace(sampler, num_inference_steps=self._own_steps)
        sampler = sampler_for(self.settings.name, self.unet.guidance_limit, sampler)
        num_frames, longest = sampler.num_frames or self.settings.num_frames, self.unet.max_num_frames
        if longest is not None and num_frames > longest:
            raise OptionError(
                f"num_frames is {num_frames}; {self.settings.name} takes windows of at most {longest} frames"
            )
        if sampler.window_overlap > num_frames // 2:
            raise OptionError(
                f"window_overlap is {sampler.window_overlap}; windows of {num_frames} frames share at most "
                f"{num_frames // 2} (half of them)"
            )
        size_px = video.size_px or self.settings.size_px
        return Options(
            replace(
                in_effect(sampler),
                guidance_scale=guidance_scale,
                num_frames=num_frames,
                deepcache_order=sampler.deepcache_order if sampler.deepcache_interval > 1 else 0,
                deepcache_final_steps=sampler.deepcache_final_steps if sampler.deepcache_interval > 1 else 0,
                scheduler=sampler.scheduler or ("ddim" if isinstance(self.scheduler, DDIMScheduler) else None),
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
                batch_size=resolve_batch_size(runtime.batch_size, self.num_parameters),
            ),
        )

    @property
    def _own_steps(self) -> int:
        own = self.settings.num_inference_steps
        return own if self.unet.guidance_limit is None else min(own, STUDENT_STEPS)

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
        assert reference is not None  # noqa: S101 - for type checkers; the options are resolved
        rate_hz = options.video.rate_hz
        report = on_progress or (lambda *_: None)
        report("read", 0, 0)
        info = media.probe(clip, rate_hz)

        def states(start: int, compute: Callable[[], Tensor]) -> Tensor:
            def announced() -> Tensor:
                report("audio", 0, 0)
                return compute()

            return cache.states(self, voice, start, announced, options.video.voice_track)

        with watch.stage("audio"):
            waveform = media.read_sound(voice, SOUND_RATE_HZ, options.video.voice_track)
            timing = timing_of(clip, len(waveform), options.video)
            times_s = timing.times_s if rate_hz is None else None
            segments = options.video.audio_segments
            audio_windows = WindowReader(
                self.audio.whisper, waveform, VIDEO_RATE_HZ, voice.name, states, times_s, segments
            )
            silence = None
            if options.video.silence != "model":
                silence = silent_shares(silent_stretches(waveform), timing.times_s[: len(timing.order) + 1])
        places = places_of(clip, rate_hz)
        shift = answer_shift(clip, waveform) if reference == "elsewhere" else 0
        num_aligned = min(frames_needed(max(timing.order) + 1, reference, shift, places), info.num_frames)
        with watch.stage("align"):
            faces = cache.faces(self, clip, num_aligned, options, on_progress)
        pair = PreparedPair(
            clip,
            voice,
            info,
            timing.order,
            faces,
            audio_windows,
            cache.faces_key(self, clip, num_aligned, options),
            answer_shift=shift,
            rest=timing.rest,
            times_s=timing.times_s,
            rate_hz=rate_hz,
            silence=silence,
        )
        _check_face_share(pair, options.video.min_face_share)
        references_of(pair, options)  # refuses a clip that is too short
        return pair

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
        generator: torch.Generator | None = None,
    ) -> Iterator[tuple[GeneratedFrame, ...]]:
        """The frames of several results of one pair, denoised side by side. Gives one frame for each setting at a time.

        The results equal those of `generate`, except for the rounding of a batch of another size.

        Args:
            generator: draws all random numbers of a single setting, in place of its seed.

        Raises:
            OptionError: the settings differ in more than seed and guidance_scale, a generator is given for several, or
                the networks need more memory than `memory` allows.
        """
        fit(self, settings)
        on_end = callback_on_step_end and partial(callback_on_step_end, self)
        return windows.generate_together(self, self._pair_cache, pair, settings, on_progress, on_end, watch, generator)

    @takes_options(guidance_scale=Preset().neutral)
    def __call__(
        self,
        video_path: str | Path,
        audio_path: str | Path,
        video_out_path: str | Path | None = None,
        video_mask_path: str | Path | None = None,
        *,
        output_type: str = "path",
        return_dict: bool = True,
        generator: torch.Generator | None = None,
        weight_dtype: torch.dtype | str | None = None,
        device: str | int | torch.device | None = None,
        dtype: torch.dtype | str | None = None,
        attention: str | None = None,
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        on_progress: ProgressCallback | None = None,
        consent: str | None = None,
        **options: Any,
    ) -> LipsyncOutput:
        """Generates a new mouth for the clip, which follows the voice.

        By default the result has 25 frames/s and as many frames as the voice needs, ceil(seconds * 25): a longer clip
        is cut, a shorter one runs forward, backward, forward ... The options fps, length and loop change this. Its
        sound is the voice.

        Args:
            video_path: the clip, which shows a face.
            audio_path: the voice, a sound file or a video with sound.
            video_out_path: where to write the MP4. None writes to a temporary file, which is removed when the program
                ends; with an `output_type` other than "path" nothing is written.
            video_mask_path: where to write the frames with the region to be generated painted grey.
            output_type: "path": the result is a file; "np", "pt", "pil": its frames are returned too, as they are
                before the encoder; see `results.batch_of_frames`.
            return_dict: False returns `output.to_tuple()`.
            generator: draws all random numbers, in place of `seed`. A new `torch.Generator(device).manual_seed(s)`
                gives the same result as `rng="reference", seed=s`; a used one goes on where it is.
            weight_dtype: the original's name of `dtype`. `dtype` wins if both are given.
            device, dtype, attention: move the networks, which then stay there; see `to`. None changes nothing.
            callback_on_step_end: called as (pipeline, step, timestep, {"latents", "frames"}) after each step. Latents
                in the dict that it returns, (windows, c, frames, h, w), replace the given ones.
            callback_on_step_end_tensor_inputs: what the callback gets; there is nothing but "latents".
            on_progress: called as (stage, done, total). Without it a progress bar is shown.
            consent: what the people in the clip agreed to, for the metadata of the files.
            options: by name, as listed below. An option that is None is open: the model or the machine decides.

        Raises:
            LatentSyncError: there is a problem with an option, a file or the memory; the message says what to do.
        """
        if output_type not in OUTPUT_TYPES:
            raise OptionError(f"output_type {output_type!r} is unknown; {did_you_mean(str(output_type), OUTPUT_TYPES)}")
        if set(callback_on_step_end_tensor_inputs) - {"latents"}:
            raise OptionError(f"a callback gets latents only, but {list(callback_on_step_end_tensor_inputs)} was given")
        if generator is not None:
            options |= drawn_by(generator, options)
        chosen = Options.of(**options)
        chosen = replace(chosen, sampler=resolve_guidance(chosen.sampler, Preset(), "neutral"))
        if any(one is not None for one in (weight_dtype, device, dtype, attention)):
            self.to(device=device, dtype=weight_dtype if dtype is None else dtype, attention=attention)
        video = Path(video_out_path) if video_out_path is not None else None
        if video is None and output_type == "path":
            video = scratch_video()
        frames: list[Frame] | None = None if output_type == "path" else []
        target = Target(video, Path(video_mask_path) if video_mask_path else None, frames)
        with ProgressBar(**self._bar_options) as bar:
            (output,) = self.run_together(
                video_path,
                audio_path,
                [target],
                [chosen],
                on_progress or bar,
                callback_on_step_end,
                generator,
                consent,
            )
        output.frames = batch_of_frames(frames or [], output_type)
        return output if return_dict else output.to_tuple()  # type: ignore[return-value]  # as in diffusers

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
        """Writes one video, as `__call__` does, with the options as one object and without a progress bar."""
        target = Target(Path(video_out_path), Path(video_mask_path) if video_mask_path else None)
        (output,) = self.run_together(video_path, audio_path, [target], [options], on_progress, callback_on_step_end)
        return output

    def run_together(
        self,
        video_path: str | Path,
        audio_path: str | Path,
        targets: Sequence[Target],
        options: Sequence[Options],
        on_progress: ProgressCallback | None = None,
        callback_on_step_end: Callable | None = None,
        generator: torch.Generator | None = None,
        consent: str | None = None,
    ) -> list[LipsyncOutput]:
        """Generates one pair with several settings, denoised side by side; see `generate_together`.

        Args:
            targets: for each setting, where the result goes.
            consent: as for `__call__`.

        Returns:
            An output for each setting. Its timings are an equal share of the time that all took together.
        """
        settings, watch = [self.resolve(one) for one in options], Stopwatch()
        apply_runtime(settings[0].runtime)
        with watch.stage("total"):
            info = media.probe(video_path, VIDEO_RATE_HZ)
            check_targets(targets, info, Path(audio_path), settings[0])
            fit(self, settings)  # before faces are sought; `generate_together` finds it done
            pair = self.prepare(video_path, audio_path, settings[0], on_progress, watch)
            frames = self.generate_together(pair, settings, on_progress, callback_on_step_end, watch, generator)
            comment = notice(self.settings.trained, consent)
            write_results(frames, pair, targets, settings[0], comment, watch, self.cache)
        near_reference = frames_near_reference(pair, settings[0])  # all settings have the same references
        return [
            LipsyncOutput(
                video_path=target.video,
                mask_path=target.mask,
                num_frames=pair.num_frames,
                fps=VIDEO_RATE_HZ if pair.rate_hz else float(pair.num_frames / pair.times_s[-1]),
                frames_without_face=pair.frames_without_face,
                frames_near_reference=near_reference,
                options=setting,
                timings={stage: seconds / len(settings) for stage, seconds in watch.seconds.items()},
                faces=pair.faces,
                order=pair.order,
                times_s=pair.times_s,
            )
            for target, setting in zip(targets, settings, strict=True)
        ]

    def describe(self) -> dict:
        """The model's settings and the hashes of its weights, for records and headers."""
        return {**asdict(self.settings), "weights_sha256": self.weight_hashes}


def _check_face_share(pair: PreparedPair, least: float) -> None:
    """Refuses a pair whose result would hardly show the chosen face.

    Raises:
        FaceNotFoundError: its share of the frames is below `least`.
    """
    num_frames = len(pair.order)
    shown = num_frames - pair.frames_without_face
    if shown < least * num_frames:
        raise FaceNotFoundError(
            f"the face was found in {shown} of {num_frames} frames of {pair.video_path.name}, a share of "
            f"{shown / num_frames:.3g}, and video.min_face_share is {least:g}; choose another face (video.face) "
            "or clip, or give a smaller share"
        )
