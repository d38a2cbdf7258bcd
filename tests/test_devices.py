"""GPUs shared among processes."""

import subprocess
import sys

import pytest

from latentsync.lab.cells.devices import claim_place, own_device

CLAIM = (
    "import sys; from pathlib import Path; from latentsync.lab.cells.devices import claim_place; "
    "print(claim_place(2, Path(sys.argv[1])), flush=True); sys.stdin.read()"
)


@pytest.mark.slow
def test_gpus_are_taken_evenly_and_a_killed_process_gives_its_own_back(tmp_path):
    assert claim_place(2, tmp_path) == 0
    command = [sys.executable, "-c", CLAIM, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert int(other.stdout.readline()) == 1
        assert [claim_place(2, tmp_path) for _ in range(3)] == [0, 1, 0]
        other.kill()
    assert claim_place(2, tmp_path) == 1  # where the other was, before GPU 1's third place


def test_a_machine_without_several_gpus_has_none_to_share(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    own_device.cache_clear()
    assert own_device() is None
