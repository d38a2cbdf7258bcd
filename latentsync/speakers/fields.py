"""Fields over the plane of the face: grids in mm, soft steps, bumps, noise, filled outlines. Knows no face.

The plane's origin lies midway between the pupils, x to the picture's right, y downwards, both in mm.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

Field = Float[np.ndarray, "h w"]
Colour = Float[np.ndarray, "3"]  # linear light, 0..1
Points = Float[np.ndarray, "k 2"]  # mm


@dataclass(frozen=True)
class Grid:
    """A raster of `width` x `height` px at `scale` px/mm whose pixel (0, 0) has its centre at (left, top) mm."""

    left: float
    top: float
    width: int
    height: int
    scale: float

    @property
    def x(self) -> Field:
        return np.broadcast_to(
            (self.left + np.arange(self.width, dtype=np.float32) / self.scale)[None], (self.height, self.width)
        ).astype(np.float32)

    @property
    def y(self) -> Field:
        return np.broadcast_to(
            (self.top + np.arange(self.height, dtype=np.float32) / self.scale)[:, None], (self.height, self.width)
        ).astype(np.float32)

    def to_px(self, points: Points) -> Points:
        return (np.asarray(points, np.float32) - (self.left, self.top)) * self.scale


def step(value: Field, low: float, high: float) -> Field:
    """Smooth step: 0 below `low`, 1 above `high` (or the other way round where low > high)."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def bump(x: Field, y: Field, cx: float, cy: float, sx: float, sy: float) -> Field:
    """A Gaussian of height 1 about (cx, cy) with deviations sx, sy."""
    return np.exp(-0.5 * (((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2))


def pair(x: Field, y: Field, cx: float, cy: float, sx: float, sy: float) -> Field:
    """The same bump on both sides of the face."""
    return bump(np.abs(x), y, cx, cy, sx, sy)


def blur(field: np.ndarray, sigma_px: float) -> np.ndarray:
    return cv2.GaussianBlur(field, (0, 0), max(float(sigma_px), 0.3))


def noise(generator: np.random.Generator, height: int, width: int, cell_px: float, cell_y_px: float = 0.0) -> Field:
    """Smooth noise of mean 0 and deviation 1, with features of about cell_px (cell_y_px vertically)."""
    cell_y_px = cell_y_px or cell_px
    shape = (max(int(height / cell_y_px) + 3, 3), max(int(width / cell_px) + 3, 3))
    coarse = generator.standard_normal(shape, dtype=np.float32)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def smooth_outline(points: Points, closed: bool = True, samples: int = 16) -> Points:
    """A Catmull-Rom curve through the points."""
    points = np.asarray(points, np.float32)
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, samples, endpoint=False, dtype=np.float32)[:, None]
    parts = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        parts.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate([*parts, points[-1:]]) if not closed else np.concatenate(parts)


def mirrored(half: Points) -> Points:
    """A closed outline from its right half, given from top to bottom with both ends on the axis."""
    half = np.asarray(half, np.float32)
    return np.concatenate([half, (half * (-1, 1))[-2:0:-1]])


def fill(grid: Grid, outline: Points, soft_mm: float = 0.0) -> Field:
    """1 inside the outline, 0 outside, antialiased, then softened."""
    mask = np.zeros((grid.height, grid.width), np.uint8)
    polygon = np.round(grid.to_px(outline) * 16).astype(np.int32)
    cv2.fillPoly(mask, [polygon], 255, cv2.LINE_AA, 4)
    field = mask.astype(np.float32) / 255
    return blur(field, soft_mm * grid.scale) if soft_mm else field


def linear(rgb: tuple[int, int, int]) -> Colour:
    """sRGB 0..255 to linear light (the 2.2 power is near enough for paint)."""
    return (np.asarray(rgb, np.float32) / 255) ** 2.2


def srgb(light: np.ndarray) -> np.ndarray:
    """Linear light to sRGB, both 0..1."""
    return np.clip(light, 0, 1) ** (1 / 2.2)


def over(base: np.ndarray, colour: np.ndarray, alpha: Field) -> np.ndarray:
    """`colour` painted over `base` with `alpha`."""
    return base + (colour - base) * alpha[..., None]
