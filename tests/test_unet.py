"""The UNet against the original's own numbers, and its parameter names against the published checkpoints."""

import json

import pytest
import torch
from safetensors.torch import load_file

from latentsync.errors import OptionError
from latentsync.unet import UNet3DConditionModel, published_config

SMALL = dict(
    block_out_channels=(32, 64),
    down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
    up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    layers_per_block=1,
    norm_num_groups=8,
)


@pytest.fixture(scope="module")
def manifest(golden):
    return json.loads((golden / "manifest.json").read_text())


@pytest.fixture(scope="module")
def tiny(golden, manifest) -> UNet3DConditionModel:
    """The original's small 1.6 network with its stored weights."""
    unet = UNet3DConditionModel(**published_config(manifest["unet_tiny_v16_weights.safetensors"]["config"]))
    weights = load_file(golden / "unet_tiny_v16_weights.safetensors")
    missing, unexpected = torch.nn.Module.load_state_dict(unet, weights, strict=False)
    assert not unexpected and all(name.endswith(".pe") for name in missing)
    return unet.eval()


@torch.no_grad()
def test_outputs_equal_the_originals(tiny, golden):
    io = load_file(golden / "unet_tiny_v16_io.safetensors")
    out = tiny(io["sample"], 521, io["audio"]).sample
    torch.testing.assert_close(out, io["out"], atol=1e-4, rtol=0)
    assert (out - io["out_fp64"]).abs().max() <= 4 * 1.18e-6  # the original's own float32 error is 1.17e-6
    two = tiny(io["sample"], torch.tensor([521, 77]), io["audio"]).sample
    torch.testing.assert_close(two, io["out_two_timesteps"], atol=1e-4, rtol=0)
    odd = tiny(io["sample_odd"], 1, io["audio_odd"]).sample  # 20 px latents: sizes forced on the way up
    torch.testing.assert_close(odd, io["out_odd"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("variant", ["v10", "v15", "v16", "v16_stage1", "v16_stage2_efficient"])
def test_names_and_shapes_equal_the_published(shared, variant):
    expected = json.loads((shared / "keys" / f"keys_unet_{variant}.json").read_text())
    if variant == "v10":
        expected = {
            name.replace("audio_cross_attn.norm.", "norm2.").replace("audio_cross_attn.attn.", "attn2."): shape
            for name, shape in expected.items()
        }
    with torch.device("meta"):
        unet = UNet3DConditionModel(
            use_motion_module=variant not in ("v10", "v16_stage1"),
            motion_module_decoder_only=variant == "v16_stage2_efficient",
        )
    assert {name: list(tensor.shape) for name, tensor in unet.state_dict().items()} == expected


def test_windows_side_by_side_do_not_touch_each_other():
    torch.manual_seed(0)
    unet = UNet3DConditionModel(**SMALL).eval()
    torch.nn.init.normal_(unet.conv_in.weight, std=0.1)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.1)
    sample, audio = torch.randn(2, 13, 4, 8, 8), torch.randn(2, 4, 5, 384)
    with torch.no_grad():
        together = unet(sample, 500, audio).sample
        alone = torch.cat([unet(sample[i : i + 1], 500, audio[i : i + 1]).sample for i in range(2)])
        without_audio = unet(sample, 500, None).sample
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert (together - without_audio).abs().max() > 1e-3  # the audio reaches the output


def test_what_does_not_fit_is_refused_with_value_and_bound():
    unet = UNet3DConditionModel(**SMALL)
    with pytest.raises(OptionError, match=r"\(1, 4, 2, 8, 8\).*13"):
        unet(torch.zeros(1, 4, 2, 8, 8), 1, None)
    with pytest.raises(OptionError, match="25 frames.*24"):
        unet(torch.zeros(1, 13, 25, 8, 8), 1, None)
    with pytest.raises(OptionError, match="768 wide.*384"):
        unet(torch.zeros(1, 13, 2, 8, 8), 1, torch.zeros(2, 5, 768))
    with pytest.raises(OptionError, match="custom_audio_layer=True"):
        published_config({"custom_audio_layer": True})
    with pytest.raises(OptionError, match="'in_chanels' is unknown"):
        published_config({"in_chanels": 13})
