"""A generated face back into its place: pasted in the crop, then warped into the frame behind a soft mask.

What lies outside the soft mask's support equals the source frame exactly, and only the face's region is computed.
Knows frames, crops and affines; nothing of models, videos or files.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from latentsync.faces import apply_affine, covering_slices, crop_box_size, inverse_affine, sample
from latentsync.shapes import Affine, Frame, Mask, Pixels

# The original's AlignRestore (1.6): the face's edge is eroded and blurred over a share of the face's size
EDGE_DIVISOR = 20  # the soft edge's width is the square root of the face's area in px, divided by this
FIRST_EROSION_PX = 2  # takes the warp's half-covered border off
EMPTY_KERNEL_PX = 3  # what OpenCV erodes by where the edge's width is 0
EDGE_FILL = 127.0  # around the face's -1..1: a level of 0..255 by the original's oversight, so the last row is white
HOLE_LEVEL = 127  # grey of a painted hole


@dataclass(frozen=True)
class FaceRegion:
    """Where one frame's face goes, and how much of it shows: all that depends on the affine alone.

    Attributes:
        rows, columns: of the frame; nothing outside of them changes. Empty for a face outside of the frame.
        at: for each of their pixels its (x, y) in px of the crop box.
        face_weight: of the generated face, 0..1.
        frame_weight: of the frame; 1 outside the soft mask's support.
    """

    rows: slice
    columns: slice
    at: Float[np.ndarray, "2 h w"]
    face_weight: Float[np.ndarray, "h w"]
    frame_weight: Float[np.ndarray, "h w"]


def paste_kept(decoded: Pixels, pixels: Pixels, mask: Mask) -> Pixels:
    """The decoded face in the mouth mask's hole, the aligned face where the mask keeps it; both -1..1."""
    return decoded * (1 - mask) + pixels * mask


def face_region(matrix: Affine, resolution: int, frame_size: tuple[int, int]) -> FaceRegion:
    """The region of a frame of frame_size (height, width) px that a crop of resolution px goes back to.

    An affine without inverse, or a face outside of the frame, gives an empty region.
    """
    width, height = crop_box_size(resolution)
    rows, columns = _box_slices(matrix, (width, height), frame_size)
    at = _box_coordinates(matrix, rows, columns)
    if not at.size:
        empty = np.zeros(at.shape[1:], np.float32)
        return FaceRegion(rows, columns, at, empty, empty)
    eroded, soft = _soft_mask(_coverage(at, (width, height)))
    return FaceRegion(rows, columns, at, soft * eroded, 1 - soft)


def _box_slices(matrix: Affine, box_size: tuple[int, int], frame_size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the frame under the crop box; empty where there are none.

    No room is needed for the soft edge: it is eroded before it is blurred, and ends at the box.
    """
    inverse = inverse_affine(matrix)
    if inverse is None:
        return slice(0, 0), slice(0, 0)
    width, height = box_size
    corners = apply_affine(inverse, np.array([-1, width, -1, width]), np.array([-1, -1, height, height]))
    return covering_slices(corners, frame_size, margin_px=FIRST_EROSION_PX)


def _box_coordinates(matrix: Affine, rows: slice, columns: slice) -> Float[np.ndarray, "2 h w"]:
    """For each pixel of a part of the frame its place in px of the crop box."""
    x, y = np.arange(columns.start, columns.stop), np.arange(rows.start, rows.stop)
    return apply_affine(matrix, x[None, :], y[:, None])


def _coverage(at: Float[np.ndarray, "2 h w"], box_size: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """How much of each pixel the box covers, 0..1: a bilinear warp of ones with zeros around them."""
    shares = [np.minimum(p + 1, length - p).clip(0, 1) for p, length in zip(at, box_size, strict=True)]
    return (shares[0] * shares[1]).astype(np.float32)


def _soft_mask(coverage: Float[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """The coverage eroded by the warp's border, and the face's soft mask: eroded by twice the edge, then blurred.

    The original's formula with OpenCV's own sigma for a kernel: 0.3 * ((k - 1) / 2 - 1) + 0.8.
    """
    eroded = cv2.erode(coverage, _square(FIRST_EROSION_PX))
    edge = int(float(eroded.sum(dtype=np.float64)) ** 0.5) // EDGE_DIVISOR
    centre = cv2.erode(eroded, _square(2 * edge or EMPTY_KERNEL_PX))
    size = 2 * edge + 1
    soft = cv2.GaussianBlur(centre, (size, size), 0.3 * (edge - 1) + 0.8, borderType=cv2.BORDER_REFLECT_101)
    return eroded, soft.clip(0, 1)


def _square(side_px: int) -> np.ndarray:
    return np.ones((side_px, side_px), np.uint8)


def paste_face(frame: Frame, crop: Float[Tensor, "3 r r"], region: FaceRegion) -> Frame:
    """The frame with the generated face (-1..1) in its region; a new array.

    The float32 path of the original's 1.6: bicubic to the crop box, bilinear into the frame, truncated to whole levels.
    """
    result = frame.copy()
    if not region.at.size:
        return result
    width, height = crop_box_size(crop.shape[-1])
    box = F.interpolate(crop[None].float(), (height, width), mode="bicubic", antialias=True)[0]
    face = ((sample(box, region.at, fill=EDGE_FILL) / 2 + 0.5).clamp(0, 1) * 255).cpu().numpy()
    source = frame[region.rows, region.columns]
    blend = rearrange(face, "c h w -> h w c") * region.face_weight[..., None] + source * region.frame_weight[..., None]
    result[region.rows, region.columns] = np.where(region.frame_weight[..., None] == 1, source, blend.clip(0, 255))
    return result


def restore(frame: Frame, crop: Float[Tensor, "3 r r"], matrix: Affine) -> Frame:
    """The frame with the generated face (-1..1) warped back to where the affine took it from; a new array.

    For several crops at one place, make the `face_region` once and call `paste_face`.
    """
    return paste_face(frame, crop, face_region(matrix, crop.shape[-1], frame.shape[:2]))


def paint_hole(frame: Frame, mask: Mask, matrix: Affine, grey: int = HOLE_LEVEL) -> Frame:
    """The frame with what the model had to fill, the mouth mask's hole, painted grey (0..255); a new array.

    The hole's edge is antialiased; pixels outside of it are the frame's.
    """
    resolution = mask.shape[-1]
    box_size = crop_box_size(resolution)
    rows, columns = _box_slices(matrix, box_size, frame.shape[:2])
    result = frame.copy()
    at = _box_coordinates(matrix, rows, columns)
    if not at.size:
        return result
    in_crop = (at + 0.5) * resolution / np.array(box_size).reshape(2, 1, 1) - 0.5  # the crop shows the box as a square
    hole = sample((1 - mask).float(), in_crop, fill=0).clamp(0, 1).cpu().numpy()[0, ..., None]
    source = frame[rows, columns]
    result[rows, columns] = np.rint(source * (1 - hole) + grey * hole)
    return result
