"""What stands around the face: background, neck, clothes, ears, beard, glasses. Painted once per identity."""

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
    over,
    pair,
    smooth_outline,
    step,
)
from latentsync.speakers.identity import Identity
from latentsync.speakers.surface import beard_zone, pupil_x

Light = Float[np.ndarray, "h w 3"]  # linear light


def paint_background(identity: Identity, grid: Grid, generator: np.random.Generator) -> Light:
    """A room out of focus: a soft gradient, large blurred shapes, a few discs of light."""
    x, y = grid.x, grid.y
    base = linear(identity.background)
    glow = bump(x, y, -90 * identity.light, -70, 170, 150)
    tone = 0.50 + 0.55 * glow - 0.10 * step(y, 60, 220)
    tone = tone + 0.06 * noise(generator, *x.shape, 90 * grid.scale, 140 * grid.scale)
    scene = base * tone[..., None]
    for _ in range(5):  # furniture and window frames, far behind
        cx, wide, tall = generator.uniform(-185, 185), generator.uniform(12, 45), generator.uniform(120, 420)
        top = generator.uniform(-190, 20)
        corners = np.array([(cx - wide, top), (cx + wide, top), (cx + wide, top + tall), (cx - wide, top + tall)])
        amount = fill(grid, corners, 9.0) * generator.uniform(0.06, 0.20)
        scene = over(scene, base * (1.5 if generator.random() < 0.5 else 0.35), amount)
    for _ in range(9):
        cx, cy, radius = generator.uniform(-185, 185), generator.uniform(-150, 80), generator.uniform(5, 15)
        distance = np.hypot(x - cx, y - cy)
        disc = step(distance, radius + 2.5, radius - 2.5) * (0.75 + 0.25 * step(distance, radius * 0.5, radius))
        warm = np.array([1.0, 0.92, 0.78]) if generator.random() < 0.6 else np.array([0.85, 0.95, 1.0])
        scene = over(scene, np.clip(base * 1.5 + 0.12, 0, 1) * warm, disc * generator.uniform(0.06, 0.24))
    return scene.astype(np.float32)


def paint_body(
    identity: Identity,
    grid: Grid,
    hair: Light,
    hair_mask: Field,
    generator: np.random.Generator,
    chin_shadow: float = 0.66,
) -> tuple[Light, Field]:
    """Back hair, neck, shoulders and clothes, with their coverage. `hair` lies on the same grid."""
    x, y = grid.x, grid.y
    female = identity.gender == "female"
    neck_half = (45 if female else 56) * identity.face_width * identity.neck_width
    neck = [(0, 40), (neck_half - 2, 40), (neck_half - 4, 100), (neck_half, 128), (neck_half + 12, 150),
            (neck_half + 34, 165), (neck_half + 40, 185), (0, 260)]  # fmt: skip
    neck_mask = fill(grid, smooth_outline(mirrored(np.array(neck))), 0.4)
    key = np.clip(0.62 + 0.40 * identity.light * np.clip(x / neck_half, -1.2, 1.2), 0.2, 1)
    roundness = np.clip(1 - np.abs(x / (neck_half + 3)) ** 4, 0.12, 1) ** 0.5
    tone = key * np.where(y < 150, 0.25 + 0.75 * roundness, 1.0).astype(np.float32)
    tone = blur(tone, 5 * grid.scale)
    under_chin = step(y - 0.0040 * x**2, 160, 108)
    tone = tone * (1 - chin_shadow * under_chin)
    for side in (-1, 1):  # the neck's tendons, running to the pit of the throat
        line = side * (12 + (158 - y) * 0.42)
        tone = tone * (1 - 0.10 * np.exp(-(((x - line) / 5) ** 2)) * step(y, 118, 138) * step(y, 172, 160))
    tone = tone * (1 - 0.22 * bump(x, y, 0, 163, 9, 6))
    for side in (-1, 1):
        bone = 170 - 0.10 * np.abs(x) + 0.0011 * x**2
        tone = tone * (1 + 0.12 * np.exp(-(((y - bone) / 4) ** 2)) * step(side * x, 14, 34))
    skin = linear(identity.skin) * np.array([1.0, 0.93, 0.88], np.float32) * tone[..., None] * 0.96
    body, mask = hair, hair_mask
    body = body * (1 - 0.55 * blur(neck_mask, 6 * grid.scale) * step(y, 180, 120))[..., None]
    body = over(body, skin, neck_mask)
    mask = np.maximum(mask, neck_mask)
    cloth, cloth_mask = _clothes(identity, grid, neck_half, generator)
    shadow = blur(cloth_mask, 3.0 * grid.scale)
    body = over(body * (1 - 0.30 * shadow)[..., None], cloth, cloth_mask)
    return body.astype(np.float32), np.maximum(mask, cloth_mask)


