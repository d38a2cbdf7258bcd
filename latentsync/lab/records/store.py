"""Finished records on disk: one folder each, visible only when complete. This module does not make records.

runs/records/<id>/  result.mp4  mask.mp4  record.json  metrics.json  curves.json
runs/records/.claim-<id>                         locked by the process that makes the record
runs/sweeps/<name>/cells/<cell>.json             which records and failures belong to a cell of a sweep
runs/sweeps/<name>/plan.json                     which cells the sweep has
"""

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

from latentsync.errors import OptionError
from latentsync.files import leads_out, link_out, read_json, whole_folder
from latentsync.names import is_plain

RESULT_FILE = "result.mp4"
MASK_FILE = "mask.mp4"
RECORD_FILE = "record.json"
METRICS_FILE = "metrics.json"
CURVES_FILE = "curves.json"
CLAIM_PREFIX = ".claim-"


@dataclass(frozen=True)
class Record:
    """A finished record: the result of one cell for one pair."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def video_path(self) -> Path:
        return self.folder / RESULT_FILE

    @cached_property
    def content(self) -> dict:
        """The content of record.json: pair, model, options, timings, versions."""
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
        """Name -> the values per frame, window or shift from which the metrics are computed."""
        return read_json(self.curves_path) or {}


class RecordStore:
    """The records below one folder.

    A record is made in a folder with a temporary name and appears by a single rename. So a killed run leaves no
    incomplete record. If two processes make the same record, the first one is kept and both succeed.
    """

    def __init__(self, runs_dir: Path) -> None:
        self.root = runs_dir / "records"

    @cached_property
    def _is_outside(self) -> bool:
        return leads_out(self.root, self.root.parent)

    def find(self, record_id: str) -> Record | None:
        """The finished record of that id, or None. What a link brings from outside the runs folder is no record."""
        folder = self.root / record_id
        if not is_plain(record_id) or self._is_outside or link_out(folder, self.root.parent) is not None:
            return None
        return Record(folder) if read_json(folder / RECORD_FILE) is not None else None

    def all(self) -> list[Record]:
        """Every finished record, sorted by id."""
        records = (self.find(path.name) for path in sorted(self.root.glob("[!.]*")))
        return [record for record in records if record is not None]

    @contextmanager
    def claim(self, record_id: str, wait: bool) -> Iterator[bool]:
        """Claims a record for this process within the block. Yields whether the claim succeeded.

        The claim is a lock of the kernel, which frees it when the process ends for any reason. So no claim becomes
        stale and no clock is needed. On a file system without locks every claim succeeds: two processes may then make
        the same record, and the first one is kept.

        Args:
            wait: whether to wait until the other process has ended or has finished the record; then look for the
                record first.
        """
        path = self._claim_path(record_id)
        lock = FileLock(path, fallback_to_soft=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=wait)
        except Timeout:
            yield False
            return
        except (OSError, NotImplementedError):  # no locks; `new` reports a folder that cannot be written
            yield True
            return
        try:
            _write_claim(path)
            yield True
        finally:
            if self.find(record_id) is not None:  # processes that wait or claim later find the record
                path.unlink(missing_ok=True)
            lock.release()

    def claimant(self, record_id: str) -> dict | None:
        """The process that is making a record: `host`, `pid` and `since` (seconds since the epoch); None if none is."""
        path = self._claim_path(record_id)
        if not path.is_file():
            return None
        with self.claim(record_id, wait=False) as is_free:
            return None if is_free else read_json(path) or {}

    def _claim_path(self, record_id: str) -> Path:
        if not is_plain(record_id):
            raise OptionError(f"{record_id!r} is no id of a record; correct the sweep's notes and plan, or run it anew")
        return self.root / f"{CLAIM_PREFIX}{record_id}"

    @contextmanager
    def new(self, record_id: str) -> Iterator[Path]:
        """A folder to make a record in. It becomes the record when the block succeeds, and is removed otherwise."""
        with whole_folder(self.root / record_id, is_kept=lambda _: self.find(record_id) is not None) as part:
            yield part


def _write_claim(path: Path) -> None:
    """Writes into the locked file which process holds it; `status` and people read it. The file must stay the same."""
    claim = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
    with suppress(OSError):  # for example a full disk
        path.write_text(json.dumps(claim) + "\n")
