"""Puts a generated face back: pastes it into the crop, then warps it into the frame with a soft mask.

Outside the soft mask the result equals the source frame exactly, and only the face's region is computed. This module
knows frames, crops and affines, but no models, videos or files.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Num, UInt8
from torch import Tensor

from latentsync.faces.geometry import (
    DEFAULT_WARPING,
    Places,
    Warping,
    apply_affine,
    covering_slices,
    crop_box_size,
    inverse_affine,
    places,
    sample,
    sample_lanczos,
)
from latentsync.shapes import Affine, Frame, Mask, Pixels

Levels = Num[np.ndarray, "h w"]  # of one channel, 0..255: uint8, or float before rounding

# The original's AlignRestore (1.6): the face's edge is eroded and blurred over a share of the face's size
EDGE_DIVISOR = 20  # the soft edge's width is the square root of the face's area in px, divided by this
FIRST_EROSION_PX = 2  # removes the warp's half-covered border
EMPTY_KERNEL_PX = 3  # OpenCV's kernel for eroding by an edge of width 0
EDGE_FILL = 127.0  # around the face's -1..1: a level of 0..255 by the original's oversight, so the last row is white
HALF_SHIFT = 1 / 256  # of the frame's longer side; float16 moves a face by less than this
HOLE_LEVEL = 127  # grey of a painted hole


@dataclass(frozen=True)
class FaceRegion:
    """The place of a face in one frame, and how much of it shows. Does not depend on what the face looks like.

    Attributes:
        rows, columns: of the frame; nothing outside of them changes. Empty for a face outside of the frame.
        at: the place in the crop box of each of these pixels.
        coverage: how much of each pixel the face covers, 0..1, in the warping's dtype; it darkens the face's outline.
        soft_mask: weight of the face against the frame, 0..1, in the warping's dtype.
        warping: how the face is read.
    """

    rows: slice
    columns: slice
    at: Places
    coverage: Float[np.ndarray, "h w"]
    soft_mask: Float[np.ndarray, "h w"]
    warping: Warping

    @property
    def frame_weight(self) -> Float[np.ndarray, "h w"]:
        """Weight of the frame; where it is 1, the frame stays as it is."""
        return 1 - self.soft_mask


def paste_kept(decoded: Pixels, pixels: Pixels, mask: Mask) -> Pixels:
    """The decoded face inside the mouth mask's hole, the aligned face elsewhere; both -1..1."""
    return decoded * (1 - mask) + pixels * mask


def face_region(
    matrix: Affine, resolution: int, frame_size: tuple[int, int], warping: Warping = DEFAULT_WARPING
) -> FaceRegion:
    """The region of a frame that a crop is pasted into.

    An affine without inverse, or a face outside of the frame, gives an empty region.

    Args:
        matrix: frame px -> crop box px.
        resolution: side of the crop, px.
        frame_size: height and width of the frame, px.
    """
    width, height = crop_box_size(resolution)
    rows, columns = face_slices(matrix, resolution, frame_size, warping)
    matrix = warping.affine(matrix)
    at = places(matrix, (rows, columns), frame_size, (height, width), warping.geometry)
    if not at.size:
        empty = np.zeros(at.shape[1:], warping.dtype)
        return FaceRegion(rows, columns, at, empty, empty, warping)
    coverage, soft_mask = _soft_mask(_coverage(at, (width, height), warping.dtype))
    return FaceRegion(rows, columns, at, coverage, soft_mask, warping)


def face_slices(
    matrix: Affine, resolution: int, frame_size: tuple[int, int], warping: Warping = DEFAULT_WARPING
) -> tuple[slice, slice]:
    """Rows and columns of a frame that a pasted face or a painted hole may change; empty where there are none."""
    shift = round(HALF_SHIFT * max(frame_size)) if warping.geometry == "float16" else 0
    return _box_slices(warping.affine(matrix), crop_box_size(resolution), frame_size, FIRST_EROSION_PX + shift)


def _box_slices(
    matrix: Affine, box_size: tuple[int, int], frame_size: tuple[int, int], margin_px: int = FIRST_EROSION_PX
) -> tuple[slice, slice]:
    """Rows and columns of the frame under the crop box; empty where there are none.

    The soft edge needs no extra space: it is eroded before it is blurred, so it ends at the box.
    """
    inverse = inverse_affine(matrix)
    if inverse is None:
        return slice(0, 0), slice(0, 0)
    width, height = box_size
    corners = apply_affine(inverse, np.array([-1, width, -1, width]), np.array([-1, -1, height, height]))
    return covering_slices(corners, frame_size, margin_px)


def _coverage(at: Places, box_size: tuple[int, int], dtype: np.dtype) -> Float[np.ndarray, "h w"]:
    """How much of each pixel the box covers, 0..1: a bilinear warp of ones with zeros around them."""
    shares = [np.minimum(p + 1, length - p).clip(0, 1) for p, length in zip(at, box_size, strict=True)]
    return (shares[0] * shares[1]).astype(dtype)


