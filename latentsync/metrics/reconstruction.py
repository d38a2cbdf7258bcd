"""How close a picture is to the true one: peak signal-to-noise ratio and structural similarity.

Goal: the error of generated or decoded faces against the true ones, over all of a clip's pixels or over a region.

Conventions: crops are uint8 `(f, 3, r, r)`, so the peak is 255. PSNR is one number per clip: the mean square is taken
over all its frames before the logarithm, so a single bad frame counts. Identical pictures give inf. SSIM is one number
per frame.

Measures: `psnr_db` (dB, higher is better; differences are hard to see at a glance from 30 dB on, and at all from 40 dB
on), `ssim` (at most 1, for identical pictures; higher is better).

Source: `torchmetrics`; Wang et al., "Image quality assessment: from error visibility to structural similarity" (IEEE
TIP 2004), with its Gaussian window of 11 px and sigma 1.5, on RGB.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from latentsync.shapes import Crops

PEAK = 255.0


def validate(a: Crops, b: Crops) -> None:
    """Refuses crops that cannot be compared.

    Raises:
        ValueError: the crops are not both uint8 (f, 3, r, r) of one shape, or there are none.
    """
    if a.shape != b.shape or a.ndim != 4 or a.dtype != torch.uint8 or b.dtype != torch.uint8 or not a.numel():
        raise ValueError(
            f"crops are {a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}; both must be uint8 (f, 3, r, r)"
        )


def _check_region(region: Bool[Tensor, "r r"] | None) -> None:
    if region is not None and not region.any():
        raise ValueError("the region holds 0 pixels; give a region with at least 1")


def psnr_db(a: Crops, b: Crops, region: Bool[Tensor, "r r"] | None = None) -> float:
    """PSNR of two clips in dB, over all pixels or over those of a region.

    Raises:
        ValueError: as `validate`, or an empty region.
    """
    validate(a, b)
    _check_region(region)
    if region is not None:
        a, b = a[..., region], b[..., region]
    return float(peak_signal_noise_ratio(a.double(), b.double(), data_range=PEAK))


def squared_error(a: Crops, b: Crops, region: Bool[Tensor, "r r"] | None = None) -> tuple[float, int]:
    """Sum of squared differences, and number of values; with them the PSNR of a long clip can be computed in parts.

    Raises:
        ValueError: as `psnr_db`.
    """
    validate(a, b)
    _check_region(region)
    squares = (a.int() - b.int()).square()
    squares = squares if region is None else squares[..., region]
    return float(squares.sum(dtype=torch.int64)), squares.numel()


def ssim(
    a: Crops, b: Crops, region: Bool[Tensor, "r r"] | None = None
) -> tuple[Float[Tensor, " f"], Float[Tensor, " f"]]:
    """SSIM of each pair of whole crops, and the mean of its map over a region (by default the whole crop).

    Raises:
        ValueError: as `validate`, or an empty region.
    """
    validate(a, b)
    _check_region(region)
    whole, pictures = structural_similarity_index_measure(
        a.float(), b.float(), data_range=PEAK, reduction="none", return_full_image=True
    )
    whole = whole.reshape(-1)
    return whole, whole if region is None else pictures[..., region].mean(dim=(1, 2))
