"""The camera of a wide clip: colours, softness, shake, few pixels, halos, noise and a JPEG's blocks."""

import cv2
import numpy as np
from jaxtyping import UInt8

from latentsync.speakers.fields import blur
from latentsync.speakers.wide.looks import Looks

Frame = UInt8[np.ndarray, "h w 3"]

TILES = 5
SIDE_PX = 256  # that px of `Looks` are of
LUMA = np.array([0.299, 0.587, 0.114])


class Lens:
    """Takes pictures; what it does to one depends on the picture and its number alone."""

    def __init__(self, looks: Looks, seed: int, size_px: int) -> None:
        self.looks, self._size_px, self._ratio = looks, size_px, size_px / SIDE_PX
        draw = np.random.default_rng([seed, 75])
        value = np.arange(256, dtype=np.float64)[:, None] / 255
        tone = np.clip(value**2.2 * looks.gain * np.array(looks.cast), 0, None) ** (looks.gamma / 2.2)
        tone = np.where(tone > 0.8, 0.8 + 0.2 * np.tanh((tone - 0.8) / 0.2), tone)  # highlights roll off
        self._table = np.round(np.clip(tone, 0, 1) * 255).astype(np.uint8)[None]
        grey = np.tile(LUMA, (3, 1))
        self._mix = (looks.saturation * np.eye(3) + (1 - looks.saturation) * grey).astype(np.float32)
        self._noise = [self._tile(draw) for _ in range(TILES)]
        self._shakes = draw.normal(0, 1, (64, 2))

    def _tile(self, draw: np.random.Generator) -> np.ndarray:
        shape = self._size_px, self._size_px
        fine = draw.standard_normal(shape, dtype=np.float32)
        grain = self.looks.noise * (fine if draw.random() < 0.5 else blur(fine, 0.6) * 1.9)
        colour = blur(draw.standard_normal((*shape, 3), dtype=np.float32), 1.2) * 4
        return np.round(grain[..., None] + self.looks.chroma_noise * colour).astype(np.int16)

    def take(self, frame: Frame, number: int) -> Frame:
        """The picture of number `number` of a clip."""
        looks = self.looks
        if looks.saturation != 1.0:
            frame = cv2.transform(frame, self._mix)
        frame = cv2.LUT(frame, self._table)
        frame = cv2.GaussianBlur(frame, (0, 0), max(looks.blur * self._ratio, 0.2))
        if looks.shake:
            frame = self._shaken(frame, number)
        if looks.detail < 1:
            small = max(32, round(self._size_px * looks.detail))
            frame = cv2.resize(frame, (small, small), interpolation=cv2.INTER_AREA)
            frame = cv2.resize(frame, (self._size_px, self._size_px), interpolation=cv2.INTER_CUBIC)
        if looks.sharpen:
            soft = cv2.GaussianBlur(frame, (0, 0), 1.1 * self._ratio)
            frame = cv2.addWeighted(frame, 1 + looks.sharpen, soft, -looks.sharpen, 0)
        tile = self._noise[number % TILES]
        frame = cv2.add(frame, np.roll(tile, (7 * number, 13 * number), (0, 1)), dtype=cv2.CV_8U)
        if looks.jpeg < 100:
            coded = cv2.imencode(".jpg", frame[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, looks.jpeg))[1]
            frame = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]
        return np.ascontiguousarray(frame)

    def _shaken(self, frame: Frame, number: int) -> Frame:
        """Blurred along the way that the camera moved while the picture was taken."""
        way = self._shakes[number % len(self._shakes)] * self.looks.shake * self._ratio * 0.5
        length = float(np.hypot(*way))
        if length < 0.6:
            return frame
        reach = int(np.ceil(length)) + 1
        kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
        ends = np.round((np.array([reach, reach]) + np.array([-way / 2, way / 2])) * 16).astype(int)
        cv2.line(kernel, ends[0].tolist(), ends[1].tolist(), 1.0, 1, cv2.LINE_AA, 4)
        return cv2.filter2D(frame, -1, kernel / max(float(kernel.sum()), 1e-6))
