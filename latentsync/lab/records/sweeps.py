"""The notes of a sweep on disk: its cells, their outcomes and failures."""

from pathlib import Path

from latentsync.errors import OptionError
from latentsync.files import read_json

CELLS_DIR = "cells"
FAILED = ("failed", "skipped")  # the latter earlier, and not tried again


def sweep_names(runs_dir: Path) -> list[str]:
    """The sweeps of a runs folder, by name."""
    return sorted(path.name for path in (runs_dir / "sweeps").glob("[!.]*") if path.is_dir())


def sweep_in(runs_dir: Path, name: str | None) -> str:
    """The name of a sweep that is there; without a name, that of the only one.

    Raises:
        OptionError: there is no such sweep, none at all, or several to choose from.
    """
    names = sweep_names(runs_dir)
    if not names:
        raise OptionError(f"{runs_dir} has no sweep; give the folder that runs_dir named (by default runs)")
    if name is None and len(names) > 1:
        raise OptionError(f"{runs_dir} has {len(names)} sweeps; choose one with --sweep: {', '.join(names)}")
    if name is not None and name not in names:
        raise OptionError(f"{runs_dir} has no sweep {name}; it has {', '.join(names)}")
    return names[0] if name is None else name


def sweep_cells(sweep_dir: Path) -> list[dict]:
    """What each cell of a sweep said when it ended: its overrides and the outcome of each pair."""
    return [cell for path in sorted((sweep_dir / CELLS_DIR).glob("*.json")) if (cell := read_json(path)) is not None]


def failures_of(cells: list[dict]) -> list[dict]:
    """The failed pairs of cells, each with its cell's overrides."""
    return [
        {**outcome, "overrides": cell["overrides"], "noted": cell["noted"], "run": cell.get("run")}
        for cell in cells
        for outcome in cell["outcomes"]
        if outcome["status"] in FAILED
    ]
