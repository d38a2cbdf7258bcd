"""Files and folders that are there whole or not at all. Knows nothing of what they hold.

What is unfinished lies beside its final place under a hidden name of its own, so that of several processes that write
the same, each writes its own and the last one wins. A killed process may leave such a name behind, and nothing else.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


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
