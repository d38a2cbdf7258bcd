"""What a user of lightning-hydra-template does first: a project of one's own outside the clone, Hydra's own flags, and
plugins of installed packages. Each works, or is refused in words."""

from pathlib import Path

import pandas as pd
import pytest
from command_lines import answers_of
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from latentsync.__main__ import main
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.schema import read_config

ROOT = Path(__file__).parents[1]

PROJECT = {
    "configs/experiment/mine.yaml": """\
# @package _global_
defaults:
  - override /data: ours
  - override /model: ours
  - override /sampler: one_step
  - override /preset: gentle        # from the package mylab
  - override /metrics: none
  - override /tracker: none

name: mine
custom: {seeds: "1,2"}

hydra:
  mode: MULTIRUN
  sweeper:
    params:
      sampler.seed: ${custom.seeds}
""",
    "configs/data/ours.yaml": "input_dir: CLIPS\npairing: all\nmax_pairs: 1\n",
    "configs/model/ours.yaml": "defaults: [mini]\npretrained: MODEL\n",
    "configs/sampler/one_step.yaml": "defaults: [ddim]\nnum_inference_steps: 1\n",
    "packages/mylab/__init__.py": "",
    "packages/mylab/conf/__init__.py": "",
    "packages/mylab/conf/preset/gentle.yaml": "name: gentle\nfemale: 1.1\nmale: 1.1\nneutral: 1.1\n",
    "packages/otherlab/__init__.py": "",
    "packages/otherlab/conf/__init__.py": "",
    "packages/otherlab/conf/preset/strong.yaml": "name: strong\nfemale: 2.5\nmale: 2.5\nneutral: 2.5\n",
    "packages/hydra_plugins/mylab_searchpath.py": """\
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

class MylabSearchPath(SearchPathPlugin):
    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("mylab", "pkg://mylab.conf")
""",
    "packages/hydra_plugins/backwards.py": """\
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore

class BackwardsSweeper(BasicSweeper):
    @staticmethod
    def split_arguments(overrides, max_batch_size):
        return [jobs[::-1] for jobs in BasicSweeper.split_arguments(overrides, max_batch_size)]

node = {"_target_": "hydra_plugins.backwards.BackwardsSweeper", "max_batch_size": None, "params": None}
ConfigStore.instance().store(group="hydra/sweeper", name="backwards", node=node, provider="backwards")
""",
}
MINE = ["--config-dir", "configs", "experiment=mine"]
PLUGINS = [
    "-m", "--config-dir", "configs", "data=ours", "model=ours", "sampler=one_step", "metrics=none", "tracker=none",
    "sampler.seed=1,2", "name=plugins",
]  # fmt: skip
LINES = {
    "plan": ["run", *MINE, "plan=true"],
    "typo in a key": ["run", *MINE, "sampler.sed=1"],
    "typo in a choice": ["run", "--config-dir", "configs", "experiment=mien"],
    "wrong value": ["run", *MINE, "preview=true", "sampler.rng=all"],
    "package by search path": ["run", *PLUGINS, "hydra.searchpath=[pkg://otherlab.conf]", "preset=strong", "plan=true"],
    "unknown sweeper": ["run", *PLUGINS, "hydra/sweeper=forwards"],
    "plan of a sweeper of one's own": ["run", *PLUGINS, "hydra/sweeper=backwards", "plan=true"],
    "wrong value for it": ["run", *PLUGINS, "hydra/sweeper=backwards", "sampler.seed=1,-2"],
    "run": ["run", *MINE, "hydra.output_subdir=.hydra"],
    "run again": ["run", *MINE],
    "sweeper of one's own": ["run", *PLUGINS, "hydra/sweeper=backwards", "preset=gentle"],
    "status": ["status", "runs"],
    "table": ["collect", "runs", "--sweep", "mine", "--wide", "--output", "table.csv"],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory, clips, untrained):
    """A project outside the clone, and what each of `LINES` gave in it: status, output, errors and files of runs/."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in PROJECT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.replace("CLIPS", str(clips)).replace("MODEL", str(untrained)))
    answers = answers_of(list(LINES.values()), folder, folder / "packages")
    return folder, dict(zip(LINES, answers, strict=True))


@pytest.mark.slow
def test_a_project_outside_the_clone_is_planned_run_and_reported(project):
    folder, answers = project
    status, out, _, files = answers["plan"]
    assert (status, files) == (0, []) and "2 cells, 2 records: 0 cached, 2 to make" in out
    status, out, _, files = answers["run"]
    assert status == 0 and "2 records, 0 failures" in out and "guidance_scale 1.1 (preset gentle)" in out
    assert sum(name.endswith("record.json") for name in files) == 2
    assert answers["run again"][0] == 0 and "nothing to do: 2 cells, all 2 records exist" in answers["run again"][1]
    assert answers["status"][0] == 0
    table = pd.read_csv(folder / "table.csv")
    assert sorted(table["seed"]) == [1, 2] and set(table["num_inference_steps"]) == {1}
    assert set(table["guidance_scale"]) == {1.1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("typo in a key", ("sampler.sed", "did you mean sampler.seed")),
        ("typo in a choice", ("experiment=mien", "did you mean mine")),
        ("wrong value", ("rng 'all'", "own, reference")),
        ("unknown sweeper", ("hydra/sweeper=forwards is not installed", "backwards, basic")),
        ("plan of a sweeper of one's own", ("hydra/sweeper=backwards", "plan=true cannot")),
        ("wrong value for it", ("seed is -2",)),
    ],
)
def test_what_is_wrong_in_a_project_is_refused_before_anything_is_stored(name, words, project):
    status, _, errors, files = project[1][name]
    assert (status, files) == (2, []) and errors.startswith("error: ") and errors.count("\n") == 1
    assert all(word in errors for word in words)


@pytest.mark.slow
def test_packages_bring_configurations_and_sweepers(project):
    _, answers = project
    status, out, _, files = answers["package by search path"]
    assert (status, files) == (0, []) and "2 cells, 2 records" in out and "preset=strong" in out
    status, out, _, files = answers["sweeper of one's own"]
    assert status == 0 and "2 records, 0 failures in runs/sweeps/plugins" in out
    assert out.index("sampler.seed=2") < out.index("sampler.seed=1")  # as Hydra announces the jobs


@pytest.mark.slow
def test_the_resolved_configuration_of_a_run_is_read_as_hydra_writes_it(project):
    folder, _ = project
    config = OmegaConf.load(folder / "runs" / "sweeps" / "mine" / ".hydra" / "config.yaml")
    assert config.preset.name == "gentle" and config.sampler.num_inference_steps == 1
    assert read_config(config).options.sampler.num_inference_steps == 1


# --- in the clone ---


def run(*arguments: str) -> int:
    """`latentsync run` in this process."""
    try:
        return main(["run", *arguments])
    except SystemExit as end:
        return end.code or 0


def test_hydras_own_flags_show_the_configuration(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("--cfg", "job", "--resolve", "sampler=unipc", "sampler.seed=3") == 0
    assert OmegaConf.create(capsys.readouterr().out).sampler.scheduler == "unipc"
    assert run("--cfg", "job", "--package", "video") == 0
    assert "crf: 18" in capsys.readouterr().out
    assert run("--info", "defaults") == 0
    assert "sampler/ddim" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_range_and_choice_make_a_grid(clips, untrained, tmp_path, capsys):
    line = [
        "-m", "data=folder", f"data.input_dir={clips}", f"model.pretrained={untrained}", f"runs_dir={tmp_path}",
        "sampler.seed=range(1,4)", "sampler.guidance_scale=choice(1.0,1.5)", "plan=true",
    ]  # fmt: skip
    assert run(*line) == 0
    assert "6 cells, 6 records: 0 cached, 6 to make" in capsys.readouterr().out
    assert run(*line, f"hydra.sweep.dir={tmp_path}/multirun") == 2
    assert "give runs_dir=FOLDER name=NAME" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_hydras_compose_gives_what_the_command_runs():
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("config", overrides=["sampler.seed=5", "preset=swapped"])
    run_config = read_config(config)
    assert run_config.options.sampler.seed == 5 and run_config.preset.female == 1.3
