"""The notes of a sweep on disk: its cells, their outcomes, records and failures."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from latentsync.errors import DamagedFileError, OptionError, sentence_of
from latentsync.files import entries, read_json, recover
from latentsync.lab.console import complain, say
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.records.added import added_records
from latentsync.lab.records.archived import archive_of, is_archived, stays_behind
from latentsync.lab.records.index import Labels, rows_found
from latentsync.lab.records.shape import are_texts
from latentsync.lab.records.store import Record, RecordStore

CELLS_DIR = "cells"
PLAN_FILE = "plan.json"
RETRY_HINT = "add retry=failed to try them again"
FAILED = ("failed", "skipped")  # skipped: failed in an earlier run and not tried again
MADE = ("done", "cached")


def sweep_names(runs_dir: Path) -> list[str]:
    """The names of the sweeps in a runs folder, sorted."""
    return [path.name for path in entries(runs_dir / "sweeps") if path.is_dir()]


def sweep_in(runs_dir: Path, name: str | None) -> str:
    """The name of an existing sweep; without a name, that of the only one.

    Raises:
        OptionError: there is no such sweep, no sweep at all, or several and no name was given.
    """
    names = sweep_names(runs_dir)
    if not names:
        raise OptionError(f"{runs_dir} has no sweep; give the folder of runs_dir (by default runs)")
    if name is None and len(names) > 1:
        raise OptionError(f"{runs_dir} has {len(names)} sweeps; choose one with --sweep: {', '.join(names)}")
    if name is not None and name not in names:
        raise OptionError(f"{runs_dir} has no sweep {name}; it has {', '.join(names)}")
    return names[0] if name is None else name


def sweep_cells(sweep_dir: Path) -> list[dict]:
    """The notes of a sweep's cells: each has the cell's overrides and the outcome of each pair.

    A note that is damaged, or cannot be read now, is named by `complain`. The sweep's next run writes it anew.
    """
    paths = [path for path in entries(sweep_dir / CELLS_DIR) if path.suffix == ".json"]
    return [_complete(note) for path in paths if (note := _read_or_complain(path, note_fault)) is not None]


def _complete(note: dict) -> dict:
    """A note with all fields that readers use; an older or edited one may lack some."""
    fields = {"pair": "", "record": None, "stage": None, "reason": "", "trace": None}
    return {"noted": 0.0, "run": None, **note, "outcomes": [{**fields, **outcome} for outcome in note["outcomes"]]}


def planned_cells(sweep_dir: Path) -> list[dict]:
    """The cells of a sweep's latest plan: each has overrides, the record's id for each pair, and perhaps labels.

    A plan that is damaged, or cannot be read now, is named by `complain`.
    """
    plan = _read_or_complain(sweep_dir / PLAN_FILE, plan_fault)
    return [] if plan is None else plan["cells"]


def _read_or_complain(path: Path, fault_of: Any) -> dict | None:
    try:
        return read_json(path, fault_of)
    except DamagedFileError as error:
        complain(f"left out: {error}; run its sweep again to write it anew")
    except OSError as error:
        complain(f"left out: {sentence_of(error)}")
    return None


def note_fault(note: Mapping[str, Any]) -> str | None:
    """Why an object is no note of a cell; None if it is one."""
    outcomes = note.get("outcomes")
    if not are_texts(note.get("overrides")) or not isinstance(outcomes, list):
        return "it has no overrides and outcomes"
    for outcome in outcomes:
        if not isinstance(outcome, dict) or not are_texts([outcome.get("pair", ""), outcome.get("status")]):
            return "an outcome has no status"
        if not isinstance(outcome.get("record"), str | None) or not _are_labels(outcome.get("labels")):
            return "an outcome has no proper record or labels"
    return None


def plan_fault(plan: Mapping[str, Any]) -> str | None:
    """Why an object is no plan of a sweep; None if it is one."""
    cells = plan.get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        return "it has no cells"
    for cell in cells:
        records, labels = cell.get("records"), cell.get("labels", {})
        has_records = isinstance(records, dict) and are_texts(list(records.values()))
        if not has_records or not are_texts(cell.get("overrides")):
            return "a cell has no overrides and records"
        if not isinstance(labels, dict) or not all(map(_are_labels, labels.values())):
            return "a cell has no proper labels"
    return None


def cell_key(overrides: list[str]) -> str:
    """The key of a cell, which names its note's file."""
    return hashlib.sha256("\n".join(overrides).encode()).hexdigest()[:12]


def _are_labels(value: Any) -> bool:
    """Whether labels have the form of `labels_of`, which a record's content then shows."""
    if value is None:
        return True
    if not isinstance(value, dict) or not set(value) <= {"pair", "preset"}:
        return False
    pair, preset = value.get("pair", {}), value.get("preset", {})
    if not isinstance(pair, dict) or not isinstance(preset, dict):
        return False
    for name in ("clip", "voice"):
        file = pair.get(name, {"name": ""})
        if not isinstance(file, dict) or file.keys() != {"name"} or not isinstance(file["name"], str):
            return False
    texts = [pair.get("name", ""), pair.get("gender", ""), *preset.values()]
    return are_texts(texts) and all(isinstance(pair.get(name), str | None) for name in ("group", "split", "face"))