def _soft_mask(coverage: Float[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """The coverage without the warp's border, and the face's soft mask, which is eroded by twice the edge and blurred.

    It is the original's formula, with OpenCV's own sigma for a kernel of size k: 0.3 * ((k - 1) / 2 - 1) + 0.8.
    """
    eroded = cv2.erode(coverage.astype(np.float32), _square(FIRST_EROSION_PX))
    edge = int(float(eroded.sum(dtype=np.float64)) ** 0.5) // EDGE_DIVISOR
    centre = cv2.erode(eroded, _square(2 * edge or EMPTY_KERNEL_PX))
    size = 2 * edge + 1
    soft = cv2.GaussianBlur(centre, (size, size), 0.3 * (edge - 1) + 0.8, borderType=cv2.BORDER_REFLECT_101)
    return eroded.astype(coverage.dtype), soft.astype(coverage.dtype)


def _square(side_px: int) -> np.ndarray:
    return np.ones((side_px, side_px), np.uint8)


def paste_face(frame: Frame, crop: Float[Tensor, "3 r r"], region: FaceRegion) -> Frame:
    """The frame with the generated face (-1..1) in its region; a new array.

    As in the original, the face is resized to the crop box, read at the frame's pixels, blended, and rounded to whole
    levels.
    """
    result = frame.copy()
    if not region.at.size:
        return result
    part = np.ascontiguousarray(frame[region.rows, region.columns])
    weight = region.frame_weight
    stays = weight == 1
    blends = []
    for face, source in zip(_face_planes(crop, region), cv2.split(part), strict=True):
        blend = region.coverage * face
        blend *= region.soft_mask
        blend += weight * source
        whole = region.warping.whole_levels(blend)
        np.copyto(whole, source, where=stays)
        blends.append(whole)
    result[region.rows, region.columns] = cv2.merge(blends)
    return result


def _face_planes(crop: Float[Tensor, "3 r r"], region: FaceRegion) -> Iterable[Levels]:
    """The generated face at the region's pixels, levels 0..255: red, green and blue, each height x width."""
    warping, size = region.warping, crop_box_size(crop.shape[-1])[::-1]
    if warping.geometry == "lanczos":
        return cv2.split(_whole_face_levels(crop, size, region))
    box = F.interpolate(_rounded(crop, warping)[None], size, mode="bicubic", antialias=True)[0]
    face = sample(_rounded(box, warping), region.at, fill=EDGE_FILL).cpu().numpy().astype(warping.dtype, copy=False)
    face /= 2
    face += 0.5
    np.clip(face, 0, 1, out=face)
    face *= 255
    return face


def _rounded(values: Float[Tensor, "..."], warping: Warping) -> Float[Tensor, "..."]:
    """Rounds to the warping's dtype, as float32: on a CPU torch cannot resize or sample float16."""
    return values.half().float() if warping.geometry == "float16" else values.float()


def _whole_face_levels(
    crop: Float[Tensor, "3 r r"], size: tuple[int, int], region: FaceRegion
) -> UInt8[np.ndarray, "h w 3"]:
    """The generated face as the original's 1.0 reads it: in whole levels, black around it."""
    box = F.interpolate(crop[None].float(), size, mode="bilinear", antialias=True)[0]
    levels = region.warping.whole_levels((box.cpu().numpy() / 2 + 0.5) * 255)
    return sample_lanczos(np.ascontiguousarray(rearrange(levels, "c h w -> h w c")), region.at, fill=0)


def restore(frame: Frame, crop: Float[Tensor, "3 r r"], matrix: Affine, warping: Warping = DEFAULT_WARPING) -> Frame:
    """The frame with the generated face (-1..1) warped back to where the affine took it from; a new array.

    For several crops at one place, compute the `face_region` once and call `paste_face`.
    """
    return paste_face(frame, crop, face_region(matrix, crop.shape[-1], frame.shape[:2], warping))


def paint_hole(frame: Frame, mask: Mask, matrix: Affine, grey: int = HOLE_LEVEL) -> Frame:
    """The frame with the mouth mask's hole, which the model fills, painted grey (0..255); a new array.

    The hole's edge is antialiased; pixels outside of it are the frame's.
    """
    resolution = mask.shape[-1]
    box_size = crop_box_size(resolution)
    rows, columns = _box_slices(matrix, box_size, frame.shape[:2])
    result = frame.copy()
    at = places(matrix, (rows, columns), frame.shape[:2], box_size[::-1])
    if not at.size:
        return result
    in_crop = (at + 0.5) * resolution / np.array(box_size).reshape(2, 1, 1) - 0.5  # the crop shows the box as a square
    hole = sample((1 - mask).float(), in_crop, fill=0).clamp(0, 1).cpu().numpy()[0]
    part = np.ascontiguousarray(frame[rows, columns])
    rest, paint = 1 - hole, grey * hole
    painted = []
    for source in cv2.split(part):
        levels = source * rest
        levels += paint
        painted.append(np.rint(levels, out=levels).astype(np.uint8))
    result[rows, columns] = cv2.merge(painted)
    return result
