"""A wide person's mouth at any pixel: lips as rolls under the clip's light, two rows of teeth, gums, tongue, and depth.

The edges are those of `speakers.mouth`, so that the gap that is drawn is the gap in the JSON. What is behind the lips
is drawn where a turned head shows it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from latentsync.speakers.fields import Field, linear, over, step
from latentsync.speakers.identity import Identity
from latentsync.speakers.mouth import Edges, MouthGeometry, edges
from latentsync.speakers.surface import mouth_y
from latentsync.speakers.wide.light import key_direction
from latentsync.speakers.wide.looks import Looks

Light = Float[np.ndarray, "h w 3"]  # linear light

TABLE_STEP_MM = 0.125
TABLE_HALF_MM = 42.0
UPPER_MM = (8.5, 6.6, 7.7, 7.0, 6.8)  # widths of teeth from the middle outwards
LOWER_MM = (5.2, 5.8, 6.8, 7.0, 7.0)
TEETH_DEPTH_MM = 4.0  # behind the lips
TONGUE_DEPTH_MM = 12.0
ARCH_MM = 27.0  # radius that the row of teeth bends with


class Lips:
    """Paints one person's mouth."""

    def __init__(self, identity: Identity, looks: Looks) -> None:
        draw = np.random.default_rng([identity.seed, 77])
        self.identity, self.looks = identity, looks
        self._lip, self._enamel = linear(identity.lips), linear(identity.teeth)
        self._upper = _Row.of(identity, looks, UPPER_MM, draw)
        self._lower = _Row.of(identity, looks, LOWER_MM, draw)
        self._lines = draw.standard_normal(256, dtype=np.float32)
        self._lines = np.convolve(np.tile(self._lines, 3), [0.25, 0.5, 0.25], "same")[256:512].astype(np.float32)
        self._key = key_direction(looks)
        self._gum = np.array([0.42, 0.13, 0.13], np.float32) * draw.uniform(0.6, 1.3)
        self._tongue = np.array([0.46, 0.14, 0.13], np.float32) * looks.tongue_tone

    def paint(
        self, canvas: Light, g: MouthGeometry, x: Field, y: Field, px_mm: float, shade: Light, lean: tuple[float, float]
    ) -> Light:
        """The mouth over `canvas` at places x, y in mm.

        `lean` says how far the line of sight goes to the right and down for each mm that it goes deeper.
        """
        v = y - np.float32(mouth_y(self.identity))
        c = edges(g, x)
        soft = np.float32(0.6 * px_mm + 0.1)
        ends = step(np.abs(c.u), 1.02, 0.94)
        canvas = self._around(canvas, g, v, c)
        if g.gap > 0.05:
            inside = step(v - c.upper_inner, -soft, soft) * step(c.lower_inner - v, -soft, soft) * ends
            inside = inside * np.float32(min(1.0, g.gap / 0.9))
            canvas = over(canvas, self._inside(g, c, x, v, soft, shade, lean), inside)
        edge = np.float32(1.6 / self.looks.lip_edge)
        upper = step(v - c.upper_outer, -edge - soft, edge + soft) * step(c.upper_inner - v, -soft, soft) * ends
        canvas = over(canvas, self._roll(g, c.u, v, c.upper_outer, c.upper_inner, True) * shade, 0.96 * upper)
        edge = edge * np.float32(1.4)
        lower = step(v - c.lower_inner, -soft, soft) * step(c.lower_outer - v, -edge - soft, edge + soft) * ends
        canvas = over(canvas, self._roll(g, c.u, v, c.lower_inner, c.lower_outer, False) * shade, 0.96 * lower)
        seam = np.exp(-(((v - c.lower_inner) / np.float32(0.7 + 0.5 * px_mm)) ** 2)) * step(np.abs(c.u), 1.08, 0.9)
        seam = seam * np.float32(max(0.0, 1 - g.gap / 3.0) * (0.74 - 0.2 * g.rounding))
        corner_y = np.float32(-3.4 * g.smile + 0.7 + 0.20 * g.gap)
        corner = np.exp(-(((np.abs(c.u) - 1.0) / 0.09) ** 2) - ((v - corner_y) / 2.0) ** 2)
        return canvas * ((1 - 0.85 * seam) * (1 - 0.45 * corner))[..., None]

    def _around(self, canvas: Light, g: MouthGeometry, v: Field, c: Edges) -> Light:
        """The shadow under the lower lip and the light edge of the upper one, which move with the lips."""
        within = step(np.abs(c.u), 1.0, 0.45)
        deep = np.float32(0.30 * (0.5 + 0.5 * max(-float(self._key[1]), 0.0)) * (1 + 0.3 * g.rounding))
        below = np.exp(-(((v - c.lower_outer - 3.0) / 3.0) ** 2)) * within
        edge = np.exp(-(((v - c.upper_outer + 1.3) / 1.0) ** 2)) * within
        return canvas * ((1 - deep * below) * (1 + 0.07 * edge))[..., None]

    def _roll(self, g: MouthGeometry, u: Field, v: Field, top: Field, bottom: Field, upper: bool) -> Light:
        """A lip as a roll: the key light finds the places that face it; lines run across, moisture shines."""
        looks = self.looks
        t = np.clip((v - top) / np.maximum(bottom - top, 0.6), 0, 1)
        tilt = -0.45 + 1.45 * t if upper else -0.95 + 1.75 * t  # of the surface downwards, radians
        across = 0.55 * np.clip(u, -1, 1)
        lines = self._lines[((u * 46 + 96).astype(np.int32)) & 255] * np.float32(looks.lip_lines)
        nx, ny, nz = np.sin(across) + 0.10 * lines, np.sin(tilt), np.cos(tilt) * np.cos(across)
        toward = nx * self._key[0] + ny * self._key[1] + nz * max(float(self._key[2]), 0.15)
        light = looks.ratio * np.clip(0.25 + 0.95 * toward, 0.05, 1.3) + (1 - looks.ratio) * (0.86 - 0.3 * ny)
        light = light * (1 + 0.06 * lines) * (1 - 0.22 * np.clip(np.abs(u), 0, 1) ** 4)
        light = light * np.float32(looks.lip_darker if upper else 1.0)
        if upper:
            light = light * (1 - 0.25 * t**3)
        half = self._key + np.array([0.0, 0.0, 1.0], np.float32)
        half = half / np.linalg.norm(half)
        gloss = np.clip(nx * half[0] + ny * half[1] + nz * half[2], 0, 1) ** (12 + 60 * looks.lip_gloss)
        shine = np.float32(0.45 * looks.lip_gloss * (0.3 + 0.7 * looks.ratio)) * gloss * (1 + 0.35 * lines)
        return self._lip * light[..., None] + shine[..., None]

    def _inside(
        self, g: MouthGeometry, c: Edges, x: Field, v: Field, soft: float, shade: Light, lean: tuple[float, float]
    ) -> Light:
        """Darkness, tongue, lower teeth, upper teeth; each as far behind the lips as it is."""
        depth = np.clip((v - c.upper_inner) / np.maximum(c.lower_inner - c.upper_inner, 0.5), 0, 1)
        colour = np.array([0.035, 0.010, 0.009], np.float32) * (0.4 + 0.9 * depth[..., None])
        tx, tv = x - np.float32(lean[0] * TONGUE_DEPTH_MM), v - np.float32(lean[1] * TONGUE_DEPTH_MM)
        top = np.float32(g.lowered - (3.0 + 0.30 * g.gap * (0.5 + 0.95 * g.tongue))) + 0.012 * tx**2
        wide = np.float32(0.82 * g.half_width)
        tongue = step(tv - top, -1.0, 1.4) * step(np.abs(tx), wide, 0.6 * wide)
        rise = np.clip((tv - top) / 7, 0, 1)
        bumps = self._lines[(tx * 9 + tv * 23).astype(np.int32) & 255]
        flesh = (0.28 + 0.75 * rise) * (1 - 0.28 * np.exp(-((tx / 1.7) ** 2))) * (1 + 0.05 * bumps)
        wet = (
            0.16 * np.exp(-(((tv - top - 2.4) / 1.2) ** 2)) * np.clip(1 + 0.9 * bumps, 0, 2) * (np.abs(tx) < 0.5 * wide)
        )
        colour = over(colour, self._tongue * flesh[..., None] + (wet * self.looks.lip_gloss)[..., None], tongue)
        tx, tv = x - np.float32(lean[0] * TEETH_DEPTH_MM), v - np.float32(lean[1] * TEETH_DEPTH_MM)
        colour = self._lower_row(colour, g, tx, tv, soft)
        colour = self._upper_row(colour, g, c, tx, tv, soft)
        dim = np.clip(0.10 + 0.72 * shade, 0, 1.1) * (1 - 0.35 * np.clip(np.abs(c.u), 0, 1) ** 3)[..., None]
        under = 0.45 + 0.55 * np.clip((v - c.upper_inner) / 2.6, 0, 1) * np.clip((c.lower_inner - v) / 1.2, 0.3, 1)
        return colour * dim * under[..., None]

    def _upper_row(self, colour: Light, g: MouthGeometry, c: Edges, x: Field, v: Field, soft: float) -> Light:
        """Hangs from the skull: its edge stays while lips and jaw move away from it."""
        look, edge_mm = self._upper.at(x)
        edge = np.float32(-g.raised * 0.35 + 1.1 + 2.6 * g.teeth * self.looks.tooth_height) - 0.008 * x**2 + edge_mm
        shown = np.float32(min(1.0, 2.5 * g.teeth) * (1 - 0.9 * min(g.rounding, 1.0) * (1 - 0.6 * g.teeth)))
        reach = np.float32(0.86 * g.half_width)
        cover = step(edge - v, -soft, soft) * step(np.abs(x), reach, reach - 4.0) * shown
        rise = np.clip((edge - v) / 9.0, 0, 1)
        bend = 1 - 0.6 * np.clip(np.abs(x) / (ARCH_MM * self.looks.tooth_arch), 0, 1) ** 2
        tone = look * (0.80 + 0.2 * np.sin(np.pi * np.clip(1.1 * rise, 0, 1))) * bend
        teeth = self._enamel * tone[..., None] * (1 - rise[..., None] * np.array([0.02, 0.08, 0.2], np.float32))
        gum = step(edge - v - np.float32(9.5 - 4.5 * self.looks.gums) - 0.5 * edge_mm, -0.4, 0.4)
        return over(colour, over(teeth, self._gum * bend[..., None], gum), cover)

    def _lower_row(self, colour: Light, g: MouthGeometry, x: Field, v: Field, soft: float) -> Light:
        """Goes with the jaw, mostly behind the lower lip."""
        look, edge_mm = self._lower.at(x)
        lift = 1.2 + 1.7 * g.teeth + 2.2 * self.looks.lower_teeth
        edge = np.float32(g.lowered - lift + 0.22 * max(g.gap - 6, 0)) + 0.011 * x**2 - edge_mm
        shown = np.float32(min(1.0, 0.35 + 0.3 * g.teeth + 0.7 * self.looks.lower_teeth) * max(0.0, 1 - g.rounding))
        cover = step(v - edge, -soft, soft) * step(np.abs(x), 17, 13) * shown
        bend = 1 - 0.6 * np.clip(np.abs(x) / (0.85 * ARCH_MM), 0, 1) ** 2
        return over(colour, self._enamel * (0.62 * look * bend)[..., None], cover)


