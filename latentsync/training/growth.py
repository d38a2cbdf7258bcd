"""Grows a model: one of twice the crop's side begins with what a small one has learned.

Pictures of twice the side have latents of twice the side. The UNet gets one more level around those it has: the new
level brings the latents down to the sides that the inner levels know, and up again. So the inner levels still see a
face at the scale they were trained on, and training begins with the way they follow the sound. (Growing a network by
levels: Karras et al. 2018, arXiv 1710.10196.)

Around the mask's hole, the picture that the network has to make is the masked picture that it sees. A network that
predicts the clean latents can begin with that, and so can one that predicts v: at the noisiest step, v is the clean
picture with its sign changed.
"""

from typing import Any

import torch
from torch import Tensor, nn

from latentsync.checkpoints.model import arguments_of, cast
from latentsync.errors import OptionError
from latentsync.unet.model import UNet3DConditionModel

SIGNS = {"sample": 1, "v_prediction": -1}  # of the clean latents in what is predicted at the noisiest step
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

    The weights of the new level are drawn from torch's global generator; the first and last convolution are zero.

    Args:
        unet: any but a student, whose input has other meanings.
        latent_channels: of the grown UNet's latents.

    Raises:
        OptionError: the UNet is a student, or `latent_channels` is below 1.
    """
    if unet.guidance_limit is not None:
        raise OptionError("the model is a student of few steps; grow its teacher, and distil the result")
    if latent_channels < 1:
        raise OptionError(f"latent_channels is {latent_channels}; it must be at least 1")
    grown = UNet3DConditionModel.from_config(grown_config(arguments_of(unet), latent_channels))
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


@torch.no_grad()
def begin_as_copy(unet: UNet3DConditionModel, predicts: str) -> None:
    """Lets a UNet begin with the masked image as its estimate of the clean one, at the noisiest step.

    The first convolution hands its inputs on, a channel each. The last skip brings them to the last residual block,
    whose shortcut passes each latent of the masked image twice, with both signs. After the normalisation,
    SiLU(x) - SiLU(-x) = x, so the last convolution gives the latents back, up to the normalisation's scale. Both signs
    stand in one group of the normalisation, whose mean is then zero.

    Args:
        unet: changed in place: its first and last convolution, and the last block's shortcut.
        predicts: what it is to predict, a key of `SIGNS`.

    Raises:
        OptionError: the outermost level has too few channels.
    """
    conv_in, conv_out, norm = unet.conv_in, unet.conv_out, unet.conv_norm_out
    inputs, width, latents = conv_in.weight.shape[1], conv_in.weight.shape[0], len(conv_out.weight)
    pairs_a_group = width // norm.num_groups // 2
    if width < inputs or norm.num_groups * pairs_a_group < latents:
        raise OptionError(
            f"the outermost level has {width} channels in {norm.num_groups} groups; {latents} latent channels need at "
            f"least {max(inputs, 2 * latents)}"
        )
    block = unet.up_blocks[-1].resnets[-1]
    shortcut = block.conv_shortcut
    first_skip = shortcut.weight.shape[1] - width
    conv_in.weight.zero_()
    conv_in.weight[range(inputs), range(inputs), 1, 1] = 1
    nn.init.normal_(conv_in.weight[inputs:], std=conv_in.weight[0].numel() ** -0.5)
    for latent in range(latents):
        group, place = latent % norm.num_groups, latent // norm.num_groups
        masked = latents + 1 + latent  # after the noisy latents and the mask
        row = group * (width // norm.num_groups) + 2 * place
        for channel, sign in ((row, 1), (row + 1, -1)):
            shortcut.weight[channel] = 0
            shortcut.weight[channel, first_skip + masked] = sign
            shortcut.bias[channel] = 0
            block.conv2.weight[channel] *= QUIET
            conv_out.weight[latent, channel, 1, 1] = sign * SIGNS[predicts]


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
