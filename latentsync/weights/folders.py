"""The folders with weights, and the folder with the models that the project ships."""

import os
from pathlib import Path

MODELS_DIR = Path(__file__).resolve().parents[1] / "models"  # the models that the project ships
INDEX_FILE = "model_index.json"  # of a model's folder
CHECKPOINTS_DIR = Path("checkpoints")  # in the working directory, as in the original


def cache_dir() -> Path:
    """The folder for downloaded weights: `LATENTSYNC_CACHE`, or `~/.cache/latentsync`."""
    folder = os.environ.get("LATENTSYNC_CACHE")
    return Path(folder).expanduser() if folder else Path.home() / ".cache" / "latentsync"
