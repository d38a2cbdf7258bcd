"""The losses of a UNet in training. Arrays in, numbers out; knows no data set and no schedule of training.

The tasks define the weights. Sources: LatentSync (arXiv 2412.09262), section 3.2, and its published configurations.
"""

import lpips
import torch
from diffusers import DDIMScheduler
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import mse_loss

from latentsync.shapes import Latents, Pixels

Timesteps = Int[Tensor, " b"]
Faces = Float[Tensor, "b f 3 r r"]  # -1..1
# Where lips and chin are in an aligned face: top, bottom, left and right, as shares of its side
MOUTH = (0.5, 0.86, 0.27, 0.73)
COSINE_MARGIN = 1e-6  # distance of the cosine from 0 and 1, where the logarithm is infinite


def mixed_noise(shape: tuple[int, ...], alpha: float, generator: torch.Generator) -> Latents:
    """Unit noise that the frames of a window share in part: (b, c, f, h, w), on the CPU.

    Shared and own parts have variances a^2 / (1 + a^2) and 1 / (1 + a^2) (Ge et al. 2023, "Preserve your own
    correlation", section 4.1). With alpha 0 the frames are independent. At inference all frames share one noise.
    """
    batch, channels, _, height, width = shape
    shared = torch.randn((batch, channels, 1, height, width), generator=generator)
    own = torch.randn(shape, generator=generator)
    return (alpha * shared + own) / (1 + alpha**2) ** 0.5


def drawn_timesteps(steps: int, count: int, bias: float, generator: torch.Generator) -> Timesteps:
    """Random timesteps of a batch, 0 .. steps - 1, with a density proportional to t ** (bias - 1); 1 is uniform."""
    if bias == 1:
        return torch.randint(steps, (count,), generator=generator)
    return (steps * torch.rand(count, generator=generator) ** (1 / bias)).long().clamp(max=steps - 1)


def target_of(scheduler: DDIMScheduler, latents: Latents, noise: Latents, timesteps: Timesteps) -> Latents:
    """The target of the prediction as the schedule says: the noise, v (Salimans and Ho 2022), or the clean latents."""
    kind = scheduler.config.prediction_type
    if kind == "v_prediction":
        return scheduler.get_velocity(latents, noise, timesteps)
    return latents if kind == "sample" else noise


def clean_latents(scheduler: DDIMScheduler, noisy: Latents, prediction: Latents, timesteps: Timesteps) -> Latents:
    """The clean latents that follow from a prediction.

    From noise: (x - sqrt(1 - a) e) / sqrt(a); from v: sqrt(a) x - sqrt(1 - a) v, with a the schedule's alphas_cumprod;
    or they are predicted themselves.
    """
    kind = scheduler.config.prediction_type
    if kind == "sample":
        return prediction
    alpha = scheduler.alphas_cumprod.to(noisy)[timesteps].reshape(-1, 1, 1, 1, 1)
    if kind == "v_prediction":
        return alpha.sqrt() * noisy - (1 - alpha).sqrt() * prediction
    return (noisy - (1 - alpha).sqrt() * prediction) / alpha.sqrt()


def weighted_mse(
    prediction: Latents, target: Latents, mask: Latents, hole_weight: float, mouth_weight: float = 1.0
) -> Tensor:
    """Mean squared error. Numbers in the mask's hole (0) count hole_weight times; 1 is the plain mean.

    Those around the mouth count mouth_weight times as much again, see `MOUTH`.
    """
    weight = torch.where(mask > 0.5, 1.0, hole_weight)
    top, bottom, left, right = (round(share * target.shape[-1]) for share in MOUTH)
    weight[..., top:bottom, left:right] *= mouth_weight
    weight = weight.expand_as(target)
    return ((prediction - target).square() * weight).sum() / weight.sum()


def temporal_difference(generated: Faces, true: Faces) -> Tensor:
    """Mean squared error of the differences between neighbouring frames.

    It replaces the original's TREPA, which compares VideoMAE v2's features of the two videos. Those weights are not
    available, so this loss compares the motion in pixels.
    """
    return mse_loss(generated[:, 1:] - generated[:, :-1], true[:, 1:] - true[:, :-1])


def perceptual_distance(network: lpips.LPIPS, a: Pixels, b: Pixels) -> Float[Tensor, " n"]:
    """LPIPS of pairs of pictures in -1..1, always in float32, also inside autocast.

    In bfloat16 a distance of 0.0004 is wrong by up to 14 %, one of 0.04 by 0.9 % (seeded pictures of 128 px).
    """
    with torch.autocast(a.device.type, enabled=False):
        return network(a.float(), b.float()).flatten()


def sync_loss(vision: Float[Tensor, "b d"], speech: Float[Tensor, "b d"], in_sync: Float[Tensor, " b"]) -> Tensor:
    """Binary cross-entropy between the embeddings' cosine, in 0..1, and whether the two belong together.

    It is computed in float32. In bfloat16 the upper margin would be 1, and torch's own function refuses to run under
    CUDA's autocast.
    """
    cosine = (vision.float() * speech.float()).sum(1).clamp(COSINE_MARGIN, 1 - COSINE_MARGIN)
    return -torch.where(in_sync > 0.5, cosine, 1 - cosine).log().mean()
