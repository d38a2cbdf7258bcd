"""The command that trains: its configurations, what it prints, logs and refuses; on the loop's tiny task."""

import json
import sys
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from waves import OPTIONS, FrequencyTask, Waves, curve

from latentsync.errors import OptionError
from latentsync.lab.commands import train as train_command
from latentsync.lab.options import CONF_DIR
from latentsync.lab.training import options as options_module
from latentsync.media import probe
from latentsync.training.options import LoopOptions
from latentsync.training.settings import read_settings

SETTINGS = {
    "vae": ("VaeSettings", "vae"),
    "syncnet": ("SyncNetSettings", "syncnet"),
    "unet_stage1": ("UNetSettings", "unet"),
    "unet_stage2": ("UNetSettings", "unet"),
    "unet_distill": ("DistillSettings", "distill"),
}


def composed(*overrides):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("train_config", overrides=list(overrides))


@pytest.mark.parametrize("path", sorted((CONF_DIR / "train").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_training_composes(path):
    config = options_module.read_config(composed(f"train={path.stem}", "data_dir=clips"))
    assert config.kind == config.name == path.stem and config.folder == Path("runs/training") / path.stem
    assert set(OmegaConf.load(path).loop) == set(LoopOptions.names())  # a reader finds every option
    kind, module = SETTINGS[path.stem]
    assert read_settings(getattr(import_module(f"latentsync.training.{module}"), kind), config.task)
    assert {path.stem for path in (CONF_DIR / "train").glob("*.yaml")} == set(options_module.KINDS)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train=vae"], "data_dir is not given; .*data_dir=VALUE"),
        (["train=vae", "data_dir=d", "loop.steps=0"], "steps is 0"),
        (["train=vae", "data_dir=d", "loop.steps=many"], "loop.steps: Value 'many'"),
        (["train=vae", "data_dir=d", "+loop.stepps=1"], "loop.stepps: Key 'stepps'"),
        (["train=vae", "data_dir=d", "+stepps=1"], "stepps: Key 'stepps'"),
        (["train=vae", "data_dir=d", "kind=gan"], "kind is 'gan'; .* vae, syncnet"),
        (["train=vae", "data_dir=d", "name=../x"], "name is '../x'"),
        (["train=vae", "data_dir=d", "tracker.mode=maybe"], "tracker.mode 'maybe' .* offline, online"),
    ],
)
def test_a_wrong_training_configuration_is_refused_by_key(overrides, message):
    with pytest.raises(OptionError, match=message):
        options_module.read_config(composed(*overrides))


