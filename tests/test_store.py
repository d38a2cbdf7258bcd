"""Records on disk: what is absent, damaged or unreadable, what is set aside, and what two writers keep."""

import errno
import json
import multiprocessing
import os
from pathlib import Path

import pytest
from record_content import METRICS, content, sound_record

from latentsync.errors import DamagedFileError
from latentsync.files import find_json, read_json, write_json
from latentsync.lab.commands.check import main as check_command
from latentsync.lab.commands.collect import main as collect_command
from latentsync.lab.commands.status import main as status_command
from latentsync.lab.console import complain, complaints
from latentsync.lab.records.claims import claimed, lock_notice
from latentsync.lab.records.identity import record_id
from latentsync.lab.records.store import (
    CURVES_FILE,
    MASK_FILE,
    METRICS_FILE,
    PROVEN,
    RECORD_FILE,
    RESULT_FILE,
    SET_ASIDE_DIR,
    Record,
    RecordStore,
)
from latentsync.lab.records.sweeps import PLAN_FILE, sweep_cells, sweep_records
from latentsync.lab.tables.tidy import collect_wide
from latentsync.proof import STRETCH_BYTES, STRETCHES, disagreement, proof_of

NUMBERS = {record_id({"number": number}): number for number in (1, 2)}
A, B = sorted(NUMBERS)
IDS = (A, B)


def make(runs: Path, name: str, **facts) -> Record:
    return sound_record(runs, NUMBERS[name], **facts)


@pytest.fixture
def runs(tmp_path) -> Path:
    """A runs folder with the records A and B of the sweep `s`."""
    outcomes = [{"record": make(tmp_path, i).id, "status": "done", "pair": f"pair {i}"} for i in IDS]
    write_json(tmp_path / "sweeps/s/cells/1.json", {"overrides": [], "noted": 0.0, "outcomes": outcomes})
    return tmp_path


def unreadable(monkeypatch, *ends: str, number: int = errno.EIO, times: int = 1000) -> None:
    """Reading of a file whose path ends so fails."""
    read, left = Path.read_bytes, [times]

    def failing(path: Path) -> bytes:
        if str(path).endswith(ends) and left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)


def test_reading_tells_absent_damaged_and_unreadable_apart(tmp_path, monkeypatch):
    path = tmp_path / "one.json"
    assert read_json(path) is None and read_json(path / "below") is None
    for text in ("", '{"a": 1', "[1]", "null", "[" * 200_000, '"a"', "\xff"):
        path.write_text(text, encoding="latin-1")
        with pytest.raises(DamagedFileError, match="one.json"):
            read_json(path)
        assert find_json(path) is None
    with pytest.raises(DamagedFileError):
        read_json(tmp_path)
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}
    unreadable(monkeypatch, "one.json", number=errno.ESTALE)
    with pytest.raises(OSError, match="one.json"):
        find_json(path)


HALF = [
    "", "{}", "[" * 200_000, '{"pair": 3}', json.dumps(content(A) | {"options": {}}),
    json.dumps(content(A) | {"video": {"num_frames": "many"}}), json.dumps(content(A) | {"files": {"../x": {}}}),
    json.dumps(content(A) | {"files": {"nul\0": {}}}),
    json.dumps(content(A) | {"options": content(A)["options"] | {"size_px": "wide"}}),
    json.dumps(content(A) | {"made": 3}), json.dumps({k: v for k, v in content(A).items() if k != "id"}),
    json.dumps(content(A) | {"pair": content(A)["pair"] | {"group": ["a"]}}),
    json.dumps(content(A) | {"video": {"num_frames": 3, "fps": "many"}}),
]  # fmt: skip


@pytest.mark.parametrize("text", HALF, ids=range(len(HALF)))
def test_what_is_no_record_is_named_left_out_and_set_aside_when_it_is_made_again(runs, text, capsys):
    store, path = RecordStore(runs), runs / f"records/{A}" / RECORD_FILE
    path.write_text(text)
    (path.parent / "mine.txt").write_text("mine")
    assert store.find(A) is None and store.lacks(A)
    for command in (status_command, check_command):
        assert command([str(runs)]) == 1
        assert f"{A}: record.json" in capsys.readouterr().out
    table = runs / "t.csv"
    assert collect_command([str(runs), "--sweep", "s", "--wide", "--output", str(table)]) == 1
    assert f"left out: record {A} is damaged" in capsys.readouterr().err
    assert len(table.read_text().splitlines()) == 2  # heading, b2
    make(runs, A)
    (kept,) = (runs / SET_ASIDE_DIR).iterdir()
    assert kept.name.startswith(f"{A}-") and (kept / "mine.txt").read_text() == "mine"
    assert str(kept) in capsys.readouterr().out and not (store.root / f"{A}/mine.txt").exists()
    assert len(collect_wide(runs, "s")) == 2


