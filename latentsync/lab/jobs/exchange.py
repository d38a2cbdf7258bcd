"""Hands on a sweep as one file: its notes, its records and their inputs; and takes such a file into a runs folder.

latentsync-export.json          format, sweep
inputs/<SHA-256>/<name>         clips and voices
records/<id>/<file>             as in a runs folder
sweeps/<name>/<file>            plan, notes of cells, log, votes

The archive is a tar file without compression, since videos are compressed already. Nothing in it is believed: names
must be those of this list, an id must be the hash of the record's identity, and every video and input must have the
hash that its record states. Nothing of an archive with another kind of name is taken.
"""

import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from latentsync import journal
from latentsync.errors import DamagedFileError, LatentSyncError, MediaError, OptionError
from latentsync.files import read_json, whole_file
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.records.added import ADDED_FILE
from latentsync.lab.records.identity import record_id
from latentsync.lab.records.inputs import INPUTS_DIR, input_file
from latentsync.lab.records.shape import curves_fault, metrics_fault
from latentsync.lab.records.store import (
    CURVES_FILE,
    MASK_FILE,
    METRICS_FILE,
    RECORD_FILE,
    RESULT_FILE,
    TAGS_FILE,
    Record,
    RecordStore,
)
from latentsync.lab.records.sweeps import CELLS_DIR, PLAN_FILE, sweep_in, sweep_records
from latentsync.lab.records.tags import read_tags
from latentsync.names import is_plain
from latentsync.weights import file_sha256

INDEX = "latentsync-export.json"
FORMAT = 1
RECORD_FILES = (RECORD_FILE, METRICS_FILE, CURVES_FILE, TAGS_FILE, RESULT_FILE, MASK_FILE)
SWEEP_FILES = (PLAN_FILE, journal.LOG_FILE, ADDED_FILE, "votes.csv")  # the last as in a rating
HEX = re.compile(r"[0-9a-f]+")


@dataclass
class Exchange:
    """What was written to an archive, or taken from it.

    Attributes:
        sweep: its name.
        records: ids of the records.
        inputs: how many clips and voices.
        there: ids that the runs folder had already.
        refused: a sentence for each record or input that is left out.
    """

    sweep: str
    records: list[str] = field(default_factory=list)
    inputs: int = 0
    there: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def export(runs: Path, sweep: str | None, archive: Path, with_inputs: bool = True) -> Exchange:
    """Writes a sweep to an archive, which appears when it is complete.

    Args:
        runs: the runs folder.
        sweep: its name; None: the only one.
        with_inputs: whether clips and voices go along. A missing or changed one is named and left out.

    Raises:
        OptionError: there is no such sweep, or it has no finished record.
        DamagedFileError: a record is damaged.
    """
    name = sweep_in(runs, sweep)
    records, done = sweep_records(runs, name), Exchange(name)
    if not records:
        raise OptionError(f"the sweep {name} has no finished record; run it first")
    with whole_file(archive) as part, tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
        _add_bytes(tar, INDEX, json.dumps({"format": FORMAT, "sweep": name}).encode())
        for digest, path in sorted(_inputs_of(records, done).items()) if with_inputs else ():
            _add_file(tar, f"{INPUTS_DIR}/{digest}/{path.name}", path)
            done.inputs += 1
        for record in records:
            if (fault := record.fault(is_deep=True)) is not None:
                raise DamagedFileError(f"record {record.id} is damaged: {fault}; run its sweep again to make it anew")
            for file in RECORD_FILES:
                if (record.folder / file).is_file():
                    _add_file(tar, f"records/{record.id}/{file}", record.folder / file)
            done.records.append(record.id)
        folder = sweep_folder(runs, name)
        notes = [folder / file for file in SWEEP_FILES] + sorted((folder / CELLS_DIR).glob("*.json"))
        for path in notes:
            if path.is_file():
                _add_file(tar, f"sweeps/{name}/{path.relative_to(folder).as_posix()}", path)
    return done


def _inputs_of(records: list[Record], done: Exchange) -> dict[str, Path]:
    """The clips and voices of records, by the hash of their bytes."""
    found: dict[str, Path] = {}
    for record in records:
        for kind in ("clip", "voice"):
            digest = record.content["pair"][kind]["sha256"]
            if digest in found:
                continue
            try:
                found[digest] = input_file(record, kind, None)
            except MediaError as error:
                done.refused.append(str(error))
    return found


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    info = _info(name, os.stat(path).st_size)
    with path.open("rb") as file:
        tar.addfile(info, file)


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    tar.addfile(_info(name, len(data)), io.BytesIO(data))


