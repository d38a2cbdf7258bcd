"""The progress of a sweep, and a check that its records are complete."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from latentsync.errors import OptionError
from latentsync.files import read_json
from latentsync.lab.console import table_text
from latentsync.lab.options.schema import sweep_folder
from latentsync.lab.records.identity import record_id
from latentsync.lab.records.store import MASK_FILE, METRICS_FILE, RECORD_FILE, RESULT_FILE, RecordStore
from latentsync.lab.records.sweeps import FAILED, sweep_cells, sweep_names
from latentsync.lab.sweeps.request import PLAN_FILE, cell_key

COLUMNS = ("done", "failed", "missing", "running")
UNPLANNED = "(every pair)"


@dataclass
class SweepStatus:
    """The states of the records that a sweep has planned or noted.

    Attributes:
        states: by (cell's key, pair): one of `COLUMNS`.
        lines: a line for each failed or running record.
        records: the ids of all records that have one.
    """

    name: str
    states: dict[tuple[str, str], str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    records: set[str] = field(default_factory=set)

    def count(self, state: str) -> int:
        return sum(value == state for value in self.states.values())


def status_of(runs: Path, name: str) -> SweepStatus:
    """Compares a sweep's plan and notes with the existing records."""
    store, folder, status = RecordStore(runs), sweep_folder(runs, name), SweepStatus(name)
    noted = {cell_key(cell["overrides"]): cell for cell in sweep_cells(folder)}
    planned = {cell_key(cell["overrides"]): cell for cell in (read_json(folder / PLAN_FILE) or {}).get("cells", [])}
    for key in {**planned, **noted}:
        outcomes = {outcome["pair"]: outcome for outcome in noted.get(key, {}).get("outcomes", [])}
        records = {pair: outcome["record"] for pair, outcome in outcomes.items()}
        if key in planned and (planned[key]["records"] or not records):
            records = planned[key]["records"] or {UNPLANNED: None}  # an older note may describe other inputs
            if (whole := outcomes.get(UNPLANNED)) is not None:
                outcomes |= dict.fromkeys(records, whole)
        label = ", ".join((planned.get(key) or noted[key])["overrides"])
        for pair, i in records.items():
            state, line = _state(store, i, outcomes.get(pair))
            status.states[key, pair] = state
            status.records |= {i} - {None}
            if line is not None:
                status.lines.append(f"{state:<8} {pair} ({label}){line}")
    return status


def statuses(runs: Path, name: str | None = None) -> list[SweepStatus]:
    """The states of all sweeps of a runs folder, or of the named one.

    Raises:
        OptionError: there is no such runs folder or sweep.
    """
    names = sweep_names(runs)
    if name is not None and name not in names:
        raise OptionError(f"{runs} has no sweep {name}; it has {', '.join(names) or 'none'}")
    if not names and not (runs / "records").is_dir():
        raise OptionError(f"{runs} is not a runs folder; give the folder of runs_dir (by default runs)")
    return [status_of(runs, each) for each in names if name in (None, each)]


def status_table(sweeps: list[SweepStatus]) -> str:
    """One row for each sweep: how many of its records are in each state."""
    counts = {state: [sweep.count(state) for sweep in sweeps] for state in COLUMNS}
    return table_text({"sweep": [sweep.name for sweep in sweeps], **counts})


def _state(store: RecordStore, record: str | None, outcome: dict | None) -> tuple[str, str | None]:
    """The state of a record, and a note about it; the note is None if the record is done or missing."""
    if record is not None and store.find(record) is not None:
        return "done", None
    if record is not None and (claimant := store.claimant(record)) is not None:
        return "running", f": by process {claimant.get('pid', '?')} on {claimant.get('host', '?')}"
    if outcome is not None and outcome["status"] in FAILED and outcome["record"] in (None, record):
        return "failed", f": {outcome.get('stage') or 'failed'}: {outcome['reason']}"
    return "missing", None


def faults(store: RecordStore, ids: set[str] | None = None) -> Iterator[str]:
    """The faults of records, a line each: truncated or missing files, edited content, content of another record.

    Args:
        ids: check only these records; None checks every folder of the store.
    """
    for folder in sorted(store.root.glob("[!.]*")):
        if ids is not None and folder.name not in ids:
            continue
        content = read_json(folder / RECORD_FILE)
        if content is None:
            yield f"{folder.name}: {RECORD_FILE} is missing or incomplete; the next run makes the record again"
            continue
        if content.get("id") != folder.name:
            yield f"{folder.name}: {RECORD_FILE} belongs to {content.get('id')}; remove the folder"
        elif record_id(content.get("identity", {})) != folder.name:
            yield f"{folder.name}: the identity in {RECORD_FILE} was edited and now gives another id; remove the folder"
        elif _edited(content):
            yield f"{folder.name}: {', '.join(_edited(content))} in {RECORD_FILE} was edited; remove the folder"
        for name in (RESULT_FILE, MASK_FILE):
            path = folder / name
            if not path.is_file() or not path.stat().st_size:
                yield f"{folder.name}: {name} is missing or empty; remove the folder to make it again"
        if read_json(folder / METRICS_FILE) is None:
            yield f"{folder.name}: {METRICS_FILE} is missing or incomplete; `latentsync measure` writes it"


def _edited(content: dict) -> list[str]:
    """Options whose value in record.json differs from the id's."""
    options, values = content["identity"].get("options", {}), content.get("options", {})
    return [f"options.{name}" for name, value in options.items() if values.get(name) != value]
