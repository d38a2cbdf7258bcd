"""Puts records and sweeps away, and brings them back: they are moved and never deleted.

An archive is a runs folder of its own, so every command reads it: `latentsync view RUNS/archive`. A record moves by one
rename. To another disk it is copied whole, compared and only then removed. The notes of a sweep move last: as long as
they are at the old place, the same command goes on where a killed one stopped.
"""

import errno
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from latentsync.disk import make_folder, sync_folder
from latentsync.errors import DamagedFileError, MediaError, OptionError, did_you_mean
from latentsync.files import leads_out, link_out, move, recover, remove, whole_folder
from latentsync.lab.console import say
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.records.archived import archive_of, is_archived
from latentsync.lab.records.store import Record, RecordStore, aside
from latentsync.lab.records.sweeps import ids_of_sweep, sweep_in, sweep_names
from latentsync.names import is_plain
from latentsync.weights import file_sha256


@dataclass
class Move:
    """What was moved.

    Attributes:
        target: the runs folder that has it now.
        sweep: its name; None if only records were moved.
        records: the ids that were moved.
        shared: ids that stay, because other sweeps have them too.
        there: ids that the target had already, as after a kill.
    """

    target: Path
    sweep: str | None = None
    records: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)


def archive(runs: Path, ids: Iterable[str] = (), sweep: str | None = None, folder: Path | None = None) -> Move:
    """Moves records, or a sweep with the records that no other sweep has, out of a runs folder.

    Args:
        runs: the runs folder.
        ids: of records; empty where a sweep is given.
        sweep: a sweep's name.
        folder: the runs folder to move to; None: `runs`/archive.

    Raises:
        OptionError: neither or both are given, there is no such record or sweep, or the folder has another sweep of
            this name.
        MediaError: a record is being made or measured now, or a link leads out of the runs folder.
        OSError: a file cannot be read or written; then it is still where it was.
    """
    target = folder or archive_of(runs)
    if folder is None and leads_out(target, runs):
        raise MediaError(f"{target} is a link that leads out of {runs}, so it is not followed; name it with --to")
    return _moved(runs, target, list(ids), sweep, "archive")


def restore(runs: Path, ids: Iterable[str] = (), sweep: str | None = None, folder: Path | None = None) -> Move:
    """Moves archived records, or a sweep with its archived records, back into a runs folder.

    Arguments and errors as for `archive`; `folder` is where they are.
    """
    source = folder or archive_of(runs)
    if folder is None and leads_out(source, runs):
        raise MediaError(f"{source} is a link that leads out of {runs}, so it is not followed; name it with --from")
    return _moved(source, runs, list(ids), sweep, "restore")


def back_from_archive(store: RecordStore, record_id: str) -> Record | None:
    """Restores an archived record for which a sweep asks, if it is whole; the caller has the record's claim.

    Raises:
        OSError: it cannot be read or moved now.
    """
    runs = store.root.parent
    if not is_archived(runs, record_id):
        return None
    try:
        RecordStore(archive_of(runs)).look(record_id)
    except DamagedFileError as error:
        say(f"made anew  {error}; it stays in {archive_of(runs)}")
        return None
    _place(archive_of(runs) / "records" / record_id, store.root / record_id, runs)
    say(f"restored   record {record_id} from {archive_of(runs)}, since this run asks for it")
    return store.find(record_id)


