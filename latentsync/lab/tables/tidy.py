"""Tables of records: tidy (one row per record and metric) or wide (one row per record, one column per metric).

`read_table` reads a written table back unchanged.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from latentsync.config import recorded_infos
from latentsync.errors import LatentSyncError, MediaError, OptionError
from latentsync.files import whole_file
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.options.gate import Gate
from latentsync.lab.records.columns import kind_of_fact
from latentsync.lab.records.rows import Metrics, fact_names
from latentsync.lab.records.sweeps import failures_of, rows_in, sweep_cells, sweep_in
from latentsync.lab.tables.gate import gate_in, with_gate
from latentsync.metrics.definitions import DEFINITIONS, base_name
from latentsync.metrics.judges import failure_note, judges_of

TABLE_SUFFIXES = (".csv", ".parquet")
TEXT = pd.StringDtype(na_value=np.nan)
TEXT_COLUMNS = (
    "record", "pair", "clip", "voice", "clip_sha256", "voice_sha256", "gender", "group", "split", "model", "preset",
    "guidance_from", "metric", "unit", "direction", "network", "weights", "protocol", "reason", "notes",
    "consent", "tags", "remark", "gate", "gate_failures", "video_file", "reference_file",
)  # fmt: skip
WHOLE_NUMBER = r"-?(0|[1-9]\d*)"
NUMBER = r"-?((0|[1-9]\d*)(\.\d+)?(e[-+]?\d+)?|inf)"
COUNT_COLUMNS = ("version", "used", "left_out", "frames_without_face")  # may have missing values
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


def require_columns(table: pd.DataFrame, *names: str) -> None:
    """Refuses a table that lacks a column.

    Raises:
        OptionError: it lists the missing and the existing columns.
    """
    if missing := [name for name in names if name not in table.columns]:
        raise OptionError(f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")


def sweep_failures(sweep_dir: Path) -> list[dict]:
    """The failed pairs of a sweep, each with its cell's overrides."""
    return failures_of(sweep_cells(sweep_dir))


def collect(runs_dir: str | Path = "runs", sweep: str | None = None) -> pd.DataFrame:
    """The tidy table of finished records.

    Args:
        runs_dir: as given to `latentsync run`.
        sweep: only the records of this sweep; None takes all.

    Returns:
        One row per record and metric, sorted by pair, parameters and metric. Columns of the record: `record` (its id),
        `pair`, `clip` and `voice` (file names), `clip_sha256`, `voice_sha256`, `gender`, `group` and `split` (from a
        list), `model`, `trained`, `preset`, `guidance_from`, the resolved options, `video_frames`, `notes` (also
        where a judge of sync fails on the real clip, see `metrics.judges`), `consent`, `tags` and `remark` (of
        `latentsync tag`) and `seconds` (of generation). Columns of the metric: `metric`,
        `value` (NaN if missing), `unit`, `direction`, `network`, `weights` (the hash's first digits), `protocol`,
        `version`, `used` and `left_out` (frames or windows) and `reason` (why the value is missing). A record without
        metrics has no row. A sweep's table has the sweep's own names, genders, groups and splits, and, if it has a
        gate, `gate` and `gate_failures` (see `tables.gate`). A record that is damaged, or cannot be read now, is named
        on stderr and left out.

    Raises:
        OptionError: there is no such folder or sweep.
        OSError: the folder cannot be read now.
    """
    runs_dir = Path(runs_dir)
    if not runs_dir.is_dir():
        raise OptionError(f"there is no folder {runs_dir.resolve()}; give the folder of runs_dir (by default runs)")
    if sweep is not None:
        sweep_in(runs_dir, sweep)
    rows = rows_in(runs_dir, sweep)
    gate = Gate() if sweep is None else gate_in(sweep_folder(runs_dir, sweep))
    return with_gate(_tidy(rows), gate, _wide(rows) if gate else None)


def collect_wide(runs_dir: str | Path = "runs", sweep: str | None = None) -> pd.DataFrame:
    """The wide table of finished records; arguments and the record's columns as for `collect`.

    Returns:
        One row per record, with a column per metric (NaN if missing) and `<metric>_reason` for missing values.
    """
    runs_dir = Path(runs_dir)
    gate = Gate() if sweep is None else gate_in(sweep_folder(runs_dir, sweep))
    return with_gate(_wide(rows_in(runs_dir, sweep)), gate)


