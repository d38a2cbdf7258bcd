"""The calls that change a disk, and whether content is forced to the disk. Only this module makes them.

What uses them: `latentsync.scratch` (unfinished content) and `latentsync.places` (final names).
"""

import ctypes
import errno
import os
import platform
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

PART_PREFIX = ".part-"  # of private folders, see `latentsync.scratch`

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_NO_FOLDER_SYNC = {errno.EINVAL, errno.EBADF, errno.EACCES, errno.ENOTSUP}


class System:
    """The few operations that change a disk. Tests put in their place ones that fail, or that a power cut undoes."""

    def write(self, path: Path, data: bytes) -> None:
        """Writes a new file."""
        path.write_bytes(data)

    def make_folder(self, path: Path) -> None:
        """Makes one folder, which must be new."""
        os.mkdir(path)

    def rename(self, old: Path, new: Path) -> None:
        """Renames a folder; `new` is a new name or an empty folder."""
        os.rename(old, new)

    def replace(self, old: Path, new: Path) -> None:
        """Renames a file or link; an existing `new` is replaced."""
        os.replace(old, new)

    def exchange(self, one: Path, other: Path) -> None:
        """Exchanges two names at once. Not every file system can (NFS and SMB cannot)."""
        function = _renameat2()
        if function is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(other))
        if function(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(other))

    def link(self, source: str, path: Path) -> None:
        """Makes a symbolic link."""
        os.symlink(source, path)

    def unlink(self, path: Path) -> None:
        """Removes a file or a link."""
        os.unlink(path)

    def remove_tree(self, path: Path) -> None:
        """Removes a folder with everything in it."""
        shutil.rmtree(path)

    def sync(self, path: Path) -> None:
        """Forces a file, or the names in a folder, to the disk."""
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(number)
        finally:
            os.close(number)


system = System()
_is_durable = True


@cache
def _renameat2() -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


@cache
def kernel() -> str:
    """A name for the running kernel, equal in all containers that share it and new after each start of the machine.

    Locks are visible to all processes of one kernel. A host name is no such name: containers share and change it.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")[:12]
    except OSError:
        return platform.node() or "unknown"


def set_durable(is_durable: bool) -> None:
    """Chooses for this process whether content is forced to the disk before it gets its name (`runtime.durable`)."""
    global _is_durable
    _is_durable = is_durable


def is_durable() -> bool:
    """Whether this process forces content to the disk before it gets its name."""
    return _is_durable


def is_unfinished(path: Path) -> bool:
    """Whether a path lies in a private folder, which is forced to the disk as a whole when it is finished."""
    return any(part.startswith(PART_PREFIX) for part in path.parts)


def sync(path: Path) -> None:
    if _is_durable:
        system.sync(path)


def sync_folder(path: Path) -> None:
    """Forces the names in a folder to the disk, where the file system can do that."""
    try:
        sync(path)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def sync_content(path: Path) -> None:
    """Forces a file, or all files and folders of a folder, to the disk. Links are not followed."""
    if not _is_durable or path.is_symlink():
        return
    if not path.is_dir():
        sync(path)
        return
    for folder, _, files in os.walk(path, topdown=False):
        for name in files:
            if not os.path.islink(os.path.join(folder, name)):
                sync(Path(folder, name))
        sync_folder(Path(folder))


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, as far as they do not exist."""
    missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
    for folder in reversed(missing):
        with suppress(FileExistsError):
            system.make_folder(folder)
        if not folder.is_dir():
            number = errno.ENOTDIR if os.path.lexists(folder) else errno.ENOENT  # ENOENT: removed by another process
            raise OSError(number, os.strerror(number), str(folder))
        if not is_unfinished(folder):
            sync_folder(folder.parent)