@dataclass(frozen=True)
class _Row:
    """A row of teeth as tables over x: how bright it is there, and by how many mm its edge hangs lower."""

    look: Float[np.ndarray, " k"]
    edge_mm: Float[np.ndarray, " k"]

    @classmethod
    def of(cls, identity: Identity, looks: Looks, widths: tuple[float, ...], draw: np.random.Generator) -> "_Row":
        x = np.arange(-TABLE_HALF_MM, TABLE_HALF_MM, TABLE_STEP_MM)
        radius = ARCH_MM * looks.tooth_arch
        along = radius * np.arcsin(np.clip(x / radius, -1, 1))  # the row bends back, so outer teeth look narrower
        look, edge = np.full(len(x), 0.25), np.zeros(len(x))
        for side in (-1, 1):
            start = 0.5 * identity.tooth_gap if widths is UPPER_MM else 0.0
            for width in np.array(widths) * identity.tooth_width:
                place = (side * along - start) / width
                tooth = (place >= 0) & (place <= 1)
                rounded = 1 - np.abs(2 * place - 1) ** 6
                own = np.clip((0.62 + 0.38 * rounded) * draw.normal(1.0, 0.04), 0.3, 1.1)
                look[tooth] = own[tooth]
                hangs = 0.45 * (1 - np.abs(2 * place - 1) ** 3) + identity.tooth_unevenness * draw.normal()
                edge[tooth] = hangs[tooth]
                start += width
        return cls(look.astype(np.float32), edge.astype(np.float32))

    def at(self, x: Field) -> tuple[Field, Field]:
        index = np.clip((x + TABLE_HALF_MM) / TABLE_STEP_MM, 0, len(self.look) - 1).astype(np.int32)
        return self.look[index], self.edge_mm[index]
