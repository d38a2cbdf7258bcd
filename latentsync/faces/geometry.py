"""How an affine moves pixels: places, the crop box, and images read between the pixels.

This module knows frames, affines and crops, but no landmarks, models, videos or files.

Coordinates are in px with (0, 0) at the centre of the top left pixel. An affine maps frame px to px of the crop box:
an upright rectangle of 210x280 px (width x height) for crops of 256 px, which the crop shows as a square.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from latentsync.config import GEOMETRIES, ROUNDINGS
from latentsync.errors import OptionError
from latentsync.shapes import Affine, Crop, Frame

Places = Float[np.ndarray, "2 p q"]  # for each output pixel, the (x, y) in px of the image that is read

# The original's AlignRestore: the box that is cropped
BOX_UNITS = (75, 100)  # width, height
UNIT_PX = 2.8  # px per unit in crops of UNIT_RESOLUTION px
UNIT_RESOLUTION = 256

FILL_LEVEL = 127  # grey where the crop reaches beyond the frame
REACH_PX = 4  # how far from a place the widest kernel, Lanczos, reads
FIXED_PARTS, READ_PARTS = 1024, 32  # OpenCV's fixed point: it computes in 1/1024 px and reads at 1/32 px
OUTSIDE_PX = -1e6  # a place beyond any image


@dataclass(frozen=True)
class Warping:
    """How a face is cropped from its frame and put back: as exactly as possible, or as in the original.

    Attributes:
        geometry: "float32": bilinear reading between pixels. "float16": as in the original's 1.6 and late 1.5 on a GPU,
            affines, places and levels are rounded to float16, which moves the face by up to a thousandth of the frame's
            longer side. "lanczos": as in the original's 1.0, with OpenCV's Lanczos kernel, places of 1/32 px, faces in
            whole levels, and alignment points held still against small movements (for crops of 256 px, the only ones
            that 1.0 has).
        rounding: how a level becomes a whole one: "nearest", or "truncate" as in the original. "truncate" darkens the
            crop box and the final frame by half a level each (mean), and with "lanczos" the generated face, too.

    Raises:
        OptionError: one of them is unknown.
    """

    geometry: str = "float32"
    rounding: str = "nearest"

    def __post_init__(self) -> None:
        for name, choices in (("geometry", GEOMETRIES), ("rounding", ROUNDINGS)):
            value = getattr(self, name)
            if value not in choices:
                raise OptionError(f"{name} {value!r} is unknown; choose one of {', '.join(choices)}")

    @property
    def dtype(self) -> np.dtype:
        """The dtype of weights and levels between two steps."""
        return np.dtype(np.float16 if self.geometry == "float16" else np.float32)

    @np.errstate(over="ignore")
    def affine(self, matrix: Affine) -> Affine:
        """An affine in the geometry's own precision."""
        return matrix.astype(np.float16).astype(np.float64) if self.geometry == "float16" else matrix

    def whole_levels(self, levels: Float[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
        """Levels as whole numbers, 0..255."""
        clipped = levels.clip(0, 255)
        return (np.rint(clipped, out=clipped) if self.rounding == "nearest" else clipped).astype(np.uint8)


DEFAULT_WARPING = Warping()


# --- affines and places ---


def inverse_affine(matrix: Affine) -> Affine | None:
    """Crop box px -> frame px; None if the affine has no inverse."""
    matrix = np.asarray(matrix, np.float64)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:, :2])) < np.finfo(np.float64).tiny:
        return None
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def apply_affine(
    matrix: Affine, x: Float[np.ndarray, "..."], y: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "2 ..."]:
    """The points (x, y) mapped by the affine; x and y broadcast."""
    mapped = []
    for row in matrix:
        values = row[0] * x + row[1] * y
        values += row[2]  # in place for arrays, without another temporary one
        mapped.append(values)
    return np.stack(mapped)


def covering_slices(points: Float[np.ndarray, "2 n"], size: tuple[int, int], margin_px: int) -> tuple[slice, slice]:
    """Rows and columns of an image of this size (height, width) that hold the points and a margin; may be empty."""
    low, high = np.floor(points.min(1)) - margin_px, np.ceil(points.max(1)) + margin_px + 1
    return tuple(
        slice(int(np.clip(low[axis], 0, length)), int(np.clip(high[axis], 0, length)))
        for axis, length in ((1, size[0]), (0, size[1]))
    )


def places(
    to_source: Affine,
    part: tuple[slice, slice],
    size: tuple[int, int],
    source_size: tuple[int, int],
    geometry: str = "float32",
) -> Places:
    """For each pixel of a part of an image, its place in the source image, px.

    Args:
        to_source: image px -> source px.
        part: rows and columns of the image.
        size, source_size: height and width of the whole image and of the source, px; only float16 uses them.
        geometry: one of GEOMETRIES; the places are rounded as it does.
    """
    if geometry == "float16":
        return _half_places(to_source, part, size, source_size)
    rows, columns = part
    x, y = np.arange(columns.start, columns.stop)[None, :], np.arange(rows.start, rows.stop)[:, None]
    return _fixed_places(to_source, x, y) if geometry == "lanczos" else apply_affine(to_source, x, y)


def _fixed_places(to_source: Affine, x: np.ndarray, y: np.ndarray) -> Places:
    """Places in steps of 1/32 px, as OpenCV's warpAffine computes them: columns and rows each in 1/1024 px."""
    by_column = np.rint(np.stack([row[0] * x for row in to_source]) * FIXED_PARTS)
    by_row = np.rint(np.stack([row[1] * y + row[2] for row in to_source]) * FIXED_PARTS)
    return np.floor((by_column + by_row) * READ_PARTS / FIXED_PARTS + 0.5) / READ_PARTS


