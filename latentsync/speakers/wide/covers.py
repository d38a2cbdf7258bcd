"""What passes before a wide face: a hand, a microphone, a cup, a card; it may hide the mouth for a part of a clip."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from latentsync.speakers.fields import Field, Grid, blur, fill, linear, noise, over, srgb, step
from latentsync.speakers.identity import Identity
from latentsync.speakers.visemes import FPS
from latentsync.speakers.wide.light import key_direction
from latentsync.speakers.wide.looks import Looks, any_colour

Light = Float[np.ndarray, "h w 3"]  # linear light
Layer = UInt8[np.ndarray, "h w 4"]  # sRGB times coverage, and coverage

HALF_MM = 130.0  # of a cover's square picture
MOVE_S = 0.35  # to come and to go
PERIOD_S = (2.2, 5.0)
AT_MOUTH_MM = 66.0
TREMBLE_MM = 1.5


class Cover:
    """A thing before the face, painted once; where it is depends on the number of the frame alone."""

    def __init__(self, identity: Identity, looks: Looks, scale: float) -> None:
        draw = np.random.default_rng([identity.seed, 76])
        side = round(2 * HALF_MM * scale)
        grid = Grid(-HALF_MM + 0.5 / scale, -HALF_MM + 0.5 / scale, side, side, scale)
        self.scale = scale
        self.kind, self.share = looks.cover, looks.cover_share
        self.period_s = float(draw.uniform(*PERIOD_S))
        self.phase = float(draw.uniform(0, 1))
        self.side = float(draw.choice((-1.0, 1.0)))
        self.away = self._away(draw)
        self.at = np.array([draw.uniform(-14, 14), AT_MOUTH_MM + draw.uniform(-6, 22)])
        self.angle = float(draw.uniform(-25, 25))
        self.rates, self.phases = draw.uniform(0.2, 0.9, (2, 2)), draw.uniform(0, 2 * np.pi, (2, 2))
        light, mask = _PAINTERS[looks.cover](identity, looks, grid, draw)
        colour = srgb(light) * mask[..., None]
        self.layer = np.round(np.clip(np.dstack([colour, mask]), 0, 1) * 255).astype(np.uint8)

    def _away(self, draw: np.random.Generator) -> np.ndarray:
        """Where it rests when it does not hide the mouth: under the chin, beside the cheek, or out of the picture."""
        if self.kind == "microphone":
            return np.array([draw.uniform(-18, 18), draw.uniform(124, 165)])
        if self.kind == "stand":
            return np.array([self.side * draw.uniform(45, 90), draw.uniform(70, 135)])
        if self.kind == "hand" and draw.random() < 0.5:
            return np.array([self.side * draw.uniform(66, 90), draw.uniform(60, 120)])
        return np.array([self.side * draw.uniform(0, 160), 360.0])

    def nearness(self, number: int) -> float:
        """0 away .. 1 before the mouth, in frame `number`."""
        place = (number / FPS / self.period_s + self.phase) % 1.0
        half = max(0.5 * self.share, 0.0)
        ramp = MOVE_S / self.period_s
        return float(np.clip((half + ramp - abs(place - 0.5)) / ramp, 0, 1)) if half else 0.0

    def place(self, number: int) -> Float[np.ndarray, "2"]:
        """Where its middle is, mm in the plane of the face."""
        near = self.nearness(number)
        near = near * near * (3 - 2 * near)
        tremble = TREMBLE_MM * np.sin(2 * np.pi * self.rates * number / FPS + self.phases).sum(axis=1)
        return self.away + (self.at - self.away) * near + tremble

    def hides(self, number: int) -> bool:
        """Whether it is before the mouth, or on its way there."""
        return self.nearness(number) > 0.4

    def layer_at(self, number: int, view: Grid) -> Layer:
        """The thing as a layer of the picture."""
        x, y = self.place(number)
        turn = cv2.getRotationMatrix2D((0.0, 0.0), self.angle, view.scale / self.scale)
        middle = turn[:, :2] @ np.array([(self.layer.shape[1] - 1) / 2] * 2)
        turn[:, 2] = view.to_px(np.array([[x, y]]))[0] - middle
        return cv2.warpAffine(self.layer, turn, (view.width, view.height), flags=cv2.INTER_LINEAR)


def _lit(height: Field, albedo: np.ndarray, looks: Looks, grid: Grid) -> Light:
    """A rounded thing under the clip's light; `height` in mm."""
    gy, gx = np.gradient(height, 1 / grid.scale)
    key = key_direction(looks)
    toward = (-gx * key[0] - gy * key[1] + max(float(key[2]), 0.2)) / np.sqrt(gx * gx + gy * gy + 1)
    light = 1.1 * looks.ratio * np.clip(0.25 + toward, 0, 1.2) + (1 - looks.ratio) * (
        0.75 - 0.25 * gy / np.hypot(gy, 1)
    )
    return (albedo * light[..., None]).astype(np.float32)


