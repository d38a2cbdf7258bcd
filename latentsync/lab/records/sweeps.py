"""The notes of a sweep on disk: its cells, their outcomes, records and failures."""

from pathlib import Path

from latentsync.errors import OptionError
from latentsync.files import read_json
from latentsync.lab.options.schema import sweep_folder
from latentsync.lab.records.labels import SETTINGS
from latentsync.lab.records.store import Record, RecordStore

CELLS_DIR = "cells"
FAILED = ("failed", "skipped")  # skipped: failed in an earlier run and not tried again


def sweep_names(runs_dir: Path) -> list[str]:
    """The names of the sweeps in a runs folder, sorted."""
    return sorted(path.name for path in (runs_dir / "sweeps").glob("[!.]*") if path.is_dir())


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
    """The notes of a sweep's cells: each has the cell's overrides and the outcome of each pair."""
    return [cell for path in sorted((sweep_dir / CELLS_DIR).glob("*.json")) if (cell := read_json(path)) is not None]


def all_records(runs_dir: Path) -> list[Record]:
    """The finished records of a runs folder, in the order of the table."""
    return sorted(RecordStore(runs_dir).all(), key=_order)


def sweep_records(runs_dir: Path, name: str) -> list[Record]:
    """The finished records of a sweep, each once, in the order of the table."""
    store = RecordStore(runs_dir)
    cells = sweep_cells(sweep_folder(runs_dir, name))
    ids = dict.fromkeys(o["record"] for cell in cells for o in cell["outcomes"] if o["record"] is not None)
    return sorted((record for i in ids if (record := store.find(i)) is not None), key=_order)


def records_in(runs_dir: Path, sweep: str | None = None) -> list[Record]:
    """The finished records of a runs folder, or of one of its sweeps, in the order of the table.

    Raises:
        OptionError: there is none.
    """
    records = all_records(runs_dir) if sweep is None else sweep_records(runs_dir, sweep)
    if not records:
        raise OptionError(f"{runs_dir} has no record{f' of sweep {sweep}' if sweep else ''}")
    return records


def _order(record: Record) -> tuple:
    content = record.content
    return (
        content["pair"]["gender"],
        content["pair"]["name"],
        *(content["options"][name] for name in SETTINGS),
        record.id,
    )


def failures_of(cells: list[dict]) -> list[dict]:
    """The failed pairs of cells, each with its cell's overrides."""
    return [
        {**outcome, "overrides": cell["overrides"], "noted": cell["noted"], "run": cell.get("run")}
        for cell in cells
        for outcome in cell["outcomes"]
        if outcome["status"] in FAILED
    ]
