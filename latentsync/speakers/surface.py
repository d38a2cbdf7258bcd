"""The skin of the head at rest, with eyes and lips closed: relief, light and colour, painted once per identity.

Lengths are mm of the average adult after L. Farkas, "Anthropometry of the Head and Face", 1994: pupils 63 apart, pupil
to subnasale 42, to stomion 64, to chin 110, half-width at the cheekbones 70, at the jaw 53.
"""

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float

from latentsync.speakers.fields import (
    Field,
    Grid,
    Points,
    blur,
    bump,
    fill,
    linear,
    mirrored,
    noise,
    pair,
    smooth_outline,
    step,
)
from latentsync.speakers.identity import Identity

Light = Float[np.ndarray, "h w 3"]  # linear light

PUPIL_X = 31.5
MOUTH_Y = 65.0
CHIN_Y = 110.0


def mouth_y(identity: Identity) -> float:
    """Height of the line where the lips meet, mm."""
    return MOUTH_Y + identity.mouth_drop


def pupil_x(identity: Identity) -> float:
    """Distance of either pupil from the middle of the face, mm."""
    return PUPIL_X * identity.eye_spacing


def face_outline(identity: Identity) -> Points:
    """Skull, temples, cheekbones, jaw and chin, in mm."""
    w, j, c, k = identity.face_width, identity.jaw_width, identity.chin_length, identity.chin_width
    half = [
        (0, -113), (26, -110), (48, -98), (62, -76), (68.5 * w, -48), (70.5 * w, -20), (70 * w, 6), (67.5 * w, 30),
        (61.5 * (w + j) / 2, 54), (52.5 * j, 76), (41 * j, 92 * c), (27 * j * k, 103 * c), (14 * j * k, 109 * c),
        (0, CHIN_Y * c),
    ]  # fmt: skip
    return smooth_outline(mirrored(np.array(half)))


def _half_width(outline: Points, y: Field) -> Field:
    """Half-width of the outline at each height y, mm (0 above and below it)."""
    right = outline[outline[:, 0] >= 0]
    right = right[np.argsort(right[:, 1])]
    return np.interp(y[:, 0], right[:, 1], right[:, 0], left=0.0, right=0.0).astype(np.float32)[:, None]


def relief(identity: Identity, grid: Grid) -> Field:
    """Height of the face towards the viewer in mm: an egg, plus features as Gaussian bumps."""
    x, y = grid.x, grid.y
    chin = CHIN_Y * identity.chin_length
    # The bone under chin and crown is broad where the outline closes to a point.
    half = np.hypot(_half_width(face_outline(identity), y), 13.0) + 1.0
    across = np.clip(1 - np.abs(x / half) ** 2.6, 0.0, 1) ** 0.5
    middle, radius = (chin - 113) / 2, (chin + 113) / 2 + 3
    along = np.clip(1 - np.abs((y - middle) / radius) ** 3.6, 0.0, 1) ** 0.5
    z = 62 * across * along
    nw, nl = identity.nose_width, identity.nose_length
    age, drop, bones = identity.age, identity.mouth_drop, identity.cheekbones
    apart = pupil_x(identity) - PUPIL_X
    z -= 8.5 * pair(x, y, 27 + apart, -3, 12, 9)  # eye sockets
    z += 3.6 * pair(x, y, PUPIL_X + apart, 0, 11, 7.5)  # eyeballs under their lids
    z += (
        3.2 * pair(x, y, 27 + apart, -21 - identity.brow_height, 17, 6) * (0.7 if identity.gender == "female" else 1.25)
    )  # brow ridge
    z += 5.5 * bones * pair(x, y, 45, 24, 17, 15)  # cheekbones
    z -= 2.5 * bones * pair(x, y, 46, 62, 12, 20)  # hollow of the cheek
    z += 6.0 * bump(x, y, 0, 62 + drop, 24, 19)  # the teeth under the lips
    z += 6.0 * bump(x, y, 0, chin - 12, 15, 9)  # chin
    z -= 4.0 * bump(x, y, 0, 84 + drop, 15, 4.0)  # crease between lower lip and chin
    z -= 1.3 * bump(x, y, 0, 52 + drop, 2.4, 5.5) - 0.7 * pair(x, y, 4.8, 52 + drop, 1.8, 6)  # philtrum
    z += nose(x, y, nw, nl, identity.nose_bridge)
    z -= (0.5 + 2.0 * age) * _fold(x, y, (17, 40), (31, 66 + drop), 3.2)  # from nose to mouth corner
    z -= (0.3 + 0.9 * age) * _fold(x, y, (20, 9), (40, 15), 2.4)  # under the eyes
    for line_y in (-66, -56, -46):
        wave = 1.5 * np.sin(x / 13 + line_y)
        z -= 0.55 * max(age - 0.35, 0) * np.exp(-0.5 * ((y - line_y - wave) / 1.3) ** 2) * (np.abs(x) < 45)
    return z.astype(np.float32)


