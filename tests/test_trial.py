"""`latentsync run` as an agent of `wandb sweep` starts it, offline: what is in the agent's own run."""

import re
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import yaml
from offline_runs import wandb_file
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args
from wandb.sdk.lib.config_util import save_config_file_from_dict
from written_sweep import write_sweep

from latentsync.__main__ import main
from latentsync.lab.options.compose import configured
from latentsync.lab.options.schema import TrackerConfig, general_options, read_config
from latentsync.lab.records.store import RecordStore
from latentsync.lab.tracking.apart import publish_in_time
from latentsync.lab.tracking.publish import publish
from latentsync.lab.tracking.trackers import run_id
from latentsync.lab.tracking.trial import Trial, agents_run
from latentsync.lab.tracking.wandb_tracker import GOALS
from latentsync.metrics.definitions import direction_of

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """Sets the variables of an agent that hands out parameters, and gives the arguments of its command line."""

    def hand_out(run: str, **parameters: object) -> list[str]:
        values = {name.replace("__", "."): {"value": value} for name, value in parameters.items()}
        save_config_file_from_dict(str(tmp_path / f"config-{run}.yaml"), values)
        monkeypatch.setenv("WANDB_SWEEP_ID", "sw33p")
        monkeypatch.setenv("WANDB_RUN_ID", run)
        monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(tmp_path / f"config-{run}.yaml"))
        return create_sweep_command_args({"program": "latentsync", "args": values})["args_no_hyphens"]

    return hand_out


def run(*arguments: str) -> int:
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        try:
            return main(["run", *arguments])
        except SystemExit as end:
            return end.code


@pytest.mark.slow
def test_a_command_of_an_agent_reports_into_the_agents_run_and_its_record_joins_neither(clips, tmp_path, agent):
    common = [
        "data=folder", f"data.input_dir={clips}", f"runs_dir={tmp_path}", "name=search", "tracker=wandb_offline",
        "metrics=none", "sampler.num_inference_steps=1", "objective=seconds",
    ]  # fmt: skip
    for name in ("first", "again"):  # the record is made, and exists
        assert run(*agent(name, sampler__guidance_scale=1.2), *common) == 0
        (record,) = RecordStore(tmp_path).all()
        written = wandb_file(tmp_path, name)
        assert (written["run"].run_id, written["run"].sweep_id, written["exit"]) == (name, "sw33p", 0)
        assert written["config"]["sampler.guidance_scale"] == written["config"]["guidance_scale"] == 1.2
        assert written["summary"]["seconds"] == record.content["timings_s"]["total"]
        assert written["summary"]["records"] == 1 and "video" in {key.split(".")[0] for key in written["history"]}
    own = wandb_file(tmp_path, run_id("search", record.id))
    assert (own["run"].sweep_id, own["run"].run_group) == ("", "search")
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 3  # the agent's run stands for the sweep's


def test_an_agents_run_has_only_the_records_of_its_command(tmp_path, agent):
    write_sweep(tmp_path, "test")
    record, *_ = RecordStore(tmp_path).all()
    agent("part", preset="female")
    trial = Trial("part", (record.id,), (), "psnr")
    assert publish([], "test", TrackerConfig(wandb=True), tmp_path, trial) == (0, None)
    written = wandb_file(tmp_path, "part")
    assert written["summary"]["psnr"] == record.metrics["psnr"]["value"] and written["summary"]["records"] == 1
    assert (written["run"].sweep_id, written["exit"]) == ("sw33p", 0)


def test_an_agents_run_without_a_value_for_the_objective_is_a_failed_one(tmp_path, agent):
    write_sweep(tmp_path, "test")
    agent("lost", preset="female")
    assert agents_run() == "lost"
    failed = {"pair": "g-x__g-x", "stage": "align", "reason": "no face was found", "overrides": ["preset=female"]}
    trial = Trial("lost", (), (failed,), "psnr")
    assert publish([], "test", TrackerConfig(wandb=True), tmp_path, trial) == (0, None)
    written = wandb_file(tmp_path, "lost")
    assert written["exit"] == 1 and written["summary"]["reason"] == "no face was found"
    assert "psnr" not in written["summary"] and written["config"]["preset"] == "female"
    assert wandb_file(tmp_path, "failed-")["run"].sweep_id == ""


def test_a_tracker_that_knows_no_agent_gets_the_sweep_as_ever(tmp_path):
    write_sweep(tmp_path, "test")
    records = RecordStore(tmp_path).all()
    assert publish_in_time(records, "test", TrackerConfig(csv=True), tmp_path, Trial("any", ())) == (8, None)


def test_the_agents_file_of_the_page_makes_a_command_that_is_right():
    page = (ROOT / "docs" / "trackers.md").read_text()
    (text,) = re.findall(r"```yaml\n(# sweep.yaml\n.*?)```", page, re.DOTALL)
    file = yaml.safe_load(text)
    values = {
        name: {"value": one["values"][0] if "values" in one else one["max"]} for name, one in file["parameters"].items()
    }
    expanded = create_sweep_command_args({"program": file["program"], "args": values})
    words = [word for part in file["command"] for word in expanded.get(part.strip("${}"), [part])]
    assert words[:3] == ["${env}", "latentsync", "run"]
    config = configured(words[3:])
    assert general_options(config).objective == file["metric"]["name"] and read_config(config).tracker.names == (
        "wandb",
    )
    assert GOALS[direction_of(file["metric"]["name"].removesuffix("_minus_real"))] == file["metric"]["goal"]
