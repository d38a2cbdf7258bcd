"""Grows a model: one of twice the crop's side begins with what a small one has learned.

Pictures of twice the side have latents of twice the side. The UNet gets one more level around those it has: the new
level brings the latents down to the sides that the inner levels know, and up again. So the inner levels still see a
face at the scale they were trained on, and training begins with the way they follow the sound. (Growing a network by
levels: Karras et al. 2018, arXiv 1710.10196.)
"""

from typing import Any

import torch
from torch import Tensor

from latentsync.checkpoints.model import cast
from latentsync.errors import OptionError
from latentsync.unet.model import UNet3DConditionModel

QUIET = 0.1  # factor of the last convolution of a new residual block: it begins as little more than its skip
ENDS = ("conv_in.", "conv_norm_out.", "conv_out.")  # what stands outside all levels


def grown_config(config: dict[str, Any], latent_channels: int) -> dict[str, Any]:
    """The configuration of a UNet with one more level outside, which has no attention and no motion module.

    Args:
        config: of a UNet whose input is noise, a mask of one channel, a masked and a reference image.
        latent_channels: of the grown UNet's autoencoder.
    """
    channels = config["block_out_channels"]
    return config | {
        "block_out_channels": [channels[0], *channels],
        "down_block_types": ["DownBlock3D", *config["down_block_types"]],
        "up_block_types": [*config["up_block_types"], "UpBlock3D"],
        "motion_module_resolutions": [2 * factor for factor in config["motion_module_resolutions"]],
        "in_channels": 3 * latent_channels + 1,
        "out_channels": latent_channels,
    }


@torch.no_grad()
def with_outer_level(unet: UNet3DConditionModel, latent_channels: int) -> UNet3DConditionModel:
    """A UNet of one more level, whose inner levels have the weights of the given one.

    The weights of the new level and of the first and last convolution are drawn from torch's global generator.

    Args:
        unet: any but a student, whose input has other meanings.
        latent_channels: of the grown UNet's latents.

    Raises:
        OptionError: the UNet is a student, or `latent_channels` is below 1.
    """
    if unet.config.get("guidance_limit") is not None:
        raise OptionError("the model is a student of few steps; grow its teacher, and distil the result")
    if latent_channels < 1:
        raise OptionError(f"latent_channels is {latent_channels}; it must be at least 1")
    config = {name: value for name, value in unet.config.items() if not name.startswith("_")}
    grown = UNet3DConditionModel.from_config(grown_config(config, latent_channels))
    weights = grown.state_dict()
    last = len(unet.config.block_out_channels)
    for name, tensor in weights.items():
        is_new = name.startswith(("down_blocks.0.resnets.", f"up_blocks.{last}.resnets."))
        if is_new and ".conv2." in name:
            tensor.mul_(QUIET)
    weights.update(_moved_inwards(unet.state_dict()))
    grown.load_state_dict(weights)
    cast(grown, unet.device, unet.dtype)
    return grown


def _moved_inwards(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of all levels under the names that they have with one more level outside."""
    moved = {}
    for name, tensor in weights.items():
        if name.startswith(ENDS):
            continue
        first, *rest = name.split(".")
        if first == "down_blocks":
            rest[0] = str(int(rest[0]) + 1)
        moved[".".join([first, *rest])] = tensor
    return moved
