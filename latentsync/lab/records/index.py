"""The index of a store: what its sound records hold, so that nobody has to open thousands of files for a table.

runs/index.parquet      the rows of `records.rows`, with the stamp of each record's folder

It is only a cache, never the truth. A row counts as long as the names, sizes, times and inodes of all files of its
record stay the same. Everything else is read from the records: a record that is new, measured or edited, one with a
fault, and one with a link. The index is written anew by whoever reads many records. It is Parquet because that keeps
the types, takes about 330 bytes a record, and gives a few columns of ten thousand rows in milliseconds.

A record that changed within the last minute is not kept, as a second change could leave the same stamp, and a power cut
could lose bytes that were read from memory. In a copy of a runs folder no stamp holds, so that the index is made anew.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from latentsync import __version__
from latentsync.config import recorded_infos
from latentsync.errors import DamagedFileError, LatentSyncError, NewerVersionError, sentence_of
from latentsync.files import find_json, leads_out, stamp_of, whole_file
from latentsync.lab.console import complain
from latentsync.lab.records.faults import faults_of_content
from latentsync.lab.records.rows import (
    ENTRY,
    ENTRY_TYPE,
    VALUE,
    fact_names,
    fact_type,
    facts_of,
    in_order,
    joined,
    labelled,
    rows_of,
)
from latentsync.lab.records.shape import metrics_fault
from latentsync.lab.records.store import Record, RecordStore
from latentsync.lab.records.tags import read_tags, tags_of
from latentsync.names import is_plain

INDEX_FILE = "index.parquet"
FORM = 1  # raise it when the same record gives another row
FORM_KEY = b"latentsync"
STAMP = "stamp"
SETTLED_S = 60.0  # a record is kept if it has not changed for this time
WORTH = 50  # the index is written when at least one row of this many is new
Labels = Mapping[str, Mapping[str, Any]]  # of one record, see `records.content.labels_of`


class RecordIndex:
    """The sound records of a store: those in which `records.faults` finds nothing.

    An object looks at each record once, so it is for one table or one command.
    """

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._path = store.root.parent / INDEX_FILE
        self._rows = self._kept_rows()  # with stamps; those that were read now come last
        kept = zip(self._rows["record"].to_pylist(), self._rows[STAMP].to_pylist(), strict=True)
        self._kept = {record_id: (number, stamp) for number, (record_id, stamp) in enumerate(kept)}
        self._looked_at: set[str] = set()
        self._places: dict[str, int] = {}  # the number of each sound record's row
        self._changed_s: dict[str, float] = {}  # when a record that was read now changed, in seconds since the epoch

    def look(self, ids: Iterable[str]) -> None:
        """Finds out which of these records are sound. Those that the index does not hold are read, and then kept."""
        if leads_out(self._store.root, self._store.root.parent):
            return
        new = [i for i in dict.fromkeys(ids) if i not in self._looked_at and is_plain(i)]
        self._looked_at.update(new)
        root, facts, metrics, stamps = os.fspath(self._store.root), [], [], []
        for record_id in new:
            stamp = _folder_stamp(os.path.join(root, record_id))
            number, known = self._kept.get(record_id, (0, None))
            if stamp is not None and stamp[0] == known:
                self._places[record_id] = number
            elif stamp is not None and (row := self._sound_row(record_id)) is not None:
                self._places[record_id] = len(self._rows) + len(facts)
                self._changed_s[record_id] = stamp[1]
                for part, value in zip((facts, metrics, stamps), (*row, stamp[0]), strict=True):
                    part.append(value)
        if facts:
            self._rows = joined([self._rows, rows_of(facts, metrics).append_column(STAMP, pa.array(stamps))])
            self._keep()

    def holds(self, record_id: str) -> bool:
        """Whether a record is sound, of those that `look` was asked for."""
        return record_id in self._places

    def rows(self, ids: Iterable[str]) -> pa.Table:
        """The rows of these records as far as they are sound, in this order; see `records.rows`."""
        ids = list(ids)
        self.look(ids)
        return self._taken(self._places[i] for i in ids if i in self._places).drop_columns(STAMP)

    def _taken(self, numbers: Iterable[int]) -> pa.Table:
        return self._rows.take(pa.array(numbers, pa.int64()))

    def _sound_row(self, record_id: str) -> tuple[dict, dict] | None:
        """The facts and metrics of a record; None if it has a fault, or cannot be read now, or by this version."""
        try:
            record = self._store.find(record_id)
            if record is None or any(faults_of_content(record)):
                return None
            metrics = find_json(record.metrics_path, metrics_fault)
            return None if metrics is None else (facts_of(record, read_tags(record)), metrics)
        except (OSError, DamagedFileError, NewerVersionError):
            return None

    # The file

    def _kept_rows(self) -> pa.Table:
        """The rows of the file, with their stamps; none if it is missing, damaged or of another version."""
        if not leads_out(self._path, self._path.parent):
            with suppress(OSError, pa.ArrowException):
                file = pq.ParquetFile(pa.BufferReader(self._path.read_bytes()), page_checksum_verification=True)
                if _has_form(file.schema_arrow):
                    return file.read().replace_schema_metadata()
        return rows_of([], []).append_column(STAMP, pa.array([], pa.string()))

    def _keep(self) -> None:
        """Writes the index, if enough of it is new. Without space or the right to write, everything works without."""
        now = time.time()
        new = [self._places[i] for i, changed_s in self._changed_s.items() if now - changed_s >= SETTLED_S]
        old = [n for i, (n, _) in self._kept.items() if self._places.get(i) == n or i not in self._looked_at]
        if not new or len(new) * WORTH < len(new) + len(old):
            return
        table = self._taken([*old, *new]).replace_schema_metadata({FORM_KEY: _form()})
        with suppress(OSError, LatentSyncError), whole_file(self._path) as part:
            pq.write_table(table, part, write_page_checksum=True)


def _form() -> bytes:
    """What the rows depend on besides the records: this program's version, and its options with their defaults."""
    options = {name: info.record_default for name, info in recorded_infos().items()}
    return json.dumps([FORM, __version__, options], default=str).encode()


