"""Instruments that stand in for the system calls of the door, `latentsync.disk.System`."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from latentsync import disk, places, scratch

OPERATIONS = ("write", "make_folder", "rename", "replace", "exchange", "link", "unlink", "remove_tree", "sync")
ERRORS: dict[str, Callable[[], BaseException]] = {
    **{
        name: partial(OSError, getattr(errno, name), os.strerror(getattr(errno, name)))
        for name in ("ENOSPC", "EIO", "EDQUOT", "EROFS")
    },
    "MemoryError": MemoryError,
}


@contextmanager
def installed(system: disk.System) -> Iterator[disk.System]:
    """Lets the door use another system within the block, and forget what this process knows of folders."""
    before = disk.system
    scratch._cleaned.clear()
    places._settled.clear()
    disk.system = system
    try:
        yield system
    finally:
        disk.system = before
        scratch._cleaned.clear()
        places._settled.clear()


class System(disk.System):
    """The door without waiting for a disk; optionally on a file system that cannot exchange two names."""

    def __init__(self, exchanges: bool = True) -> None:
        self.exchanges = exchanges

    def sync(self, path: Path) -> None:
        os.close(os.open(path, os.O_RDONLY))

    def exchange(self, one: Path, other: Path) -> None:
        if not self.exchanges:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(other))
        super().exchange(one, other)


class FailingSystem(System):
    """The n-th call fails, or every call from the n-th on.

    Attributes:
        calls: how many calls there were.
    """

    def __init__(
        self, number: int, error: Callable[[], BaseException], for_good: bool = False, exchanges: bool = True
    ) -> None:
        super().__init__(exchanges)
        self.number, self.error, self.for_good, self.calls = number, error, for_good, 0
        for name in OPERATIONS:
            setattr(self, name, partial(self._call, getattr(self, name)))

    def _call(self, operation: Callable[..., None], *arguments: object) -> None:
        self.calls += 1
        if self.calls == self.number or (self.for_good and self.calls > self.number):
            raise self.error()
        operation(*arguments)
