"""Finished records on disk: one folder each, visible only when complete. This module does not make records.

runs/records/<id>/  result.mp4  mask.mp4  record.json  metrics.json  curves.json  tags.json
runs/records/.claim-<id>                         locked by the process that makes or measures the record
runs/set_aside/<id>-<time>/                      damaged records, each of which was made again
runs/sweeps/<name>/cells/<cell>.json             which records and failures belong to a cell of a sweep
runs/sweeps/<name>/plan.json                     which cells the sweep has

A record is absent only if its folder does not exist. A damaged record is named, and moved to set_aside when it is made
again. A record that cannot be read now stays as it is: nothing is removed or made again for it.
"""

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from latentsync.constants import VIDEO_RATE_HZ
from latentsync.errors import DamagedFileError, MediaError, NewerVersionError, OptionError, sentence_of
from latentsync.files import (
    find_json,
    leads_out,
    link_out,
    move,
    read_json,
    recover,
    whole_folder,
    write_json,
)
from latentsync.lab.console import complain, say
from latentsync.lab.records.archived import how_to_restore, is_archived
from latentsync.lab.records.claims import CLAIM_PREFIX, claimed
from latentsync.lab.records.shape import curves_fault, metrics_fault, newer_fault, shape_fault
from latentsync.names import is_plain
from latentsync.proof import disagreement

RESULT_FILE = "result.mp4"
MASK_FILE = "mask.mp4"
RECORD_FILE = "record.json"
METRICS_FILE = "metrics.json"
CURVES_FILE = "curves.json"
TAGS_FILE = "tags.json"
SET_ASIDE_DIR = "set_aside"
PROVEN = (RESULT_FILE, MASK_FILE)  # files whose proof is in record.json


@dataclass(frozen=True)
class Record:
    """A finished record: the result of one cell for one pair.

    Attributes:
        labels: how the sweep that asks for the record calls its pair and preset, see `labels_of`; empty: as the record
            itself does.
    """

    folder: Path
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False)

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def runs_dir(self) -> Path:
        """The runs folder that it lies in."""
        return self.folder.parent.parent

    @property
    def video_path(self) -> Path:
        return self.folder / RESULT_FILE

    @cached_property
    def own_content(self) -> dict:
        """The content of record.json: pair, model, options, timings, versions.

        Raises:
            DamagedFileError: it is missing, cut or edited.
            NewerVersionError: a newer version wrote it.
            OSError: it cannot be read now.
        """
        path = self.folder / RECORD_FILE
        content = read_json(path)
        if content is not None and (newer := newer_fault(content)) is not None:
            raise NewerVersionError(f"record {self.id} {newer}")
        fault = "is missing" if content is None else shape_fault(content)
        if fault is not None:
            raise DamagedFileError(f"{path} {fault}" if content is None else f"{path} is no whole record: {fault}")
        return content

    @cached_property
    def content(self) -> dict:
        """The content of record.json, with the sweep's labels; errors as for `own_content`."""
        return _merged(self.own_content, self.labels)

    @property
    def num_frames(self) -> int:
        """The frames of its video at 25 frames/s, the rate of the player and of the curves."""
        video = self.content["video"]
        return round(video["num_frames"] * VIDEO_RATE_HZ / video.get("fps", VIDEO_RATE_HZ))

    @property
    def files(self) -> Mapping[str, Mapping[str, Any]]:
        """The proof of its files, see `latentsync.proof`; empty for an older record."""
        return self.own_content.get("files", {})

    def fault(self, is_deep: bool = False) -> str | None:
        """What is wrong with it, in words; None if nothing is.

        Args:
            is_deep: whether to compare the hashes of its files too.

        Raises:
            NewerVersionError: a newer version wrote it, so that this one cannot tell.
            OSError: a file cannot be read now.
        """
        try:
            fault = disagreement(self.folder, self.files, is_deep)
        except DamagedFileError as error:
            return str(error).removeprefix(f"{self.folder}/")
        return fault

    @property
    def metrics_path(self) -> Path:
        return self.folder / METRICS_FILE

    @property
    def curves_path(self) -> Path:
        return self.folder / CURVES_FILE

    @property
    def metrics(self) -> dict:
        """Name -> {value, unit, direction, protocol, version, ..., reason}; see `latentsync.metrics.definitions`.

        A damaged file is named and counts as empty.

        Raises:
            OSError: it cannot be read now.
        """
        return _read_or_complain(self.metrics_path, metrics_fault)

    @property
    def curves(self) -> dict:
        """Name -> the values per frame, window or shift from which the metrics are computed; errors as `metrics`."""
        return _read_or_complain(self.curves_path, curves_fault)


