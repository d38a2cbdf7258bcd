"""Writes the folder of a model of twice the crop's side that begins with what a small one has learned."""

from pathlib import Path

import torch

from latentsync.checkpoints.model import load_folder
from latentsync.lab.training.assemble import base_folder, stored_part, write_untrained
from latentsync.training.growth import SIGNS, begin_as_copy, with_outer_level
from latentsync.training.latent_space import with_more_latents


def grow(
    model_dir: str | Path,
    output_dir: Path,
    latent_channels: int | None = None,
    predicts: str | None = None,
    name: str | None = None,
    seed: int = 1247,
) -> None:
    """Writes the model: its autoencoder and its UNet are grown, and everything else is the small model's.

    Args:
        model_dir: the small model: a shipped one by name, or a folder.
        output_dir: a new folder, or that of an earlier model, which is replaced.
        latent_channels: of the autoencoder; None: as many as the small model's has.
        predicts: what the UNet is trained to predict: "epsilon", "v_prediction" or "sample", the clean latents; None:
            as the small model does. The noise has as many numbers as the latents and has to pass through the new level
            if it is part of the prediction; a narrow network learns the clean latents faster (Li and He 2025, arXiv
            2511.13720).
        name: of the model; None: the small model's name and the new side in px.
        seed: of the new weights.

    Raises:
        WeightsError: there is no such model, or its weights are damaged.
        OptionError: the model cannot grow, or the folder is no place for it.
    """
    base = base_folder(model_dir, output_dir)
    small = load_folder(base)
    vae, unet, scheduler, settings = small["vae"], small["unet"], small["scheduler"], small["settings"]
    predicts = predicts or scheduler.config.prediction_type
    scheduler.register_to_config(prediction_type=predicts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if latent_channels is not None and latent_channels != vae.config.latent_channels:
            vae = with_more_latents(vae, latent_channels)
        unet = with_outer_level(unet, vae.config.latent_channels)
        if predicts in SIGNS:
            begin_as_copy(unet, predicts)
    size_px = 2 * settings.size_px
    vae.register_to_config(sample_size=size_px)
    parts = {"vae": stored_part(vae), "unet": stored_part(unet)}
    facts = {"name": name or f"{settings.name}-{size_px}", "size_px": size_px}
    write_untrained(base, output_dir, parts, facts, scheduler.to_json_string())
