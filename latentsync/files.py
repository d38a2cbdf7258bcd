"""Files and folders that appear whole or not at all.

Unfinished content lies beside its final place, under a hidden name that no other process uses, and gets its final name
by one rename. So a reader sees the old content or the new one, never a part. If several processes write to the same
place, each writes its own copy. A killed process may leave a hidden file or folder behind and nothing else; the next
process that writes beside it removes such folders.

Reading keeps three cases apart: there is no such file (None), the file is damaged (`DamagedFileError`), and it cannot
be read now (`OSError`). Only the first two may lead to writing it again.
"""

import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from latentsync.errors import DamagedFileError, MediaError
from latentsync.names import NAME_MAX_BYTES, printable, shortened

Answer = TypeVar("Answer")
PART_PREFIX = ".part-"
PART_ROOM_BYTES = 48  # of a temporary name, beside the final one
LOCK_FILE = ".lock"  # in a private folder, locked by its writer
ABANDONED_S = 24 * 3600  # after which an unchanged private folder without that file is removed
_in_use: set[str] = set()  # private folders of this process


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write a file to. The file becomes `path` when the block ends, or is removed if the block fails.

    The folder of `path` is created if it does not exist.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = shortened(path.name, NAME_MAX_BYTES - PART_ROOM_BYTES)
    part = path.with_name(f".{name}.{os.getpid()}-{uuid4().hex[:8]}.tmp")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file; another process sees the old or the new one."""
    with whole_file(path) as part:
        part.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8; another process sees the old or the new one. Undecodable bytes become `%C0`."""
    write_bytes(path, printable(text).encode())


@contextmanager
def whole_folder(path: Path, is_kept: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """An empty folder to fill. It becomes `path` when the block ends, or is removed if the block fails.

    An earlier `path` is replaced. The new folder lies in a private folder beside `path`, see `private_folder`.

    Args:
        is_kept: called with `path` when the block has ended. If it returns True, the existing folder stays, for example
            because another process wrote it first, and the new one is removed. By default it is always replaced.

    Raises:
        MediaError: the folder of `path` cannot be written.
    """
    with private_folder(path.parent) as scratch:
        part = scratch / path.name
        part.mkdir()
        yield part
        if is_kept is not None and is_kept(path):
            return
        try:
            if path.exists():  # set aside, since a folder cannot replace another at once; removed with the scratch
                os.rename(path, scratch / "before")
            os.rename(part, path)
        except OSError:  # another process put its folder there in between
            if is_kept is None or not is_kept(path):
                raise


def write_json(path: Path, content: dict) -> None:
    """Writes a JSON file with sorted keys; another process sees the old or the new one."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, default=str) + "\n")


def read_json(path: Path) -> dict | None:
    """The object in a JSON file; None if there is no such file.

    Raises:
        DamagedFileError: the file is cut, or holds something else than one JSON object.
        OSError: the file cannot be read now, for example because a disk or its permissions do not allow it.
    """
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError as error:
        raise DamagedFileError(f"{path} is a folder; it should be a JSON file") from error
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is no whole JSON file ({str(error)[:80]})") from error
    if not isinstance(content, dict):
        raise DamagedFileError(f"{path} holds {_kind_of(content)}; it should hold one JSON object")
    return content


def _kind_of(content: Any) -> str:
    return {list: "a list", str: "a text", type(None): "null"}.get(type(content), "a number")


def find_json(path: Path) -> dict | None:
    """As `read_json`, but None also for a damaged file: for what is made again in either case.

    Raises:
        OSError: the file cannot be read now.
    """
    try:
        return read_json(path)
    except DamagedFileError:
        return None


def entries(folder: Path) -> list[Path]:
    """What a folder holds, without hidden names, sorted by name; empty if there is no such folder.

    Raises:
        OSError: the folder cannot be read now. `Path.glob` would give nothing then.
    """
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in sorted(names) if not name.startswith(".")]


@contextmanager
def private_folder(root: Path) -> Iterator[Path]:
    """A folder in `root` for the unfinished files of this process; it is removed when the block ends.

    Private folders that killed processes of this machine left in `root` are removed first, see `remove_abandoned`.

    Raises:
        MediaError: `root` cannot be written.
    """
    part = root / f"{PART_PREFIX}{uuid4().hex[:12]}-{socket.gethostname()}-{os.getpid()}"
    _in_use.add(part.name)
    try:
        remove_abandoned(root)
        lock = _locked_folder(part)
    except OSError as error:
        raise MediaError(f"{root} cannot be written ({error.strerror}); choose another folder") from error
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(lock)
        _in_use.discard(part.name)


def _locked_folder(part: Path) -> int:
    """Makes a private folder, and returns the descriptor that holds its lock."""
    while True:
        part.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # another process removed the folder while it was empty
            lock = os.open(part / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
            takes_lock(lock)
            return lock


def takes_lock(descriptor: int) -> bool:
    """Takes the kernel's lock of an open file without waiting. It is free again when the descriptor is closed, also by
    the end of the process.

    Returns:
        Whether this descriptor now holds it. It does not where another one does, or the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def has_locks(folder: Path) -> bool:
    """Whether the file system of a folder has locks, which some network disks lack. The folder is created.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{uuid4().hex[:12]}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        return takes_lock(descriptor)
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def remove_abandoned(root: Path, is_locked: bool = False) -> None:
    """Removes the private folders in `root` that killed processes left behind.

    Args:
        is_locked: whether only this process may write to `root`. Then folders of other machines are removed, too.
            Otherwise only those of this machine are, since a disk may not show the locks of other machines.
    """
    host = "*" if is_locked else socket.gethostname()
    for part in root.glob(f"{PART_PREFIX}*-{host}-*"):
        if part.name not in _in_use and (is_locked or _is_abandoned(part)):
            shutil.rmtree(part, ignore_errors=True)


def _is_abandoned(part: Path) -> bool:
    """Whether the writer of a private folder has ended: no process holds the lock of the folder's lock file.

    A folder without that file is being made or removed now, or is from an older version. It is removed if it is empty,
    and counts as abandoned after a day without a change. Numbers of processes say nothing: containers do not see each
    other's processes.
    """
    try:
        descriptor = os.open(part / LOCK_FILE, os.O_RDWR)
    except FileNotFoundError:
        try:
            part.rmdir()  # its writer makes it again, see `_locked_folder`
        except OSError:
            return _is_unchanged(part, ABANDONED_S)
        return True
    except OSError:
        return False
    try:
        return takes_lock(descriptor)
    finally:
        os.close(descriptor)


def _is_unchanged(folder: Path, seconds: float) -> bool:
    try:
        changed_s = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:  # it is being removed
        return False
    return time.time() - changed_s > seconds


def kept_per_file(maxsize: int | None) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Decorates a function of a file: an answer is kept while the file's size and times of change stay the same.

    The times are that of the content, which a copy may keep, and that of the file system, which no copy keeps. The
    file's path comes first, and the function gets it absolute. Other arguments must be hashable.

    Args:
        maxsize: the number of answers that are kept; None: all.

    Raises:
        OSError: in place of the function's errors, where there is no such file.
    """

    def decorate(function: Callable[..., Answer]) -> Callable[..., Answer]:
        @lru_cache(maxsize)
        def kept(path: Path, stamp: tuple[int, ...], *args: Any, **options: Any) -> Answer:
            return function(path, *args, **options)

        @wraps(function)
        def of_file(path: Path | str, *args: Any, **options: Any) -> Answer:
            status = os.stat(path)
            stamp = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
            return kept(Path(os.path.abspath(path)), stamp, *args, **options)

        return of_file

    return decorate
