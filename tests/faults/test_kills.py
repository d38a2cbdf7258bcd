"""Whole commands, killed at random moments and run again, leave what an undisturbed run leaves.

KILLS and KILLS_SEED give the number of each command's kills and other moments.
"""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from short_clips import clip_folder
from waves import OPTIONS

from faults.campaign import FAULT, NOTE, Row
from faults.kills import Runner, content, difference

SEED, NUMBER = (int(os.environ.get(name, default)) for name, default in (("KILLS_SEED", "21"), ("KILLS", "8")))
QUICK = ["sampler.num_inference_steps=1", "metrics=none"]
pytestmark = pytest.mark.faults


def sweep(clips: Path, work: Path) -> list[str]:
    """Two records, their tables and pictures."""
    data = ["data=folder", f"data.input_dir={clips}"]
    return ["run", "-m", *data, f"runs_dir={work}", "name=test", "sampler.seed=1,2", "tracker=none", *QUICK]


def folder_job(clips: Path, work: Path) -> list[str]:
    return ["batch", "--input_dir", f"{clips}", "--output_dir", f"{work}", *QUICK]


def training(clips: Path, work: Path) -> list[str]:
    loop = {name: "null" if value is None else value for name, value in asdict(replace(OPTIONS, steps=6)).items()}
    options = [f"loop.{name}={value}" for name, value in loop.items()]
    return ["train", "train=vae", f"data_dir={clips}", f"runs_dir={work}", "tracker=none", *options]


def publish(clips: Path, work: Path) -> list[str]:
    return ["publish", f"{work}", "--mode", "offline"]


def report(clips: Path, work: Path) -> list[str]:
    return ["report", f"{work}"]


OF_A_SWEEP = (publish, report)  # commands that begin with the folder of one


@pytest.fixture(scope="module")
def runner(tmp_path_factory) -> Iterator[Runner]:
    runner = Runner(tmp_path_factory.mktemp("runner"))
    yield runner
    runner.end()


@pytest.fixture(scope="module")
def swept(runner, tmp_path_factory) -> tuple[Path, Path]:
    """A folder of clips, and one that holds a whole sweep of them."""
    clips, runs = clip_folder(tmp_path_factory.mktemp("clips"), 0.2), tmp_path_factory.mktemp("swept")
    assert runner.run(sweep(clips, runs))[0] == 0, runner.output.read_text()
    return clips, runs


@pytest.mark.parametrize("command", [sweep, folder_job, training, publish, report])
def test_a_killed_command_ends_as_an_undisturbed_one(
    command: Callable[[Path, Path], list[str]], runner, swept, tmp_path, record_property
):
    (clips, runs), work = swept, tmp_path / "work"
    arguments = command(clips, work)

    def run(limit_s=None) -> tuple[int, float]:
        return runner.run(arguments, limit_s)

    def begin() -> None:
        shutil.rmtree(work, ignore_errors=True)
        if command in OF_A_SWEEP:
            shutil.copytree(runs, work, symlinks=True)

    for _ in range(2):  # the first one also fills the memory of the disk
        begin()
        status, seconds = run()
        assert status == 0, runner.output.read_text()
    wanted, killed_at_s = content(work), []
    row = Row(f"{command.__name__.replace('_', ' ')}: killed at a random moment")
    for moment_s in np.random.default_rng([SEED, *command.__name__.encode()]).uniform(0, seconds, 5 * NUMBER):
        begin()
        if run(moment_s)[0] != -signal.SIGKILL:
            continue  # it was quicker than the one that was timed
        killed_at_s.append(f"{moment_s:.2f}")
        status, _ = run()
        found = f"lost (exit status {status})" if status else difference(content(work), wanted) or "new"
        row.add(found.split()[0], f"after {moment_s:.3f} s, {found}", ("new",))
        if len(killed_at_s) == NUMBER:
            break
    record_property(FAULT, [row.fault, dict(row.counts)])
    record_property(NOTE, f"{command.__name__}, {seconds:.2f} s, seed {SEED}: killed after {', '.join(killed_at_s)} s")
    assert row.bad == []
    assert len(killed_at_s) == NUMBER