def test_a_record_that_cannot_be_read_now_is_named_and_stays(runs, monkeypatch, capsys):
    store = RecordStore(runs)
    unreadable(monkeypatch, f"{A}/{RECORD_FILE}")
    for ask in (store.find, store.look):
        with pytest.raises(OSError, match="Input/output"):
            ask(A)
    assert not store.lacks(A)
    assert collect_command([str(runs), "--wide", "--output", str(runs / "t.csv")]) == 1
    assert f"{A}/{RECORD_FILE} cannot be read" in capsys.readouterr().err
    assert status_command([str(runs)]) == 1
    printed = capsys.readouterr().out
    assert f"failed   pair {A}" in printed and f"BROKEN  {A}: " in printed and "Input/output" in printed
    with pytest.raises(OSError, match="Input/output"):
        make(runs, A)
    assert not (runs / SET_ASIDE_DIR).exists() and (store.root / A / RESULT_FILE).is_file()


def test_a_folder_that_cannot_be_listed_is_not_empty(runs, monkeypatch, capsys):
    def failing(listed):
        def of_folder(folder):
            if str(folder).endswith(("records", "cells")):
                raise OSError(errno.ESTALE, "Stale file handle", str(folder))
            return listed(folder)

        return of_folder

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    for more in ([], ["--sweep", "s"]):
        assert collect_command([str(runs), *more, "--wide", "--output", str(runs / "t.csv")]) == 1
        assert "Stale file handle" in capsys.readouterr().err


