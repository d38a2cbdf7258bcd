"""A sweep as a user runs it: resumed, killed, with a bad clip in it, and its table."""

import json
import os
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest
from short_clips import clip_folder, cut
from sweep_command import sweep, sweep_here

from latentsync import journal
from latentsync.lab.commands.measure import main as measure_command
from latentsync.lab.figures.curves import sweep_figure
from latentsync.lab.figures.style import UNTRAINED
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.records.store import RecordStore
from latentsync.lab.sweeps.summary import summary_text
from latentsync.lab.tables.tidy import collect_wide
from latentsync.media.excerpt import excerpt

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """A folder with one clip and a short voice per gender."""
    return clip_folder(tmp_path_factory.mktemp("clips"), 0.6, ("g-clara", "m-oskar"))


@pytest.fixture(scope="module")
def finished(clips, untrained, tmp_path_factory):
    """A sweep of an untrained model that was killed while it made its second record, and then started again."""
    runs = tmp_path_factory.mktemp("runs")
    store = RecordStore(runs)
    status, _ = sweep(clips, runs, model=untrained, killed_at_frame=67)  # of 15 a video; a record has 2 and 2 previews
    assert status == -signal.SIGKILL and len(store.all()) == 1 and len(list(store.root.glob(".part-*"))) == 1
    survived = {record.id: os.stat(record.video_path).st_mtime_ns for record in store.all()}
    status, output = sweep(clips, runs, model=untrained)
    return runs, survived, status, output


def test_a_killed_sweep_finishes_with_every_record_once(finished):
    runs, survived, status, output = finished
    assert status == 0, output
    records = RecordStore(runs).all()
    assert len(records) == 4
    seen = {(r.content["pair"]["name"], r.content["options"]["seed"]) for r in records}
    assert seen == {(pair, seed) for pair in ("g-clara__g-voice", "m-oskar__m-voice") for seed in (1, 2)}
    assert all(os.stat(RecordStore(runs).find(i).video_path).st_mtime_ns == t for i, t in survived.items())
    assert not list((runs / "records").glob(".part-*"))
    assert "cached, nothing to do" in output and "4 records, 0 failures" in output
    assert output.count(f"first video: {runs}/records/") == 1
    assert f"contact sheet of the videos: {runs}/sweeps/test/contact_sheet.png\n" in output


def test_started_again_it_computes_nothing_and_writes_the_same_table(finished, clips, untrained):
    runs = finished[0]
    before = {path: path.stat().st_mtime_ns for path in (runs / "records").rglob("*")}
    table = (runs / "sweeps" / "test" / "table.csv").read_text()
    status, output = sweep(clips, runs, model=untrained)
    assert status == 0 and "nothing to do: 2 cells, all 4 records exist" in output
    assert {path: path.stat().st_mtime_ns for path in (runs / "records").rglob("*")} == before
    assert (runs / "sweeps" / "test" / "table.csv").read_text() == table


def test_the_log_has_every_stage_of_every_record_and_the_kill(finished):
    events = journal.read(finished[0] / "sweeps" / "test" / "log.jsonl")
    runs = list(dict.fromkeys(event["run"] for event in events))
    assert len(runs) == 2 and [event["event"] for event in events if event["run"] == runs[0]][-1] != "end"
    stages = {(one["record"], one["stage"]) for one in events if one["event"] == "stage" and one["run"] == runs[1]}
    made = {one["record"] for one in events if (one["event"], one.get("status")) == ("pair", "done")}
    assert len(made) == 4 and all((i, "store") in stages for i in made if (i, "denoise") in stages)
    assert events[-1]["event"] == "end" and events[-1]["failures"] == 0


def test_presets_and_settings_are_in_the_tidy_table(finished):
    table = collect_wide(finished[0], "test")
    assert list(table["guidance_scale"]) == [1.8, 1.8, 1.3, 1.3]
    assert list(table["gender"]) == ["female", "female", "male", "male"]
    assert set(table["guidance_from"]) == {"preset"} and not table["trained"].any()
    assert (table["seconds"] > 0).all() and set(table["video_frames"]) == {15}
    folder = finished[0] / "sweeps" / "test"
    assert len(list((folder / "videos").glob("*.mp4"))) == 4
    for picture in ("figure.png", "contact_sheet.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")