@np.errstate(over="ignore", invalid="ignore")
def _half_places(
    to_source: Affine, part: tuple[slice, slice], size: tuple[int, int], source_size: tuple[int, int]
) -> Places:
    """Places as kornia 0.8's `warp_affine` computes them in float16: in -1..1 across each image, all results rounded.

    All are OUTSIDE_PX if a number is too large for float16, or the affine has no inverse.
    """
    from_unit = _half_inverse(_to_unit(source_size))
    forward = _half_product(_to_unit(size), _half_product(_half_inverse(to_source), from_unit))
    backward = _half_inverse(forward).astype(np.float32)
    y, x = (_half_steps(side)[cut] for side, cut in zip(size, part, strict=True))
    if not np.isfinite(backward).all():
        return np.full((2, len(y), len(x)), OUTSIDE_PX)
    unit = _half(apply_affine(backward, x[None, :], y[:, None])).astype(np.float32)
    extent = np.array([source_size[1] - 1, source_size[0] - 1], np.float32).reshape(2, 1, 1)
    return (unit + 1) / 2 * extent


def _to_unit(size: tuple[int, int]) -> Affine:
    """Px of an image of this size (height, width) -> -1..1, from the first to the last pixel's centre."""
    height, width = (max(side - 1, 1) for side in size)
    return _half(np.array([[2 / width, 0, -1], [0, 2 / height, -1]]))


def _half_product(outer: Affine, inner: Affine) -> Affine:
    """The affine that applies the inner one first, then the outer one."""
    outer, inner = outer.astype(np.float32), inner.astype(np.float32)
    return _half(np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]]))


def _half_inverse(matrix: Affine) -> Affine:
    """The inverse; NaN if there is none."""
    inverse = inverse_affine(matrix)
    return _half(np.full((2, 3), np.nan) if inverse is None else inverse)


def _half_steps(count: int) -> Float[np.ndarray, " n"]:
    """Steps from -1 to 1 by torch's own function, because of its rounding."""
    return torch.linspace(-1, 1, count, dtype=torch.float16).float().numpy()


def _half(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return values.astype(np.float16)


# --- reading ---


def sample(image: Float[Tensor, "c h w"], at: Places, fill: float) -> Float[Tensor, "c p q"]:
    """The image read bilinearly at (x, y) px, with fill beyond its edge."""
    unit = at + 0.5
    unit /= np.array([image.shape[2], image.shape[1]]).reshape(2, 1, 1)
    unit *= 2
    unit -= 1
    grid = rearrange(torch.from_numpy(unit.astype(np.float32)).to(image.device), "xy p q -> 1 p q xy")
    read = F.grid_sample(image[None] - fill, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    if read.device.type == "cpu":
        np.add(read.numpy(), fill, out=read.numpy())  # torch's threads cost more than they gain here
        return read
    return read + fill


def sample_lanczos(image: UInt8[np.ndarray, "h w 3"], at: Places, fill: int) -> UInt8[np.ndarray, "p q 3"]:
    """The image read with OpenCV's Lanczos kernel, 8x8 px, at (x, y) px rounded to 1/32; fill beyond its edge."""
    x, y = at.astype(np.float32)
    border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (fill,) * 3}
    return cv2.remap(image, x, y, interpolation=cv2.INTER_LANCZOS4, **border)


# --- crops ---


def px_per_unit(resolution: int) -> float:
    """Px of the crop box per unit of BOX_UNITS, for a crop of resolution px."""
    return resolution / UNIT_RESOLUTION * UNIT_PX


def crop_box_size(resolution: int) -> tuple[int, int]:
    """Width and height in px of the box that a crop of resolution px shows: 210, 280 for 256."""
    return tuple(int(units * px_per_unit(resolution)) for units in BOX_UNITS)


def warp_crop(frame: Frame, matrix: Affine, resolution: int, warping: Warping = DEFAULT_WARPING) -> Crop:
    """The aligned face as a square crop; FILL_LEVEL where it reaches beyond the frame.

    The crop box is read and rounded to whole levels, then resized with Lanczos, as the original does.
    """
    box = _crop_box(frame, matrix, resolution, warping)
    crop = cv2.resize(box, (resolution, resolution), interpolation=cv2.INTER_LANCZOS4)
    return rearrange(torch.from_numpy(crop), "h w c -> c h w").contiguous()


def _crop_box(frame: Frame, matrix: Affine, resolution: int, warping: Warping) -> Frame:
    """The crop box at its own size; only the part of the frame under it is read."""
    width, height = crop_box_size(resolution)
    empty = np.full((height, width, 3), FILL_LEVEL, np.uint8)
    inverse = inverse_affine(warping.affine(matrix))
    if inverse is None:
        return empty
    box, size = (slice(0, height), slice(0, width)), (height, width)
    at = places(inverse, box, size, frame.shape[:2], warping.geometry)
    rows, columns = covering_slices(at.reshape(2, -1), frame.shape[:2], margin_px=REACH_PX)
    patch = np.ascontiguousarray(frame[rows, columns])
    if not patch.size:
        return empty
    return _read_levels(patch, at - np.array([columns.start, rows.start]).reshape(2, 1, 1), warping)


def _read_levels(image: Frame, at: Places, warping: Warping) -> Frame:
    """The image at these places in whole levels, FILL_LEVEL beyond its edge."""
    if warping.geometry == "lanczos":
        return sample_lanczos(image, at, fill=FILL_LEVEL)
    planes = torch.from_numpy(np.stack(cv2.split(image))).float()
    levels = sample(planes, at, fill=FILL_LEVEL).numpy().astype(warping.dtype, copy=False)
    return cv2.merge(list(warping.whole_levels(levels)))
