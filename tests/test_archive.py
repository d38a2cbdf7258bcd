"""`latentsync archive` and `restore`: what is moved is whole in one place, and sweeps and tables say where it is."""

import errno
import os
import shutil

import pytest
from record_content import sound_record

from latentsync import disk
from latentsync.errors import DamagedFileError, MediaError, OptionError
from latentsync.files import write_json
from latentsync.lab.commands.archive import main as archive_main
from latentsync.lab.commands.restore import main as restore_main
from latentsync.lab.console import complaints
from latentsync.lab.records import archive as module
from latentsync.lab.records.archive import archive, back_from_archive, restore
from latentsync.lab.records.store import RESULT_FILE, RecordStore, record_at
from latentsync.lab.records.sweeps import sweep_names
from latentsync.lab.sweeps.status import status_table, statuses
from latentsync.lab.tables.tidy import collect_wide


@pytest.fixture
def runs(tmp_path):
    """A runs folder with the sweeps s (records 1 and 2) and t (2 and 3), and the ids of all four records."""
    runs = tmp_path / "runs"
    ids = [sound_record(runs, seed, seed=seed).id for seed in (1, 2, 3, 4)]
    for name, of in (("s", ids[:2]), ("t", ids[1:3])):
        outcomes = [{"pair": f"p{i}", "status": "done", "record": record} for i, record in enumerate(of)]
        write_json(runs / f"sweeps/{name}/cells/1.json", {"overrides": [], "noted": 0.0, "outcomes": outcomes})
    return runs, *ids


