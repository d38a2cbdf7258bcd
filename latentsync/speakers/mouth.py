"""The mouth in motion: its outline in mm, and its paint at any pixel. Knows visemes' parameters, not time.

The lips are four curves over u = x / half-width in -1..1: outer and inner edge of either lip. A pixel's paint follows
from where it lies between the curves, so the mouth is sharp at every size and needs no stored picture.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from latentsync.speakers.fields import Field, linear, over, step
from latentsync.speakers.identity import Identity
from latentsync.speakers.surface import mouth_y
from latentsync.speakers.visemes import MouthShape

OPEN_MM = 19.0  # gap between the inner lips at opening 1
JAW_MM = 15.0  # drop of the chin at jaw 1
HALF_WIDTH_MM = 25.0  # at rest
TUCK_LIFT_MM = 2.0  # f and v: how far the lower lip rides up over the edge of the teeth
UPPER_SHARE = 0.24  # of the gap is made by the upper lip, the rest by the lower


@dataclass(frozen=True)
class MouthGeometry:
    """A mouth in mm about (0, `mouth_y`): gap at the centre, half-width, heights of the lips' red, drop of the chin."""

    gap: float
    half_width: float
    upper: float
    lower: float
    jaw: float
    rounding: float
    smile: float
    tuck: float
    teeth: float
    tongue: float
    cupid: float

    @property
    def visible_gap(self) -> float:
        """Distance at the centre between the inner lips as drawn: a lower lip tucked under the teeth covers some."""
        return max(self.gap - TUCK_LIFT_MM * self.tuck, 0.0)

    @property
    def raised(self) -> float:
        """How far the upper lip's inner edge lies above the closed mouth's line."""
        return UPPER_SHARE * self.gap

    @property
    def lowered(self) -> float:
        """How far the lower lip's inner edge lies below it."""
        return (1 - UPPER_SHARE) * self.gap


def mouth_geometry(identity: Identity, shape: MouthShape, smile: float = 0.0) -> MouthGeometry:
    """Lengths in mm of `shape` on this person's face; `smile` 0..1 adds to the resting smile."""
    smile = 0.6 * identity.smile + smile
    thin = 1 - 0.50 * shape.press - 0.10 * min(shape.opening, 1) + 0.16 * shape.rounding
    wide = 1 + 0.09 * shape.width - 0.33 * shape.rounding - 0.06 * min(shape.opening, 1) + 0.07 * smile
    gap = OPEN_MM * max(shape.opening, 0.0) * (1 - 0.15 * shape.rounding)
    return MouthGeometry(
        gap=gap,
        half_width=HALF_WIDTH_MM * identity.mouth_width * wide,
        upper=8.6 * identity.lip_fullness * identity.upper_lip * thin,
        lower=10.4 * identity.lip_fullness * thin * (1 - 0.45 * shape.tuck),
        jaw=JAW_MM * max(shape.jaw, 0.0) * 0.55 + 0.45 * (1 - UPPER_SHARE) * gap,
        rounding=shape.rounding,
        smile=smile,
        tuck=shape.tuck,
        teeth=shape.teeth,
        tongue=shape.tongue,
        cupid=identity.cupid,
    )


@dataclass(frozen=True)
class Edges:
    """Heights y - `mouth_y` of the lips' edges in mm, at u = x / half-width."""

    u: Field
    upper_outer: Field
    upper_inner: Field
    lower_inner: Field
    lower_outer: Field


def edges(g: MouthGeometry, x: Field) -> Edges:
    """The four edges as heights y - mouth_y in mm over x."""
    u = x / g.half_width
    inside = np.clip(1 - u * u, 0, 1)
    dome = inside ** (0.75 - 0.28 * g.rounding - 0.12 * min(g.gap / 15, 1) * (1 - g.rounding))
    # The closed line: a tubercle in the middle, corners lifted by the smile, heavier corners when the jaw drops.
    corner = (-3.4 * g.smile + 0.7 + 0.10 * g.gap) * u**2 + 0.10 * g.gap
    line = corner + 0.7 * np.exp(-((u / 0.20) ** 2)) - 0.3 * np.exp(-(((np.abs(u) - 0.42) / 0.24) ** 2))
    upper_inner = line - (g.raised + 0.10 * g.gap) * dome
    lower_inner = line + (g.lowered - 0.10 * g.gap) * dome
    peak = np.exp(-(((np.abs(u) - 0.20) / 0.20) ** 2))
    upper_red = g.upper * (0.84 * inside**0.95 + (0.16 * g.cupid - 0.09 * g.rounding) * peak)
    lower_red = g.lower * inside ** (0.68 - 0.20 * g.rounding) * (0.95 + 0.05 * np.exp(-((u / 0.5) ** 2)))
    lift = TUCK_LIFT_MM * g.tuck * dome
    return Edges(u, upper_inner - upper_red, upper_inner, lower_inner - lift, lower_inner - lift + lower_red)


