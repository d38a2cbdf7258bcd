"""Rows of records as an Arrow table: a column for each fact, and two for each metric.

value:NAME holds the metric's number, and entry:NAME the rest of its entry as JSON. Many records share that rest, so
each different one is kept once (a dictionary column). A value that is no float, such as null or a whole number, stands
in the entry.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from latentsync.config import recorded_infos
from latentsync.lab.records.columns import facts_of_labels, facts_of_record, kind_of_fact
from latentsync.lab.records.labels import SETTINGS
from latentsync.lab.records.store import Record
from latentsync.lab.records.tags import Tags

VALUE, ENTRY = "value:", "entry:"
TYPES = {"text": pa.string(), "flag": pa.bool_(), "whole": pa.int64(), "number": pa.float64()}
ENTRY_TYPE = pa.dictionary(pa.int32(), pa.string())
ORDER = ("gender", "pair", *SETTINGS, "record")  # of the rows of tables


def fact_names() -> tuple[str, ...]:
    """The columns of facts, in the order of tables."""
    return (
        "record", "pair", "clip", "voice", "clip_sha256", "voice_sha256", "gender", "group", "split", "model",
        "trained", "preset", "guidance_from", *recorded_infos(), "video_frames", "frames_without_face", "notes",
        "consent", "tags", "remark", "seconds",
    )  # fmt: skip


def fact_type(name: str) -> pa.DataType:
    """The type of a column of facts."""
    return TYPES[kind_of_fact(name)]


def facts_of(record: Record, tags: Tags) -> dict[str, Any]:
    """The facts of a record under its own labels; errors as for `Record.own_content`."""
    content, own = record.own_content, {"record": record.id, "tags": tags.text, "remark": tags.remark}
    return {**facts_of_record(content), **own, "seconds": content["timings_s"]["total"]}


def rows_of(facts: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Mapping[str, Any]]]) -> pa.Table:
    """The rows of records, from the facts and the metrics of each."""
    columns = {name: _fact_column(name, [each[name] for each in facts]) for name in fact_names()}
    for name in sorted({name for entries in metrics for name in entries}):
        entries = [each.get(name) for each in metrics]
        columns[VALUE + name] = pa.array(map(_float_of, entries), pa.float64())
        columns[ENTRY + name] = pa.array(map(_rest_of, entries), pa.string()).dictionary_encode()
    return pa.table(columns)


def _fact_column(name: str, values: Iterable[Any]) -> pa.Array:
    if kind_of_fact(name) == "text":
        values = (None if value is None else str(value) for value in values)
    return pa.array(values, fact_type(name))


def _float_of(entry: Mapping[str, Any] | None) -> float | None:
    return entry["value"] if entry is not None and isinstance(entry["value"], float) else None


def _rest_of(entry: Mapping[str, Any] | None) -> str | None:
    if entry is None:
        return None
    is_whole = not isinstance(entry["value"], float)
    return json.dumps({name: value for name, value in entry.items() if is_whole or name != "value"})


def joined(tables: Iterable[pa.Table]) -> pa.Table:
    """Rows below each other. A record has no value of a metric that only other tables have."""
    return pa.concat_tables(tables, promote_options="default").unify_dictionaries()


def labelled(table: pa.Table, labels: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    """Rows under the labels of a sweep, by record; see `records.content.labels_of`."""
    ids = table["record"].to_pylist()
    facts = [facts_of_labels(labels.get(record) or {}) for record in ids]
    for name in dict.fromkeys(name for each in facts for name in each):
        own = table[name].to_pylist()
        values = [each.get(name, value) for each, value in zip(facts, own, strict=True)]
        table = table.set_column(table.column_names.index(name), name, _fact_column(name, values))
    return table


def in_order(table: pa.Table) -> pa.Table:
    """Rows in the order of tables: by gender, pair, settings and id."""
    keys = list(zip(*(table[name].to_pylist() for name in ORDER), strict=True))
    return table.take(pa.array(sorted(range(len(keys)), key=keys.__getitem__), pa.int64()))


@dataclass(frozen=True)
class Metrics:
    """The metrics of rows.

    Attributes:
        names: sorted.
        floats: (rows, metrics); NaN where a value is no float.
        codes: (rows, metrics), which of `entries` it is; -1 where a record has no such metric.
        entries: each different one once, with its value if that is no float.
    """

    names: list[str]
    floats: np.ndarray
    codes: np.ndarray
    entries: list[dict[str, Any]]

    @classmethod
    def of(cls, table: pa.Table) -> "Metrics":
        """The metrics of an Arrow table of rows."""
        names = [name.removeprefix(ENTRY) for name in table.column_names if name.startswith(ENTRY)]
        names.sort()
        floats = np.full((len(table), len(names)), np.nan)
        codes = np.full((len(table), len(names)), -1)
        entries: list[dict[str, Any]] = []
        for number, name in enumerate(names):
            floats[:, number] = table[VALUE + name].to_numpy()
            column = table[ENTRY + name].unify_dictionaries().combine_chunks()
            codes[:, number] = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            codes[:, number] += np.where(codes[:, number] < 0, 0, len(entries))
            entries += map(json.loads, column.dictionary.to_pylist())
        return cls(names, floats, codes, entries)

    @cached_property
    def values(self) -> np.ndarray:
        """(rows, metrics), all values as floats; NaN where there is none."""
        own = np.array([_number(entry.get("value")) for entry in self.entries] + [np.nan])
        return np.where(np.isnan(self.floats), own[self.codes], self.floats)

    def raw(self, number: int) -> list[Any]:
        """The values of one metric as its entries have them: as float, int or bool; NaN where there is none."""
        own = [entry.get("value", np.nan) for entry in self.entries] + [np.nan]
        own = [np.nan if value is None else value for value in own]
        floats, codes = self.floats[:, number].tolist(), self.codes[:, number]
        return [own[code] if value != value else value for value, code in zip(floats, codes, strict=True)]


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)
