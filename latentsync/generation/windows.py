"""From a prepared pair to generated frames, by windows: the frames that are denoised together.

Windows of one length are denoised side by side, in a batch, for each of several settings. Only one batch is in memory.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import cv2
import numpy as np
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
from latentsync.generation.latents import OwnDraws, Posterior, ReferenceDraws, decode, draws, latent_shape, sample
from latentsync.generation.networks import LipsyncNetworks
from latentsync.generation.overlap import SharedFrames, Span, new_spans, window_batches
from latentsync.generation.references import References, references_of
from latentsync.generation.results import GeneratedFrame, PreparedPair, ProgressCallback, Stopwatch
from latentsync.generation.silence import RestingMouth
from latentsync.generation.solvers import num_steps
from latentsync.shapes import Affine, Crop, Crops, Frame, Latents, Pixels, Windows

# Called after each step as (index of the step, timestep, {"latents": (b, c, f, h, w), "frames": (start, stop)}). It may
# return {"latents": ...}; these latents then replace the given ones.
WindowCallback = Callable[[int, int, dict], dict | None]


@dataclass(frozen=True)
class WindowBatch:
    """Consecutive windows of one length with their new frames and crops, and their audio, in the video's order.

    Attributes:
        windows: (start, stop) of each.
        spans: the frames that are new in each; if windows share frames, the others come from the windows before.
        num_shared: how many of the last frames are shared with the next batch.
        frames: of the clip; new ones only, as `matrices`, `crops` and `references`.
        matrices: the affine of each frame.
        crops: the aligned faces.
        references: gives the crops that show the model the face.
        shown: the number of the clip's frame for each new frame.
        audio: one window of Whisper states for each frame of the windows.
        silence: how silent each frame of the windows is, see `silence.silent_shares`; all 0 without a detector.
        keys: of each span's posteriors, see `PairCache.posterior_keys`.
    """

    windows: list[Span]
    spans: list[Span]
    num_shared: int
    frames: list[Frame]
    matrices: list[Affine]
    crops: Crops
    references: References
    shown: list[int]
    audio: Windows
    silence: np.ndarray
    keys: list[str | None]

    @property
    def span(self) -> Span:
        """(start, stop) of all its windows."""
        return self.windows[0][0], self.windows[-1][1]


def read_batches(
    networks: LipsyncNetworks,
    cache: PairCache,
    pair: PreparedPair,
    options: Options,
    batches: Sequence[list[Span]],
) -> Iterator[WindowBatch]:
    """Reads and crops the frames of one batch of windows after the other, each frame once.

    Raises:
        MediaError: the clip cannot be read.
        OptionError: the clip is too short for references from elsewhere.
    """
    size_px, warping = options.video.size_px, warping_of(options)
    stream = media.read_frames_in_order(pair.video_path, pair.order, pair.rate_hz)
    order = references_of(pair, options)
    references = References(pair, order, options)
    start, shares = 0, silence_of(pair, options)
    for windows in batches:
        spans, stop = new_spans(windows, start), windows[-1][1]
        frames = list(islice(stream, stop - start))
        matrices = [pair.faces.matrices[i] for i in pair.order[start:stop]]
        crops = aligned_crops(frames, matrices, size_px, warping)
        references.move_to(start, stop, crops)
        keys = cache.posterior_keys(networks, pair, options, order, spans)
        if not cache.has_all(keys):
            references.read()
        num_shared = options.sampler.window_overlap if stop < len(pair.order) else 0
        shown, audio, silence = pair.order[start:stop], pair.windows(windows[0][0], stop), shares[windows[0][0] : stop]
        yield WindowBatch(windows, spans, num_shared, frames, matrices, crops, references, shown, audio, silence, keys)
        start = stop


def silence_of(pair: PreparedPair, options: Options) -> np.ndarray:
    """How silent each frame with a new mouth is, 0..1; all 0 if the model makes the mouth in silence, too.

    Raises:
        OptionError: the pair was prepared without looking for silence.
    """
    if options.video.silence == "model":
        return np.zeros(len(pair.order))
    if pair.silence is None:
        raise OptionError(
            f"silence is {options.video.silence}, but the pair was prepared with silence=model; prepare it again"
        )
    return pair.silence


class EncodedFrames(NamedTuple):
    """Consecutive frames as the network gets them, for each setting.

    Attributes:
        pixels: the aligned faces, (f, 3, r, r) in -1..1.
        masked, reference: latents of the masked and of the reference images, (settings, f, c, h, w).
        resting: latents of the references for a resting mouth; those of `reference` where none is made.
    """

    pixels: Pixels
    masked: Tensor
    reference: Tensor
    resting: Tensor

    def after(self, before: "EncodedFrames | None") -> "EncodedFrames":
        """These frames with those before them."""
        if before is None:
            return self
        latents = (torch.cat(parts, dim=1) for parts in zip(before[1:], self[1:], strict=True))
        return EncodedFrames(torch.cat([before.pixels, self.pixels]), *latents)

    def last(self, count: int) -> "EncodedFrames | None":
        """The last frames; None for no frame."""
        if not count:
            return None
        return EncodedFrames(self.pixels[-count:], *(part[:, -count:] for part in self[1:]))


class MouthGenerator:
    """Runs the networks: from a batch of windows to the faces with new mouths, for each setting.

    It draws the random numbers of each setting, and keeps the frames that a batch shares with the next, so batches must
    come in the video's order.

    Args:
        settings: resolved options that differ in seed and guidance_scale only.
        watch: measures the stages "encode", "denoise" and "decode".
        generator: draws all random numbers of the only setting, see `latents.ReferenceDraws`. None: the seed of each
            setting decides.
        resting: makes the mouth of silent frames rest. None: the model makes it of the sound.
    """

    def __init__(
        self,
        networks: LipsyncNetworks,
        cache: PairCache,
        settings: Sequence[Options],
        watch: Stopwatch,
        generator: torch.Generator | None = None,
        resting: RestingMouth | None = None,
    ) -> None:
        self._networks, self._cache, self._settings, self._watch = networks, cache, settings, watch
        self._place = {"device": networks.device, "dtype": networks.dtype}
        video = settings[0].video
        self._mask = mouth_mask(video.mask, video.size_px)
        shape = latent_shape(networks.vae, video.size_px)
        self._draws = [draws(one.sampler.rng, one.sampler.seed, shape, **self._place) for one in settings]
        if generator is not None:
            self._draws = [ReferenceDraws(generator, shape, networks.dtype)]
        self._before: EncodedFrames | None = None  # the frames that the next batch shares
        overlap = settings[0].sampler.window_overlap
        self._shared, self._shared_at_rest = (SharedFrames(overlap, len(settings)) for _ in range(2))
        self._resting = resting

    @torch.no_grad()
    def __call__(self, batch: WindowBatch, on_step: StepCallback | None = None) -> list[Pixels]:
        """The next finished faces for each setting, (f, 3, r, r) in -1..1. Kept pixels are those of the crop.

        The frames that the next batch shares come with that batch.

        Args:
            on_step: called after each denoising step.
        """
        with self._watch.stage("encode"):
            frames = self._encoded(batch).after(self._before)
        first, num_finished = batch.span[0], len(frames.pixels) - batch.num_shared
        with self._watch.stage("denoise"):
            latents = self._denoised(batch.windows, first, frames, batch.audio, self._shared, on_step)
        with self._watch.stage("decode"):
            finished = self._finished(batch, latents, num_finished)
            decoded = decode(self._networks.vae, rearrange(finished, "s f c h w -> (s f) c h w"))
        faces = rearrange(decoded, "(s f) c h w -> s f c h w", s=len(self._settings))
        silent = np.flatnonzero(batch.silence[:num_finished])
        if self._resting is not None and silent.size:
            shares = torch.from_numpy(batch.silence[silent]).float()[:, None, None, None]
            faces[:, silent] = torch.lerp(faces[:, silent], self._at_rest(batch, frames, silent, on_step), shares)
        self._before = frames.last(batch.num_shared)
        return [paste_kept(one, frames.pixels[:num_finished], self._mask) for one in faces]

    def _at_rest(
        self, batch: WindowBatch, frames: EncodedFrames, silent: np.ndarray, on_step: StepCallback | None
    ) -> Tensor:
        """Faces with a resting mouth, (settings, f, 3, r, r), before kept pixels are pasted.

        All frames of a window rest, so that speech beside silence moves nothing.

        Args:
            frames: of all windows.
            silent: places of the frames to make, among the frames of all windows.
        """
        first = batch.span[0]
        windows = [(start, stop) for start, stop in batch.windows if batch.silence[start - first : stop - first].any()]
        resting = frames._replace(reference=frames.resting)
        audio = self._resting.audio.expand(len(batch.audio), -1, -1)
        with self._watch.stage("denoise"):
            latents = self._denoised(windows, first, resting, audio, self._shared_at_rest, on_step)
        by_window = rearrange(latents, "(s b) c f h w -> s b f c h w", b=len(windows))
        last = [max(j for j, (start, stop) in enumerate(windows) if start <= first + i < stop) for i in silent]
        chosen = [by_window[:, j, first + i - windows[j][0]] for i, j in zip(silent, last, strict=True)]
        with self._watch.stage("decode"):
            decoded = decode(self._networks.vae, torch.stack(chosen, dim=1).flatten(0, 1))
        return rearrange(decoded, "(s f) c h w -> s f c h w", s=len(self._settings))

    def _encoded(self, batch: WindowBatch) -> EncodedFrames:
        """The batch's new frames."""
        pixels = crops_to_pixels(batch.crops)
        of_both = self._cache.posteriors(self._networks, pixels, batch.references, self._mask, batch.spans, batch.keys)
        lengths = [stop - start for start, stop in batch.spans]
        for_masked, for_reference = zip(*(_noise_for(one, lengths) for one in self._draws), strict=True)

        def sampled(of: Posterior, noises: Sequence[Tensor]) -> Tensor:
            return torch.stack([sample(self._networks.vae, of, noise) for noise in noises])

        masked, reference = sampled(of_both[0], for_masked), sampled(of_both[1], for_reference)
        if self._resting is None:
            return EncodedFrames(pixels, masked, reference, reference)
        resting = sampled(self._resting.posterior(batch.shown), for_reference)
        return EncodedFrames(pixels, masked, reference, resting)

    @staticmethod
    def _finished(batch: WindowBatch, latents: Latents, count: int) -> Tensor:
        """The first frames of the batch's windows, (settings, f, c, h, w); shared ones come from the later window."""
        windows = rearrange(latents, "(s b) c f h w -> b s f c h w", b=len(batch.windows))
        starts = [start for start, _ in batch.windows]
        ends = [*starts[1:], starts[0] + count]
        parts = [one[:, : end - start] for one, start, end in zip(windows, starts, ends, strict=True)]
        return torch.cat(parts, dim=1)

    def _denoised(
        self,
        windows: list[Span],
        first: int,
        frames: EncodedFrames,
        audio: Windows,
        shared: SharedFrames,
        on_step: StepCallback | None,
    ) -> Latents:
        """The latents of every window under every setting, ((settings windows), c, frames, h, w).

        Args:
            windows: of one length.
            first: the number of the first of the frames.
            frames, audio: contain those of the windows.
            shared: blends what these windows share.
        """
        num_settings, num_windows = len(self._settings), len(windows)
        frames_each = windows[0][1] - windows[0][0]
        size = num_settings * num_windows

        def by_window(values: Tensor) -> Tensor:  # (s, f, ...) -> ((s windows), frames of a window, ...)
            parts = [values[:, start - first : stop - first] for start, stop in windows]
            return torch.stack(parts, dim=1).flatten(0, 1)

        def latents_by_window(values: Tensor) -> Latents:
            return rearrange(by_window(values.to(**self._place)), "b f c h w -> b c f h w")

        mask = mask_to_latents(self._mask).to(**self._place)
        audio = audio.to(**self._place)
        condition = Condition(
            mask=repeat(mask, "c h w -> b c f h w", b=size, f=frames_each),
            masked=latents_by_window(frames.masked),
            reference=latents_by_window(frames.reference),
            audio=by_window(audio[None].expand(num_settings, *audio.shape)),
        )
        noises = [one.noise.to(**self._place) for one in self._draws]
        noise = torch.cat([one.expand(num_windows, -1, frames_each, -1, -1) for one in noises])
        shared.next_group(windows)
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
            blend=shared,
        )


