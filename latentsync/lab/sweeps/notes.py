"""The notes that cells write: the outcome of each pair, and the failures that a later run skips."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from latentsync.errors import DamagedFileError
from latentsync.files import read_json, write_json
from latentsync.lab.cells.outcome import Outcome
from latentsync.lab.console import say
from latentsync.lab.records.claims import CLAIM_PREFIX, claimed
from latentsync.lab.records.store import aside
from latentsync.lab.records.sweeps import CELLS_DIR, FAILED, MADE, cell_key, failures_of, note_fault, sweep_cells


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


def write_note(path: Path, note: dict[str, Any]) -> None:
    """Writes the note of a cell. Where another process noted meanwhile that a pair's record is made, and this one
    failed at the same record, the other's outcome stays. A damaged note is set aside.

    Raises:
        OSError: it cannot be read or written.
    """
    with claimed(path.parent / f"{CLAIM_PREFIX}{path.stem}"):
        before = read_note(path) or {"outcomes": []}
        made = {each.get("pair"): each for each in before["outcomes"] if each["status"] in MADE}
        outcomes = [_better(outcome, made.get(outcome["pair"])) for outcome in note["outcomes"]]
        write_json(path, {**note, "outcomes": outcomes})


def _better(outcome: dict[str, Any], other: Mapping[str, Any] | None) -> Mapping[str, Any]:
    has_failed = outcome["status"] in FAILED and outcome["record"] is not None
    return other if has_failed and other is not None and other.get("record") == outcome["record"] else outcome


def read_note(path: Path) -> dict[str, Any] | None:
    """The note of a cell; None if there is none. A damaged one is set aside, and counts as none.

    Raises:
        OSError: it cannot be read now.
    """
    try:
        return read_json(path, note_fault)
    except DamagedFileError as error:
        sweep_dir = path.parents[1]
        say(f"set aside  {error}; it is kept in {aside(path, sweep_dir.parents[1], sweep_dir.name)}")
        return None


def earlier_failures(sweep_dir: Path) -> list[Outcome]:
    """The failures in a sweep's notes that a run skips.

    Every run tries again a failure of the machine, such as a full disk, and one without a record's id: it was refused
    before anything was computed, because weights were missing or an option was wrong.
    """
    known = {field.name for field in fields(Outcome)}
    failures = [failure for failure in failures_of(sweep_cells(sweep_dir)) if sticks(failure)]
    return [Outcome(**{key: value for key, value in failure.items() if key in known}) for failure in failures]


def sticks(failure: Mapping[str, Any]) -> bool:
    """Whether a noted failure is skipped by later runs, see `earlier_failures`."""
    return failure["record"] is not None and not failure.get("passes")
