"""Final names: files, sets of files and folders get them whole, and keep the old content until then.

The bytes are forced to the disk (`fsync`) before a name shows them, and the folder of the name afterwards. So a name
shows the old content or the new one, never a part, whatever ends the process. What a killed process left under one of
two hidden names is put in order by the next one that writes there, or that reads there and calls `recover`:

.before-...   a folder that was set aside to be replaced, on a file system that cannot exchange two folders. It gets its
              name back if no folder has that name.
.set-...      files that belong together and are complete, see `place_together`. They get their names.
"""

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from latentsync import disk
from latentsync.disk import is_unfinished, make_folder, sync_content, sync_folder
from latentsync.scratch import alone_in, discard, private

BEFORE_PREFIX, SET_PREFIX = ".before-", ".set-"
NAMES_FILE = ".names.json"  # in a set: which names it replaces
RACY_S = 2  # a folder that changed this short ago may change again without a new time stamp
ATTEMPTS = 20  # to replace a folder that other processes replace, too

_NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}
_NOT_EMPTY = {errno.ENOTEMPTY, errno.EEXIST}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_settled: dict[str, int] = {}  # folder: its time of change when nothing was left to put in order


def place(part: Path, path: Path) -> None:
    """Gives a finished file, link or folder its final name. An existing file, link or folder of that name is replaced.

    Args:
        part: lies on the file system of `path`, in practice in a private folder beside it.

    Raises:
        OSError: the system refuses it. `path` shows the old content or the new one.
    """
    if part.is_dir() and not part.is_symlink():
        place_folder(part, path)
        return
    is_inner = is_unfinished(path)
    if not is_inner:
        sync_content(part)
    disk.system.replace(part, path)
    if not is_inner:
        sync_folder(path.parent)


def place_folder(part: Path, path: Path, is_kept: Callable[[Path], bool] | None = None) -> bool:
    """Gives a finished folder its final name; False if `is_kept(path)` holds, so that the existing one stays.

    Two names are exchanged where the file system can do that. Elsewhere the old folder is set aside first, and is put
    back by the next process if this one is killed in between.

    Raises:
        OSError: the system refuses it.
    """
    is_inner = is_unfinished(path)
    if not is_inner:
        sync_content(part)
    asides: list[Path] = []
    try:
        for _ in range(ATTEMPTS):
            if is_kept is not None and is_kept(path):
                return False
            if _stands(part, path, asides):
                break
        else:
            raise OSError(errno.EBUSY, "other processes replace this folder all the time", str(path))
        if not is_inner:
            sync_folder(path.parent)
    except BaseException:
        if asides:
            with suppress(OSError):
                _settle(path.parent)
        raise
    for old in filter(os.path.lexists, (part, *asides)):
        with suppress(OSError):  # the new one stands
            discard(old)
    return True


def _stands(part: Path, path: Path, asides: list[Path]) -> bool:
    """One attempt to give a folder its name. A folder of that name is set aside first where it cannot be exchanged."""
    if not os.path.lexists(path):
        try:
            disk.system.rename(part, path)
        except OSError as error:  # another process put its folder there in between
            if error.errno in _NOT_EMPTY:
                return False
            raise
        return True
    try:
        disk.system.exchange(part, path)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in _NO_EXCHANGE:
            raise
    else:
        return True  # the old folder has the name of the part now
    aside = path.with_name(f"{BEFORE_PREFIX}{time.time_ns()}-{uuid4().hex[:8]}")
    asides.append(aside)
    with suppress(FileNotFoundError):  # another process moved the folder, or removed the empty one
        make_folder(aside)
        _rename(path, aside / path.name)
        sync_folder(aside)
    return False


def place_together(
    parts: Mapping[str, Path], folder: Path, proof: str | None = None, absent: Iterable[str] = ()
) -> None:
    """Gives several finished files that belong together their names in a folder, all or none.

    First the whole set gets one hidden name. From then on it counts: a process that is killed before all files have
    their names leaves the rest to the next one, see `recover`.

    Args:
        parts: by their names, files on the file system of the folder, which leave their places. A name may lie in a
            subfolder: "vae/config.json". They get their names in this order.
        proof: the name of the file that describes the others. An old one goes first, and the new one comes last.
        absent: names of the set that are to be removed.

    Raises:
        OSError: the system refuses it.
    """
    recover(folder)  # an earlier set must not come after this one
    with private(folder) as scratch:
        bundle = scratch / "set"
        disk.system.make_folder(bundle)
        for name, part in parts.items():
            make_folder((bundle / name).parent)
            disk.system.replace(part, bundle / name)
        names = {"names": list(parts), "absent": sorted(absent), "proof": proof}
        disk.system.write(bundle / NAMES_FILE, json.dumps(names).encode())
        sync_content(bundle)
        complete = folder / f"{SET_PREFIX}{time.time_ns()}-{uuid4().hex[:8]}"
        disk.system.rename(bundle, complete)
        sync_folder(folder)
    _finish_set(complete)


