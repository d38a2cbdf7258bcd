"""Widening a UNet: it computes nearly what it did, and its new channels carry the images to the last convolution."""

import json

import pytest
import torch
from aligned_clips import write_clip

from latentsync.checkpoints.model import INDEX_FILE, load_folder, model_folder
from latentsync.errors import OptionError
from latentsync.faces.masks import mask_to_latents, mouth_mask
from latentsync.lab.commands import widen as command
from latentsync.training.growth import with_outer_level
from latentsync.training.widening import Examples, with_channels, with_copies

SIDE = 16  # of the latents of a crop of 128 px


@pytest.fixture(scope="module")
def unet():
    return load_folder("mini")["unet"].eval()


@pytest.fixture(scope="module")
def examples():
    draw = torch.Generator().manual_seed(1)
    sample = torch.randn(4, 13, 2, SIDE, SIDE, generator=draw)
    sample[:, 4] = mask_to_latents(mouth_mask("mask", 8 * SIDE))[0]
    return Examples(sample, torch.full((4,), 999), torch.randn(4, 2, 50, 384, generator=draw))


@torch.no_grad()
def predicted(unet, examples):
    return unet(examples.sample, examples.timesteps, examples.audio).sample


def test_a_wider_unet_computes_nearly_what_it_did(unet, examples):
    before, after = predicted(unet, examples), predicted(with_copies(unet, "v_prediction", 0.0, examples), examples)
    assert after.shape == before.shape
    assert (after - before).square().mean() < 0.05 * before.square().mean()


@pytest.fixture(scope="module")
def grown(unet):
    """A UNet with two levels that have no attention; its outermost convolutions are drawn, since they begin at zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        grown = with_outer_level(unet, 4).eval()
        for layer in (grown.conv_in, grown.conv_out):
            torch.nn.init.normal_(layer.weight, std=0.1)
    return grown


@pytest.fixture(scope="module")
def larger(examples):
    sample = torch.nn.functional.interpolate(examples.sample, scale_factor=(1, 2, 2))
    return Examples(sample, examples.timesteps, examples.audio)


def test_a_unet_with_a_wider_inner_level_computes_nearly_what_it_did(grown, larger):
    wide = with_channels(grown, 1, 96, larger)
    assert list(wide.config.block_out_channels) == [32, 96, 64, 96]
    before, after = predicted(grown, larger), predicted(wide, larger)
    assert (after - before).square().mean() < 0.003 * before.square().mean()


@pytest.mark.parametrize(
    ("level", "channels", "message"),
    [
        (0, 96, "level 0 is the outermost, which is widened with copies"),
        (1, 32, "channels is 32; level 1 has 32, and needs more"),
        (1, 72, r"block_out_channels has \[72\]; multiples of .* 32 are needed"),
        (1, 64, "channels is 64, as in a level beside it; .* give 96, say"),
        (2, 96, "level 2 has attention, which cannot be widened"),
        (4, 96, r"level is 4; the UNet has the levels 0 \(the outermost\) to 3"),
    ],
)
def test_an_inner_level_that_cannot_be_widened_so_is_refused(grown, larger, level, channels, message):
    with pytest.raises(OptionError, match=message):
        with_channels(grown, level, channels, larger)


def norm_moments(unet, examples):
    """Mean and deviation of each channel that a normalisation puts out, before its activation."""
    found = []

    def take(module, inputs, output):
        channels = output.transpose(0, 1).flatten(1)
        found.extend((channels.mean(1), channels.std(1)))

    hook = unet.up_blocks[-1].resnets[-1].norm2.register_forward_hook(take)
    predicted(unet, examples)
    hook.remove()
    return found


def test_old_channels_keep_their_scale_beside_new_ones(unet, examples):
    wide = with_copies(unet, "v_prediction", 0.3, examples)
    for now, before in zip(norm_moments(wide, examples), norm_moments(unet, examples), strict=True):
        torch.testing.assert_close(now[: len(before)], before, rtol=1e-3, atol=1e-3)


def test_copies_are_the_reference_in_the_hole_and_the_masked_image_around_it(unet, examples):
    """A network that predicts v begins with the clean picture, its sign changed."""
    picture = -predicted(with_copies(unet, "v_prediction", 1.0, examples), examples)
    is_hole = examples.sample[:, 4:5] < 0.5
    expected = torch.where(is_hole, examples.sample[:, 9:], examples.sample[:, 5:9])
    assert (picture - expected).square().mean() < 0.05 * expected.square().mean()


def test_a_wider_model_is_written_as_untrained(tmp_path, capsys):
    (tmp_path / "clips").mkdir()
    for name in ("g-one", "m-two"):
        write_clip(tmp_path / "clips", name, 60, identity={"seed": name}, size_px=128)
    arguments = ["--model_dir", "mini", "--data_dir", str(tmp_path / "clips"), "--output_dir", str(tmp_path / "wide")]
    assert command.main(arguments) == 0
    assert "unet" in capsys.readouterr().out
    index = json.loads((tmp_path / "wide" / INDEX_FILE).read_text())
    assert index["name"] == "mini" and index["trained"] is False
    wide, narrow = (load_folder(folder)["unet"] for folder in (tmp_path / "wide", "mini"))
    assert wide.config.block_out_channels == [64, 64, 96] and narrow.config.block_out_channels == [32, 64, 96]
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    torch.testing.assert_close(wide.state_dict()[name], narrow.state_dict()[name])


def test_what_cannot_be_widened_is_refused(unet, examples, tmp_path, capsys):
    with pytest.raises(OptionError, match=r"share is 1\.5; it must be in 0\.\.1"):
        with_copies(unet, "v_prediction", 1.5, examples)
    with pytest.raises(OptionError, match="the UNet predicts epsilon; only sample and v_prediction"):
        with_copies(unet, "epsilon", 0.3, examples)
    published = load_folder("mini")["unet"]
    published.register_to_config(block_out_channels=[40, 64, 96])
    with pytest.raises(OptionError, match="40 channels in 8 groups, and there are 4 latent channels"):
        with_copies(published, "v_prediction", 0.3, examples)
    student = load_folder("mini")["unet"]
    student.register_to_config(guidance_limit=2.0)
    with pytest.raises(OptionError, match="student of few steps; widen its teacher"):
        with_copies(student, "v_prediction", 0.3, examples)
    for more, message in (
        (["--output_dir", str(model_folder("mini"))], "own folder"),
        (["--output_dir", str(tmp_path / "wide"), "--level", "1"], "level is 1; give channels, too"),
        (["--output_dir", str(tmp_path / "wide"), "--channels", "96"], "channels is 96, but level 0 gets twice"),
    ):
        assert command.main(["--model_dir", "mini", "--data_dir", str(tmp_path), *more]) != 0
        assert message in capsys.readouterr().err
