"""Records -> one tidy table: a row per record, a column per parameter and metric."""

from pathlib import Path

import pandas as pd

from experiments.record import Record, RecordStore, read_json, sweep_folder
from experiments.statistics import mean_interval

PARAMETERS = ("guidance_scale", "num_inference_steps", "seed", "num_frames", "size_px", "mask", "reference", "dtype")
CELLS_DIR = "cells"


def sweep_cells(sweep_dir: Path) -> list[dict]:
    """What each cell of a sweep said when it ended: its overrides and the outcome of each pair."""
    return [cell for path in sorted((sweep_dir / CELLS_DIR).glob("*.json")) if (cell := read_json(path)) is not None]


def sweep_failures(sweep_dir: Path) -> list[dict]:
    """The failed pairs of a sweep, each with its cell's overrides."""
    return [
        {**outcome, "overrides": cell["overrides"], "noted": cell["noted"]}
        for cell in sweep_cells(sweep_dir)
        for outcome in cell["outcomes"]
        if outcome["status"] == "failed"
    ]


def sweep_records(runs_dir: Path, name: str) -> list[Record]:
    """The finished records of a sweep, each once, in the order of the table."""
    store = RecordStore(runs_dir)
    cells = sweep_cells(sweep_folder(runs_dir, name))
    ids = dict.fromkeys(o["record"] for cell in cells for o in cell["outcomes"] if o["record"] is not None)
    return sorted((record for i in ids if (record := store.find(i)) is not None), key=_order)


def _order(record: Record) -> tuple:
    content = record.content
    return (
        content["pair"]["gender"],
        content["pair"]["name"],
        *(content["options"][n] for n in PARAMETERS[:3]),
        record.id,
    )


def collect(runs_dir: str | Path = "runs", sweep: str | None = None) -> pd.DataFrame:
    """A tidy table of finished records.

    Args:
        runs_dir: as given to `experiments.run`.
        sweep: only the records of this sweep; None takes all.

    Returns:
        One row per record, sorted by pair and parameters: `record`, `pair`, `gender`, `model`, `trained`, the resolved
        options, `seconds` (of generation), a column per metric (NaN where it has no value) and `<metric>_reason`.
    """
    runs_dir = Path(runs_dir)
    records = sorted(RecordStore(runs_dir).all(), key=_order) if sweep is None else sweep_records(runs_dir, sweep)
    return pd.DataFrame([_row(record) for record in records])


def _row(record: Record) -> dict:
    content = record.content
    row = {
        "record": record.id,
        "pair": content["pair"]["name"],
        "gender": content["pair"]["gender"],
        "model": content["model"]["name"],
        "trained": content["model"]["trained"],
        "preset": content["preset"]["name"],
        "guidance_from": content["preset"]["guidance_from"],
        **{name: content["options"][name] for name in PARAMETERS},
        "video_frames": content["video"]["num_frames"],
        "seconds": content["timings_s"]["total"],
    }
    for name, entry in record.metrics.items():
        row[name] = float("nan") if entry["value"] is None else entry["value"]
        if entry["value"] is None:
            row[f"{name}_reason"] = entry["reason"]
    return row


def calibrated(table: pd.DataFrame) -> pd.DataFrame:
    """What measures of sync say of results beside what they say of the real clips, by gender and setting.

    A measure may judge the voices of one gender higher than those of the other; the difference to the real clips of
    that gender does not know of it. Seeds are averaged within a pair, intervals go over pairs.

    Args:
        table: as `collect` gives it.

    Returns:
        One row a gender, guidance_scale, num_inference_steps and metric: `generated`, `real` and `minus_real` (means
        over the pairs that have all three), `low` and `high` (95 % of minus_real; NaN for a single pair), `pairs`, and
        `without` (pairs that lack one of the three).
    """
    cell = ["gender", "guidance_scale", "num_inference_steps"]
    names = [column.removesuffix("_minus_real") for column in table.columns if column.endswith("_minus_real")]
    rows = []
    for key, part in table.groupby(cell):
        for name in names:
            parts = [name, f"{name}_real", f"{name}_minus_real"]
            pairs = part.groupby("pair")[parts].mean()
            whole = pairs.dropna()
            low, high = mean_interval(whole[parts[2]]) or (float("nan"), float("nan"))
            counts = len(whole), len(pairs) - len(whole)
            rows.append((*key, name, *whole.mean(), low, high, *counts))
    columns = [*cell, "metric", "generated", "real", "minus_real", "low", "high", "pairs", "without"]
    return pd.DataFrame(rows, columns=columns)
