"""From a prepared pair to generated frames, by windows: the frames that are denoised together.

Windows of one length are denoised side by side, in a batch, for each of several settings. Only one batch is in memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from einops import rearrange, repeat
from torch import Tensor

from latentsync import media
from latentsync.config import Options
from latentsync.device import memory_shortage_explained
from latentsync.errors import OptionError
from latentsync.faces.composite import paste_kept, restore
from latentsync.faces.crops import aligned_crops, warping_of
from latentsync.faces.masks import crops_to_pixels, mask_to_latents, mouth_mask
from latentsync.generation.denoise import Condition, StepCallback, denoise
from latentsync.generation.kept import PairCache
from latentsync.generation.latents import ReferenceDraws, decode, draws, latent_shape, sample
from latentsync.generation.networks import LipsyncNetworks
from latentsync.generation.references import References, references_of
from latentsync.generation.results import GeneratedFrame, PreparedPair, ProgressCallback, Stopwatch
from latentsync.generation.solvers import num_steps
from latentsync.shapes import Affine, Crops, Frame, Latents, Pixels, Windows

# Called after each step as (index of the step, timestep, {"latents": (b, c, f, h, w), "frames": (start, stop)}). It may
# return {"latents": ...}; these latents then replace the given ones.
WindowCallback = Callable[[int, int, dict], dict | None]


def window_batches(num_frames: int, window: int, batch_size: int) -> list[list[tuple[int, int]]]:
    """Windows (start, stop) of a video grouped into batches; a shorter last window is a batch of its own.

    Args:
        num_frames: of the video.
        window: frames in a window.
        batch_size: windows in a batch, at most.
    """
    windows = [(start, min(start + window, num_frames)) for start in range(0, num_frames, window)]
    whole = [w for w in windows if w[1] - w[0] == window]
    rest = windows[len(whole) :]
    batches = [whole[i : i + batch_size] for i in range(0, len(whole), batch_size)]
    return batches + [[w] for w in rest]


@dataclass(frozen=True)
class WindowBatch:
    """Consecutive windows of one length with their frames, crops and audio; everything is in the video's order.

    Attributes:
        windows: (start, stop) of each.
        frames: of the clip.
        matrices: the affine of each frame.
        crops: the aligned faces.
        references: gives the crops that show the model the face.
        audio: one window of Whisper states per frame.
        keys: of each window's posteriors, see `PairCache.posterior_keys`.
    """

    windows: list[tuple[int, int]]
    frames: list[Frame]
    matrices: list[Affine]
    crops: Crops
    references: References
    audio: Windows
    keys: list[str | None]

    @property
    def span(self) -> tuple[int, int]:
        """(start, stop) of all its frames."""
        return self.windows[0][0], self.windows[-1][1]


def read_batches(
    networks: LipsyncNetworks,
    cache: PairCache,
    pair: PreparedPair,
    options: Options,
    batches: Sequence[list[tuple[int, int]]],
) -> Iterator[WindowBatch]:
    """Reads and crops the frames of one batch of windows after the other.

    Raises:
        MediaError: the clip cannot be read.
        OptionError: the clip is too short for references from elsewhere.
    """
    size_px, warping = options.video.size_px, warping_of(options)
    stream = media.read_frames_in_order(pair.video_path, pair.order, pair.rate_hz)
    order = references_of(pair, options)
    references = References(pair, order, options)
    for windows in batches:
        start, stop = windows[0][0], windows[-1][1]
        frames = list(islice(stream, stop - start))
        matrices = [pair.faces.matrices[i] for i in pair.order[start:stop]]
        crops = aligned_crops(frames, matrices, size_px, warping)
        references.move_to(start, stop, crops)
        keys = cache.posterior_keys(networks, pair, options, order, windows)
        if not cache.has_all(keys):
            references.read()
        yield WindowBatch(windows, frames, matrices, crops, references, pair.windows(start, stop), keys)


class MouthGenerator:
    """Runs the networks: from a batch of windows to the faces with new mouths, for each setting.

    It draws the random numbers of each setting, so batches must come in the video's order.

    Args:
        settings: resolved options that differ in seed and guidance_scale only.
        watch: measures the stages "encode", "denoise" and "decode".
        generator: draws all random numbers of the only setting, see `latents.ReferenceDraws`. None: the seed of each
            setting decides.
    """

    def __init__(
        self,
        networks: LipsyncNetworks,
        cache: PairCache,
        settings: Sequence[Options],
        watch: Stopwatch,
        generator: torch.Generator | None = None,
    ) -> None:
        self._networks, self._cache, self._settings, self._watch = networks, cache, settings, watch
        self._place = {"device": networks.device, "dtype": networks.dtype}
        video = settings[0].video
        self._mask = mouth_mask(video.mask, video.size_px)
        shape = latent_shape(networks.vae, video.size_px)
        self._draws = [draws(one.sampler.rng, one.sampler.seed, shape, **self._place) for one in settings]
        if generator is not None:
            self._draws = [ReferenceDraws(generator, shape, networks.dtype)]

    @torch.no_grad()
    def __call__(self, batch: WindowBatch, on_step: StepCallback | None = None) -> list[Pixels]:
        """The faces of the batch's frames for each setting, (f, 3, r, r) in -1..1. Kept pixels are those of the crop.

        Args:
            on_step: called after each denoising step.
        """
        pixels = crops_to_pixels(batch.crops)
        with self._watch.stage("encode"):
            masked, reference = self._encoded(batch, pixels)
        with self._watch.stage("denoise"):
            latents = self._denoised(batch, masked, reference, on_step)
        with self._watch.stage("decode"):
            decoded = decode(self._networks.vae, rearrange(latents, "b c f h w -> (b f) c h w"))
        return [paste_kept(faces, pixels, self._mask) for faces in decoded.chunk(len(self._settings))]

    def _encoded(self, batch: WindowBatch, pixels: Pixels) -> tuple[Tensor, Tensor]:
        """Latents of the masked and of the reference images, ((settings windows frames), c, h, w)."""
        of_both = self._cache.posteriors(self._networks, pixels, batch.references, self._mask, batch.keys)
        num_windows = len(batch.windows)
        for_both = zip(*(one.for_vae(num_windows, len(pixels) // num_windows) for one in self._draws), strict=True)
        return tuple(
            torch.cat([sample(self._networks.vae, posterior, noise) for noise in noises])
            for posterior, noises in zip(of_both, for_both, strict=True)
        )

    def _denoised(self, batch: WindowBatch, masked: Tensor, reference: Tensor, on_step: StepCallback | None) -> Latents:
        """The latents of every window under every setting, ((settings windows), c, frames, h, w)."""
        num_settings, num_windows = len(self._settings), len(batch.windows)
        size, frames_each = num_settings * num_windows, len(batch.frames) // num_windows

        def by_window(frames: Tensor) -> Latents:
            return rearrange(frames.to(**self._place), "(b f) c h w -> b c f h w", b=size)

        mask = mask_to_latents(self._mask).to(**self._place)
        audio = batch.audio.to(**self._place)
        condition = Condition(
            mask=repeat(mask, "c h w -> b c f h w", b=size, f=frames_each),
            masked=by_window(masked),
            reference=by_window(reference),
            audio=repeat(audio, "(b f) t d -> (s b) f t d", b=num_windows, s=num_settings),
        )
        frames = [one.noise.to(**self._place) for one in self._draws]
        noise = torch.cat([frame.expand(num_windows, -1, frames_each, -1, -1) for frame in frames])
        sampler = self._settings[0].sampler
        return denoise(
            self._networks.unet,
            self._networks.scheduler,
            noise,
            condition,
            [one.sampler.guidance_scale for one in self._settings for _ in range(num_windows)],
            sampler.num_inference_steps,
            on_step,
            sampler.deepcache_interval,
            solver=sampler.scheduler,
            guidance_schedule=sampler.guidance_schedule,
            guidance_interval=sampler.guidance_interval,
            guidance_mask=sampler.guidance_mask,
        )


def generate_together(
    networks: LipsyncNetworks,
    cache: PairCache,
    pair: PreparedPair,
    settings: Sequence[Options],
    on_progress: ProgressCallback | None = None,
    on_step_end: WindowCallback | None = None,
    watch: Stopwatch | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[GeneratedFrame, ...]]:
    """The frames of several results of one pair, denoised side by side. Gives one frame for each setting at a time.

    Args:
        generator: draws the random numbers, in place of the seed of a single setting.

    Raises:
        OptionError: the settings differ in more than seed and guidance_scale, or there are several and a generator.
        MediaError: the clip cannot be read.
        MemoryShortageError: the memory does not hold a batch.
    """
    if len({one.but_seed_and_guidance() for one in settings}) != 1:
        raise OptionError("settings that are generated together may differ in seed and guidance_scale only")
    if generator is not None and len(settings) > 1:
        raise OptionError(f"a generator is given for {len(settings)} settings; give it for one setting at a time")
    options, watch = settings[0], watch or Stopwatch()
    at_once = max(1, options.runtime.batch_size // len(settings))
    batches = window_batches(len(pair.order), options.sampler.num_frames, at_once)
    sampler, steps_done = options.sampler, 0
    steps_in_all = len(batches) * num_steps(networks.scheduler, sampler.scheduler, sampler.num_inference_steps)

    def on_step(index: int, timestep: int, latents: Latents) -> Tensor | None:
        nonlocal steps_done
        steps_done += 1
        if on_progress is not None:
            on_progress("denoise", steps_done, steps_in_all)
        if on_step_end is None:
            return None
        return _returned_latents(on_step_end(index, timestep, {"latents": latents, "frames": batch.span}))

    mouths = MouthGenerator(networks, cache, settings, watch, generator)
    for batch in watch.timed("read and crop", read_batches(networks, cache, pair, options, batches)):
        num_frames = len(settings) * len(batch.frames)
        with memory_shortage_explained(f"{num_frames} frames of {options.video.size_px} px in {options.runtime.dtype}"):
            faces = mouths(batch, on_step)
        yield from watch.timed("composite", composited(pair, batch, faces, options))
    for frame in watch.timed("read and crop", media.read_frames_in_order(pair.video_path, pair.rest, pair.rate_hz)):
        yield (GeneratedFrame(frame, frame, None, None, None, None),) * len(settings)


def _returned_latents(returned: object) -> Tensor | None:
    """The latents in what a callback returned.

    Raises:
        OptionError: it returned neither None nor a dict.
    """
    if returned is not None and not isinstance(returned, Mapping):
        raise OptionError(
            f'the callback returned {type(returned).__name__}; return None, or a dict such as {{"latents": latents}}'
        )
    return None if returned is None else returned.get("latents")


def composited(
    pair: PreparedPair, batch: WindowBatch, faces: Sequence[Pixels], options: Options
) -> Iterator[tuple[GeneratedFrame, ...]]:
    """The frames of a batch with the generated faces of each setting; a frame without a face stays as it is."""
    warping, references = warping_of(options), batch.references.crops
    for i, (frame, matrix) in enumerate(zip(batch.frames, batch.matrices, strict=True)):
        has_face = bool(pair.faces.has_face[pair.order[batch.span[0] + i]])
        reference = None if references is None else references[i]
        results = []
        for crops in faces:
            face = crops[i] if has_face else None
            result = frame if face is None else restore(frame, face, matrix, warping)
            results.append(GeneratedFrame(frame, result, batch.crops[i], reference, face, matrix))
        yield tuple(results)
