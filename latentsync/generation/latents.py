"""Pixels to latents and back, and the seeded noise. Knows no video and no schedule."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor

from latentsync.errors import OptionError
from latentsync.generation.portions import Portions
from latentsync.seeds import seeded_generator
from latentsync.shapes import Pixels

FrameLatents = Float[Tensor, "f c h w"]
LatentShape = tuple[int, int, int]  # channels, height, width of one frame's latents

NOISE = "noise"
VAE_MASKED = "vae sample of the masked image"
VAE_REFERENCE = "vae sample of the reference image"

PIXELS_AT_ONCE = 8 * 256 * 256  # of the VAE's input at once, so that its memory does not grow with windows and batches


# Random numbers


class OwnDraws:
    """The random numbers of one run, with a generator for each purpose.

    Numbers are drawn in float32 on the CPU, frame by frame in the order of the video. So a seed gives the same numbers
    on every device, in every precision, and for any grouping of frames into windows and of windows into batches.

    Attributes:
        noise: (1, c, 1, h, w): every frame of the video starts from this one, as in the original.
    """

    def __init__(self, seed: int, shape: LatentShape) -> None:
        self._shape = shape
        noise, self._masked, self._reference = (
            seeded_generator(seed, purpose, byteorder="little") for purpose in (NOISE, VAE_MASKED, VAE_REFERENCE)
        )
        self.noise = torch.randn(shape, generator=noise)[None, :, None]

    def for_vae(self, windows: int, frames_each: int) -> tuple[FrameLatents, FrameLatents]:
        """Noise of unit variance that samples the VAE's posteriors of the next windows' frames, (f, c, h, w) each.

        Returns:
            The noise for the masked images, and that for the reference images.
        """
        return tuple(self._frames(generator, windows * frames_each) for generator in (self._masked, self._reference))

    def _frames(self, generator: torch.Generator, count: int) -> FrameLatents:
        return torch.stack([torch.randn(self._shape, generator=generator) for _ in range(count)])


class ReferenceDraws:
    """The random numbers of one run as the original draws them: from one generator, on its device, in one precision.

    First comes the noise frame. Then come, for each window in the order of the video, the masked images and the
    reference images. The numbers depend on the device, the precision and the length of windows.

    Attributes:
        noise: (1, c, 1, h, w): every frame of the video starts from this one.
    """

    def __init__(self, generator: torch.Generator, shape: LatentShape, dtype: torch.dtype) -> None:
        self._generator, self._shape, self._dtype = generator, shape, dtype
        self.noise = self._draw(1, shape[0], 1, *shape[1:])

    def for_vae(self, windows: int, frames_each: int) -> tuple[FrameLatents, FrameLatents]:
        """The same as `OwnDraws.for_vae`, in the original's order."""
        pairs = [(self._draw(frames_each, *self._shape), self._draw(frames_each, *self._shape)) for _ in range(windows)]
        masked, reference = zip(*pairs, strict=True)
        return torch.cat(masked), torch.cat(reference)

    def _draw(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator, device=self._generator.device, dtype=self._dtype)


def draws(
    rng: str, seed: int, shape: LatentShape, device: torch.device, dtype: torch.dtype
) -> OwnDraws | ReferenceDraws:
    """The random numbers of one run: `rng` is "own" or "reference" (see `config.SamplerOptions`)."""
    if rng == "own":
        return OwnDraws(seed, shape)
    place = "cpu" if device.type == "mps" else device
    return ReferenceDraws(torch.Generator(place).manual_seed(seed), shape, dtype)


