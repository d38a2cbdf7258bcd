"""Claims: a process has the right to one result, such as a record or the outputs of a pair, until it ends.

A claim is a lock of the kernel on a file, which the kernel frees when the process ends for any reason. So no claim
becomes stale, no clock is needed, and processes that cannot see each other keep apart: in containers, or on machines
that share a network disk. On a file system without locks every claim succeeds; `lock_notice` names it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from latentsync.files import has_locks, remove

CLAIM_PREFIX = ".claim-"


@contextmanager
def claimed(path: Path, wait: bool = True) -> Iterator[bool]:
    """Holds the lock of a file within the block. The file is created, and removed at the end.

    Args:
        wait: whether to wait until another process frees it.

    Yields:
        Whether this process holds the claim. Without locks, or without the right to write there, it is True.
    """
    lock = FileLock(path, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=wait)
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError):  # no locks; what follows reports a folder that cannot be written
        yield True
        return
    try:
        yield True
    finally:
        try:
            with suppress(OSError):
                remove(path)  # one that waits for the removed file looks for a new one, see filelock
        finally:
            lock.release()


def lock_notice(folder: Path) -> str | None:
    """What a job says at its start where the file system of a folder has no locks; None where it has.

    The folder is not created: a folder that does not exist yet is judged by the first one above it that does.
    """
    there = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    try:
        if has_locks(there):
            return None
    except OSError:  # it cannot be written; the job says so when it writes
        return None
    return (
        f"the file system of {folder} has no locks, so two processes may make the same result; the first one is kept. "
        f"Start one process at a time, or choose a folder on another disk"
    )
