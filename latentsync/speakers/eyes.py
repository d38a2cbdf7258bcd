"""Open eyes painted over the closed lids of the skin, at any pixel; and the brows. Knows gaze and lids, not time."""

import cv2
import numpy as np
from jaxtyping import Float

from latentsync.speakers.fields import Field, Grid, linear, over, step
from latentsync.speakers.identity import Identity
from latentsync.speakers.surface import PUPIL_X, pupil_x

HALF_WIDTH_MM = 15.2
IRIS_MM = 6.0  # radius
PUPIL_MM = 2.3  # radius


def _lids(identity: Identity, openness: float, x: Field) -> tuple[Field, Field, Field]:
    """u across the eye (-1 inner corner .. 1 outer) and the heights of upper and lower lid's edge in mm."""
    u = x / (HALF_WIDTH_MM * identity.eye_size)
    inside = np.clip(1 - u * u, 0, 1)
    tilt = -(0.9 + identity.eye_tilt) * u + 0.6  # the outer corner stands higher
    rise = 6.1 * identity.eye_size * identity.lid * (inside**0.62) * (1 + 0.12 * u * -1)
    sink = 4.5 * identity.eye_size * (inside**0.72) * (1 + 0.10 * u)
    # The upper lid does the blinking; the lower comes up a little to meet it.
    upper = tilt - rise * openness + (sink * 0.72) * (1 - openness)
    lower = tilt + sink * (0.72 + 0.28 * openness)
    return u, upper, lower


def paint_eye(
    canvas: Float[np.ndarray, "h w 3"],
    identity: Identity,
    side: int,
    openness: float,
    gaze_mm: tuple[float, float],
    x: Field,
    y: Field,
    px_mm: float,
    shade: Float[np.ndarray, "h w 1"] | float = 1.0,
) -> Float[np.ndarray, "h w 3"]:
    """Paint the eye of `side` (-1 left of the picture, 1 right) over `canvas` (linear light) at x, y in mm.

    `openness` is 0 shut .. 1 open, `gaze_mm` the shift of the iris, `shade` the brightness of the light (1 is plain).
    """
    local = (x - np.float32(side * pupil_x(identity))) * side  # towards the ear is positive
    u, upper, lower = _lids(identity, openness, local)
    soft = 0.6 * px_mm + 0.15
    within = step(np.abs(u), 1.02, 0.96)
    ball = _eyeball(identity, local * side, y, u, upper, lower, gaze_mm, soft) * shade
    opened = step(y - upper, -soft, soft) * step(lower - y, -soft, soft) * within
    canvas = over(canvas, ball, opened * min(1.0, openness / 0.12))
    # Wet rim of the lower lid, then the crease above the upper one: it deepens as the lid withdraws under it.
    rim = np.exp(-(((y - lower - 0.5) / 0.7) ** 2)) * within * openness
    canvas = over(canvas, canvas * np.array([1.02, 0.86, 0.84], np.float32) + 0.012, 0.8 * rim)
    crease_y = upper * 0.85 - 2.5 - 1.6 * openness - 0.5
    crease = np.exp(-(((y - crease_y) / 0.95) ** 2)) * step(np.abs(u + 0.02), 1.12, 0.65)
    canvas = canvas * (1 - identity.lid_crease * (0.22 + 0.24 * openness) * crease)[..., None]
    return _lash_lines(canvas, identity, u, upper, lower, y, openness, px_mm)


def _eyeball(
    identity: Identity,
    x: Field,
    y: Field,
    u: Field,
    upper: Field,
    lower: Field,
    gaze_mm: tuple[float, float],
    soft: float,
) -> np.ndarray:
    """White, iris, pupil, the lid's shadow and two highlights."""
    round_off = 1 - 0.42 * np.clip(np.abs(u), 0, 1) ** 2.4
    white = np.array([0.63, 0.585, 0.56], np.float32) * round_off[..., None]
    pink = step(-u, 0.72, 0.98)
    colour = over(white, np.array([0.50, 0.22, 0.20], np.float32), 0.75 * pink)
    dx, dy = x - gaze_mm[0], y - gaze_mm[1] + 0.25
    radius = np.sqrt(dx * dx + dy * dy)
    angle = np.arctan2(dy, dx)
    phase = identity.seed % 11
    rays = 1 + 0.14 * np.sin(17 * angle + phase) + 0.10 * np.sin(29 * angle + 2 * phase)
    size = IRIS_MM * (0.4 + 0.6 * identity.eye_size)
    iris = linear(identity.iris) * (rays * (0.62 + 0.55 * (radius / size)))[..., None]
    iris = iris * (1 + 0.9 * step(dy, -2.0, 5.0))[..., None]  # light gathers opposite to where it falls in
    iris = iris * (1 - 0.72 * step(radius, size - 1.5, size))[..., None]  # limbal ring
    colour = over(colour, iris, step(radius, size + 0.25 + soft * 0.6, size - 0.25 - soft * 0.6))
    pupil = step(radius, PUPIL_MM + soft, PUPIL_MM - soft)
    colour = over(colour, np.full(3, 0.004, np.float32), pupil)
    shadow = 0.62 * np.exp(-(np.clip((y - upper) / 2.5, 0, None) ** 1.3))
    colour = colour * (1 - shadow)[..., None]
    side = 1.0 if identity.light > 0 else -1.0
    glint = np.exp(-((np.hypot(dx - 1.9 * side, dy + 2.0) / (0.95 + 0.4 * soft)) ** 4))
    faint = 0.14 * np.exp(-((np.hypot(dx + 2.2 * side, dy - 2.3) / 1.3) ** 2))
    return over(colour, np.full(3, 0.95, np.float32), 0.92 * glint) + faint[..., None]


