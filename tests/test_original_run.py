"""The original run end to end with small seeded networks: each of its stored intermediate tensors is met again."""

import json
import math

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from rounding import EPS
from safetensors.torch import load_file

from latentsync.audio.features import Audio2Feature
from latentsync.checkpoints.model import LATENTSYNC_SCHEDULER
from latentsync.constants import SOUND_RATE_HZ, VIDEO_RATE_HZ
from latentsync.faces.composite import paste_kept
from latentsync.faces.masks import crops_to_pixels, mask_to_latents, masked_images, mouth_mask
from latentsync.generation.denoise import Condition, denoise
from latentsync.generation.latents import decode, draws, encode, latent_shape
from latentsync.media import read_sound
from latentsync.unet.model import UNet3DConditionModel, published_config

ORIGINAL = {"reference": "the original's own run, seeded small networks"}
WINDOW = 16
SOUND_S, STEPS, GUIDANCE = 1.2, 4, 1.5


@pytest.fixture(scope="module")
def run(golden):
    """The stored tensors of the run, and what its networks were."""
    name = "pipeline_small_v16.safetensors"
    return load_file(golden / name), json.loads((golden / "manifest.json").read_text())[name]


@pytest.fixture(scope="module")
def vae(run, recipe):
    return recipe.fill(AutoencoderKL(**run[1]["vae"], scaling_factor=0.18215), run[1]["seeds"]["vae"]).eval()


@pytest.fixture(scope="module")
def drawn(run, vae):
    """Random numbers in the original's order: the noise frame, then the first window's masked and reference images."""
    noise = draws("reference", run[1]["seeds"]["set_seed"], latent_shape(vae, 256), torch.device("cpu"), torch.float32)
    return noise, noise.for_vae(1, WINDOW)


@torch.no_grad()
def test_noise_and_encoded_faces(run, vae, drawn, agree):
    tensors, _ = run
    noise, (for_masked, for_reference) = drawn
    # The same bits become r * cos(a), r up to sqrt(-2 log(2^-24)), by other functions on processors without AVX2: the
    # angle, up to 2 pi, is rounded to eps / 2 of itself; logarithm, root, cosine and product add an eps each
    within = math.sqrt(-2 * math.log(2**-24)) * (math.pi + 4) * EPS
    agree("noise frame, sampler.rng=reference", noise.noise[:, :, 0], tensors["noise0"], within=within, **ORIGINAL)
    pixels = crops_to_pixels(tensors["faces0_uint8"][:1])
    masked = encode(vae, masked_images(pixels, mouth_mask("mask", 256)), for_masked[:1])
    reference = encode(vae, pixels, for_reference[:1])
    agree("VAE latents of a masked face", masked[0], tensors["masked_latents_w0"][0, :, 0], within=1e-4, **ORIGINAL)
    agree("VAE latents of a reference face", reference[0], tensors["ref_latents_w0"][0, :, 0], within=1e-4, **ORIGINAL)


@pytest.mark.slow
@torch.no_grad()
def test_from_sound_and_latents_to_the_pasted_face(run, vae, drawn, recipe, shared, whisper_with, agree):
    tensors, facts = run
    shapes = json.loads((shared / "keys" / "keys_whisper_tiny.json").read_text())
    audio = Audio2Feature(whisper_with(recipe.synth_state_dict(shapes, facts["seeds"]["whisper"]), 384, 6, 4))
    sound = read_sound(shared / "media" / "g-demo1.wav", SOUND_RATE_HZ)[: int(SOUND_S * SOUND_RATE_HZ)]
    features = audio.features(sound)
    agree("Whisper states of the run", features[::5], tensors["whisper_features"], within=1e-4, **ORIGINAL)
    windows = audio.feature2chunks(features, VIDEO_RATE_HZ)
    assert len(windows) == facts["frames"]

    unet = recipe.fill(UNet3DConditionModel(**published_config(facts["unet"])), facts["seeds"]["unet"]).eval()
    mask = mouth_mask("mask", 256)
    condition = Condition(
        mask=mask_to_latents(mask)[None, :, None].expand(-1, -1, WINDOW, -1, -1),
        masked=tensors["masked_latents_w0"],
        reference=tensors["ref_latents_w0"],
        audio=windows[None, :WINDOW],
    )
    noise = drawn[0].noise.expand(-1, -1, WINDOW, -1, -1)
    latents = denoise(unet, DDIMScheduler.from_config(LATENTSYNC_SCHEDULER), noise, condition, GUIDANCE, STEPS)
    agree("final latents of a window", latents, tensors["final_latents_w0"], within=2e-4, **ORIGINAL)

    decoded = decode(vae, latents[0, :, :1].transpose(0, 1))
    stored = unrounded(tensors["decoded_w0_frame0"], decoded[0])
    agree("decoded face", decoded[0], stored, within=2e-4, **ORIGINAL)
    pasted = paste_kept(decoded, crops_to_pixels(tensors["faces0_uint8"][:1]), mask)
    stored = unrounded(tensors["pasted_w0_frame0"], pasted[0])
    agree("face pasted in the crop", pasted[0], stored, within=2e-4, **ORIGINAL)


def unrounded(stored: torch.Tensor, got: torch.Tensor) -> torch.Tensor:
    """The numbers nearest to `got` that float16 rounds to what is stored: the run kept its pictures in float16."""
    half_step = torch.exp2(stored.float().abs().clamp(min=2**-14).log2().floor() - 11)
    return torch.clamp(got, stored - half_step, stored + half_step)