def _has_form(schema: pa.Schema) -> bool:
    types = {name: fact_type(name) for name in fact_names()} | {STAMP: pa.string()}
    for name in schema.names:
        if name.startswith(ENTRY):
            types |= {name: ENTRY_TYPE, VALUE + name.removeprefix(ENTRY): pa.float64()}
    is_ours = (schema.metadata or {}).get(FORM_KEY) == _form()
    return is_ours and {field.name: field.type for field in schema} == types


def _folder_stamp(folder: str) -> tuple[str, float] | None:
    """A hash of the names and stamps of a folder's files, and when the last of them changed (seconds since the epoch).

    None without such a folder, and for one that has a link or is one: what it leads to may change unseen.
    """
    files = []
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        with os.scandir(opened) as entries:
            for entry in entries:
                if entry.is_symlink():
                    return None
                if entry.name[0] != ".":  # unfinished files of other processes come and go
                    files.append((entry.name, *stamp_of(entry.stat(follow_symlinks=False))))
    except OSError:
        return None
    finally:
        os.close(opened)
    digest = hashlib.sha256(repr(sorted(files)).encode(errors="surrogateescape")).hexdigest()
    return digest[:32], max((change_ns for *_, change_ns, _ in files), default=0) / 1e9


def rows_found(store: RecordStore, labels: Mapping[str, Labels], with_metrics: bool = True) -> pa.Table:
    """The rows of finished records, under a sweep's labels and in the order of tables.

    What is damaged, or cannot be read now, is named by `complain` and left out.

    Args:
        labels: by the records' ids; empty: each as it calls itself.
        with_metrics: whether records whose metrics are damaged, or cannot be read now, are named.
    """
    index = RecordIndex(store)
    index.look(labels)
    others = [
        row
        for record_id in labels
        if not index.holds(record_id)
        and (record := store.look_or_complain(record_id)) is not None
        and (row := _row_or_complaint(record, with_metrics)) is not None
    ]
    rows = rows_of([facts for facts, _ in others], [metrics for _, metrics in others])
    return in_order(labelled(joined([index.rows(labels), rows]), labels))


def _row_or_complaint(record: Record, with_metrics: bool) -> tuple[dict, dict] | None:
    try:
        return facts_of(record, tags_of(record)), record.metrics if with_metrics else {}
    except OSError as error:
        complain(f"left out: record {record.id} cannot be read now: {sentence_of(error)}")
        return None
