"""Makes the record of a table's row again, to check that the pipeline reproduces the table on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latentsync.config import RuntimeOptions
from latentsync.device import has_native, resolve_device
from latentsync.errors import MediaError, OptionError
from latentsync.generation.stage_cache import input_sha256
from latentsync.lab.cells.cell import run_cell
from latentsync.lab.options.pairs import SHIPPED_DIR, Pair, find_pairs
from latentsync.lab.options.schema import (
    DataConfig,
    MetricsConfig,
    ModelConfig,
    RunConfig,
    TrackerConfig,
    options_like,
)
from latentsync.lab.records.store import Record, RecordStore
from latentsync.lab.tables.tidy import widen
from latentsync.presets import Preset

TOLERANCE = 0.02
DEFAULT_FAMILIES = ("lpips", "sync_mini")


def shipped_rows(table: pd.DataFrame, input_dir: str | Path = SHIPPED_DIR) -> pd.DataFrame:
    """The rows of a table (wide) whose clip and voice are in a folder; by default, those of the shipped clips."""
    wide, there = widen(table), _pairs_in(input_dir)
    return wide[[_files_of(row) in there for row in wide.to_dict("records")]]


def run_again(
    row: pd.Series,
    runs_dir: str | Path,
    input_dir: str | Path = SHIPPED_DIR,
    families: Sequence[str] = DEFAULT_FAMILIES,
    model: ModelConfig | None = None,
) -> Record:
    """Makes and measures the record of a wide table's row in another runs folder.

    Where this machine has the row's precision only by emulation, float32 takes its place. The record then has another
    id, and its metrics differ by the rounding.

    Args:
        input_dir: a folder with the row's clip and voice, which are recognised by their hashes.
        families: families of metrics, see `latentsync.metrics.definitions`.
        model: a shipped model's name or a folder; None takes the model that the row names.

    Raises:
        MediaError: the inputs are not in the folder.
        OptionError: the record failed; the message gives the reason.
    """
    pair = _pairs_in(input_dir).get(_files_of(row))
    if pair is None:
        raise MediaError(f"the clip {row['clip']} and voice {row['voice']} of record {row['record']} are not in "
                         f"{input_dir}; give their folder as input_dir")  # fmt: skip
    values = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
    options = options_like(values, RuntimeOptions())
    if options.runtime.dtype is not None and not has_native(options.runtime.dtype, resolve_device()):
        options = replace(options, runtime=replace(options.runtime, dtype="float32"))
    run = RunConfig(
        name="again",
        runs_dir=Path(runs_dir),
        data=DataConfig(),
        preset=Preset(),
        model=model or ModelConfig(pretrained=row["model"]),
        options=options,
        metrics=MetricsConfig.of(families),
        tracker=TrackerConfig(),
    )
    (outcome,) = run_cell(run, (pair,), lambda _: None)
    if outcome.status == "failed":
        raise OptionError(f"record {row['record']} could not be made again ({outcome.stage}): {outcome.reason}")
    return RecordStore(run.runs_dir).find(outcome.record)


def _files_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("clip", "voice", "clip_sha256", "voice_sha256"))


def _pairs_in(folder: str | Path) -> dict[tuple[str, ...], Pair]:
    """The pairs of a folder by the key that `_files_of` returns for a row of the pair."""
    return {
        (pair.clip.name, pair.voice.name, input_sha256(pair.clip), input_sha256(pair.voice)): pair
        for pair in find_pairs(folder).pairs
    }


def agreement(rows: pd.DataFrame, records: Sequence[Record]) -> pd.DataFrame:
    """Compares the metrics of remade records with those of their rows.

    Returns:
        By `pair` and `metric`: `table`, `again`, `difference`, and `agrees`: whether the difference is at most 0.02, or
        one frame for metrics in frames. Processors differ in the last digits of bfloat16.
    """
    differences = []
    for (_, row), record in zip(rows.iterrows(), records, strict=True):
        for name, entry in record.metrics.items():
            if entry["value"] is not None and name in row and pd.notna(row[name]):
                reach = 1 if entry["unit"] == "frames" else TOLERANCE
                differences.append((row["pair"], name, row[name], entry["value"], reach))
    both = pd.DataFrame(differences, columns=["pair", "metric", "table", "again", "reach"])
    both["difference"] = both["again"] - both["table"]
    both["agrees"] = both["difference"].abs() <= both.pop("reach")
    return both.set_index(["pair", "metric"])