def tree(folder):
    """All files below a folder with their bytes, without locks and caches."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.name != "index.parquet"
    }


def test_a_sweep_takes_its_own_records_and_comes_back(runs, capsys):
    folder, first, shared, *others = runs
    before = tree(folder)
    assert archive_main([str(folder), "--sweep", "s"]) == 0
    printed = capsys.readouterr().out
    assert f"{folder}/archive has the sweep s and 1 records of {folder} now" in printed
    assert "1 records stay, since other sweeps have them too" in printed
    assert sweep_names(folder) == ["t"] and RecordStore(folder).ids() == sorted([shared, *others])
    assert first not in set(collect_wide(folder)["record"])
    with complaints() as lines:
        assert list(collect_wide(folder / "archive", "s")["record"]) == [first]
    assert lines == [] and f"1 of the records of the sweep s stayed in {folder}" in capsys.readouterr().out
    assert restore_main([str(folder), "--sweep", "s"]) == 0
    assert tree(folder) == before
    assert set(collect_wide(folder, "s")["record"]) == {first, shared}


def test_an_archived_record_of_a_sweep_is_said_and_is_no_failure(runs, capsys):
    folder, _, second, _, _ = runs
    archive(folder, [second])
    with complaints() as lines:
        assert len(collect_wide(folder, "s")) == 1
    assert lines == []
    assert f"1 of the records of the sweep s is in {folder}/archive and not shown" in capsys.readouterr().out
    table = status_table(statuses(folder)).splitlines()
    assert table[0].split() == ["sweep", "done", "failed", "missing", "running", "archived"]
    assert [line.split()[1:] for line in table[1:]] == [["1", "0", "0", "0", "1"]] * 2
    with pytest.raises(OptionError, match=f"latentsync restore {folder} {second}"):
        record_at(second, folder)
    restore(folder, [second])
    assert len(collect_wide(folder, "s")) == 2 and "archived" not in status_table(statuses(folder))


def test_a_record_that_is_asked_for_comes_back_unless_it_is_damaged(runs, capsys):
    folder, first, second, *_ = runs
    archive(folder, [first, second])
    store = RecordStore(folder)
    with store.claim(first, wait=True):
        assert back_from_archive(store, first).fault(is_deep=True) is None
    assert f"restored   record {first} from {folder}/archive" in capsys.readouterr().out
    (folder / "archive" / "records" / second / RESULT_FILE).write_bytes(b"cut")
    assert back_from_archive(store, second) is None and back_from_archive(store, "0123456789abcdef") is None
    assert f"made anew  record {second} is damaged" in capsys.readouterr().out
    assert (folder / "archive" / "records" / second).is_dir()


def test_what_cannot_be_moved_is_refused_before_anything_moves(runs, tmp_path, capsys):
    folder, first, second, *_ = runs
    before = tree(folder)
    for arguments, message in (
        ([str(folder)], "say what to archive: ids of records, or --sweep NAME"),
        ([str(folder), first, "--sweep", "s"], "say what to archive"),
        ([str(folder), first, first[:-1] + "x"], f"did you mean {first}?"),
        ([str(folder), "../sweeps"], "has no record ../sweeps"),
        ([str(folder), "--sweep", "u"], "has no sweep u"),
        ([str(folder), first, "--to", str(folder)], "is the folder itself"),
    ):
        assert archive_main(arguments) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and message in error
    with RecordStore(folder).claim(second, wait=True), pytest.raises(MediaError, match="is being made or measured by"):
        archive(folder, [first, second])
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "archive").symlink_to(outside)
    with pytest.raises(MediaError, match="is a link that leads out"):
        archive(folder, [first])
    (folder / "archive").unlink()
    assert tree(folder) == before and not list(outside.iterdir())


def test_another_sweep_of_the_same_name_is_not_mixed_with_it(runs):
    folder, _, _, third, _ = runs
    archive(folder, sweep="t")
    outcomes = [{"pair": "p", "status": "done", "record": third}]
    write_json(folder / "sweeps/t/cells/2.json", {"overrides": [], "noted": 0.0, "outcomes": outcomes})
    before = tree(folder)
    for move in (archive, restore):
        with pytest.raises(OptionError, match="has another sweep t"):
            move(folder, sweep="t")
    assert tree(folder) == before


def test_of_two_different_copies_both_stay(runs, capsys):
    folder, first, *_ = runs
    copy = shutil.copytree(folder / "records" / first, folder / "archive" / "records" / first)
    (copy / "metrics.json").write_text("{}")
    archive(folder, [first])
    assert "set aside" in capsys.readouterr().out
    (kept,) = (folder / "archive" / "set_aside").iterdir()
    assert (kept / "metrics.json").read_text() == "{}"
    assert (folder / "archive" / "records" / first / "metrics.json").read_text() != "{}"


def end(path):
    raise KeyboardInterrupt


class OtherDisk(disk.System):
    """The system of two disks: a rename from one folder to another one is refused."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def rename(self, old, new):
        if (self.first in old.parents and self.second in new.parents) or (
            self.second in old.parents and self.first in new.parents
        ):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(old))
        super().rename(old, new)


def test_to_another_disk_it_is_copied_compared_and_then_removed(runs, tmp_path, monkeypatch):
    folder, first, *_ = runs
    before, away = tree(folder), tmp_path / "away"
    monkeypatch.setattr(disk, "system", OtherDisk(folder, away))
    with monkeypatch.context() as patch:
        patch.setattr(module, "remove", end)  # a kill after the copy
        with pytest.raises(KeyboardInterrupt):
            archive(folder, sweep="s", folder=away)
    assert RecordStore(folder).look(first) and RecordStore(away).look(first)
    archive(folder, sweep="s", folder=away)
    assert RecordStore(folder).look(first) is None and RecordStore(away).look(first).fault(is_deep=True) is None
    restore(folder, sweep="s", folder=away)
    assert tree(folder) == before and not tree(away)


def test_a_copy_that_differs_leaves_the_original(runs, tmp_path, monkeypatch):
    folder, first, *_ = runs
    before, away = tree(folder), tmp_path / "away"
    monkeypatch.setattr(disk, "system", OtherDisk(folder, away))
    copytree = shutil.copytree

    def damaged(source, target, **options):
        copytree(source, target, **options)
        (target / RESULT_FILE).write_bytes(b"cut")

    monkeypatch.setattr(shutil, "copytree", damaged)
    with pytest.raises(DamagedFileError, match="differs from it; check both disks"):
        archive(folder, [first], folder=away)
    assert tree(folder) == before and not tree(away)