def _noise_for(source: OwnDraws | ReferenceDraws, lengths: Sequence[int]) -> Iterator[Tensor]:
    """The noise of the next frames for the masked and for the reference images, drawn in parts of these lengths."""
    return map(torch.cat, zip(*(source.for_vae(1, length) for length in lengths), strict=True))


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
    sampler, steps_done = options.sampler, 0
    batches = window_batches(len(pair.order), sampler.num_frames, at_once, sampler.window_overlap)
    resting, shares = None, silence_of(pair, options)
    num_runs = len(batches)
    if options.video.silence == "rest" and shares.any():
        resting = RestingMouth(networks, pair, options)
        num_runs += sum(bool(shares[batch[0][0] : batch[-1][1]].any()) for batch in batches)
    steps_in_all = num_runs * num_steps(networks.scheduler, sampler.scheduler, sampler.num_inference_steps)

    def on_step(index: int, timestep: int, latents: Latents) -> Tensor | None:
        nonlocal steps_done
        steps_done += 1
        if on_progress is not None:
            on_progress("denoise", steps_done, steps_in_all)
        if on_step_end is None:
            return None
        return _returned_latents(on_step_end(index, timestep, {"latents": latents, "frames": batch.span}))

    mouths = MouthGenerator(networks, cache, settings, watch, generator, resting)
    waiting: deque[_FrameParts] = deque()
    for batch in watch.timed("read and crop", read_batches(networks, cache, pair, options, batches)):
        num_frames = len(settings) * len(batch.frames)
        with memory_shortage_explained(f"{num_frames} frames of {options.video.size_px} px in {options.runtime.dtype}"):
            faces = mouths(batch, on_step)
        waiting.extend(_parts_of(batch, pair, options))
        ready = [waiting.popleft() for _ in faces[0]]
        yield from watch.timed("composite", composited(ready, faces, options))
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