def _finish_set(complete: Path) -> None:
    """Gives the files of a complete set their names. Several processes may do that at once."""
    folder = complete.parent
    with alone_in(folder):
        try:
            content = json.loads((complete / NAMES_FILE).read_text())
        except FileNotFoundError:  # another process was quicker
            discard(complete)
            return
        proof = content["proof"]
        others = [name for name in content["names"] if name != proof]
        if proof is not None and (complete / proof).exists():
            _unlink(folder / proof)
            sync_folder((folder / proof).parent)
        for name in content["absent"]:
            _unlink(folder / name)
        for names in (others, [] if proof is None else [proof]):
            for name in names:
                _take(complete / name, folder / name)
            for parent in sorted({(folder / name).parent for name in names} | {folder}):
                sync_folder(parent)
        _unlink(complete / NAMES_FILE)  # the set is finished, whatever comes of the next line
        discard(complete)


def _take(path: Path, target: Path) -> None:
    """Renames a file, unless that has been done."""
    make_folder(target.parent)
    with suppress(FileNotFoundError):
        disk.system.replace(path, target)


def _unlink(path: Path) -> None:
    with suppress(FileNotFoundError):
        disk.system.unlink(path)


def place_link(source: Path, path: Path) -> None:
    """Makes `path` a relative link to a file, or a copy of it where the file system has no links.

    Raises:
        OSError: the system refuses it.
    """
    with private(path.parent) as scratch:
        part = scratch / path.name
        try:
            disk.system.link(os.path.relpath(source, path.parent), part)
        except OSError:
            shutil.copyfile(source, part)
        place(part, path)


def remove(path: Path) -> None:
    """Removes a file, link or folder that belongs to this project; there need be none.

    A folder loses its name at once, so that no half of it is ever seen.

    Raises:
        OSError: the system refuses it.
    """
    if path.is_dir() and not path.is_symlink():
        discard(path)
    elif os.path.lexists(path):
        _unlink(path)
        if not is_unfinished(path):
            sync_folder(path.parent)


def move(path: Path, target: Path) -> None:
    """Gives a file or folder another name, which must be new; used to set something aside.

    Raises:
        FileExistsError: the target exists.
        OSError: the system refuses it.
    """
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    make_folder(target.parent)
    _rename(path, target)
    sync_folder(target.parent)
    sync_folder(path.parent)


def recover(folder: Path) -> None:
    """Puts a folder in order after a killed writer: interrupted replacements are undone, complete sets are finished.

    Readers call it before they look for something that may be replaced. It costs one `stat` if nothing has changed.

    Raises:
        OSError: the system refuses it, for another reason than that the folder must not be written.
    """
    key = str(folder)
    try:
        before = os.stat(folder)
        if _settled.get(key) != before.st_mtime_ns:
            _settle(folder)
            if time.time() - before.st_mtime > RACY_S:
                _settled[key] = before.st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise


def _settle(folder: Path) -> None:
    """Puts back folders that were set aside, the newest first, and finishes complete sets, the oldest first."""
    names = sorted(name for name in os.listdir(folder) if name.startswith((BEFORE_PREFIX, SET_PREFIX)))
    for name in reversed([name for name in names if name.startswith(BEFORE_PREFIX)]):
        aside = folder / name
        with suppress(FileNotFoundError):  # its own process was quicker
            for inner in os.listdir(aside):
                if not os.path.lexists(folder / inner):
                    with suppress(FileNotFoundError, FileExistsError):
                        _put_back(aside / inner, folder / inner)
            discard(aside)
    for name in names:
        if name.startswith(SET_PREFIX):
            with suppress(FileNotFoundError):
                _finish_set(folder / name)


def _rename(path: Path, target: Path) -> None:
    """Gives a file, link or folder a new name."""
    (disk.system.rename if path.is_dir() and not path.is_symlink() else disk.system.replace)(path, target)


def _put_back(path: Path, target: Path) -> None:
    try:
        _rename(path, target)
    except OSError as error:
        if error.errno not in _NOT_EMPTY:  # its own process was quicker
            raise
    sync_folder(target.parent)
