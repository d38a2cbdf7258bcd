"""A small seeded UNet whose every part has an effect."""

import torch

from latentsync.unet.model import UNet3DConditionModel

SMALL = {
    "block_out_channels": (32, 64), "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"), "layers_per_block": 1, "norm_num_groups": 8,
    "motion_module_resolutions": (1, 2),
}  # fmt: skip


def small_unet(seed: int) -> UNet3DConditionModel:
    """It seeds torch, so that what a test draws next is the same each time."""
    torch.manual_seed(seed)
    unet = UNet3DConditionModel(**SMALL).eval()
    for conv in (unet.conv_in, unet.conv_out):
        torch.nn.init.normal_(conv.weight, std=0.1)
    return unet
