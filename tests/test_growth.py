"""Growing a model: the inner levels compute what they did, and the result is a model that can be trained."""

import json

import pytest
import torch

from latentsync.checkpoints.model import INDEX_FILE, load_folder, model_folder
from latentsync.errors import OptionError
from latentsync.lab.commands import grow as command
from latentsync.training.growth import begin_as_copy, with_outer_level


@torch.no_grad()
def test_the_inner_levels_of_a_grown_unet_compute_what_they_did():
    small = load_folder("mini")["unet"]
    torch.manual_seed(0)
    grown = with_outer_level(small, 8)
    draw, seen = torch.Generator().manual_seed(1), {}
    audio = torch.randn(1, 2, 50, 384, generator=draw)
    small.conv_in.register_forward_hook(lambda module, inputs, output: seen.update(entry=output))
    small.conv_norm_out.register_forward_hook(lambda module, inputs, output: seen.update(expected=inputs[0]))
    small(torch.randn(1, 13, 2, 16, 16, generator=draw), 500, audio)

    def enter(module, inputs, output):  # the first level hands on what the small network's begins with
        _, skips = output
        return seen["entry"], (*skips[:-1], seen["entry"])

    grown.down_blocks[0].register_forward_hook(enter)
    grown.up_blocks[-2].upsamplers[0].register_forward_hook(lambda module, inputs, output: seen.update(value=inputs[0]))
    answer = grown(torch.randn(1, 25, 2, 32, 32, generator=draw), 500, audio).sample
    assert answer.shape == (1, 8, 2, 32, 32)
    torch.testing.assert_close(seen["value"], seen["expected"])
    assert seen["expected"].std() > 0.1


@pytest.mark.parametrize(("predicts", "sign"), [("sample", 1), ("v_prediction", -1)])
@torch.no_grad()
def test_a_grown_unet_begins_with_the_masked_image(predicts, sign):
    torch.manual_seed(0)
    grown = with_outer_level(load_folder("mini")["unet"], 8)
    begin_as_copy(grown, predicts)
    sample = torch.randn(1, 25, 2, 32, 32, generator=torch.Generator().manual_seed(1))
    prediction = sign * grown(sample, 999, torch.zeros(1, 2, 50, 384)).sample
    masked = sample[:, 9:17]
    for channel in range(8):
        both = torch.stack([prediction[0, channel].flatten(), masked[0, channel].flatten()])
        assert torch.corrcoef(both)[0, 1] > 0.95
    gain = (prediction * masked).sum() / masked.square().sum()
    assert 0.5 < gain < 2


def test_a_grown_model_is_written_as_untrained(tmp_path, capsys):
    folder = tmp_path / "big"
    assert (
        command.main(
            ["--model_dir", "mini", "--output_dir", str(folder), "--latent_channels", "6", "--predicts", "sample"]
        )
        == 0
    )
    assert "vae" in capsys.readouterr().out
    index = json.loads((folder / INDEX_FILE).read_text())
    assert index["name"] == "mini-256" and index["size_px"] == 256 and index["trained"] is False
    parts = load_folder(folder)
    assert parts["scheduler"].config.prediction_type == "sample"
    assert parts["unet"].config.in_channels == 19 and parts["vae"].config.latent_channels == 6
    again = tmp_path / "again"
    for seed, same in (("1247", True), ("7", False)):
        command.main(["--model_dir", "mini", "--output_dir", str(again), "--latent_channels", "6", "--seed", seed])
        weights = load_folder(again)["unet"].state_dict()
        name = "down_blocks.0.resnets.0.conv1.weight"
        assert torch.equal(weights[name], parts["unet"].state_dict()[name]) is same


def test_what_cannot_grow_is_refused(tmp_path, capsys):
    unet = load_folder("mini")["unet"]
    with pytest.raises(OptionError, match="latent_channels is 0; it must be at least 1"):
        with_outer_level(unet, 0)
    with pytest.raises(OptionError, match="32 channels in 8 groups; 12 latent channels need at least 37"):
        begin_as_copy(with_outer_level(unet, 12), "sample")
    unet.register_to_config(guidance_limit=2.0)
    with pytest.raises(OptionError, match="student of few steps; grow its teacher"):
        with_outer_level(unet, 8)
    assert command.main(["--model_dir", "mini", "--output_dir", str(model_folder("mini"))]) != 0
    assert "own folder" in capsys.readouterr().err
    (tmp_path / "thesis.txt").touch()
    assert command.main(["--model_dir", "mini", "--output_dir", str(tmp_path)]) != 0
    assert "is not a model" in capsys.readouterr().err
