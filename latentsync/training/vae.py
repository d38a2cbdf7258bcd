"""Trains the autoencoder: aligned faces to latents and back. Knows no UNet and no sound.

The loss of a batch of faces x with posterior N(m, s^2), decoded sample y:

    mean |x - y|  +  mse_weight * mean (x - y)^2  +  lpips_weight * LPIPS(x, y)  +  kl_weight * KL(N(m, s^2) || N(0, 1))

as in latent diffusion's autoencoder (Rombach et al. 2022, appendix G), but without a discriminator. Squared errors,
also of colours, are optional. The factor that scales latents to unit variance is stored with the weights, as a running
mean of their deviation.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torch.utils.data import Dataset

from latentsync.checkpoints.model import load_folder, save_network
from latentsync.constants import LATENT_PX
from latentsync.errors import OptionError
from latentsync.faces.masks import crops_to_pixels, pixels_to_crops
from latentsync.metrics.perceptual import lpips_network
from latentsync.shapes import Pixels
from latentsync.training.clips import find_clips, split
from latentsync.training.losses import perceptual_distance
from latentsync.training.pictures import MixedPictures
from latentsync.training.settings import read_settings
from latentsync.training.windows import WindowSet

DEVIATION_MOMENTUM = 0.99  # of the running mean, over steps
PICTURE_FACES = 8
LEAST_PATCH_PX = 64


@dataclass(frozen=True)
class VaeSettings:
    """The settings of training an autoencoder.

    Attributes:
        kl_weight: of the divergence per latent number; small, so that latents carry detail.
        mse_weight: of squared errors. With absolute errors alone, a small network may replace rare colours by common
            ones.
        lpips_weight: of LPIPS (AlexNet).
        colour_weight: of squared errors of the faces' mean colours in each block. A linear map of the latents, learnt
            at the same time, predicts these colours. Without this loss a small encoder may encode lightness alone, and
            then no gradient leads to colours.
        train_encoder: False trains the decoder alone. Then the latents do not change, so a UNet that was trained on
            them still fits.
        held_out_share: of the identities, for validation.
        flip, colour_jitter: augmentation, see `windows.WindowSet`.
        colour_turns: share of the pictures whose hues are rotated, see `turned_colours`.
        drawn_share: share of procedural pictures among the faces, see `pictures.MixedPictures`.
        camera_share: share of all pictures that go through a poor camera.
        patch_px: side of the patches that are cut from the pictures, a multiple of 8; 0 takes whole pictures. A step of
            small patches costs less, and an autoencoder is nearly the same for patches and for wholes.
    """

    kl_weight: float = 1e-6
    mse_weight: float = 0.0
    lpips_weight: float = 0.1
    colour_weight: float = 0.0
    train_encoder: bool = True
    held_out_share: float = 0.1
    flip: bool = True
    colour_jitter: float = 0.2
    colour_turns: float = 0.0
    drawn_share: float = 0.0
    camera_share: float = 0.0
    patch_px: int = 0

    def __post_init__(self) -> None:
        for name in ("kl_weight", "mse_weight", "lpips_weight", "colour_weight"):
            if getattr(self, name) < 0:
                raise OptionError(f"task.{name} is {getattr(self, name)}; it must be at least 0 (0 is off)")
        for name in ("colour_turns", "drawn_share", "camera_share"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise OptionError(f"task.{name} is {share}; it must be from 0 (off) to 1 (all pictures)")
        if self.patch_px and (self.patch_px < LEAST_PATCH_PX or self.patch_px % LATENT_PX):
            raise OptionError(
                f"task.patch_px is {self.patch_px}; it must be 0 (whole pictures) or a multiple of {LATENT_PX} "
                f"and at least {LEAST_PATCH_PX}"
            )


class LatentDeviation(nn.Module):
    """The running standard deviation of the latents, stored like a weight; latents are divided by it for the UNet."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.ones(()))

    @torch.no_grad()
    def update(self, latents: Tensor) -> None:
        self.value.lerp_(latents.detach().float().std(), 1 - DEVIATION_MOMENTUM)