def _finger(grid: Grid, start: np.ndarray, end: np.ndarray, radii: tuple[float, float]) -> tuple[Field, Field]:
    """Height over the plane and coverage of a rounded cone between two places."""
    way = end - start
    t = np.clip(((grid.x - start[0]) * way[0] + (grid.y - start[1]) * way[1]) / (way @ way), 0, 1)
    radius = radii[0] + (radii[1] - radii[0]) * t
    distance = np.hypot(grid.x - start[0] - t * way[0], grid.y - start[1] - t * way[1])
    return np.sqrt(np.clip(radius**2 - distance**2, 0, None)), step(distance, radius + 0.5, radius - 0.5)


def _hand(identity: Identity, looks: Looks, grid: Grid, draw: np.random.Generator) -> tuple[Light, Field]:
    """Four fingers, a thumb and the back of a hand, coming from below."""
    height, mask = np.full((grid.height, grid.width), -6.0, np.float32), np.zeros((grid.height, grid.width), np.float32)
    size, spread = draw.uniform(0.85, 1.15), draw.uniform(0.4, 1.6)
    bent, side = draw.uniform(0.55, 1.0), float(draw.choice((-1.0, 1.0)))
    nails = np.zeros_like(mask)
    palm = [
        (np.array([-20.0, 30]), np.array([20.0, 32]), (26, 26)),
        (np.array([0.0, 40]), np.array([6.0, 140]), (32, 25)),
    ]
    tips = []
    for n, (length, width) in enumerate(zip((66, 76, 71, 54), (9.0, 9.4, 8.8, 7.6), strict=True)):
        base = np.array([-28.0 + 18.5 * n, 18.0 + 3 * abs(n - 1.3)])
        lean = np.deg2rad((n - 1.5) * 7 * spread)
        joint = base + 0.5 * length * bent * np.array([np.sin(lean), -np.cos(lean)])
        tip = joint + 0.5 * length * bent * np.array([np.sin(1.3 * lean), -np.cos(1.3 * lean)])
        palm += [(base, joint, (width, width * 0.95)), (joint, tip, (width * 0.95, width * 0.8))]
        tips.append((tip, lean, width))
    palm.append((np.array([-34.0, 58]), np.array([-52.0 - 6 * spread, 16]), (13, 9)))
    flip = np.array([side, 1.0])
    for start, end, radii in palm:
        own, cover = _finger(grid, start * flip * size, end * flip * size, (radii[0] * size, radii[1] * size))
        own = own * min(1.0, 12.0 / radii[0])  # a palm is flat
        rise = draw.uniform(0, 2)
        height = np.where(cover > 0.5, np.maximum(height, own + rise), height)
        mask = np.maximum(mask, cover)
    for tip, lean, width in tips:
        x = (grid.x - tip[0] * side * size) * side
        y = grid.y - tip[1] * size
        along, across = x * np.sin(lean) - y * np.cos(lean), x * np.cos(lean) + y * np.sin(lean)
        nails = np.maximum(nails, step((across / (0.55 * width)) ** 4 + ((along - 2) / 6.0) ** 4, 1.3, 0.8))
    skin = linear(identity.skin) * (1 + 0.05 * noise(draw, *mask.shape, 6 * grid.scale))[..., None]
    skin = skin * (1 - 0.12 * np.clip(noise(draw, *mask.shape, 3 * grid.scale, 1 * grid.scale) - 0.8, 0, 1))[..., None]
    polish = linear(any_colour(draw, 0.3, 1.0)) if draw.random() < 0.4 else linear(identity.skin) * (1.15, 1.0, 1.0)
    albedo = over(skin, np.clip(polish, 0, 1).astype(np.float32), 0.85 * nails)
    light = _lit(blur(height, 0.7 * grid.scale), albedo, looks, grid)
    crease = np.clip(blur(height, 3 * grid.scale) - height, 0, 6) / 6
    return light * (1 - 0.7 * crease)[..., None], mask


