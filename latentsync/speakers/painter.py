"""Identity + pose + expression + mouth -> one RGB frame. Knows pixels, not time and not sound.

What never changes is painted once per identity: background, body, skin, and what hangs over the skin. A frame looks the
layers up through the head's pose and the jaw's pull, then paints eyes and mouth at the positions its pixels show.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from latentsync.errors import OptionError
from latentsync.speakers import eyes, hair, mouth, scene, surface
from latentsync.speakers.bounds import SIZES_PX, VIEWS_MM
from latentsync.speakers.fields import Field, Grid, blur, over, srgb, step
from latentsync.speakers.identity import Identity
from latentsync.speakers.mouth import MouthGeometry, mouth_geometry
from latentsync.speakers.visemes import MouthShape

Frame = UInt8[np.ndarray, "h w 3"]  # RGB, 0..255
Layer = UInt8[np.ndarray, "h w 4"]  # sRGB times coverage, and coverage

VIEW_MM = 370.0  # side of the picture in the plane of the face: head and shoulders
VIEW_TOP_MM = -156.0
CLOSE_UP_MM = (195.0, 260.0)  # from the middle of the forehead to under the dropped chin
TOP_FALLS = 0.56  # mm by which the top of the picture falls for each mm that the view is narrower
FRAMING_SEED = 26
PIVOT_MM = (0.0, 118.0)  # the head turns about the top of the neck
MEAN_DEPTH_MM = 34.0  # relief that stays in place when the head turns
BROW_MM = 4.5  # lift of the brows at 1
CHEEK_MM = 2.0  # lift of the cheeks at a smile of 1
BODY_FOLLOWS = 0.35  # share of the head's translation that the shoulders take part in
PAINT_SCALE = 2.2  # px/mm at which the layers of a large picture are painted before they are brought to its scale
OVERSAMPLING = 1.3  # of the layers against the frame
FULL_FROM_SCALE = 1.35  # px/mm of a frame from which its layers are painted at PAINT_SCALE
MARGIN_MM = 30.0  # painted around the view, since the head moves
HEAD_MM = (-132.0, -172.0, 132.0, 200.0)  # left, top, right, bottom of what hangs on the head
NOISE_TILES = 6
PLAIN_LIGHT = 1.0  # brightness of the light on skin that mouth and eyes are coloured for
SHADE_BLUR_MM = 6.0  # the lips and lids have light and shadow of their own


@dataclass(frozen=True)
class Pose:
    """Where the head is: angles in degrees (roll clockwise, yaw to the picture's right, pitch down), shift in mm."""

    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    x_mm: float = 0.0
    y_mm: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Expression:
    """Eyes and brows: `open` 0 shut .. 1 open, gaze in mm of the iris, `brows` 0 at rest .. 1 raised, smile 0..1."""

    eyes: float = 1.0
    gaze: tuple[float, float] = (0.0, 0.0)
    brows: float = 0.0
    smile: float = 0.0


def random_framing(seed: int) -> float:
    """`view_mm` of a close-up: the face fills the picture, the top of the hair may be cut."""
    return round(float(np.random.default_rng([seed, FRAMING_SEED]).uniform(*CLOSE_UP_MM)), 1)


def view_top(view_mm: float) -> float:
    """Height of the picture's upper edge in mm that keeps the chin of a dropped jaw in the picture."""
    return round(VIEW_TOP_MM + TOP_FALLS * (VIEW_MM - view_mm), 2)


class Painter:
    """Paints one person at one size; frames depend on the arguments of `paint` alone, not on their order.

    `view_mm` is the side of the square picture in the plane of the face, `view_top_mm` its upper edge (the eyes are at
    0, downwards is positive; None follows `view_top`).
    """

    _chin_shadow = 0.66  # what the chin takes of the light on the neck

    def __init__(
        self, identity: Identity, size_px: int, view_mm: float = VIEW_MM, view_top_mm: float | None = None
    ) -> None:
        if not SIZES_PX[0] <= size_px <= SIZES_PX[1]:
            raise OptionError(f"size_px is {size_px}; it must lie between {SIZES_PX[0]} and {SIZES_PX[1]}")
        if not VIEWS_MM[0] <= view_mm <= VIEWS_MM[1]:
            raise OptionError(f"view_mm is {view_mm}; it must lie between {VIEWS_MM[0]:g} and {VIEWS_MM[1]:g}")
        self.identity = identity
        self.size_px = size_px
        self.view_mm = float(view_mm)
        self.view_top_mm = view_top(view_mm) if view_top_mm is None else float(view_top_mm)
        self.px_mm = view_mm / size_px
        scale = size_px / view_mm
        self._view = Grid(-view_mm / 2 + 0.5 / scale, self.view_top_mm + 0.5 / scale, size_px, size_px, scale)
        self._view_x, self._view_y = self._view.x, self._view.y
        self._scale = PAINT_SCALE if scale > FULL_FROM_SCALE else OVERSAMPLING * scale
        self._head = self._head_grid()
        self._paint_layers()

    def _head_grid(self) -> Grid:
        """The part of the head that the picture can show, at the scale of painting."""
        view = (-self.view_mm / 2, self.view_top_mm, self.view_mm / 2, self.view_top_mm + self.view_mm)
        left, top = (max(HEAD_MM[axis], view[axis] - MARGIN_MM) for axis in (0, 1))
        right, bottom = (min(HEAD_MM[axis], view[axis] + MARGIN_MM) for axis in (2, 3))
        return Grid(left, top, round((right - left) * self._scale), round((bottom - top) * self._scale), self._scale)

    def _paint_layers(self) -> None:
        person, grid = self.identity, self._head
        skin_draw, hair_draw, body_draw, room_draw, camera_draw = (
            np.random.default_rng([person.seed, purpose]) for purpose in (1, 2, 3, 4, 5)
        )
        skin, skin_mask, relief, light = surface.paint_skin(person, grid, skin_draw)
        ears, ear_mask = scene.paint_ears(person, grid)
        skin = eyes.paint_brows(skin, person, grid, skin_draw)
        skin = scene.paint_beard(skin, person, grid, skin_draw)
        front, front_mask, back, back_mask = hair.paint_hair(person, grid, hair_draw)
        if person.hair_style != "bald" and hair.STYLES[person.hair_style].fall:  # hair that hangs hides the ears
            ear_mask = np.zeros_like(ear_mask)
        face, face_mask = over(ears, skin, np.maximum(skin_mask, 1 - ear_mask)), np.maximum(ear_mask, skin_mask)
        # Hair keeps the light off the skin beneath: near it, and a little below it.
        shade = blur(np.roll(front_mask, round(3 * grid.scale), axis=0), 4.5 * grid.scale)
        face = face * (1 - 0.52 * shade)[..., None]
        if person.glasses != "none":
            glasses, glasses_mask = scene.paint_glasses(person, grid)
            front, front_mask = over(front, glasses, glasses_mask), np.maximum(front_mask, glasses_mask)
        self._texture = reduced(grid, min(1.0, OVERSAMPLING * self._view.scale / grid.scale))
        self._face = layer_of(face, face_mask, self._texture)
        self._over = layer_of(front, front_mask, self._texture)
        self._depth = cv2.resize(blur(np.where(skin_mask > 0.5, relief, 0), 4.5 * grid.scale), self._depth_grid_size())
        shade = np.clip(blur(light, SHADE_BLUR_MM * grid.scale) / PLAIN_LIGHT, 0.35, 1.12)
        self._shade = cv2.resize(shade, self._depth_grid_size())
        self._behind = self._paint_behind(back, back_mask, body_draw, room_draw)
        tiles = camera_draw.normal(0, 1.5, (NOISE_TILES, self.size_px, self.size_px, 1))
        grains = [np.round(blur(tile.astype(np.float32), 0.6) * 1.5 * person.grain) for tile in tiles]
        self._noise = [cv2.merge([grain.astype(np.int16)] * 3) for grain in grains]
        self._table = camera_table(person)

    def _depth_grid_size(self) -> tuple[int, int]:
        return self._texture.width, self._texture.height

    def _paint_behind(
        self, back: np.ndarray, back_mask: Field, body_draw: np.random.Generator, room_draw: np.random.Generator
    ) -> tuple[Frame, Layer]:
        """The room, and the body on a grid that overhangs the picture so that it may move."""
        head, scale = self._head, self._scale
        wide = round((self.view_mm + 40) * scale)
        grid = Grid(-self.view_mm / 2 - 20, self.view_top_mm - 20, wide, wide, scale)
        place = np.float32([[1, 0, (head.left - grid.left) * scale], [0, 1, (head.top - grid.top) * scale]])
        hair_light = cv2.warpAffine(back, place, (wide, wide))
        hair_mask = cv2.warpAffine(back_mask, place, (wide, wide))
        body, mask = scene.paint_body(self.identity, grid, hair_light, hair_mask, body_draw, self._chin_shadow)
        self._body_grid = reduced(grid, min(1.0, self._view.scale / scale))
        room = srgb(scene.paint_background(self.identity, self._view, room_draw))
        return np.round(room * 255).astype(np.uint8), layer_of(body, mask, self._body_grid)

    def paint(self, pose: Pose, expression: Expression, shape: MouthShape, noise_index: int = 0) -> Frame:
        """One frame. `noise_index` chooses the camera's noise."""
        geometry = mouth_geometry(self.identity, shape, expression.smile)
        x, y = self.face_positions(pose)
        frame = self._with_body(pose)
        skin_x, skin_y = self._skin_positions(x, y, geometry, expression)
        frame = composite(frame, self._look_up(self._face, skin_x, skin_y))
        pupil, mouth_y = surface.pupil_x(self.identity), surface.mouth_y(self.identity)
        for side in (-1, 1):
            box = box_of(x, y, (side * pupil - 21, side * pupil + 21), (-17, 12))
            frame[box] = self._painted_eye(frame[box], side, expression, x[box], y[box])
        reach = geometry.half_width + 5
        box = box_of(
            x,
            y,
            (-reach, reach),
            (mouth_y - max(20.0, geometry.upper + 0.35 * geometry.gap + 4), mouth_y + 22 + geometry.gap),
        )
        frame[box] = self._painted_mouth(frame[box], geometry, x[box], y[box])
        frame = composite(frame, self._look_up(self._over, x, y))
        return cv2.add(self._taken(frame), self._noise[noise_index % NOISE_TILES], dtype=cv2.CV_8U)

    def _taken(self, frame: Frame) -> Frame:
        """The picture as the camera takes it: exposure, white balance and contrast, then the lens's softness."""
        if self._table is not None:
            frame = cv2.LUT(frame, self._table)
        if self.identity.softness:
            frame = cv2.GaussianBlur(frame, (0, 0), max(self.identity.softness / self.px_mm, 0.2))
        return frame

    def face_positions(self, pose: Pose) -> tuple[Field, Field]:
        """Position on the face, in mm, that each pixel of the frame shows."""
        angle = np.deg2rad(-pose.roll)
        cos, sin = np.cos(angle) / pose.scale, np.sin(angle) / pose.scale
        dx = self._view_x - np.float32(PIVOT_MM[0] + pose.x_mm)
        dy = self._view_y - np.float32(PIVOT_MM[1] + pose.y_mm)
        x = np.float32(cos) * dx - np.float32(sin) * dy + np.float32(PIVOT_MM[0])
        y = np.float32(sin) * dx + np.float32(cos) * dy + np.float32(PIVOT_MM[1])
        depth = self._look_up(self._depth, x, y) - np.float32(MEAN_DEPTH_MM)
        yaw, pitch = np.sin(np.deg2rad(pose.yaw)), np.sin(np.deg2rad(pose.pitch))
        return x - np.float32(yaw) * depth, y - np.float32(pitch) * depth

    def to_px(self, point_mm: tuple[float, float], pose: Pose) -> Float[np.ndarray, "2"]:
        """Where in the frame a position on the face is seen, px: the inverse of `face_positions`."""
        yaw, pitch = np.sin(np.deg2rad(pose.yaw)), np.sin(np.deg2rad(pose.pitch))
        seen = np.array(point_mm, float)
        for _ in range(4):  # depth is read where the point is seen: a fixed point, reached quickly
            place = np.float32([[seen[0]]]), np.float32([[seen[1]]])
            depth = float(self._look_up(self._depth, *place)[0, 0]) - MEAN_DEPTH_MM
            seen = np.array(point_mm) + np.array([yaw, pitch]) * depth
        angle = np.deg2rad(pose.roll)
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * pose.scale
        view = rotation @ (seen - PIVOT_MM) + PIVOT_MM + (pose.x_mm, pose.y_mm)
        return self._view.to_px(view[None])[0].astype(float)

    def _skin_positions(
        self, x: Field, y: Field, geometry: MouthGeometry, expression: Expression
    ) -> tuple[Field, Field]:
        """Where on the skin at rest each position lies: undoes the pull of jaw, lips, cheeks and brows."""
        skin_x, skin_y = x.copy(), y.copy()
        box = box_of(x, y, (-85, 85), (38, 150))
        bx, by = x[box], y[box]
        jaw, mouth_y = geometry.jaw, np.float32(surface.mouth_y(self.identity))
        # The jaw draws the cheeks along beside the mouth, from higher up the farther they are from it.
        side = np.abs(bx)
        begin = mouth_y - 3 - 20 * step(side, 20, 42)
        drop = step(by - begin, 0, 15 + 1.7 * jaw + 16 * step(side, 20, 42)) * step(side, 84, 38)
        lips = np.exp(-0.5 * ((bx / 17) ** 2 + ((by - mouth_y + 9) / 7) ** 2))
        around = np.exp(-0.5 * ((bx / 26) ** 2 + ((by - mouth_y) / 20) ** 2))
        raised = np.exp(-0.5 * (((side - 34) / 13) ** 2 + ((by - mouth_y + 14) / 15) ** 2))
        skin_y[box] = by - jaw * drop + 0.8 * geometry.raised * lips + CHEEK_MM * geometry.smile * raised
        wider = geometry.half_width / (mouth.HALF_WIDTH_MM * self.identity.mouth_width) - 1
        hollow = 0.003 * jaw * np.exp(-0.5 * (((side - 52) / 16) ** 2 + ((by - mouth_y - 2) / 18) ** 2))
        skin_x[box] = bx * (1 - 0.62 * wider * around + hollow)
        if expression.brows:
            box = box_of(x, y, (-75, 75), (-75, 4))
            bx, by = x[box], y[box]
            lift = np.exp(-0.5 * (((np.abs(bx) - 30) / 22) ** 2 + ((by + 26) / 11) ** 2))
            skin_y[box] = by + np.float32(BROW_MM * expression.brows) * lift
        return skin_x, skin_y

    def _look_up(self, layer: np.ndarray, x: Field, y: Field) -> np.ndarray:
        grid = self._texture
        u, v = (x - np.float32(grid.left)) * np.float32(grid.scale), (y - np.float32(grid.top)) * np.float32(grid.scale)
        return cv2.remap(layer, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

    def facts(self, count: int) -> dict[str, Any]:
        """What a clip of `count` frames shows beside its truth: nothing."""
        return {}

    def gap_px(self, geometry: MouthGeometry, pose: Pose) -> float:
        """Distance in the picture, in px, between the inner lips at the middle of the mouth."""
        return geometry.visible_gap * (pose.scale / self.px_mm)

    def _with_body(self, pose: Pose) -> Frame:
        return composite(self._behind[0], self._body_layer(pose))

    def _body_layer(self, pose: Pose) -> Layer:
        body = self._behind[1]
        grid, view = self._body_grid, self._view
        shift = (
            (grid.left - view.left + BODY_FOLLOWS * pose.x_mm) * view.scale,
            (grid.top - view.top + BODY_FOLLOWS * pose.y_mm) * view.scale,
        )
        ratio = view.scale / grid.scale
        matrix = np.float32([[ratio, 0, shift[0]], [0, ratio, shift[1]]])
        return cv2.warpAffine(body, matrix, (self.size_px, self.size_px))

    def _painted_eye(self, patch: Frame, side: int, expression: Expression, x: Field, y: Field) -> Frame:
        light = to_light(patch)
        shade = self._look_up(self._shade, x, y)[..., None]
        painted = eyes.paint_eye(light, self.identity, side, expression.eyes, expression.gaze, x, y, self.px_mm, shade)
        return to_bytes(painted)

    def _painted_mouth(self, patch: Frame, geometry: MouthGeometry, x: Field, y: Field) -> Frame:
        shade = self._look_up(self._shade, x, y)[..., None]
        return to_bytes(mouth.paint_mouth(to_light(patch), self.identity, geometry, x, y, self.px_mm, shade))


def reduced(grid: Grid, factor: float) -> Grid:
    """The same area at a smaller scale; pixel centres follow cv2.resize."""
    width, height = round(grid.width * factor), round(grid.height * factor)
    scale = grid.scale * width / grid.width
    inset = 0.5 / scale - 0.5 / grid.scale
    return Grid(grid.left + inset, grid.top + inset, width, height, scale)


def layer_of(light: np.ndarray, mask: Field, grid: Grid) -> Layer:
    """Bytes of a layer at the scale of `grid`, premultiplied so that looking up between pixels leaves no fringe."""
    colour = srgb(light) * mask[..., None]
    stacked = np.dstack([colour, mask]).astype(np.float32)
    reduced = cv2.resize(stacked, (grid.width, grid.height), interpolation=cv2.INTER_AREA)
    return np.round(np.clip(reduced, 0, 1) * 255).astype(np.uint8)


def composite(frame: Frame, layer: Layer) -> Frame:
    """The layer over the frame."""
    keep = cv2.cvtColor(255 - layer[..., 3], cv2.COLOR_GRAY2RGB)
    return cv2.add(cv2.multiply(frame, keep, scale=1 / 255), cv2.cvtColor(layer, cv2.COLOR_RGBA2RGB))


def box_of(x: Field, y: Field, across: tuple[float, float], down: tuple[float, float]) -> tuple[slice, slice]:
    """The smallest rectangle of pixels that show the given part of the face, mm."""
    inside = (x > across[0]) & (x < across[1]) & (y > down[0]) & (y < down[1])
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if len(rows) == 0:
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def camera_table(identity: Identity) -> UInt8[np.ndarray, "1 256 3"] | None:
    """What the camera makes of each value of each channel; None where that is no change."""
    if (identity.exposure, identity.contrast, identity.temperature) == (0.0, 1.0, 0.0):
        return None
    warm = np.array([1 + 0.14 * identity.temperature, 1.0, 1 - 0.18 * identity.temperature], np.float32)
    tone = (_LIGHT[:, None] * warm * 2.0**identity.exposure) ** (1 / 2.2)
    tone = 0.45 + (tone - 0.45) * identity.contrast
    tone = np.where(
        tone > 0.8, 0.8 + 0.2 * np.tanh((tone - 0.8) / 0.2), tone
    )  # highlights roll off instead of clipping
    return np.round(np.clip(tone, 0, 1) * 255).astype(np.uint8)[None]


_LIGHT = (np.arange(256, dtype=np.float32) / 255) ** 2.2


def to_light(patch: Frame) -> Float[np.ndarray, "h w 3"]:
    """Bytes of a picture as linear light, 0..1."""
    return _LIGHT[patch]


def to_bytes(light: Float[np.ndarray, "h w 3"]) -> Frame:
    """Linear light, 0..1, as bytes of a picture."""
    return np.round(srgb(light) * 255).astype(np.uint8)
