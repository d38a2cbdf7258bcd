"""Packages that add to the toolkit from outside: the one in docs/extension, installed as a user installs it, and broken
ones, which cost a line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from command_lines import answers_of
from offline_runs import wandb_file
from written_sweep import write_sweep

from latentsync import plugins
from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.records.store import RecordStore
from latentsync.lab.tracking.apart import publish_in_time
from latentsync.lab.tracking.trackers import run_id
from latentsync.metrics import evaluate as evaluating
from latentsync.metrics.definition import Definition, InstalledFamily
from latentsync.metrics.definitions import DEFINITIONS, INSTALLED
from latentsync.metrics.evaluate import evaluate
from latentsync.metrics.families import Subject

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "docs" / "extension"


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """A folder in which the example is installed, without a network."""
    folder = tmp_path_factory.mktemp("packages")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-index", "--no-deps"]
    answer = subprocess.run(
        [*pip, "--no-build-isolation", "--target", folder, EXAMPLE], capture_output=True, text=True, timeout=300
    )
    assert answer.returncode == 0, answer.stderr
    return folder


@pytest.mark.slow
def test_a_metric_a_solver_and_a_tracker_of_a_package_work_as_the_projects_own(packages, clips, tmp_path):
    runs = tmp_path / "runs"
    lines = [
        ["run", "--help"],
        [
            "run", "data=folder", f"data.input_dir={clips}", f"runs_dir={runs}", "name=ours", "metrics=none",
            "metrics.flicker=true", "sampler.scheduler=euler", "sampler.num_inference_steps=1",
            "tracker=wandb_offline", "tracker.plugin=json_lines", "objective=flicker",
            "metrics.gate={flicker_ratio: 100}",
        ],
        ["report", str(runs), "--sweep", "ours", "--output", str(tmp_path / "report.html")],
        ["measure", str(runs), "--metrics", "flicker"],
    ]  # fmt: skip
    answers = answers_of(lines, tmp_path, packages)
    assert [(one.status, one.err) for one in answers] == [(0, "")] * 4, answers
    help_text, run_text, _, measured = (one.out for one in answers)
    for words in ("metrics.flicker=false", "student, euler", "Allowed: json_lines"):
        assert words in " ".join(help_text.split()), words
    (record,) = RecordStore(runs).all()
    value = record.metrics["flicker"]["value"]
    assert value > 0 and f"objective flicker: {value:.6g}" in run_text and "has all metrics" in measured
    assert (
        record.content["options"]["scheduler"] == "euler" and record.content["versions"]["latentsync-example"] == "1.0"
    )
    table = pd.read_csv(runs / "sweeps" / "ours" / "table.csv")
    assert table["flicker"].item() == pytest.approx(value) and "flicker_ratio" in table
    line = json.loads((runs / "json_lines" / "ours.jsonl").read_text())
    assert (line["id"], line["flicker"], line["scheduler"]) == (record.id, value, "euler")
    assert "flicker ratio" in (tmp_path / "report.html").read_text()
    written = wandb_file(runs, run_id("ours", record.id))
    assert written["summary"]["flicker"] == value and written["config"]["scheduler"] == "euler"
    assert written["config"]["goals"] == {"flicker": "minimize", "flicker_ratio": "one"}
    assert "curves/flicker" not in written["axes"]  # curves of windows and shifts alone are sent


def broken(folder: Path, module: str, points: dict[str, dict[str, str]], code: str) -> None:
    """Writes a package as pip would install it."""
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    groups = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in points.items()]
    (info / "entry_points.txt").write_text("\n".join(groups))


FAMILY = """
from latentsync.metrics.definition import Definition, InstalledFamily
def family(name, measure, place="nowhere:Family"):
    known = Definition("word", name, "unit", "lower", "text", "source")
    return InstalledFamily("a text.", {measure: known}, place)