def _microphone(identity: Identity, looks: Looks, grid: Grid, draw: np.random.Generator) -> tuple[Light, Field]:
    """A ball of mesh or foam on a tapering body that comes from below."""
    x, y, radius = grid.x, grid.y, draw.uniform(17, 32)
    tone, body = linear(any_colour(draw, 0.02, 0.8, 0.5)), linear(any_colour(draw, 0.02, 0.6, 0.4))
    distance = np.hypot(x, y / draw.uniform(1.0, 1.35))
    ball = step(distance, radius + 0.5, radius - 0.5)
    if draw.random() < 0.5:
        pitch = draw.uniform(1.6, 3.0)
        mesh = 0.55 + 0.45 * np.sin(2 * np.pi * (x + y) / pitch) * np.sin(2 * np.pi * (x - y) / pitch)
    else:
        mesh = np.clip(1 + 0.25 * noise(draw, *x.shape, 1.2 * grid.scale), 0.3, 1.6)
    half = (radius * 0.72) - 0.05 * y
    shaft = step(np.abs(x), half + 0.5, half - 0.5) * step(y, radius * 0.55, radius * 0.75)
    ring = np.exp(-(((y - radius * 0.9) / 3.5) ** 2)) * shaft
    rounded = np.sqrt(np.clip(half**2 - x**2, 0, None))
    light = _lit(rounded, (body * np.ones((*x.shape, 1))), looks, grid) + 0.35 * ring[..., None]
    top = _lit(np.sqrt(np.clip(radius**2 - distance**2, 0, None)), tone * mesh[..., None], looks, grid)
    if draw.random() < 0.4:  # the hand that holds it
        skin, fingers = _hand(identity, looks, grid, draw)
        move = np.float32([[1, 0, 0], [0, 1, 62 * grid.scale]])
        skin = cv2.warpAffine(skin, move, mesh.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        fingers = cv2.warpAffine(fingers, move, mesh.shape[::-1])
        return over(over(light, top, ball), skin, fingers * (1 - ball)), np.maximum.reduce([ball, shaft, fingers])
    return over(light, top, ball), np.maximum(ball, shaft)


def _stand(identity: Identity, looks: Looks, grid: Grid, draw: np.random.Generator) -> tuple[Light, Field]:
    """A thin arm that holds a small microphone, or a screen before it."""
    side = float(draw.choice((-1.0, 1.0)))
    tone = linear(any_colour(draw, 0.02, 0.5, 0.4))
    arm_height, arm = _finger(grid, np.array([side * 8.0, 8.0]), np.array([side * 180.0, 120.0]), (4.0, 5.5))
    head_height, head = _finger(grid, np.array([0.0, 0.0]), np.array([side * 16.0, 12.0]), (11.0, 9.0))
    albedo = tone * (1 + 0.2 * noise(draw, *arm.shape, 1.1 * grid.scale))[..., None]
    light, mask = _lit(np.maximum(arm_height, head_height), np.clip(albedo, 0, 1), looks, grid), np.maximum(arm, head)
    if draw.random() < 0.3:
        distance = np.hypot(grid.x, grid.y)
        mask = np.maximum(mask, 0.55 * step(distance, 48, 47))
        mask = np.maximum(mask, step(np.abs(distance - 47.5), 2.6, 1.8))
    return light, mask


def _cup(identity: Identity, looks: Looks, grid: Grid, draw: np.random.Generator) -> tuple[Light, Field]:
    """A cup or a glass, with a band of another colour."""
    x, y = grid.x, grid.y
    tall, half = draw.uniform(70, 110), draw.uniform(30, 42) - 0.08 * y
    mask = step(np.abs(x), half + 0.5, half - 0.5) * step(y, -28, -26) * step(y, tall, tall - 2)
    band = step(np.abs(y - draw.uniform(0, 40)), 14, 13)
    albedo = over(linear(any_colour(draw)) * np.ones((*x.shape, 1)), linear(any_colour(draw)), band)
    return _lit(0.8 * np.sqrt(np.clip(half**2 - x**2, 0, None)), albedo, looks, grid), mask


def _card(identity: Identity, looks: Looks, grid: Grid, draw: np.random.Generator) -> tuple[Light, Field]:
    """A sheet, a telephone or a sign, with lines that look like writing."""
    half = draw.uniform(28, 70), draw.uniform(20, 60)
    corners = np.array([(-half[0], -half[1]), (half[0], -half[1]), (half[0], half[1]), (-half[0], half[1])])
    mask = fill(grid, corners + np.array([0.0, half[1] - 10]), 0.3)
    rows = step(np.sin(2 * np.pi * grid.y / draw.uniform(4, 14)), 0.3, 0.6)
    words = step(noise(draw, *mask.shape, 4 * grid.scale, 1.5 * grid.scale), -0.2, 0.2)
    albedo = over(linear(any_colour(draw)) * np.ones((*mask.shape, 1)), linear(any_colour(draw)), 0.8 * rows * words)
    return _lit(np.zeros_like(mask), albedo, looks, grid), mask


_PAINTERS = {"hand": _hand, "microphone": _microphone, "stand": _stand, "cup": _cup, "card": _card}
