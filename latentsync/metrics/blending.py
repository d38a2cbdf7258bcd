"""How well the generated region fits into the frame: its edge, its sharpness, and changes outside of it.

Goal: measure the artefacts of the patch that a viewer sees: a colour that does not match the skin around it, a visible
edge, a mouth softer than the rest of the face, pixels that changed although they should not.

Conventions: crops are uint8 `(f, 3, r, r)` of the result and of the clip, aligned in the same way. Masks are the mouth
mask at the crops' size, 1 keep, 0 generate. Frames are uint8 `(h, w, 3)`. Levels are 0..255. Each measure compares with
the clip, so that the clip's own edges and softness do not count.

Measures: `seam_colours` (levels, lower is better), `seam_gradients` (levels/px, lower is better), `sharpness`
(variance of the Laplacian; its ratio to the clip's is best at 1), `outside_difference` (levels, 0 is best; the codec
alone causes about 1).
"""

from functools import lru_cache

import cv2
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from latentsync.faces.geometry import crop_box_size
from latentsync.shapes import Affine, Crops, Frame, Mask

SECTORS = 16  # of the ring around the mask's edge
RING_SHARE = 1 / 32  # of the crop's side: how far the ring reaches to either side of the edge
MARGIN_PX = 4  # around the crop's box, where interpolation and the codec's blocks still have an effect
LUMA = (0.299, 0.587, 0.114)

Sectors = Bool[Tensor, "k r r"]


def validate(crops: Crops, source: Crops, mask: Mask) -> None:
    """Refuses crops that cannot be compared.

    Raises:
        ValueError: the crops are not both uint8 (f, 3, r, r) of one shape, or the mask has another size.
    """
    if crops.shape != source.shape or crops.ndim != 4 or crops.dtype != torch.uint8 or source.dtype != torch.uint8:
        raise ValueError(f"crops {tuple(crops.shape)} and {tuple(source.shape)} must both be uint8 (f, 3, r, r)")
    if tuple(mask.shape[-2:]) != tuple(crops.shape[-2:]):
        raise ValueError(f"the mask is {tuple(mask.shape[-2:])} px and the crops {tuple(crops.shape[-2:])}")


def ring_sectors(mask: Mask) -> tuple[Sectors, Sectors]:
    """The ring along the mask's edge, in 16 sectors around the hole's middle: their inner and their outer parts.

    A sector is left out if either part has no pixel, as at the crop's edge.
    """
    hole = (mask.squeeze(0) < 0.5).numpy().astype(np.uint8)
    reach = max(1.5, RING_SHARE * hole.shape[0])
    inside = cv2.distanceTransform(hole, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - hole, cv2.DIST_L2, 5)
    rows, columns = np.nonzero(hole)
    y, x = np.mgrid[: hole.shape[0], : hole.shape[1]]
    turn = np.arctan2(y - rows.mean(), x - columns.mean()) / (2 * np.pi) % 1
    sector = np.minimum((turn * SECTORS).astype(int), SECTORS - 1) == np.arange(SECTORS)[:, None, None]
    sides = [sector & (distance > 0) & (distance <= reach) for distance in (inside, outside)]
    there = sides[0].any(axis=(1, 2)) & sides[1].any(axis=(1, 2))
    return tuple(torch.from_numpy(side[there]) for side in sides)


def seam_colours(crops: Crops, source: Crops, mask: Mask) -> Float[Tensor, " f"]:
    """Difference between the step of colour across the mask's edge and the clip's: mean over sectors and channels.

    Raises:
        ValueError: as `validate`.
    """
    validate(crops, source, mask)
    inside, outside = (_weights(side) for side in ring_sectors(mask))
    difference = rearrange(crops.float() - source.float(), "f c h w -> f c (h w)")
    return (difference @ (inside - outside).T).abs().mean(dim=(1, 2))


def _weights(sectors: Sectors) -> Float[Tensor, "k n"]:
    flat = sectors.flatten(1).float()
    return flat / flat.sum(dim=1, keepdim=True)


def seam_gradients(crops: Crops, source: Crops, mask: Mask) -> Float[Tensor, " f"]:
    """Difference between the mean gradient of the ring and the clip's.

    Raises:
        ValueError: as `validate`.
    """
    validate(crops, source, mask)
    ring = torch.stack([side.any(dim=0) for side in ring_sectors(mask)]).any(dim=0)
    gradients = [_gradient(part)[:, ring].mean(dim=1) for part in (crops, source)]
    return (gradients[0] - gradients[1]).abs()


def _luma(crops: Crops) -> Float[Tensor, "f r r"]:
    return torch.einsum("fchw,c->fhw", crops.float(), torch.tensor(LUMA))


def _gradient(crops: Crops) -> Float[Tensor, "f r r"]:
    down, across = torch.gradient(_luma(crops), dim=(1, 2))
    return torch.hypot(down, across)


def sharpness(crops: Crops, region: Bool[Tensor, "r r"]) -> Float[Tensor, " f"]:
    """Variance of the Laplacian of the luma over a region.

    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy" (ICPR 2000).
    """
    laplacians = [cv2.Laplacian(picture.numpy(), cv2.CV_32F)[region.numpy()].var() for picture in _luma(crops)]
    return torch.tensor(np.array(laplacians, np.float64))


def outside_difference(frame: Frame, source: Frame, matrix: Affine | None, size_px: int) -> float:
    """Mean absolute difference of two frames outside of the crop's box and a margin of 4 px, levels.

    Args:
        matrix: of the crop; None if no face was found, so that the whole frame is outside.

    Returns:
        NaN if the box covers the whole frame.

    Raises:
        ValueError: the frames differ in shape.
    """
    if frame.shape != source.shape:
        raise ValueError(f"frames of shape {frame.shape} and {source.shape} cannot be compared; make them equal")
    outside = np.ones(frame.shape[:2], np.uint8)
    if matrix is not None:
        cv2.fillConvexPoly(outside, _box_corners(matrix.tobytes(), size_px), 0)
        outside = cv2.erode(outside, np.ones((2 * MARGIN_PX + 1,) * 2, np.uint8))
    return cv2.mean(cv2.absdiff(frame, source), outside)[:3] @ np.full(3, 1 / 3) if outside.any() else np.nan


@lru_cache(maxsize=64)
def _box_corners(matrix: bytes, size_px: int) -> np.ndarray:
    width, height = crop_box_size(size_px)
    affine = np.vstack([np.frombuffer(matrix).reshape(2, 3), [0, 0, 1]])
    corners = np.array([[0, width - 1, width - 1, 0], [0, 0, height - 1, height - 1], [1, 1, 1, 1]])
    return np.round((np.linalg.inv(affine) @ corners)[:2].T).astype(np.int32)