class VaeTask:
    """An autoencoder in training; see `task.Task`.

    Args:
        vae: training starts from its present weights.
    """

    def __init__(self, vae: AutoencoderKL, settings: VaeSettings) -> None:
        self.vae, self.settings = vae.train().requires_grad_(True), settings
        self.deviation = LatentDeviation()
        if not settings.train_encoder:
            for part in (vae.encoder, vae.quant_conv):
                part.requires_grad_(False)
            self.deviation.value.fill_(1 / vae.config.scaling_factor)
        self.colours = nn.Conv2d(vae.config.latent_channels, 3, 1) if settings.colour_weight else None
        self.lpips = lpips_network()

    def networks(self) -> dict[str, nn.Module]:
        networks = {"vae": self.vae, "deviation": self.deviation}
        return networks if self.colours is None else networks | {"colours": self.colours}

    def to(self, device: torch.device) -> None:
        self.lpips = lpips_network(str(device))

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        faces = turned_colours(_faces(batch), self.settings.colour_turns, generator).to(self.vae.device)
        posterior = self.vae.encode(faces).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
        decoded = self.vae.decode(posterior.mean + posterior.std * noise).sample
        if self.settings.train_encoder:
            self.deviation.update(posterior.mean)
        parts = {"l1": (decoded - faces).abs().mean(), "kl": posterior.kl().mean() / posterior.mean[0].numel()}
        total = parts["l1"] + self.settings.kl_weight * parts["kl"]
        if self.settings.mse_weight:
            parts["mse"] = (decoded - faces).square().mean()
            total = total + self.settings.mse_weight * parts["mse"]
        if self.colours is not None:
            blocks = adaptive_avg_pool2d(faces, posterior.mean.shape[-2:])
            parts["colour"] = (self.colours(posterior.mean) - blocks).square().mean()
            total = total + self.settings.colour_weight * parts["colour"]
        if self.settings.lpips_weight:
            parts["lpips"] = perceptual_distance(self.lpips, faces, decoded).mean()
            total = total + self.settings.lpips_weight * parts["lpips"]
        return total, parts

    def validate(self, batches: Iterable[dict[str, Tensor]], generator: torch.Generator) -> dict[str, float]:
        """PSNR in dB over the range of 8 bits, and LPIPS, of the round trip through the posterior's mean."""
        psnr, lpips = [], []
        for batch in batches:
            faces = _faces(batch).to(self.vae.device)
            decoded = self.round_trip(faces)
            psnr.append(-10 * torch.log10(((decoded - faces) / 2).square().mean((1, 2, 3))).cpu())
            lpips.append(perceptual_distance(self.lpips, faces, decoded).cpu())
        return {"psnr_db": float(torch.cat(psnr).mean()), "lpips": float(torch.cat(lpips).mean())}

    def pictures(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, np.ndarray]:
        """Faces above their round trip."""
        faces = _faces(batch)[:PICTURE_FACES].to(self.vae.device)
        rows = torch.stack([faces, self.round_trip(faces)])
        return {"faces_and_round_trip": rearrange(pixels_to_crops(rows.cpu()), "r n c h w -> (r h) (n w) c").numpy()}

    @torch.no_grad()
    def round_trip(self, faces: Pixels) -> Pixels:
        """Faces through the posterior's mean and back, clamped to -1..1."""
        return self.vae.decode(self.vae.encode(faces).latent_dist.mode()).sample.float().clamp(-1, 1)

    def export(self, folder: Path) -> None:
        """Writes `vae/` in the layout of a model folder, with the scaling factor measured on the data."""
        self.vae.register_to_config(scaling_factor=round(1 / float(self.deviation.value), 5))
        save_network(self.vae, folder / "vae")


def turned_colours(pictures: Pixels, share: float, generator: torch.Generator) -> Pixels:
    """Changes the colours of a share of the pictures; lightness stays, and numbers are clamped to -1..1.

    Their hues are rotated about the axis of greys by any angle, and their saturation changes by up to a factor of 2.
    Skin, hair and walls have few different colours. An autoencoder that has seen all hues reproduces those of any face.
    """
    if not share:
        return pictures
    count = len(pictures)
    is_turned = torch.rand(count, generator=generator) < share
    angle = 2 * math.pi * torch.rand(count, generator=generator)
    strength = 4 ** torch.rand(count, generator=generator) / 2
    grey = torch.full((3, 3), 1 / 3)
    crossed = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5  # Rodrigues' formula about (1, 1, 1)
    colour = angle.cos()[:, None, None] * (torch.eye(3) - grey) + angle.sin()[:, None, None] * crossed
    matrix = torch.where(is_turned[:, None, None], grey + strength[:, None, None] * colour, torch.eye(3))
    return torch.einsum("nij,njhw->nihw", matrix.to(pictures), pictures).clamp(-1, 1)


def _faces(batch: dict[str, Tensor]) -> Pixels:
    return crops_to_pixels(rearrange(batch["frames"], "b f c h w -> (b f) c h w"))


def make(
    settings: dict[str, Any], data_dir: Path, model_dir: str | Path, seed: int
) -> tuple[VaeTask, Dataset, Dataset]:
    """The task and its training and validation sets.

    Args:
        settings: fields of `VaeSettings`.
        data_dir: aligned clips, as `latentsync prepare` writes them.
        model_dir: the model with the VAE's architecture. Training starts from its weights, if any.

    Raises:
        OptionError, WeightsError, MediaError: a setting, the model or the data cannot be used.
    """
    options = read_settings(VaeSettings, settings)
    with torch.random.fork_rng(devices=[]):  # fresh weights are the same for the same seed
        torch.manual_seed(seed)
        task = VaeTask(load_folder(model_dir)["vae"], options)
    train, held_out = split(find_clips(data_dir), options.held_out_share, seed)
    common = {"num_frames": 1, "seed": seed, "wanted": ("frames",)}
    train_set = WindowSet(train, flip=options.flip, colour_jitter=options.colour_jitter, **common)
    mixed = MixedPictures(train_set, options.drawn_share, options.camera_share, options.patch_px, seed)
    is_plain = not (options.drawn_share or options.camera_share or options.patch_px)
    return task, train_set if is_plain else mixed, WindowSet(held_out, **common)
