"""The two folders that weights are kept in."""

import os
from pathlib import Path

CHECKPOINTS_DIR = Path("checkpoints")  # in the working directory, as in the original


def cache_dir() -> Path:
    """The folder that fetched weights are kept in: `LATENTSYNC_CACHE`, or `~/.cache/latentsync`."""
    told = os.environ.get("LATENTSYNC_CACHE")
    return Path(told).expanduser() if told else Path.home() / ".cache" / "latentsync"
