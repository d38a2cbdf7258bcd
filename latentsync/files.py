"""Files and folders that appear whole or not at all: the one door through which final names are made.

Unfinished content lies in a private folder beside its final place and gets its final name by one rename, when its bytes
are on the disk. So a reader sees the old content or the new one, never a part, even after a power cut. If several
processes write to the same place, each writes its own copy. A killed process may leave hidden folders behind and
nothing else; the next process that writes beside them removes them. `latentsync.places` has the details.

Reading keeps three cases apart: there is no such file (None), the file is damaged (`DamagedFileError`), and it cannot
be read now (`OSError`). Only the first two may lead to writing it again.
"""

import json
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from latentsync import disk
from latentsync.disk import PART_PREFIX, is_durable, set_durable
from latentsync.errors import DamagedFileError, MediaError
from latentsync.names import NAME_MAX_BYTES, printable, shortened
from latentsync.places import move, place, place_folder, place_link, place_together, recover, remove
from latentsync.scratch import clean, has_locks, is_due, private

__all__ = [
    "PART_PREFIX",
    "Stamp",
    "entries",
    "find_json",
    "has_locks",
    "is_durable",
    "kept_per_file",
    "move",
    "place",
    "place_link",
    "place_together",
    "private_folder",
    "read_json",
    "recover",
    "remove",
    "remove_abandoned",
    "set_durable",
    "stamp_of",
    "whole_file",
    "whole_files",
    "whole_folder",
    "write_bytes",
    "write_json",
    "write_text",
]

Answer = TypeVar("Answer")
PART_END = ".tmp"  # so that nobody takes an unfinished file of text for a finished one


@contextmanager
def whole_file(path: Path, name: str | None = None) -> Iterator[Path]:
    """A path to write a file to. The file becomes `path` when the block ends, or is removed if the block fails.

    The folder of `path` is created if it does not exist.

    Args:
        name: of the unfinished file; None: as of the finished one, since some writers go by its ending.
    """
    if is_due(path.parent):
        remove_abandoned(path.parent)
    with private(path.parent) as scratch:
        part = scratch / (name or path.name)
        yield part
        place(part, path)


@contextmanager
def whole_files(folder: Path, names: Collection[str], proof: str | None = None) -> Iterator[Path]:
    """An empty folder to write files into that belong together. They become files of `folder` when the block ends.

    All of them do, or none; see `place_together`. A file of `names` that the block does not write is removed.

    Args:
        names: all names that the set may have, in the order in which they are given. A name may lie in a subfolder.
        proof: the one that describes the others, if there is one. It is never beside files that it does not describe.
    """
    with private_folder(folder) as scratch:
        yield scratch
        parts = {name: scratch / name for name in names if (scratch / name).is_file()}
        place_together(parts, folder, proof, set(names) - parts.keys())


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file; another process sees the old or the new one."""
    with whole_file(path, shortened(path.name, NAME_MAX_BYTES - len(PART_END)) + PART_END) as part:
        disk.system.write(part, data)


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
        disk.system.make_folder(part)
        yield part
        place_folder(part, path, is_kept)


def leads_out(path: Path, root: Path) -> bool:
    """Whether a symbolic link on the way from `root` to `path` leads out of `root`. `root` itself may be a link.

    Args:
        path: below `root`; it need not exist.
    """
    step = root
    for part in path.relative_to(root).parts:
        step = step / part
        if step.is_symlink() and not Path(os.path.realpath(step)).is_relative_to(os.path.realpath(root)):
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


def read_json(path: Path, fault_of: Callable[[dict], str | None] | None = None) -> dict | None:
    """The object in a JSON file; None if there is no such file.

    Args:
        fault_of: says why an object has not the form that it should have; None if it has.

    Raises:
        DamagedFileError: the file is cut, or holds something else than one JSON object of that form.
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
    if fault_of is not None and (fault := fault_of(content)) is not None:
        raise DamagedFileError(f"{path} is damaged ({fault})")
    return content


def _kind_of(content: Any) -> str:
    return {list: "a list", str: "a text", type(None): "null"}.get(type(content), "a number")


def find_json(path: Path, fault_of: Callable[[dict], str | None] | None = None) -> dict | None:
    """As `read_json`, but None also for a damaged file: for what is made again in either case.

    Raises:
        OSError: the file cannot be read now.
    """
    try:
        return read_json(path, fault_of)
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

    What killed processes left in `root` is taken care of first, see `remove_abandoned`.

    Raises:
        MediaError: `root` cannot be written.
    """
    remove_abandoned(root)
    folder = private(root)
    try:
        part = folder.__enter__()
    except OSError as error:
        raise MediaError(f"{root} cannot be written ({error.strerror}); choose another folder") from error
    with ExitStack() as stack:
        stack.push(folder)
        yield part


def remove_abandoned(root: Path, is_locked: bool = False) -> None:
    """Takes care of what killed processes left in `root`: finishes or undoes what they replaced, removes the rest.

    What cannot be done now is left to the next time. The private folders of living processes stay.

    Args:
        is_locked: whether only this process may write to `root`. Then private folders of other machines are removed,
            too. Otherwise one of another machine is removed when it has not changed for a day, since its process may
            still be running.
    """
    with suppress(OSError):
        recover(root)
    clean(root, is_locked)


class Stamp(NamedTuple):
    """What changes when a file changes: its size, the time of its content, the time of any change, its inode.

    A copy may keep the time of the content. No copy keeps the other time, which the file system sets.
    """

    size: int
    content_ns: int
    change_ns: int
    inode: int


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a file, from `os.stat`."""
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def kept_per_file(maxsize: int | None) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Decorates a function of a file: an answer is kept while the file's `Stamp` stays the same.

    The file's path comes first, and the function gets it absolute. Other arguments must be hashable.

    Args:
        maxsize: the number of answers that are kept; None: all.

    Raises:
        OSError: in place of the function's errors, where there is no such file.
    """

    def decorate(function: Callable[..., Answer]) -> Callable[..., Answer]:
        @lru_cache(maxsize)
        def kept(path: str, stamp: Stamp, *args: Any, **options: Any) -> Answer:
            return function(Path(path), *args, **options)

        @wraps(function)
        def of_file(path: Path | str, *args: Any, **options: Any) -> Answer:
            return kept(os.path.abspath(path), stamp_of(os.stat(path)), *args, **options)

        return of_file

    return decorate
