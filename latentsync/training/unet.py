"""Trains the UNet, which predicts the mouth's latents from noise, the masked face, the reference face and the sound.

Stage 1 learns to denoise. Stage 2 also decodes the estimated clean latents and compares the picture with the true one,
with its motion, and with the sound (arXiv 2412.09262, section 3.2). These networks are frozen: the VAE, Whisper (its
states come with the data), and the SyncNet that judges in stage 2.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss
from torch.utils.checkpoint import checkpoint
from torch.utils.data import Dataset

from latentsync.audio.whisper import WhisperStates
from latentsync.checkpoints.model import load_folder, save_network
from latentsync.constants import LATENT_PX
from latentsync.device import resolve_device
from latentsync.faces.masks import crops_to_pixels, mask_to_latents, masked_images, mouth_mask, pixels_to_crops
from latentsync.generation.denoise import Condition, denoise
from latentsync.generation.latents import decode, encode, frames_at_once, latent_shape, unscaled
from latentsync.generation.references import GAP_FRAMES
from latentsync.metrics.perceptual import lpips_network
from latentsync.shapes import Latents, Pixels
from latentsync.training.clips import AlignedClip, find_clips, split
from latentsync.training.features import LatentFiles, cache_states, read_windows
from latentsync.training.losses import (
    clean_latents,
    drawn_timesteps,
    mixed_noise,
    perceptual_distance,
    target_of,
    temporal_difference,
    weighted_mse,
)
from latentsync.training.settings import read_settings
from latentsync.training.syncnet import SyncJudge, load_judge
from latentsync.training.unet_settings import TRAINED, UNetSettings
from latentsync.training.windows import WindowSet, reference_starts
from latentsync.unet.model import UNet3DConditionModel

LEAST_ERROR = 4e-10  # mean squared, of faces in -1..1: 100 dB, also if a copied reference is the true frame
VIDEO_FRAMES = 50  # of a sample video, in whole windows; 2 s


class UNetTask:
    """A UNet in training; see `task.Task`.

    Args:
        unet: training starts from its present weights.
        vae: frozen.
        scheduler: defines the noise and the target of the prediction.
        judge: of sync in stage 2; without one that loss is left out.
        excerpt: consecutive windows of one clip as a batch, for sample videos.
    """

    def __init__(
        self,
        unet: UNet3DConditionModel,
        vae: AutoencoderKL,
        scheduler: DDIMScheduler,
        settings: UNetSettings,
        judge: SyncJudge | None = None,
        excerpt: dict[str, Tensor] | None = None,
    ) -> None:
        self.unet, self.vae = unet.train(), vae.eval().requires_grad_(False)
        self.scheduler, self.settings = scheduler, settings
        trained = TRAINED[settings.trained if settings.stage == 2 else "all"]
        for name, parameter in unet.named_parameters():
            parameter.requires_grad_(any(part in name for part in trained))
        self.lpips = lpips_network(net=settings.lpips_net) if settings.stage == 2 else None
        self.judge, self.excerpt = judge, excerpt

    def networks(self) -> dict[str, nn.Module]:
        return {"unet": self.unet}

    def to(self, device: torch.device) -> None:
        self.vae.to(device)
        if self.lpips is not None:
            self.lpips = lpips_network(str(device), self.settings.lpips_net)
        if self.judge is not None:
            self.judge.to(device)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        settings, device = self.settings, self.unet.device
        latents = self.latents(batch, "frames", generator)
        condition = self.condition(batch, generator)
        noise = mixed_noise(latents.shape, settings.noise_alpha, generator).to(device)
        steps = self.scheduler.config.num_train_timesteps
        timesteps = drawn_timesteps(steps, len(latents), settings.timestep_bias, generator).to(device)
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        has_sound = (torch.rand(len(latents), generator=generator) >= settings.audio_dropout).to(device)
        prediction = self.predict(noisy, timesteps, condition, condition.audio * has_sound[:, None, None, None])
        target = target_of(self.scheduler, latents, noise, timesteps)
        parts = {
            "denoising": weighted_mse(
                prediction.float(), target, condition.mask, settings.hole_weight, settings.mouth_weight
            )
        }
        total = parts["denoising"]
        if settings.stage == 2:
            clean = clean_latents(self.scheduler, noisy, prediction.float(), timesteps)
            seen, faces = self.windows_in_pixels(timesteps), crops_to_pixels(batch["frames"]).to(device)
            mel = None if self.judge is None else batch["mel"].to(device)[seen]
            more = self.pixel_losses(clean[seen], faces[seen], mel, has_sound[seen])
            total = total + sum(getattr(settings, f"{name}_weight") * value for name, value in more.items())
            parts |= more
        return total, parts

    def windows_in_pixels(self, timesteps: Tensor) -> Tensor:
        """Which windows of a batch the losses in pixels use: the first ones that are not too noisy."""
        settings = self.settings
        return torch.nonzero(timesteps < settings.pixel_timesteps_below)[:, 0][: settings.pixel_windows or None]

    def pixel_losses(self, clean: Latents, faces: Pixels, mel: Tensor | None, has_sound: Tensor) -> dict[str, Tensor]:
        """LPIPS and motion of the decoded faces, the error in the hole, and sync; motion is that of the lower half.

        The loss of sync uses the windows that were generated with their sound. A loss without any window is 0.
        """
        names = ["lpips", "pixel", "temporal", *([] if self.judge is None else ["sync"])]
        losses = dict.fromkeys(names, clean.new_zeros(()))
        if not len(clean):
            return losses
        decoded = self.decoded(clean)
        hole, lower = self.hole(faces), slice(faces.shape[-1] // 2, None)
        losses["lpips"] = self.perceptual(decoded, faces)
        losses["pixel"] = l1_loss(decoded[..., hole], faces[..., hole])
        losses["temporal"] = temporal_difference(decoded[..., lower, :], faces[..., lower, :])
        if self.judge is not None and has_sound.any():
            losses["sync"] = self.judge.loss(decoded[has_sound], mel[has_sound])
        return losses

    def hole(self, faces: Pixels) -> Tensor:
        """Where the mask's hole is in faces: (r, r), boolean, on their device."""
        return mouth_mask(self.settings.mask, faces.shape[-1]).to(faces.device)[0] < 0.5

    def perceptual(self, some: Pixels, others: Pixels) -> Tensor:
        """Mean LPIPS of two lots of faces (b, f, 3, r, r), in the rows of `settings.lpips_rows`."""
        lower = self.settings.lpips_rows == "lower"
        top = some.shape[-1] // 2 if lower else int(self.hole(some).any(1).int().argmax())
        flat = [rearrange(part[..., top:, :], "b f c h w -> (b f) c h w") for part in (some, others)]
        return perceptual_distance(self.lpips, *flat).mean()

    def decoded(self, clean: Latents) -> Pixels:
        """Faces (b, f, 3, r, r) from scaled latents, with gradients.

        If the UNet uses gradient checkpointing, the decoder does so too, a few frames at a time.
        """
        latents = unscaled(self.vae, rearrange(clean, "b c f h w -> (b f) c h w"))
        if self.unet.is_gradient_checkpointing:
            parts = latents.split(frames_at_once(latents.shape[-1] * LATENT_PX))
            faces = torch.cat([checkpoint(self._decode, part, use_reentrant=False) for part in parts])
        else:
            faces = self._decode(latents)
        return rearrange(faces, "(b f) c h w -> b f c h w", b=len(clean))

    def _decode(self, latents: Tensor) -> Tensor:
        return self.vae.decode(latents).sample.float()

    @torch.no_grad()
    def encode(self, faces: Pixels, generator: torch.Generator) -> Latents:
        """Scaled samples of the VAE's posterior, (b, c, f, h, w)."""
        flat = rearrange(faces, "b f c h w -> (b f) c h w")
        noise = torch.randn((len(flat), *latent_shape(self.vae, flat.shape[-1])), generator=generator)
        return rearrange(encode(self.vae, flat, noise).float(), "(b f) c h w -> b c f h w", b=len(faces))

    def latents(self, batch: dict[str, Tensor], part: str, generator: torch.Generator) -> Latents:
        """Scaled samples of the posterior of a batch's "frames", "masked" frames or "reference".

        If the batch has posteriors (`features.LatentFiles`), they are sampled. Else the faces are encoded.
        """
        stored = batch.get("latents" if part == "frames" else f"{part}_latents")
        if stored is None:
            return self.encode(self.seen(batch, part), generator)
        mean, deviation = rearrange(stored.to(self.unet.device), "b f (k c) h w -> k b c f h w", k=2)
        return mean + deviation * torch.randn(mean.shape, generator=generator).to(mean)

    def seen(self, batch: dict[str, Tensor], part: str) -> Pixels:
        """The faces for a part of the network's input, before encoding, (b, f, 3, r, r) on the device."""
        faces = crops_to_pixels(batch["reference" if part == "reference" else "frames"]).to(self.unet.device)
        if part != "masked":
            return faces
        return masked_images(faces, mouth_mask(self.settings.mask, faces.shape[-1]).to(faces.device))

    def condition(self, batch: dict[str, Tensor], generator: torch.Generator) -> Condition:
        """Mask, masked and reference latents and sound of a batch, on the device."""
        masked, reference = (self.latents(batch, part, generator) for part in ("masked", "reference"))
        side = masked.shape[-1] * LATENT_PX
        mask = mouth_mask(self.settings.mask, side)  # not mirrored with the faces, as at inference
        latent_mask = mask_to_latents(mask).to(masked)
        return Condition(
            mask=repeat(latent_mask, "c h w -> b c f h w", b=masked.shape[0], f=masked.shape[2]),
            masked=masked,
            reference=reference,
            audio=batch["audio"].to(masked.device),
        )

    def predict(self, noisy: Latents, timesteps: Tensor, condition: Condition, audio: Tensor) -> Latents:
        sample = torch.cat([noisy, condition.mask, condition.masked, condition.reference], dim=1)
        return self.unet(sample, timesteps, audio).sample

    def validate(self, batches: Iterable[dict[str, Tensor]], generator: torch.Generator) -> dict[str, float]:
        """How near generated windows come to the true ones, beside two baselines; references lie elsewhere.

        PSNR in the mask's hole in dB (8 bits), and in stage 2 LPIPS in the rows of its loss. The baselines are the
        VAE's round trip (`vae_...`) and the copied reference (`reference_...`).
        """
        values: dict[str, list[float]] = {}
        for batch in batches:
            generated, round_trip, faces = self.generate(batch, generator)
            hole = self.hole(faces)
            for name, rows in (("", generated), ("vae_", round_trip), ("reference_", self.seen(batch, "reference"))):
                error = mse_loss(rows[..., hole], faces[..., hole]).clamp_min(LEAST_ERROR)
                values.setdefault(f"{name}hole_psnr_db", []).append(float(-10 * torch.log10(error / 4)))
                if self.lpips is not None:
                    values.setdefault(f"{name}lpips", []).append(float(self.perceptual(rows, faces)))
        return {name: float(np.mean(ones)) for name, ones in values.items()}

    @torch.no_grad()
    def generate(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Pixels, Pixels, Pixels]:
        """Generated windows (see `sampled`), the VAE's round trip of the true ones, and the true ones.

        Each is (b, f, 3, r, r) in -1..1.
        """
        condition, device = self.condition(batch, generator), self.unet.device
        faces = crops_to_pixels(batch["frames"]).to(device)
        true = self.encode(faces, generator)
        latents = self.sampled(shared_noise(true, generator), condition)
        decoded = [decode(self.vae, rearrange(part.float(), "b c f h w -> (b f) c h w")) for part in (latents, true)]
        shaped = (rearrange(part.clamp(-1, 1), "(b f) c h w -> b f c h w", b=len(faces)) for part in decoded)
        return *(part.to(device) for part in shaped), faces

    def sampled(self, noise: Latents, condition: Condition) -> Latents:
        """The latents that the network makes of noise, without guidance."""
        return denoise(self.unet, self.scheduler, noise, condition, 1.0, self.settings.validation_steps)

    def pictures(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, np.ndarray]:
        """True frames of the first window above the generated ones."""
        first = {name: value[:1] for name, value in batch.items()}
        generated, _, faces = self.generate(first, generator)
        rows = pixels_to_crops(torch.cat([faces, generated]).cpu())
        return {"true_and_generated": rearrange(rows, "r f c h w -> (r h) (f w) c").numpy()}

    def videos(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, np.ndarray]:
        """True frames above generated ones, of the excerpt or, without one, of a batch's windows."""
        windows, state, parts = batch if self.excerpt is None else self.excerpt, generator.get_state(), []
        for i in range(len(windows["frames"])):
            window = {name: value[i : i + 1] for name, value in windows.items()}
            generated, _, faces = self.generate(window, torch.Generator().set_state(state))  # the same noise for all
            parts.append(pixels_to_crops(torch.cat([faces, generated]).cpu()))
        return {"true_and_generated": rearrange(torch.cat(parts, dim=1), "r f c h w -> f (r h) w c").numpy()}

    def export(self, folder: Path) -> None:
        """Writes `unet/` in the layout of a model folder."""
        save_network(self.unet, folder / "unet")


