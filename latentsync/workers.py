"""A pool of worker processes, which end with this process."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

from latentsync.processes import begin_worker, run_task

Answer = TypeVar("Answer")


def _begin_pool_worker(parent: int, initializer: Callable[..., object] | None, initargs: tuple) -> None:
    begin_worker(parent)
    if initializer is not None:
        initializer(*initargs)


class Workers(ProcessPoolExecutor):
    """A pool of workers. They are spawned, since forked ones would share the threads of OpenCV and FFmpeg.

    Args:
        number: of processes.
        initializer: called with `initargs` in each worker before its first task.
    """

    def __init__(self, number: int, initializer: Callable[..., object] | None = None, initargs: tuple = ()) -> None:
        spawn = multiprocessing.get_context("spawn")
        super().__init__(number, spawn, _begin_pool_worker, (os.getpid(), initializer, initargs))

    def submit(self, function: Callable[..., Answer], /, *args: Any, **options: Any) -> Future[Answer]:
        """As any executor does. A signal that stops the task ends its worker, too."""
        return super().submit(run_task, function, *args, **options)