def widen(table: pd.DataFrame) -> pd.DataFrame:
    """Converts a tidy table to a wide one; a wide table is returned unchanged.

    Returns:
        One row per record with a column per metric, as from `collect_wide`, without the reasons for missing values.

    Raises:
        OptionError: a tidy table has no records, no values, or two values of a record's metric.
    """
    if "metric" not in table:
        return table
    require_columns(table, "record", "value")
    if (twice := table[table.duplicated(["record", "metric"])]).size:
        record, metric = twice.iloc[0][["record", "metric"]]
        raise OptionError(f"the table has several values of {metric} for record {record}; keep one")
    facts = [name for name in table if name not in ("metric", *ENTRY_COLUMNS)]
    values = table.pivot(index="record", columns="metric", values="value")
    records = table.loc[~table["record"].duplicated(), facts]
    return records.join(values, on="record").reset_index(drop=True)


def _tidy(rows: pa.Table) -> pd.DataFrame:
    """The tidy table of rows of records, see `records.rows`."""
    metrics = Metrics.of(rows)
    rows = _noted(rows, metrics)
    row, metric = np.nonzero(metrics.codes >= 0)
    entry, place = metrics.codes[row, metric], pa.array(row)
    columns = {name: _values(name, rows[name].combine_chunks(), place) for name in fact_names()}
    columns["metric"] = _texts(pa.array(metrics.names, pa.string()), pa.array(metric))
    for name in ENTRY_COLUMNS:
        columns[name] = metrics.values[row, metric] if name == "value" else _part_of_entries(name, metrics, entry)
    return pd.DataFrame(columns, copy=False)


def _part_of_entries(name: str, metrics: Metrics, entry: np.ndarray) -> Any:
    parts = [each.get(name) for each in metrics.entries]
    if name in COUNT_COLUMNS:
        return pd.array(parts, "Int64").take(entry)
    texts = [None if part is None else str(part) for part in parts]
    return _texts(pa.array(texts, pa.string()), pa.array(entry))


def _wide(rows: pa.Table) -> pd.DataFrame:
    """The wide table of rows of records, see `records.rows`."""
    metrics, all_rows = Metrics.of(rows), pa.array(range(len(rows)), pa.int64())
    rows = _noted(rows, metrics)
    columns = {name: _values(name, rows[name].combine_chunks(), all_rows) for name in fact_names()}
    for number, is_reason in _columns_met(metrics):
        name, codes = metrics.names[number], metrics.codes[:, number]
        if is_reason:
            reasons = [each.get("reason") if _lacks_value(each) else None for each in metrics.entries] + [None]
            columns[f"{name}_reason"] = _texts(pa.array(reasons, pa.string()), pa.array(codes % len(reasons)))
        elif _type_of(name) == "float64":
            columns[name] = metrics.values[:, number]
        else:
            columns[name] = pd.Series(metrics.raw(number))
    return pd.DataFrame(columns, copy=False)


def _noted(rows: pa.Table, metrics: Metrics) -> pa.Table:
    """The rows, whose notes say where a judge of sync fails on the real clip."""
    real = {name: metrics.values[:, i] for i, name in enumerate(metrics.names) if name.endswith("_real")}
    failing = [(failure_note(judge), np.flatnonzero(fails)) for judge, fails in judges_of(real) if fails.any()]
    if not failing:
        return rows
    notes = rows["notes"].to_pylist()
    for note, places in failing:
        for place in places:
            notes[place] = "; ".join(filter(None, [notes[place], note]))
    return rows.set_column(rows.column_names.index("notes"), "notes", pa.array(notes, pa.string()))


def _columns_met(metrics: Metrics) -> list[tuple[int, bool]]:
    """The columns of metrics, and of the reasons for missing values, in the order in which the rows have them first."""
    lacks = np.array([*map(_lacks_value, metrics.entries), False])
    met: dict[tuple[int, bool], None] = {}
    states = np.where(metrics.codes < 0, 0, 1 + lacks[metrics.codes])  # 0: no such metric, 2: a reason
    _, first = np.unique(states, axis=0, return_index=True)
    for row in sorted(first):
        for number in np.flatnonzero(states[row]):
            met |= {(int(number), False): None} | ({(int(number), True): None} if states[row, number] == 2 else {})
    return list(met)


