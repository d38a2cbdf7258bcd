"""Writes the evaluation: evaluation.json with all values, evaluation.md and evaluation.parquet with the table."""

import json
import math
import platform
import time
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from latentsync.files import find_json, whole_files, write_json, write_text
from latentsync.lab.analysis.intervals import interval_text
from latentsync.lab.console import paragraph, table_text
from latentsync.lab.evaluation.measures import Bench
from latentsync.lab.evaluation.rows import BASELINE_NAMES, Row
from latentsync.weights import state_dict_sha256

JSON_FILE, TABLE_FILE, FRAME_FILE = "evaluation.json", "evaluation.md", "evaluation.parquet"
FRAME_COLUMNS = ("row", "what", "value", "low", "high", "bound", "is_least", "bar", "passed", "n")
PROTOCOL_VERSION = 3  # raise it if the same model and clips give other numbers
VERDICTS = {True: "pass", False: "FAIL", None: ""}


def identity(bench: Bench) -> dict:
    """The facts that rows of two runs must share to be in one table, as read from JSON."""
    hashes = {**bench.pipe.weight_hashes, "syncnet": state_dict_sha256(bench.syncnet.state_dict())}
    parts = {"protocol_version": PROTOCOL_VERSION, "weights_sha256": hashes, "plan": asdict(bench.plan)}
    parts |= {"clips": bench.material.folder.name, "dtype": bench.options(1).runtime.dtype}
    return json.loads(json.dumps(parts))  # with lists in place of tuples


def earlier(folder: Path, wanted: dict) -> dict:
    """The content of evaluation.json of an earlier run in the folder, if it has the same identity; else empty."""
    content = find_json(folder / JSON_FILE) or {}
    return content if content.get("identity") == wanted else {}


def entry(row: Row, seconds: float) -> dict:
    """A row for evaluation.json.

    Args:
        seconds: time of its whole part.
    """
    facts = {key: value for key, value in asdict(row).items() if key not in ("bar", "number")}
    bar = {"bar": None if row.bar is None else str(row.bar), "bound": math.nan, "is_least": True}
    if row.bar is not None and row.bar.scope == "value":
        bar |= {"bound": row.bar.bound, "is_least": row.bar.at_least}
    more = {"n": row.number, "passed": row.passed, "idle_baselines": row.idle_baselines}
    return _plain({**facts, **bar, **more, "part_seconds": round(seconds, 1)})