def nose(x: Field, y: Field, width: float, length: float, bridge: float = 1.0) -> Field:
    """Bridge, tip and wings."""
    tip = 35.0 * length
    t = np.clip((y + 12) / (tip + 12), 0, 1)
    height = 3.0 * bridge * step(y, -20, -4) + 14.5 * t**1.5
    height = height * step(y + 0.012 * x**2, tip + 13.5, tip - 2.0)
    sigma = (5.6 + 2.2 * t**2) * (0.6 + 0.4 * width)
    ridge = height * np.exp(-0.5 * np.abs(x / sigma) ** 2.3)
    tip_ball = 4.6 * bump(x, y, 0, tip, 7.0 * width, 6.0)
    wings = 7.0 * pair(x, y, 12.0 * width, tip + 2.5, 4.4, 5.0)
    return ridge + tip_ball + wings - 2.5 * pair(x, y, 18.5 * width, tip + 2, 2.2, 5)


def _fold(x: Field, y: Field, start: tuple[float, float], end: tuple[float, float], width: float) -> Field:
    """1 along a segment (and its mirror image), falling off over `width` mm."""
    a, d = np.array(start), np.array(end) - np.array(start)
    px, py = np.abs(x) - a[0], y - a[1]
    t = np.clip((px * d[0] + py * d[1]) / (d @ d), 0, 1)
    distance2 = (px - t * d[0]) ** 2 + (py - t * d[1]) ** 2
    return np.exp(-0.5 * distance2 / width**2) * np.sin(np.pi * np.clip(0.08 + 0.84 * t, 0, 1))


def lighting(identity: Identity, z: Field, scale: float) -> tuple[Light, Field]:
    """Diffuse light (wrapped more in red, as skin scatters) and highlight, from the relief."""
    z = blur(z, 0.9 * scale)
    gy, gx = np.gradient(z, 1 / scale)
    length = np.sqrt(gx * gx + gy * gy + 1)
    normal = np.stack([-gx / length, -gy / length, 1 / length], -1)
    hard = 2 * identity.hardness - 1
    key = _unit(identity.light * 0.75, -identity.light_height, 0.80)
    fill_light = _unit(-identity.light, -0.05, 0.75)
    facing = normal @ key
    occlusion = np.ones_like(z)
    for sigma_mm, strength in ((2.5, 0.075), (7.0, 0.035), (16.0, 0.012)):
        hollow = np.maximum(blur(z, sigma_mm * scale) - z, 0)
        occlusion *= np.exp(-strength * 1.3 * hollow)
    shadow = 1 - (0.40 + 0.28 * hard) * cast_shadow(z, scale, key)
    wrap = np.array([0.42, 0.28, 0.22], np.float32)
    diffuse = np.clip((facing[..., None] + wrap) / (1 + wrap), 0, 1) ** 1.15 * shadow[..., None]
    ambient = 0.5 - 0.5 * normal[..., 1]
    light = (
        (0.86 + 0.16 * hard) * diffuse * np.array([1.04, 1.0, 0.95])
        + 0.20 * (1 - 0.75 * hard) * np.clip(normal @ fill_light, 0, 1)[..., None] * np.array([0.95, 1.0, 1.08])
        + ((1 - 0.5 * hard) * (0.17 + 0.12 * ambient))[..., None]
    ) * occlusion[..., None]
    halfway = _unit(*(key + np.array([0, 0, 1.0])))
    shine = np.clip(normal @ halfway, 0, 1) ** 22 * shadow
    return light.astype(np.float32), shine.astype(np.float32)


def _unit(x: float, y: float, z: float) -> Float[np.ndarray, "3"]:
    vector = np.array([x, y, z], np.float32)
    return vector / np.linalg.norm(vector)