def test_tables_and_figures_say_that_a_model_is_untrained_and_only_then(finished):
    table = collect_wide(finished[0], "test")
    assert "UNTRAINED" in summary_text(table) and sweep_figure(table).get_suptitle() == UNTRAINED
    trained = table.assign(trained=True)
    assert "UNTRAINED" not in summary_text(trained) and not sweep_figure(trained).get_suptitle()


def test_a_bad_clip_fails_alone_and_is_counted_as_an_earlier_failure_later(clips, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(clips, mixed)
    (mixed / "g-broken.mp4").write_bytes(b"not a video")
    status, output = sweep_here(mixed, tmp_path / "runs", "sampler.seed=1")
    assert status == 1
    assert len(RecordStore(tmp_path / "runs").all()) == 2
    assert "g-broken" in output
    assert "Traceback" not in output
    cells = [json.loads(path.read_text()) for path in (tmp_path / "runs/sweeps/test/cells").glob("*.json")]
    reasons = [o["reason"] for cell in cells for o in cell["outcomes"] if o["status"] == "failed"]
    assert len(reasons) == 1 and "g-broken.mp4" in reasons[0]
    status, output = sweep_here(clips, tmp_path / "runs", "sampler.seed=3")
    assert status == 0, output
    assert "0 failures (and 1 from earlier runs)" in output


def test_metrics_of_a_record_are_named_labelled_and_added_later(untrained, tmp_path, capsys):
    own = tmp_path / "own"
    own.mkdir()
    excerpt(SHIPPED_DIR / "g-clara.mp4", own, 0.4, 2.4)  # of 60 frames, so that a reference can be from elsewhere
    cut(own / "g-other.wav", SHIPPED_DIR / "g-clara-weather.wav", 0.5, 0.6)
    runs = tmp_path / "runs"
    status, output = sweep_here(own, runs, "sampler.seed=1", "metrics=quick", model=untrained)
    assert status == 0, output
    table = collect_wide(runs, "test").set_index("pair")
    whole, other = table.loc["g-clara__g-clara"], table.loc["g-clara__g-other"]
    assert (whole["reference"], other["reference"]) == ("elsewhere", "same")
    assert 0.05 < whole["lpips_alex"] < 1 and 0.05 < other["change_lpips_alex"] < 1
    assert pd.isna(whole["change_lpips_alex"]) and pd.isna(other["lpips_alex"])
    assert 0 <= whole["sync_mini_confidence"] < 1 and abs(whole["sync_mini_offset"]) <= 15
    assert whole["sync_mini_offset_real"] == 0 and whole["landmark_jitter_ratio"] > 0
    for record in RecordStore(runs).all():
        assert all(entry["model"] == "untrained" and entry["protocol"] for entry in record.metrics.values())
        assert len(record.curves["lip_gap"]) == record.content["video"]["num_frames"]
    assert "UNTRAINED MODEL" in output

    times = {record.id: os.stat(record.video_path).st_mtime_ns for record in RecordStore(runs).all()}
    quick = {record.id: record.metrics for record in RecordStore(runs).all()}
    args = [str(runs), "--metrics", "seam,sharpness,window_boundary", "--sweep", "test"]
    shutil.move(own, tmp_path / "moved")
    assert measure_command(args) == 1
    assert "give its folder with --inputs" in capsys.readouterr().out
    args += ["--inputs", str(tmp_path / "moved")]
    assert measure_command(args) == 0
    for record in RecordStore(runs).all():
        assert os.stat(record.video_path).st_mtime_ns == times[record.id]
        assert record.metrics["mouth_sharpness_ratio"]["value"] > 0 and record.metrics["mouth_sharpness_ratio"]["model"]
        assert quick[record.id].items() <= record.metrics.items()
    assert "window_boundary_ratio" in collect_wide(runs, "test")
    capsys.readouterr()
    assert measure_command(args) == 0
    assert capsys.readouterr().out.count("has all metrics") == 2