def _info(name: str, size: int) -> tarfile.TarInfo:
    """An entry without owner and time, so that equal sweeps give equal archives."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info


def take(archive: Path, runs: Path, name: str | None = None) -> Exchange:
    """Takes a sweep from an archive. Records that the runs folder has already stay as they are.

    Args:
        runs: the runs folder; it is made if it does not exist.
        name: of the sweep in this runs folder; None: its own.

    Raises:
        MediaError: the file is no whole archive of this kind, or comes from a newer version.
        OptionError: there is no such file, or the runs folder has another sweep of this name.
    """
    if not archive.is_file():
        raise OptionError(f"there is no file {archive}; give a file of `latentsync export`")
    with _opened(archive) as tar:
        members, index = _checked(tar, archive)
        sweep = name or index["sweep"]
        done, target = Exchange(sweep), sweep_folder(runs, sweep)
        own = f"sweeps/{index['sweep']}/"
        notes = {file.removeprefix(own): member for file, member in members.items() if file.startswith(own)}
        _require_no_other(tar, notes, target, sweep)
        for file, member in members.items():
            if file.startswith(f"{INPUTS_DIR}/"):
                _take_input(tar, member, runs / file, done)
        for each in dict.fromkeys(file.split("/")[1] for file in members if file.startswith("records/")):
            _take_record(tar, members, RecordStore(runs), each, done)
        for file, member in notes.items():
            with whole_file(target / file) as part:
                _copy(tar, member, part)
    return done


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(archive, "r:") as tar:
            yield tar
    except (tarfile.TarError, EOFError) as error:
        raise MediaError(
            f"{archive} is no whole archive of `latentsync export` ({error}); export the sweep again"
        ) from error


def _checked(tar: tarfile.TarFile, archive: Path) -> tuple[dict[str, tarfile.TarInfo], dict]:
    """All entries by name, and the content of the index. Nothing has been written when a name is refused."""
    members: dict[str, tarfile.TarInfo] = {}
    for member in tar.getmembers():
        if not member.isreg() or member.name in members or not _is_known(member.name):
            raise MediaError(
                f"{archive} holds {member.name!r}, which no export writes (a link, a folder, a name that leads "
                f"elsewhere, or one twice); nothing was taken from it"
            )
        members[member.name] = member
    index = _json_of(tar, members[INDEX]) if INDEX in members else None
    if not isinstance(index, dict) or not is_plain(str(index.get("sweep") or "")):
        raise MediaError(f"{archive} has no {INDEX} that names its sweep; it is no archive of `latentsync export`")
    if index.get("format") != FORMAT:
        raise MediaError(
            f"{archive} has format {index.get('format')}, and this version reads format {FORMAT}; update latentsync"
        )
    return members, index


def _is_known(name: str) -> bool:
    """Whether an export may write such a name."""
    match name.split("/"):
        case [file]:
            return file == INDEX
        case ["inputs", digest, file]:
            return bool(HEX.fullmatch(digest)) and is_plain(file)
        case ["records", record, file]:
            return bool(HEX.fullmatch(record)) and file in RECORD_FILES
        case ["sweeps", sweep, file]:
            return is_plain(sweep) and file in SWEEP_FILES
        case ["sweeps", sweep, folder, file]:
            return is_plain(sweep) and folder == CELLS_DIR and is_plain(file) and file.endswith(".json")
    return False


def _require_no_other(tar: tarfile.TarFile, notes: dict[str, tarfile.TarInfo], target: Path, sweep: str) -> None:
    """Refuses to mix two sweeps. The same one may come again."""
    parts = {target / file: member for file, member in notes.items() if file != journal.LOG_FILE}
    is_same = all(path.is_file() and path.read_bytes() == _bytes_of(tar, member) for path, member in parts.items())
    if target.is_dir() and not is_same:
        raise OptionError(f"{target.parents[1]} has another sweep {sweep}; give this one a name with --name")


def _take_input(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, done: Exchange) -> None:
    digest = path.parent.name
    if path.is_file() and file_sha256(path) == digest:
        done.inputs += 1
        return
    with _or_refused(done), whole_file(path) as part:
        _copy(tar, member, part)
        if (found := file_sha256(part)) != digest:
            raise DamagedFileError(f"the input {path.name} hashes to {found[:12]}..., not to {digest[:12]}...")
        done.inputs += 1


def _take_record(
    tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], store: RecordStore, name: str, done: Exchange
) -> None:
    with _or_refused(done):
        if store.find(name) is not None:
            done.there.append(name)
            return
        with store.claim(name, wait=True), store.new(name) as part:
            for file in RECORD_FILES:
                if (member := members.get(f"records/{name}/{file}")) is not None:
                    _copy(tar, member, part / file)
            _require_whole(Record(part))
        done.records.append(name)


def _require_whole(record: Record) -> None:
    """Checks that a record is what its id says.

    Raises:
        DamagedFileError: it is not; the message says why.
    """
    content = record.own_content
    identity = content.get("identity")
    if not isinstance(identity, dict) or record_id(identity) != record.id or content["id"] != record.id:
        raise DamagedFileError(f"record {record.id} is not what its id says: its identity hashes to another id")
    if not record.files:
        raise DamagedFileError(f"record {record.id} has no proof of its files; make it again before you export it")
    if (fault := record.fault(is_deep=True)) is not None:
        raise DamagedFileError(f"record {record.id} is damaged: {fault}")
    for path, fault_of in ((record.metrics_path, metrics_fault), (record.curves_path, curves_fault)):
        read_json(path, fault_of)
    read_tags(record)


@contextmanager
def _or_refused(done: Exchange) -> Iterator[None]:
    """What is damaged is named and left out; the rest goes on."""
    try:
        yield
    except LatentSyncError as error:
        done.refused.append(str(error))


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    with target.open("wb") as file:
        shutil.copyfileobj(tar.extractfile(member), file)


def _bytes_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    return tar.extractfile(member).read()


def _json_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> object:
    try:
        return json.loads(_bytes_of(tar, member))
    except ValueError:
        return None
