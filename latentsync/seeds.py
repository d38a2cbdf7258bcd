"""Seeds of random numbers, computed from the purpose of the numbers, so that no generator's state must be saved."""

import hashlib
from typing import Literal

import torch


def derived_seed(*parts: str | int, byteorder: Literal["big", "little"] = "big") -> int:
    """A seed, 0..2^63-1, that depends only on its parts (a purpose, the run's seed, a step, ..) and their order.

    Args:
        byteorder: the byte order in which the hash of the parts is read.
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], byteorder) >> 1


def seeded_generator(*parts: str | int, byteorder: Literal["big", "little"] = "big") -> torch.Generator:
    """A generator with `derived_seed`; on the CPU, so that its numbers are the same on every device."""
    return torch.Generator().manual_seed(derived_seed(*parts, byteorder=byteorder))