def paint_mouth(
    canvas: Float[np.ndarray, "h w 3"],
    identity: Identity,
    g: MouthGeometry,
    x: Field,
    y: Field,
    px_mm: float,
    shade: Float[np.ndarray, "h w 1"] | float = 1.0,
) -> Float[np.ndarray, "h w 3"]:
    """Paint the mouth over `canvas` (linear light) whose pixels lie at face positions x, y in mm.

    `px_mm` is the size of a pixel, the width over which edges are antialiased.
    """
    v = y - np.float32(mouth_y(identity))
    c = edges(g, x)
    soft = 0.75 * px_mm + 0.1
    ends = step(np.abs(c.u), 1.0, 0.93)
    canvas = _fold_around(canvas, g, x, v, c)
    inside = step(v - c.upper_inner, -soft, soft) * step(c.lower_inner - v, -soft, soft) * ends
    inside = inside * min(1.0, g.gap / 0.9)
    if g.gap > 0.05:
        canvas = over(canvas, _cavity(identity, g, c, x, v, soft) * shade, inside)
    lip = linear(identity.lips)
    lit = shade * np.ones(3, np.float32)
    upper = step(v - c.upper_outer, -1.3 - soft, 1.6 + soft) * step(c.upper_inner - v, -soft, soft) * ends
    canvas = over(canvas, _upper_lip(lip, g, c, x, v, identity) * lit, upper * 0.93)
    lower = step(v - c.lower_inner, -soft, soft) * step(c.lower_outer - v, -1.6 - soft, 2.4 + soft) * ends
    canvas = over(canvas, _lower_lip(lip, g, c, x, v, identity) * lit, lower * 0.93)
    # The line where the lips meet, and the shadow in the corners.
    seam = np.exp(-(((v - c.lower_inner) / (0.75 + 0.5 * px_mm)) ** 2)) * step(np.abs(c.u), 1.10, 0.9)
    seam = seam * max(0.0, 1 - g.gap / 3.0) * (0.72 - 0.2 * g.rounding)
    corner = np.exp(-(((np.abs(c.u) - 1.0) / 0.10) ** 2) - ((v - _corner_height(g)) / 2.2) ** 2)
    return canvas * (1 - 0.85 * seam)[..., None] * (1 - 0.5 * corner)[..., None]


def _corner_height(g: MouthGeometry) -> float:
    return -3.4 * g.smile + 0.7 + 0.20 * g.gap


def _fold_around(canvas: np.ndarray, g: MouthGeometry, x: Field, v: Field, c: Edges) -> np.ndarray:
    """The shadow under the lower lip and the light edge above the upper one, which move with the lips."""
    within = step(np.abs(c.u), 1.0, 0.45)
    below = np.exp(-(((v - c.lower_outer - 3.0) / 3.0) ** 2)) * within
    edge = np.exp(-(((v - c.upper_outer + 1.3) / 1.0) ** 2)) * within
    return canvas * (1 - 0.26 * below * (1 + 0.3 * g.rounding))[..., None] * (1 + 0.08 * edge)[..., None]