def _plain(content: Any) -> Any:
    """The content with null for numbers that are not finite, which JSON does not allow."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def content_of(bench: Bench, rows: Iterable[dict], recordings: dict | None = None) -> dict:
    """The content of evaluation.json.

    Args:
        rows: see `entry`.
        recordings: see `Recordings.facts`; None: no real people were evaluated.
    """
    settings = bench.pipe.settings
    return {
        "model": settings.name,
        "trained": settings.trained,
        "syncnet_trained": bench.is_syncnet_trained,
        "identity": identity(bench),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"threads": torch.get_num_threads(), "device": str(bench.pipe.device), "cpu": platform.processor()},
        "versions": {name: version(name) for name in ("torch", "diffusers", "numpy")},
        "recordings": recordings,
        "rows": list(rows),
    }


def write(folder: Path, content: dict) -> None:
    """Writes the three files, each whole or not at all."""
    with whole_files(folder, (TABLE_FILE, FRAME_FILE, JSON_FILE)) as part:
        write_json(part / JSON_FILE, content)
        write_text(part / TABLE_FILE, table(content))
        frame(content["rows"]).to_parquet(part / FRAME_FILE)


def frame(rows: list[dict]) -> pd.DataFrame:
    """The rows of evaluation.json as a table.

    Returns:
        One row each: `row` (its name), `what`, `value`, `low` and `high` (95 %), `bound` (the bar, if it is one number
        that the value itself must reach), `is_least` (whether the value must be at least that; else at most), `bar` (as
        text), `passed`, `n` (clips or pairs), and a column for each baseline. NaN means none.
    """
    table = pd.DataFrame([_frame_row(row) for row in rows], columns=[*FRAME_COLUMNS, *BASELINE_NAMES])
    numbers = {name: float for name in ("value", "low", "high", "bound", *BASELINE_NAMES)}
    return table.astype(numbers | {"passed": "boolean"})


def _frame_row(row: dict) -> dict:
    low, high = row["interval"] or (math.nan, math.nan)
    facts = {name: row[name] for name in ("what", "value", "bound", "is_least", "bar", "passed", "n")}
    return {"row": row["name"], "low": low, "high": high, **facts, "bar": row["bar"] or "", **row["baselines"]}


def table(content: dict) -> str:
    """The rows in Markdown, with warnings and notes for the reader."""
    warnings, notes, ending = _remarks(content, bold="**")
    cells = [_cells(row) for row in content["rows"]]
    lines = ["| row | what | bar | value | 95 % interval | baselines | n | verdict |", "|" + " --- |" * 8]
    lines += [f"| {' | '.join(row.values())} |" for row in cells]
    warnings = [line for warning in warnings for line in (warning, "")]
    recordings = _recordings(content.get("recordings"))
    return "\n".join(
        [f"# Evaluation of {content['model']}", "", *warnings, *lines, "", *notes, "", ending, "", *recordings]
    )


def _recordings(recordings: dict | None) -> list[str]:
    """Which recordings of real people were used, and why, in Markdown."""
    if recordings is None:
        return []
    lines = ["## Recordings of real people", "", "| clip | in sync with its own sound | because |", "|" + " --- |" * 3]
    lines += [f"| {one['clip']} | {'yes' if one['in_sync'] else 'no'} | {one['why']} |" for one in recordings["clips"]]
    left_out = [f"- {name} is left out: {reason}" for name, reason in recordings["left_out"].items()]
    return [*lines, "", *left_out, *([""] if left_out else [])]


def text(content: dict) -> str:
    """The rows as a table that fits the terminal, with the warnings and notes of `table`."""
    warnings, notes, ending = _remarks(content)
    cells = [_cells(row) for row in content["rows"]]
    rows = table_text({heading: [row[heading] for row in cells] for heading in cells[0]} if cells else {})
    return "\n".join(
        [*map(paragraph, warnings), rows, *(paragraph(note, indent="  ") for note in notes), paragraph(ending)]
    )


def _remarks(content: dict, bold: str = "") -> tuple[list[str], list[str], str]:
    """The warnings above the rows, the notes below them, and whether a baseline reaches its bar."""
    warnings = []
    if not content["trained"]:
        warnings.append(f"{bold}The model is UNTRAINED: the values only show that everything runs.{bold}")
    if not content["syncnet_trained"]:
        warnings.append(f"{bold}The SyncNet is UNTRAINED: the rows that use it are void.{bold}")
    notes = [f"- {row['name']}: {row['note']}" for row in content["rows"] if row["note"]]
    idle = [f"{name} ({row['name']})" for row in content["rows"] for name in row["idle_baselines"]]
    ending = (
        f"{bold}Baselines that reach their bar: {', '.join(idle)}.{bold}" if idle else "No baseline reaches its bar."
    )
    return warnings, notes, ending


def _cells(row: dict) -> dict[str, str]:
    verdict = "void" if row["is_void"] else VERDICTS[row["passed"]]
    return {
        "row": row["name"],
        "what": row["what"],
        "bar": row["bar"] or "",
        "value": row["reason"] if row["value"] is None else f"{row['value']:.4g}",
        "95 % interval": interval_text(row["interval"], ".3g", none=""),
        "baselines": ", ".join(f"{name} {number:.3g}" for name, number in sorted(row["baselines"].items())),
        "n": str(row["n"]),
        "verdict": "not measured" if row["n"] == 0 else verdict,
    }
