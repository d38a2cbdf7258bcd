"""Seeded noise: the same numbers whatever the grouping."""

import torch

from latentsync.latents import VAE_MASKED, VAE_REFERENCE, decode, encode, noise_frame, seeded_generator
from latentsync.model_files import load_folder


def test_noise_depends_on_seed_and_purpose_only():
    assert torch.equal(noise_frame(1247, (4, 16, 16)), noise_frame(1247, (4, 16, 16)))
    assert not torch.equal(noise_frame(1247, (4, 16, 16)), noise_frame(7, (4, 16, 16)))
    draws = [torch.randn(64, generator=seeded_generator(1247, purpose)) for purpose in (VAE_MASKED, VAE_REFERENCE)]
    assert abs(float(torch.corrcoef(torch.stack(draws))[0, 1])) < 0.5


def test_encoding_does_not_depend_on_how_frames_are_grouped():
    vae = load_folder("mini")["vae"]
    pixels = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        at_once = encode(vae, pixels, seeded_generator(1247, VAE_MASKED))
        generator = seeded_generator(1247, VAE_MASKED)
        in_parts = torch.cat([encode(vae, part, generator) for part in pixels.split([1, 3, 2])])
        torch.testing.assert_close(in_parts, at_once, atol=1e-5, rtol=0)
        assert at_once.shape == (6, 4, 8, 8)
        assert decode(vae, at_once).shape == pixels.shape