def damaged(how: str, path: Path) -> None:
    size = path.stat().st_size
    if how == "missing":
        path.unlink()
    elif how == "cut":
        os.truncate(path, size // 2)
    else:
        start, length = {"zeros": (0, size), "end": (size - 10, 10), "between": (STRETCH_BYTES + 10, 1)}[how]
        data = bytearray(path.read_bytes())
        data[start : start + length] = bytes(
            (byte + 1) % 256 if how == "between" else 0 for byte in data[start:][:length]
        )
        path.write_bytes(data)


@pytest.mark.parametrize("name", PROVEN)
@pytest.mark.parametrize("how", ["missing", "cut", "zeros", "end"])
def test_a_record_whose_files_do_not_agree_is_named_and_made_anew(runs, how, name, capsys):
    damaged(how, runs / f"records/{A}" / name)
    assert RecordStore(runs).find(A) is None
    assert status_command([str(runs)]) == 1
    assert f"BROKEN  {A}: {name}" in capsys.readouterr().out
    assert make(runs, A).fault(is_deep=True) is None


def test_check_compares_the_hashes_of_whole_files(runs, capsys):
    assert check_command([str(runs)]) == 0
    assert "2 records, 0 faults" in capsys.readouterr().out
    damaged("between", runs / f"records/{B}" / RESULT_FILE)
    assert RecordStore(runs).find(B) is not None  # the byte lies between the stretches of the sample
    assert check_command([str(runs), "--json"]) == 1
    (fault,) = json.loads(capsys.readouterr().out)["faults"]
    assert fault.startswith(f"{B}: {RESULT_FILE} has other contents")


def test_an_older_record_without_a_proof_stays_valid(tmp_path):
    with RecordStore(tmp_path).new(A) as folder:
        write_json(folder / RECORD_FILE, content(A))
    assert RecordStore(tmp_path).look(A).fault() is None


def test_a_proof_covers_small_and_large_files(tmp_path):
    for size in (1, STRETCHES * STRETCH_BYTES, STRETCHES * STRETCH_BYTES + 1):
        path = tmp_path / f"{size}"
        path.write_bytes(os.urandom(size))
        proof = proof_of([path])
        assert disagreement(tmp_path, proof, is_deep=True) is None
        path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
        assert "other contents" in disagreement(tmp_path, proof)


def add(runs: str, name: str, started, go) -> None:
    started.set()
    go.wait()
    store = RecordStore(Path(runs))
    for number in range(20):
        store.merge_measured(Record(store.root / A), {f"{name}{number}": {"value": 1.0}}, {f"{name}{number}": [1.0]})


def test_two_that_measure_one_record_at_once_keep_both(runs):
    context = multiprocessing.get_context("fork")
    go = context.Event()
    writers = []
    for name in "xy":
        started = context.Event()
        writers.append(context.Process(target=add, args=(str(runs), name, started, go)))
        writers[-1].start()
        started.wait()
    go.set()
    for writer in writers:
        writer.join()
    record = Record(runs / f"records/{A}")
    added = {f"{name}{number}" for name in "xy" for number in range(20)}
    assert set(record.metrics) == {*METRICS, *added} and set(record.curves) == {"lip_gap", *added}
    assert not list((runs / "records").glob(".claim-*"))


def test_an_error_of_reading_costs_no_earlier_values_and_a_damaged_file_is_set_aside(runs, monkeypatch, capsys):
    store, record = RecordStore(runs), Record(runs / f"records/{A}")
    before = record.metrics_path.read_bytes()
    with monkeypatch.context() as patch:
        unreadable(patch, f"{A}/{METRICS_FILE}", f"{A}/{CURVES_FILE}")
        with pytest.raises(OSError, match="Input/output"):
            store.merge_measured(record, {"psnr": {"value": 1.0}}, {})
    assert record.metrics_path.read_bytes() == before
    record.metrics_path.write_text('{"psnr": 3}')
    assert record.metrics == {} and "measure" in capsys.readouterr().err
    store.merge_measured(record, {"psnr": {"value": 1.0}}, {})
    (kept,) = (runs / SET_ASIDE_DIR).iterdir()
    assert kept.read_text() == '{"psnr": 3}' and kept.name.startswith(f"{A}-{METRICS_FILE}-")
    assert record.metrics == {"psnr": {"value": 1.0}}


def test_a_sweep_keeps_its_rows_without_its_notes_and_has_its_own_labels(runs, capsys):
    labels = {"pair": {"name": "mine", "gender": "male", "group": "bob", "clip": {"name": "m.mp4"}}}
    cells = [{"overrides": [f"sampler.seed={n}"], "records": {"mine": i}, "labels": {"mine": labels}, "reason": None}
             for n, i in enumerate(IDS)]  # fmt: skip
    write_json(runs / "sweeps/s" / PLAN_FILE, {"fingerprint": "", "reported": True, "cells": cells})
    (runs / "sweeps/s/cells/1.json").write_text("")
    with complaints() as left_out:
        table = collect_wide(runs, "s")
    assert len(left_out) == 1 and "cells/1.json" in left_out[0] and sweep_cells(runs / "sweeps/none") == []
    assert table[["record", "pair", "gender", "group", "clip", "voice"]].to_numpy().tolist() == [
        [i, "mine", "male", "bob", "m.mp4", "g-v.wav"] for i in IDS
    ]
    assert set(collect_wide(runs)["gender"]) == {"female"}  # the records' own
    (runs / "sweeps/s/cells/1.json").unlink()
    assert len(sweep_records(runs, "s")) == 2 and "left out" in capsys.readouterr().err


def test_a_record_that_a_sweep_made_and_lost_is_named(runs, capsys):
    os.rename(runs / f"records/{A}", runs / "elsewhere")
    assert [record.id for record in sweep_records(runs, "s")] == [B]
    assert f"record {A} was made and is gone" in capsys.readouterr().err
    write_json(
        runs / "sweeps/s/cells/2.json", {"overrides": [], "outcomes": [{"record": "../elsewhere", "status": "done"}]}
    )
    assert [record.id for record in sweep_records(runs, "s")] == [B]


def test_complaints_are_printed_once_each_and_decide_the_status(capsys):
    with complaints() as outer:
        with complaints() as inner:
            complain("left out: a")
        complain("left out: a")
        complain("left out: b")
    assert inner == ["left out: a"] and outer == ["left out: a", "left out: b"]
    assert capsys.readouterr().err == "left out: a\nleft out: b\n"


def test_a_file_system_without_locks_is_named_and_claims_succeed_there(tmp_path, monkeypatch):
    assert lock_notice(tmp_path / "new") is None

    def refuse(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert "has no locks" in lock_notice(tmp_path / "new") and not (tmp_path / "new").exists()
    with claimed(tmp_path / ".claim-a") as is_ours:
        assert is_ours
    assert Record(tmp_path).metrics == {} and MASK_FILE in PROVEN
