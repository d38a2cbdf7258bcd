"""Configurations that every user of Hydra looks for: conf/local of one machine, and conf/debug."""

import subprocess
from pathlib import Path

from latentsync.lab.options.compose import configured
from latentsync.lab.options.schema import read_config

ROOT = Path(__file__).resolve().parents[1]
LOCAL = """\
# @package _global_
defaults:
  - override /tracker: csv

runs_dir: /data/runs
data:
  max_pairs: 7
sampler:
  num_inference_steps: 30
"""
MINE = """\
# @package _global_
data:
  max_pairs: 3
"""


def test_a_local_configuration_is_used_where_there_is_one_and_yields_to_experiments_and_the_command_line(tmp_path):
    for name, text in (("local/default", LOCAL), ("experiment/mine", MINE)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.yaml").write_text(text)
    found = f"hydra.searchpath=[file://{tmp_path}]"
    run = read_config(configured([found, "experiment=mine", "sampler.num_inference_steps=5"]))
    assert (run.runs_dir, run.tracker.names) == (Path("/data/runs"), ("csv",))
    assert (run.data.max_pairs, run.options.sampler.num_inference_steps) == (3, 5)
    assert read_config(configured([found, "tracker=none"])).tracker.names == ()
    assert read_config(configured([found, "~local"])).data.max_pairs is None


def test_git_ignores_the_local_configuration():
    ignored = ["git", "check-ignore", "-q", "conf/local/default.yaml"]
    inside = subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True)
    assert inside.returncode != 0 or subprocess.run(ignored, cwd=ROOT).returncode == 0


def test_debug_is_small_alone_in_its_folder_and_yields_to_the_command_line():
    run = read_config(configured(["debug=default", "experiment=guidance_sweep"]))
    assert (run.runs_dir, run.data.max_pairs, run.options.sampler.num_inference_steps) == (Path("runs/debug"), 1, 2)
    assert (run.tracker.names, run.metrics.families, run.cache.max_gb) == ((), (), 0)
    with_metrics = read_config(configured(["debug=metrics", "runs_dir=mine", "data.max_pairs=2"]))
    assert (with_metrics.runs_dir, with_metrics.data.max_pairs) == (Path("mine"), 2)
    assert "lpips" in with_metrics.metrics.families and with_metrics.tracker.names == ()
