"""The runs folder that a widget shows."""

import os
from pathlib import Path

from latentsync.errors import MediaError


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
