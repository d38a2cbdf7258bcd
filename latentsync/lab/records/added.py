"""Records that were made beside a sweep, in a notebook or a browser: its list has them, it has no cell of them."""

from pathlib import Path
from typing import Any

from latentsync.files import read_json, write_json
from latentsync.lab.records.shape import are_texts

ADDED_FILE = "explorer.json"  # in the sweep's folder


def added_records(sweep_dir: Path) -> list[str]:
    """The ids of records that were made beside a sweep.

    Raises:
        DamagedFileError, OSError: as for `read_json`.
    """
    path = sweep_dir / ADDED_FILE
    return read_json(path, _fault)["records"] if path.is_file() else []


def add_record(sweep_dir: Path, record_id: str) -> None:
    """Keeps a record in a sweep's list; it does not become a cell of the sweep.

    Raises:
        DamagedFileError, OSError: as for `read_json` and `write_json`.
    """
    write_json(sweep_dir / ADDED_FILE, {"records": [*dict.fromkeys([*added_records(sweep_dir), record_id])]})


def _fault(content: dict[str, Any]) -> str | None:
    return None if are_texts(content.get("records")) else "it has no list of records"
