"""A sweep handed on as one file: equal where it arrives, and nothing in the file is believed."""

import io
import json
import shutil
import tarfile

import pandas as pd
import pytest
from record_content import sound_record

from latentsync.errors import MediaError, OptionError
from latentsync.files import write_json
from latentsync.lab.commands.import_ import main as import_main
from latentsync.lab.jobs.exchange import INDEX, export, take
from latentsync.lab.records.inputs import input_file
from latentsync.lab.records.store import RecordStore
from latentsync.lab.tables.tidy import collect_wide
from latentsync.weights import file_sha256


@pytest.fixture
def runs(tmp_path):
    """A runs folder with a sweep of two records of one clip and voice, and one record beside it."""
    runs, parts = tmp_path / "runs", {}
    for kind, name in (("clip", "g-a.mp4"), ("voice", "g-v.wav")):
        path = tmp_path / "mine" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode() * 1000)
        parts[kind] = {"name": name, "path": str(path), "sha256": file_sha256(path)}
    records = [sound_record(runs, seed, seed=seed, **parts) for seed in (1, 2, 3)]
    outcomes = [{"pair": "g-a__g-v", "status": "done", "record": record.id} for record in records[:2]]
    write_json(runs / "sweeps/s/cells/1.json", {"overrides": [], "noted": 0.0, "outcomes": outcomes})
    return runs


@pytest.fixture
def archive(runs, tmp_path):
    export(runs, None, tmp_path / "s.tar")
    return tmp_path / "s.tar"


def changed(archive, edit):
    """A copy of an archive whose entries, name -> bytes, `edit` has changed."""
    with tarfile.open(archive) as tar:
        entries = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
    edit(entries)
    copy = archive.with_name("changed.tar")
    with tarfile.open(copy, "w") as tar:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return copy


def test_tables_are_equal_elsewhere_and_inputs_come_along(runs, archive, tmp_path):
    there = tmp_path / "other" / "runs"
    done = take(archive, there)
    assert len(done.records) == 2 and done.inputs == 2 and not done.refused
    pd.testing.assert_frame_equal(collect_wide(there, "s"), collect_wide(runs, "s"))
    shutil.rmtree(tmp_path / "mine")
    (record, _) = RecordStore(there).all()
    assert input_file(record, "clip", None).read_bytes() == b"g-a.mp4" * 1000
    assert not record.fault(is_deep=True)
    again = take(archive, there)
    assert again.there == done.records and not again.records


def test_equal_sweeps_give_equal_files(runs, archive, tmp_path):
    export(runs, "s", tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


def test_inputs_can_stay_and_a_missing_one_is_named(runs, tmp_path):
    export(runs, "s", tmp_path / "bare.tar", with_inputs=False)
    assert take(tmp_path / "bare.tar", tmp_path / "bare").inputs == 0
    shutil.rmtree(tmp_path / "mine")
    done = export(runs, "s", tmp_path / "less.tar")
    assert done.inputs == 0 and len(done.records) == 2 and "g-a.mp4" in done.refused[0]


@pytest.mark.parametrize(
    "name", ["../evil.json", "/etc/evil", "records/../x/record.json", "sweeps/s/cells/../../x.json", "records/ab/.ssh"]
)
def test_a_name_that_leads_elsewhere_takes_nothing(archive, tmp_path, name):
    bad = changed(archive, lambda entries: entries.update({name: b"{}"}))
    with pytest.raises(MediaError, match="no export writes"):
        take(bad, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_link_takes_nothing(archive, tmp_path):
    with tarfile.open(archive, "a") as tar:
        link = tarfile.TarInfo("records/abcd/result.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(MediaError, match="no export writes"):
        take(archive, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("file", ["record.json", "result.mp4"])
def test_a_record_that_is_not_what_its_id_says_is_refused_and_the_others_come(archive, tmp_path, capsys, file):
    def edit(entries):
        name = next(name for name in entries if name.endswith(file))
        if file == "record.json":
            content = json.loads(entries[name])
            content["identity"]["number"] += 10
            entries[name] = json.dumps(content).encode()
        else:
            entries[name] = entries[name][:-1] + bytes([entries[name][-1] ^ 1])

    there = tmp_path / "new"
    assert import_main([str(changed(archive, edit)), str(there)]) == 1
    assert capsys.readouterr().out.count("REFUSED  record ") == 1
    assert len(list((there / "records").iterdir())) == len(RecordStore(there).all()) == 1


def test_an_input_that_is_not_what_its_name_says_is_refused(archive, tmp_path):
    bad = changed(archive, lambda entries: entries.update({next(n for n in entries if "g-a.mp4" in n): b"another"}))
    done = take(bad, tmp_path / "new")
    assert done.inputs == 1 and len(done.records) == 2 and "g-a.mp4 hashes to" in done.refused[0]
    assert not list((tmp_path / "new" / "inputs").rglob("g-a.mp4"))


def test_a_file_of_another_kind_or_of_a_later_version_is_refused(archive, tmp_path):
    text, cut = tmp_path / "text.tar", tmp_path / "cut.tar"
    text.write_text("no archive")
    cut.write_bytes(archive.read_bytes()[:3000])
    later = changed(archive, lambda entries: entries.update({INDEX: b'{"format": 2, "sweep": "s"}'}))
    for file, words in ((text, "no whole archive"), (cut, "no"), (later, "format 2.*update latentsync")):
        with pytest.raises(MediaError, match=words):
            take(file, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_another_sweep_of_the_name_stays_as_it_is(archive, tmp_path):
    there = tmp_path / "new"
    write_json(there / "sweeps/s/plan.json", {"cells": []})
    with pytest.raises(OptionError, match="another sweep s; give this one a name with --name"):
        take(archive, there)
    assert take(archive, there, "theirs").sweep == "theirs"
    assert len(collect_wide(there, "theirs")) == 2
