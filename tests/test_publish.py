"""Records as W&B gets them, read from the files of offline runs; servers that refuse or keep silent."""

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from offline_runs import wandb_file
from PIL import Image
from record_content import METRICS, content

from latentsync.errors import OptionError
from latentsync.files import read_json, write_json
from latentsync.generation.stage_cache import input_sha256
from latentsync.lab.commands.publish import main
from latentsync.lab.figures.curves import sweep_figure
from latentsync.lab.figures.style import save
from latentsync.lab.options import schema
from latentsync.lab.options.compose import configured
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.options.schema import TrackerConfig, read_config
from latentsync.lab.records.store import CURVES_FILE, METRICS_FILE, RECORD_FILE, RESULT_FILE, Record, RecordStore
from latentsync.lab.records.tags import tag
from latentsync.lab.sweeps.summary import summarise
from latentsync.lab.tables.tidy import collect_wide, write_table
from latentsync.lab.tracking import publish as publishing
from latentsync.lab.tracking.apart import publish_in_time
from latentsync.lab.tracking.publish import publish
from latentsync.lab.tracking.trackers import config_of, run_id

CLIP = SHIPPED_DIR / "g-clara.mp4"
CURVES = {"sync_mini_by_window": [0.25, None, 0.5], "sync_mini_by_shift": [0.7, 0.2, 0.6], "lip_gap": [0.1, 0.2]}


class NoTracker:
    """A tracker that ignores all records."""

    def publish(self, record, sweep):
        pass

    def publish_failure(self, failure, sweep):
        pass

    def publish_sweep(self, sweep, table, files, failures):
        pass

    def close(self):
        pass


@pytest.fixture
def runs(tmp_path):
    """A sweep with one record, whose result is its clip itself."""
    facts = content("a1", "g-clara__g-v", group="clara", split="test")
    facts |= {"versions": {"torch": "2.9", "commit": "c0ffee"}}
    facts["model"]["weights_sha256"] = {"unet": "beef"}
    facts["pair"]["clip"] = {"name": CLIP.name, "sha256": input_sha256(CLIP), "path": str(CLIP)}
    with RecordStore(tmp_path).new("a1") as folder:
        os.link(CLIP, folder / RESULT_FILE)
        write_json(folder / METRICS_FILE, METRICS)
        write_json(folder / CURVES_FILE, CURVES)
        write_json(folder / RECORD_FILE, facts)
    sweep_dir = sweep_folder(tmp_path, "test")
    outcomes = [{"record": "a1", "status": "done"}]
    write_json(sweep_dir / "cells" / "1.json", {"overrides": [], "noted": 0.0, "outcomes": outcomes})
    table = collect_wide(tmp_path, "test")
    write_table(table, sweep_dir / "table.csv")
    save(sweep_figure(table), sweep_dir / "figure.png")
    return tmp_path


def media(content: dict, name: str) -> Path:
    """The file of a picture, video or table in a run."""
    return content["folder"] / content["history"][f"{name}.path"]


@pytest.mark.slow
def test_a_record_is_a_run_with_flat_config_metrics_video_mouths_and_curves(runs):
    (record,) = RecordStore(runs).all()
    tag(record, ["best"], remark="the smile looks odd")
    assert publish([record], "test", TrackerConfig(wandb=True), runs) == (1, None)
    written = wandb_file(runs, run_id("test", "a1"))
    assert (written["run"].run_id, written["run"].run_group) == (run_id("test", "a1"), "test")
    assert set(written["run"].tags) == {"trained", "by_gender", "female", "best"}
    assert written["run"].notes == "the smile looks odd"
    wanted = {"record": "a1", "seed": 1247, "guidance_scale": 1.8, "group": "clara", "split": "test"}
    assert wanted.items() <= written["config"].items()
    assert written["summary"]["sync_mini_confidence"] == pytest.approx(1 / 3)
    assert written["summary"]["lpips_alex_reason"] == "no frame shows a face"
    assert media(written, "video").read_bytes() == record.video_path.read_bytes()
    with Image.open(media(written, "mouths")) as strip:
        assert strip.width > 3 * strip.height > 300
    assert written["history"]["curves/sync_mini_by_window"] == 0.5 and written["history"]["second"] == 2 / 25
    assert written["axes"]["curves/sync_mini_by_window"] == "second"
    assert written["config"]["goals"] == {
        "sync_mini_confidence": "maximize",
        "sync_mini_offset": "zero",
        "lpips_alex": "minimize",
    }
    assert written["config"]["version_torch"] == "2.9" and written["config"]["version_commit"] == "c0ffee"
    assert written["config"]["weights_sha256_unet"] == "beef"
    clip, voice = (f"{role}-{facts[:12]}" for role, facts in (("clip", input_sha256(CLIP)), ("voice", "0077")))
    assert {name for name in written["artifacts"] if not name.startswith("run-")} == {clip, voice, "record-a1"}
    assert written["artifacts"]["record-a1"][RESULT_FILE].read_bytes() == record.video_path.read_bytes()
    by_window = json.loads(media(written, "sync_mini_by_window_table").read_text())
    assert by_window["data"] == [[0, 0.25], [2 / 25, 0.5]]
    by_shift = json.loads(media(written, "sync_mini_by_shift_table").read_text())
    assert by_shift["data"] == [[-1, 0.7], [0, 0.2], [1, 0.6]]


