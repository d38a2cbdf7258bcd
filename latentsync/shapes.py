"""Shapes of the arrays that walk through the rooms, as jaxtyping aliases.

Letters: b batch, c channels, d width of a state, f frames, h height, k points, n samples, r resolution of the crop,
t states per video frame, w width.
"""

import numpy as np
from jaxtyping import Bool, Float, Int16, UInt8
from torch import Tensor

Samples = Int16[np.ndarray, " n"]
Frame = UInt8[np.ndarray, "h w 3"]  # one decoded video frame, RGB, 0..255
Crop = UInt8[Tensor, "3 r r"]  # one aligned face, RGB, 0..255
Crops = UInt8[Tensor, "f 3 r r"]
Pixels = Float[Tensor, "f 3 r r"]  # aligned faces, RGB, -1..1
Mask = Float[Tensor, "1 r r"]  # 1 keep, 0 generate
Latents = Float[Tensor, "b c f h w"]
Waveform = Float[np.ndarray, "n"]  # mono, -1..1
Windows = Float[Tensor, "f t d"]  # Whisper states around each video frame
Landmarks = Float[np.ndarray, "k 3"]  # x, y in px of the frame, z in the same scale
Points = Float[np.ndarray, "3 2"]  # left brow, right brow, nose, in px
Affine = Float[np.ndarray, "2 3"]  # frame px -> crop box px
Found = Bool[np.ndarray, "f"]
