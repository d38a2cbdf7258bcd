"""Encodes the same frames several times, each time in memory that holds something else."""

import contextlib
import ctypes
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from latentsync.media import VideoWriter

_M_PERTURB = -6  # of glibc's mallopt: every new piece of memory is filled with a byte


@contextlib.contextmanager
def memory_filled_with(byte: int) -> Iterator[bool]:
    """Fills memory that is allocated in the block; yields whether the C library can."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield False
        return
    try:
        yield bool(mallopt(_M_PERTURB, byte))
    finally:
        mallopt(_M_PERTURB, 0)


def moving_noise(width: int, height: int, count: int) -> list[np.ndarray]:
    """Frames whose macroblocks refer to each other in every direction."""
    noise, (y, x) = np.random.default_rng(1), np.mgrid[:height, :width]
    frames = []
    for i in range(count):
        base = np.stack([(x + 3 * i) % 256, (y + 2 * i) % 256, ((x + y) // 2 + i) % 256], -1)
        frames.append(np.clip(base + noise.integers(-8, 8, base.shape), 0, 255).astype(np.uint8))
    return frames


def encoded_sha256(folder: Path, frames: list[np.ndarray], byte: int, **options) -> str:
    """The hash of the file that holds the frames, encoded in memory full of `byte`."""
    path, (height, width, _) = folder / "a.mp4", frames[0].shape
    with memory_filled_with(byte), VideoWriter(path, width, height, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return hashlib.sha256(path.read_bytes()).hexdigest()
