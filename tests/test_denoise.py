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
ORIGINAL = {"reference": "the original, seeded small UNet"}


@pytest.fixture(scope="module")
def loop(golden):
    """Runs the original's small network over its stored inputs; gives the final latents and those after each step."""
    config = json.loads((golden / "manifest.json").read_text())["unet_tiny_v16_weights.safetensors"]["config"]
    unet = UNet3DConditionModel(**published_config(config)).eval()
    torch.nn.Module.load_state_dict(unet, load_file(golden / "unet_tiny_v16_weights.safetensors"), strict=False)
    io = load_file(golden / "ddim_tiny_v16.safetensors")
    condition = Condition(io["mask"], io["masked"], io["ref"], io["audio"][None])
    scheduler = DDIMScheduler.from_config(LATENTSYNC_SCHEDULER)

    def run(steps: int, guidance_scale: float, deepcache_interval: int = 1):
        trace, timesteps = [], []

        def on_step(index, timestep, latents):
            trace.append(latents.clone())
            timesteps.append(timestep)

        final = denoise(unet, scheduler, io["noise"], condition, guidance_scale, steps, on_step, deepcache_interval)
        return final, torch.stack(trace), timesteps

    return run, io


def test_guided_steps_equal_the_originals_trace(loop, agree):
    run, io = loop
    final, trace, timesteps = run(5, 1.5)
    assert timesteps == [801, 601, 401, 201, 1]
    agree("DDIM, 5 steps, guidance 1.5, every step", trace, io["trace_5steps_cfg15"], within=TOLERANCE, **ORIGINAL)
    agree("DDIM, 5 steps, guidance 1.5, final latents", final, io["final_5steps_cfg15"], within=TOLERANCE, **ORIGINAL)


@pytest.mark.parametrize("guidance_scale", [1.0, 0.5])
def test_guidance_up_to_one_is_none(loop, agree, guidance_scale):
    run, io = loop
    final, _, _ = run(5, guidance_scale)
    agree("DDIM, 5 steps, no guidance, final latents", final, io["final_5steps_nocfg"], within=TOLERANCE, **ORIGINAL)


def test_twenty_steps_equal_the_originals(loop, agree):
    run, io = loop
    final, _, _ = run(20, 1.5)
    agree("DDIM, 20 steps, guidance 1.5, final latents", final, io["final_20steps_cfg15"], within=TOLERANCE, **ORIGINAL)


def test_deepcache_equals_the_originals(loop, agree):
    run, io = loop
    final, _, _ = run(20, 1.5, deepcache_interval=3)
    cached = io["final_20steps_cfg15_deepcache3"]
    agree("DeepCache every 3 of 20 steps, final latents", final, cached, within=TOLERANCE, **ORIGINAL)
    assert (final - io["final_20steps_cfg15"]).abs().max() > 1  # it is another result, and a cheaper one
