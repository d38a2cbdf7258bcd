"""Hair: outlines for each style, strands that follow the comb, volume and shine. Painted once per identity."""

from dataclasses import dataclass, replace

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
    smooth_outline,
    step,
)
from latentsync.speakers.identity import Identity

Light = Float[np.ndarray, "h w 3"]  # linear light


@dataclass(frozen=True)
class HairStyle:
    """Outlines in mm. `front` lies over the face, `gap` is cut out of it, `back` falls behind neck and shoulders.

    `part` is where the strands begin; `fall` combs them downwards along the outline, otherwise they stand up from
    the hairline.
    """

    front: Points
    gap: Points
    back: Points | None
    part: tuple[float, float]
    fall: bool


def _long(width: float, length: float, part_x: float) -> HairStyle:
    outer = [
        (0, -127), (26, -124), (50, -112), (70, -88), (81 * width, -48), (84 * width, 0), (87 * width, 55),
        (88 * width, 100), (84 * width, length), (66, length + 6), (40, length - 10), (0, length - 30),
    ]  # fmt: skip
    gap = [
        (part_x, -84), (part_x + 20, -74), (42, -58), (55, -34), (61, -6), (63, 25), (62, 60), (58, 95),
        (58, length - 22), (70, length + 30), (0, length + 40), (-70, length + 30), (-58, length - 22), (-58, 95),
        (-62, 60), (-63, 25), (-61, -6), (-56, -34), (-44, -58), (part_x - 18, -75),
    ]  # fmt: skip
    back = [(0, -120), (60, -105), (80, -50), (84, 20), (88 * width, 90), (86 * width, length + 4), (50, length + 12),
            (0, length + 10)]  # fmt: skip
    return HairStyle(
        smooth_outline(mirrored(np.array(outer))),
        smooth_outline(np.array(gap)),
        smooth_outline(mirrored(np.array(back))),
        (part_x, -118.0),
        True,
    )


def _fringe() -> HairStyle:
    style = _long(0.98, 112, 0.0)
    gap = [
        (0, -36), (25, -35), (44, -33), (57, -26), (62, 0), (63, 25), (61, 60), (56, 84), (60, 96), (70, 140), (0, 150),
        (-70, 140), (-60, 96), (-56, 84), (-61, 60), (-63, 25), (-62, 0), (-57, -26), (-44, -33), (-25, -35),
    ]  # fmt: skip
    return HairStyle(style.front, smooth_outline(np.array(gap)), style.back, (0.0, -122.0), True)


def _updo() -> HairStyle:
    outer = [(0, -125), (27, -122), (51, -109), (69, -84), (77, -48), (76, -12), (72, 14), (60, 16), (0, 10)]
    gap = [
        (0, -74), (26, -72), (46, -60), (58, -38), (64, -14), (67, 12), (80, 40), (0, 60), (-80, 40), (-67, 12),
        (-64, -14), (-58, -38), (-46, -60), (-26, -72),
    ]  # fmt: skip
    back = [(0, -164), (20, -162), (33, -148), (32, -128), (18, -116), (0, -112)]
    return HairStyle(
        smooth_outline(mirrored(np.array(outer))),
        smooth_outline(np.array(gap)),
        smooth_outline(mirrored(np.array(back))),
        (0.0, -20.0),
        False,
    )


def _short(top: float, temple: float, line: float, part_x: float, sides: float = 0.0) -> HairStyle:
    """Men's cuts: height of the top, depth of the temples, height of the hairline, side of the parting."""
    outer = [
        (0, top), (28, top + 3), (52, top + 16), (68 - sides, -86), (75.5 - sides, -48), (76.5 - sides, -14), (73, 8),
        (66, 12), (0, 10),
    ]  # fmt: skip
    half = np.array(outer, np.float32)
    gap = [
        (part_x * 0.4, line), (25, line - 1), (44, line + 5), (53 - temple * 0.5, -60 - temple), (59, -44), (62, -26),
        (67, -18), (68, 4), (80, 30), (0, 60), (-80, 30), (-68, 4), (-67, -18), (-62, -26), (-59, -44),
        (-53 + temple * 0.5, -60 - temple), (-44, line + 5), (-25, line - 1),
    ]  # fmt: skip
    return HairStyle(smooth_outline(mirrored(half)), smooth_outline(np.array(gap)), None, (part_x, -30.0), False)


STYLES = {
    "long": _long(1.0, 168, 10.0),
    "bob": _long(1.0, 108, -12.0),
    "fringe": _fringe(),
    "updo": _updo(),
    "short": _short(-129, 0, -74, 18.0),
    "swept": _short(-131, 4, -72, 30.0),
    "crop": _short(-120, 2, -76, 0.0, 3.0),
    "receding": _short(-122, 16, -90, 0.0, 2.0),
}