"""


@pytest.mark.slow
def test_broken_packages_cost_a_line_each_and_never_a_command(tmp_path):
    broken(tmp_path, "absent", {"latentsync.metrics": {"absent": "absent:FAMILY"}}, "import no_such_module\n")
    broken(tmp_path, "taken", {"latentsync.metrics": {"lpips": "taken:lpips"}}, "lpips = None\n")
    broken(tmp_path, "same", {"latentsync.metrics": {"same": "same:SAME"}}, f"{FAMILY}SAME = family('same', 'psnr')\n")
    broken(tmp_path, "other", {"latentsync.metrics": {"other": "other:OTHER"}}, "OTHER = 3\n")
    both = {"latentsync.metrics": {"twice": "twice:TWICE"}}
    broken(tmp_path, "twice", both, f"{FAMILY}TWICE = family('twice', 'twice_value')\n")
    broken(tmp_path, "twice_again", both, "TWICE = 1\n")
    points = {"latentsync.schedulers": {"ddim": "solver:ddim"}, "latentsync.trackers": {"csv": "solver:Csv"}}
    broken(tmp_path, "solver", points, "ddim = Csv = None\n")
    runs = f"runs_dir={tmp_path / 'runs'}"
    lines = [
        ["run", "--help"],
        ["run", runs, "plan=true", "metrics.absent=true"],
        ["run", runs, "plan=true", "tracker.plugin=csv"],
        ["run", runs, "metrics.twice=true", "--cfg", "job"],
        ["doctor", "--json"],
    ]
    helped, refused, no_tracker, composed, looked = answers = answers_of(lines, tmp_path, tmp_path)
    left_out = [line for one in answers for line in one.err.splitlines() if line.startswith("left out")]
    assert sorted(line.partition(": ")[2].partition(" of the package ")[0] for line in left_out) == [
        "the family of metrics absent", "the family of metrics lpips", "the family of metrics other",
        "the family of metrics same", "the family of metrics twice", "the solver ddim", "the tracker csv",
    ]  # fmt: skip
    assert all(len(line) < 300 for line in left_out) and "No module named 'no_such_module'" in "".join(left_out)
    assert helped.status == 0 and "metrics.twice=false" in helped.out and "metrics.absent" not in helped.out
    assert refused.status == 2 and "metrics.absent is unknown" in refused.err
    assert no_tracker.status == 2 and "'csv' is unknown" in no_tracker.err
    assert composed.status == 0 and "twice: true" in composed.out
    found = [one for one in json.loads(looked.out)["findings"] if one["area"] == "extensions"]
    assert found[0] == {
        "area": "extensions",
        "name": "twice",
        "value": "family of metrics of twice 1.0",
        "state": "ok",
        "remedy": "",
    }
    assert {one["name"] for one in found[1:]} == {"absent", "csv", "ddim", "lpips", "other", "same", "twice"}
    assert all(one["state"] == "note" and one["remedy"] in "".join(left_out) for one in found[1:])


def test_a_family_whose_class_is_missing_has_a_reason_and_no_value(monkeypatch):
    known = Definition("emptiness", "hollow", "unit", "lower", "text", "source")
    monkeypatch.setitem(DEFINITIONS, "emptiness", known)
    monkeypatch.setitem(INSTALLED, "hollow", InstalledFamily("a text.", {"emptiness": known}, "nowhere:Family"))
    monkeypatch.setattr(evaluating, "FAMILIES", ("hollow",))
    entry = evaluate(Subject(64), [], ["hollow"]).entries["emptiness"]
    assert entry["value"] is None
    assert entry["reason"] == "nowhere:Family cannot be imported (ModuleNotFoundError: No module named 'nowhere')"


ENDS = """
import os, time
class Ends:
    def __init__(self, config, folder):
        pass
    def publish(self, record, sweep):
        {end}
"""


@pytest.mark.parametrize(
    ("end", "limit_s", "reason"),
    [("os._exit(3)", 300, "exit status 3"), ("time.sleep(600)", 0.2, "not finished after 0.2 s")],
    ids=["dies", "hangs"],
)
def test_a_tracker_of_a_package_that_dies_or_hangs_costs_a_line(end, limit_s, reason, tmp_path, monkeypatch):
    write_sweep(tmp_path / "runs", "test")
    points = {"latentsync.trackers": {"ends": "ends:Ends"}}
    broken(tmp_path, "ends", points, ENDS.format(end=end))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    plugins.installed.cache_clear()
    try:
        config = TrackerConfig(plugin="ends", timeout_s=limit_s)
        records = RecordStore(tmp_path / "runs").all()
        count, stopped = publish_in_time(records, "test", config, tmp_path / "runs")
    finally:
        plugins.installed.cache_clear()
    assert count == 0 and stopped.startswith(reason)
