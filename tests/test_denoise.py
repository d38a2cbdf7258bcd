"""The sampling loop against the original's trace."""

import json

import pytest
import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file

from latentsync.denoise import Condition, denoise
from latentsync.model_files import LATENTSYNC_SCHEDULER
from latentsync.unet import UNet3DConditionModel, published_config

TOLERANCE = 2e-4


@pytest.fixture(scope="module")
def loop(golden):
    """Runs the original's small network over its stored inputs; gives the final latents and those after each step."""
    config = json.loads((golden / "manifest.json").read_text())["unet_tiny_v16_weights.safetensors"]["config"]
    unet = UNet3DConditionModel(**published_config(config)).eval()
    torch.nn.Module.load_state_dict(unet, load_file(golden / "unet_tiny_v16_weights.safetensors"), strict=False)
    io = load_file(golden / "ddim_tiny_v16.safetensors")
    condition = Condition(io["mask"], io["masked"], io["ref"], io["audio"][None])
    scheduler = DDIMScheduler.from_config(LATENTSYNC_SCHEDULER)

    def run(steps: int, guidance_scale: float):
        trace, timesteps = [], []

        def on_step(index, timestep, latents):
            trace.append(latents.clone())
            timesteps.append(timestep)

        final = denoise(unet, scheduler, io["noise"], condition, guidance_scale, steps, on_step)
        return final, torch.stack(trace), timesteps

    return run, io


def test_guided_steps_equal_the_originals_trace(loop):
    run, io = loop
    final, trace, timesteps = run(5, 1.5)
    assert timesteps == [801, 601, 401, 201, 1]
    torch.testing.assert_close(trace, io["trace_5steps_cfg15"], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(final, io["final_5steps_cfg15"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("guidance_scale", [1.0, 0.5])
def test_guidance_up_to_one_is_none(loop, guidance_scale):
    run, io = loop
    torch.testing.assert_close(run(5, guidance_scale)[0], io["final_5steps_nocfg"], atol=TOLERANCE, rtol=0)


def test_twenty_steps_equal_the_originals(loop):
    run, io = loop
    torch.testing.assert_close(run(20, 1.5)[0], io["final_20steps_cfg15"], atol=TOLERANCE, rtol=0)
