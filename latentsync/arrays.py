"""Shapes of NumPy arrays, as jaxtyping aliases. Does not import torch, so video, sound and landmarks load fast.

Letters: f frames, h height, k points, n samples, w width.
"""

import numpy as np
from jaxtyping import Bool, Float, Int16, UInt8

Samples = Int16[np.ndarray, " n"]  # mono, 16 bit
Waveform = Float[np.ndarray, "n"]  # mono, -1..1
Frame = UInt8[np.ndarray, "h w 3"]  # one decoded video frame, RGB, 0..255
Landmarks = Float[np.ndarray, "k 3"]  # x, y in px of the frame, z in the same scale
Points = Float[np.ndarray, "3 2"]  # left brow, right brow, nose, in px
Affine = Float[np.ndarray, "2 3"]  # frame px -> crop box px
HasFace = Bool[np.ndarray, "f"]  # in which frames there is a face
