"""Where diffusers has the same thing, the pipeline has the same form."""

import gc
import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from doc_scripts import scripts
from short_clips import cut
from short_run import CLIP

from latentsync import LipsyncPipeline, media, plugins, weights
from latentsync.config import Options
from latentsync.errors import LatentSyncError, OptionError, WeightsError
from latentsync.generation.solvers import solver_of
from latentsync.generation.write import Target
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.pairs import SHIPPED_DIR

VOICE_S = 0.24  # 6 frames: one window
STEPS = {"num_inference_steps": 2, "guidance_scale": 2.0}


@pytest.fixture(scope="module")
def pipe(untrained) -> LipsyncPipeline:
    pipe = LipsyncPipeline.from_pretrained(untrained, device="cpu", torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def other(pipe) -> LipsyncPipeline:
    """Another pipeline with the same networks, whose scheduler may be changed."""
    other = LipsyncPipeline(**pipe.components)
    other.set_progress_bar_config(disable=True)
    return other


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    return cut(tmp_path_factory.mktemp("voices") / "g-short.wav", SHIPPED_DIR / "g-clara.wav", 1.0, VOICE_S)


def options_of(seed: int) -> Options:
    return Options.of(seed=seed, **STEPS)


def frames(pipe, voice, **options):
    return pipe(CLIP, voice, output_type="pt", **(STEPS | options)).frames


@pytest.mark.slow
def test_the_scripts_of_the_docs_run_as_they_are(voice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(CLIP, "clip.mp4")
    shutil.copy(voice, "voice.wav")
    blocks = scripts("python.md", "diffusers")
    assert len(blocks) == 5
    names = {}
    for script in blocks:
        exec(script, names)  # noqa: S102 - code of this test or of the docs
    assert names["output"].frames.shape == (1, 6, 512, 512, 3) and names["output"].video_path is None
    assert media.probe(tmp_path / "frames.mp4").num_frames == 6
    assert len(names["images"]) == 6 and (tmp_path / "first.png").is_file()
    assert names["path"].is_file() and type(names["other"].scheduler) is diffusers.UniPCMultistepScheduler


def test_moving_keeps_what_is_not_given(pipe):
    assert pipe.to("cpu") is pipe and pipe.dtype is torch.float32
    other = LipsyncPipeline.from_pretrained("mini", "cpu", "float32")
    assert other.to(torch.bfloat16).dtype is torch.bfloat16
    assert other.to("cpu").dtype is torch.bfloat16 and other.to(device=torch.device("cpu")).dtype is torch.bfloat16
    assert other.to("float32").dtype is torch.float32 and other.to("cpu", torch.bfloat16).dtype is torch.bfloat16
    for places, message in (
        (("cpu", "cpu"), "a device twice"),
        ((torch.float32, "float16"), "a precision twice"),
        ((torch.float16,), "float16 .* use bfloat16 or float32"),
        ((torch.int8,), "'int8' is unknown; choose one of float32"),
        (("cuda:99",), "'cuda:99' .* use cpu"),
    ):
        with pytest.raises(OptionError, match=message):
            other.to(*places)
    with pytest.raises(OptionError, match="xformers needs an NVIDIA GPU.*sdpa"):
        other.enable_xformers_memory_efficient_attention()
    assert (other.dtype, other.attention) == (torch.bfloat16, "sdpa")


def test_components_make_another_pipeline_and_config_has_the_settings(pipe, other):
    assert other.unet is pipe.unet and other.components == pipe.components
    assert pipe.config["size_px"] == pipe.config.size_px == pipe.settings.size_px
    assert (pipe.device, pipe.dtype) == (torch.device("cpu"), torch.float32)


def test_a_model_is_loaded_by_the_names_that_diffusers_has(pipe, tmp_path):
    pipe.save_pretrained(tmp_path, variant="fp16")
    assert (tmp_path / "unet" / "diffusion_pytorch_model.fp16.safetensors").is_file()
    again = LipsyncPipeline.from_pretrained(tmp_path, torch_dtype="float32", variant="fp16", vae=pipe.vae)
    assert again.vae is pipe.vae and again.weight_hashes == pipe.weight_hashes
    for options, error, message in (
        ({}, WeightsError, "diffusion_pytorch_model.safetensors"),
        ({"variant": "bf16"}, WeightsError, "bf16.*the folder has diffusion_pytorch_model.fp16.safetensors"),
        ({"variant": "../x"}, OptionError, "variant .* such as fp16"),
        ({"schedular": 1}, OptionError, "schedular; did you mean scheduler"),
        ({"use_safetensors": False}, OptionError, "use_safetensors is False"),
        ({"torch_dtype": torch.float32, "dtype": "bfloat16"}, OptionError, "bfloat16 and torch_dtype .*give one"),
    ):
        with pytest.raises(error, match=message):
            LipsyncPipeline.from_pretrained(tmp_path, **options)


def test_a_name_of_the_hub_is_answered_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name, message in (
        ("ByteDance/LatentSync-1.6", "weights fetch"),
        ("latentsync-1.5", "weights fetch"),
        ("someone/some-model", "hf download someone/some-model --local-dir .*published ones: .*latentsync-1.6"),
        ("minni", "there is no model at minni .*shipped models: mini"),
    ):
        with pytest.raises(WeightsError, match=message):
            LipsyncPipeline.from_pretrained(name)
    with pytest.raises(OptionError, match="variant is 'fp16', but latentsync-1.6"):
        LipsyncPipeline.from_pretrained("latentsync-1.6", variant="fp16")


def test_crop_sizes_of_published_models_are_those_of_their_configurations():
    for weight in weights.CATALOGUE.values():
        if weight.unet_config:
            config = (CONF_DIR / "unet" / f"{weight.unet_config}.yaml").read_text()
            assert weight.size_px == int(re.search(r"resolution: (\d+)", config)[1])


@pytest.mark.slow
def test_a_generator_draws_as_the_original_and_goes_on(pipe, voice):
    generator = torch.Generator("cpu").manual_seed(7)
    output = pipe(CLIP, voice, output_type="pt", generator=generator, **STEPS)
    assert torch.equal(output.frames, frames(pipe, voice, rng="reference", seed=7))
    assert (output.options.sampler.rng, output.options.sampler.seed) == ("reference", 7)
    second = frames(pipe, voice, generator=generator)
    assert not torch.equal(second, output.frames)
    state = torch.Generator("cpu").manual_seed(7)
    frames(pipe, voice, generator=state)
    assert torch.equal(frames(pipe, voice, generator=state), second)


def test_a_generator_is_refused_beside_a_seed_or_for_several_settings(pipe, voice, tmp_path):
    generator = torch.Generator()
    for options, message in (
        ({"generator": [generator]}, "generator is list; give one"),
        ({"generator": generator, "seed": 5}, "seed is 5 and a generator is given; give one"),
        ({"generator": generator, "rng": "own"}, "rng is 'own' and a generator is given"),
        ({"output_type": "latent"}, "output_type 'latent' is unknown; .*path, np, pil, pt"),
        ({"callback_on_step_end_tensor_inputs": ["latents", "prompt_embeds"]}, "latents only, but .*prompt_embeds"),
    ):
        with pytest.raises(OptionError, match=message):
            pipe(CLIP, voice, **options)
    settings = [pipe.resolve(options_of(seed)) for seed in (1, 2)]
    targets = [Target(None), Target(None)]
    with pytest.raises(OptionError, match="a generator is given for 2 settings"):
        pipe.run_together(CLIP, voice, targets, settings, generator=generator)


@pytest.mark.slow
def test_an_assigned_scheduler_is_used(pipe, other, voice):
    by_name = frames(pipe, voice, scheduler="unipc")
    other.scheduler = solver_of(pipe.scheduler, "unipc")
    output = other(CLIP, voice, output_type="pt", **STEPS)
    assert torch.equal(output.frames, by_name) and output.options.sampler.scheduler is None
    assert torch.equal(frames(other, voice, scheduler="ddim"), frames(pipe, voice))
    assert not torch.equal(by_name, frames(pipe, voice))
    assert pipe.resolve(options_of(1)).sampler.scheduler == "ddim"


def test_a_scheduler_that_cannot_be_used_is_refused_in_words(pipe, other):
    config = pipe.scheduler.config
    for scheduler, message in (
        ("ddim", "scheduler is str, .*from_config"),
        (diffusers.EulerDiscreteScheduler(), "EulerDiscreteScheduler with other noise .*from_config"),
        (diffusers.HeunDiscreteScheduler.from_config(config), "rescale_betas_zero_snr.* use DDIMScheduler"),
        (diffusers.EulerAncestralDiscreteScheduler.from_config(config), "draws random numbers .* use DDIMScheduler"),
        (diffusers.DDIMScheduler.from_config(config, prediction_type="sample"), "prediction_type sample"),
    ):
        with pytest.raises(OptionError, match=message):
            other.scheduler = scheduler
    assert other.scheduler is pipe.scheduler


@pytest.mark.slow
def test_latents_that_a_callback_returns_count(pipe, voice):
    seen = []

    def halve_last(pipeline, step, timestep, kwargs):
        seen.append(kwargs["latents"].clone())
        return kwargs | {"latents": kwargs["latents"] * 0.5} if step == 0 else None

    changed = frames(pipe, voice, callback_on_step_end=halve_last)
    assert not torch.equal(changed, frames(pipe, voice))
    assert torch.equal(frames(pipe, voice, callback_on_step_end=lambda *_: {}), frames(pipe, voice))
    for returned, message in (
        ({"latents": seen[0][:, :1]}, r"latents of shape \(1, 1, 6, 16, 16\); return \(1, 4, 6, 16, 16\)"),
        (seen[0], "returned Tensor; return None, or a dict"),
    ):
        with pytest.raises(OptionError, match=message):
            frames(pipe, voice, callback_on_step_end=lambda *_, returned=returned: returned)


@pytest.mark.slow
def test_frames_come_in_the_forms_of_diffusers_and_before_the_encoder(pipe, voice, tmp_path):
    tensor = frames(pipe, voice)
    array = pipe(CLIP, voice, tmp_path / "out.mp4", output_type="np", crf=0, **STEPS)
    images = pipe(CLIP, voice, output_type="pil", **STEPS).frames
    assert tensor.shape == (1, 6, 3, 512, 512) and array.frames.dtype == np.float32
    assert torch.equal(torch.from_numpy(array.frames).permute(0, 1, 4, 2, 3), tensor)
    assert np.array_equal(np.stack(images[0]), np.round(array.frames[0] * 255).astype(np.uint8))
    assert array[0] is array.frames and array["video_path"] == tmp_path / "out.mp4"
    written = np.stack(list(array.read_frames()))
    assert np.abs(written / 255 - array.frames[0]).mean() < 0.02  # the file has the same frames, at half the colour


@pytest.mark.slow
def test_a_video_without_a_path_stays_while_the_program_runs(pipe, voice):
    output = pipe(CLIP, voice, **STEPS)
    path = output.video_path
    assert output[0] == path and output.to_tuple()[0] == path and output.frames is None
    del output
    gc.collect()
    assert media.probe(path).num_frames == 6
    assert pipe(CLIP, voice, return_dict=False, **STEPS)[0] != path


def test_a_result_that_was_not_written_is_named(pipe, voice):
    output = pipe(CLIP, voice, output_type="np", **(STEPS | {"num_inference_steps": 1}))
    with pytest.raises(OptionError, match="not written; give video_out_path"):
        output.read_frames()


def test_an_installed_package_adds_a_solver(pipe, other, voice, monkeypatch):
    points = {
        "euler": SimpleNamespace(load=lambda: diffusers.EulerDiscreteScheduler),
        "broken": SimpleNamespace(load=lambda: json.loads("{"), dist=None, value="broken_package:solver"),
        "random": SimpleNamespace(load=lambda: diffusers.EulerAncestralDiscreteScheduler),
    }
    monkeypatch.setattr(plugins, "installed", lambda group: points)
    options = options_of(1).changed(scheduler="euler")
    assert type(solver_of(pipe.scheduler, "euler")) is diffusers.EulerDiscreteScheduler
    assert pipe.resolve(options).sampler.scheduler == "euler"
    with pytest.raises(OptionError, match=r"broken_package:solver, which cannot be imported \(JSONDecodeError"):
        solver_of(pipe.scheduler, "broken")
    with pytest.raises(OptionError, match="scheduler random is EulerAncestralDiscreteScheduler, which draws random"):
        solver_of(pipe.scheduler, "random")
    with pytest.raises(
        LatentSyncError, match="'eular' is unknown; choose one of ddim, dpmpp_2m, unipc, student, euler"
    ):
        options.changed(scheduler="eular")
    assert replace(options.sampler, scheduler=None).scheduler is None
