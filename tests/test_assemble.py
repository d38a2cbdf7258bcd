"""Model folders out of exported networks: what is exchanged, what stays, what is refused."""

import json
import shutil

import pytest
import torch
from aligned_clips import write_clip
from diffusers import AutoencoderKL

from latentsync.checkpoints.model import (
    CONFIG_FILE,
    INDEX_FILE,
    MODELS_DIR,
    WEIGHTS_FILE,
    load_folder,
    save_network,
    seeded,
)
from latentsync.errors import WeightsError
from latentsync.faces.masks import crops_to_pixels
from latentsync.lab.commands import assemble as command
from latentsync.metrics.own_syncnet import has_trained_syncnet, load_own_syncnet
from latentsync.training.clips import find_clips
from latentsync.training.syncnet import SyncNetSettings, SyncNetTask
from latentsync.unet.model import UNet3DConditionModel

MINI = MODELS_DIR / "mini"


@pytest.fixture
def base(untrained, tmp_path):
    """An untrained model to write into."""
    return shutil.copytree(untrained, tmp_path / "base")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Networks as trainings export them; the VAE with a scaling factor of its own."""
    folder = tmp_path_factory.mktemp("training") / "weights"
    networks = {}
    for name, kind in (("vae", AutoencoderKL), ("unet", UNet3DConditionModel)):
        networks[name] = seeded(kind, json.loads((MINI / name / CONFIG_FILE).read_text()), seed=5)
        if name == "vae":
            networks[name].register_to_config(scaling_factor=0.5)
        save_network(networks[name], folder / name)
    network, config = load_own_syncnet(MINI)
    SyncNetTask(network, config, SyncNetSettings(num_frames=8)).export(folder)
    return folder, networks | {"syncnet": network}


def run(capsys, *arguments):
    status = command.main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def index_of(folder):
    return json.loads((folder / INDEX_FILE).read_text())


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same(network, expected, dtype):
    state = network.state_dict()
    assert all(tensor.dtype == torch.float32 for tensor in state.values())
    return all(torch.equal(state[name], value.to(dtype).float()) for name, value in expected.state_dict().items())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_networks_are_exchanged_and_load_as_they_are_stored(base, exported, tmp_path, capsys, dtype):
    folder, networks = exported
    before, out = contents(base), tmp_path / "models" / "out"
    args = ("--model_dir", base, "--output_dir", out, "--vae", folder / "vae", "--unet", folder, "--syncnet", folder)
    facts = ["--name", "mine", "--trained", "true", "--num_inference_steps", "4"]
    status, printed, errors = run(capsys, *args, "--dtype", dtype, *facts)
    assert status == 0, errors
    assert "in all" in printed and contents(base) == before
    index = index_of(out)
    assert index["name"] == "mine" and index["trained"] is True and "untrained_seed" not in index
    facts = {"name": "mine", "trained": True, "num_inference_steps": 4, "untrained_seed": 1247}
    assert index_of(base) | facts == index | {"untrained_seed": 1247}
    model, stored = load_folder(out), getattr(torch, dtype)
    assert model["vae"].config.scaling_factor == 0.5 and model["settings"].trained
    assert same(model["vae"], networks["vae"], stored) and same(model["unet"], networks["unet"], stored)
    assert same(load_own_syncnet(out)[0], networks["syncnet"], stored)
    assert (out / "scheduler").is_dir() and [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_model_is_trained_when_both_networks_have_weights(base, exported, capsys):
    vae, unet = (("--" + name, exported[0] / name) for name in ("vae", "unet"))
    args = ("--model_dir", base, "--output_dir", base)
    before = contents(base)
    status, _, errors = run(capsys, *args, *vae, "--trained", "true")
    assert status == 2 and "unet would have no weights" in errors and "--unet DIR" in errors
    assert contents(base) == before
    assert run(capsys, *args, *vae)[0] == 0
    assert index_of(base)["untrained_seed"] == 1247 and not index_of(base)["trained"]
    assert load_folder(base)["vae"].config.scaling_factor == 0.5  # the UNet is still a seeded one
    weights = (base / "vae" / WEIGHTS_FILE).stat()
    assert run(capsys, *args, *unet, "--trained", "true")[0] == 0
    assert index_of(base)["trained"] and "untrained_seed" not in index_of(base)
    assert (base / "vae" / WEIGHTS_FILE).stat() == weights  # what is kept is not written anew


def test_what_cannot_be_written_leaves_the_model_as_it_was(base, exported, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr("latentsync.lab.training.assemble.save_file", fail)
    before = contents(base)
    for out in (base, tmp_path / "out"):
        status, _, errors = run(capsys, "--model_dir", base, "--output_dir", out, "--vae", exported[0])
        assert status == 1 and errors == "error: the disk is full\n"
    assert contents(base) == before and [path.name for path in tmp_path.iterdir()] == ["base"]


def test_what_is_no_network_or_no_model_is_refused(base, exported, tmp_path, capsys):
    weights, out = exported[0], tmp_path / "out"
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").touch()
    large = seeded(AutoencoderKL, json.loads((MINI / "vae" / CONFIG_FILE).read_text()), seed=5)
    large.decoder.conv_in.bias.data[0] = 1e6
    save_network(large, tmp_path / "large")
    for args, message in (
        (("--model_dir", other, "--output_dir", out), "there is no model at"),
        (("--model_dir", base, "--output_dir", other), "give a new folder"),
        (("--model_dir", base, "--output_dir", out, "--vae", other), "has no vae"),
        (
            ("--model_dir", base, "--output_dir", out, "--vae", weights / "unet"),
            "UNet3DConditionModel, but AutoencoderKL",
        ),
        (
            ("--model_dir", base, "--output_dir", out, "--vae", tmp_path / "large", "--dtype", "float16"),
            "float16 cannot represent (decoder.conv_in.bias)",
        ),
    ):
        status, _, errors = run(capsys, *args)
        assert status == 2 and message in errors and errors.count("\n") == 1, errors
    assert not out.exists() and (other / "letter.txt").exists()


def test_latents_are_brought_to_unit_and_decode_as_before(base, exported, tmp_path, capsys):
    clips = tmp_path / "clips"
    clips.mkdir()
    write_clip(clips, "g-a-000", 12, {"seed": 1})
    args = ("--model_dir", base, "--output_dir", tmp_path / "out", "--unit_latents", clips)
    status, _, errors = run(capsys, *args, "--unet", exported[0])
    assert status == 2 and "give --vae DIR too" in errors
    status, _, errors = run(capsys, *args, "--vae", exported[0])
    assert status == 0, errors
    before, after = exported[1]["vae"], load_folder(tmp_path / "out")["vae"]
    assert before.config.scaling_factor == 0.5 and after.config.scaling_factor == 1
    faces = crops_to_pixels(find_clips(clips)[0].frames())
    with torch.no_grad():
        pictures = [vae.decode(vae.encode(faces).latent_dist.mean).sample for vae in (before, after)]
        scale = after.encode(faces).latent_dist.std / before.encode(faces).latent_dist.std  # of the posterior, too
        factor = 1 / before.encode(faces[[2, 8]]).latent_dist.mean.std(dim=(0, 2, 3))
        measured = after.encode(faces[[2, 8]]).latent_dist.mean  # the middles of two halves
    torch.testing.assert_close(*pictures, atol=1e-4, rtol=0)  # rounding of float32
    deviation, mean = torch.std_mean(measured, dim=(0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(deviation, torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(scale, factor[:, None, None].expand_as(scale), atol=0, rtol=1e-3)


def test_a_variant_stores_its_own_networks_and_shares_the_rest(exported, tmp_path, capsys):
    folder, networks = exported
    variant, whole = tmp_path / "variant", tmp_path / "whole"
    args = ("--model_dir", "mini", "--unet", folder, "--name", "variant", "--shares")
    assert run(capsys, *args, "--output_dir", variant)[0] == 0
    assert {str(path) for path in contents(variant)} == {INDEX_FILE, f"unet/{CONFIG_FILE}", f"unet/{WEIGHTS_FILE}"}
    assert run(capsys, "--model_dir", variant, "--output_dir", whole)[0] == 0  # copies what the variant shares
    assert "shares" not in index_of(whole) and (whole / "vae" / WEIGHTS_FILE).is_file()
    mini = load_folder("mini")
    for model in (variant, whole):
        parts = load_folder(model)
        assert same(parts["unet"], networks["unet"], torch.float32) and parts["settings"].name == "variant"
        assert same(parts["vae"], mini["vae"], torch.float32) and parts["scheduler"].config == mini["scheduler"].config
        assert has_trained_syncnet(model)
    status, _, errors = run(capsys, *args[2:], "--model_dir", variant, "--output_dir", tmp_path / "third")
    assert status == 2 and "--shares needs a whole shipped model such as mini" in errors
    (variant / INDEX_FILE).write_text(json.dumps(index_of(variant) | {"shares": "maxi"}))
    with pytest.raises(WeightsError, match="shares parts of 'maxi', which is no shipped model"):
        load_folder(variant)
