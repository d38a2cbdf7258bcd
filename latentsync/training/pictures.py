"""Procedural pictures with the statistics of photographs, and the faults of cameras. Knows no networks.

An autoencoder that has seen painted people alone reproduces painted people. These pictures have what photographs have
and paintings lack: detail at every scale, occlusion, texture, hard and soft edges, and all hues. The dead leaves model
(Lee, Mumford and Huang 2001) has the scale invariance of natural pictures; Baradad et al. 2021 ("Learning to see by
looking at noise") showed that networks learn from it.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.utils.data import Dataset

from latentsync.errors import OptionError
from latentsync.training.windows import WindowSet

Picture = Float[np.ndarray, "s s 3"]  # 0..1
Draw = np.random.Generator

NEAREST_LEAF_PX, FARTHEST_LEAF_SHARE = 2.0, 0.35  # radii of leaves, px and share of the picture's side
LEAVES = (20, 250)
GLYPHS = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789&%?#"
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX)


# --- pictures ---


def fractal_noise(draw: Draw, side: int) -> Picture:
    """Noise whose amplitude falls with frequency f as f ** -a, with a from 0.6 to 1.8; photographs have about 1."""
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequencies[0, 0] = 1.0
    amplitude = (frequencies ** -draw.uniform(0.6, 1.8)).astype(np.float32)
    amplitude[0, 0] = 0.0
    spectrum = np.fft.rfft2(draw.standard_normal((3, side, side), dtype=np.float32))
    fields = np.fft.irfft2(spectrum * amplitude, s=(side, side))
    fields /= fields.std(axis=(1, 2), keepdims=True) + 1e-6
    mixed = np.einsum("ij,jhw->hwi", _colour_mix(draw), fields)
    return np.clip(_colour(draw) + draw.uniform(0.05, 0.3) * mixed, 0, 1).astype(np.float32)


def gradient(draw: Draw, side: int) -> Picture:
    """A smooth course between two colours, straight or round, as on walls and skies."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    if draw.random() < 0.5:
        angle = draw.uniform(0, 2 * np.pi)
        course = np.cos(angle) * x + np.sin(angle) * y
    else:
        course = np.hypot(x - draw.uniform(-0.2, 1.2), y - draw.uniform(-0.2, 1.2))
    course = (course - course.min()) / (np.ptp(course) + 1e-6)
    course = course ** draw.uniform(0.5, 2.0)
    return (_colour(draw) * (1 - course[..., None]) + _colour(draw) * course[..., None]).astype(np.float32)


