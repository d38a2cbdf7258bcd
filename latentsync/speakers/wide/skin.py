"""Skin as photographs show it: uneven, spotted, wrinkled, shaven or not; and textures that nobody's skin has."""

import cv2
import numpy as np
from jaxtyping import Float

from latentsync.speakers.fields import Field, Grid, blur, bump, fill, linear, noise, over, pair, step
from latentsync.speakers.identity import Identity
from latentsync.speakers.surface import CHIN_Y, face_outline, mouth_y, pupil_x, relief
from latentsync.speakers.wide.light import EXPOSED, enlarged, key_direction, lighting
from latentsync.speakers.wide.looks import Looks

Light = Float[np.ndarray, "h w 3"]  # linear light

SHAVEN = (1.0, 1.0, 1.0, 1.0, 0.7, 0.8)  # weights of the zones where stubble grows
LONG_BEARD_Z_MM = 34.0  # height of hairs that hang, over the plane of the face
RELIEF_SCALE = 1.2  # px/mm at which the face's form and its light are computed


def paint_skin(
    identity: Identity, looks: Looks, grid: Grid, draw: np.random.Generator
) -> tuple[Light, Field, Field, Light]:
    """Skin in linear light, its coverage, the relief in mm, and the light on it."""
    factor = min(1.0, RELIEF_SCALE / grid.scale)
    small = Grid(grid.left, grid.top, round(grid.width * factor), round(grid.height * factor), grid.scale * factor)
    shape = grid.height, grid.width
    form = relief(identity, small)
    form = form - _wrinkles(identity, looks, small, draw)
    light, shine = lighting(looks, form, fill(small, face_outline(identity)), small.scale, draw)
    light, shine, form = enlarged(light, shape), enlarged(shine, shape), enlarged(form, shape)
    albedo, bumps = _albedo(identity, looks, grid, draw)
    key = key_direction(looks)
    rows, columns = np.gradient(bumps)
    fine = 1 - 2.2 * looks.ratio * (columns * key[0] + rows * key[1]) * grid.scale
    oily = 0.5 + 0.8 * bump(grid.x, grid.y, 0, 5, 30, 48)
    skin = albedo * light * np.clip(fine, 0.6, 1.4)[..., None]
    skin += looks.shine * shine * (oily * np.clip(1 + 6 * bumps, 0.3, 2))[..., None]
    for side in (-1, 1):  # nostrils
        cx, cy = side * 6.8 * identity.nose_width, 35.0 * identity.nose_length + 6.4
        tilt = (grid.y - cy) + side * 0.22 * (grid.x - cx)
        hole = np.exp(-((((grid.x - cx) / 3.7) ** 2 + (tilt / 1.7) ** 2) ** 1.3))
        skin *= (1 - 0.80 * hole)[..., None]
    mask = fill(grid, face_outline(identity), 0.35)
    rim = step(blur(mask, 2.2 * grid.scale), 0.45, 1.0)
    low = step(grid.y, 70, 92)
    skin *= (1 - (0.34 - 0.05 * looks.soft_jaw * low) * (1 - rim))[..., None]
    mask = mask + (blur(mask, looks.soft_jaw * grid.scale) - mask) * low * mask
    return skin.astype(np.float32), mask, form, light


def _wrinkles(identity: Identity, looks: Looks, grid: Grid, draw: np.random.Generator) -> Field:
    """Depth of the folds of age, mm: forehead, between the brows, crow's feet, under the eyes, beside the mouth."""
    x, y, old = grid.x, grid.y, looks.wrinkles
    side, depth = np.abs(x), np.zeros_like(x)
    if old < 0.08:
        return depth
    wobble = noise(draw, *x.shape, 14 * grid.scale)
    for line_y in np.linspace(-74, -38, 5) + draw.uniform(-3, 3, 5):
        line = y - line_y - 1.5 * np.sin(x / draw.uniform(9, 16) + line_y) - 0.8 * wobble
        depth += draw.uniform(0.1, 0.8) * old * np.exp(-0.5 * (line / 1.1) ** 2) * step(side, 52, 30)
    depth += (
        0.8
        * old
        * draw.uniform(0, 1)
        * np.exp(-0.5 * ((side - 5 - 0.6 * wobble) / 1.0) ** 2)
        * bump(x * 0, y, 0, -22, 1, 9)
    )
    corner_x, corner_y = pupil_x(identity) + 17, 0.0
    for angle in np.deg2rad(np.linspace(-35, 40, 4)) + draw.uniform(-0.1, 0.1, 4):
        dx, dy = side - corner_x, y - corner_y - 0.6 * wobble
        along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        depth += 0.6 * old * np.exp(-0.5 * (across / 0.8) ** 2) * step(along, 1, 5) * step(along, 18, 9)
    mouth = mouth_y(identity)
    marionette = side - 30 - 0.10 * (y - mouth) - 0.8 * wobble
    depth += draw.uniform(0.2, 1.4) * old * np.exp(-0.5 * (marionette / 1.8) ** 2) * bump(x * 0, y, 0, mouth + 16, 1, 8)
    above_lip = np.cos(x * 1.5 + 0.5 * wobble) ** 8 * bump(x, y, 0, mouth - 12, 20, 4)
    depth += 0.35 * max(old - 0.4, 0) * above_lip
    return depth


