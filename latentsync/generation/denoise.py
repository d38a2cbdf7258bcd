"""The sampling loop: from noise to the latents of windows. Knows neither faces nor files."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from diffusers import DDIMScheduler, SchedulerMixin
from jaxtyping import Float
from torch import Tensor

from latentsync.errors import OptionError
from latentsync.generation.deepcache import DeepCache
from latentsync.generation.guidance import Guidance, Guide, Plain, Step, guidance_scales, is_guided
from latentsync.generation.portions import PortionedUNet, Portions
from latentsync.generation.solvers import STUDENT, log_snr, solver_of
from latentsync.shapes import Latents
from latentsync.unet.model import UNet3DConditionModel

# Called after each step as (index of the step, timestep, latents (b, c, f, h, w)). It may return other latents.
StepCallback = Callable[[int, int, Tensor], Tensor | None]
# Called after each step as (index of the step, latents (b, c, f, h, w)); returns the latents to go on with.
Blend = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class Condition:
    """The UNet's inputs beside the noisy latents, all in its dtype and on its device.

    Attributes:
        mask: (b, 1, f, h, w): 1 keep, 0 generate.
        masked: (b, 4, f, h, w): latents of the masked images.
        reference: (b, 4, f, h, w): latents of the reference images.
        audio: (b, f, t, d): one window of Whisper states per frame.
    """

    mask: Latents
    masked: Latents
    reference: Latents
    audio: Float[Tensor, "b f t d"]

    @property
    def channels(self) -> Tensor:
        """The UNet's input beside the noisy latents, (b, 9, f, h, w)."""
        return torch.cat([self.mask, self.masked, self.reference], dim=1)


def num_passes(
    scheduler: SchedulerMixin,
    num_inference_steps: int,
    guidance_scale: float,
    *,
    solver: str | None = "ddim",
    guidance_schedule: str = "constant",
    guidance_interval: tuple[float, float] | None = None,
    guidance_every: int = 1,
) -> int:
    """How often `denoise` runs the network over each frame: once a step, and once more at every k-th guided step."""
    schedule = solver_of(scheduler, solver)
    schedule.set_timesteps(num_inference_steps)
    if solver == STUDENT:  # guidance is an input of its network
        return len(schedule.timesteps)
    scales = guidance_scales(guidance_scale, guidance_schedule, _noise_shares(schedule), guidance_interval)
    return len(scales) + math.ceil(sum(map(is_guided, scales)) / guidance_every)


def _noise_shares(schedule: SchedulerMixin) -> list[float]:
    return [(int(timestep) + 1) / schedule.config.num_train_timesteps for timestep in schedule.timesteps]


def _replaced(latents: Latents, changed: Tensor) -> Latents:
    """The latents that a callback returned, in the dtype and on the device of those that it was given.

    Raises:
        OptionError: they are no tensor of the same shape.
    """
    if not isinstance(changed, Tensor) or changed.shape != latents.shape:
        shape = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        raise OptionError(f"the callback returned latents of shape {shape}; return {tuple(latents.shape)}, as given")
    return changed.to(latents)


@torch.no_grad()
def denoise(
    unet: UNet3DConditionModel,
    scheduler: SchedulerMixin,
    noise: Latents,
    condition: Condition,
    guidance_scale: float | Sequence[float],
    num_inference_steps: int,
    on_step: StepCallback | None = None,
    deepcache_interval: int = 1,
    *,
    deepcache_order: int = 0,
    deepcache_final_steps: int = 0,
    solver: str | None = "ddim",
    guidance_schedule: str = "constant",
    guidance_interval: tuple[float, float] | None = None,
    guidance_mask: str = "uniform",
    guidance_every: int = 1,
    guidance: Callable[[], Guidance] = Plain,
    blend: Blend | None = None,
    portions: Portions | None = None,
) -> Latents:
    """Denoises windows with a deterministic solver and classifier-free guidance.

    Plain guidance makes the prediction u + guidance * (c - u), with u without audio and c with audio. A step whose
    guidance is at most 1 runs the network with audio only. The network of a student (`guidance_limit`) takes the
    guidance as an input and runs once a step.

    Args:
        scheduler: the model's; only its class and configuration are used, and it is not changed.
        noise: (b, 4, f, h, w), unit variance. The windows of a batch influence each other through `blend` only.
        guidance_scale: one for all windows, or one for each.
        num_inference_steps: steps of the solver.
        on_step: called after each step; latents that it returns are used from then on.
        deepcache_interval: the whole network runs at every n-th step only; the steps between reuse its deep features
            (DeepCache, arXiv 2312.00858, branch 0). 1 is off; the original's `--enable_deepcache` is 3. A guided step
            after an unguided one runs the whole network, too, because it has no features without audio.
        deepcache_order, deepcache_final_steps: see `DeepCache`.
        solver: see `solver_of`.
        guidance_schedule, guidance_interval: see `guidance_scales`.
        guidance_mask: "uniform" guides everywhere, "mouth" only where the condition's mask is 0.
        guidance_every: see `Guide`.
        guidance: makes the kind of guidance, see `latentsync.generation.guidance`.
        blend: joins windows after each step, before `on_step`; see `overlap.SharedFrames`.
        portions: how much the network takes at a time; None takes all windows, or less if the memory runs out.

    Returns:
        (b, 4, f, h, w) in the dtype of the noise.
    """
    schedule = solver_of(scheduler, solver)
    schedule.set_timesteps(num_inference_steps, device=noise.device)
    shares = _noise_shares(schedule)
    of_each = [guidance_scale] * len(noise) if isinstance(guidance_scale, float | int) else list(guidance_scale)
    by_scale = {g: guidance_scales(g, guidance_schedule, shares, guidance_interval) for g in set(of_each)}
    steps = [[float(by_scale[g][index]) for g in of_each] for index in range(len(shares))]
    is_student = getattr(unet, "guidance_limit", None) is not None
    guide = Guide(guidance(), steps, guidance_every, is_input=is_student)
    channels, states = condition.channels, condition.audio.flatten(0, 1)
    deepcache = DeepCache(len(steps), deepcache_interval, deepcache_order, deepcache_final_steps)
    network = PortionedUNet(unet, states, len(noise), portions or Portions(), deepcache.is_on)
    region = 1 - condition.mask if guidance_mask == "mouth" else None
    without_noise = {"eta": 0.0} if isinstance(schedule, DDIMScheduler) else {}
    latents = noise * schedule.init_noise_sigma
    for index, timestep in enumerate(schedule.timesteps):
        noisy = schedule.scale_model_input(latents, timestep)
        sample, both = torch.cat([noisy, channels], dim=1), guide.needs_both(index)
        place = log_snr(schedule, timestep) if deepcache.is_on else 0.0
        cached = deepcache.features(index, place, len(sample) * (1 + both))
        scales = guide.network_input(index, noise.device)
        prediction, deep_features = network(sample, timestep, both, cached, **scales)
        if cached is None and deep_features is not None:
            deepcache.keep(place, deep_features)
        prediction = guide(index, prediction, partial(Step.of, schedule, timestep, noisy, region))
        latents = schedule.step(prediction, timestep, latents, **without_noise).prev_sample
        if blend is not None:
            latents = blend(index, latents)
        if on_step is not None and (changed := on_step(index, int(timestep), latents)) is not None:
            latents = _replaced(latents, changed)
    return latents