def _lash_lines(
    canvas: np.ndarray,
    identity: Identity,
    u: Field,
    upper: Field,
    lower: Field,
    y: Field,
    openness: float,
    px_mm: float,
) -> np.ndarray:
    """Dark upper lash line, thicker outwards, and a faint lower one."""
    dark = linear(identity.hair) * 0.10 + 0.004
    weight = identity.lashes
    thick = (0.55 + 0.75 * weight) * (0.55 + 0.45 * np.clip(u + 0.5, 0, 1.4)) + 0.22 * px_mm
    flick = step(np.abs(u), 1.06 + 0.06 * weight, 0.86)
    line = np.exp(-(np.abs((y - upper + 0.35) / thick) ** 2.4)) * flick
    # Single lashes, slanting outwards, longer for heavier lashes.
    above = (upper - y) if openness > 0.35 else (y - upper)
    spread = u + 0.05 * np.clip(above, 0, 5) * np.sign(u - 0.05) * -1
    teeth = 0.5 + 0.5 * np.cos(spread * 2 * np.pi * 11.0)
    length = (0.8 + 2.4 * weight) * np.clip(0.45 + 0.55 * u, 0.1, 1)
    lashes = step(above, length, 0.0) * (above > -0.4) * teeth**2 * step(np.abs(u), 1.12, 0.9) * weight
    canvas = over(canvas, dark, np.clip(0.88 * line + 0.55 * lashes, 0, 0.93))
    below = np.exp(-(((y - lower - 0.9) / (0.5 + 0.3 * px_mm)) ** 2)) * step(np.abs(u - 0.1), 0.95, 0.5)
    return over(canvas, dark + 0.02, (0.12 + 0.22 * weight) * below)


def paint_brows(
    canvas: Float[np.ndarray, "h w 3"], identity: Identity, grid: Grid, generator: np.random.Generator
) -> Float[np.ndarray, "h w 3"]:
    """Both brows as some 500 single hairs each over a soft ground, painted once into the skin."""
    cover = np.zeros((grid.height, grid.width), np.float32)
    hairs = np.zeros((grid.height, grid.width), np.uint8)
    weight, arch = identity.brow_weight, identity.brow_arch
    apart = pupil_x(identity) - PUPIL_X
    for side in (-1, 1):
        for _ in range(520):
            t = float(generator.beta(1.1, 1.25))  # 0 at the nose, 1 at the temple
            height = 5.6 * weight * (1 - t**2.2) ** 0.8 * (0.60 + 0.40 * min(t / 0.15, 1)) + 0.8
            offset = float(generator.uniform(-0.5, 0.5)) * height
            rounded = 5.0 * (2 * offset / height) ** 2 * max(1 - 4 * t, 0)  # of the end beside the nose
            x0 = 12.5 + apart + 36.5 * t + rounded
            y0 = (
                -20.5
                - identity.brow_height
                - (3.0 + 3.5 * arch) * np.sin(np.pi * min(t / 1.25, 1)) ** 1.3
                + 4.5 * max(t - 0.7, 0)
                + offset
            )
            lean = np.deg2rad(float(np.interp(t, [0, 0.25, 0.6, 1], [62, 40, 16, -14])) - 22 * offset / height)
            length = float(generator.uniform(2.6, 4.6)) * (1 - 0.3 * t) * (0.7 + 0.3 * min(t / 0.2, 1))
            tip = (x0 + length * np.cos(lean), y0 - length * np.sin(lean))
            ends = grid.to_px(np.array([(side * x0, y0), (side * tip[0], tip[1])]))
            points = np.round(ends * 16).astype(np.int32)
            cv2.line(hairs, points[0], points[1], int(generator.integers(70, 190)), 1, cv2.LINE_AA, 4)
    cover = np.clip(hairs.astype(np.float32) / 255, 0, 1)
    ground = cv2.GaussianBlur(cover, (0, 0), 1.7 * grid.scale)
    colour = np.minimum(linear(identity.hair), linear(identity.skin) * 0.6) * 0.30 + 0.003
    alpha = np.clip(0.50 * cover + 1.2 * ground * (0.45 + 0.55 * min(weight, 1.2)), 0, 0.9)
    return over(canvas, colour, alpha)
