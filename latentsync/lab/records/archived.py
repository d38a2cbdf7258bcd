"""Where archived records are: in a runs folder of its own, below the one that they came from.

runs/archive/records/<id>  runs/archive/sweeps/<name>
"""

from pathlib import Path

from latentsync.files import leads_out
from latentsync.names import is_plain

ARCHIVE_DIR = "archive"


def archive_of(runs: Path) -> Path:
    """The folder to which records of a runs folder are moved unless another one is named."""
    return runs / ARCHIVE_DIR


def is_archived(runs: Path, record_id: str) -> bool:
    """Whether a record lies in the archive of a runs folder. An archive that a link brings from outside has none."""
    folder = archive_of(runs) / "records"
    return is_plain(record_id) and not leads_out(folder, runs) and (folder / record_id).is_dir()


def stays_behind(runs: Path, record_id: str) -> bool:
    """Whether `runs` is an archive, and a record of one of its sweeps stayed in the runs folder that it belongs to."""
    return runs.name == ARCHIVE_DIR and is_plain(record_id) and (runs.parent / "records" / record_id).is_dir()


def how_to_restore(runs: Path, record_id: str) -> str:
    """How a message about an archived record goes on."""
    return f"it is archived in {archive_of(runs)}; `latentsync restore {runs} {record_id}` brings it back"
