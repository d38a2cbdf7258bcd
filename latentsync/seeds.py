"""Seeds of random numbers as functions of what the numbers are for, so that no generator's state has to be kept."""

import hashlib
from typing import Literal

import torch


def derived_seed(*parts: str | int, byteorder: Literal["big", "little"] = "big") -> int:
    """A seed, 0..2^63-1, that depends on its parts and their order (a purpose, the run's seed, a step, ..) alone.

    Args:
        byteorder: in which the hash of the parts is read.
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], byteorder) >> 1


def seeded_generator(*parts: str | int, byteorder: Literal["big", "little"] = "big") -> torch.Generator:
    """A generator with `derived_seed`; on the CPU, so that its numbers are the same on every device."""
    return torch.Generator().manual_seed(derived_seed(*parts, byteorder=byteorder))
