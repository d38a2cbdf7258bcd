"""Identity + pose + expression + mouth -> one RGB frame. Knows pixels, not time and not sound.

What never changes is painted once per identity: background, body, skin, and what hangs over the skin. A frame looks the
layers up through the head's pose and the jaw's pull, then paints eyes and mouth at the positions its pixels show.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from latentsync.errors import OptionError
from latentsync.speakers import eyes, hair, mouth, scene, surface
from latentsync.speakers.fields import Field, Grid, blur, over, srgb, step
from latentsync.speakers.identity import Identity
from latentsync.speakers.mouth import MouthGeometry, mouth_geometry
from latentsync.speakers.visemes import MouthShape

Frame = UInt8[np.ndarray, "h w 3"]  # RGB, 0..255
Layer = UInt8[np.ndarray, "h w 4"]  # sRGB times coverage, and coverage

VIEW_MM = 370.0  # side of the picture in the plane of the face
VIEW_TOP_MM = -156.0
PIVOT_MM = (0.0, 118.0)  # the head turns about the top of the neck
MEAN_DEPTH_MM = 34.0  # relief that stays in place when the head turns
BROW_MM = 4.5  # lift of the brows at 1
BODY_FOLLOWS = 0.35  # share of the head's translation that the shoulders take part in
SIZES_PX = (64, 2048)
PAINT_SCALE = 2.2  # px/mm at which the layers are painted before they are brought to the frame's scale
HEAD = Grid(-132.0, -172.0, round(264 * PAINT_SCALE), round(372 * PAINT_SCALE), PAINT_SCALE)
NOISE_TILES = 6


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


class Painter:
    """Paints one person at one size; frames depend on the arguments of `paint` alone, not on their order."""

    def __init__(self, identity: Identity, size_px: int) -> None:
        if not SIZES_PX[0] <= size_px <= SIZES_PX[1]:
            raise OptionError(f"size_px is {size_px}; it must lie between {SIZES_PX[0]} and {SIZES_PX[1]}")
        self.identity = identity
        self.size_px = size_px
        self.px_mm = VIEW_MM / size_px
        scale = size_px / VIEW_MM
        self._view = Grid(-VIEW_MM / 2 + 0.5 / scale, VIEW_TOP_MM + 0.5 / scale, size_px, size_px, scale)
        self._view_x, self._view_y = self._view.x, self._view.y
        self._paint_layers()

    def _paint_layers(self) -> None:
        person = self.identity
        skin_draw, hair_draw, body_draw, room_draw, camera_draw = (
            np.random.default_rng([person.seed, purpose]) for purpose in (1, 2, 3, 4, 5)
        )
        skin, skin_mask, relief = surface.paint_skin(person, HEAD, skin_draw)
        ears, ear_mask = scene.paint_ears(person, HEAD)
        skin = eyes.paint_brows(skin, person, HEAD, skin_draw)
        skin = scene.paint_beard(skin, person, HEAD, skin_draw)
        front, front_mask, back, back_mask = hair.paint_hair(person, HEAD, hair_draw)
        if hair.STYLES[person.hair_style].fall:  # hair that hangs hides the ears
            ear_mask = np.zeros_like(ear_mask)
        face, face_mask = over(ears, skin, np.maximum(skin_mask, 1 - ear_mask)), np.maximum(ear_mask, skin_mask)
        # Hair keeps the light off the skin beneath: near it, and a little below it.
        shade = blur(np.roll(front_mask, round(3 * HEAD.scale), axis=0), 4.5 * HEAD.scale)
        face = face * (1 - 0.52 * shade)[..., None]
        if person.glasses:
            glasses, glasses_mask = scene.paint_glasses(HEAD)
            front, front_mask = over(front, glasses, glasses_mask), np.maximum(front_mask, glasses_mask)
        self._texture = _reduced(HEAD, min(1.0, 1.3 * self._view.scale / HEAD.scale))
        self._face = _layer(face, face_mask, self._texture)
        self._over = _layer(front, front_mask, self._texture)
        self._depth = cv2.resize(blur(np.where(skin_mask > 0.5, relief, 0), 3.0 * HEAD.scale), self._depth_grid_size())
        self._behind = self._paint_behind(back, back_mask, body_draw, room_draw)
        tiles = camera_draw.normal(0, 1.5, (NOISE_TILES, self.size_px, self.size_px, 1))
        self._noise = [np.round(blur(tile.astype(np.float32), 0.6) * 1.5)[..., None] for tile in tiles]

    def _depth_grid_size(self) -> tuple[int, int]:
        return self._texture.width, self._texture.height

    def _paint_behind(
        self, back: np.ndarray, back_mask: Field, body_draw: np.random.Generator, room_draw: np.random.Generator
    ) -> tuple[Frame, Layer]:
        """The room, and the body on a grid that overhangs the picture so that it may move."""
        grid = replace(self._view, left=-VIEW_MM / 2 - 20, top=VIEW_TOP_MM - 20)
        wide = round((VIEW_MM + 40) * PAINT_SCALE)
        grid = Grid(grid.left, grid.top, wide, wide, PAINT_SCALE)
        place = np.float32([[1, 0, (HEAD.left - grid.left) * PAINT_SCALE], [0, 1, (HEAD.top - grid.top) * PAINT_SCALE]])
        hair_light = cv2.warpAffine(back, place, (wide, wide))
        hair_mask = cv2.warpAffine(back_mask, place, (wide, wide))
        body, mask = scene.paint_body(self.identity, grid, hair_light, hair_mask, body_draw)
        self._body_grid = _reduced(grid, min(1.0, self._view.scale / PAINT_SCALE))
        room = srgb(scene.paint_background(self.identity, self._view, room_draw))
        return np.round(room * 255).astype(np.uint8), _layer(body, mask, self._body_grid)

    def paint(self, pose: Pose, expression: Expression, shape: MouthShape, noise_index: int = 0) -> Frame:
        """One frame. `noise_index` chooses the camera's noise."""
        geometry = mouth_geometry(self.identity, shape, expression.smile)
        x, y = self._face_positions(pose)
        frame = self._with_body(pose)
        skin_x, skin_y = self._skin_positions(x, y, geometry, expression)
        frame = _composite(frame, self._look_up(self._face, skin_x, skin_y))
        for side in (-1, 1):
            box = _box(x, y, (side * surface.PUPIL_X - 21, side * surface.PUPIL_X + 21), (-17, 12))
            frame[box] = self._painted_eye(frame[box], side, expression, x[box], y[box])
        reach = geometry.half_width + 5
        box = _box(x, y, (-reach, reach), (surface.MOUTH_Y - 20, surface.MOUTH_Y + 22 + geometry.gap))
        frame[box] = self._painted_mouth(frame[box], geometry, x[box], y[box])
        frame = _composite(frame, self._look_up(self._over, x, y))
        noisy = frame.astype(np.float32) + self._noise[noise_index % NOISE_TILES]
        return np.clip(noisy + 0.5, 0, 255).astype(np.uint8)

    def _face_positions(self, pose: Pose) -> tuple[Field, Field]:
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
        """Where in the frame a position on the face is seen, px: the inverse of `_face_positions`."""
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
        """Where on the skin at rest each position lies: undoes the jaw's drop, the lips' pull and the brows' lift."""
        skin_x, skin_y = x.copy(), y.copy()
        box = _box(x, y, (-85, 85), (38, 150))
        bx, by = x[box], y[box]
        jaw = geometry.jaw
        drop = step(by, surface.MOUTH_Y - 3, surface.MOUTH_Y + 12 + 1.7 * jaw) * step(np.abs(bx), 84, 38)
        lips = np.exp(-0.5 * ((bx / 17) ** 2 + ((by - surface.MOUTH_Y + 9) / 7) ** 2))
        purse = np.exp(-0.5 * ((bx / 24) ** 2 + ((by - surface.MOUTH_Y) / 20) ** 2))
        skin_y[box] = by - jaw * drop + 0.8 * geometry.raised * lips
        skin_x[box] = bx * (1 + 0.20 * geometry.rounding * purse)
        if expression.brows:
            box = _box(x, y, (-75, 75), (-75, 4))
            bx, by = x[box], y[box]
            lift = np.exp(-0.5 * (((np.abs(bx) - 30) / 22) ** 2 + ((by + 26) / 11) ** 2))
            skin_y[box] = by + np.float32(BROW_MM * expression.brows) * lift
        return skin_x, skin_y

    def _look_up(self, layer: np.ndarray, x: Field, y: Field) -> np.ndarray:
        grid = self._texture
        u, v = (x - np.float32(grid.left)) * np.float32(grid.scale), (y - np.float32(grid.top)) * np.float32(grid.scale)
        return cv2.remap(layer, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

    def _with_body(self, pose: Pose) -> Frame:
        room, body = self._behind
        grid, view = self._body_grid, self._view
        shift = (
            (grid.left - view.left + BODY_FOLLOWS * pose.x_mm) * view.scale,
            (grid.top - view.top + BODY_FOLLOWS * pose.y_mm) * view.scale,
        )
        ratio = view.scale / grid.scale
        matrix = np.float32([[ratio, 0, shift[0]], [0, ratio, shift[1]]])
        return _composite(room, cv2.warpAffine(body, matrix, (self.size_px, self.size_px)))

    def _painted_eye(self, patch: Frame, side: int, expression: Expression, x: Field, y: Field) -> Frame:
        light = _to_light(patch)
        painted = eyes.paint_eye(light, self.identity, side, expression.eyes, expression.gaze, x, y, self.px_mm)
        return _to_bytes(painted)

    def _painted_mouth(self, patch: Frame, geometry: MouthGeometry, x: Field, y: Field) -> Frame:
        return _to_bytes(mouth.paint_mouth(_to_light(patch), self.identity, geometry, x, y, self.px_mm))


def _reduced(grid: Grid, factor: float) -> Grid:
    """The same area at a smaller scale; pixel centres follow cv2.resize."""
    width, height = round(grid.width * factor), round(grid.height * factor)
    scale = grid.scale * width / grid.width
    inset = 0.5 / scale - 0.5 / grid.scale
    return Grid(grid.left + inset, grid.top + inset, width, height, scale)


def _layer(light: np.ndarray, mask: Field, grid: Grid) -> Layer:
    """Bytes of a layer at the scale of `grid`, premultiplied so that looking up between pixels leaves no fringe."""
    colour = srgb(light) * mask[..., None]
    stacked = np.dstack([colour, mask]).astype(np.float32)
    reduced = cv2.resize(stacked, (grid.width, grid.height), interpolation=cv2.INTER_AREA)
    return np.round(np.clip(reduced, 0, 1) * 255).astype(np.uint8)


def _composite(frame: Frame, layer: Layer) -> Frame:
    keep = 255 - layer[..., 3:].astype(np.uint16)
    below = (frame * keep + 127) // 255
    return (below + layer[..., :3]).clip(0, 255).astype(np.uint8)


def _box(x: Field, y: Field, across: tuple[float, float], down: tuple[float, float]) -> tuple[slice, slice]:
    """The smallest rectangle of pixels that show the given part of the face, mm."""
    inside = (x > across[0]) & (x < across[1]) & (y > down[0]) & (y < down[1])
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if len(rows) == 0:
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


_LIGHT = (np.arange(256, dtype=np.float32) / 255) ** 2.2


def _to_light(patch: Frame) -> Float[np.ndarray, "h w 3"]:
    return _LIGHT[patch]


def _to_bytes(light: Float[np.ndarray, "h w 3"]) -> Frame:
    return np.round(srgb(light) * 255).astype(np.uint8)
