"""Videos and metrics as things that a notebook shows."""

from pathlib import Path

import pandas as pd
from IPython.display import HTML

from experiments.player import Track, player


def videos_side_by_side(videos: dict[str, str | Path], width_px: int = 320) -> HTML:
    """Videos with their labels in one row, in step under one play button, embedded in the notebook; the first is heard.

    Args:
        videos: label -> MP4 file.
    """
    return player([Track(label, Path(path).read_bytes()) for label, path in videos.items()], width_px=width_px)


def metrics_table(metrics: dict) -> pd.DataFrame:
    """The metrics of one record, a row each: value, unit, which direction is better, why a value is missing."""
    rows = [
        {
            "metric": name,
            "value": entry["value"],
            "unit": entry["unit"],
            "better": entry["direction"],
            "note": entry.get("reason") or ("untrained model" if entry.get("model") == "untrained" else ""),
        }
        for name, entry in metrics.items()
    ]
    return pd.DataFrame(rows).set_index("metric")
