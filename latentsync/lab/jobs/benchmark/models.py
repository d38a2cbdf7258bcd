"""The models of a benchmark: stored ones, and published ones in full size with seeded random weights."""

from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from torch import nn

from latentsync.audio.features import Audio2Feature
from latentsync.audio.whisper import WhisperStates
from latentsync.checkpoints.model import LATENTSYNC_SCHEDULER, PUBLISHED_NUM_FRAMES, SD_VAE, ModelSettings
from latentsync.checkpoints.unet import read_unet_config
from latentsync.generation.networks import LipsyncNetworks
from latentsync.lab.options import CONF_DIR
from latentsync.pipeline import LipsyncPipeline
from latentsync.unet.blocks import PositionalEncoding
from latentsync.unet.model import UNet3DConditionModel, published_config
from latentsync.weights.catalogue import CATALOGUE, published_unet

BIAS_STD = 0.02  # of random biases and of a norm's weights around 1
WHISPERS = {384: (6, 4), 768: (12, 12)}  # heads and layers by width: tiny and small


def networks_of(model: str, device: torch.device, seed: int) -> LipsyncNetworks:
    """A model in float32, whose weights are numbers of bfloat16, so that all variants compute with equal ones.

    A published one has random weights: its speed does not depend on them, and no download is needed. A stored one is a
    whole `LipsyncPipeline`.

    Raises:
        WeightsError: a stored model cannot be read.
    """
    name = published_unet(model)
    networks = LipsyncPipeline.from_pretrained(model, "cpu", "float32") if name is None else _seeded(name, seed)
    return networks.to(device, torch.bfloat16).to(torch.float32)


def _seeded(name: str, seed: int) -> LipsyncNetworks:
    weight = CATALOGUE[name]
    config = published_config(read_unet_config(CONF_DIR / "unet" / f"{weight.unet_config}.yaml")["model"])
    unet = filled(lambda: UNet3DConditionModel(**config), seed)
    vae = filled(lambda: AutoencoderKL.from_config(SD_VAE), seed + 1)
    width = unet.config.cross_attention_dim
    audio = Audio2Feature(WhisperStates.from_dims(width, *WHISPERS[width]))
    settings = ModelSettings(Path(name).parent.name, num_frames=PUBLISHED_NUM_FRAMES, trained=False)
    if weight.size_px is not None:
        settings = replace(settings, size_px=weight.size_px)
    return LipsyncNetworks(vae, unet, DDIMScheduler.from_config(LATENTSYNC_SCHEDULER), audio, settings)


def filled(build, seed: int) -> nn.Module:
    """A network with seeded random weights that keep activations in range; each tensor is written once.

    Args:
        build: makes the network, on whatever device is current.
    """
    with torch.device("meta"):
        network = build()
    network = network.to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
        else:
            is_gain = "norm" in name and name.endswith("weight")
            parameter.data.normal_(1.0 if is_gain else 0.0, BIAS_STD, generator=generator)
    for module in network.modules():
        if isinstance(module, PositionalEncoding):  # a buffer, which has no values yet
            _, length, width = module.pe.shape
            module.pe = PositionalEncoding(width, length).pe
    return network