def cast_shadow(z: Field, scale: float, key: Float[np.ndarray, "3"]) -> Field:
    """1 where the relief stands between a point and the light; marched in steps of 2 mm, soft."""
    deepest = np.zeros_like(z)
    across = max(float(np.hypot(key[0], key[1])), 0.1)  # light from the camera casts no shadow that it sees
    slope, direction = key[2] / across, key[:2] / across
    for distance in np.arange(2.0, 26.0, 2.0):
        shift = np.float32([[1, 0, -direction[0] * distance * scale], [0, 1, -direction[1] * distance * scale]])
        toward = cv2.warpAffine(z, shift, z.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        deepest = np.maximum(deepest, toward - z - slope * distance)
    return blur(step(deepest, 0.0, 3.5), 1.2 * scale)


def paint_skin(identity: Identity, grid: Grid, generator: np.random.Generator) -> tuple[Light, Field, Field, Field]:
    """Skin in linear light, its coverage 0..1, the relief in mm, and the brightness of the light on it."""
    x, y = grid.x, grid.y
    z = relief(identity, grid)
    light, shine = lighting(identity, z, grid.scale)
    albedo = _albedo(identity, grid, generator)
    # Shaded skin turns redder: blood scatters the light that does come.
    skin = albedo * light + 0.10 * shine[..., None] * (0.5 + 0.8 * bump(x, y, 0, 5, 32, 45))[..., None]
    for side in (-1, 1):  # nostrils
        cx, cy = side * 6.8 * identity.nose_width, 35.0 * identity.nose_length + 6.4
        tilt = (y - cy) + side * 0.22 * (x - cx)
        hole = np.exp(-((((x - cx) / 3.7) ** 2 + (tilt / 1.7) ** 2) ** 1.3))
        skin *= (1 - 0.80 * hole)[..., None]
    mask = fill(grid, face_outline(identity), 0.35)
    # The skin turns away at its outline, where the relief ends and knows no slope.
    rim = step(blur(mask, 2.2 * grid.scale), 0.45, 1.0)
    skin *= (0.60 + 0.40 * rim)[..., None]
    return skin.astype(np.float32), mask, z, light.mean(axis=2)


def _albedo(identity: Identity, grid: Grid, generator: np.random.Generator) -> Light:
    """Colour of the skin without light: blood in cheeks, nose and lids, mottling, pores, and the beard's roots."""
    x, y = grid.x, grid.y
    base = linear(identity.skin)
    tint = identity.cheek_tint
    blood = 0.55 * tint * pair(x, y, 42, 30, 16, 15) + 0.30 * bump(x, y, 0, 35, 11, 8) * (0.5 + tint)
    blood += 0.18 * pair(x, y, pupil_x(identity), 3, 16, 9) + 0.10 * bump(x, y, 0, 100, 16, 9)
    shape = x.shape
    mottle = 0.016 * noise(generator, *shape, 14 * grid.scale) + 0.016 * noise(generator, *shape, 3 * grid.scale)
    pores = 0.020 * noise(generator, *shape, 0.7 * grid.scale)
    albedo = base * (1 + mottle + pores)[..., None]
    albedo = albedo * (1 - blood[..., None] * np.array([0.02, 0.30, 0.26], np.float32))
    yellow = bump(x, y, 0, -55, 45, 22)[..., None]
    albedo = albedo * (1 + yellow * np.array([0.02, 0.01, -0.05], np.float32))
    if identity.gender == "male" and identity.beard != "full":
        roots = blur(_beard_zone(x, y, replace(identity, beard="full")), 3.5 * grid.scale)[..., None]
        amount = (0.14 if identity.beard != "stubble" else 0.36) * identity.beard_density
        albedo = albedo * (1 - roots * amount * np.array([1.0, 0.92, 0.84], np.float32))
    many = max(identity.freckles - 0.2, 0.0)
    spots = np.clip(noise(generator, *shape, 1.0 * grid.scale) - 1.7 + 0.8 * many, 0, 1)
    spots = spots * np.maximum(pair(x, y, 28, 20, 22, 12), many * bump(x, y, 0, 18, 16, 18))
    strength = (0.7 * min(identity.freckles, 0.2) + 0.25 * many) * np.array([1 - 0.5 * many, 1.0, 1.0], np.float32)
    return np.maximum(albedo * (1 - spots[..., None] * strength), 0.002).astype(np.float32)


def _beard_zone(x: Field, y: Field, identity: Identity) -> Field:
    """1 where a beard grows: sideburns, jaw, chin, and above the lip."""
    side = np.abs(x)
    edge = np.interp(side, [0, 20, 27, 34, 46, 56, 62, 68], [76, 76, 70, 72, 60, 40, 8, -20]).astype(np.float32)
    jaw = step(y - edge, -7, 16)
    upper_lip = step(np.abs(y - 53.5 - identity.mouth_drop - 0.006 * x**2), 8.0, 2.0) * step(side, 34, 20)
    goatee = 0.6 * step(np.abs(side - 28.5), 8.0, 1.0) * step(y, 50, 66)
    if identity.beard == "moustache":
        return upper_lip
    if identity.beard == "goatee":
        jaw = jaw * step(side, 31, 22)
    return np.maximum(np.maximum(jaw, upper_lip), goatee)


def beard_zone(identity: Identity, grid: Grid) -> Field:
    """Where the beard of this identity grows, 0..1."""
    return _beard_zone(grid.x, grid.y, identity)