def strands(draw: Draw, side: int) -> Picture:
    """Noise drawn out in one direction, as of hair, fur, grass and cloth."""
    field = draw.standard_normal((side, side), dtype=np.float32)
    length = int(draw.integers(5, max(6, side // 6)))
    kernel = _line_kernel(length, draw.uniform(0, np.pi))
    field = cv2.filter2D(field, -1, kernel, borderType=cv2.BORDER_REFLECT)
    field = cv2.GaussianBlur(field, (0, 0), draw.uniform(0.3, 1.5))
    field /= field.std() + 1e-6
    return np.clip(_colour(draw) + field[..., None] * draw.uniform(0.03, 0.15) * _colour(draw), 0, 1).astype(np.float32)


def weave(draw: Draw, side: int) -> Picture:
    """Stripes, checks and waves of two colours, soft or hard, as on clothes and blinds."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    wave = np.zeros((side, side), np.float32)
    for _ in range(int(draw.integers(1, 4))):
        angle, length = draw.uniform(0, np.pi), draw.uniform(4, max(5, side / 3))
        wave += np.sin(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / length + draw.uniform(0, 2 * np.pi))
    mask = 1 / (1 + np.exp(-wave * draw.choice([1.0, 4.0, 20.0])))
    return (_colour(draw) * (1 - mask[..., None]) + _colour(draw) * mask[..., None]).astype(np.float32)


PLAIN: tuple[Callable[[Draw, int], Picture], ...] = (fractal_noise, gradient, strands, weave)


def dead_leaves(draw: Draw, side: int) -> Picture:
    """Shapes that hide each other, their radii distributed as r ** -3; some are textured or shaded."""
    picture = _plain(draw, side)
    least, most = NEAREST_LEAF_PX, FARTHEST_LEAF_SHARE * side
    soft = draw.random() < 0.3
    for _ in range(int(draw.integers(*LEAVES))):
        u = draw.random()
        radius = (least**-2 + u * (most**-2 - least**-2)) ** -0.5
        outline = _outline(draw, radius) + draw.uniform(-0.1, 1.1, 2) * side
        mask = np.zeros((side, side), np.uint8)
        cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        left, top, width, height = cv2.boundingRect(mask)
        if not width:
            continue
        box = np.s_[top : top + height, left : left + width]
        alpha = mask[box].astype(np.float32)[..., None] / 255
        if soft and radius > 8:
            alpha = cv2.GaussianBlur(alpha, (0, 0), draw.uniform(0.5, 3))[..., None]
        is_textured = radius > 12 and draw.random() < 0.5
        paint = _plain(draw, max(width, height))[:height, :width] if is_textured else _colour(draw)
        picture[box] += (paint - picture[box]) * alpha
    return picture


def lettering(draw: Draw, side: int) -> Picture:
    """Words of many sizes on a plain picture: thin strokes and sharp corners, as of text, lashes and wires."""
    picture = np.ascontiguousarray(np.round(_plain(draw, side) * 255), np.uint8)
    for _ in range(int(draw.integers(3, 20))):
        word = "".join(draw.choice(list(GLYPHS), int(draw.integers(1, 9))))
        place = tuple(int(p) for p in draw.uniform(-0.1, 1.0, 2) * side)
        colour = tuple(float(c) for c in np.round(_colour(draw) * 255))
        font, size = int(draw.choice(FONTS)), draw.uniform(0.2, 2.5)
        cv2.putText(picture, word, place, font, size, colour, int(draw.integers(1, 4)), cv2.LINE_AA)
    return picture.astype(np.float32) / 255


def drawn_picture(draw: Draw, side: int) -> Picture:
    """A picture of a random kind: half of them dead leaves."""
    kind = draw.choice([dead_leaves, dead_leaves, lettering, fractal_noise, strands, weave])
    picture = kind(draw, side)
    if draw.random() < 0.3:  # a fine grain over everything
        grain = fractal_noise(draw, side)
        picture = picture * (1 - 0.25 * (grain - grain.mean()))
    return np.clip(picture, 0, 1).astype(np.float32)


def _plain(draw: Draw, side: int) -> Picture:
    return PLAIN[int(draw.integers(len(PLAIN)))](draw, side)


def _colour(draw: Draw) -> Float[np.ndarray, "3"]:
    """A colour of any hue; muted ones are more frequent than strong ones."""
    grey = draw.uniform(0.02, 0.98)
    return np.clip(grey + 0.6 * draw.random() ** 2 * draw.uniform(-1, 1, 3), 0, 1).astype(np.float32)


def _colour_mix(draw: Draw) -> Float[np.ndarray, "3 3"]:
    """Mixes three fields into colours: mostly light and dark, as in photographs, and a share of colour."""
    share = draw.uniform(0, 0.6)
    light = np.zeros((3, 3))
    light[:, 0] = 1
    return ((1 - share) * light + share * draw.standard_normal((3, 3))).astype(np.float32)


def _outline(draw: Draw, radius: float) -> Float[np.ndarray, "k 2"]:
    """An ellipse, a polygon or a smooth blob about the origin."""
    kind = draw.integers(3)
    angles = np.linspace(0, 2 * np.pi, int(draw.integers(3, 7)) if kind == 1 else 32, endpoint=False)
    radii = np.full(len(angles), radius)
    if kind == 2:
        for harmonic in range(2, 5):
            radii *= 1 + draw.uniform(0, 0.25) * np.sin(harmonic * angles + draw.uniform(0, 2 * np.pi))
    points = np.stack([radii * np.cos(angles), radii * np.sin(angles) * draw.uniform(0.2, 1)], axis=1)
    turn = draw.uniform(0, 2 * np.pi)
    return points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])


def _line_kernel(length: int, angle: float) -> Float[np.ndarray, "k k"]:
    side = length | 1
    kernel = np.zeros((side, side), np.float32)
    reach = np.array([np.cos(angle), np.sin(angle)]) * (side // 2)
    ends = [tuple(int(p) for p in np.round(side // 2 + sign * reach)) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1)
    return kernel / kernel.sum()


# --- cameras ---


def through_camera(draw: Draw, picture: Picture) -> Picture:
    """The picture as a poor camera shows it: cast, exposure, blur, low resolution, noise and compression, each by
    chance. The autoencoder has to reproduce the result, faults included."""
    side = len(picture)
    light = picture ** draw.uniform(0.6, 1.6) * draw.uniform(0.6, 1.2) * draw.uniform(0.8, 1.2, 3).astype(np.float32)
    if draw.random() < 0.4:
        light = cv2.GaussianBlur(light, (0, 0), draw.uniform(0.3, 1.5))
    if draw.random() < 0.15:
        light = cv2.filter2D(light, -1, _line_kernel(int(draw.integers(3, 10)), draw.uniform(0, np.pi)))
    if draw.random() < 0.2:
        small = max(8, int(side * draw.uniform(0.4, 0.9)))
        light = cv2.resize(light, (small, small), interpolation=cv2.INTER_AREA)
        light = cv2.resize(light, (side, side), interpolation=cv2.INTER_CUBIC)
    if draw.random() < 0.5:
        deviation = draw.uniform(0.003, 0.03) * np.sqrt(np.clip(light, 0.05, 1))
        grain = draw.standard_normal(light.shape, dtype=np.float32)
        light = light + deviation * (cv2.GaussianBlur(grain, (0, 0), 0.8) * 2 if draw.random() < 0.5 else grain)
    light = np.clip(light, 0, 1).astype(np.float32)
    if draw.random() < 0.4:
        quality = int(draw.integers(35, 96))
        _, code = cv2.imencode(".jpg", np.round(light * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
        light = cv2.imdecode(code, cv2.IMREAD_COLOR).astype(np.float32) / 255
    return light


# --- the data set ---


class MixedPictures(Dataset):
    """Aligned faces, with procedural pictures among them, as a whole or in patches: `pictures.sample(epoch, index)`.

    A sample depends on the seed, the epoch and its index only. It is a dict with `frames`, uint8 (1, 3, p, p).

    Args:
        faces: one frame a sample.
        drawn_share: share of the samples that are procedural pictures instead of faces.
        camera_share: share of all samples that go through a poor camera; see `through_camera`.
        patch_px: side of the part that is cut out at a random place; 0 leaves pictures whole.
        seed: of all random numbers.

    Raises:
        OptionError: a patch is larger than the faces.
    """

    def __init__(self, faces: WindowSet, drawn_share: float, camera_share: float, patch_px: int, seed: int) -> None:
        if patch_px > faces.size_px:
            raise OptionError(f"task.patch_px is {patch_px}; the clips have crops of {faces.size_px} px, 0 takes whole")
        self.faces, self.drawn_share, self.camera_share = faces, drawn_share, camera_share
        self.patch_px, self.seed = patch_px or faces.size_px, seed

    def __len__(self) -> int:
        return len(self.faces)

    def sample(self, epoch: int, index: int) -> dict[str, Any]:
        """Sample `index` of an epoch."""
        draw = np.random.default_rng([self.seed, 1, epoch, index])
        if draw.random() < self.drawn_share:
            picture = drawn_picture(draw, self.patch_px)
        else:
            frame = self.faces.sample(epoch, index)["frames"][0]
            top, left = (int(draw.integers(self.faces.size_px - self.patch_px + 1)) for _ in range(2))
            patch = frame[:, top : top + self.patch_px, left : left + self.patch_px]
            picture = patch.permute(1, 2, 0).numpy().astype(np.float32) / 255
        if draw.random() < self.camera_share:
            picture = through_camera(draw, picture)
        return {"frames": _to_frame(picture)}


def _to_frame(picture: Picture) -> UInt8[torch.Tensor, "1 3 s s"]:
    return torch.from_numpy(np.round(picture * 255).astype(np.uint8)).permute(2, 0, 1)[None].contiguous()
