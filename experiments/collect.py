"""Records -> tables: tidy, a row per record and metric, or wide, a row per record and a column per metric.

    python -m experiments.collect RUNS [--sweep NAME] [--wide] --output table.csv|table.parquet

`read_table` gives a written table back as it was.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.labels import sampling_of, varied
from experiments.record import Record, RecordStore, failures_of, sweep_cells, sweep_folder
from experiments.statistics import mean_interval
from latentsync.errors import LatentSyncError, MediaError, OptionError
from latentsync.files import whole_file

PARAMETERS = ("guidance_scale", "num_inference_steps", "seed", "num_frames", "size_px", "mask", "reference", "dtype")
TABLE_SUFFIXES = (".csv", ".parquet")
TEXT = pd.StringDtype(na_value=np.nan)
TEXT_COLUMNS = (
    "record", "pair", "clip", "voice", "clip_sha256", "voice_sha256", "gender", "group", "split", "model", "preset",
    "guidance_from", "mask", "reference", "dtype", "scheduler", "guidance_schedule", "guidance_mask", "metric", "unit",
    "direction", "network", "weights", "protocol", "reason",
)  # fmt: skip
WHOLE_COLUMNS = ("num_inference_steps", "seed", "num_frames", "size_px", "deepcache_interval", "video_frames")
COUNT_COLUMNS = ("version", "used", "left_out")  # may be missing
ENTRY_COLUMNS = (
    "value",
    "unit",
    "direction",
    "network",
    "weights",
    "protocol",
    "version",
    "used",
    "left_out",
    "reason",
)


def sweep_failures(sweep_dir: Path) -> list[dict]:
    """The failed pairs of a sweep, each with its cell's overrides."""
    return failures_of(sweep_cells(sweep_dir))


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
    """The tidy table of finished records.

    Args:
        runs_dir: as given to `experiments.run`.
        sweep: only the records of this sweep; None takes all.

    Returns:
        One row per record and metric, sorted by pair, parameters and metric. Of the record: `record` (its id), `pair`,
        `clip` and `voice` (file names), `clip_sha256`, `voice_sha256`, `gender`, `group` and `split` (of a list),
        `model`, `trained`, `preset`, `guidance_from`, the resolved options, `video_frames` and `seconds` (of
        generation). Of the metric: `metric`, `value` (NaN where there is none) and what the record says of it: `unit`,
        `direction`, `network`, `weights` (the hash's first digits), `protocol`, `version`, `used` and `left_out`
        (frames or windows), `reason` (for no value). A record without metrics has no row.
    """
    rows = [
        {**_facts(record), "metric": name, **{column: entry.get(column) for column in ENTRY_COLUMNS}}
        for record in _records(Path(runs_dir), sweep)
        for name, entry in sorted(record.metrics.items())
    ]
    return _typed(pd.DataFrame(rows))


def collect_wide(runs_dir: str | Path = "runs", sweep: str | None = None) -> pd.DataFrame:
    """The wide table of finished records; arguments and the record's columns as of `collect`.

    Returns:
        One row per record, with a column per metric (NaN where it has no value) and `<metric>_reason` where one has
        none.
    """
    return _typed(pd.DataFrame([_wide_row(record) for record in _records(Path(runs_dir), sweep)]))


def widen(table: pd.DataFrame) -> pd.DataFrame:
    """The wide table of a tidy one; a wide one is returned as it is.

    Returns:
        One row per record with a column per metric, as `collect_wide`, without the reasons for missing values.
    """
    if "metric" not in table:
        return table
    facts = [name for name in table if name not in ("metric", *ENTRY_COLUMNS)]
    values = table.pivot(index="record", columns="metric", values="value")
    return table[facts].drop_duplicates("record").join(values, on="record").reset_index(drop=True)


def _records(runs_dir: Path, sweep: str | None) -> list[Record]:
    return sorted(RecordStore(runs_dir).all(), key=_order) if sweep is None else sweep_records(runs_dir, sweep)


