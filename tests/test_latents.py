"""Seeded noise: the same numbers in any grouping, or the original's own order of draws."""

import pytest
import torch
from rounding import rounding

from latentsync.checkpoints.model import load_folder
from latentsync.generation.latents import decode, draws, encode, frames_at_once, latent_shape

SHAPE = (4, 8, 8)
CPU = torch.device("cpu")


def own(seed=1247):
    return draws("own", seed, SHAPE, CPU, torch.float32)


def test_own_draws_depend_on_seed_and_purpose_only():
    assert torch.equal(own().noise, own().noise) and own().noise.shape == (1, 4, 1, 8, 8)
    assert not torch.equal(own().noise, own(7).noise)
    masked, reference = own().for_vae(2, 3)
    purposes = torch.stack([masked[0].flatten(), reference[0].flatten(), own().noise.flatten()])
    assert (torch.corrcoef(purposes) - torch.eye(3)).abs().max() < 0.3
    drawn = own()
    one_by_one = [torch.cat(parts) for parts in zip(*(drawn.for_vae(1, frames) for frames in (1, 3, 2)), strict=True)]
    assert torch.equal(one_by_one[0], masked) and torch.equal(one_by_one[1], reference)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reference_draws_are_the_global_generators_in_the_originals_order(dtype):
    torch.manual_seed(1247)
    noise = torch.randn(1, 4, 1, 8, 8, dtype=dtype)
    in_order = [torch.randn(3, *SHAPE, dtype=dtype) for _ in range(4)]  # masked, reference, masked, reference
    drawn = draws("reference", 1247, SHAPE, CPU, dtype)
    assert torch.equal(drawn.noise, noise)
    masked, reference = drawn.for_vae(2, 3)
    assert torch.equal(masked, torch.cat(in_order[0::2])) and torch.equal(reference, torch.cat(in_order[1::2]))


def test_encoding_does_not_depend_on_how_frames_are_grouped():
    vae = load_folder("mini")["vae"]
    pixels = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert latent_shape(vae, 64) == SHAPE
    noise, _ = own().for_vae(1, 6)
    with torch.no_grad():
        at_once = encode(vae, pixels, noise)
        in_parts = [encode(vae, *part) for part in zip(pixels.split([1, 3, 2]), noise.split([1, 3, 2]), strict=True)]
        bound = at_once.abs().max().item() * rounding(vae.encoder)
        torch.testing.assert_close(torch.cat(in_parts), at_once, atol=bound, rtol=0)
        assert at_once.shape == (6, 4, 8, 8)
        assert decode(vae, at_once).shape == pixels.shape


def test_the_vae_takes_fewer_large_crops_at_a_time():
    assert [frames_at_once(size) for size in (128, 256, 512, 1024)] == [32, 8, 2, 1]
