"""Private folders for unfinished content: `.part-...` beside the final place.

Its process holds a lock in a private folder, so others see whether it lives. Where the file system has no locks, and
for folders of other machines, the age decides.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from latentsync import disk
from latentsync.disk import PART_PREFIX, is_unfinished, kernel, make_folder, sync_folder

LOCK_FILE = ".lock"  # in a private folder, locked by the process that fills it
ABANDONED_S = 24 * 3600  # age of a private folder at which it is removed if no lock shows whether its process lives
CLEAN_EVERY_S = 60  # least time between two looks for remains in one folder by one process
ATTEMPTS = 20  # to lock a new private folder before a process that cleans removes it

_in_use: set[str] = set()  # private folders of this process
_cleaned: dict[str, float] = {}  # folder: when this process last looked for remains in it


def _part_name() -> str:
    return f"{PART_PREFIX}{uuid4().hex[:12]}-{kernel()}"


@contextmanager
def private(root: Path) -> Iterator[Path]:
    """A folder in `root` for the unfinished files of this process; it is removed when the block ends.

    Raises:
        OSError: `root` cannot be written.
    """
    make_folder(root)
    part, lock = _locked_part(root)
    try:
        yield part
    finally:
        _give_up(part, lock)


def _locked_part(root: Path) -> tuple[Path, int | None]:
    """A new private folder, and the lock that shows that its process lives; None where there are no locks."""
    for _ in range(ATTEMPTS):
        part = root / _part_name()
        _in_use.add(part.name)
        lock, is_made = None, False
        try:
            disk.system.make_folder(part)
            is_made = True
            lock = os.open(part / LOCK_FILE, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
            is_locked = _locked(lock)
            if is_locked is not False and os.path.samestat(os.fstat(lock), os.stat(part / LOCK_FILE)):
                return part, lock
        except (FileNotFoundError, FileExistsError):  # a process that cleans was quicker than the lock
            if not root.is_dir():
                raise
        except BaseException:
            _give_up(part, lock)
            raise
        _give_up(part, lock)
    if not is_made:  # for example in /proc
        raise PermissionError(errno.EPERM, "its file system takes no new files", str(root))
    raise OSError(errno.EBUSY, "other processes remove private folders before they can be locked", str(root))


def _give_up(part: Path, lock: int | None) -> None:
    try:
        with suppress(OSError):
            disk.system.remove_tree(part)
    finally:
        _in_use.discard(part.name)
        if lock is not None:
            os.close(lock)


def is_due(root: Path) -> bool:
    """Whether this process has not looked for remains in a folder for a while."""
    return time.monotonic() - _cleaned.get(str(root), -CLEAN_EVERY_S) >= CLEAN_EVERY_S


def clean(root: Path, is_locked: bool = False) -> None:
    """Removes the private folders that killed processes left in a folder. What cannot be removed now stays.

    Args:
        is_locked: whether only this process may write to `root`. Then private folders of other machines are removed,
            too. Otherwise one of another machine, or of a machine that was started anew, is removed when it has not
            changed for a day.
    """
    _cleaned[str(root)] = time.monotonic()
    with suppress(OSError):
        for name in os.listdir(root):
            if name.startswith(PART_PREFIX) and name not in _in_use:
                with suppress(OSError):
                    _remove_abandoned(root / name, is_locked)


def _remove_abandoned(part: Path, is_locked: bool) -> None:
    """Removes a private folder if its process has ended; it cannot begin to be used meanwhile."""
    with ExitStack() as stack:
        has_lock = None
        if part.name.endswith(f"-{kernel()}"):
            number = os.open(part / LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
            stack.callback(os.close, number)
            has_lock = _locked(number)
        if is_locked or has_lock or (has_lock is None and _age_s(part) > ABANDONED_S):
            disk.system.remove_tree(part)


def _age_s(part: Path) -> float:
    """The time since the last change in a folder."""
    return time.time() - max(path.lstat().st_mtime for path in (part, *part.rglob("*")))


def discard(folder: Path) -> None:
    """Removes a folder. It loses its name at once, so no half of it is ever seen; there need be none.

    What cannot be removed stays as a private folder without a process, which the next `clean` removes.
    """
    hidden = folder.with_name(_part_name())
    try:
        disk.system.rename(folder, hidden)
    except FileNotFoundError:
        return
    if not is_unfinished(folder):
        sync_folder(folder.parent)  # else a power cut might bring back the name with half of the content
    with suppress(OSError):
        disk.system.remove_tree(hidden)


def _locked(number: int) -> bool | None:
    """Locks an open file; False if another process holds the lock, None if the file system has no locks."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def has_locks(folder: Path) -> bool:
    """Whether the file system of a folder has locks, which some network disks lack. The folder is created.

    Raises:
        OSError: the folder cannot be written.
    """
    make_folder(folder)
    part, lock = _locked_part(folder)
    try:
        return lock is not None and _locked(lock) is True
    finally:
        _give_up(part, lock)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keeps other processes from finishing sets in a folder meanwhile, where folders can be locked."""
    number = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)
