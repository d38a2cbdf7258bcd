"""The index of a store: nothing is read twice, every change shows at once, and it is never the truth."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from record_content import METRICS, sound_record

from latentsync.files import read_json, write_json
from latentsync.lab.analysis.answers import compare
from latentsync.lab.commands.status import main as status_command
from latentsync.lab.records import index
from latentsync.lab.records.columns import facts_of_labels, facts_of_record
from latentsync.lab.records.index import INDEX_FILE
from latentsync.lab.records.rows import fact_names
from latentsync.lab.records.store import METRICS_FILE, RECORD_FILE, RESULT_FILE, RecordStore
from latentsync.lab.records.sweeps import sweep_records
from latentsync.lab.sweeps.status import status_of
from latentsync.lab.tables.tidy import collect, collect_wide

ODD = {
    "of_ones_own": {"value": True, "version": 2, "used": 3},
    "psnr": {"value": float("nan"), "unit": "dB", "network": ""},
    "ssim": {"value": None, "reason": "no frame shows a face", "extra": ["kept"]},
}


@pytest.fixture
def settled(monkeypatch):
    """Records are kept however young they are."""
    monkeypatch.setattr(index, "SETTLED_S", -1.0)


@pytest.fixture
def runs(tmp_path) -> Path:
    """A runs folder with three records in a sweep `s`, which calls the third one's pair otherwise."""
    records = [sound_record(tmp_path, number, guidance_scale=1 + number / 2) for number in range(3)]
    write_json(records[1].metrics_path, {**METRICS, **ODD})
    outcomes = [{"record": record.id, "status": "done", "pair": f"pair {record.id}"} for record in records]
    outcomes[2]["labels"] = {"pair": {"name": "mine", "gender": "male", "clip": {"name": "m-a.mp4"}, "group": "x"}}
    write_json(tmp_path / "sweeps/s/cells/1.json", {"overrides": [], "noted": 0.0, "outcomes": outcomes})
    return tmp_path


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The names of the files that are opened or read."""
    names, call = [], Path.open

    def noting(path, *args, **options):
        names.append(path.name)
        return call(path, *args, **options)

    monkeypatch.setattr(Path, "open", noting)
    return names


def of_records(opened: list[str]) -> list[str]:
    return [name for name in opened if name in (RECORD_FILE, METRICS_FILE, RESULT_FILE)]


def tables(runs: Path) -> list[pd.DataFrame]:
    return [table(runs, sweep) for table in (collect, collect_wide) for sweep in (None, "s")]


def assert_same(some: list[pd.DataFrame], others: list[pd.DataFrame]) -> None:
    for one, other in zip(some, others, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_a_warm_store_opens_no_record(runs, settled, opened, capsys):
    first = tables(runs)
    assert opened.count(RECORD_FILE) == 3  # each once
    assert {*first[0]["metric"]} == {*METRICS, *ODD} and set(collect_wide(runs, "s")["pair"]) == {"g-a__g-v", "mine"}
    opened.clear()
    assert_same(tables(runs), first)
    assert status_command([str(runs)]) == 0 and status_of(runs, "s").count("done") == 3
    compare(collect(runs, "s"), baseline=1.0, metrics=["sync_mini_offset"])
    records = sweep_records(runs, "s")
    assert of_records(opened) == []
    assert records[-1].content["pair"]["name"] == "mine" and of_records(opened) == [RECORD_FILE]


def test_each_change_shows_at_once(runs, settled, capsys):
    collect_wide(runs)
    records = sweep_records(runs, "s")
    RecordStore(runs).merge_measured(records[0], {"psnr": {"value": 30.5}}, {})
    assert collect_wide(runs, "s")["psnr"].max() == 30.5
    sound_record(runs, 7, guidance_scale=9.0)
    assert collect_wide(runs)["guidance_scale"].max() == 9.0
    note = read_json(runs / "sweeps/s/cells/1.json")
    note["outcomes"][2]["labels"]["pair"]["name"] = "another name"
    write_json(runs / "sweeps/s/cells/1.json", note)
    assert collect_wide(runs, "s")["pair"].iloc[-1] == "another name"
    shutil.rmtree(records[0].folder)
    assert len(collect_wide(runs)) == 3 and len(collect_wide(runs, "s")) == 2
    assert "was made and is gone" in capsys.readouterr().err
    path = records[1].folder / RECORD_FILE
    path.write_text(path.read_text().replace('"num_frames": 30', '"num_frames": "3"'))
    assert len(collect_wide(runs)) == 2 and "is no whole record" in capsys.readouterr().err
    with (records[2].folder / RESULT_FILE).open("r+b") as file:
        file.write(b"other bytes")
    for _ in range(2):  # what has a fault is named each time
        assert len(collect_wide(runs)) == 1 and "has other contents" in capsys.readouterr().err
        assert status_command([str(runs)]) == 1 and "has other contents" in capsys.readouterr().out


def test_a_record_edited_by_hand_has_its_row_and_is_named_each_time(runs, settled, opened, capsys):
    path = sweep_records(runs, "s")[0].folder / RECORD_FILE
    path.write_text(path.read_text().replace('"number": 0', '"number": 5'))
    for _ in range(2):
        opened.clear()
        assert len(collect_wide(runs)) == 3 and RECORD_FILE in opened
        assert status_command([str(runs)]) == 1 and "was edited" in capsys.readouterr().out


def test_metrics_that_are_damaged_are_named_each_time(runs, settled, capsys):
    sweep_records(runs, "s")[0].metrics_path.write_text("{")
    for _ in range(2):
        assert collect(runs)["record"].nunique() == 2 and "`latentsync measure` writes it" in capsys.readouterr().err


def test_young_records_are_not_kept(runs, opened):
    collect(runs)
    assert not (runs / INDEX_FILE).exists()
    opened.clear()
    collect(runs)
    assert opened.count(RECORD_FILE) == 3


def test_few_new_records_do_not_write_a_large_index_anew(runs, settled, monkeypatch):
    monkeypatch.setattr(index, "WORTH", 2)
    collect(runs)
    before = (runs / INDEX_FILE).stat().st_ino
    sound_record(runs, 7)
    assert len(collect_wide(runs)) == 4 and (runs / INDEX_FILE).stat().st_ino == before


@pytest.mark.parametrize("how", ["cut", "text", "folder", "other version", "link out", "no right to write"])
def test_the_index_is_only_a_cache(runs, settled, how, opened, monkeypatch, tmp_path_factory):
    path = runs / INDEX_FILE
    first = tables(runs)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif how == "text":
        path.write_text("PAR1")
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "other version":
        monkeypatch.setattr(index, "__version__", "0.0.1")
    elif how == "link out":
        outside = tmp_path_factory.mktemp("outside") / INDEX_FILE
        path.rename(outside)
        path.symlink_to(outside)
    else:
        path.unlink()
        monkeypatch.setattr("latentsync.files.place", fail)
    opened.clear()
    assert_same(tables(runs), first)
    assert opened.count(RECORD_FILE) >= 3


def fail(*paths):
    raise PermissionError(13, "Permission denied")


def test_no_damage_of_the_index_reaches_a_table(runs, settled):
    path = runs / INDEX_FILE
    first = [collect(runs)]
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        assert_same([collect(runs)], first)


def test_a_record_with_a_link_is_looked_at_each_time(runs, settled, opened):
    folder = sweep_records(runs, "s")[0].folder
    (folder / METRICS_FILE).rename(runs / "shared.json")
    (folder / METRICS_FILE).symlink_to(runs / "shared.json")
    for _ in range(2):
        opened.clear()
        assert len(collect_wide(runs)) == 3 and of_records(opened).count(RECORD_FILE) == 1


def test_facts_and_labels_name_the_columns_of_rows(runs):
    record = sweep_records(runs, "s")[-1]
    assert [*facts_of_record(record.content), "tags", "remark", "seconds"] == list(fact_names())
    facts = facts_of_record(record.content)
    assert facts == facts_of_record(record.own_content) | facts_of_labels(record.labels)
    assert facts["pair"] == "mine" and facts["clip"] == "m-a.mp4" and facts["group"] == "x"


def test_a_copy_of_a_store_reads_its_records(runs, settled, opened):
    first = [collect(runs)]
    copied = runs.parent / "copied"
    shutil.copytree(runs, copied)
    os.utime(copied / INDEX_FILE)
    opened.clear()
    assert_same([collect(copied)], first)
    assert opened.count(RECORD_FILE) == 3
