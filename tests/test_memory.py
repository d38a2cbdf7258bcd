"""Memory counted from shapes, portions that fit it, and what happens when it runs out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from latentsync.checkpoints.model import SD_VAE
from latentsync.checkpoints.unet import read_unet_config
from latentsync.errors import is_memory_shortage
from latentsync.generation.memory import Needs, peak_bytes, published_memory
from latentsync.generation.portions import LEAST, Portions, Sizes
from latentsync.lab.options import CONF_DIR

SMALL = {"block_out_channels": [32, 64], "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"]} | {
    "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"]
}


@pytest.fixture
def config(monkeypatch) -> dict:
    """A narrow UNet's, beside a narrow VAE."""
    monkeypatch.setattr(
        "latentsync.generation.memory.SD_VAE", SD_VAE | {"block_out_channels": [32] * 4, "layers_per_block": 1}
    )
    return read_unet_config(CONF_DIR / "unet" / "stage2_512.yaml")["model"] | SMALL


def test_the_peak_is_what_is_alive_at_once():
    def call(x: torch.Tensor) -> torch.Tensor:
        first = x + 1
        second = first.view(2, -1) * 2  # the view takes nothing
        del first
        return second + second

    with FakeTensorMode():
        assert peak_bytes(lambda: call(torch.zeros(1000))) == 3 * 4000  # the input is made in the call, too
    x = torch.zeros(1000)
    assert peak_bytes(lambda: call(x)) == 2 * 4000


@pytest.mark.slow
def test_memory_grows_with_frames_precision_and_guidance(config):
    four, eight = (published_memory(config, 64, frames, torch.bfloat16) for frames in (4, 8))
    assert eight.weights == four.weights
    assert eight.unet_call == pytest.approx(2 * four.unet_call, rel=0.1)
    unguided = published_memory(config, 64, 8, torch.bfloat16, guided=False)
    assert unguided.unet_call == pytest.approx(eight.unet_call / 2, rel=0.1)
    whole = published_memory(config, 64, 8, torch.float32)
    assert whole.weights == 2 * eight.weights
    assert whole.peak == whole.weights + max(whole.unet_call, whole.vae_call)


MB = 10**6
NEEDS = Needs(weights=1000 * MB, both=200 * MB, branch=100 * MB, frame=50 * MB)


@pytest.mark.parametrize(
    ("limit", "sizes"),
    [
        (2600, Sizes()),
        (2599, Sizes(windows=7)),
        (1399, Sizes(windows=1, frames=7)),
        (1199, Sizes(windows=1, by_branch=True, frames=3)),
        (1050, LEAST),
        (900, LEAST),
    ],
)
def test_portions_are_the_largest_that_the_memory_holds(limit, sizes):
    assert NEEDS.sizes(limit * MB, windows=8, frames=8) == sizes
    assert NEEDS.least == 1100 * MB


TOO_MUCH = 2**60  # bytes; no machine has as many


def test_a_lack_of_memory_steps_down_once_and_other_errors_pass(caplog):
    portions, tried = Portions(), []

    def call(bytes_at_least: int = 0) -> torch.Tensor:
        tried.append(portions.sizes)
        return torch.empty(bytes_at_least if portions.sizes == LEAST else TOO_MUCH, dtype=torch.uint8)

    assert len(portions.attempt(lambda: call(8), "VAE")) == 8
    assert tried == [Sizes(), LEAST]
    (line,) = caplog.messages
    assert "the memory does not hold a call of the VAE" in line and "one window at a time" in line
    portions.attempt(call, "VAE")  # stays with the smallest
    with pytest.raises(RuntimeError) as shortage:
        portions.attempt(lambda: call(TOO_MUCH), "UNet")
    assert is_memory_shortage(shortage.value) and len(tried) == 4 and len(caplog.messages) == 1
    usual = Portions()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        usual.attempt(lambda: torch.zeros(2, 3) @ torch.zeros(2, 3), "UNet")
    assert usual.sizes == Sizes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux caps the memory of a process")
def test_under_a_real_cap_the_result_is_the_same():
    script = Path(__file__).with_name("capped_memory.py")
    places = os.pathsep.join([str(script.parents[1]), str(script.parent)])
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    of_each = json.loads(done.stdout.splitlines()[-1])
    assert list(of_each) == ["denoise", "decode"]
    for name, found in of_each.items():
        assert found["is_least"] and len(found["lines"]) == 1, name
        assert found["difference"] <= found["bound"], name