def rows_in(runs_dir: Path, sweep: str | None = None, with_metrics: bool = True) -> pa.Table:
    """The rows of the finished records of a runs folder, or of one of its sweeps with the sweep's labels.

    Those of a sweep are in its notes and its latest plan, so that a lost note costs no row. A record that is damaged,
    cannot be read now, or was made and is gone, is named by `complain`.

    Args:
        with_metrics: as for `records.index.rows_found`.

    Raises:
        OSError: the folder of the records cannot be read now.
    """
    return _rows_and_labels(runs_dir, sweep, with_metrics)[0]


def _rows_and_labels(runs_dir: Path, sweep: str | None, with_metrics: bool) -> tuple[pa.Table, dict[str, Labels]]:
    store = RecordStore(runs_dir)
    if sweep is None:
        recover(store.root)
        labels: dict[str, Labels] = {record_id: {} for record_id in store.ids()}
        return rows_found(store, labels, with_metrics), labels
    labels, made = _labels(sweep_folder(runs_dir, sweep))
    rows = rows_found(store, labels, with_metrics)
    _name_absent(store, sweep, sorted(made - set(rows["record"].to_pylist())))
    return rows, labels


def _name_absent(store: RecordStore, sweep: str, absent: Iterable[str]) -> None:
    """Says which records of a sweep were put away, and complains about those that are gone."""
    runs_dir, absent = store.root.parent, list(absent)
    archived = [record_id for record_id in absent if is_archived(runs_dir, record_id)]
    stayed = [record_id for record_id in absent if stays_behind(runs_dir, record_id)]
    if archived:
        verb = "is" if len(archived) == 1 else "are"
        say(
            f"{len(archived)} of the records of the sweep {sweep} {verb} in {archive_of(runs_dir)} and not shown; "
            f"`latentsync restore {runs_dir} ID` brings one back, and the sweep's next run all"
        )
    if stayed:
        say(f"{len(stayed)} of the records of the sweep {sweep} stayed in {runs_dir.parent}, for other sweeps")
    for record_id in absent:
        is_away = record_id in archived or record_id in stayed
        if not is_away and store.lacks(record_id) and not (store.root / record_id).exists():
            complain(f"left out: record {record_id} was made and is gone; run the sweep {sweep} again to make it anew")


def ids_of_sweep(sweep_dir: Path) -> set[str]:
    """The ids of all records that a sweep has noted or planned, and of those that were made beside it."""
    return {*_labels(sweep_dir)[0], *added_records(sweep_dir)}


def _labels(sweep_dir: Path) -> tuple[dict[str, Labels], set[str]]:
    """The labels of a sweep's records by their ids, and the ids of those that were made."""
    labels: dict[str, Labels] = {}
    made = set()
    for outcome in (outcome for cell in sweep_cells(sweep_dir) for outcome in cell["outcomes"]):
        if (record_id := outcome["record"]) is not None:
            labels[record_id] = labels.get(record_id) or outcome.get("labels") or {}
            made |= {record_id} if outcome["status"] in MADE else set()
    for cell in planned_cells(sweep_dir):
        for pair, record_id in cell["records"].items():
            labels[record_id] = cell.get("labels", {}).get(pair) or labels.get(record_id) or {}
    return labels, made


def all_records(runs_dir: Path) -> list[Record]:
    """The finished records of a runs folder, in the order of the table."""
    return _records(runs_dir, None)


def sweep_records(runs_dir: Path, name: str) -> list[Record]:
    """The finished records of a sweep, each once and with the sweep's labels, in the order of the table; see `rows_in`.

    Their files are read when they are asked for their content.
    """
    return _records(runs_dir, name)


def _records(runs_dir: Path, sweep: str | None) -> list[Record]:
    rows, labels = _rows_and_labels(runs_dir, sweep, with_metrics=False)
    root = RecordStore(runs_dir).root
    return [Record(root / record_id, labels[record_id]) for record_id in rows["record"].to_pylist()]


def records_in(runs_dir: Path, sweep: str | None = None) -> list[Record]:
    """The finished records of a runs folder, or of one of its sweeps, in the order of the table.

    Raises:
        OptionError: there is none.
    """
    records = all_records(runs_dir) if sweep is None else sweep_records(runs_dir, sweep)
    if not records:
        raise OptionError(f"{runs_dir} has no record{f' of sweep {sweep}' if sweep else ''}")
    return records


def failures_of(cells: list[dict]) -> list[dict]:
    """The failed pairs of cells, each with its cell's overrides."""
    return [
        {**outcome, "overrides": cell["overrides"], "noted": cell["noted"], "run": cell.get("run")}
        for cell in cells
        for outcome in cell["outcomes"]
        if outcome["status"] in FAILED
    ]