def test_a_sweep_has_a_run_with_its_table_pictures_and_files(runs):
    assert publish([], "test", TrackerConfig(wandb=True), runs) == (0, None)
    written = wandb_file(runs, run_id("test"))
    assert written["run"].run_group == "test"
    assert set(written["run"].tags) == {"sweep", "trained", "female", "by_gender"}
    assert written["config"]["model"] == "mini" and written["config"]["num_inference_steps"] == 20
    assert written["config"]["grid"] == {} and written["config"]["records"] == 1
    assert written["summary"]["sync_mini_confidence"] == pytest.approx(1 / 3)
    table = json.loads(media(written, "table").read_text())
    assert len(table["data"]) == 1 and table["data"][0][table["columns"].index("seconds")] == 12.3
    shown = written["artifacts"][f"run-{run_id('test')}-table"]  # W&B shows a table from its artifact
    first = json.loads(shown["table.table.json"].read_text())
    thumbnail = first["data"][0][first["columns"].index("thumbnail")]
    assert thumbnail["_type"] == "image-file"
    with Image.open(shown[thumbnail["path"]]) as picture:
        assert max(picture.size) == 240
    sweep_dir = sweep_folder(runs, "test")
    assert media(written, "figure").read_bytes() == (sweep_dir / "figure.png").read_bytes()
    files = written["artifacts"]["sweep-test"]
    assert set(files) == {"table.csv", "figure.png"}
    for name, path in files.items():
        assert path.is_relative_to(runs) and path.read_bytes() == (sweep_dir / name).read_bytes()
    own_folder = written["folder"].parent  # all that waits for `wandb sync` goes with the run
    assert [path for path in (runs / "wandb").rglob("staging/*") if not path.is_relative_to(own_folder)] == []
    assert list(own_folder.rglob("staging/*"))


