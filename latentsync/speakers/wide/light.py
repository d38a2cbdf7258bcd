"""The light on a face: a key light from anywhere, the rest from around, shadows that the face casts on itself."""

import cv2
import numpy as np
from jaxtyping import Float

from latentsync.speakers.fields import Field, blur, noise, step
from latentsync.speakers.identity import Rgb
from latentsync.speakers.surface import cast_shadow
from latentsync.speakers.wide.head import facing
from latentsync.speakers.wide.looks import Looks

Light = Float[np.ndarray, "h w 3"]  # linear light

HOLLOWS = ((2.5, 0.10), (7.0, 0.05), (16.0, 0.015))  # mm, and how much a hollow of that size darkens
EXPOSED = 0.72  # light on the mean of a face
WRAP = np.array([0.40, 0.24, 0.18], np.float32)  # skin scatters red light farthest


def white(rgb: Rgb) -> Float[np.ndarray, "3"]:
    """A light's colour in linear light, of brightness 1."""
    colour = (np.array(rgb, np.float32) / 255) ** 2.2
    return colour / colour.mean()


def key_direction(looks: Looks) -> Float[np.ndarray, "3"]:
    """Unit vector towards the key light."""
    azimuth, height = np.deg2rad([looks.azimuth, looks.height])
    return np.array([np.sin(azimuth) * np.cos(height), -np.sin(height), np.cos(azimuth) * np.cos(height)], np.float32)


def lighting(looks: Looks, relief: Field, mask: Field, scale: float, draw: np.random.Generator) -> tuple[Light, Light]:
    """Light on each place of the face, `EXPOSED` on the mean, and its highlights."""
    key, relief = key_direction(looks), blur(relief, 0.8 * scale)
    normal = facing(relief, scale)
    toward = normal @ key
    occlusion = np.ones_like(relief)
    for size_mm, strength in HOLLOWS:
        occlusion *= np.exp(-strength * np.maximum(blur(relief, size_mm * scale) - relief, 0))
    shadow = 1 - 0.92 * cast_shadow(relief, scale, _from_the_front(key))
    if looks.pattern:
        cells = draw.uniform(8, 40) * scale, draw.uniform(8, 60) * scale
        leaves = step(noise(draw, *relief.shape, *cells), -0.25, 0.25)
        shadow = shadow * (1 - looks.pattern * leaves)
    diffuse = np.clip((toward[..., None] + WRAP) / (1 + WRAP), 0, 1) * shadow[..., None]
    around = (0.62 + 0.22 * normal[..., 2] - 0.16 * normal[..., 1]) * occlusion
    light = looks.ratio * diffuse * white(looks.key) + (1 - looks.ratio) * around[..., None] * white(looks.fill)
    light = light * (0.55 + 0.45 * occlusion)[..., None]
    halfway = key + np.array([0, 0, 1.0], np.float32)
    halfway = halfway / np.linalg.norm(halfway)
    soft = np.clip(normal[..., 2], 0, 1) ** looks.shine_width * (1 - looks.ratio)
    shine = looks.ratio * np.clip(normal @ halfway, 0, 1) ** looks.shine_width * shadow + 0.3 * soft
    inside = mask > 0.5
    mean = float(light[inside].mean()) if inside.any() else 1.0
    return (light * (EXPOSED / mean)).astype(np.float32), (shine[..., None] * white(looks.key)).astype(np.float32)


def _from_the_front(key: np.ndarray) -> np.ndarray:
    """A light behind the face casts the shadow of one that grazes it."""
    return np.array([key[0], key[1], max(float(key[2]), 0.12)], np.float32)


def enlarged(field: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The field at another number of rows and columns."""
    return cv2.resize(field, shape[::-1], interpolation=cv2.INTER_LINEAR)