def _albedo(identity: Identity, looks: Looks, grid: Grid, draw: np.random.Generator) -> tuple[Light, Field]:
    """Colour of the skin without light, and its fine bumps in mm."""
    x, y, scale, shape = grid.x, grid.y, grid.scale, (grid.height, grid.width)
    uneven = sum(
        weight * noise(draw, *shape, size * scale) for size, weight in ((26, 0.7), (9, 0.6), (3.2, 0.5), (1.2, 0.4))
    )
    albedo = linear(identity.skin) * np.clip(1 + looks.mottle * uneven, 0.4, 1.8)[..., None]
    blood = looks.redness * (noise(draw, *shape, 16 * scale) + 0.7 * noise(draw, *shape, 3 * scale))
    tint = identity.cheek_tint
    blood += 0.55 * tint * pair(x, y, 42, 30, 16, 15) + 0.30 * bump(x, y, 0, 35, 11, 8) * (0.3 + tint)
    blood += 0.16 * pair(x, y, pupil_x(identity), 3, 16, 9) + 0.10 * bump(x, y, 0, 100, 16, 9)
    albedo *= 1 - np.clip(blood, -0.5, 1.5)[..., None] * np.array([0.03, 0.32, 0.28], np.float32)
    rings = looks.dark_eyes * pair(x, y, 28, 9, 13, 7)
    albedo *= 1 - rings[..., None] * np.array([0.55, 0.62, 0.5], np.float32)
    if identity.freckles > 0.2:
        dots = np.clip(noise(draw, *shape, 1.1 * scale) - 1.5 + 0.7 * identity.freckles, 0, 1)
        dots *= np.maximum(pair(x, y, 28, 22, 24, 16), identity.freckles * bump(x, y, 0, 20, 45, 60))
        albedo *= 1 - np.clip(dots, 0, 0.8)[..., None] * np.array([0.45, 0.7, 0.85], np.float32)
    spots = np.zeros((*shape, 3), np.uint8)
    for number, (colour, low, high) in zip(
        (looks.moles, looks.blemishes), (((150, 190, 200), 0.5, 1.8), ((12, 90, 80), 0.8, 3.0)), strict=True
    ):
        for _ in range(number):
            at = grid.to_px(np.array([[draw.uniform(-62, 62), draw.uniform(-70, 104)]]))[0]
            radius = max(draw.uniform(low, high) * scale, 0.6)
            strong = tuple(int(part * draw.uniform(0.4, 1)) for part in colour)
            cv2.circle(spots, np.round(at * 16).astype(int).tolist(), round(radius * 16), strong, -1, cv2.LINE_AA, 4)
    albedo *= 1 - 0.9 * blur(spots.astype(np.float32) / 255, 0.6 * scale)
    bumps = looks.pores * (0.6 * noise(draw, *shape, 0.9 * scale) + 0.5 * noise(draw, *shape, 2.0 * scale)) / scale
    albedo = _overlaid(albedo, identity, looks, grid, draw)
    return np.clip(albedo, 0.002, 1).astype(np.float32), bumps.astype(np.float32)


def _overlaid(albedo: Light, identity: Identity, looks: Looks, grid: Grid, draw: np.random.Generator) -> Light:
    """A texture over the face, so that its look can be known from a picture of it alone."""
    if looks.overlay == "none":
        return albedo
    x, y, shape, size = grid.x, grid.y, (grid.height, grid.width), looks.overlay_mm
    turn = draw.uniform(0, np.pi)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    warp = size * 0.4 * noise(draw, *shape, 20 * grid.scale)
    if looks.overlay == "stripes":
        amount = 0.5 + 0.5 * np.sin(2 * np.pi * (across + warp) / size)
    elif looks.overlay == "checks":
        amount = 0.5 + 0.5 * np.sign(np.sin(np.pi * along / size) * np.sin(np.pi * (across + warp) / size))
    elif looks.overlay == "blotches":
        amount = step(noise(draw, *shape, size * grid.scale), 0.1, 0.5)
    elif looks.overlay == "strokes":
        amount = step(noise(draw, *shape, size * grid.scale, max(size * 0.15, 1.0) * grid.scale), 0.2, 0.9)
    else:
        amount = np.clip(0.5 + 0.35 * noise(draw, *shape, size * grid.scale), 0, 1)
    skin, hue = linear(identity.skin), linear(looks.overlay_hue)
    strength = looks.overlay_amount * min(1.0, float(skin.mean() / hue.mean()) ** 0.7)  # bright on dark counts for more
    return over(albedo, hue, (strength * amount).astype(np.float32))


