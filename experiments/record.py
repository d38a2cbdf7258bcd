"""Finished records on disk: one folder each, visible only when complete. Knows nothing of how they are made.

runs/records/<id>/  result.mp4  mask.mp4  record.json  metrics.json  curves.json
runs/sweeps/<name>/cells/<cell>.json             which records and failures belong to a cell of a sweep
"""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from uuid import uuid4

from latentsync.errors import MediaError
from latentsync.files import write_text

RESULT_FILE = "result.mp4"
MASK_FILE = "mask.mp4"
RECORD_FILE = "record.json"
METRICS_FILE = "metrics.json"
CURVES_FILE = "curves.json"
PART_PREFIX = ".part-"


def sweep_folder(runs_dir: Path, name: str) -> Path:
    """Where a sweep's cells, table and pictures are."""
    return runs_dir / "sweeps" / name


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


@dataclass(frozen=True)
class Record:
    """A finished (cell, pair, seed)."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def video_path(self) -> Path:
        return self.folder / RESULT_FILE

    @cached_property
    def content(self) -> dict:
        """What was run: pair, model, options, timings, versions."""
        return read_json(self.folder / RECORD_FILE) or {}

    @property
    def metrics_path(self) -> Path:
        return self.folder / METRICS_FILE

    @property
    def curves_path(self) -> Path:
        return self.folder / CURVES_FILE

    @property
    def metrics(self) -> dict:
        """Name -> {value, unit, direction, protocol, version, ..., reason}; see `latentsync.metrics.definitions`."""
        return read_json(self.metrics_path) or {}

    @property
    def curves(self) -> dict:
        """Name -> numbers for each frame, window or shift, that lie behind the metrics."""
        return read_json(self.curves_path) or {}


class RecordStore:
    """The records below one folder.

    A record is made in a folder of another name and appears by one rename, so a killed run leaves no half record, and
    of two processes that make the same record one wins and both are content.
    """

    def __init__(self, runs_dir: Path) -> None:
        self.root = runs_dir / "records"

    def find(self, record_id: str) -> Record | None:
        """The finished record of that id, or None."""
        folder = self.root / record_id
        return Record(folder) if read_json(folder / RECORD_FILE) is not None else None

    def all(self) -> list[Record]:
        """Every finished record, by id."""
        found = (self.find(path.name) for path in sorted(self.root.glob("[!.]*")))
        return [record for record in found if record is not None]

    @contextmanager
    def new(self, record_id: str) -> Iterator[Path]:
        """A folder to make a record in; it becomes the record when the block ends well, and goes away when not."""
        with private_folder(self.root) as part:
            yield part
            target = self.root / record_id
            if self.find(record_id) is None:  # what is there under the name, if anything, is not a record
                shutil.rmtree(target, ignore_errors=True)
            try:
                os.rename(part, target)
            except OSError:
                if self.find(record_id) is None:
                    raise


_in_use: set[str] = set()  # private folders of this process


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
        _remove_abandoned(root)
        part.mkdir(parents=True)
    except OSError as error:
        raise MediaError(f"{root} cannot be written ({error.strerror}); choose another folder for results") from error
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _in_use.discard(part.name)


def _remove_abandoned(root: Path) -> None:
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