def test_the_configuration_can_be_had_without_the_command_line():
    config = options_module.configure(["train=vae", "data_dir=d", "loop.steps=3"])
    assert (config.kind, config.data_dir, config.loop.steps) == ("vae", "d", 3)
    with pytest.raises(OptionError, match="train=gan .* known are syncnet, unet_distill"):
        options_module.configure(["train=gan", "data_dir=d"])


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Runs the command line in this process with the tiny task: (overrides) -> exit status, stdout, stderr."""
    monkeypatch.setattr("latentsync.lab.training.job.make_task", lambda config: (FrequencyTask(), Waves(), Waves()))
    options = [
        f"loop.{name}={'null' if value is None else value}" for name, value in asdict(replace(OPTIONS, steps=6)).items()
    ]

    def call(*overrides, tracker="none"):
        (tmp_path / "clips").mkdir(exist_ok=True)
        given = ["train=vae", f"data_dir={tmp_path / 'clips'}", f"runs_dir={tmp_path}", f"tracker={tracker}"]
        given += [*options, *overrides]
        monkeypatch.setattr(sys, "argv", ["train", *given])
        try:
            status = train_command.main()
        except SystemExit as error:
            status = error.code
        return status, *capfd.readouterr()

    return call


@pytest.mark.slow
def test_the_command_trains_stops_and_goes_on(command, tmp_path):
    status, out, _ = command("loop.max_minutes=1e-9")
    assert status == 0 and "trains     vae, weights: net 161, scale 2" in out
    assert "step 1/6  loss" in out and "at step 1; run the same command" in out
    status, out, _ = command()
    folder = tmp_path / "training" / "vae"
    assert status == 0 and "continues from step 1" in out and f"finished 6 steps; weights are in {folder}" in out
    assert [row["step"] for row in curve(folder)] == list(range(1, 7))
    assert {path.name for path in (folder / "pictures").iterdir()} == {
        f"step-{step:08d}_guess.png" for step in (2, 4, 6)
    }  # fmt: skip
    videos = sorted((folder / "videos").iterdir())
    assert [path.name for path in videos] == [f"step-{step:08d}_noise.mp4" for step in (2, 4, 6)]
    info = probe(videos[0])
    assert (info.num_frames, info.width, info.height, info.source_rate_hz) == (5, 32, 16, 25)
    assert json.loads((folder / "config.json").read_text())["loop"]["seed"] == OPTIONS.seed
    assert "all 6 steps are done already" in command()[1]


def test_the_command_refuses_in_one_sentence(command):
    assert command()[0] == 0
    status, _, errors = command("+task.stage=2")
    assert status == 2 and errors.startswith("error: ") and "give name=OTHER" in errors and errors.count("\n") == 1
    status, _, errors = command("name=other", "loop.precision=float64")
    assert status == 2 and errors.startswith("error: precision is 'float64'; ") and errors.count("\n") == 1
    assert "float32, bfloat16, float16" in errors


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], ("train is not given", "vae")),
        (["train=gan"], ("gan", "syncnet")),
        (["train=vae"], ("data_dir is not given",)),
        (["train=vae", "data_dir=nowhere"], ("nowhere", "latentsync prepare")),
        (["train=vae", "data_dir=.", "loop.stepss=1"], ("loop.stepss", "loop.steps")),
        (["train=vae", "data_dir=.", "loop.steps=0"], ("steps is 0", ">= 1")),
        (["train=vae", "data_dir=.", "+foo=1"], ("foo", "latentsync train --help")),
        (["train=vae", "data_dir=.", "preset=female"], ("preset",)),
        (["train=vae", "data_dir=.", "+task.sharpness=1"], ("task.sharpness", "kl_weight")),
        (["train=vae", "data_dir=.", "loop.steps=1,2"], ("loop.steps=1,2", "-m")),
        (["-m", "train=vae", "data_dir=.", "loop.steps=1,0"], ("steps is 0",)),
        (["train=vae", "data_dir=.", "model_dir=nowhere"], ("model_dir is nowhere", "mini")),
        (["train=vae", "data_dir=.", "runs_dir=file"], ("runs_dir is file", "is a file")),
        (["train=vae", "data_dir=."], ("holds no aligned clip",)),
        (["train=vae", "--cfg", "jobs"], ("'jobs'", "job")),
    ],
)
def test_a_wrong_training_ends_with_a_sentence_and_status_2_and_stores_nothing(
    overrides, words, tmp_path, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["latentsync", "train", *overrides])
    try:
        status = train_command.main(overrides)
    except SystemExit as end:
        status = end.code
    errors = capfd.readouterr().err
    assert status == 2 and errors.startswith("error: ") and errors.count("\n") == 1
    assert all(word in errors for word in words)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_tracker_that_fails_stops_nothing(command, monkeypatch):
    import wandb

    def refuse(**_):
        raise wandb.errors.CommError("no route")

    monkeypatch.setattr(wandb, "init", refuse)
    status, out, errors = command(tracker="wandb_offline")
    assert status == 0 and "finished 6 steps" in out and errors.count("the tracker stopped, CommError: no route") == 1


@pytest.mark.slow
def test_the_tracker_writes_offline(command, tmp_path):
    status, _, errors = command(tracker="wandb_offline")
    assert status == 0 and "tracker stopped" not in errors
    (written,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    content = written.read_bytes()
    assert b"validation/mse" in content and b"pictures/guess" in content and b"videos/noise" in content
    media = written.parent / "files" / "media"
    assert len(list(media.glob("images/pictures/guess_*.png"))) == 3
    videos = [path.read_bytes() for path in sorted((tmp_path / "training" / "vae" / "videos").iterdir())]
    assert sorted(path.read_bytes() for path in media.glob("videos/videos/noise_*.mp4")) == sorted(videos)