def beard_map(identity: Identity, weights: tuple[float, ...], x: Field, y: Field) -> Field:
    """How densely a beard grows, 0..1, from the weights of moustache, soul patch, chin, jaw, cheeks and neck."""
    moustache, patch, chin, jaw, cheeks, neck = weights
    side, mouth = np.abs(x), mouth_y(identity)
    lip = step(np.abs(y - mouth + 12.0 - 0.008 * x**2), 8.5, 2.5) * step(side, 36, 24)
    below = step(side, 9, 4) * step(np.abs(y - mouth - 17), 8, 3)
    round_chin = step(y - mouth, 14, 24) * step(side, 30, 20)
    frame = step(np.abs(side - 30), 7.5, 2.0) * step(y, mouth - 12, mouth - 4) * step(y, mouth + 34, mouth + 20)
    edge = np.interp(side, (0, 20, 34, 46, 56, 62, 70), (90, 86, 80, 66, 44, 8, -24)).astype(np.float32)
    jaws = step(y - edge, -5, 12)
    face = step(y - edge + 16, -5, 12) * step(side, 24, 34) * step(y, -10, 20)
    under = step(y, 98, 108)
    parts = (
        moustache * lip,
        patch * below,
        chin * np.maximum(round_chin, frame),
        jaw * jaws,
        cheeks * face,
        neck * under,
    )
    return np.maximum.reduce(parts).astype(np.float32)


def paint_beard(canvas: Light, identity: Identity, looks: Looks, grid: Grid, draw: np.random.Generator) -> Light:
    """Stubble as single dots, and hairs of a beard that hang and curl."""
    x, y, shape, scale = grid.x, grid.y, (grid.height, grid.width), grid.scale
    colour = linear(identity.beard_colour or identity.hair)
    if looks.stubble:
        where = blur(beard_map(identity, SHAVEN, x, y), 3 * scale)
        dots = np.clip(noise(draw, *shape, 0.75 * scale, 0.9 * scale) - 0.5, 0, 1)
        alpha = looks.stubble * where * (0.22 + 0.6 * dots)
        canvas = over(canvas, np.minimum(colour, linear(identity.skin)) * 0.8, alpha.astype(np.float32))
    if not any(looks.beard):
        return canvas
    zone = blur(beard_map(identity, looks.beard, x, y), 1.5 * scale)
    strands = _strands(x, y, grid, draw)
    light = canvas.mean(axis=2, keepdims=True) / max(float(linear(identity.skin).mean()), 0.02)
    light = np.clip(blur(light[..., 0], 5 * scale), 0.15, 1.6)[..., None]
    hairs = colour * np.clip(0.75 + 0.38 * strands, 0.15, 2.2)[..., None] * light
    ragged = step(zone + 0.20 * strands * step(zone, 0.0, 0.25), 0.18, 0.75)
    alpha = np.clip(np.maximum(ragged * (0.55 + 0.45 * zone), 0.75 * blur(zone, 2 * scale)), 0, 0.97)
    return over(canvas, hairs, alpha.astype(np.float32))


def with_long_beard(
    skin: Light, mask: Field, relief: Field, identity: Identity, looks: Looks, grid: Grid, draw: np.random.Generator
) -> tuple[Light, Field, Field]:
    """Skin, coverage and relief with hairs that hang below the chin."""
    if not looks.beard_mm:
        return skin, mask, relief
    x, y, chin = grid.x, grid.y, CHIN_Y * identity.chin_length
    strands = _strands(x, y, grid, draw)
    half = (30 + 14 * looks.beard[3]) * identity.jaw_width
    end = chin - 8 + looks.beard_mm * np.sqrt(np.clip(1 - (x / half) ** 2, 0, 1)) + 2.5 * strands
    hangs = (step(y - end, 2, -3) * step(np.abs(x), half, half - 6) * (y > chin - 26)).astype(np.float32)
    below = np.clip((y - chin) / 40, 0, 1)
    colour = linear(identity.beard_colour or identity.hair) * EXPOSED
    hairs = colour * (np.clip(0.75 + 0.38 * strands, 0.15, 2.2) * (1 - 0.5 * below))[..., None]
    alpha = hangs * np.maximum(1 - mask, step(y, chin - 24, chin - 8))
    beside = blur(hangs, 4 * grid.scale) > 0.02  # so that its edge lies on no slope
    held = np.where(beside, np.maximum(relief, LONG_BEARD_Z_MM - 14 * below), relief).astype(np.float32)
    return over(skin, hairs, alpha), np.maximum(mask, 0.97 * hangs), held


def _strands(x: Field, y: Field, grid: Grid, draw: np.random.Generator) -> Field:
    """Noise along hairs that hang and fan out from the chin; wiry ones curl."""
    curl = draw.uniform(1.0, 7.0) * noise(draw, *x.shape, draw.uniform(4, 14) * grid.scale)
    fan = np.arctan2(x, y - 10) * 90 + curl
    reach = np.hypot(x, y - 10) + curl
    table = draw.standard_normal((64, 1400), dtype=np.float32)
    u, v = ((fan + 330) * 2.0).astype(np.float32), (reach / draw.uniform(4, 11) + 2).astype(np.float32)
    field = cv2.remap(table, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return field + 0.6 * noise(draw, *x.shape, 0.7 * grid.scale, 2.4 * grid.scale)
