"""Stands for Weights & Biases in offline mode. Its files are written by the door, so that these calls fail, too."""

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pandas as pd

from latentsync import disk
from latentsync.files import find_json
from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.records.store import Record
from latentsync.lab.tracking import publish, trackers, wandb_tracker

FILE = "run.json"
_numbers = itertools.count()  # in place of the time in a folder's name


class OfflineRun:
    """A run's folder `offline-run-NUMBER-ID` with one file, which is whole after `finish`."""

    def __init__(self, config: TrackerConfig, folder: Path, id: str, **facts: object) -> None:
        self._folder = folder / "wandb" / f"offline-run-{next(_numbers):06}-{id}"
        self.dir = str(self._folder / "files")
        self._values: dict = {}
        disk.make_folder(Path(self.dir))

    def log(self, values: dict) -> None:
        self._values = values
        self._write()

    def finish(self, exit_code: int = 0) -> None:
        self._write(is_finished=True)

    def _write(self, is_finished: bool = False) -> None:
        content = {"values": self._values, "is_finished": is_finished}
        disk.system.write(self._folder / FILE, json.dumps(content).encode())


class OfflineTracker(wandb_tracker.WandbTracker):
    """The product's own, but a run has metrics only, or the texts of a sweep's files."""

    def publish(self, record: Record, sweep: str) -> None:
        with self._run(trackers.run_id(sweep, record.id), sweep) as run:
            run.log(record.metrics)

    def publish_sweep(self, sweep: str, table: pd.DataFrame, files: list[Path], failures: Sequence) -> None:
        with self._run(trackers.run_id(sweep), sweep) as run:
            run.log({path.name: path.read_text() for path in files})


@contextmanager
def offline() -> Iterator[None]:
    """Publishes to such runs within the block."""
    with (
        mock.patch.object(publish, "make_tracker", OfflineTracker),
        mock.patch.object(wandb_tracker, "begin_run", OfflineRun),
        mock.patch.object(wandb_tracker, "end_service", lambda: None),
    ):
        yield


def finished_runs(runs_dir: Path, identifier: str) -> list[dict]:
    """What the finished runs of an id hold."""
    paths = (runs_dir / "wandb").glob(f"offline-run-*-{identifier}/{FILE}")
    return [run["values"] for path in paths if (run := find_json(path)) is not None and run["is_finished"]]
