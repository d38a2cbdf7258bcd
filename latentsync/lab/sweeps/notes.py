"""The notes that cells write: the outcome of each pair, and the failures that a later run skips."""

import time
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from latentsync.lab.cells.outcome import Outcome
from latentsync.lab.records.sweeps import CELLS_DIR
from latentsync.lab.sweeps.request import cell_key
from latentsync.lab.tables.tidy import sweep_failures


def note_of(overrides: list[str], outcomes: Iterable[Outcome], run: str) -> dict[str, Any]:
    """The note of one cell.

    Args:
        overrides: the overrides that define the cell.
        run: id of the command that made the outcomes. Times would not do: clocks may jump or differ between workers.
    """
    return {
        "overrides": overrides,
        "noted": time.time(),
        "run": run,
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }


def note_path(sweep_dir: Path, overrides: list[str]) -> Path:
    """The file of a cell's note."""
    return sweep_dir / CELLS_DIR / f"{cell_key(overrides)}.json"


def earlier_failures(sweep_dir: Path) -> list[Outcome]:
    """The failures in a sweep's notes whose records have an id.

    A failure without an id was refused before anything was computed, because weights were missing or an option was
    wrong. Every run tries it again.
    """
    known = {field.name for field in fields(Outcome)}
    failures = [failure for failure in sweep_failures(sweep_dir) if failure["record"] is not None]
    return [Outcome(**{key: value for key, value in failure.items() if key in known}) for failure in failures]
