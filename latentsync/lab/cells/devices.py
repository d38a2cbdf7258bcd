"""Chooses a GPU for each process of a machine with several: the GPU that the fewest processes use.

The processes need not know of each other. Each holds a lock on a place on its GPU until it ends, so a killed process
frees its place too.
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
    """Takes the first free place. The first places of all GPUs come before their second places.

    Args:
        folder: the folder of the locks, the same for all processes that share the GPUs.

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
    """This process's GPU by torch's name; None if the machine has fewer than two."""
    num_devices = torch.cuda.device_count()
    if num_devices < 2:
        return None
    return f"cuda:{claim_place(num_devices, Path(tempfile.gettempdir()) / f'latentsync-gpus-{os.getuid()}')}"
