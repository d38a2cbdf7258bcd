"""Memory counted from shapes: what is alive at once is counted, and grows as it must."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from latentsync.checkpoints.model import SD_VAE
from latentsync.checkpoints.unet import read_unet_config
from latentsync.generation.memory import peak_bytes, published_memory
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
