"""Explains a shortage of memory by the options of the training loop."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from latentsync.device import memory_shortage_explained
from latentsync.errors import MemoryShortageError
from latentsync.training.options import LoopOptions


@contextmanager
def shortage_explained(what: str, options: LoopOptions) -> Iterator[None]:
    """If the memory runs out inside the block, the error says which options make `what` smaller.

    Raises:
        MemoryShortageError: the memory ran out.
    """
    try:
        with memory_shortage_explained(what):
            yield
    except MemoryShortageError as error:
        fewer = max(1, options.batch_size // 2)
        more = options.gradient_accumulation * math.ceil(options.batch_size / fewer)
        raise MemoryShortageError(
            f"the memory does not hold {what}; use loop.batch_size={fewer} with loop.gradient_accumulation={more}, "
            f"loop.gradient_checkpointing=true or loop.precision=bfloat16"
        ) from error
