"""How near a picture comes to the one it should be: peak signal-to-noise ratio.

Goal: the error of generated or decoded faces against the true ones, over all of a clip's pixels or over a region.

Conventions: crops uint8 `(f, 3, r, r)`, so that the peak is 255. One number per clip: the mean square is taken over all
its frames before the logarithm, so a frame that fails counts. Identical pictures have no finite value; they give inf.

Measures: `psnr_db` (dB, higher is better; 30 is hard to tell apart at a glance, 40 for anyone).
"""

import math

import torch
from jaxtyping import Bool
from torch import Tensor

from latentsync.shapes import Crops

PEAK = 255.0


def validate(a: Crops, b: Crops) -> None:
    """Refuses crops that cannot be compared.

    Raises:
        ValueError: not both uint8 (f, 3, r, r) of one shape, or none.
    """
    if a.shape != b.shape or a.ndim != 4 or a.dtype != torch.uint8 or b.dtype != torch.uint8 or not a.numel():
        raise ValueError(
            f"crops are {a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}; both must be uint8 (f, 3, r, r)"
        )


def psnr_db(a: Crops, b: Crops, region: Bool[Tensor, "r r"] | None = None) -> float:
    """PSNR of two clips in dB, over the pixels of a region where one is given.

    Raises:
        ValueError: as `validate`, or an empty region.
    """
    validate(a, b)
    squares = (a.float() - b.float()).square()
    if region is not None:
        if not region.any():
            raise ValueError("the region holds no pixel; give one that does")
        squares = squares[..., region]
    error = float(squares.double().mean())
    return math.inf if error == 0 else 10 * math.log10(PEAK**2 / error)
