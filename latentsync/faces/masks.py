"""The mouth masks: which part of an aligned face the model generates, and what it sees of the face.

A mask is 1 where pixels are kept and 0 where they are generated. This module knows crops only.
"""

import json
from functools import cache
from importlib import resources

import cv2
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from latentsync.constants import LATENT_PX
from latentsync.errors import OptionError
from latentsync.shapes import Crops, Mask, Pixels

MASK_ROWS_FILE = "mask_rows.json"  # the original's four masks at 256 px, as row extents


@cache
def _mask_table() -> dict:
    return json.loads(resources.files("latentsync").joinpath(MASK_ROWS_FILE).read_text(encoding="utf-8"))


def _mask_image(name: str) -> UInt8[np.ndarray, "h w"]:
    """The original's mask image: 255 keep, 0 generate, 256x256 px."""
    table = _mask_table()
    if name not in table["masks"]:
        raise OptionError(f"mask {name!r} is unknown; choose one of {', '.join(table['masks'])}")
    image = np.full((table["size_px"], table["size_px"]), 255, np.uint8)
    for first, last, *extents in table["masks"][name]:
        for start, end in zip(extents[::2], extents[1::2], strict=True):
            image[first:last, start:end] = 0
    return image


def mouth_mask(name: str, size_px: int) -> Mask:
    """One of the original's masks for crops of size_px: 1 keep, 0 generate, float32.

    It is exact at 256 px. For other sizes it is resized with Lanczos, as in the original, which softens the edges.

    Raises:
        OptionError: the name is not one of the original's, or size_px is below 1.
    """
    if size_px < 1:
        raise OptionError(f"the mask's side is {size_px} px; it must be at least 1 (256 is the usual choice)")
    image = _mask_image(name)
    if image.shape != (size_px, size_px):
        image = cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_LANCZOS4)
    return rearrange(torch.from_numpy(image), "h w -> 1 h w").float() / 255


def crops_to_pixels(crops: Crops) -> Pixels:
    """Levels 0..255 to the networks' range -1..1, float32."""
    return crops.float() / 255 * 2 - 1


def pixels_to_crops(pixels: Pixels) -> Crops:
    """The range -1..1 to levels 0..255, clamped and rounded; the inverse of `crops_to_pixels`."""
    return ((pixels.float() + 1) / 2 * 255).clamp(0, 255).round().to(torch.uint8)


def masked_images(pixels: Pixels, mask: Mask) -> Pixels:
    """The face as the model sees it: the hole is 0, the middle grey of -1..1."""
    return pixels * mask


def mask_to_latents(mask: Mask, factor: int = LATENT_PX) -> Float[Tensor, "1 h w"]:
    """The mask at the latents' size: nearest neighbour, so latent i takes pixel factor * i, as in the original.

    Raises:
        OptionError: the mask's side is not a multiple of factor.
    """
    side = mask.shape[-1]
    if side % factor:
        raise OptionError(f"the mask's side is {side} px; it must be a multiple of {factor} to fit the latents")
    return mask[:, ::factor, ::factor].contiguous()