def _clothes(identity: Identity, grid: Grid, neck_half: float, generator: np.random.Generator) -> tuple[Light, Field]:
    x, y = grid.x, grid.y
    wide = 1.0 if identity.gender == "female" else 1.12
    shoulders = [(0, 120), (neck_half - 4, 130), (neck_half + 10, 150), (neck_half + 34, 163), (118 * wide, 176),
                 (150 * wide, 192), (168 * wide, 226), (178 * wide, 300), (0, 300)]  # fmt: skip
    outer = fill(grid, smooth_outline(mirrored(np.array(shoulders))), 0.4)
    necklines = {
        "crew": [(0, 90), (neck_half + 26, 90), (neck_half + 16, 150), (neck_half - 2, 166), (28, 177), (0, 181)],
        "vneck": [(0, 90), (neck_half + 26, 90), (neck_half + 14, 152), (neck_half - 10, 175), (16, 208), (0, 226)],
        "collar": [(0, 90), (neck_half + 16, 90), (neck_half + 5, 144), (neck_half - 14, 166), (14, 190), (0, 204)],
    }
    style = identity.clothes_style
    opening = fill(grid, smooth_outline(mirrored(np.array(necklines[style]))), 0.3)
    base = linear(identity.clothes)
    side = np.clip(0.78 + 0.36 * identity.light * x / 150, 0.3, 1.2)
    curve = 0.55 + 0.45 * np.clip(1 - np.abs(x / 185) ** 3, 0, 1)
    folds = noise(generator, *x.shape, 26 * grid.scale, 46 * grid.scale)
    weave = noise(generator, *x.shape, 0.8 * grid.scale, 0.8 * grid.scale)
    tone = side * curve * (1 + 0.055 * folds + 0.025 * weave) * (1 + 0.14 * step(y, 200, 165))
    tone = tone * (1 - 0.45 * step(y - 0.004 * x**2, 172, 130))
    cloth = base * tone[..., None]
    rim = np.clip(blur(opening, 2.6 * grid.scale), 0, 1)
    edge = np.exp(-(((rim - 0.20) / 0.09) ** 2)) * (opening < 0.5)
    cloth = cloth * (1 - 0.28 * edge)[..., None] * (1 + 0.14 * np.exp(-(((rim - 0.38) / 0.1) ** 2)))[..., None]
    mask = outer * (1 - opening)
    if style == "collar":
        for sign in (-1, 1):
            flap = np.array([(neck_half, 146), (neck_half + 8, 150), (neck_half - 1, 177), (31, 210), (9, 193),
                             (neck_half - 14, 166)])  # fmt: skip
            flap_mask = fill(grid, smooth_outline(flap * (sign, 1), samples=6), 0.4)
            drop = blur(flap_mask, 3 * grid.scale)
            cloth = cloth * (1 - 0.35 * drop * (1 - flap_mask))[..., None]
            cloth = over(cloth, np.clip(base * 1.25 + 0.015, 0, 1) * (side * (1 + 0.02 * weave))[..., None], flap_mask)
            mask = np.maximum(mask, flap_mask)
    return cloth.astype(np.float32), mask


def paint_ears(identity: Identity, grid: Grid) -> tuple[Light, Field]:
    """Both ears behind the cheeks, with their coverage."""
    x, y = grid.x, grid.y
    w = 70 * identity.face_width
    half = np.array([
        (w - 6, -12), (w + 3, -17), (w + 10, -13), (w + 12.5, -2), (w + 10.5, 14), (w + 6, 26), (w + 3, 37),
        (w - 3, 42), (w - 9, 34),
    ])  # fmt: skip
    mask = np.zeros_like(x)
    tone = np.ones_like(x)
    for side in (-1, 1):
        outline = smooth_outline(half * (side, 1))
        ear = fill(grid, outline, 0.3)
        depth = blur(ear, 3.0 * grid.scale)
        hollow = np.exp(-((((side * x) - w - 3.5) / 4.0) ** 2) - ((y - 6) / 13) ** 2)
        helix = np.exp(-(((depth - 0.70) / 0.10) ** 2)) * step(y, 26, 14)
        lit = 0.66 + 0.30 * identity.light * side
        tone = np.where(ear > 0, lit * (0.55 + 0.45 * depth) * (1 - 0.55 * hollow) * (1 - 0.22 * helix), tone)
        mask = np.maximum(mask, ear)
    redder = np.array([1.0, 0.84, 0.80], np.float32)
    return (linear(identity.skin) * redder * tone[..., None]).astype(np.float32), mask


