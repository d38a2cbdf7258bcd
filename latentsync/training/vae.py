"""Training the autoencoder: aligned faces to latents and back. Knows no UNet, no sound.

The loss of a batch of faces x with posterior N(m, s^2), decoded sample y:

    mean |x - y|  +  lpips_weight * LPIPS(x, y)  +  kl_weight * KL(N(m, s^2) || N(0, 1))

as latent diffusion's autoencoder is trained (Rombach et al. 2022, appendix G), without its discriminator. The factor
that scales latents to unit variance is kept with the weights, as a running mean of their deviation.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from einops import rearrange
from torch import Tensor, nn
from torch.utils.data import Dataset

from latentsync.errors import OptionError
from latentsync.masks import crops_to_pixels, pixels_to_crops
from latentsync.metrics.perceptual import lpips_network
from latentsync.model_files import load_folder, save_network
from latentsync.shapes import Pixels
from latentsync.training.clips import find_clips, split
from latentsync.training.losses import perceptual_distance
from latentsync.training.settings import read_settings
from latentsync.training.windows import WindowSet

DEVIATION_MOMENTUM = 0.99  # of the running mean, over steps
PICTURE_FACES = 8


@dataclass(frozen=True)
class VaeSettings:
    """What is particular to training an autoencoder.

    Attributes:
        kl_weight: of the divergence per latent number; small, so that latents carry detail.
        lpips_weight: of LPIPS (AlexNet).
        train_encoder: False trains the decoder alone: latents stay what they are, and so does the use of a UNet that
            was trained on them.
        held_out_share: of the identities, for validation.
        flip, colour_jitter: augmentation, see `windows.WindowSet`.
    """

    kl_weight: float = 1e-6
    lpips_weight: float = 0.1
    train_encoder: bool = True
    held_out_share: float = 0.1
    flip: bool = True
    colour_jitter: float = 0.2

    def __post_init__(self) -> None:
        for name in ("kl_weight", "lpips_weight"):
            if getattr(self, name) < 0:
                raise OptionError(f"task.{name} is {getattr(self, name)}; it must be at least 0 (0 is off)")


class LatentDeviation(nn.Module):
    """The running standard deviation of the latents, kept like a weight; latents are divided by it for the UNet."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.ones(()))

    @torch.no_grad()
    def update(self, latents: Tensor) -> None:
        self.value.lerp_(latents.detach().float().std(), 1 - DEVIATION_MOMENTUM)


class VaeTask:
    """An autoencoder in training; see `loop.Task`.

    Args:
        vae: its weights are trained from where they are.
    """

    def __init__(self, vae: AutoencoderKL, settings: VaeSettings) -> None:
        self.vae, self.settings = vae.train().requires_grad_(True), settings
        self.deviation = LatentDeviation()
        if not settings.train_encoder:
            for part in (vae.encoder, vae.quant_conv):
                part.requires_grad_(False)
            self.deviation.value.fill_(1 / vae.config.scaling_factor)
        self.lpips = lpips_network()

    def networks(self) -> dict[str, nn.Module]:
        return {"vae": self.vae, "deviation": self.deviation}

    def to(self, device: torch.device) -> None:
        self.lpips = lpips_network(str(device))

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        faces = _faces(batch).to(self.vae.device)
        posterior = self.vae.encode(faces).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
        decoded = self.vae.decode(posterior.mean + posterior.std * noise).sample
        if self.settings.train_encoder:
            self.deviation.update(posterior.mean)
        parts = {"l1": (decoded - faces).abs().mean(), "kl": posterior.kl().mean() / posterior.mean[0].numel()}
        total = parts["l1"] + self.settings.kl_weight * parts["kl"]
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
        """Faces above what becomes of them."""
        faces = _faces(batch)[:PICTURE_FACES].to(self.vae.device)
        rows = torch.stack([faces, self.round_trip(faces)])
        return {"faces_and_round_trip": rearrange(pixels_to_crops(rows.cpu()), "r n c h w -> (r h) (n w) c").numpy()}

    @torch.no_grad()
    def round_trip(self, faces: Pixels) -> Pixels:
        """Faces through the posterior's mean and back, clamped to -1..1."""
        return self.vae.decode(self.vae.encode(faces).latent_dist.mode()).sample.float().clamp(-1, 1)

    def export(self, folder: Path) -> None:
        """Writes `vae/` as a model folder has it, with the scaling factor that the data ask for."""
        self.vae.register_to_config(scaling_factor=round(1 / float(self.deviation.value), 5))
        save_network(self.vae, folder / "vae")


def _faces(batch: dict[str, Tensor]) -> Pixels:
    return crops_to_pixels(rearrange(batch["frames"], "b f c h w -> (b f) c h w"))


def make(
    settings: dict[str, Any], data_dir: Path, model_dir: str | Path, seed: int
) -> tuple[VaeTask, Dataset, Dataset]:
    """The task and its training and validation sets.

    Args:
        settings: fields of `VaeSettings`.
        data_dir: aligned clips, as `experiments.prepare` writes them.
        model_dir: whose VAE's architecture, and weights where it has some, training starts from.

    Raises:
        OptionError, WeightsError, MediaError: a setting, the model or the data is not fit.
    """
    told = read_settings(VaeSettings, settings)
    task = VaeTask(load_folder(model_dir)["vae"], told)
    train, held_out = split(find_clips(data_dir), told.held_out_share, seed)
    common = {"num_frames": 1, "seed": seed, "wanted": ("frames",)}
    train_set = WindowSet(train, flip=told.flip, colour_jitter=told.colour_jitter, **common)
    return task, train_set, WindowSet(held_out, **common)