def _lacks_value(entry: Mapping[str, Any]) -> bool:
    return "value" in entry and entry["value"] is None


def _values(name: str, column: pa.Array, places: pa.Array) -> Any:
    """The values of a column of facts at these places, with the type that they have in tables."""
    kind = kind_of_fact(name)
    if kind == "text":
        return _texts(column, places)
    column = column.take(places)
    if name in COUNT_COLUMNS or (kind == "whole" and column.null_count):
        return pd.array(column.to_pylist(), "Int64")
    return column.to_numpy(zero_copy_only=False, writable=True)


def _texts(column: pa.Array, places: pa.Array) -> Any:
    """The texts of a column at these places. An empty one counts as missing.

    They are converted before they are repeated: for millions of rows, each step after that costs its memory.
    """
    is_empty = pc.call_function("equal", [column, pa.scalar("")])
    texts = pc.call_function("if_else", [is_empty, pa.scalar(None, pa.string()), column])
    return TEXT.__from_arrow__(texts.cast(pa.large_string()).take(places))  # large, as pandas holds them


def _type_of(column: str) -> str | pd.StringDtype | None:
    """The type of a column of records; None for other columns."""
    info = recorded_infos().get(column)
    if column in TEXT_COLUMNS or column.endswith("_reason") or (info is not None and info.is_text):
        return TEXT
    if column == "trained":
        return "bool"
    if column == "video_frames" or (info is not None and info.whole):
        return "int64"
    if column in COUNT_COLUMNS:
        return "Int64"
    is_number = info is not None or column in ("value", "seconds") or base_name(column) in DEFINITIONS
    return "float64" if is_number else None


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the proper type of each column, for any file format. Empty text counts as missing."""
    types = {column: kind for column in table.columns if (kind := _type_of(column)) is not None}
    gaps = set(table.columns[table.isna().any()])
    types |= {column: "Int64" for column, kind in types.items() if kind == "int64" and column in gaps}
    typed = table.astype(types)
    text = [column for column in typed.columns if typed[column].dtype == TEXT]
    return typed.assign(**{column: typed[column].replace("", np.nan).astype(TEXT) for column in text})


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as CSV or Parquet; the file's suffix decides.

    A CSV file has no types. `read_table` restores them. pandas alone needs `dtype_backend="numpy_nullable"` to keep
    whole numbers whole where some are missing, and `dtype={"record": str}`, because an id may consist of digits.

    Raises:
        OptionError: the suffix is neither .csv nor .parquet.
    """
    write = _by_suffix(path, lambda part: table.to_csv(part, index=False), lambda part: table.to_parquet(part))
    with whole_file(path) as part:
        write(part)


def read_table(path: str | Path) -> pd.DataFrame:
    """Reads a table that `write_table` wrote; the result equals the written table.

    Raises:
        OptionError: the suffix is neither .csv nor .parquet.
        MediaError: there is no such file, or it is damaged.
    """
    path = Path(path)
    read = _by_suffix(path, _read_csv, _read_parquet)
    if not path.is_file():
        raise MediaError(f"there is no table at {path}; latentsync collect RUNS --output {path} writes it")
    try:
        return read(path)
    except (LatentSyncError, MemoryError):
        raise
    except Exception as error:  # pandas and pyarrow raise many kinds
        if isinstance(error, OSError) and error.errno is not None:  # it cannot be read now; it may be whole
            raise
        reason = str(error).split("\n")[0].rstrip(".")
        raise MediaError(f"{path} is damaged or no table ({reason}); latentsync collect writes it anew") from error


def _read_parquet(path: Path) -> pd.DataFrame:
    """The table of a Parquet file. Older versions of pandas and pyarrow read text as objects."""
    table = pd.read_parquet(path)
    is_text = [name for name in table if table[name].dtype == object and _is_text(pd.Series(table[name]))]
    return table.astype(dict.fromkeys(is_text, TEXT))


def _is_text(values: pd.Series) -> bool:
    return all(isinstance(value, str) for value in values.dropna())


def _read_csv(path: Path) -> pd.DataFrame:
    texts = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    return _typed(pd.DataFrame({column: _read_column(values, path) for column, values in texts.items()}))


