"""The runs folder that a widget shows, and the records that were made in the explorer, which a sweep's list keeps."""

import os
from pathlib import Path
from typing import Any

from latentsync.errors import MediaError
from latentsync.files import read_json, write_json
from latentsync.lab.records.shape import are_texts

ADDED_FILE = "explorer.json"  # in the sweep's folder


def runs_folder(runs_dir: str | Path) -> Path:
    """The folder, if it is there.

    Raises:
        MediaError: it is not; the message gives its absolute path.
    """
    path = Path(runs_dir)
    if path.is_dir():
        return path
    where = "" if path.is_absolute() else f" {runs_dir} is looked for in {os.getcwd()}, where this notebook runs."
    raise MediaError(f"there is no folder {os.path.abspath(path)}; give the path of a runs folder.{where}")


def added_records(sweep_dir: Path) -> list[str]:
    """The ids of records that were made in the explorer of a sweep.

    Raises:
        DamagedFileError, OSError: as for `read_json`.
    """
    path = sweep_dir / ADDED_FILE
    return read_json(path, _fault)["records"] if path.is_file() else []


def add_record(sweep_dir: Path, record_id: str) -> None:
    """Keeps a record in the list of a sweep's explorer; it does not become a cell of the sweep.

    Raises:
        DamagedFileError, OSError: as for `read_json` and `write_json`.
    """
    write_json(sweep_dir / ADDED_FILE, {"records": [*dict.fromkeys([*added_records(sweep_dir), record_id])]})


def _fault(content: dict[str, Any]) -> str | None:
    return None if are_texts(content.get("records")) else "it has no list of records"
