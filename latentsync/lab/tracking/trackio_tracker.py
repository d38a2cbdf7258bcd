"""Finished records in trackio's local database."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.records.labels import run_name
from latentsync.lab.records.store import Record
from latentsync.lab.tracking.trackers import config_of, curves_of, failure_id, values_of


class TrackioTracker:
    """`runs/trackio`: a run for each record with its metrics and curves, and one for each failed pair. It needs no
    account and sends nothing.

    Args:
        folder: the runs folder.
    """

    def __init__(self, config: TrackerConfig, folder: Path) -> None:
        self._project = config.project_name
        os.environ["TRACKIO_DIR"] = str((folder / "trackio").resolve())  # read when trackio is imported
        for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
            os.environ.pop(name, None)

    def _run(self, name: str, sweep: str, facts: Mapping[str, Any], rows: list[dict[str, Any]]) -> None:
        import trackio

        names = trackio.Api().runs(self._project) if self._has_project() else ()
        for run in names:
            if run.name == name:
                run.delete()
        trackio.init(
            self._project, name, group=sweep, config=dict(facts), embed=False, auto_log_gpu=False, auto_log_cpu=False
        )
        try:
            for row in rows:
                trackio.log(row)
        finally:
            trackio.finish()

    def _has_project(self) -> bool:
        return any(Path(os.environ["TRACKIO_DIR"]).glob(f"{self._project}*.db"))

    def publish(self, record: Record, sweep: str) -> None:
        """Writes the run of a record: its metrics, then its curves."""
        rows: list[dict[str, Any]] = [values_of(record)]
        for name, points in curves_of(record).items():
            axis = "shift" if name.endswith("_by_shift") else "second"
            rows += [{f"curves/{name}": y, axis: x} for x, y in points]
        self._run(f"{run_name(record.content)} {record.id}", sweep, config_of(record.content, record.metrics), rows)

    def publish_failure(self, failure: Mapping[str, Any], sweep: str) -> None:
        """Writes the run of a failed pair."""
        facts = {name: failure.get(name) for name in ("pair", "gender", "stage", "reason")}
        facts["overrides"] = " ".join(failure["overrides"])
        self._run(failure_id(sweep, failure), sweep, facts, [{"failed": 1}])

    def publish_sweep(
        self, sweep: str, table: pd.DataFrame, files: list[Path], failures: Sequence[Mapping[str, Any]]
    ) -> None:
        """Does nothing: the runs of a sweep are one group."""

    def close(self) -> None:
        """Does nothing: each run is finished when it was published."""
