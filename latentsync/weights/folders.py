"""The two folders with weights."""

import os
from pathlib import Path

CHECKPOINTS_DIR = Path("checkpoints")  # in the working directory, as in the original


def cache_dir() -> Path:
    """The folder for downloaded weights: `LATENTSYNC_CACHE`, or `~/.cache/latentsync`."""
    folder = os.environ.get("LATENTSYNC_CACHE")
    return Path(folder).expanduser() if folder else Path.home() / ".cache" / "latentsync"