def _read_column(texts: pd.Series, path: Path) -> pd.Series:
    """The values of a column of a CSV file. Whole numbers stay exact, and whole, where others are missing.

    Numbers with leading zeros, such as 0042, are text.

    Raises:
        OptionError: a column of records has a value of another type.
    """
    kind, has_gaps, given = _type_of(str(texts.name)), texts.isna().any(), texts.dropna()
    if kind == TEXT or (kind is None and given.empty):
        return texts.astype("float64" if kind is None else TEXT)
    if kind in ("bool", None) and given.isin(("True", "False")).all():
        return (texts == "True").astype("boolean" if has_gaps else "bool").where(texts.notna())
    is_whole = given.str.fullmatch(WHOLE_NUMBER).all()
    if kind != "float64" and is_whole and all(abs(int(text)) < 2**63 for text in given):
        numbers = [pd.NA if pd.isna(text) else int(text) for text in texts]
        return pd.Series(pd.array(numbers, "Int64"), texts.index).astype("Int64" if has_gaps else "int64")
    if (kind == "float64" or (kind is None and not is_whole)) and given.str.fullmatch(NUMBER).all():
        return texts.astype("float64")
    if kind is not None:
        pattern = {"float64": NUMBER, "bool": "True|False"}.get(str(kind), WHOLE_NUMBER)
        wrong = next((text for text in given if not re.fullmatch(pattern, text)), max(given, key=len))
        raise OptionError(f"{texts.name} of {path} has {wrong!r}, which is not of type {kind}; correct the file")
    return texts.astype(TEXT)


def require_suffix(path: Path) -> None:
    """Refuses a name that is not one of a table.

    Raises:
        OptionError: the suffix is neither .csv nor .parquet.
    """
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise OptionError(
            f"{path} is neither of {' and '.join(TABLE_SUFFIXES)}; give a name with one of these suffixes"
        )


def _by_suffix(path: Path, as_csv: Callable, as_parquet: Callable) -> Callable:
    require_suffix(path)
    return as_csv if path.suffix.lower() == ".csv" else as_parquet


def read_sources(sources: Sequence[Path], sweep: str | None) -> pd.DataFrame:
    """The wide tables of several sources as one, see `read_source`. Records that several have count once.

    Raises:
        MediaError, OptionError: there is no such table, or it has no record.
    """
    tables = [read_source(source, sweep if source.suffix.lower() not in TABLE_SUFFIXES else None) for source in sources]
    if sweep is not None and all(source.suffix.lower() in TABLE_SUFFIXES for source in sources):
        raise OptionError(f"--sweep {sweep} needs a runs folder; {sources[0]} is a table")
    if len(tables) == 1:
        return tables[0]
    whole = pd.concat([table.dropna(axis=1, how="all") for table in tables], ignore_index=True)
    return with_distinct_names(whole.drop_duplicates([name for name in ("record", "model") if name in whole]))


def read_source(source: Path, sweep: str | None) -> pd.DataFrame:
    """The wide table of a runs folder, or of a file that `latentsync collect` wrote.

    Raises:
        MediaError, OptionError: there is no such table, or it has no record.
    """
    is_file = source.suffix.lower() in TABLE_SUFFIXES
    if is_file and sweep is not None:
        raise OptionError(f"--sweep {sweep} needs a runs folder; {source} is a table")
    table = widen(read_table(source)) if is_file else collect_wide(source, sweep)
    if table.empty:
        raise OptionError(f"{source} has no finished record" + (f" of the sweep {sweep}" if sweep else ""))
    return with_distinct_names(table)


def with_distinct_names(table: pd.DataFrame) -> pd.DataFrame:
    """The table with distinct names: different files of the same name get the first digits of their hashes."""
    require_columns(table, "clip", "voice")
    return table.assign(**{kind: _distinct_names(table, kind) for kind in ("clip", "voice")})


def _distinct_names(table: pd.DataFrame, kind: str) -> pd.Series:
    """The names of clips or voices; different files with the same name get the first digits of their hashes."""
    names = pd.Series(table[kind])
    if f"{kind}_sha256" not in table:
        return names
    hashes = pd.Series(table[f"{kind}_sha256"])
    files = dict(hashes.groupby(names).nunique())
    return names.where(names.map(files) <= 1, names + " " + hashes.str[:8])
