"""Videos and metrics as things that a notebook shows."""

from base64 import b64encode
from html import escape
from pathlib import Path

import pandas as pd
from IPython.display import HTML


def videos_side_by_side(videos: dict[str, str | Path], width_px: int = 320) -> HTML:
    """Videos with their labels in one row, embedded in the notebook; the first one's controls play all of them.

    Args:
        videos: label -> MP4 file.
    """
    players = "".join(
        f'<figure style="margin:0 8px 0 0;display:inline-block">'
        f'<video src="data:video/mp4;base64,{b64encode(Path(path).read_bytes()).decode()}" width="{width_px}" '
        f'{"controls" if number == 0 else "muted"} loop playsinline aria-label="{escape(label)}"></video>'
        f"<figcaption>{escape(label)}</figcaption></figure>"
        for number, (label, path) in enumerate(videos.items())
    )
    together = (
        "const box = document.currentScript.previousElementSibling, [lead, ...rest] = box.querySelectorAll('video');"
        "const step = () => rest.forEach(v => { v.currentTime = lead.currentTime; });"
        "lead.onplay = () => { step(); rest.forEach(v => v.play()); };"
        "lead.onpause = () => rest.forEach(v => v.pause()); lead.onseeked = step;"
    )
    return HTML(f"<div>{players}</div><script>{{{together}}}</script>")


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
