"""The UNet against the original's own numbers, and its parameter names against the published checkpoints."""

import json
import re

import pytest
import torch
from rounding import rounding
from safetensors.torch import load_file

from latentsync.checkpoints.unet import rename_1_0
from latentsync.errors import OptionError
from latentsync.unet.model import UNet3DConditionModel, published_config

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
def tiny(golden, manifest) -> dict[str, UNet3DConditionModel]:
    """The original's small networks with their stored weights; 1.0's own tensors under its own names."""
    stored = load_file(golden / "unet_tiny_v16_weights.safetensors")
    of_1_0 = {
        name: tensor
        for name, tensor in stored.items()
        if not re.search(r"motion_modules|transformer_blocks\.0\.(norm2|attn2)\.", name)
    }
    of_1_0 |= load_file(golden / "unet_tiny_v10_crossattn_weights.safetensors")
    return {
        "1.6": network(manifest["unet_tiny_v16_weights.safetensors"]["config"], stored),
        "1.0": network(manifest["unet_tiny_v10_weights"]["config"], rename_1_0(of_1_0)),
    }


def network(config: dict, weights: dict) -> UNet3DConditionModel:
    unet = UNet3DConditionModel(**published_config(config))
    missing, unexpected = torch.nn.Module.load_state_dict(unet, weights, strict=False)
    assert not unexpected and all(name.endswith(".pe") for name in missing)
    return unet.eval()


@pytest.mark.parametrize("version", ["1.0", "1.6"])
@torch.no_grad()
def test_outputs_equal_the_originals(tiny, golden, manifest, agree, version):
    unet, name = tiny[version], f"unet_tiny_v{version.replace('.', '')}_io.safetensors"
    io, original = load_file(golden / name), {"reference": f"the original {version}, seeded small UNet"}
    out = unet(io["sample"], 521, io["audio"]).sample
    agree("UNet output", out, io["out"], within=1e-4, **original)
    # The original's error in float32, of sums in 16 lanes with fused products; in one lane it is sqrt(16) times as
    # large, with a product rounded by itself sqrt(2) times that, and the largest of thousands may be twice that
    own_error = manifest[name]["fp32_vs_fp64"]
    agree("UNet output against float64", out, io["out_fp64"], within=12 * own_error, **original)
    two = unet(io["sample"], torch.tensor([521, 77]), io["audio"]).sample
    agree("UNet output, two timesteps", two, io["out_two_timesteps"], within=1e-4, **original)
    odd = unet(io["sample_odd"], 1, io["audio_odd"]).sample
    agree("UNet output, sizes forced on the way up", odd, io["out_odd"], within=1e-4, **original)


@pytest.mark.parametrize("variant", ["v10", "v15", "v16", "v16_stage1", "v16_stage2", "v16_stage2_efficient"])
def test_names_and_shapes_equal_the_published(shared, variant):
    expected = json.loads((shared / "keys" / f"keys_unet_{variant}.json").read_text())
    if variant == "v10":
        expected = rename_1_0(expected)
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
    bound = together.abs().max().item() * rounding(unet)
    torch.testing.assert_close(together, alone, atol=bound, rtol=0)
    assert (together - without_audio).abs().max() > 1e-3  # the audio reaches the output


def test_activations_computed_twice_give_the_same_gradients():
    torch.manual_seed(0)
    unet = UNet3DConditionModel(**SMALL, motion_module_mid_block=True)
    for parameter in unet.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    sample, audio = torch.randn(2, 13, 4, 8, 8), torch.randn(2, 4, 5, 384)
    once, twice = {}, {}
    calls = []
    for part in (unet.mid_block.resnets[1], unet.mid_block.attentions[0], unet.up_blocks[0].motion_modules[0]):
        part.register_forward_pre_hook(lambda *_: calls.append(1))
    for gradients, passes in ((once, 1), (twice, 2)):
        calls.clear()
        out = unet(sample, 500, audio).sample
        out.square().mean().backward()
        assert len(calls) == 3 * passes
        gradients |= {"": out} | {name: parameter.grad for name, parameter in unet.named_parameters()}
        unet.zero_grad()
        unet.enable_gradient_checkpointing()
    assert all(torch.equal(once[name], twice[name]) for name in once) and all(once[name].any() for name in once)
    calls.clear()
    with torch.no_grad():
        unet(sample, 500, audio)
    assert len(calls) == 3


def test_what_does_not_fit_is_refused_with_value_and_bound():
    unet = UNet3DConditionModel(**SMALL)
    with pytest.raises(OptionError, match=r"\(1, 4, 2, 8, 8\).*13"):
        unet(torch.zeros(1, 4, 2, 8, 8), 1, None)
    with pytest.raises(OptionError, match="25 frames.*24"):
        unet(torch.zeros(1, 13, 25, 8, 8), 1, None)
    with pytest.raises(OptionError, match="768 wide.*384"):
        unet(torch.zeros(1, 13, 2, 8, 8), 1, torch.zeros(2, 5, 768))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"custom_audio_layer": True}, "custom_audio_layer=True"),
        ({"in_chanels": 13}, "'in_chanels' is unknown"),
        ({"cross_attention_dim": "384"}, "cross_attention_dim is '384'; .* whole"),
        ({"in_channels": "${data.channels}"}, r"in_channels is '\$\{data.channels\}'; .* whole"),
        ({"layers_per_block": 0}, "layers_per_block is 0; .* at least 1"),
        ({"norm_eps": float("nan")}, "norm_eps is nan; .* between 0 and 1"),
        ({"use_motion_module": 3}, "use_motion_module is 3; true or false"),
        ({"block_out_channels": 320}, "block_out_channels is 320; a list"),
        ({"motion_module_kwargs": "x"}, "motion_module_kwargs is 'x'; a mapping"),
        ({"motion_module_kwargs": {"num_attention_heads": 0}}, "motion_module_kwargs is .*: 0.*; a mapping"),
        ({"block_out_channels": [320, 630, 1280, 1280]}, r"has \[630\]; multiples of norm_num_groups 32"),
        ({"block_out_channels": [320, 640]}, "down_block_types is .*; 2 of CrossAttnDownBlock3D"),
    ],
)
def test_a_configuration_that_is_no_network_is_refused_by_key(config, message):
    with pytest.raises(OptionError, match=message), torch.device("meta"):
        UNet3DConditionModel(**published_config(config))