def _cavity(identity: Identity, g: MouthGeometry, c: Edges, x: Field, v: Field, soft: float) -> np.ndarray:
    """What an open mouth shows: darkness, tongue, lower and upper teeth, shaded towards the corners."""
    depth = np.clip((v - c.upper_inner) / np.maximum(c.lower_inner - c.upper_inner, 0.5), 0, 1)
    colour = np.array([0.040, 0.010, 0.010], np.float32) * (0.45 + 0.9 * depth[..., None])
    tongue_top = g.lowered - (3.2 + 0.30 * g.gap * (0.55 + 0.9 * g.tongue)) + 0.012 * x**2
    tongue = step(v - tongue_top, -1.4, 2.2) * step(np.abs(x), 0.80 * g.half_width, 0.45 * g.half_width)
    groove = 1 - 0.25 * np.exp(-((x / 1.6) ** 2))
    flesh = np.array([0.40, 0.115, 0.105], np.float32)
    lit = (0.32 + 0.65 * np.clip((v - tongue_top) / 7, 0, 1)) * groove
    colour = over(colour, flesh * lit[..., None], tongue)
    enamel = linear(identity.teeth)
    lower_edge = g.lowered - 1.6 - 1.7 * g.teeth + 0.010 * x**2 + 0.22 * max(g.gap - 6, 0)
    lower = step(v - lower_edge, -soft, soft) * step(np.abs(x), 14, 11) * (0.35 + 0.3 * g.teeth) * (1 - g.rounding)
    colour = over(colour, enamel * (_tooth_gaps(identity, x, 5.3, soft) * 0.36)[..., None], lower)
    # The upper teeth hang from the skull: their edge stays while lips and jaw move away from it.
    upper_edge = -g.raised * 0.35 + 1.1 + 2.6 * g.teeth - 0.010 * x**2 + _tooth_edge(identity, x)
    reach = 0.74 * g.half_width
    upper = step(upper_edge - v, -soft, soft) * step(np.abs(x), reach, reach - 5.0)
    teeth_height = min(1.0, 2.5 * g.teeth) * (1 - 0.9 * min(g.rounding, 1.0) * (1 - 0.6 * g.teeth))
    under_lip = 0.36 + 0.58 * np.clip((v - c.upper_inner) / 3.6, 0, 1)
    turn = 1 - 0.55 * np.clip(np.abs(x) / 21, 0, 1) ** 2
    white = enamel * (_tooth_gaps(identity, x, 8.6, soft) * under_lip * turn)[..., None]
    return over(colour, white, upper * teeth_height)


def _tooth_edge(identity: Identity, x: Field) -> Field:
    """Height in mm by which each upper tooth's edge hangs lower: rounded corners, and no two quite alike."""
    width = 8.6 * identity.tooth_width
    edge = 0.35 * np.cos(2 * np.pi * x / width)
    if identity.tooth_unevenness:
        tooth = np.floor(x / width)
        edge = edge + identity.tooth_unevenness * np.sin(12.9898 * tooth + identity.seed % 97)
    return edge


def _tooth_gaps(identity: Identity, x: Field, width: float, soft: float) -> Field:
    """Shadows between teeth that are `width` mm wide on average, wider between the two in front where they gap."""
    width = width * identity.tooth_width
    distance = np.abs((np.abs(x) + width / 2) % width - width / 2)
    shadow = 1 - 0.30 * np.exp(-((distance / (0.30 + soft * 0.6)) ** 2))
    if identity.tooth_gap:
        shadow = shadow * (1 - 0.85 * step(np.abs(x), 0.5 * identity.tooth_gap + soft, 0.5 * identity.tooth_gap - soft))
    return shadow


def _side(identity: Identity) -> float:
    """How much more light the right half of the lips gets than their middle."""
    return 0.08 * identity.light


def _upper_lip(lip: np.ndarray, g: MouthGeometry, c: Edges, x: Field, v: Field, identity: Identity) -> np.ndarray:
    """Faces down: darker towards the inner edge."""
    t = np.clip((v - c.upper_outer) / np.maximum(c.upper_inner - c.upper_outer, 0.6), 0, 1)
    side = 1 + _side(identity) * np.clip(c.u, -1, 1)
    tone = (0.92 - 0.44 * t**1.4) * side * (1 - 0.2 * (c.u * c.u) ** 2) * _wrinkles(x, identity)
    return lip * tone[..., None]


def _lower_lip(lip: np.ndarray, g: MouthGeometry, c: Edges, x: Field, v: Field, identity: Identity) -> np.ndarray:
    """A roll that catches the light in its upper half, with a moist highlight."""
    t = np.clip((v - c.lower_inner) / np.maximum(c.lower_outer - c.lower_inner, 0.6), 0, 1)
    side = 1 + _side(identity) * np.clip(c.u, -1, 1)
    roll = 0.66 + 0.56 * np.sin(np.pi * np.clip(t * 0.94 + 0.05, 0, 1)) ** 0.9 - 0.26 * t**2
    tone = roll * side * (1 - 0.25 * (c.u * c.u) ** 2) * _wrinkles(x, identity)
    gloss = np.exp(-(((t - 0.36) / 0.17) ** 2) - ((c.u - 0.16 * identity.light) / 0.36) ** 2)
    return lip * tone[..., None] + (0.12 * gloss * (0.7 + 0.6 * _wrinkles(x * 1.7, identity) - 0.6))[..., None]


def _wrinkles(x: Field, identity: Identity) -> Field:
    """Fine vertical lines of the lips."""
    phase = identity.seed % 7
    return 1 + 0.035 * np.sin(3.3 * x + phase) + 0.03 * np.sin(5.1 * x + 1.3 * phase) * np.cos(0.7 * x)