def paint_hair(identity: Identity, grid: Grid, generator: np.random.Generator) -> tuple[Light, Field, Light, Field]:
    """Front hair in linear light with its coverage, and the same of the back hair."""
    if identity.hair_style == "bald":
        nothing = np.zeros((grid.height, grid.width), np.float32)
        return np.zeros((*nothing.shape, 3), np.float32), nothing, np.zeros((*nothing.shape, 3), np.float32), nothing
    style = _fitted(STYLES[identity.hair_style], identity)
    strands, along = _strands(style, grid, generator)
    colour = _shade(identity, style, grid, strands, along)
    front = _ragged(fill(grid, style.front), grid, 0.5 * strands, 1.0)
    ragged_gap = _ragged(fill(grid, style.gap), grid, strands, 1.6 if style.fall else 2.6)
    front = front * (1 - ragged_gap)
    if not style.fall:  # short hairs thin out over the temples instead of ending in a line
        front = front * (1 - 0.75 * step(blur(fill(grid, style.gap), 3.2 * grid.scale), 0.10, 0.62))
    density = 0.93 + 0.07 * np.clip(strands, -1, 1)
    if identity.hair_style in ("crop", "receding"):
        density = 0.80 + 0.12 * np.clip(strands, -1, 1)
        front = blur(front, 1.6 * grid.scale)
    back = np.zeros_like(front) if style.back is None else _ragged(fill(grid, style.back), grid, strands, 2.0)
    depth = 0.52 if style.fall else 0.9
    behind = (colour * depth).astype(np.float32)
    if style.fall:
        height = float(generator.uniform(0.4, 2.6))
        colour, front, density = (_waved(field, grid, height) for field in (colour, front, density))
        behind, back = _waved(behind, grid, height), _waved(back, grid, height)
    return colour, front * density, behind, back


def _fitted(style: HairStyle, identity: Identity) -> HairStyle:
    """The style on this head: as wide as the head, as full as asked, parted on the asked side."""
    spare = identity.face_width - float(np.clip(identity.face_width, 0.97, 1.03))  # the styles fit heads between
    wide = np.array((identity.hair_side * (1 + spare), 1.0))
    full = np.array((identity.hair_volume, identity.hair_volume))
    back = None if style.back is None else style.back * wide * full
    part = (style.part[0] * float(wide[0]), style.part[1])
    return replace(style, front=style.front * wide * full, gap=style.gap * wide, back=back, part=part)


def _waved(field: np.ndarray, grid: Grid, height_mm: float) -> np.ndarray:
    """Hanging hair in loose waves that begin at the temples."""
    x, y = grid.x, grid.y
    grown = height_mm * step(y, -30, 60)
    shift = grown * (np.sin(y / 11.0 + 0.9 * np.sign(x)) + 0.4 * np.sin(y / 5.7 + 0.06 * x))
    u, v = (x + shift - grid.left) * grid.scale, (y - grid.top) * grid.scale
    return cv2.remap(
        field, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _strands(style: HairStyle, grid: Grid, generator: np.random.Generator) -> tuple[Field, Field]:
    """Strand noise of deviation about 1, and the position along the strand in mm."""
    x, y = grid.x, grid.y
    px, py = style.part
    if style.fall:
        depth = np.clip((y - py + 10) / 95, 0.02, None)
        across = (x - px * step(y, 60, -100)) / (0.30 + np.minimum(depth, 1.0) ** 0.55)
        along = y - py
        wobble = 3.0 * noise(generator, *x.shape, 26 * grid.scale, 60 * grid.scale)
    else:
        across = np.arctan2(x - px * 0.6, py - y + 0 * x) * 88
        along = np.hypot(x - px * 0.6, y - py)
        wobble = 2.6 * noise(generator, *x.shape, 16 * grid.scale)
    across = across + wobble
    field = np.zeros_like(x)
    for width_mm, strength in ((0.55, 0.55), (1.6, 0.55), (5.5, 0.6)):
        table_width, table_height = int(420 / width_mm), 24
        table = generator.standard_normal((table_height, table_width), dtype=np.float32)
        u = ((across + 210) / width_mm).astype(np.float32)
        v = np.clip(along / (34 if style.fall else 16) + 4, 0, table_height - 1).astype(np.float32)
        field += strength * cv2.remap(table, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return field / 0.8, along


def _ragged(mask: Field, grid: Grid, strands: Field, reach_mm: float) -> Field:
    """The mask with an edge broken by strands that reach `reach_mm` in and out."""
    distance = blur(mask, reach_mm * grid.scale)
    return step(distance + 0.11 * np.clip(strands, -2, 2), 0.34, 0.66)


def _shade(identity: Identity, style: HairStyle, grid: Grid, strands: Field, along: Field) -> Light:
    """Volume as of an egg under the key light, a ring of shine, and darker depths between the strands."""
    x, y = grid.x, grid.y
    nx, ny = np.clip(x / 98, -1, 1), np.clip((y + 20) / 136, -1, 0.35)
    nz = np.sqrt(np.clip(1 - nx**2 - ny**2, 0.03, 1))
    key = np.array([identity.light * 0.75, -0.55, 0.72])
    key = key / np.linalg.norm(key)
    facing = np.clip((nx * key[0] + ny * key[1] + nz * key[2] + 0.35) / 1.35, 0.08, 1)
    base = linear(identity.hair)
    tone = facing * (0.84 + 0.30 * np.clip(strands, -2.2, 2.2))
    if style.fall:
        ring = np.exp(-(((y + 72 + 0.10 * np.abs(x) + 5 * strands) / 15) ** 2)) * 0.9 + 0.35 * bump(
            x, y, 0, 60, 200, 30
        )
    else:
        ring = np.exp(-(((np.hypot(x, y + 20) - 80 + 4 * strands) / 17) ** 2)) * step(y, 0, -60)
    shine = np.clip(0.5 + 0.5 * strands, 0, 1.6) * ring * facing**2
    colour = base * np.maximum(tone, 0.06)[..., None] + (base**0.55 * 0.24) * shine[..., None]
    return colour.astype(np.float32)
