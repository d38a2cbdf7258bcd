"""A tracker."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.records.store import Record
from latentsync.lab.tracking.trackers import config_of, failure_id, values_of


class JsonLinesTracker:
    """`RUNS/json_lines/SWEEP.jsonl`: a line for each record, and for each failed pair."""

    def __init__(self, config: TrackerConfig, folder: Path) -> None:
        self._folder = folder / "json_lines"

    def publish(self, record: Record, sweep: str) -> None:
        """Writes the line of a record."""
        self._write(sweep, {"id": record.id, **config_of(record.content), **values_of(record)})

    def publish_failure(self, failure: Mapping[str, Any], sweep: str) -> None:
        """Writes the line of a failed pair."""
        self._write(sweep, {"id": failure_id(sweep, failure), **failure})

    def publish_sweep(
        self, sweep: str, table: pd.DataFrame, files: list[Path], failures: Sequence[Mapping[str, Any]]
    ) -> None:
        """Does nothing: the lines are the sweep."""

    def close(self) -> None:
        """Does nothing: each line was written when it was published."""

    def _write(self, sweep: str, line: dict[str, Any]) -> None:
        """Adds a line; one of the same id is replaced."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{sweep}.jsonl"
        lines = [json.loads(text) for text in path.read_text().splitlines()] if path.is_file() else []
        lines = [*(other for other in lines if other["id"] != line["id"]), line]
        path.write_text("".join(f"{json.dumps(each, default=str)}\n" for each in lines))