def paint_beard(canvas: Light, identity: Identity, grid: Grid, generator: np.random.Generator) -> Light:
    """Moustache, goatee or full beard as strands over the skin; stubble is part of the skin's colour."""
    if identity.beard in ("none", "stubble"):
        return canvas
    x, y = grid.x, grid.y
    zone = blur(beard_zone(identity, grid), 1.2 * grid.scale)
    curl = x * 0.5 + 2.0 * noise(generator, *x.shape, 9 * grid.scale)
    table = generator.standard_normal((60, 700), dtype=np.float32)
    u = ((curl * 1.6 + 180) * 1.6).astype(np.float32)
    v = ((y + x * np.sign(x) * 0.25 + 160) / 7).astype(np.float32)
    strands = cv2.remap(table, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    strands = strands + 0.7 * noise(generator, *x.shape, 0.8 * grid.scale, 2.6 * grid.scale)
    side = 0.80 + 0.30 * identity.light * np.clip(x / 70, -1, 1)
    colour = (
        linear(identity.beard_colour or identity.hair)
        * 0.80
        * np.clip(1 + 0.22 * strands, 0.3, 1.9)[..., None]
        * side[..., None]
    )
    thin = 0.45 * (1 - identity.beard_density)
    ground = (0.3 + 0.35 * identity.beard_density) * blur(zone, 2.5 * grid.scale)  # what the hairs hide of the light
    alpha = np.maximum(step(zone + 0.20 * strands * step(zone, 0.0, 0.3), 0.22 + thin, 0.95 + thin) * 0.88, ground)
    return over(canvas, colour, alpha)


_RIMS: dict[str, list[tuple[float, float]]] = {
    "oval": [(-23, -9), (-8, -13), (12, -13), (23, -9), (25, 3), (19, 16), (3, 21), (-13, 18), (-22, 8)],
    "round": [(22 * np.cos(t), 22 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 14, endpoint=False)],
    "rectangular": [(-23, -13), (-21, -15), (0, -15.5), (22, -15), (25, -13), (24, 0), (22, 15), (19, 17), (0, 17.5),
                    (-18, 17), (-21, 15), (-23, 0)],
    "cat": [(-22, -7), (-6, -11), (14, -15), (29, -18), (27, -6), (23, 7), (12, 15), (-4, 16), (-17, 11), (-23, 2)],
}  # fmt: skip


def _rim(identity: Identity, side: int) -> Points:
    centre = (side * (pupil_x(identity) + 1.0), 2.0)
    return smooth_outline(np.array(_RIMS[identity.glasses]) * (side, 1) + centre)


def paint_lenses(identity: Identity, grid: Grid) -> Field:
    """Coverage of both lenses of the glasses."""
    return np.maximum(*(fill(grid, _rim(identity, side), 0.3) for side in (-1, 1)))


def paint_glasses(identity: Identity, grid: Grid) -> tuple[Light, Field]:
    """A frame with a faint reflection on the lenses, and its coverage."""
    shape = (grid.height, grid.width)
    frame = np.zeros(shape, np.uint8)
    thickness = max(1, round(identity.frame_mm * grid.scale))
    pupil = pupil_x(identity)
    temple_x = 69 * identity.face_width + 1
    for side in (-1, 1):
        rim = np.round(grid.to_px(_rim(identity, side)) * 16).astype(np.int32)
        cv2.polylines(frame, [rim], True, 255, thickness, cv2.LINE_AA, 4)
        temple = np.round(grid.to_px(np.array([(side * (pupil + 25), -4), (side * temple_x, -6)])) * 16)
        cv2.polylines(frame, [temple.astype(np.int32)], False, 255, thickness, cv2.LINE_AA, 4)
    reach = pupil - 21.5
    bridge = smooth_outline(np.array([(-reach, -0.5), (-4, -3.6), (4, -3.6), (reach, -0.5)]), closed=False)
    cv2.polylines(frame, [np.round(grid.to_px(bridge) * 16).astype(np.int32)], False, 255, thickness, cv2.LINE_AA, 4)
    alpha = frame.astype(np.float32) / 255
    glare = np.zeros(shape, np.float32)
    for side in (-1, 1):
        lens = fill(grid, _rim(identity, side), 0.5)
        band = np.exp(-(((grid.x - side * pupil + 0.8 * grid.y + 12) / 6.0) ** 2))
        glare = np.maximum(glare, 0.05 * lens * band + 0.02 * lens)
    base = linear(identity.frame)
    light = base * np.ones((*shape, 1), np.float32) + (base + 0.1) * pair(grid.x, grid.y, 20, -11, 8, 2)[..., None]
    colour = over(np.full((*shape, 3), 0.8, np.float32), light, alpha)
    return colour.astype(np.float32), np.maximum(alpha * 0.96, glare)
