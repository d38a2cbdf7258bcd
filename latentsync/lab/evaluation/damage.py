"""Damages an intact clip in a known way and strength, so that one can see which metrics react.

The mouth is damaged within the mouth mask of the aligned crop and pasted back as in the pipeline. A voice is damaged as
a sound. `DAMAGES` gives the units of the strengths; px are pixels of a 128 px crop.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from latentsync.faces.masks import mouth_mask
from latentsync.shapes import Crops, Waveform

USUAL_PX = 128
WINDOW_FRAMES = 8  # window of the embedded model
CRF = 18  # the CRF of results
SEED = 1247


@dataclass(frozen=True)
class Damage:
    """One kind of damage.

    Attributes:
        unit, strengths: the unit, and a weak, a middle and a strong value.
        crops: (crops, strength) -> damaged crops, whose mouths are pasted; None: the crops do not change.
        voice: (voice, other, strength) -> damaged voice; None: the voice does not change.
        crf: whether the strength is the codec's constant rate factor.
    """

    unit: str
    strengths: tuple[float, float, float]
    crops: Callable[[Crops, float], Crops] | None = None
    voice: Callable[[Waveform, Waveform, float], Waveform] | None = None
    crf: bool = False


def damaged(crops: Crops, damage: Damage, strength: float) -> Crops:
    """The crops, damaged only in the mouth."""
    if damage.crops is None:
        return crops
    return torch.where(mouth_mask("mask", crops.shape[-1]) > 0.5, crops, damage.crops(crops, strength))


def _px(crops: Crops, strength: float) -> float:
    return strength * crops.shape[-1] / USUAL_PX


def _pictures(crops: Crops) -> list[np.ndarray]:
    return [crop.permute(1, 2, 0).contiguous().numpy() for crop in crops]


def _crops(pictures: list[np.ndarray]) -> Crops:
    return torch.stack([torch.from_numpy(picture).permute(2, 0, 1) for picture in pictures]).contiguous()


def blur(crops: Crops, strength: float) -> Crops:
    """Gaussian blur; the strength is its standard deviation in px."""
    sigma = _px(crops, strength)
    return _crops([cv2.GaussianBlur(picture, (0, 0), sigma) for picture in _pictures(crops)])


def shift(crops: Crops, strength: float) -> Crops:
    """Each frame gets the mouth from `strength` frames earlier."""
    return crops[np.maximum(np.arange(len(crops)) - round(strength), 0)]


def jitter(crops: Crops, strength: float) -> Crops:
    """Moves the mouth of each frame by normally distributed distances; the strength is their deviation in px."""
    ways = np.random.default_rng(SEED).normal(0, _px(crops, strength), (len(crops), 2))
    size = crops.shape[-1], crops.shape[-1]
    moved = (np.array([[1, 0, x], [0, 1, y]], np.float64) for x, y in ways)
    border = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
    return _crops([cv2.warpAffine(p, m, size, **border) for p, m in zip(_pictures(crops), moved, strict=True)])


def _brighter(crops: Crops, levels: Tensor) -> Crops:
    return (crops.short() + levels.short()).clamp(0, 255).to(torch.uint8)


def colour(crops: Crops, strength: float) -> Crops:
    """More red and less blue; the strength is the change in levels."""
    return _brighter(crops, torch.tensor([strength, 0, -strength]).round()[:, None, None])


def frozen(crops: Crops, strength: float) -> Crops:
    """The last part of the clip gets the mouth of the first frame; the strength is its share of the clip."""
    still = round(strength * len(crops))
    return crops if not still else torch.cat([crops[: len(crops) - still], crops[:1].expand(still, -1, -1, -1)])


def windows(crops: Crops, strength: float) -> Crops:
    """Windows of 8 frames become brighter and darker in turn; the strength is the change in levels."""
    turn = torch.where(torch.arange(len(crops)) // WINDOW_FRAMES % 2 == 0, strength, -strength)
    return _brighter(crops, turn.round()[:, None, None, None])


def wrong_voice(voice: Waveform, other: Waveform, strength: float) -> Waveform:
    """The first part of the voice becomes another sentence, repeated if it is too short; the strength is its share."""
    count = round(strength * len(voice))
    return np.concatenate([np.resize(other, count), voice[count:]]).astype(voice.dtype)


DAMAGES = {
    "blur": Damage("px", (0.5, 1, 2), blur),
    "shift": Damage("frames", (2, 5, 10), shift),
    "jitter": Damage("px", (0.5, 1, 2), jitter),
    "colour": Damage("levels", (4, 8, 16), colour),
    "frozen": Damage("of the time", (0.33, 0.67, 1), frozen),
    "wrong voice": Damage("of the time", (0.33, 0.67, 1), voice=wrong_voice),
    "windows": Damage("levels", (2, 4, 8), windows),
    "codec": Damage("crf", (23, 28, 35), crf=True),
}
