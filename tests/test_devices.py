"""GPUs shared among processes, and the precision that a processor runs well."""

import subprocess
import sys

import pytest
import torch

from latentsync.device import precision_text, resolve_dtype, resolve_training_dtype
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


def test_bfloat16_is_not_chosen_where_onednn_may_not_use_it(monkeypatch):
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    for isa, dtype in {"AVX512_CORE": torch.float32, "AVX512_CORE_BF16": torch.bfloat16}.items():
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", isa)
        assert resolve_dtype(None, torch.device("cpu")) == dtype


@pytest.mark.parametrize("native", [True, False])
def test_a_training_runs_in_bfloat16_where_it_is_native(monkeypatch, native):
    cpu, dtype = torch.device("cpu"), torch.bfloat16 if native else torch.float32
    monkeypatch.setattr("latentsync.device._cpu_has_native_bfloat16", lambda: native)
    assert resolve_training_dtype(None, cpu) == dtype
    assert resolve_training_dtype("bfloat16", cpu) == torch.bfloat16  # what was asked for
    words = precision_text(torch.bfloat16, cpu, "loop.precision", is_open=False)
    assert ("only emulates: loop.precision=float32 is many times faster" in words) == (not native)
    assert precision_text(dtype, cpu, "loop.precision", is_open=True).endswith(" (chosen for this machine)")


@pytest.mark.parametrize(("major", "dtype"), [(7, torch.float32), (8, torch.bfloat16)])
def test_a_gpu_without_bfloat16_trains_in_float32(monkeypatch, major, dtype):
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (major, 5))
    assert resolve_training_dtype(None, torch.device("cuda")) == dtype
