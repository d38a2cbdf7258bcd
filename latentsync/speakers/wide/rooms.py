"""What is behind wide people: rooms, gradients, noise, leaves, stripes, tiles; sharp or out of focus."""

import cv2
import numpy as np
from jaxtyping import Float

from latentsync.speakers.fields import Grid, blur, linear, noise, over, step
from latentsync.speakers.identity import Identity
from latentsync.speakers.scene import paint_background
from latentsync.speakers.wide.looks import Looks, any_colour

Light = Float[np.ndarray, "h w 3"]  # linear light

SOFTEST_MM = 14.0


def paint_room(identity: Identity, looks: Looks, grid: Grid, draw: np.random.Generator) -> Light:
    """The background in linear light."""
    shape, base, other = (grid.height, grid.width), linear(identity.background), linear(looks.room_hue)
    if looks.room == "blurred":
        return paint_background(identity, grid, draw)
    if looks.room == "leaves":
        room = _leaves(grid, draw)
    elif looks.room == "plain":
        room = base * np.ones((*shape, 1), np.float32)
    else:
        room = over(base * np.ones((*shape, 1), np.float32), other, _pattern(looks.room, grid, draw))
    room = room * (1 + 0.05 * noise(draw, *shape, 60 * grid.scale))[..., None]
    return np.clip(blur(room.astype(np.float32), (1 - looks.room_sharp) * SOFTEST_MM * grid.scale), 0, 1)


def _pattern(kind: str, grid: Grid, draw: np.random.Generator) -> np.ndarray:
    """How much of the second colour is where, 0..1."""
    x, y, shape = grid.x, grid.y, (grid.height, grid.width)
    angle, size = draw.uniform(0, np.pi), float(np.exp(draw.uniform(np.log(8), np.log(90))))
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    if kind == "gradient":
        field = step(along, -draw.uniform(60, 200), draw.uniform(60, 200))
    elif kind == "noise":
        cells = size * grid.scale / np.array([1, 2, 4, 8]) if draw.random() < 0.5 else np.array([size * grid.scale])
        field = 0.5 + 0.3 * sum(noise(draw, *shape, max(cell, 0.6)) / (1 + n) for n, cell in enumerate(cells))
    elif kind == "stripes":
        field = step(np.sin(2 * np.pi * across / size), -0.2, 0.2)
    else:
        rows = np.floor(y / (0.5 * size))
        shifted = x + (rows % 2) * 0.5 * size * float(draw.random() < 0.6)
        joints = np.minimum(np.abs(shifted % size), np.abs(y % (0.5 * size)))
        field = step(joints, 0.5, 2.0) * (0.8 + 0.2 * np.sin(37.0 * rows + 17.0 * np.floor(shifted / size)))
    return np.clip(field, 0, 1).astype(np.float32)


def _leaves(grid: Grid, draw: np.random.Generator) -> Light:
    """Shapes of any colour that lie over each other, many small and few large ones, as in a picture of the world."""
    canvas = np.zeros((grid.height, grid.width, 3), np.float32)
    canvas[:] = linear(any_colour(draw))
    for radius in np.sort(6 * draw.pareto(1.6, 220) + 4)[::-1]:
        centre = draw.uniform(0, (grid.width, grid.height))
        size = min(radius, 140) * grid.scale
        corners = np.sort(draw.uniform(0, 2 * np.pi, int(draw.integers(3, 9))))
        points = centre + size * np.stack([np.cos(corners), np.sin(corners)], 1) * draw.uniform(0.5, 1, (1, 2))
        colour = linear(any_colour(draw, 0.03, 1.0, 0.8)).tolist()
        cv2.fillPoly(canvas, [np.round(points * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)
    return canvas
