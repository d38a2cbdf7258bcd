"""Finished records on disk: one folder each, visible only when complete. Knows nothing of how they are made.

runs/records/<id>/  result.mp4  mask.mp4  record.json  metrics.json  curves.json
runs/records/.claim-<id>                         locked by the process that makes the record
runs/sweeps/<name>/cells/<cell>.json             which records and failures belong to a cell of a sweep
runs/sweeps/<name>/plan.json                     which cells the sweep has
"""

import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout

from latentsync.files import read_json, whole_folder

RESULT_FILE = "result.mp4"
MASK_FILE = "mask.mp4"
RECORD_FILE = "record.json"
METRICS_FILE = "metrics.json"
CURVES_FILE = "curves.json"
CLAIM_PREFIX = ".claim-"
ID_LENGTH = 16  # hex digits: 64 bits


def record_id(parts: dict) -> str:
    """The id of a record: the beginning of a SHA-256 of its identity as canonical JSON."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:ID_LENGTH]


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
        records = (self.find(path.name) for path in sorted(self.root.glob("[!.]*")))
        return [record for record in records if record is not None]

    @contextmanager
    def claim(self, record_id: str, wait: bool) -> Iterator[bool]:
        """Whether this process is the one that makes a record, as long as the block lasts.

        The kernel holds the lock and frees it when a process ends, however it ends, so that no claim grows stale and no
        clock is asked. Where a file system has no locks, every process is told True: they may make a record twice, and
        the first wins.

        Args:
            wait: until the other process has ended or finished it; look for the record afterwards.
        """
        path = self._claim_path(record_id)
        lock = FileLock(path, fallback_to_soft=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=wait)
        except Timeout:
            yield False
            return
        except (OSError, NotImplementedError):  # no locks there; that a folder cannot be written, `new` will tell
            yield True
            return
        try:
            _write_claim(path)
            yield True
        finally:
            if self.find(record_id) is not None:  # whoever waits, or claims it anew, finds the record
                path.unlink(missing_ok=True)
            lock.release()

    def claimant(self, record_id: str) -> dict | None:
        """Who makes a record just now: `host`, `pid` and `since` (seconds since the epoch); None if nobody does."""
        path = self._claim_path(record_id)
        if not path.is_file():
            return None
        with self.claim(record_id, wait=False) as is_free:
            return None if is_free else read_json(path) or {}

    def _claim_path(self, record_id: str) -> Path:
        return self.root / f"{CLAIM_PREFIX}{record_id}"

    @contextmanager
    def new(self, record_id: str) -> Iterator[Path]:
        """A folder to make a record in; it becomes the record when the block ends well, and goes away when not."""
        with whole_folder(self.root / record_id, is_kept=lambda _: self.find(record_id) is not None) as part:
            yield part


def _write_claim(path: Path) -> None:
    """Says in the locked file itself, which must stay the same one, whose it is; people and `status` read it."""
    claim = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
    with suppress(OSError):  # a full disk
        path.write_text(json.dumps(claim) + "\n")
