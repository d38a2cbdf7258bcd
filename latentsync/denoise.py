"""The sampling loop: from noise to the latents of windows. Knows neither faces nor files."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler
from jaxtyping import Float
from torch import Tensor

from latentsync.shapes import Latents
from latentsync.unet import UNet3DConditionModel

# Called after each step with (index of the step, timestep, latents so far (b, c, f, h, w)).
StepCallback = Callable[[int, int, Tensor], None]


@dataclass(frozen=True)
class Condition:
    """What the UNet sees of windows beside the noisy latents, all in its dtype and on its device.

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

    def repeated(self, silent: Tensor) -> "Condition":
        """The batch twice: first with the audio that guidance leads away from, then as it is."""
        return Condition(
            *(torch.cat([part, part]) for part in (self.mask, self.masked, self.reference)),
            audio=torch.cat([silent, self.audio]),
        )


def is_guided(guidance_scale: float) -> bool:
    """Guidance acts above 1; at 1 and below only the conditional prediction is used, as in the original."""
    return guidance_scale > 1.0


@torch.no_grad()
def denoise(
    unet: UNet3DConditionModel,
    scheduler: DDIMScheduler,
    noise: Latents,
    condition: Condition,
    guidance_scale: float,
    num_inference_steps: int,
    on_step: StepCallback | None = None,
    deepcache_interval: int = 1,
) -> Latents:
    """DDIM (eta 0) with classifier-free guidance: eps = u + guidance_scale * (c - u), u without audio.

    Args:
        noise: (b, 4, f, h, w), unit variance. Windows side by side on the batch axis do not touch each other.
        scheduler: only its configuration is used; it is not changed.
        deepcache_interval: the whole network runs at every step of this many only; the steps between reuse its deep
            features (DeepCache, arXiv 2312.00858, branch 0). 1 is without; the original's `--enable_deepcache` is 3.

    Returns:
        (b, 4, f, h, w) in the dtype of the noise.
    """
    schedule = DDIMScheduler.from_config(scheduler.config)
    schedule.set_timesteps(num_inference_steps, device=noise.device)
    guided = is_guided(guidance_scale)
    if guided:
        condition = condition.repeated(torch.zeros_like(condition.audio))  # zero states, not those of silence
    latents, deep_features = noise * schedule.init_noise_sigma, None
    for index, timestep in enumerate(schedule.timesteps):
        noisy = schedule.scale_model_input(latents, timestep)
        noisy = torch.cat([noisy, noisy]) if guided else noisy
        sample = torch.cat([noisy, condition.mask, condition.masked, condition.reference], dim=1)
        output = unet(sample, timestep, condition.audio, deep_features if index % deepcache_interval else None)
        prediction, deep_features = output.sample, output.deep_features if deepcache_interval > 1 else None
        del output
        if guided:
            without, with_audio = prediction.chunk(2)
            prediction = without + guidance_scale * (with_audio - without)
        latents = schedule.step(prediction, timestep, latents, eta=0.0).prev_sample
        if on_step is not None:
            on_step(index, int(timestep), latents)
    return latents
