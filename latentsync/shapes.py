"""Shapes of the tensors that pass between modules, as jaxtyping aliases, beside those of `arrays`.

Letters: b batch, c channels, d width of a state, f frames, h height, r resolution of the crop, t states per video
frame, w width.
"""

from jaxtyping import Float, UInt8
from torch import Tensor

from latentsync.arrays import Affine, Frame, HasFace, Landmarks, Points, Samples, Waveform

__all__ = [
    "Affine",
    "Crop",
    "Crops",
    "Frame",
    "HasFace",
    "Landmarks",
    "Latents",
    "Mask",
    "Pixels",
    "Points",
    "Samples",
    "Waveform",
    "Windows",
]

Crop = UInt8[Tensor, "3 r r"]  # one aligned face, RGB, 0..255
Crops = UInt8[Tensor, "f 3 r r"]
Pixels = Float[Tensor, "f 3 r r"]  # aligned faces, RGB, -1..1
Mask = Float[Tensor, "1 r r"]  # 1 keep, 0 generate
Latents = Float[Tensor, "b c f h w"]
Windows = Float[Tensor, "f t d"]  # Whisper states around each video frame
