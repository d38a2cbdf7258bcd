"""Finished records as one CSV file for each sweep."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from latentsync.files import whole_file
from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.records.store import Record
from latentsync.lab.tracking.trackers import config_of, failure_id, values_of


class CsvTracker:
    """`runs/csv/SWEEP.csv`: a row for each record and each failed pair, with the columns of both. `close` writes it.

    Args:
        folder: the runs folder.
    """

    writes_when_closed = True

    def __init__(self, config: TrackerConfig, folder: Path) -> None:
        self._folder = folder / "csv"
        self._rows: dict[str, dict[str, dict[str, Any]]] = {}  # of each sweep, by id

    def publish(self, record: Record, sweep: str) -> None:
        """Takes the row of a record."""
        self._of(sweep)[record.id] = {
            "status": "finished",
            **config_of(record.content, record.metrics),
            **values_of(record),
        }

    def publish_failure(self, failure: Mapping[str, Any], sweep: str) -> None:
        """Takes the row of a failed pair."""
        facts = {name: failure.get(name) for name in ("pair", "gender", "stage", "reason")}
        overrides = " ".join(failure["overrides"])
        self._of(sweep)[failure_id(sweep, failure)] = {"status": "failed", **facts, "overrides": overrides}

    def _of(self, sweep: str) -> dict[str, dict[str, Any]]:
        return self._rows.setdefault(sweep, {})

    def publish_sweep(
        self, sweep: str, table: pd.DataFrame, files: list[Path], failures: Sequence[Mapping[str, Any]]
    ) -> None:
        """Does nothing: the rows are the sweep."""

    def close(self) -> None:
        """Writes the new rows below those of before; a row of the same id is replaced."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for sweep, rows in self._rows.items():
            path = self._folder / f"{sweep}.csv"
            new = pd.DataFrame([{"id": identifier, **row} for identifier, row in rows.items()])
            if path.is_file():
                old = pd.read_csv(path, dtype=str, keep_default_na=False)
                new = pd.concat([old[~old["id"].isin(list(rows))], new], ignore_index=True)
            with whole_file(path) as part:
                new.to_csv(part, index=False)
        self._rows.clear()
