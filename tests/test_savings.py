"""Savings of inference: equal to the plain algorithm, one by one and together; weights are what they were."""

import copy
from dataclasses import fields, replace

import pytest
import torch
from rounding import rounding
from safetensors.torch import load_file

from latentsync.checkpoints.model import save_network
from latentsync.unet import blocks
from latentsync.unet.audio import AudioStates
from latentsync.unet.model import UNet3DConditionModel
from latentsync.unet.savings import Savings, set_savings
from latentsync.weights import state_dict_sha256

pytestmark = pytest.mark.slow

SMALL = {
    "block_out_channels": (32, 64), "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"), "layers_per_block": 1, "norm_num_groups": 8,
}  # fmt: skip
OF_THE_UNET = sorted({field.name for field in fields(Savings)} - {"crops_together", "memory_kept"})


@pytest.fixture(autouse=True)
def matrix_products_in_small_networks(monkeypatch):
    """The small network has too few channels to gain by them."""
    monkeypatch.setattr(blocks, "CHANNELS_A_POSITION", 1)


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(2, 13, 4, 12, 12, generator=generator)
    return torch.cat([sample, sample]), torch.randn(8, 5, 384, generator=generator)


def seeded(**changes) -> UNet3DConditionModel:
    """A small network without a zero that would hide a part of it."""
    torch.manual_seed(0)
    unet = UNet3DConditionModel(**SMALL | changes).eval().requires_grad_(False)
    for parameter in unet.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return unet


def output(unet, inputs, savings, steps=2):
    """The last of several calls; the kept keys and values of the first serve the others."""
    sample, states = inputs
    set_savings(unet, savings)
    audio = AudioStates(states, is_guided=True, keeps=savings.audio_once)
    with torch.no_grad():
        return [unet(sample, 500, audio) for _ in range(steps)][-1]


@pytest.mark.parametrize("name", [*OF_THE_UNET, "all"])
def test_a_saving_equals_the_plain_algorithm(inputs, name):
    unet = seeded(motion_module_mid_block=True)
    plain = output(unet, inputs, Savings.none())
    savings = Savings() if name == "all" else replace(Savings.none(), **{name: True})
    saved = output(unet, inputs, savings)
    for part in ("sample", "deep_features"):
        bound = min(1e-4, plain[part].abs().max().item() * rounding(unet))
        torch.testing.assert_close(saved[part], plain[part], atol=bound, rtol=0)


def test_only_convolutions_with_many_channels_for_each_position_are_matrix_products(monkeypatch):
    monkeypatch.undo()
    products = []
    monkeypatch.setattr(blocks.FrameConv, "_as_matrix_product", lambda self, images: products.append(self) or images)
    sizes = [(1280, 8), (1280, 16), (640, 8), (320, 4), (96, 4)]
    with torch.no_grad():
        for channels, side in sizes:
            with torch.device("meta"):
                conv = blocks.FrameConv(channels, channels, 3, padding=1).eval()
            monkeypatch.setattr(conv, "saves", lambda name, like: name == "matrix_convolutions")
            conv(torch.empty(1, channels, 1, side, side, device="meta"))
    assert [conv.out_channels for conv in products] == [1280, 320]


def test_both_parts_of_guidance_equal_zero_audio_and_audio(inputs):
    unet, (sample, states) = seeded(), inputs
    with torch.no_grad():
        apart = unet(sample, 500, torch.cat([torch.zeros_like(states), states])).sample
    guided = output(unet, inputs, Savings()).sample
    torch.testing.assert_close(guided, apart, atol=apart.abs().max().item() * rounding(unet), rtol=0)
    assert (guided[:2] - guided[2:]).abs().max() > 1e-3


def test_a_network_without_attention_on_the_way_down_parts_at_the_first_it_has(inputs):
    unet = seeded(down_block_types=("DownBlock3D",) * 2, up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"))
    plain, saved = (output(unet, inputs, savings).sample for savings in (Savings.none(), Savings()))
    torch.testing.assert_close(saved, plain, atol=plain.abs().max().item() * rounding(unet), rtol=0)


def test_packed_weights_keep_names_values_hash_and_file(inputs, tmp_path):
    unet = seeded()
    before = copy.deepcopy(unet.state_dict())
    digest = state_dict_sha256(before)
    output(unet, inputs, Savings())
    projections = unet.mid_block.attentions[0].transformer_blocks[0].attn1
    assert projections.to_q.weight.untyped_storage().nbytes() == 3 * projections.to_q.weight.nbytes  # it is packed
    assert unet.state_dict().keys() == before.keys() and state_dict_sha256(unet.state_dict()) == digest
    save_network(unet, tmp_path)
    stored = load_file(next(tmp_path.glob("*.safetensors")))
    assert state_dict_sha256(stored) == digest
    unet.train()
    for parameter in unet.parameters():
        assert parameter.is_contiguous() and parameter.untyped_storage().nbytes() == parameter.nbytes


def test_weights_that_are_replaced_after_packing_are_used(inputs):
    unet, other = seeded(), seeded()
    output(unet, inputs, Savings())
    for parameter in other.parameters():
        parameter.data.mul_(0.5)
    expected = output(other, inputs, Savings()).sample
    torch.nn.Module.load_state_dict(unet, copy.deepcopy(other.state_dict()), assign=True)
    assert torch.equal(output(unet, inputs, Savings()).sample, expected)
    half = copy.deepcopy(unet).to(torch.float64).to(torch.float32)
    assert torch.equal(output(half, inputs, Savings()).sample, expected)


def test_training_is_untouched_by_savings(inputs):
    sample, states = inputs
    gradients = []
    for savings in (Savings.none(), Savings()):
        unet = seeded()
        output(unet, inputs, savings)
        unet.train().requires_grad_(True)
        with torch.no_grad():
            unet(sample, 500, AudioStates(states, is_guided=True))  # a validation between steps
        unet(sample[:2], 500, states).sample.square().mean().backward()
        gradients.append({name: parameter.grad for name, parameter in unet.named_parameters()})
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])
