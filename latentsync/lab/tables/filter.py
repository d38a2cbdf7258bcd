"""Finds records by conditions on their table."""

from collections.abc import Collection
from pathlib import Path
from tokenize import TokenError
from typing import Any

import pandas as pd

from latentsync.errors import OptionError
from latentsync.lab.records.labels import settings_beside
from latentsync.lab.records.store import Record, RecordStore
from latentsync.lab.records.tags import JOINT
from latentsync.lab.tables.tidy import require_columns

VARIANT = ("model", *settings_beside())  # the other columns of a cell
SAME_INPUTS = ("clip_sha256", "voice_sha256")
UNREADABLE = (TokenError, SyntaxError, NameError, ValueError, TypeError, AttributeError, KeyError, NotImplementedError)


def find_records(
    table: pd.DataFrame, where: str | None = None, runs_dir: str | Path = "runs", **settings: Any
) -> list[Record]:
    """The records of a table that meet all conditions, in the table's order.

    Args:
        table: a table of `collect_wide(runs_dir)`.
        where: an expression over the table's columns, as in `pandas.DataFrame.query`:
            `sync_mini_confidence > 0.4 and gender == "female"`.
        settings: column=value or column=[values]: guidance_scale=1.8, seed=[1247, 7], pair="g-a__g-b".

    Raises:
        OptionError: a column is unknown, or the expression cannot be read. The message lists the columns.
    """
    return RecordStore(Path(runs_dir)).there(filtered(table, where, **settings).get("record", ()))


def filtered(table: pd.DataFrame, where: str | None = None, **settings: Any) -> pd.DataFrame:
    """The rows of a table that meet all conditions; arguments and errors as for `find_records`."""
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
        raise OptionError(f"{where!r} cannot be read ({error}); use the columns {_columns(table)}") from error
    if not isinstance(mask, pd.Series) or mask.dtype.kind != "b":
        raise OptionError(
            f"{where!r} is not a condition; compare a column, as in seed == 7; the columns: {_columns(table)}"
        )
    return table[mask.fillna(False).astype(bool)]


def with_tags(table: pd.DataFrame, tags: Collection[str]) -> pd.DataFrame:
    """The rows of a table whose records have all of these tags."""
    for tag in tags:
        words = table["tags"].fillna("").str.split(JOINT)
        table = table[[tag in each for each in words]]
    return table


def _columns(table: pd.DataFrame) -> str:
    return ", ".join(column for column in table.columns if not column.endswith("_reason"))
