"""Pixels <-> latents, and the seeded noise. Knows no frames of a video, no schedule.

Each purpose has a generator of its own, drawn from frame by frame in the order of the video, so the same seed gives the
same numbers however frames are grouped into windows and windows into batches. Numbers are drawn in float32 on the CPU,
so they do not depend on the device either.
"""

import hashlib

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor

from latentsync.shapes import Pixels

FrameLatents = Float[Tensor, "f c h w"]

NOISE = "noise"
VAE_MASKED = "vae sample of the masked image"
VAE_REFERENCE = "vae sample of the reference image"

FRAMES_AT_ONCE = 8  # that the VAE sees, so that its memory does not grow with windows and batches


def seeded_generator(seed: int, purpose: str) -> torch.Generator:
    """The generator of one purpose: its seed is a hash of the run's seed and the purpose."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def noise_frame(seed: int, shape: tuple[int, int, int]) -> Float[Tensor, "1 c 1 h w"]:
    """The one frame of noise that every frame of the video starts from, as in the original."""
    channels, height, width = shape
    return torch.randn((1, channels, 1, height, width), generator=seeded_generator(seed, NOISE))


def encode(vae: AutoencoderKL, pixels: Pixels, generator: torch.Generator) -> FrameLatents:
    """Latents of aligned faces: a sample of the VAE's posterior, scaled to the UNet's range.

    Args:
        pixels: (f, 3, r, r) in -1..1.
        generator: draws one (c, h, w) per frame, in order.

    Returns:
        (f, c, r/8, r/8) in the VAE's dtype.
    """
    parts = []
    for part in pixels.split(FRAMES_AT_ONCE):
        posterior = vae.encode(part.to(vae.device, vae.dtype)).latent_dist
        noise = torch.stack([torch.randn(posterior.mean.shape[1:], generator=generator) for _ in range(len(part))])
        parts.append(posterior.mean + posterior.std * noise.to(posterior.mean))
    return (torch.cat(parts) - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor


def decode(vae: AutoencoderKL, latents: FrameLatents) -> Pixels:
    """Aligned faces from latents, (f, 3, r, r) float32 on the CPU, about -1..1."""
    unscaled = latents.to(vae.device, vae.dtype) / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
    return torch.cat([vae.decode(part).sample.float().cpu() for part in unscaled.split(FRAMES_AT_ONCE)])
