"""The explorer over a small store of real records: it filters, finds what is there, and makes what is missing."""

import shutil
from pathlib import Path

import pytest
from short_clips import cut

from latentsync.checkpoints.model import MODELS_DIR
from latentsync.errors import MediaError, OptionError
from latentsync.files import write_json
from latentsync.lab.cells.cell import run_cell
from latentsync.lab.jobs import maker
from latentsync.lab.jobs.maker import Answer
from latentsync.lab.options.compose import configured
from latentsync.lab.options.pairs import SHIPPED_DIR, pairs_of
from latentsync.lab.options.schema import read_config
from latentsync.lab.records.store import RecordStore
from latentsync.lab.tables.filter import filtered, find_records
from latentsync.lab.tables.tidy import collect_wide
from latentsync.lab.widgets.comparison import compare_view, render
from latentsync.lab.widgets.explorer import Explorer
from latentsync.lab.widgets.filters import Filters

pytestmark = pytest.mark.slow

PAIR = "g-clara__g-voice"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Two records of one pair, of one step and 1.2 s, that differ in guidance."""
    folder = tmp_path_factory.mktemp("store")
    clips = folder / "clips"
    clips.mkdir()
    shutil.copy(SHIPPED_DIR / "g-clara.mp4", clips)
    cut(clips / "g-voice.wav", SHIPPED_DIR / "g-clara.wav", 1.0, 1.2)
    for guidance in (1.0, 2.0):
        config = read_config(configured([
            "data=folder", f"data.input_dir={clips}", f"runs_dir={folder / 'runs'}", "metrics=none", "tracker=none",
            "metrics.landmark_sync=true", "sampler.num_inference_steps=1", f"sampler.guidance_scale={guidance}",
        ]))  # fmt: skip
        run_cell(config, pairs_of(config.data).pairs, lambda outcome: None)
    return folder / "runs"


@pytest.fixture(scope="module")
def table(runs):
    return collect_wide(runs)


@pytest.fixture
def explorer(runs):
    widget = Explorer(runs)
    yield widget
    widget.close()


def test_records_are_found_by_settings_and_by_an_expression(runs, table):
    first, second = table["record"]
    assert [r.id for r in find_records(table, runs_dir=runs)] == [first, second]
    assert [r.id for r in find_records(table, runs_dir=runs, guidance_scale=2.0, pair=PAIR)] == [second]
    assert [r.id for r in find_records(table, "guidance_scale < 1.5 and gender == 'female'", runs)] == [first]
    assert list(filtered(table, f"seconds < {table['seconds'].max()}")["record"]) != [first, second]
    assert find_records(table, runs_dir=runs, seed=[7, 8]) == []


@pytest.mark.parametrize("where", ["sync > 1", "seed ==", "seed", "(seed", "@x > 1", "gender > 3", "print(1)"])
def test_an_expression_that_cannot_be_read_names_the_columns(table, where):
    with pytest.raises(OptionError, match=r"guidance_scale.*landmark_sync_peak"):
        filtered(table, where)


def test_a_setting_that_is_no_column_is_refused(table):
    with pytest.raises(OptionError, match=r"column guidance; .*guidance_scale"):
        find_records(table, guidance=1.0)


def test_a_cell_is_rendered_for_plain_calls_and_interact(runs, table):
    view = render(1.0, 1, 1247, PAIR, runs)
    assert view.data.count("data:video/mp4") == 2 and table["record"][0] in view.data  # source and result
    missing = render(1.7, 1, 1247, PAIR, runs).data
    assert "guidance 1.7, 1 steps, seed 1247" in missing and "guidance 1, 2" in missing and "video/mp4" not in missing


def test_mouths_are_shown_where_they_are_asked_for_and_a_lost_clip_is_done_without(runs, table, tmp_path):
    (record,) = find_records(table, runs_dir=runs, guidance_scale=1.0)
    assert compare_view([record], mouth=True).data.count("&lt;canvas width") == 2
    lost = shutil.copytree(record.folder, tmp_path / record.id)
    text = (lost / "record.json").read_text().replace("g-clara.mp4", "g-lost.mp4")
    (lost / "record.json").write_text(text)
    assert compare_view([type(record)(lost)]).data.count("data:video/mp4") == 1


def test_sliders_show_a_record_that_is_there_and_offer_one_that_is_not(explorer, table):
    first, second = table["record"]
    assert explorer.record.id == first and explorer.make_button.disabled
    explorer.sliders["guidance_scale"].value = 2.0
    assert explorer.record.id == second and second in explorer.status.value
    entry = explorer.record.metrics["landmark_sync_peak"]
    assert explorer.picked.value == (second,) and entry is not None
    explorer.picked.value = (first, second)
    assert number_of_videos(explorer) == 3 and "2 records" in explorer.status.value
    explorer.picked.value = (first,)  # the sliders go there
    assert number_of_videos(explorer) == 2 and explorer.settings["guidance_scale"] == 1.0
    assert explorer.record.id == first
    explorer.entries["guidance_scale"].value = "1.7"
    assert explorer.record is None and not explorer.make_button.disabled and "Missing" in explorer.status.value
    assert number_of_videos(explorer) == 0
    assert explorer.settings == {"guidance_scale": 1.7, "num_inference_steps": 1, "seed": 1247}


def test_what_is_not_allowed_is_told_and_the_widget_goes_on(explorer):
    filters = explorer.filters
    filters.where.value = "nonsense > 1"
    message = filters.error.value
    assert (
        "&#x27;nonsense&#x27; is not defined" in message and "guidance, steps, seed" in message and len(message) < 350
    )
    filters.where.value = "guidance == 2"  # the sliders' word
    assert explorer.count.value.startswith("1 of 2 records") and len(explorer.picked.options) == 1
    assert filters.error.value == "" and "Missing" not in explorer.status.value
    explorer.entries["num_inference_steps"].value = "many"
    assert "whole number" in explorer.status.value
    explorer.entries["num_inference_steps"].value = "0"
    assert "from 1 to 999" in explorer.status.value and explorer.settings["num_inference_steps"] == 1


def test_a_missing_record_is_made_or_its_failure_told_or_cancelled(explorer, runs, monkeypatch):
    store = RecordStore(runs)
    before = {record.id for record in store.all()}
    explorer.choose(seed=2**40)
    explorer.launch()
    assert explorer.make_button.disabled and "Being made" in explorer.status.value
    assert explorer.wait(240) and explorer.making.label is None
    assert explorer.record is not None and explorer.record.id not in before, explorer.status.value
    options = explorer.record.content["options"]
    assert options["seed"] == 2**40 and options | {"seed": 1247} == _options(store, before, 1.0)
    assert any(explorer.record.id in one["markup"] for one in explorer.view.players) and explorer.make_button.disabled
    assert str(2**40) in [label for label, _ in explorer.sliders["seed"].options]
    assert set(explorer.record.metrics) == set(store.find(min(before)).metrics)

    explorer.overrides = ("model.pretrained=/nowhere",)
    explorer.choose(seed=4)
    explorer.launch()
    assert explorer.wait(60) and "nowhere" in explorer.making.note.value
    assert explorer.record is None and not explorer.make_button.disabled

    explorer.overrides, before = (), {record.id for record in store.all()}
    explorer.choose(num_inference_steps=900)
    for grace_s in (maker.GRACE_S, 0):  # time to tidy up, and none
        monkeypatch.setattr(maker, "GRACE_S", grace_s)
        explorer.launch()
        explorer.sliders["seed"].value = 1247
        while "(denoise" not in explorer.making.stage.value:
            assert not explorer.wait(0.01), explorer.making.note.value
        assert "900 steps" in explorer.making.stage.value and "900 steps" in explorer.status.value
        explorer.sliders["num_inference_steps"].value = 1  # the bar still names its own record
        assert "900 steps" in explorer.making.stage.value and "900 steps" not in explorer.status.value
        explorer.sliders["num_inference_steps"].value = 900
        explorer.cancel()
        assert explorer.wait(60) and "Cancelled" in explorer.making.note.value
        assert {record.id for record in store.all()} == before and explorer.record is None
        assert not list(store.root.glob(".part-*")) and not explorer.make_button.disabled


def number_of_videos(explorer) -> int:
    return sum(len(one["videos"]) for one in explorer.view.players)


def _options(store, ids, guidance_scale):
    records = [store.find(i).content["options"] for i in ids]
    return next(options for options in records if options["guidance_scale"] == guidance_scale)


def test_the_model_of_a_record_is_a_choice_a_shipped_name_or_a_folder(runs, tmp_path, monkeypatch):
    record = RecordStore(runs).all()[0]
    shipped = shutil.copytree(MODELS_DIR / "mini", tmp_path / "shipped" / "another")
    shutil.copytree(shipped, shipped.with_name("mini"))
    monkeypatch.setattr("latentsync.checkpoints.model.MODELS_DIR", shipped.parent)
    for model, pretrained in (("mini", "mini"), ("another", "another"), (str(shipped), str(shipped)), (None, "mini")):
        assert maker.job_like(record, 1.5, 2, 7, model).config.model.pretrained == pretrained


def test_a_sweeps_own_labels_are_shown_and_a_damaged_record_is_named(runs, table, tmp_path):
    copied = shutil.copytree(runs, tmp_path / "runs")
    first, second = table["record"]
    labels = {"pair": {"name": "mine", "gender": "male"}}
    outcomes = [{"record": i, "status": "done", "pair": "mine", "labels": labels} for i in (first, second)]
    write_json(copied / "sweeps/s/cells/1.json", {"overrides": [], "outcomes": outcomes})
    (copied / "records" / second / "result.mp4").write_bytes(b"")
    explorer = Explorer(copied, sweep="s")
    assert explorer.table[["record", "pair", "gender"]].to_numpy().tolist() == [[first, "mine", "male"]]
    assert explorer.record.content["pair"]["name"] == "mine"
    assert len(explorer.left_out) == 1 and second in explorer.left_out[0] and second in explorer.count.value
    explorer.close()


def test_records_are_chosen_by_clicks(runs, table, tmp_path):
    for record in table["record"]:
        copied = shutil.copytree(runs / "records" / record, tmp_path / "runs" / "records" / record).parents[1]
    explorer = Explorer(copied)
    filters = explorer.filters
    assert list(filters.boxes) == [] and list(filters.ranges) == ["guidance_scale"]  # nothing else differs
    filters.ranges["guidance_scale"].value = (2.0, 2.0)
    assert explorer.count.value.startswith("1 of 2") and filters.widget.titles == ("Filter (1 of 1 columns chosen)",)
    filters.clear()
    assert explorer.count.value.startswith("2 of 2") and filters.widget.titles == ("Filter",)
    table = explorer.table.assign(gender=["female", "male"], sync=[0.1, None])
    chosen = Filters(["sync"], lambda: None)
    chosen.offer(table)
    chosen.boxes["gender"]["male"].value = True
    assert chosen.rows(table)["gender"].tolist() == ["male"]
    chosen.offer(table)
    assert chosen.boxes["gender"]["male"].value
    chosen.clear()
    assert len(chosen.rows(table)) == 2
    explorer.close()


def test_a_record_made_in_the_explorer_stays_in_the_sweeps_list(runs, table, tmp_path):
    copied = shutil.copytree(runs, tmp_path / "runs")
    first, second = table["record"]
    outcome = {"record": first, "status": "done", "pair": PAIR}
    write_json(copied / "sweeps/s/cells/1.json", {"overrides": [], "outcomes": [outcome]})
    explorer = Explorer(copied, sweep="s")
    assert explorer.table["record"].tolist() == [first]
    explorer._on_made(Answer(second))
    assert explorer.table["record"].tolist() == [first, second]
    assert Explorer(copied, sweep="s").table["record"].tolist() == [first, second]
    assert collect_wide(copied, "s")["record"].tolist() == [first]  # it is no cell of the sweep
    (copied / "sweeps/s/explorer.json").write_text("{")
    assert "explorer" in Explorer(copied, sweep="s").left_out[0]


def test_a_still_picture_stands_in_where_no_kernel_runs(explorer):
    html = explorer._still_picture().data
    assert html.count("data:image/jpeg;base64,") == 2 and "Run this cell to start the explorer" in html
    assert f'data-still="{explorer.view.still}"' in html


def test_an_empty_store_and_a_missing_folder_are_refused(tmp_path, monkeypatch):
    with pytest.raises(MediaError, match=r"no finished record; make some"):
        Explorer(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MediaError, match=f"no folder {tmp_path}/runs; .* looked for in {tmp_path}"):
        Explorer("runs")
