"""Files and folders that are there whole or not at all. Knows nothing of what they hold.

What is unfinished lies beside its final place under a hidden name of its own, so that of several processes that write
the same, each writes its own and the last one wins. A killed process may leave such a name behind, and nothing else.
"""

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from latentsync.errors import MediaError

PART_PREFIX = ".part-"
_in_use: set[str] = set()  # private folders of this process


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to; it becomes `path` when the block ends well, and goes away when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}-{uuid4().hex[:8]}.tmp")
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
    """Writes a text file in UTF-8; another process sees the old or the new one."""
    write_bytes(path, text.encode())


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A path to make a folder at; it becomes `path`, in place of what was there, when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        part = Path(scratch) / path.name
        yield part
        if path.exists():  # set aside, since a folder cannot replace another at once; it goes with the scratch
            os.rename(path, Path(scratch) / "before")
        os.rename(part, path)


def write_json(path: Path, content: dict) -> None:
    """Writes a JSON file so that it is there whole or not at all."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, default=str) + "\n")


def read_json(path: Path) -> dict | None:
    """The content of a JSON file; None where there is none or it is not whole."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@contextmanager
def private_folder(root: Path) -> Iterator[Path]:
    """A folder below `root` for unfinished files of this process, gone when the block ends.

    Folders that killed processes of this machine left behind are removed on the way.

    Raises:
        MediaError: `root` cannot be written.
    """
    part = root / f"{PART_PREFIX}{uuid4().hex[:12]}-{socket.gethostname()}-{os.getpid()}"
    _in_use.add(part.name)
    try:
        remove_abandoned(root)
        part.mkdir(parents=True)
    except OSError as error:
        raise MediaError(f"{root} cannot be written ({error.strerror}); choose another folder for results") from error
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _in_use.discard(part.name)


def remove_abandoned(root: Path) -> None:
    """Removes the private folders below `root` that killed processes of this machine left behind."""
    for part in root.glob(f"{PART_PREFIX}*-{socket.gethostname()}-*"):
        pid = part.name.rsplit("-", 1)[-1]
        if pid.isdigit() and part.name not in _in_use and not (int(pid) != os.getpid() and _is_alive(int(pid))):
            shutil.rmtree(part, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
