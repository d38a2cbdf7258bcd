"""How alike two sets of videos look as a whole: FID of their frames and FVD of their motion.

Goal: Frechet distances of the features of many clips, as papers report them. They say nothing about a single clip. With
few clips they are useless, because the number of samples biases the estimate. So sets of under 100 clips are refused.

Conventions: aligned crops. FID takes folders of PNG files. FVD takes arrays of uint8 `(n, f, r, r, 3)`, one window of f
frames of each clip. Both are lower for sets that are more alike, and 0 for the same set.

Source: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (NeurIPS 2017), by `clean-fid` (Parmar et al.,
CVPR 2022); Unterthiner et al., "Towards Accurate Generative Models of Video" (2018), by `cd-fvd` with VideoMAE (Ge et
al., CVPR 2024). Both need an optional extra, `pip install latentsync-lab[sets]`, and download their networks.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from latentsync.metrics.definitions import DEFINITIONS_OF_SETS, Entry

LEAST_CLIPS = 100
WINDOW_FRAMES = 16  # FVD sees this many frames of a video

Videos = UInt8[np.ndarray, "n f r r 3"]


def refusal(num_generated: int, num_real: int) -> str | None:
    """Why a distance of sets with this many clips has no meaning; None if it has one."""
    few = min(num_generated, num_real)
    if few >= LEAST_CLIPS:
        return None
    return (
        f"the sets have {num_generated} and {num_real} clips; at least {LEAST_CLIPS} of each are needed, since the "
        f"distance of smaller ones says more of their size than of their looks"
    )


def fid(generated: Path, real: Path, num_generated: int, num_real: int, device: str = "cpu") -> Entry:
    """FID of two folders of PNG files, made from `num_generated` and `num_real` clips."""

    def distance() -> float:
        from cleanfid.fid import compute_fid

        return compute_fid(
            str(generated), str(real), mode="clean", device=device, num_workers=0, use_dataparallel=False
        )

    return _entry("fid", num_generated, num_real, "clean-fid", distance)


def fvd(generated: Videos, real: Videos, device: str = "cpu") -> Entry:
    """FVD of two sets of windows, one of each clip.

    Raises:
        ValueError: the videos are not uint8 (n, f, r, r, 3), or differ in length or size.
    """
    for videos in (generated, real):
        if videos.ndim != 5 or videos.shape[-1] != 3 or videos.dtype != np.uint8:
            raise ValueError(
                f"videos have shape {videos.shape} and type {videos.dtype}; uint8 (n, f, r, r, 3) is needed"
            )
    if generated.shape[1:] != real.shape[1:]:
        raise ValueError(f"windows are {generated.shape[1:]} and {real.shape[1:]}; make them equal")

    def distance() -> float:
        from cdfvd.fvd import cdfvd

        return cdfvd("videomae", ckpt_path=None, device=device).compute_fvd(real, generated)

    return _entry("fvd", len(generated), len(real), "cd-fvd", distance)


def _entry(name: str, num_generated: int, num_real: int, package: str, distance: Callable[[], float]) -> Entry:
    definition = DEFINITIONS_OF_SETS[name]
    fields = {"value": None, "unit": definition.unit, "direction": definition.direction, "protocol": definition.text,
            "version": definition.version, "used": num_generated, "network": package}  # fmt: skip
    if (reason := refusal(num_generated, num_real)) is not None:
        return fields | {"reason": reason}
    try:
        return fields | {"value": float(distance())}
    except ImportError:
        return fields | {"reason": f"{package} is not installed; `pip install latentsync-lab[sets]` brings it"}
    except Exception as error:  # the libraries raise all kinds of errors if they cannot download a network
        return fields | {"reason": f"{package} failed: {type(error).__name__}: {error}"}