def shared_noise(like: Latents, generator: torch.Generator) -> Latents:
    """Unit noise that all frames of a window share, as at inference; of the shape and on the device of `like`."""
    shape = (*like.shape[:2], 1, *like.shape[3:])
    return torch.randn(shape, generator=generator).to(like).expand_as(like)


def read_excerpt(clips: Sequence[AlignedClip], num_frames: int, whisper: WhisperStates) -> dict[str, Tensor]:
    """A batch of consecutive windows: up to 2 s from the middle of the first clip that is long enough, or the longest.

    Args:
        clips: each at least as long as a window.
    """
    wanted = max(num_frames, VIDEO_FRAMES)
    clip = max(clips, key=lambda clip: min(clip.num_frames, wanted))
    count = min(clip.num_frames, wanted) // num_frames
    first = (clip.num_frames - count * num_frames) // 2
    starts = range(first, first + count * num_frames, num_frames)
    references = [reference_starts(start, num_frames, clip.num_frames, GAP_FRAMES)[0] for start in starts]
    states = cache_states([clip], whisper)
    return {
        "frames": torch.stack([clip.frames(start, start + num_frames) for start in starts]),
        "reference": torch.stack([clip.frames(start, start + num_frames) for start in references]),
        "audio": torch.stack([read_windows(clip, states, start, start + num_frames) for start in starts]),
    }


