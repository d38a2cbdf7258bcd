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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar
from uuid import uuid4

from latentsync.errors import DamagedFileError, MediaError
from latentsync.names import NAME_MAX_BYTES, printable, shortened

Answer = TypeVar("Answer")
PART_PREFIX = ".part-"
PART_ROOM_BYTES = 48  # of a temporary name, beside the final one
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


def leads_out(path: Path, root: Path) -> bool:
    """Whether a symbolic link on the way from `root` to `path` leads out of `root`. `root` itself may be a link.

    Args:
        path: below `root`; it need not exist.
    """
    place = root
    for part in path.relative_to(root).parts:
        place = place / part
        if place.is_symlink() and not Path(os.path.realpath(place)).is_relative_to(os.path.realpath(root)):
            return True
    return False


def link_out(folder: Path, root: Path) -> Path | None:
    """The folder, or a file in it, if it is a symbolic link that leads out of `root`; None without such a link.

    Raises:
        OSError: the folder cannot be read.
    """
    if folder.is_symlink() and leads_out(folder, root):
        return folder
    try:
        with os.scandir(folder) as files:
            links = [folder / file.name for file in files if file.is_symlink()]
    except (FileNotFoundError, NotADirectoryError):
        return None
    return next((link for link in links if leads_out(link, root)), None)


def require_inside(folder: Path, root: Path) -> None:
    """Refuses a folder that leads out of `root` by a link, or has such a link: it might name any file of this machine.

    Raises:
        MediaError: naming the link.
    """
    link = folder if leads_out(folder, root) else link_out(folder, root)
    if link is not None:
        raise MediaError(f"{link} is a link that leads out of {root}, so it is not followed; put files in its place")


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


def has_locks(folder: Path) -> bool:
    """Whether the file system of an existing folder has locks, which some network disks lack.

    Raises:
        OSError: the folder cannot be written.
    """
    with TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


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
        part.mkdir(parents=True)
    except OSError as error:
        raise MediaError(f"{root} cannot be written ({error.strerror}); choose another folder") from error
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _in_use.discard(part.name)


def remove_abandoned(root: Path, is_locked: bool = False) -> None:
    """Removes the private folders in `root` that killed processes left behind.

    Args:
        is_locked: whether only this process may write to `root`. Then folders of other machines are removed, too.
            Otherwise only those of this machine are, since a process of another machine may still be running.
    """
    host = "*" if is_locked else socket.gethostname()
    for part in root.glob(f"{PART_PREFIX}*-{host}-*"):
        if part.name not in _in_use and (is_locked or _is_abandoned(part)):
            shutil.rmtree(part, ignore_errors=True)


def _is_abandoned(part: Path) -> bool:
    """Whether a private folder's process, which its name gives and which ran on this machine, has ended."""
    pid = part.name.rsplit("-", 1)[-1]
    return pid.isdigit() and (int(pid) == os.getpid() or not _is_alive(int(pid)))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def kept_per_file(maxsize: int | None) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Decorates a function of a file: an answer is kept while the file's size and time of change stay the same.

    The file's path comes first, and the function gets it absolute. Other arguments must be hashable.

    Args:
        maxsize: the number of answers that are kept; None: all.

    Raises:
        OSError: in place of the function's errors, where there is no such file.
    """

    def decorate(function: Callable[..., Answer]) -> Callable[..., Answer]:
        @lru_cache(maxsize)
        def kept(path: Path, size: int, changed_ns: int, *args: Any, **options: Any) -> Answer:
            return function(path, *args, **options)

        @wraps(function)
        def of_file(path: Path | str, *args: Any, **options: Any) -> Answer:
            status = os.stat(path)
            return kept(Path(os.path.abspath(path)), status.st_size, status.st_mtime_ns, *args, **options)

        return of_file

    return decorate
