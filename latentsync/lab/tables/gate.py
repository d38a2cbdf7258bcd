"""The gate of a sweep: kept in its folder, and judged anew whenever its table is read.

runs/sweeps/<name>/gate.json    {"bounds": {"sync_mini_confidence": 0.3}}

A gate belongs to the sweep and not to its records, which other sweeps may have with another gate, or with none.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latentsync.errors import DamagedFileError, OptionError
from latentsync.files import read_json, remove, write_json
from latentsync.lab.console import complain
from latentsync.lab.options.gate import Gate
from latentsync.lab.records.labels import cell_label, varied
from latentsync.option import is_number

GATE_FILE = "gate.json"
PASSED, FAILED = "passed", "failed"
JOINT = "; "  # between the failures of a record


def keep_gate(sweep_dir: Path, gate: Gate) -> None:
    """Keeps the gate of a sweep's latest run; without bounds the sweep has none.

    Raises:
        OSError: the file cannot be written.
    """
    path = sweep_dir / GATE_FILE
    if gate:
        write_json(path, {"bounds": dict(gate.bounds)})
    else:
        remove(path)


def gate_in(sweep_dir: Path) -> Gate:
    """The gate of a sweep. A damaged file, or one with metrics of a newer version, is named by `complain`.

    Raises:
        OSError: it cannot be read now.
    """
    try:
        content = read_json(sweep_dir / GATE_FILE, _fault)
        return Gate.of(None if content is None else content["bounds"])
    except (DamagedFileError, OptionError) as error:
        complain(f"left out: the gate of {sweep_dir.name}: {error}; run the sweep again to write it anew")
        return Gate()


def _fault(content: Mapping[str, Any]) -> str | None:
    bounds = content.get("bounds")
    return None if isinstance(bounds, dict) and all(map(is_number, bounds.values())) else "it has no bounds"


def with_gate(table: pd.DataFrame, gate: Gate, wide: pd.DataFrame | None = None) -> pd.DataFrame:
    """A table with the columns `gate` ("passed" or "failed") and `gate_failures`; unchanged without a gate.

    Args:
        table: wide, or tidy.
        wide: the wide table of a tidy one.
    """
    if not gate or table.empty:
        return table
    rows = (table if wide is None else wide).to_dict("records")
    failures = {row["record"]: JOINT.join(gate.failures(_entries(row, gate))) for row in rows}
    texts = table["record"].map(failures)
    verdicts = pd.Series(np.where(texts == "", PASSED, FAILED), table.index)
    kind = table["record"].dtype
    return table.assign(gate=verdicts.astype(kind), gate_failures=texts.replace("", np.nan).astype(kind))


def below_gate(table: pd.DataFrame) -> list[str]:
    """A line for each record of a wide table that misses a bound; none without a gate."""
    if "gate" not in table:
        return []
    failed, also = table[table["gate"] == FAILED], varied(table)
    return [
        f"BELOW THE GATE  {row['pair']} ({cell_label(row, also)}): {row['gate_failures']}"
        for row in failed.to_dict("records")
    ]


def _entries(row: Mapping[str, Any], gate: Gate) -> dict[str, dict[str, Any]]:
    """The metrics of a gate in a row of a wide table."""
    entries = {}
    for name, _ in gate.bounds:
        reason = row.get(f"{name}_reason")
        entries[name] = {"value": row.get(name), "reason": reason if isinstance(reason, str) else None}
    return entries
