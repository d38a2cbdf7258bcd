"""Finished records as one CSV file for each sweep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from latentsync.files import whole_file
from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.records.store import Record
from latentsync.lab.tracking.trackers import config_of, failure_id, values_of


class CsvTracker:
    """`runs/csv/SWEEP.csv`: a row for each record and each failed pair, with the columns of both.

    Args:
        folder: the runs folder.
    """

    def __init__(self, config: TrackerConfig, folder: Path) -> None:
        self._folder = folder / "csv"

    def publish(self, record: Record, sweep: str) -> None:
        """Writes the row of a record."""
        self._write(sweep, record.id, {"status": "finished", **config_of(record.content), **values_of(record)})

    def publish_failure(self, failure: Mapping[str, Any], sweep: str) -> None:
        """Writes the row of a failed pair."""
        facts = {name: failure.get(name) for name in ("pair", "gender", "stage", "reason")}
        overrides = " ".join(failure["overrides"])
        self._write(sweep, failure_id(sweep, failure), {"status": "failed", **facts, "overrides": overrides})

    def _write(self, sweep: str, identifier: str, row: dict[str, Any]) -> None:
        path = self._folder / f"{sweep}.csv"
        rows = pd.read_csv(path, dtype=str, keep_default_na=False) if path.is_file() else pd.DataFrame({"id": []})
        kept = rows[rows["id"] != identifier]
        new = pd.DataFrame([{"id": identifier, **row}])
        self._folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part:
            pd.concat([kept, new], ignore_index=True).to_csv(part, index=False)

    def publish_sweep(self, sweep: str, table: pd.DataFrame, files: list[Path]) -> None:
        """Does nothing: the rows are the sweep."""

    def close(self) -> None:
        """Does nothing: every row is written at once."""
