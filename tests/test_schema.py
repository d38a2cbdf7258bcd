"""The schema of records: it covers what is written, and a record of a newer version is named while others go on."""

import json
import shutil
from pathlib import Path

import pytest
from record_content import sound_record
from record_schemas import made_records, schema_faults, validator

from latentsync.errors import NewerVersionError
from latentsync.files import write_json
from latentsync.lab.commands.check import main as check
from latentsync.lab.commands.collect import main as collect
from latentsync.lab.commands.diff import main as diff
from latentsync.lab.commands.record import FILES
from latentsync.lab.commands.record import main as record_command
from latentsync.lab.commands.rerun import main as rerun
from latentsync.lab.commands.status import main as status
from latentsync.lab.console import complaints
from latentsync.lab.jobs.exchange import export, take
from latentsync.lab.records.schema import SCHEMAS
from latentsync.lab.records.shape import SCHEMA
from latentsync.lab.records.store import RECORD_FILE, RecordStore
from latentsync.lab.records.tags import tag
from latentsync.lab.sweeps.plan import _is_whole
from latentsync.lab.tables.tidy import collect_wide

GOLDEN = Path(__file__).parent / "golden" / "runs"
GOLDEN_ID = "8c012127d7d80d7f"


def test_a_record_of_before_opens_and_follows_the_schema(tmp_path):
    runs = shutil.copytree(GOLDEN, tmp_path / "runs")
    (folder,) = made_records(runs)
    assert list(schema_faults(folder)) == []
    record = RecordStore(runs).look(GOLDEN_ID)
    assert record.fault(is_deep=True) is None and "schema" not in record.content
    (row,) = collect_wide(runs).to_dict("records")
    facts = {name: row[name] for name in ("pair", "guidance_scale", "num_inference_steps", "crf", "size_px")}
    assert facts == {
        "pair": "g-clara__g-voice", "guidance_scale": 1.8, "num_inference_steps": 1, "crf": 30, "size_px": 128,
    }  # fmt: skip
    assert row["seam_colour"] == record.metrics["seam_colour"]["value"]
    assert check([str(runs)]) == 0


def test_the_command_prints_each_schema(capsys):
    assert set(FILES) == set(SCHEMAS)
    for name in FILES:
        assert record_command(["schema", name]) == 0
        assert json.loads(capsys.readouterr().out) == SCHEMAS[name]()
    assert record_command(["schema"]) == 0
    options = json.loads(capsys.readouterr().out)["properties"]["options"]["properties"]
    assert options["guidance_mask"]["enum"] == ["uniform", "mouth", None]
    text = "steps of the scheduler. Open: the model's own, 20 for most."
    steps = {"description": text, "type": ["integer", "null"], "minimum": 1, "maximum": 999}
    assert options["num_inference_steps"] == steps


@pytest.mark.parametrize(
    ("edit", "place"),
    [
        (lambda content: content.pop("model"), "$"),
        (lambda content: content["options"].update(guidance_scale=-1), "$.options.guidance_scale"),
        (lambda content: content["options"].update(length="long"), "$.options.length"),
        (lambda content: content["pair"]["clip"].update(sha256=7), "$.pair.clip.sha256"),
        (lambda content: content.update(notes="one"), "$.notes"),
        (lambda content: content.update(schema=SCHEMA + 1), "$.schema"),
    ],
)
def test_the_schema_refuses_what_no_reader_takes(edit, place):
    content = json.loads((GOLDEN / "records" / GOLDEN_ID / RECORD_FILE).read_text())
    edit(content)
    assert [error.json_path for error in validator(RECORD_FILE).iter_errors(content)] == [place]


def test_a_metric_without_value_needs_a_reason():
    errors = validator("metrics.json").iter_errors({"psnr": {"value": None}, "ssim": {"value": None, "reason": "dark"}})
    assert [error.json_path for error in errors] == ["$.psnr"]


@pytest.fixture
def runs(tmp_path):
    """A sweep of two records, the second of which a newer version wrote."""
    runs = tmp_path / "runs"
    records = [sound_record(runs, seed, seed=seed) for seed in (1, 2)]
    path = records[1].folder / RECORD_FILE
    write_json(path, json.loads(path.read_text()) | {"schema": SCHEMA + 1, "options": "of another form"})
    outcomes = [{"pair": "g-a__g-v", "status": "done", "record": record.id} for record in records]
    write_json(runs / "sweeps/s/cells/1.json", {"overrides": [], "noted": 0.0, "outcomes": outcomes})
    return runs, records[0].id, records[1].id


def sentence(newer):
    return f"record {newer} has schema {SCHEMA + 1}, and this version reads schemas up to {SCHEMA}; update latentsync"


def test_a_record_of_a_newer_version_is_named_and_the_others_go_on(runs, tmp_path, capsys):
    folder, known, newer = runs
    for sweep in (None, "s"):
        with complaints() as lines:
            assert list(collect_wide(folder, sweep)["record"]) == [known]
        assert len(lines) == 1 and sentence(newer) in lines[0]
    assert collect([str(folder), "--output", str(tmp_path / "table.csv")]) == 1
    capsys.readouterr()
    for command in (status, check):
        assert command([str(folder)]) == 1
        assert f"BROKEN  {newer}: has schema {SCHEMA + 1}" in capsys.readouterr().out
    for command in (diff, rerun):
        ids = [known, newer] if command is diff else [newer]
        assert command([*ids, "--runs", str(folder)]) == 2
        assert capsys.readouterr().err == f"error: {sentence(newer)} to read it\n"


def test_a_record_of_a_newer_version_is_never_made_anew(runs):
    folder, _, newer = runs
    store = RecordStore(folder)
    before = (store.root / newer / RECORD_FILE).read_bytes()
    with pytest.raises(NewerVersionError, match=sentence(newer)):
        store.find(newer)
    assert not store.lacks(newer) and not _is_whole(store, newer)
    with pytest.raises(NewerVersionError), store.new(newer) as part:
        (part / RECORD_FILE).write_text("{}")
    assert (store.root / newer / RECORD_FILE).read_bytes() == before and not (folder / "set_aside").exists()


def test_a_newer_record_in_an_import_is_refused_and_the_others_come(runs, tmp_path):
    folder, known, newer = runs
    path = folder / "records" / newer / RECORD_FILE
    content = json.loads(path.read_text())
    write_json(path, {**content, "schema": SCHEMA, "options": {"guidance_scale": 1.8, "num_inference_steps": 1,
                                                              "seed": 2}})  # fmt: skip
    tag(RecordStore(folder).look(known), ["best"], remark="as sharp as the clip")
    export(folder, "s", tmp_path / "s.tar", with_inputs=False)
    done = take(tmp_path / "s.tar", tmp_path / "all")
    assert sorted(done.records) == sorted([known, newer])
    write_json(path, content)
    newer_there = take(tmp_path / "s.tar", folder)  # the newer one is there and stays
    assert newer_there.there == [known] and sentence(newer) in newer_there.refused[0]
    assert collect_wide(tmp_path / "all").set_index("record").loc[known, ["tags", "remark"]].tolist() == [
        "best", "as sharp as the clip",
    ]  # fmt: skip