def _merged(content: dict, labels: Mapping[str, Any]) -> dict:
    """Content with labels in the place of its own, down to the fields of each part."""
    merged = dict(content)
    for name, value in labels.items():
        merged[name] = _merged(merged[name], value) if isinstance(value, Mapping) and name in merged else value
    return merged


def _read_or_complain(path: Path, fault_of: Callable[[dict], str | None]) -> dict:
    try:
        return read_json(path, fault_of) or {}
    except DamagedFileError as error:
        complain(f"left out: {error}; `latentsync measure` writes it anew")
        return {}


class RecordStore:
    """The records below one folder.

    A record is made in a folder with a temporary name and appears by a single rename. So a killed run leaves no
    incomplete record. If two processes make the same record, the first one is kept and both succeed.
    """

    def __init__(self, runs_dir: Path) -> None:
        self.root = runs_dir / "records"

    @cached_property
    def _is_outside(self) -> bool:
        return leads_out(self.root, self.root.parent)

    def look(self, record_id: str, labels: Mapping[str, Mapping[str, Any]] | None = None) -> Record | None:
        """The finished record of that id; None if it does not exist.

        Args:
            labels: how a sweep calls its pair and preset, see `Record`.

        Raises:
            DamagedFileError: there is a folder, but record.json is missing or no whole record, or the sizes or samples
                of its files are not those that it proves, or a link brings it from outside the runs folder.
            NewerVersionError: a newer version wrote it; it is whole, so it must not be made anew.
            MediaError: the folder of the records is such a link.
            OSError: it cannot be read now.
        """
        if not is_plain(record_id):
            return None
        if self._is_outside:
            raise MediaError(f"{self.root} is a link that leads out of {self.root.parent}, so it is not followed")
        record = Record(self.root / record_id, labels or {})
        try:
            os.stat(record.folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if (link := link_out(record.folder, self.root.parent)) is not None:
            raise DamagedFileError(f"record {record_id} is not followed: {link} is a link out of {self.root.parent}")
        if (fault := record.fault()) is not None:
            raise DamagedFileError(f"record {record_id} is damaged: {fault}")
        return record

    def find(self, record_id: str, labels: Mapping[str, Mapping[str, Any]] | None = None) -> Record | None:
        """The finished record of that id; None if it does not exist or is damaged, so that it may be made again.

        Raises:
            NewerVersionError: a newer version wrote it.
            OSError: it cannot be read now.
        """
        try:
            return self.look(record_id, labels)
        except DamagedFileError:
            return None

    def lacks(self, record_id: str) -> bool:
        """Whether a record is to be made: it does not exist, or is damaged. False where it cannot be read now, or by
        this version."""
        try:
            return self.find(record_id) is None
        except (OSError, NewerVersionError):
            return False

    def there(self, ids: Iterable[str]) -> list[Record]:
        """The finished ones of these records. What is damaged, or cannot be read now, is named by `complain`."""
        return [record for i in ids if (record := self.look_or_complain(i)) is not None]

    def look_or_complain(self, record_id: str, labels: Mapping[str, Any] | None = None) -> Record | None:
        """As `find`, but names what is damaged or cannot be read by `complain`, and then returns None."""
        try:
            return self.look(record_id, labels)
        except DamagedFileError as error:
            complain(f"left out: {error}; run its sweep again to make it anew")
        except NewerVersionError as error:
            complain(f"left out: {error}")
        except OSError as error:
            complain(f"left out: record {record_id} cannot be read now: {sentence_of(error)}")
        return None

    def ids(self) -> list[str]:
        """The names of all folders of records, sorted.

        Raises:
            OSError: the folder cannot be read now.
        """
        try:
            with os.scandir(self.root) as entries:
                return sorted(entry.name for entry in entries if entry.name[0] != "." and not entry.is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def all(self) -> list[Record]:
        """Every finished record, sorted by id. What is damaged, or cannot be read now, is named by `complain`.

        Raises:
            OSError: the folder of the records cannot be read now.
        """
        recover(self.root)
        return self.there(self.ids())

    def set_aside(self, record_id: str, reason: str) -> Path:
        """Moves a damaged record to runs/set_aside, and prints why."""
        target = aside(self.root / record_id, self.root.parent)
        say(f"set aside  {reason}; it is kept in {target} and made anew")
        return target

    def merge_measured(self, record: Record, metrics: Mapping[str, Any], curves: Mapping[str, Any]) -> None:
        """Adds values to a record's metrics and curves under its claim, so that of two writers both stay.

        A damaged file is set aside first.

        Raises:
            OSError: a file cannot be read or written; then it stays as it was.
        """
        with self.claim(record.id, wait=True):
            for path, new, fault_of in (
                (record.curves_path, curves, curves_fault),
                (record.metrics_path, metrics, metrics_fault),
            ):
                try:
                    before = read_json(path, fault_of) or {}
                except DamagedFileError as error:
                    say(f"set aside  {error}; it is kept in {aside(path, self.root.parent, record.id)}")
                    before = {}
                write_json(path, {**before, **new})

    @contextmanager
    def claim(self, record_id: str, wait: bool) -> Iterator[bool]:
        """Claims a record for this process within the block. Yields whether the claim succeeded.

        See `records.claims`. Without locks two processes may make the same record, and the first one is kept.

        Args:
            wait: whether to wait until the other process has ended or has finished the record; then look for the
                record first.
        """
        path = self._claim_path(record_id)
        with claimed(path, wait) as is_ours:
            if is_ours:
                with suppress(OSError):
                    recover(self.root)  # a record that a killed process was replacing is found again
                _write_claim(path)
            yield is_ours

    def claimant(self, record_id: str) -> dict | None:
        """The process that is making a record: `host`, `pid` and `since` (seconds since the epoch); None if none is."""
        path = self._claim_path(record_id)
        if not path.is_file():
            return None
        with self.claim(record_id, wait=False) as is_free:
            return None if is_free else find_json(path) or {}

    def remove_free_claims(self) -> None:
        """Removes the claims that killed processes left beside records which are made, so that nobody claims them."""
        for path in self.root.glob(f"{CLAIM_PREFIX}*"):
            with claimed(path, wait=False):
                pass

    def _claim_path(self, record_id: str) -> Path:
        if not is_plain(record_id):
            raise OptionError(f"{record_id!r} is no id of a record; correct the sweep's notes and plan, or run it anew")
        return self.root / f"{CLAIM_PREFIX}{record_id}"

    @contextmanager
    def new(self, record_id: str) -> Iterator[Path]:
        """A folder to make a record in. It becomes the record when the block succeeds, and is removed otherwise.

        A damaged record in its place is set aside, once its successor is complete, which inherits the tags.
        """
        with whole_folder(self.root / record_id, is_kept=lambda _: self.find(record_id) is not None) as part:
            yield part
            try:
                self.look(record_id)
            except DamagedFileError as error:
                if (tags := self.root / record_id / TAGS_FILE).is_file():
                    shutil.copyfile(tags, part / TAGS_FILE)
                self.set_aside(record_id, str(error))


def record_at(place: str | Path, runs: Path) -> Record:
    """The record in a folder, or with an id in a runs folder.

    Raises:
        OptionError: there is none.
    """
    for folder in (Path(place), runs / "records" / str(place)):
        if (folder / RECORD_FILE).is_file():
            return Record(folder.resolve())
    if is_archived(runs, str(place)):
        raise OptionError(f"there is no record {place} in {runs}: {how_to_restore(runs, str(place))}")
    raise OptionError(
        f"there is no record at {place}, nor one of this id in {runs}; give the folder of a record, or --runs"
    )


def aside(path: Path, runs_dir: Path, owner: str | None = None) -> Path:
    """Moves a damaged file or folder to runs/set_aside under a name with the time, and returns its new place.

    Args:
        owner: the record or sweep of a file; its name then comes first.
    """
    name = path.name if owner is None else f"{owner}-{path.name}"
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder, number = runs_dir / SET_ASIDE_DIR, 1
    target = folder / f"{name}-{stamp}"
    while target.exists():
        number += 1
        target = folder / f"{name}-{stamp}-{number}"
    move(path, target)
    return target


def _write_claim(path: Path) -> None:
    """Writes into the locked file which process holds it; `status` and people read it. The file must stay the same."""
    claim = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
    with suppress(OSError):  # for example a full disk
        path.write_text(json.dumps(claim) + "\n")