def _facts(record: Record) -> dict:
    content = record.content
    pair = content["pair"]
    return {
        "record": record.id,
        "pair": pair["name"],
        "clip": pair["clip"]["name"],
        "voice": pair["voice"]["name"],
        "clip_sha256": pair["clip"]["sha256"],
        "voice_sha256": pair["voice"]["sha256"],
        "gender": pair["gender"],
        "group": pair.get("group"),
        "split": pair.get("split"),
        "model": content["model"]["name"],
        "trained": content["model"]["trained"],
        "preset": content["preset"]["name"],
        "guidance_from": content["preset"]["guidance_from"],
        **{name: content["options"][name] for name in PARAMETERS},
        **sampling_of(content["options"]),
        "video_frames": content["video"]["num_frames"],
        "seconds": content["timings_s"]["total"],
    }


def _wide_row(record: Record) -> dict:
    row = _facts(record)
    for name, entry in record.metrics.items():
        row[name] = float("nan") if entry["value"] is None else entry["value"]
        if entry["value"] is None:
            row[f"{name}_reason"] = entry["reason"]
    return row


def _type_of(column: str) -> str | pd.StringDtype:
    if column in TEXT_COLUMNS or column.endswith("_reason"):
        return TEXT
    if column == "trained":
        return "bool"
    return "int64" if column in WHOLE_COLUMNS else "Int64" if column in COUNT_COLUMNS else "float64"


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the types that its columns have however they were read; empty text is missing text."""
    typed = table.astype({column: _type_of(column) for column in table.columns})
    text = [column for column in typed.columns if typed[column].dtype == TEXT]
    return typed.assign(**{column: typed[column].replace("", np.nan).astype(TEXT) for column in text})


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as CSV or Parquet, by the file's suffix.

    Raises:
        OptionError: the suffix is neither.
    """
    write = _by_suffix(path, lambda part: table.to_csv(part, index=False), lambda part: table.to_parquet(part))
    with whole_file(path) as part:
        write(part)


def read_table(path: str | Path) -> pd.DataFrame:
    """A table that `write_table` wrote, equal to what was written.

    Raises:
        OptionError: the suffix is neither .csv nor .parquet.
        MediaError: there is no such file.
    """
    path = Path(path)
    read = _by_suffix(path, _read_csv, pd.read_parquet)
    if not path.is_file():
        raise MediaError(f"there is no table at {path}; python -m experiments.collect RUNS --output {path} writes it")
    return read(path)


def _read_csv(path: Path) -> pd.DataFrame:
    types = {column: _type_of(column) for column in pd.read_csv(path, nrows=0).columns}
    return pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""], float_precision="round_trip")


def _by_suffix(path: Path, as_csv: Callable, as_parquet: Callable) -> Callable:
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise OptionError(
            f"{path} is neither of {' and '.join(TABLE_SUFFIXES)}; give a name with one of these suffixes"
        )
    return as_csv if path.suffix.lower() == ".csv" else as_parquet


def calibrated(table: pd.DataFrame) -> pd.DataFrame:
    """What measures of sync say of results beside what they say of the real clips, by gender and setting.

    A measure may judge the voices of one gender higher than those of the other; the difference to the real clips of
    that gender does not know of it. Seeds are averaged within a pair, intervals go over pairs.

    Args:
        table: as `collect_wide` gives it.

    Returns:
        One row a gender, guidance_scale, num_inference_steps, whatever else of the sampler was varied, and metric:
        `generated`, `real` and `minus_real` (means over the pairs that have all three), `low` and `high` (95 % of
        minus_real; NaN for a single pair), `pairs`, and `without` (pairs that lack one of the three).
    """
    cell = ["gender", "guidance_scale", "num_inference_steps", *varied(table)]
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


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.collect", description="Write the table of finished records."
    )
    parser.add_argument("runs_dir", type=Path, help="the folder given as runs_dir")
    parser.add_argument("--sweep", help="only the records of this sweep")
    parser.add_argument("--wide", action="store_true", help="a row per record instead of one per record and metric")
    parser.add_argument("--output", type=Path, required=True, help="a .csv or .parquet file")
    told = parser.parse_args(arguments)
    try:
        table = (collect_wide if told.wide else collect)(told.runs_dir, told.sweep)
        if table.empty:
            of = "" if told.sweep is None else f" of a sweep called {told.sweep!r}"
            remedy = "" if told.wide else "; --wide takes records without metrics, too"
            raise MediaError(f"{told.runs_dir} has no finished records with metrics{of}{remedy}")
        write_table(table, told.output)
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{told.output} has {len(table)} rows of {table['record'].nunique()} records")
    return 0


if __name__ == "__main__":
    sys.exit(main())