def drawn_by(generator: torch.Generator, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that name the random numbers of a generator: as the original draws them, with its first seed.

    Args:
        options: those that the user gave, by name.

    Raises:
        OptionError: it is no generator, or an option names other random numbers.
    """
    if not isinstance(generator, torch.Generator):
        raise OptionError(f"generator is {type(generator).__name__}; give one torch.Generator, since one video is made")
    for name, allowed in (("seed", (None,)), ("rng", (None, "reference"))):
        if options.get(name) not in allowed:
            raise OptionError(f"{name} is {options[name]!r} and a generator is given; give one of them")
    return {"rng": "reference", "seed": generator.initial_seed()}


# The VAE


def latent_shape(vae: AutoencoderKL, size_px: int) -> LatentShape:
    """The shape of one crop's latents."""
    side = size_px // 2 ** (len(vae.config.block_out_channels) - 1)
    return vae.config.latent_channels, side, side


@dataclass(frozen=True)
class Posterior:
    """The normal distribution that the VAE's encoder gives for aligned faces: mean and deviation, (f, c, h, w)."""

    mean: FrameLatents
    std: FrameLatents

    def halves(self) -> tuple["Posterior", "Posterior"]:
        """Those of the first and of the second half of the faces."""
        return tuple(Posterior(*parts) for parts in zip(self.mean.chunk(2), self.std.chunk(2), strict=True))


def posterior(vae: AutoencoderKL, pixels: Pixels, portions: Portions | None = None) -> Posterior:
    """The VAE's posterior of aligned faces, (f, 3, r, r) in -1..1, in its dtype.

    Args:
        portions: how many faces it takes at a time; None: as many as are fast, or fewer if the memory runs out.
    """

    def encoded(faces: Pixels) -> tuple[Tensor, Tensor]:
        of = vae.encode(faces.to(vae.device, vae.dtype)).latent_dist
        return of.mean, of.std

    return Posterior(*_in_parts(encoded, pixels, pixels.shape[-1], portions or Portions()))


def sample(vae: AutoencoderKL, of: Posterior, noise: FrameLatents) -> FrameLatents:
    """A sample of the posterior, (f, c, h, w), scaled to the UNet's range.

    Args:
        noise: (f, c, h, w) of unit variance; it decides which sample.
    """
    return scaled(vae, of.mean + of.std * noise.to(of.mean))


def encode(vae: AutoencoderKL, pixels: Pixels, noise: FrameLatents) -> FrameLatents:
    """Latents of aligned faces: a sample of the VAE's posterior, scaled to the UNet's range.

    Args:
        pixels: (f, 3, r, r) in -1..1.
        noise: (f, c, h, w) of unit variance; it decides which sample.

    Returns:
        (f, c, h, w) in the VAE's dtype.
    """
    return sample(vae, posterior(vae, pixels), noise)


def scaled(vae: AutoencoderKL, latents: FrameLatents) -> FrameLatents:
    """Latents in the UNet's range, from the VAE's own."""
    return (latents - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor


def unscaled(vae: AutoencoderKL, latents: FrameLatents) -> FrameLatents:
    """Latents in the VAE's own range, from the UNet's."""
    return latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)


def decode(vae: AutoencoderKL, latents: FrameLatents, portions: Portions | None = None) -> Pixels:
    """Aligned faces from latents, (f, 3, r, r) float32 on the CPU, about -1..1.

    Args:
        portions: see `posterior`.
    """
    own = unscaled(vae, latents.to(vae.device, vae.dtype))
    size_px = latents.shape[-1] * 2 ** (len(vae.config.block_out_channels) - 1)

    def decoded(part: Tensor) -> tuple[Tensor]:
        return (vae.decode(part).sample.float().cpu(),)

    return _in_parts(decoded, own, size_px, portions or Portions())[0]


@torch.no_grad()
def round_trip(vae: AutoencoderKL, pixels: Pixels) -> Pixels:
    """Aligned faces, (f, 3, r, r), after encoding to the mean of the VAE's posterior and decoding; as for `decode`."""
    return decode(vae, scaled(vae, posterior(vae, pixels).mean))


def _in_parts(
    call: Callable[[Tensor], tuple[Tensor, ...]], frames: Tensor, size_px: int, portions: Portions
) -> tuple[Tensor, ...]:
    """What a call of the VAE gives for all frames, made of as many at a time as the portions allow."""
    done: list[tuple[Tensor, ...]] = []
    start = 0
    while start < len(frames) or not done:

        def next_part(start: int = start) -> tuple[int, tuple[Tensor, ...]]:
            part = frames[start : start + min(portions.sizes.frames or len(frames), frames_at_once(size_px))]
            return start + len(part), call(part)

        start, made = portions.attempt(next_part, "VAE")
        done.append(made)
    return tuple(torch.cat(parts) for parts in zip(*done, strict=True))


def frames_at_once(size_px: int) -> int:
    """How many crops of this size the VAE takes at a time."""
    return max(1, PIXELS_AT_ONCE // size_px**2)
