"""A wide person's pictures: the layers of `speakers.painter`, on a head in space, under any light, through any lens."""

from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from latentsync.speakers import eyes, hair, scene, surface
from latentsync.speakers.fields import Field, Grid, blur, linear, noise, over, srgb, step
from latentsync.speakers.identity import Identity
from latentsync.speakers.mouth import MouthGeometry, mouth_geometry
from latentsync.speakers.painter import (
    BODY_FOLLOWS,
    OVERSAMPLING,
    PIVOT_MM,
    VIEW_MM,
    Expression,
    Frame,
    Layer,
    Painter,
    Pose,
    box_of,
    composite,
    layer_of,
    reduced,
    to_bytes,
    to_light,
)
from latentsync.speakers.visemes import MouthShape
from latentsync.speakers.wide.covers import Cover
from latentsync.speakers.wide.head import AXIS_Z_MM, Head, Turn
from latentsync.speakers.wide.lens import Lens
from latentsync.speakers.wide.light import white
from latentsync.speakers.wide.lips import Lips
from latentsync.speakers.wide.looks import Looks
from latentsync.speakers.wide.rooms import paint_room
from latentsync.speakers.wide.skin import paint_beard, paint_skin, with_long_beard

FRAMING_SEED = 73
EYE_LIGHT = 0.62  # the brows keep some of the light off
FRAMING_MM = (200.0, 400.0)
SKULL_MM = (72.0, 94.0, 88.0)  # half-axes of the back of the head: across, up, deep
SKULL_AT_MM = (0.0, -24.0, -22.0)
NECK_TOP_MM = (0.0, 78.0, -14.0)  # where the head sits on the neck
NECK_IN_MM = 30.0  # half of the neck's width there
SHOULDERS_MM = 172.0  # height below which nothing goes with the head but the body


def wide_framing(seed: int) -> float:
    """`view_mm` of a wide clip: from a close-up to a head with shoulders, near ones more often."""
    low, high = np.log(FRAMING_MM)
    return round(float(np.exp(low + (high - low) * np.random.default_rng([seed, FRAMING_SEED]).beta(1.1, 1.6))), 1)


