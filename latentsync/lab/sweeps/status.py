"""The progress of a sweep, and a check that its records are complete."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from latentsync.errors import NewerVersionError, OptionError, sentence_of
from latentsync.lab.console import table_text
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.records.archived import is_archived
from latentsync.lab.records.index import RecordIndex
from latentsync.lab.records.store import RecordStore
from latentsync.lab.records.sweeps import FAILED, cell_key, planned_cells, sweep_cells, sweep_names

COLUMNS = ("done", "failed", "missing", "running")
ARCHIVED = "archived"  # a state that the table shows where a record has it
UNPLANNED = "(every pair)"


@dataclass
class SweepStatus:
    """The states of the records that a sweep has planned or noted.

    Attributes:
        states: by (cell's key, pair): one of `COLUMNS`, or `ARCHIVED`.
        lines: a line for each failed or running record.
        records: the ids of all records that have one.
    """

    name: str
    states: dict[tuple[str, str], str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    records: set[str] = field(default_factory=set)

    def count(self, state: str) -> int:
        return sum(value == state for value in self.states.values())


def status_of(runs: Path, name: str, index: RecordIndex | None = None) -> SweepStatus:
    """Compares a sweep's plan and notes with the existing records.

    Args:
        index: of the runs folder's records; None: a new one.
    """
    store, status = RecordStore(runs), SweepStatus(name)
    index, pairs = index or RecordIndex(store), list(_wanted_pairs(sweep_folder(runs, name)))
    status.records = {pair.record for pair in pairs} - {None}
    index.look(status.records)
    for pair in pairs:
        state, line = ("done", None) if pair.record is not None and index.holds(pair.record) else _state(store, pair)
        status.states[pair.cell, pair.name] = state
        if line is not None:
            status.lines.append(f"{state:<8} {pair.name} ({pair.label}){line}")
    return status


class _WantedPair(NamedTuple):
    """A pair of a cell that a sweep has planned or noted: its record's id, if it has one, and its noted outcome."""

    cell: str
    name: str
    record: str | None
    outcome: dict | None
    label: str


def _wanted_pairs(folder: Path) -> Iterator[_WantedPair]:
    noted = {cell_key(cell["overrides"]): cell for cell in sweep_cells(folder)}
    planned = {cell_key(cell["overrides"]): cell for cell in planned_cells(folder)}
    for key in {**planned, **noted}:
        outcomes = {outcome["pair"]: outcome for outcome in noted.get(key, {}).get("outcomes", [])}
        records = {pair: outcome["record"] for pair, outcome in outcomes.items()}
        if key in planned and (planned[key]["records"] or not records):
            records = planned[key]["records"] or {UNPLANNED: None}  # an older note may describe other inputs
            if (whole := outcomes.get(UNPLANNED)) is not None:
                outcomes |= dict.fromkeys(records, whole)
        label = ", ".join((planned.get(key) or noted[key])["overrides"])
        for pair, record in records.items():
            yield _WantedPair(key, pair, record, outcomes.get(pair), label)


def statuses(runs: Path, name: str | None = None, index: RecordIndex | None = None) -> list[SweepStatus]:
    """The states of all sweeps of a runs folder, or of the named one; arguments as for `status_of`.

    Raises:
        OptionError: there is no such runs folder or sweep.
    """
    names = sweep_names(runs)
    if name is not None and name not in names:
        raise OptionError(f"{runs} has no sweep {name}; it has {', '.join(names) or 'none'}")
    if not names and not (runs / "records").is_dir():
        raise OptionError(f"{runs} is not a runs folder; give the folder of runs_dir (by default runs)")
    return [status_of(runs, each, index) for each in names if name in (None, each)]


def status_table(sweeps: list[SweepStatus]) -> str:
    """One row for each sweep: how many of its records are in each state."""
    counts = {state: [sweep.count(state) for sweep in sweeps] for state in COLUMNS}
    if any(archived := [sweep.count(ARCHIVED) for sweep in sweeps]):
        counts[ARCHIVED] = archived
    return table_text({"sweep": [sweep.name for sweep in sweeps], **counts})


def _state(store: RecordStore, pair: _WantedPair) -> tuple[str, str | None]:
    """The state of a pair's record, and a note about it; the note is None if the record is done or missing."""
    record, outcome = pair.record, pair.outcome
    try:
        if record is not None and store.find(record) is not None:
            return "done", None
    except NewerVersionError as error:
        return "failed", f": {error}"
    except OSError as error:
        return "failed", f": record {record} cannot be read now: {sentence_of(error)}"
    if record is not None and (claimant := store.claimant(record)) is not None:
        return "running", f": by process {claimant.get('pid', '?')} on {claimant.get('host', '?')}"
    if record is not None and is_archived(store.root.parent, record):
        return ARCHIVED, None
    if outcome is not None and outcome["status"] in FAILED and outcome["record"] in (None, record):
        return "failed", f": {outcome['stage'] or 'failed'}: {outcome['reason']}"
    return "missing", None
