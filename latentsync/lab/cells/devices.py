"""A GPU for each process of a machine that has several: the one that the fewest others have taken.

Processes need not know of each other: each holds a lock on a place on its GPU for as long as it lives. A killed one
gives its place back by dying.
"""

import itertools
import os
import tempfile
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock, Timeout

_held: list[FileLock] = []  # until this process ends


def claim_place(num_devices: int, folder: Path) -> int:
    """Takes the first free place, the GPUs' first places before their second ones.

    Args:
        folder: the same for all processes that share the GPUs.

    Returns:
        The GPU's index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for place in itertools.count():
        for device in range(num_devices):
            lock = FileLock(folder / f"gpu{device}-place{place}.lock", timeout=0)
            try:
                lock.acquire()
            except Timeout:
                continue
            _held.append(lock)
            return device


@cache
def own_device() -> str | None:
    """This process's GPU, as torch names it; None where there are not several to choose from."""
    num_devices = torch.cuda.device_count()
    if num_devices < 2:
        return None
    return f"cuda:{claim_place(num_devices, Path(tempfile.gettempdir()) / f'latentsync-gpus-{os.getuid()}')}"
