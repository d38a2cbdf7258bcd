"""A sweep on a real SLURM of one node, one of whose tasks is killed in the middle (`make test-cluster`)."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from one_node import missing_programs, slurm
from short_clips import clip_folder

from latentsync.lab.records.store import RecordStore
from latentsync.lab.records.sweeps import sweep_cells

ROOT = Path(__file__).resolve().parents[2]
NUM_CELLS = 8
LONGEST_S = 900

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(missing_programs()), reason=f"no {missing_programs()}: Debian's slurm-wlm and munge"),
    pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="slurmd has to run as root"),
]


@pytest.fixture(scope="module")
def cluster():
    # a short path: munge's socket is in it
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, slurm(Path(folder)) as environment:
        yield {**environment, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """A folder with one clip and 1.2 s of voice."""
    return clip_folder(tmp_path_factory.mktemp("clips"), 1.2)


def start(clips: Path, runs: Path, environment: dict[str, str], log: Path) -> subprocess.Popen:
    """The command that a user gives: 8 cells, two at once."""
    seeds = ",".join(str(seed) for seed in range(NUM_CELLS))
    command = [
        sys.executable, "-m", "latentsync", "run", "-m", "launch=slurm", "launch.n=2", "launch.gpus=null",
        "launch.cpus=1", "launch.mem_gb=null", "data=folder", f"data.input_dir={clips}", f"runs_dir={runs}",
        "name=test", "sampler.num_inference_steps=1", f"sampler.seed={seeds}", "metrics=none", "tracker=none",
    ]  # fmt: skip
    with log.open("wb") as file:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)


def wait_for(what, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not what():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def parts(store: RecordStore) -> list[Path]:
    """Records in the making."""
    return list(store.root.glob(".part-*"))


def queue(environment: dict[str, str]) -> list[str]:
    answer = subprocess.run(["squeue", "--noheader"], env=environment, capture_output=True, text=True, check=True)
    return answer.stdout.splitlines()


def workers(runs: Path) -> list[int]:
    """The processes of this sweep's tasks."""
    numbers = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        is_python = Path(command[0]).name.startswith("python")
        if is_python and "submitit.core._submit" in command and any(str(runs) in part for part in command):
            numbers.append(int(folder.name))
    return numbers


def test_a_sweep_whose_task_is_killed_has_each_record_once_when_it_is_started_again(cluster, clips, tmp_path):
    runs, store = tmp_path / "runs", RecordStore(tmp_path / "runs")
    first = start(clips, runs, cluster, tmp_path / "first.log")
    wait_for(lambda: len(store.all()) >= 2 and parts(store) and workers(runs), first, tmp_path / "first.log")
    os.kill(workers(runs)[0], signal.SIGKILL)
    wait_for(lambda: not queue(cluster), first, tmp_path / "first.log")
    first.send_signal(signal.SIGINT)  # a SLURM without accounting cannot tell the waiting command that a task died
    first.wait(timeout=60)
    before = {record.id: record.folder.stat().st_ino for record in store.all()}
    assert len(before) == NUM_CELLS - 1

    second = start(clips, runs, cluster, tmp_path / "second.log")
    assert second.wait(timeout=LONGEST_S) == 0, (tmp_path / "second.log").read_text()

    after = {record.id: record.folder.stat().st_ino for record in store.all()}
    assert len(after) == NUM_CELLS
    assert before.items() <= after.items()  # no finished record was made again
    said = Counter(outcome["status"] for cell in sweep_cells(runs / "sweeps" / "test") for outcome in cell["outcomes"])
    assert said == {"cached": NUM_CELLS - 1, "done": 1}
    assert not parts(store)