def _moved(source: Path, target: Path, ids: list[str], sweep: str | None, verb: str) -> Move:
    if bool(ids) == (sweep is not None):
        raise OptionError(f"say what to {verb}: ids of records, or --sweep NAME; {_content_of(source)}")
    if source.resolve() == target.resolve():
        raise OptionError(f"{target} is the folder itself; name another one")
    done = Move(target)
    stores = RecordStore(source), RecordStore(target)
    if sweep is not None:
        if sweep in sweep_names(target) and sweep not in sweep_names(source):
            done.there = [each for each in _ids_in(target, sweep) if (stores[1].root / each).is_dir()]
            done.sweep = sweep
            return done
        done.sweep = sweep_in(source, sweep)
        _require_no_other_sweep(source, target, done.sweep)
        ids = sorted(ids_of_sweep(sweep_folder(source, done.sweep)))
        elsewhere = {one for name in sweep_names(source) if name != sweep for one in _ids_in(source, name)}
        here = [each for each in ids if (source / "records" / each).is_dir()]
        ids, done.shared = [i for i in here if i not in elsewhere], [i for i in here if i in elsewhere]
    done.there = [i for i in ids if is_plain(i) and not (stores[0].root / i).is_dir() and (stores[1].root / i).is_dir()]
    ids = [record_id for record_id in ids if record_id not in done.there]
    for record_id in ids:
        _require_record(stores[0], record_id)
    for record_id in ids:
        _require_free(stores, record_id)
    make_folder(stores[1].root)
    for folder in (target, target.parent):  # claims make folders whose names a power cut could take
        sync_folder(folder)
    for record_id in ids:
        _move_record(stores, record_id)
        done.records.append(record_id)
    if done.sweep is not None:
        _place(sweep_folder(source, done.sweep), sweep_folder(target, done.sweep), target)
    return done


def _content_of(runs: Path) -> str:
    number, names = len(RecordStore(runs).ids()), sweep_names(runs)
    return f"{runs} has {number} records" + (f" and the sweeps {', '.join(names)}" if names else "")


def _ids_in(runs: Path, sweep: str) -> set[str]:
    return ids_of_sweep(sweep_folder(runs, sweep))


def _require_no_other_sweep(source: Path, target: Path, sweep: str) -> None:
    folders = sweep_folder(source, sweep), sweep_folder(target, sweep)
    recover(folders[1].parent)
    if link := link_out(folders[0], source):
        raise MediaError(f"{link} is a link that leads out of {source}, so it is not followed; put files in its place")
    if folders[1].exists() and not _are_equal(*folders):
        raise OptionError(f"{target} has another sweep {sweep}; move that one to another folder first")


def _require_record(store: RecordStore, record_id: str) -> None:
    folder = store.root / record_id
    recover(store.root)
    if not is_plain(record_id) or not folder.is_dir():
        raise OptionError(f"{store.root.parent} has no record {record_id}; {did_you_mean(record_id, store.ids()[:20])}")
    if (link := link_out(folder, store.root.parent)) is not None:
        raise MediaError(f"record {record_id} is not followed: {link} is a link out of {store.root.parent}")


def _require_free(stores: Iterable[RecordStore], record_id: str) -> None:
    for store in stores:
        if (claimant := store.claimant(record_id)) is not None:
            raise MediaError(
                f"record {record_id} is being made or measured by process {claimant.get('pid', '?')} on "
                f"{claimant.get('host', '?')}; wait until that has ended"
            )


def _move_record(stores: tuple[RecordStore, RecordStore], record_id: str) -> None:
    source, target = stores
    first, second = sorted(stores, key=lambda store: str(store.root))  # so that no two wait for each other
    with first.claim(record_id, wait=True), second.claim(record_id, wait=True):
        _place(source.root / record_id, target.root / record_id, target.root.parent)


def _place(source: Path, target: Path, runs: Path) -> None:
    """Moves a folder to its place in another runs folder. What stood there is set aside, unless it is equal."""
    if not source.is_dir():  # another process has moved it
        return
    if os.path.lexists(target):
        if _are_equal(source, target):  # a copy to another disk, before which the old one could not be removed
            remove(source)
            return
        say(f"set aside  {target}; it is kept in {aside(target, runs)}")
    try:
        move(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target)
        remove(source)


def _copy(source: Path, target: Path) -> None:
    """Copies a folder to another disk.

    Raises:
        DamagedFileError: the copy differs; then there is none.
    """
    with whole_folder(target) as part:
        shutil.copytree(source, part, symlinks=True, dirs_exist_ok=True)
        if not _are_equal(source, part):
            raise DamagedFileError(f"the copy of {source} in {target.parent} differs from it; check both disks")


def _are_equal(one: Path, other: Path) -> bool:
    """Whether two folders have the same files with the same bytes, and the same links."""
    return _files_of(one) == _files_of(other)


def _files_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): f"-> {os.readlink(path)}" if path.is_symlink() else file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