@pytest.mark.slow
def test_only_what_changed_is_published_again_and_under_the_same_id(runs, capsys):
    offline = [str(runs), "--mode", "offline"]
    assert main(offline) == 0 and "test: published 1 of 1 records" in capsys.readouterr().out
    before = sorted((runs / "wandb").glob("offline-run-*"))
    assert len(before) == 2
    assert main(offline) == 0 and "test: published 0 of 1 records" in capsys.readouterr().out
    assert sorted((runs / "wandb").glob("offline-run-*")) == before
    (record,) = RecordStore(runs).all()
    more = {**METRICS, "seam_colour": METRICS["sync_mini_offset"] | {"value": 0.5}}
    write_json(record.metrics_path, more)
    for path in before:  # the folders of runs are named by seconds, two of one second get -1
        path.rename(path.with_name(path.name.replace(path.name.split("-")[2], "20200101_000000") + "-1"))
    assert main(offline) == 0 and "test: published 1 of 1 records" in capsys.readouterr().out
    assert wandb_file(runs, run_id("test", "a1"))["summary"]["seam_colour"] == 0.5
    assert len(list((runs / "wandb").glob("offline-run-*"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("answers", [False, True], ids=["refused", "silent"])
def test_a_server_that_refuses_or_keeps_silent_costs_a_bounded_time_and_no_record(runs, answers, monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if answers:  # connections are taken, and nothing is ever said
            server.listen()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        waits, communicate = [], subprocess.Popen.communicate

        def noting(self, *args, timeout=None):
            waits.append((self, timeout))
            return communicate(self, *args, timeout=timeout)

        monkeypatch.setattr(subprocess.Popen, "communicate", noting)
        config = TrackerConfig(wandb=True, mode="online", timeout_s=10)
        count, stopped = publish_in_time(RecordStore(runs).all(), "test", config, runs)
    ((process, waited_s),) = waits  # once, and then it is ended
    assert waited_s == 10 and process.returncode not in (None, 0)
    assert count == 0 and stopped
    assert read_json(runs / "wandb" / "published.json") is None and len(RecordStore(runs).all()) == 1


def test_nothing_is_published_where_there_is_no_sweep(tmp_path, capsys):
    assert main([str(tmp_path), "--sweep", "absent", "--mode", "offline"]) == 2
    assert "a sweep called 'absent'" in capsys.readouterr().err


def test_of_two_publishers_at_once_one_waits_and_finds_all_published(runs, monkeypatch, capsys):
    published = []

    class SlowTracker(NoTracker):
        def publish(self, record, sweep):
            time.sleep(0.5)
            published.append(record.id)

    monkeypatch.setattr(publishing, "make_tracker", lambda config, folder: SlowTracker())
    records, config = RecordStore(runs).all(), TrackerConfig(wandb=True)
    with ThreadPoolExecutor(2) as both:
        counts = list(both.map(lambda _: publish(records, "test", config, runs), range(2)))
    assert sorted(counts) == [(0, None), (1, None)] and published == ["a1"]
    assert "another process publishes" in capsys.readouterr().out


def test_a_record_is_published_again_when_its_sweep_calls_it_otherwise(runs, monkeypatch):
    monkeypatch.setattr(publishing, "make_tracker", lambda config, folder: NoTracker())
    (record,), config = RecordStore(runs).all(), TrackerConfig(wandb=True)
    renamed = Record(record.folder, {"pair": {"gender": "male"}})
    same = Record(record.folder, {"pair": {"gender": record.content["pair"]["gender"]}})
    counts = [publish([each], "test", config, runs)[0] for each in (record, same, renamed, renamed)]
    assert counts == [1, 0, 1, 0]


def test_a_record_is_published_again_when_its_tags_change(runs, monkeypatch):
    monkeypatch.setattr(publishing, "make_tracker", lambda config, folder: NoTracker())
    (record,), config = RecordStore(runs).all(), TrackerConfig(wandb=True)
    counts = []
    for words in ((), ("best",), ("best",)):
        tag(record, words)
        counts.append(publish([record], "test", config, runs)[0])
    assert counts == [1, 1, 0]


def test_a_sweep_whose_pairs_all_failed_is_a_failed_run_with_the_reasons(tmp_path, capsys):
    failed_pair(tmp_path)
    assert main([str(tmp_path), "--mode", "offline"]) == 0
    assert "test: published 0 of 0 records" in capsys.readouterr().out
    written = wandb_file(tmp_path, run_id("test"))
    assert (written["exit"], written["summary"]["records"], written["summary"]["failures"]) == (1, 0, 1)
    assert set(written["run"].tags) == {"sweep", "failed"}
    (row,) = json.loads(media(written, "failed_pairs").read_text())["data"]
    assert row == ["sampler.seed=1", "g-b__g-v", "align", "no face was found"]


def test_the_end_of_a_sweep_publishes_it_though_all_pairs_failed(tmp_path, capsys):
    failed_pair(tmp_path)
    run = read_config(configured([f"runs_dir={tmp_path}", "name=test", "tracker=csv"]))
    assert summarise(run).failures == 1
    assert "csv: 0 records published now\n" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "csv" / "test.csv")["reason"].item() == "no face was found"


def test_a_trackers_folder_that_leads_elsewhere_is_refused(runs, tmp_path_factory, capsys):
    (runs / "wandb").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    assert main([str(runs), "--mode", "offline"]) == 2
    assert "is a link that leads out of" in capsys.readouterr().err


def failed_pair(runs: Path) -> None:
    """Notes a failed pair in the sweep."""
    failed = {"pair": "g-b__g-v", "gender": "male", "status": "failed", "stage": "align", "reason": "no face was found"}
    note = {"overrides": ["sampler.seed=1"], "noted": 0.0, "outcomes": [failed]}
    write_json(sweep_folder(runs, "test") / "cells" / "2.json", note)


def test_a_failed_pair_is_a_failed_run_and_a_given_guidance_has_no_preset(runs):
    failed_pair(runs)
    (record,) = RecordStore(runs).all()
    content = record.content | {"preset": {"name": "by_gender", "guidance_from": "given"}}
    assert config_of(content)["preset"] == "given"
    assert publish([], "test", TrackerConfig(wandb=True), runs) == (0, None)
    written = wandb_file(runs, "failed-")
    assert written["exit"] == 1 and set(written["run"].tags) == {"failed"}
    assert written["config"]["overrides"] == ["sampler.seed=1"] and written["summary"]["reason"] == "no face was found"


def test_w_and_bs_own_variables_fill_what_is_open_and_nothing_else(monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "lips")
    monkeypatch.setenv("WANDB_MODE", "online")
    config = TrackerConfig(wandb=True)
    assert (config.project_name, config.wandb_mode, config.names) == ("lips", "online", ("wandb",))
    given = TrackerConfig(wandb=True, mode="offline", project="mine")
    assert (given.project_name, given.wandb_mode) == ("mine", "offline")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert config.names == () and given.names == ("wandb",)


def test_several_trackers_are_chosen_as_a_list_and_one_that_fails_stops_no_other(runs):
    config = read_config(configured(["tracker=[wandb_offline,csv]"])).tracker
    assert config.names == ("wandb", "csv")
    failed_pair(runs)
    (runs / "csv" / "test.csv").mkdir(parents=True)  # in the way of the file
    records = RecordStore(runs).all()
    count, stopped = publish(records, "test", config.only("csv"), runs)
    assert count == 0 and stopped is not None
    (runs / "csv" / "test.csv").rmdir()
    assert publish(records, "test", config.only("csv"), runs) == (1, None)
    rows = pd.read_csv(runs / "csv" / "test.csv").set_index("status")
    assert rows.loc["finished", "id"] == "a1" and rows.loc["finished", "sync_mini_confidence"] == pytest.approx(1 / 3)
    assert rows.loc["failed", "reason"] == "no face was found"


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="the package tensorboard is not installed")
def test_tensorboard_reads_a_record_and_a_sweep(runs):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = TrackerConfig(tensorboard=True)
    assert publish(RecordStore(runs).all(), "test", config, runs) == (1, None)
    events = EventAccumulator(str(runs / "tensorboard" / "test" / "a1")).Reload()
    (confidence,) = events.Scalars("metrics/sync_mini_confidence")
    assert confidence.value == pytest.approx(1 / 3)
    assert [(point.step, point.value) for point in events.Scalars("curves/sync_mini_by_window")] == [
        (0, 0.25),
        (80, 0.5),
    ]
    pictures = EventAccumulator(str(runs / "tensorboard" / "test" / run_id("test"))).Reload()
    assert pictures.Tags()["images"] == ["figure"]


@pytest.mark.skipif(find_spec("trackio") is None, reason="the package trackio is not installed")
def test_trackio_keeps_a_record_in_its_local_database(runs):
    code = """if True:
        import sys
        from pathlib import Path
        from latentsync.lab.options.schema import TrackerConfig, read_config
        from latentsync.lab.records.store import RecordStore
        from latentsync.lab.tracking.publish import publish
        runs = Path(sys.argv[1])
        assert publish(RecordStore(runs).all(), "test", TrackerConfig(trackio=True), runs) == (1, None)
        import trackio
        (run,) = trackio.Api().runs("latentsync")
        print(run.name, run.config["guidance_scale"], run.config["_Group"])
    """
    answer = subprocess.run([sys.executable, "-c", code, str(runs)], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1].endswith("a1 1.8 test")


@pytest.mark.parametrize("name", ["tensorboard", "trackio"])
def test_a_tracker_whose_package_is_missing_is_refused_before_any_work(name, monkeypatch):
    monkeypatch.setattr(schema, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=rf"pip install 'latentsync-lab\[{name}\]'"):
        read_config(configured([f"tracker={name}"]))
