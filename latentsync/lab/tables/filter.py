"""Which records of a store: by conditions over its table, and by what makes two records alike."""

from pathlib import Path
from tokenize import TokenError
from typing import Any

import pandas as pd

from latentsync.errors import OptionError
from latentsync.lab.records.labels import settings_beside
from latentsync.lab.records.store import Record, RecordStore
from latentsync.lab.tables.tidy import require_columns

VARIANT = ("model", *settings_beside())  # the rest of a cell
SAME_INPUTS = ("clip_sha256", "voice_sha256")
UNREADABLE = (TokenError, SyntaxError, NameError, ValueError, TypeError, AttributeError, KeyError, NotImplementedError)


def find_records(
    table: pd.DataFrame, where: str | None = None, runs_dir: str | Path = "runs", **settings: Any
) -> list[Record]:
    """The records of a table that meet all conditions, in its order.

    Args:
        table: as `collect_wide(runs_dir)` gives it.
        where: an expression over the table's columns, as of `pandas.DataFrame.query`:
            `sync_mini_confidence > 0.4 and gender == "female"`.
        settings: column = value, or several values: guidance_scale=1.8, seed=[1247, 7], pair="g-a__g-b".

    Raises:
        OptionError: a column is unknown, or the expression cannot be read; the message names the columns.
    """
    store = RecordStore(Path(runs_dir))
    records = (store.find(record) for record in filtered(table, where, **settings).get("record", ()))
    return [record for record in records if record is not None]


def filtered(table: pd.DataFrame, where: str | None = None, **settings: Any) -> pd.DataFrame:
    """The rows of a table that meet all conditions; arguments and errors as of `find_records`."""
    if table.empty:
        return table
    require_columns(table, *settings)
    for column, value in settings.items():
        table = table[table[column].isin(value if isinstance(value, list | tuple | set) else [value])]
    if where is None or not where.strip():
        return table
    try:
        mask = table.eval(where, engine="python", local_dict={}, global_dict={})
    except UNREADABLE as error:
        raise OptionError(f"{where!r} cannot be read ({error}); write it over {_columns(table)}") from error
    if not isinstance(mask, pd.Series) or mask.dtype.kind != "b":
        raise OptionError(f"{where!r} is no condition; compare something, as in seed == 7, of {_columns(table)}")
    return table[mask.fillna(False).astype(bool)]


def _columns(table: pd.DataFrame) -> str:
    return ", ".join(column for column in table.columns if not column.endswith("_reason"))