def make(
    settings: dict[str, Any], data_dir: Path, model_dir: str | Path, seed: int
) -> tuple[UNetTask, Dataset, Dataset]:
    """The task and its training and validation sets.

    Args:
        settings: fields of `UNetSettings`.
        data_dir: aligned clips, as `latentsync prepare` writes them.
        model_dir: the model whose VAE, Whisper, schedule and UNet are used. Training starts from its weights, if any.

    Raises:
        OptionError, WeightsError, MediaError: a setting, the model or the data cannot be used.
    """
    options, parts = read_settings(UNetSettings, settings), load_folder(model_dir)
    judge = load_judge(model_dir, options.num_frames) if options.stage == 2 and options.sync_weight else None
    task = UNetTask(parts["unet"], parts["vae"], parts["scheduler"], options, judge)
    sets = window_sets(
        task, parts["audio"].whisper, data_dir, seed, has_pixels=options.stage == 2, has_mel=judge is not None
    )
    return task, *sets


def window_sets(
    task: UNetTask, whisper: WhisperStates, data_dir: Path, seed: int, has_pixels: bool, has_mel: bool = False
) -> tuple[WindowSet, WindowSet]:
    """The windows for training and for validation; the task gets its excerpt for sample videos.

    Args:
        has_pixels: whether losses need the frames themselves, beside stored latents.
        has_mel: whether a loss needs the sound's mel spectrogram.

    Raises:
        MediaError: the folder has no clips that can be used.
    """
    options = task.settings
    train, held_out = split(find_clips(data_dir), options.held_out_share, seed)
    common = {"num_frames": options.num_frames, "whisper": whisper, "seed": seed}
    augmented = {"flip": options.flip, "colour_jitter": options.colour_jitter}
    latents = None
    if options.latent_copies:
        latents = LatentFiles(
            task.vae.to(resolve_device()), options.mask, options.latent_copies, seed=seed, **augmented
        )
    needed = {"frames": latents is None or has_pixels, "reference": latents is None, "mel": has_mel}
    wanted = tuple(name for name, is_needed in needed.items() if is_needed)
    train_set = WindowSet(train, wanted=wanted, latents=latents, **augmented, **common)
    validation_set = WindowSet(held_out, wanted=("frames", "reference"), **common)
    task.excerpt = read_excerpt(validation_set.clips, options.num_frames, whisper)
    return train_set, validation_set