class WidePainter(Painter):
    """Paints one wide person; as `Painter`, and frame `noise_index` also has its own place of what hides the face."""

    def __init__(
        self,
        identity: Identity,
        looks: Looks,
        size_px: int,
        view_mm: float = VIEW_MM,
        view_top_mm: float | None = None,
    ) -> None:
        self.looks = looks
        super().__init__(identity, size_px, view_mm, view_top_mm)

    def _paint_layers(self) -> None:
        person, looks, grid = self.identity, self.looks, self._head
        skin_draw, hair_draw, body_draw, room_draw, lock_draw = (
            np.random.default_rng([person.seed, purpose]) for purpose in (81, 82, 83, 84, 85)
        )
        skin, mask, relief, light = paint_skin(person, looks, grid, skin_draw)
        skin = eyes.paint_brows(skin, person, grid, skin_draw)
        skin = paint_beard(skin, person, looks, grid, skin_draw)
        skin, mask, relief = with_long_beard(skin, mask, relief, person, looks, grid, skin_draw)
        ears, ear_mask = scene.paint_ears(person, grid)
        front, front_mask, back, back_mask = hair.paint_hair(person, grid, hair_draw)
        if person.hair_style != "bald" and hair.STYLES[person.hair_style].fall:
            ear_mask = np.zeros_like(ear_mask)
        face, face_mask = over(ears, skin, np.maximum(mask, 1 - ear_mask)), np.maximum(ear_mask, mask)
        front, front_mask = self._with_locks(front, front_mask, lock_draw)
        shade = blur(np.roll(front_mask, round(3 * grid.scale), axis=0), 4.5 * grid.scale)
        face = face * (1 - 0.52 * shade)[..., None]
        front = front * (0.5 + 0.5 * white(looks.key))
        if person.glasses != "none":
            front, front_mask = self._with_glasses(front, front_mask)
        self._texture = reduced(grid, min(1.0, OVERSAMPLING * self._view.scale / grid.scale))
        self._face = layer_of(face, face_mask, self._texture)
        self._over = layer_of(front, front_mask, self._texture)
        size = self._texture.width, self._texture.height
        self._light = cv2.resize(np.clip(blur(light, 5 * grid.scale), 0.1, 1.6), size)
        self._space = Head(relief, mask, grid, looks.distance)
        self._lips = Lips(person, looks)
        self._behind = self._paint_behind(back, back_mask, body_draw, room_draw)
        self._skull = self._paint_skull(hair_draw)
        self._cover = None if looks.cover == "none" else Cover(person, looks, self._view.scale)
        self._lens = Lens(looks, person.seed, self.size_px)

    def _with_locks(self, front: np.ndarray, mask: Field, draw: np.random.Generator) -> tuple[np.ndarray, Field]:
        """Strands of hair that hang over cheeks."""
        grid, colour = self._head, linear(self.identity.hair)
        strands, tone = np.zeros(mask.shape, np.uint8), np.full(mask.shape, 128, np.uint8)
        for side, number in zip((-1, 1), self.looks.locks, strict=True):
            start, end = draw.uniform(48, 64), draw.uniform(34, 66)
            bow, fall = draw.uniform(-14, 14), draw.uniform(30, 125)
            t = np.linspace(0, 1, 14)
            for _ in range(number):
                x = start + draw.normal(0, 5) + (end - start + draw.normal(0, 3)) * t + bow * np.sin(np.pi * t)
                y = -62 + (fall + 62 + draw.normal(0, 14)) * t
                points = np.round(grid.to_px(np.stack([side * x, y], 1)) * 16).astype(np.int32)
                width = max(1, round(draw.uniform(0.2, 0.7) * grid.scale))
                cv2.polylines(strands, [points], False, 255, width, cv2.LINE_AA, 4)
                cv2.polylines(tone, [points], False, int(draw.uniform(50, 235)), width, cv2.LINE_AA, 4)
        if not strands.any():
            return front, mask
        alpha = strands.astype(np.float32) / 255
        light = 0.7 * colour * (tone.astype(np.float32) / 128)[..., None]
        return over(front, light, alpha), np.maximum(mask, 0.92 * alpha)

    def _with_glasses(self, front: np.ndarray, mask: Field) -> tuple[np.ndarray, Field]:
        glasses, cover = scene.paint_glasses(self.identity, self._head)
        if self.looks.shades:
            lens = scene.paint_lenses(self.identity, self._head)
            dark = linear(self.identity.frame) * 0.1
            glasses = over(glasses, dark, np.clip(self.looks.shades * lens - (cover > 0.5), 0, 1).astype(np.float32))
            cover = np.maximum(cover, self.looks.shades * lens)
        return over(front, glasses, cover), np.maximum(mask, cover)

    def _paint_behind(
        self, back: np.ndarray, back_mask: Field, body_draw: np.random.Generator, room_draw: np.random.Generator
    ) -> tuple[Frame, Layer]:
        self._chin_shadow = self.looks.chin_shadow
        _, body = super()._paint_behind(back, back_mask, body_draw, room_draw)
        if not back_mask.any():  # no hair hides where the neck goes in under the skull
            slope = NECK_IN_MM + 0.45 * np.maximum(self._body_grid.y - 30, 0)
            inside = np.where(self._body_grid.y < 110, step(np.abs(self._body_grid.x) - slope, 4, -4), 1.0)
            body = np.round(body * inside[..., None]).astype(np.uint8)
        lights = self.looks.ratio * white(self.looks.key) + (1 - self.looks.ratio) * white(self.looks.fill)
        body[..., :3] = np.clip(body[..., :3] * lights ** (1 / 2.2), 0, body[..., 3:])
        room = srgb(paint_room(self.identity, self.looks, self._view, room_draw))
        return np.round(room * 255).astype(np.uint8), body

    def _paint_skull(self, draw: np.random.Generator) -> Layer:
        """The back of the head, as wide as deep, hair or skin."""
        scale, (across, up, _) = self._view.scale, SKULL_MM
        grid = Grid(-across - 4, -up - 4, round(2 * (across + 4) * scale), round(2 * (up + 4) * scale), scale)
        bare = self.identity.hair_style == "bald"
        tone = linear(self.identity.skin if bare else self.identity.hair)
        radius = np.hypot(grid.x / across, grid.y / up)
        lit = np.sqrt(np.clip(1 - radius**2, 0, 1)) * 0.55 + 0.25
        strands = noise(draw, grid.height, grid.width, 1.2 * scale, 18 * scale)
        light = tone * (lit * (1 + (0.03 if bare else 0.3) * strands))[..., None]
        return layer_of(light.astype(np.float32), step(radius, 1.03, 0.97).astype(np.float32), grid)

    def paint(self, pose: Pose, expression: Expression, shape: MouthShape, noise_index: int = 0) -> Frame:
        geometry = mouth_geometry(self.identity, shape, expression.smile)
        mouth_y = surface.mouth_y(self.identity)

        def skin_at(x: Field, y: Field) -> tuple[Field, Field]:
            return self._skin_positions(x, y, geometry, expression)

        heights = self._space.moved(skin_at, mouth_y, shape.rounding, shape.press)
        x, y = self._space.positions(self._view, pose, heights)
        frame = self._with_body(pose)
        frame = composite(frame, self._look_up(self._face, *skin_at(x, y)))
        pupil = surface.pupil_x(self.identity)
        for side in (-1, 1):
            box = box_of(x, y, (side * pupil - 21, side * pupil + 21), (-17, 12))
            frame[box] = self._painted_eye(frame[box], side, expression, x[box], y[box])
        reach = geometry.half_width + 4
        top = max(14.0, geometry.upper + 0.35 * geometry.gap + 4)
        box = box_of(x, y, (-reach, reach), (mouth_y - top, mouth_y + 18 + geometry.gap))
        frame[box] = self._painted_lips(frame[box], geometry, x[box], y[box], pose)
        frame = composite(frame, self._look_up(self._over, x, y))
        if self._cover is not None:
            frame = composite(frame, self._cover.layer_at(noise_index, self._view))
        return self._lens.take(frame, noise_index)

    def _painted_eye(self, patch: Frame, side: int, expression: Expression, x: Field, y: Field) -> Frame:
        if not patch.size:
            return patch
        light, shade = to_light(patch), EYE_LIGHT * self._look_up(self._light, x, y)
        painted = eyes.paint_eye(light, self.identity, side, expression.eyes, expression.gaze, x, y, self.px_mm, shade)
        return to_bytes(painted)

    def _painted_lips(self, patch: Frame, geometry: MouthGeometry, x: Field, y: Field, pose: Pose) -> Frame:
        if not patch.size:
            return patch
        sight = Turn.of(pose).matrix[2]
        lean = float(-sight[0] / sight[2]), float(-sight[1] / sight[2])
        shade = self._look_up(self._light, x, y)
        return to_bytes(self._lips.paint(to_light(patch), geometry, x, y, self.px_mm, shade, lean))

    def _with_body(self, pose: Pose) -> Frame:
        """The room, the back of the head, then neck and clothes."""
        room, _ = self._behind
        view, (across, up, deep) = self._view, SKULL_MM
        turn = Turn.of(pose)
        at = turn.matrix @ (np.array(SKULL_AT_MM) - (*PIVOT_MM, AXIS_Z_MM))
        wide = np.hypot(across * turn.matrix[0, 0], deep * turn.matrix[0, 2]) / across
        tall = np.hypot(up * turn.matrix[1, 1], deep * turn.matrix[1, 2]) / up
        middle = view.to_px(np.array([at[:2] * pose.scale + PIVOT_MM + (pose.x_mm, pose.y_mm)]))[0]
        angle = np.deg2rad(pose.roll)
        spin = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = spin @ np.diag([wide, tall]) * pose.scale
        shift = middle - matrix @ ((np.array(self._skull.shape[1::-1]) - 1) / 2)
        size = self.size_px, self.size_px
        frame = composite(room, cv2.warpAffine(self._skull, np.column_stack([matrix, shift]), size))
        return composite(frame, self._body_layer(pose))

    def _body_layer(self, pose: Pose) -> Layer:
        """Neck and clothes; the neck goes with the head at its upper end and rests on the shoulders."""
        view, grid = self._view, self._body_grid
        neck = Turn.of(pose).matrix @ (np.array(NECK_TOP_MM) - (*PIVOT_MM, AXIS_Z_MM))
        moved = neck[:2] * pose.scale + PIVOT_MM + (pose.x_mm, pose.y_mm) - NECK_TOP_MM[:2]
        rows = np.arange(view.height) / view.scale + view.top
        goes = step(rows, SHOULDERS_MM, NECK_TOP_MM[1])
        x_mm, y_mm = ((BODY_FOLLOWS + (1 - BODY_FOLLOWS) * goes) * part for part in moved)
        u = (self._view_x - x_mm[:, None].astype(np.float32) - np.float32(grid.left)) * np.float32(grid.scale)
        v = (self._view_y - y_mm[:, None].astype(np.float32) - np.float32(grid.top)) * np.float32(grid.scale)
        return cv2.remap(self._behind[1], u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

    def face_positions(self, pose: Pose) -> tuple[Field, Field]:
        return self._space.positions(self._view, pose)

    def to_px(self, point_mm: tuple[float, float], pose: Pose) -> Float[np.ndarray, "2"]:
        return self._view.to_px(self._space.seen(point_mm, pose)[None])[0].astype(float)

    def gap_px(self, geometry: MouthGeometry, pose: Pose) -> float:
        """Distance in the picture between the inner lips at the middle of the mouth: a nod foreshortens it."""
        top, ends = surface.mouth_y(self.identity) - geometry.raised, []
        for y in (top, top + geometry.visible_gap):
            skin = self._skin_positions(np.float32([[0]]), np.float32([[y]]), geometry, Expression())
            height = self._space.height(float(skin[0][0, 0]), float(skin[1][0, 0]))
            ends.append(self._space.seen((0.0, y), pose, height) * self._view.scale)
        return float(np.hypot(*(ends[1] - ends[0])))

    def facts(self, count: int) -> dict[str, Any]:
        """The looks, and for each frame whether something is before the mouth (1) or not (0)."""
        hidden = [int(self._cover is not None and self._cover.hides(number)) for number in range(count)]
        return {"kind": "wide", "looks": vars(self.looks), "mouth_hidden": hidden}
