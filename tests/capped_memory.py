"""Denoises and decodes in a process whose memory is capped, then without a cap, and prints how far they differ.

The cap leaves room for a few windows (frames), but not for the batch. `test_memory` runs it as a child.
"""

import json
import logging
import resource
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DDIMScheduler
from rounding import rounding
from small_unet import small_unet

from latentsync.checkpoints.model import LATENTSYNC_SCHEDULER, load_folder
from latentsync.generation.denoise import Condition, denoise
from latentsync.generation.latents import decode
from latentsync.generation.memory import peak_bytes
from latentsync.generation.portions import LEAST, Portions

WINDOWS, FRAMES, SIDE = 8, 4, 32
CROPS, SIZE_PX = 8, 256  # as many as the VAE takes at a time


def used_bytes() -> int:
    """The address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def capped(call: Callable[[Portions], torch.Tensor], need: int, portions: Portions) -> torch.Tensor:
    """What the call gives where less than a third of what it needs may be allocated."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used_bytes() + need // 3, hard))
    try:
        return call(portions)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


@torch.no_grad()
def main() -> None:
    """Prints, for each call, the difference, its bound, the lines that were announced, and whether portions changed."""
    torch.set_num_threads(1)
    unet = small_unet(0)
    vae, scheduler = load_folder("mini")["vae"], DDIMScheduler.from_config(LATENTSYNC_SCHEDULER)
    latents = [torch.randn(WINDOWS, 4, FRAMES, SIDE, SIDE) for _ in range(3)]
    condition = Condition(
        torch.zeros(WINDOWS, 1, FRAMES, SIDE, SIDE), *latents[:2], torch.randn(WINDOWS, FRAMES, 5, 384)
    )
    first = Condition(*(value[:1] for value in vars(condition).values()))
    of_frames = torch.randn(CROPS, 4, SIZE_PX // 8, SIZE_PX // 8)
    calls = {
        "denoise": (
            lambda portions: denoise(unet, scheduler, latents[2], condition, 1.5, 1, portions=portions),
            lambda: denoise(unet, scheduler, latents[2][:1], first, 1.5, 1),
            WINDOWS,
            rounding(unet),
        ),
        "decode": (
            lambda portions: decode(vae, of_frames, portions),
            lambda: decode(vae, of_frames[:1]),
            CROPS,
            rounding(vae),
        ),
    }
    lines: list[logging.LogRecord] = []
    logging.getLogger("latentsync.generation.portions").addFilter(lambda line: bool(lines.append(line)))
    found = {}
    for name, (call, small_call, count, bound) in calls.items():
        small_call()  # loads libraries and kernels
        portions = Portions()
        lines.clear()
        result = capped(call, count * peak_bytes(small_call), portions)
        exact = call(Portions())
        difference = ((result - exact).abs().max() / exact.abs().max()).item()
        found[name] = {
            "difference": difference,
            "bound": bound,
            "lines": [line.getMessage() for line in lines],
            "is_least": portions.sizes == LEAST,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
