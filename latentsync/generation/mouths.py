"""Runs the networks over a batch of windows: from crops and audio to faces with new mouths, for each setting."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor

from latentsync.config import Options
from latentsync.faces.composite import paste_kept
from latentsync.faces.masks import crops_to_pixels, mask_to_latents, mouth_mask
from latentsync.generation.batches import WindowBatch
from latentsync.generation.denoise import Condition, StepCallback, denoise
from latentsync.generation.guidance import guidance_of
from latentsync.generation.kept import PairCache
from latentsync.generation.latents import OwnDraws, Posterior, ReferenceDraws, decode, draws, latent_shape, sample
from latentsync.generation.networks import LipsyncNetworks
from latentsync.generation.overlap import SharedFrames, Span
from latentsync.generation.results import Stopwatch
from latentsync.generation.silence import RestingMouth
from latentsync.shapes import Latents, Pixels, Windows


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
        if generator is None:
            self._draws = [draws(one.sampler.rng, one.sampler.seed, shape, **self._place) for one in settings]
        else:
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
            decoded = self._decoded(rearrange(finished, "s f c h w -> (s f) c h w"))
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
            decoded = self._decoded(torch.stack(chosen, dim=1).flatten(0, 1))
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
            deepcache_order=sampler.deepcache_order,
            deepcache_final_steps=sampler.deepcache_final_steps,
            solver=sampler.scheduler,
            guidance_schedule=sampler.guidance_schedule,
            guidance_interval=sampler.guidance_interval,
            guidance_mask=sampler.guidance_mask,
            guidance_every=sampler.guidance_every,
            guidance=guidance_of(sampler),
            blend=shared,
            portions=self._networks.portions,
        )

    def _decoded(self, latents: Tensor) -> Pixels:
        return decode(self._networks.vae, latents, self._networks.portions)


def _noise_for(source: OwnDraws | ReferenceDraws, lengths: Sequence[int]) -> Iterator[Tensor]:
    """The noise of the next frames for the masked and for the reference images, drawn in parts of these lengths."""
    return map(torch.cat, zip(*(source.for_vae(1, length) for length in lengths), strict=True))
