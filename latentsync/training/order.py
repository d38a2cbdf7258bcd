"""Which items a step uses, and the seeds of its random numbers. Both follow from the seed and the position alone.

The data is one endless row: all items in a random order, then all items in the random order of the next epoch, and so
on. A batch is a section of that row. So a run can start anywhere, and in each step two processes of batch size 4 use
the same items as one process of batch size 8.
"""

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from latentsync.seeds import derived_seed, seeded_generator


def seed_global_draws(seed: int) -> None:
    """Seeds the global generators: torch on every device, NumPy, Python."""
    torch.manual_seed(seed)
    _seed_numpy_and_python(seed)


def _seed_numpy_and_python(seed: int) -> None:
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def global_draws_kept(device: torch.device) -> Iterator[None]:
    """Restores the global generators at the end, so that training does not change the caller's random numbers."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@lru_cache(maxsize=4)
def _epoch_order(size: int, seed: int, epoch: int) -> np.ndarray:
    return torch.randperm(size, generator=seeded_generator("order", seed, epoch)).numpy()


def item_at(position: int, size: int, seed: int) -> tuple[int, int]:
    """The item at a position of the endless row: its index in the data set, and the epoch."""
    epoch, place = divmod(position, size)
    return int(_epoch_order(size, seed, epoch)[place]), epoch


class Batches(Sampler):
    """The batches of one process, from a position of the row on.

    Args:
        size: items of the data set.
        start: position of the row where the first batch of the first process begins.
        count: batches to yield.
        rank, processes: number of this process, and of all. Neighbouring batches of the row go to neighbouring ranks.
    """

    def __init__(
        self, size: int, batch_size: int, seed: int, start: int, count: int, rank: int = 0, processes: int = 1
    ) -> None:
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.start, self.count, self.rank, self.processes = start, count, rank, processes

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for number in range(self.count):
            yield self.batch(number, self.rank)

    def batch(self, number: int, rank: int) -> list[tuple[int, int]]:
        """The (index, epoch) of the items of one batch of a process."""
        first = self.start + (number * self.processes + rank) * self.batch_size
        return [item_at(position, self.size, self.seed) for position in range(first, first + self.batch_size)]


class SeededItems(Dataset):
    """A data set whose random numbers depend on (seed, epoch, index) only, not on when or by whom an item is read.

    A set that draws its own random numbers has `sample(epoch, index)`, like `windows.WindowSet`. For any other set the
    global generators are seeded before each `items[index]`.
    """

    def __init__(self, items: Dataset, seed: int) -> None:
        self.items, self.seed = items, seed

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: tuple[int, int]) -> object:
        index, epoch = place
        seed = derived_seed("item", self.seed, epoch, index)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed GPUs too, from a reading process
        _seed_numpy_and_python(seed)
        sample = getattr(self.items, "sample", None)
        return self.items[index] if sample is None else sample(epoch, index)


def loader(items: Dataset, batches: Sampler | list, seed: int, num_workers: int, pin_memory: bool) -> DataLoader:
    """Reads the batches in their order; uses the data set's own `collate`, if it has one."""
    if num_workers:
        gc.collect()  # what is left would be collected in the reading processes too: decoders without their threads
    return DataLoader(
        SeededItems(items, seed),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=getattr(items, "collate", None),
        pin_memory=pin_memory,
        generator=seeded_generator("workers", seed),
    )


def validation_batches(size: int, batch_size: int, count: int) -> list[list[tuple[int, int]]]:
    """`count` items spread evenly over the set (0: all) in their order, each as in epoch 0; always the same ones."""
    indices = np.linspace(0, size - 1, min(count or size, size)).astype(int).tolist()
    return [
        [(index, 0) for index in indices[first : first + batch_size]] for first in range(0, len(indices), batch_size)
    ]
