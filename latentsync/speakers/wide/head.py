"""A head in space: which place of the face each pixel of a turned head shows, and where a place is seen.

The face is a height above its own plane (`surface.relief`), continued outwards and back to ears and hair. Rays from the
eye of the camera are followed to the first place where they meet it, so that a nose hides the cheek behind it. Lengths
are mm; z points to the viewer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from latentsync.speakers.fields import Field, Grid, blur, bump
from latentsync.speakers.painter import PIVOT_MM, Pose

DEPTH_SCALE = 0.7  # px/mm of the field of heights
AXIS_Z_MM = 6.0  # depth of the axis that the head turns about
FACE_Z_MM = 34.0  # depth that the scale of the picture holds for
FALL = 1.5  # mm that the head falls back for each mm beyond the outline of its face
DEEPEST_MM = -70.0
STANDS_OUT_MM = 15.0  # height from which something beside the face is a thing of its own, such as a long beard
NEAR_MM, FAR_MM, STEPS = 84.0, -76.0, 16  # of the search along a ray, about the axis
COARSE_PX = 80  # side of the raster of first guesses
ROW_PX = 256
JUMP_MM = 6.0  # between neighbours of that raster: one hides the other there


@dataclass(frozen=True)
class Turn:
    """A pose as a rotation matrix and a place."""

    matrix: Float[np.ndarray, "3 3"]
    pose: Pose

    @classmethod
    def of(cls, pose: Pose) -> "Turn":
        """Yaw first, then pitch, then roll, as a neck does it."""
        roll, yaw, pitch = np.deg2rad([pose.roll, pose.yaw, pose.pitch])
        around_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        around_x = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
        around_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        return cls(around_z @ around_x @ around_y, pose)


class Head:
    """Heights of a head over the plane of its face, seen from a camera that is `distance_mm` away."""

    def __init__(self, relief: Field, mask: Field, grid: Grid, distance_mm: float) -> None:
        self.distance_mm = distance_mm
        factor = DEPTH_SCALE / grid.scale
        width, height = round(grid.width * factor), round(grid.height * factor)
        scale = grid.scale * width / grid.width
        inset = 0.5 / scale - 0.5 / grid.scale
        self.grid = Grid(grid.left + inset, grid.top + inset, width, height, scale)
        inside = (mask > 0.5).astype(np.uint8)
        outside_mm = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5) / grid.scale
        beside = np.where(relief > STANDS_OUT_MM, relief, np.maximum(-FALL * outside_mm, DEEPEST_MM))
        heights = np.where(inside > 0, relief, beside).astype(np.float32)
        heights = blur(heights, 1.6 * grid.scale)
        self.heights = cv2.resize(heights, (width, height), interpolation=cv2.INTER_AREA)
        self.x, self.y = self.grid.x, self.grid.y

    def moved(
        self, skin_at: Callable[[Field, Field], tuple[Field, Field]], mouth_y: float, rounding: float, press: float
    ) -> Field:
        """Heights while speaking: the chin goes with the jaw, and pursed lips stand out."""
        heights = _looked_up(self.heights, self.grid, *skin_at(self.x, self.y))
        lips = bump(self.x, self.y, 0.0, mouth_y, 13.0, 9.0)
        return heights + np.float32(4.5 * rounding - 1.5 * press) * lips

    def positions(self, view: Grid, pose: Pose, heights: Field | None = None) -> tuple[Field, Field]:
        """Place on the face, in mm, that each pixel of the picture shows; far outside where there is no head."""
        heights = self.heights if heights is None else heights
        turn = Turn.of(pose)
        coarse_px = min(COARSE_PX, view.width)
        ratio = view.width / coarse_px
        inset = (ratio - 1) / 2 / view.scale
        coarse = Grid(view.left + inset, view.top + inset, coarse_px, coarse_px, view.scale / ratio)
        depth = self._first_hit(*self._rays(turn, coarse), heights)
        spread = cv2.dilate(depth, _CROSS) - cv2.erode(depth, _CROSS)
        fine = cv2.resize(depth, (view.width, view.height), interpolation=cv2.INTER_LINEAR)
        start, along = self._rays(turn, view)
        u, v, z = (start[i] + fine * along[i] for i in range(3))
        fine += np.float32(0.8) * (_at(heights, u, v) - z)  # the guess is near: a step along the ray will do
        torn = cv2.resize(spread, (view.width, view.height), interpolation=cv2.INTER_NEAREST) > JUMP_MM
        if torn.any():
            count = int(torn.sum())
            rows = -(-count // ROW_PX)  # an image, since that is what can be looked up
            spare = ((0, 0), (0, rows * ROW_PX - count))
            rays = (np.pad(field[:, torn], spare, mode="edge") for field in (start, along))
            hit = self._first_hit(*(ray.reshape(3, rows, ROW_PX) for ray in rays), heights)
            fine[torn] = hit.ravel()[:count]
        mm, origin = np.float32(1 / self.grid.scale), (np.float32(self.grid.left), np.float32(self.grid.top))
        x, y = ((start[i] + fine * along[i]) * mm + origin[i] for i in range(2))
        return x, y

    def _rays(self, turn: Turn, view: Grid) -> tuple[np.ndarray, np.ndarray]:
        """The line of places, start + depth * along, that a camera sees at each pixel of a view.

        Both are in px of the field of heights, and mm of height.
        """
        pose, back = turn.pose, turn.matrix.T
        unit = np.array([self.grid.scale, self.grid.scale, 1.0])
        origin = (np.array([*PIVOT_MM, AXIS_Z_MM]) - (self.grid.left, self.grid.top, 0.0)) * unit
        x = view.left + np.arange(view.width)[None] / view.scale
        y = view.top + np.arange(view.height)[:, None] / view.scale
        dx = (x - PIVOT_MM[0] - pose.x_mm) / pose.scale
        dy = (y - PIVOT_MM[1] - pose.y_mm) / pose.scale
        across = back[:, :2] * unit[:, None]
        columns, rows = np.float32(across[:, 0, None, None] * dx), np.float32(across[:, 1, None, None] * dy)
        nearer, farther = np.float32(1 + (FACE_Z_MM - AXIS_Z_MM) / self.distance_mm), np.float32(1 / self.distance_mm)
        along = (np.float32(back[:, 2] * unit)[:, None, None] - rows * farther) - columns * farther
        plane = (np.float32(origin)[:, None, None] + rows * nearer) + columns * nearer
        return plane, along

    def _first_hit(self, start: np.ndarray, along: np.ndarray, heights: Field) -> Field:
        """Depth at which each ray first meets the head, coming from the viewer; the farthest where it does not."""
        depths = np.linspace(NEAR_MM, FAR_MM, STEPS, dtype=np.float32)
        hit = np.full(start.shape[1:], FAR_MM, np.float32)
        stride = depths[0] - depths[1]
        at, stride_along = start + depths[0] * along, stride * along
        unmet, before = np.ones(hit.shape, bool), None
        for depth in depths:
            above = at[2] - _at(heights, at[0], at[1])
            if before is not None:
                now = unmet & (above <= 0)
                last, new = before[now], above[now]
                hit[now] = depth + stride * (1 - last / np.maximum(last - new, 1e-3))
                unmet &= ~now
            before = above
            at -= stride_along
        return hit

    def height(self, x: float, y: float) -> float:
        """Height of a place of the face at rest."""
        return float(_looked_up(self.heights, self.grid, np.float32([[x]]), np.float32([[y]]))[0, 0])

    def seen(self, point_mm: tuple[float, float], pose: Pose, height: float | None = None) -> Float[np.ndarray, "2"]:
        """Where in the picture, in mm of its plane, a place is seen (whether hidden or not); `height` None: at rest."""
        height = self.height(*point_mm) if height is None else height
        x, y, z = Turn.of(pose).matrix @ (point_mm[0] - PIVOT_MM[0], point_mm[1] - PIVOT_MM[1], height - AXIS_Z_MM)
        nearer = self.distance_mm / (self.distance_mm - (z - (FACE_Z_MM - AXIS_Z_MM)))
        return np.array([x, y]) * nearer * pose.scale + PIVOT_MM + (pose.x_mm, pose.y_mm)


_CROSS = np.ones((3, 3), np.uint8)


def _at(heights: Field, u: Field, v: Field) -> Field:
    """Heights at places in px of their own field."""
    return cv2.remap(heights, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=DEEPEST_MM)


def _looked_up(heights: Field, grid: Grid, x: Field, y: Field) -> Field:
    """Heights at places in mm."""
    scale = np.float32(grid.scale)
    return _at(heights, (x - np.float32(grid.left)) * scale, (y - np.float32(grid.top)) * scale)


def facing(heights: Field, scale: float) -> Float[np.ndarray, "h w 3"]:
    """Directions that a surface with `scale` px/mm faces, as unit vectors."""
    gy, gx = np.gradient(heights, 1 / scale)
    normal = np.dstack([-gx, -gy, np.ones_like(gx)]).astype(np.float32)
    return normal / np.linalg.norm(normal, axis=2, keepdims=True)
