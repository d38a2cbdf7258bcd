"""Files of others: a runs folder whose links lead elsewhere, and whose names are code, paths or commands."""

import os
import shutil
from html import escape

import pytest
from record_content import content
from written_sweep import write_sweep

from latentsync.errors import MediaError, OptionError
from latentsync.files import leads_out, link_out, write_json
from latentsync.lab.commands import publish, report, status
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.records.store import RECORD_FILE, RESULT_FILE, RecordStore
from latentsync.lab.records.sweeps import records_in
from latentsync.lab.tables.tidy import collect_wide
from latentsync.lab.widgets.comparison import render
from latentsync.lab.widgets.explorer import Explorer
from latentsync.names import is_plain

MARKUP = "<img src=x onerror=alert(1)>"
PATHS = ("", ".", "..", "../other", "/etc", "a/b", ".hidden", "nul\0")


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    write_sweep(folder, "foreign")
    return folder


def test_links_count_by_where_they_lead(tmp_path):
    root, other = tmp_path / "root", tmp_path / "other"
    (root / "inner").mkdir(parents=True)
    other.mkdir()
    (root / "to-inner").symlink_to("inner")
    (root / "to-other").symlink_to(other)
    (root / "inner" / "file").symlink_to("../../other/file")
    (tmp_path / "link").symlink_to(root)
    assert not leads_out(root / "to-inner" / "new", root) and not leads_out(root / "absent", root)
    assert leads_out(root / "to-other" / "file", root) and leads_out(root / "inner" / "file", root)
    assert link_out(root, root) == root / "to-other" and link_out(root / "absent", root) is None
    assert not leads_out(tmp_path / "link" / "inner", tmp_path / "link")  # the folder itself may be a link


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_record_that_a_link_brings_from_elsewhere_is_left_out(runs, tmp_path, what, capsys):
    store = RecordStore(runs)
    first = store.all()[0].id
    count = len(store.all())
    place = {"file": store.root / first / RESULT_FILE, "folder": store.root / first}[what]
    elsewhere = tmp_path / "elsewhere"
    shutil.move(place, elsewhere)
    place.symlink_to(elsewhere)
    assert store.find(first) is None
    assert len(store.all()) == count - 1
    assert f"left out: record {first} is not followed" in capsys.readouterr().err


def test_a_folder_of_records_that_leads_elsewhere_is_refused(runs, tmp_path):
    shutil.move(runs / "records", tmp_path / "elsewhere")
    (runs / "records").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MediaError, match="is a link that leads out of"):
        records_in(runs)


def test_a_link_within_the_runs_folder_is_followed(runs):
    store = RecordStore(runs)
    first = store.all()[0]
    (runs / "videos").mkdir()
    shutil.move(first.video_path, runs / "videos" / "a.mp4")
    first.video_path.symlink_to("../../videos/a.mp4")
    assert store.find(first.id) is not None


@pytest.mark.parametrize("part", ["", "cells", "videos"])
def test_nothing_is_read_or_written_where_a_sweeps_link_leads(runs, tmp_path, part, capsys):
    place = sweep_folder(runs, "foreign") / part
    elsewhere = tmp_path / "elsewhere"
    shutil.move(place, elsewhere) if place.is_dir() else elsewhere.mkdir()
    place.symlink_to(elsewhere)
    with pytest.raises(MediaError, match="is a link that leads out of"):
        sweep_folder(runs, "foreign")
    assert report.main([str(runs), "--sweep", "foreign"]) == 2
    assert "is a link that leads out of" in capsys.readouterr().err


@pytest.mark.parametrize("name", PATHS)
def test_names_of_sweeps_and_records_never_lead_elsewhere(runs, name):
    assert not is_plain(name)
    with pytest.raises(OptionError):
        sweep_folder(runs, name)
    write_json(runs / RECORD_FILE, content("x", "a__b", "female", 1, 1.0))
    store = RecordStore(runs)
    assert store.find(name) is None
    with pytest.raises(OptionError), store.claim(name, wait=False):
        pass


def test_ids_in_the_notes_of_others_lead_nowhere(runs, tmp_path, capsys):
    outside = tmp_path / "outside"
    shutil.copytree(RecordStore(runs).all()[0].folder, outside)
    outcome = {"record": "../../outside", "status": "done", "pair": "a__b"}
    note = {"overrides": ["sampler.seed=1"], "noted": 0.0, "outcomes": [outcome]}
    before = {record.id for record in records_in(runs, "foreign")}
    write_json(sweep_folder(runs, "foreign") / "cells" / "x.json", note)
    assert {record.id for record in records_in(runs, "foreign")} == before
    assert status.main([str(runs)]) in (1, 2)
    assert "Traceback" not in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["outside", "runs"]


def test_names_are_markup_nowhere(runs):
    store = RecordStore(runs)
    for each in store.all():
        video = {**each.content["video"], "fps": 25.0}
        write_json(each.folder / RECORD_FILE, {**each.content, "video": video})
    record = store.all()[0]
    facts = {**record.content, "pair": {**record.content["pair"], "name": MARKUP}}
    write_json(record.folder / RECORD_FILE, facts)
    os.rename(record.folder, store.root / MARKUP)
    explorer = Explorer(runs)
    settings = {name: facts["options"][name] for name in ("guidance_scale", "num_inference_steps", "seed")}
    explorer.choose(pair=MARKUP, **settings)
    values = [explorer.status.value, explorer.count.value, explorer.making.stage.value]
    values += [one["markup"] for one in explorer.view.players]
    explorer.close()
    assert explorer.record.id == MARKUP
    assert not any(MARKUP in value for value in values) and escape(MARKUP) in explorer.status.value
    assert MARKUP not in render(9.0, 1, 1, pair=MARKUP, runs_dir=runs).data
    assert MARKUP in set(collect_wide(runs)["pair"])


def test_a_terminal_obeys_no_name(runs, capsys):
    record = RecordStore(runs).all()[0]
    write_json(record.folder / RECORD_FILE, {**record.content, "pair": {**record.content["pair"], "name": "\x1b[2J"}})
    os.rename(sweep_folder(runs, "foreign"), runs / "sweeps" / "\x1b[31mred")
    for command in (status, publish):
        command.main([str(runs)] if command is status else [str(runs), "--mode", "offline", "--sweep", "\x1b[3m"])
    written = capsys.readouterr()
    assert "\x1b" not in written.out + written.err and "\\u001b" in written.out + written.err