class _FrameParts(NamedTuple):
    """What a frame of the result is made of, beside the generated face; see `GeneratedFrame`.

    Attributes:
        own_share: how much of the clip's own mouth is shown, 0..1 (`silence="source"`).
    """

    source: Frame
    crop: Crop
    reference: Crop | None
    matrix: Affine
    has_face: bool
    own_share: float


def _parts_of(batch: WindowBatch, pair: PreparedPair, options: Options) -> Iterator[_FrameParts]:
    """The batch's new frames."""
    references, shares = batch.references.crops, batch.silence[-len(batch.frames) :]
    for i, (frame, matrix) in enumerate(zip(batch.frames, batch.matrices, strict=True)):
        reference, has_face = None if references is None else references[i], bool(pair.faces.has_face[batch.shown[i]])
        own_share = float(shares[i]) if options.video.silence == "source" else 0.0
        yield _FrameParts(frame, batch.crops[i], reference, matrix, has_face, own_share)


def composited(
    parts: Sequence[_FrameParts], faces: Sequence[Pixels], options: Options
) -> Iterator[tuple[GeneratedFrame, ...]]:
    """Frames with the generated faces of each setting. A frame without a face or with its own mouth stays as it is."""
    warping = warping_of(options)
    for i, part in enumerate(parts):
        results = []
        for crops in faces:
            face = crops[i] if part.has_face and part.own_share < 1 else None
            result = part.source if face is None else restore(part.source, face, part.matrix, warping)
            if face is not None and part.own_share:
                result = cv2.addWeighted(part.source, part.own_share, result, 1 - part.own_share, 0)
                face = torch.lerp(face, crops_to_pixels(part.crop), part.own_share)
            results.append(GeneratedFrame(part.source, result, part.crop, part.reference, face, part.matrix))
        yield tuple(results)
