"""Pictures for an autoencoder: procedural ones, poor cameras, patches; and latents with more channels."""

import colorsys

import numpy as np
import pytest
import torch
from aligned_clips import SIZE, write_clip
from diffusers import AutoencoderKL

from latentsync.checkpoints.model import load_folder, model_folder
from latentsync.errors import OptionError
from latentsync.training.clips import find_clips
from latentsync.training.latent_space import with_more_latents
from latentsync.training.pictures import MixedPictures, dead_leaves, drawn_picture, through_camera
from latentsync.training.vae import VaeSettings
from latentsync.training.windows import WindowSet


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> WindowSet:
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder, "g-a-000", 30)
    return WindowSet(find_clips(folder), 1, seed=3, wanted=("frames",))


def frames_of(pictures, *, count=12) -> torch.Tensor:
    return torch.stack([pictures.sample(epoch, index)["frames"] for epoch in (0, 1) for index in range(count // 2)])


def test_pictures_have_all_hues_detail_and_no_common_content():
    pictures = [drawn_picture(np.random.default_rng(seed), 64) for seed in range(60)]
    assert all(p.shape == (64, 64, 3) and p.dtype == np.float32 and 0 <= p.min() <= p.max() <= 1 for p in pictures)
    means = [picture.mean((0, 1)) for picture in pictures]
    assert {int(6 * colorsys.rgb_to_hsv(*mean)[0]) for mean in means} == set(range(6))
    fine = [float(np.abs(np.diff(picture, axis=0)).mean()) for picture in pictures]
    assert np.median(fine) > 0.01  # 2.5 levels between neighbours; a wall has less, cloth more
    centred = np.stack([(p - p.mean()).ravel() / (p.std() + 1e-6) for p in pictures])
    alike = np.corrcoef(centred) - np.eye(len(pictures))
    assert np.abs(alike.mean()) < 0.05


def test_a_poor_camera_changes_a_picture_and_keeps_it_recognisable():
    picture = dead_leaves(np.random.default_rng(7), 64)
    seen = [through_camera(np.random.default_rng(seed), picture) for seed in range(20)]
    assert all(one.shape == picture.shape and 0 <= one.min() <= one.max() <= 1 for one in seen)
    assert len({one.tobytes() for one in seen}) == 20
    assert min(np.corrcoef(one.ravel(), picture.ravel())[0, 1] for one in seen) > 0.5


def test_a_sample_depends_on_its_place_alone(faces):
    once, again = (MixedPictures(faces, 0.5, 0.5, 0, seed=3) for _ in range(2))
    assert torch.equal(frames_of(once), frames_of(again))
    other = frames_of(MixedPictures(faces, 0.5, 0.5, 0, seed=4))
    assert not torch.equal(frames_of(once), other)
    assert len({frame.numpy().tobytes() for frame in frames_of(once)}) == 12


def test_without_shares_patches_are_parts_of_the_faces(faces):
    whole, patches = MixedPictures(faces, 0, 0, 0, seed=3), MixedPictures(faces, 0, 0, SIZE // 2, seed=3)
    for index in range(4):
        face = whole.sample(0, index)["frames"]
        assert torch.equal(face, faces.sample(0, index)["frames"])
        patch = patches.sample(0, index)["frames"]
        found = face[0].unfold(1, SIZE // 2, 1).unfold(2, SIZE // 2, 1)  # c y x h w
        assert (found == patch[0][:, None, None]).all(-1).all(-1).all(0).any()


def test_the_shares_are_those_of_the_settings(faces):
    frames = [faces.sample(0, index)["frames"] for index in range(len(faces))]
    mixed = MixedPictures(faces, 0.3, 0, 0, seed=1)
    drawn = [not any(torch.equal(mixed.sample(e, i)["frames"], f) for f in [faces.sample(e, i)["frames"]])
             for e in range(8) for i in range(len(faces))]  # fmt: skip
    assert len(frames) == 30 and 0.2 < np.mean(drawn) < 0.4  # 240 draws: 0.3 +- 3.4 deviations


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"patch_px": 100}, r"task.patch_px is 100; .* multiple of 8"),
        ({"patch_px": 32}, r"task.patch_px is 32; .* at least 64"),
        ({"drawn_share": 1.5}, r"task.drawn_share is 1.5; .* 0 \(off\) to 1"),
        ({"camera_share": -0.1}, "task.camera_share is -0.1"),
    ],
)
def test_a_setting_out_of_range_is_refused(setting, message):
    with pytest.raises(OptionError, match=message):
        VaeSettings(**setting)


def test_a_patch_larger_than_the_faces_is_refused(faces):
    with pytest.raises(OptionError, match=f"patch_px is {SIZE + 8}; the clips have crops of {SIZE} px"):
        MixedPictures(faces, 0, 0, SIZE + 8, seed=0)


# --- more latents ---


@torch.no_grad()
def test_more_latents_leave_pictures_as_they_are_and_can_be_trained():
    vae = load_folder(model_folder("mini"))["vae"].float()
    torch.manual_seed(0)
    wide = with_more_latents(vae, 6)
    pixels = 2 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) - 1
    posterior = wide.encode(pixels).latent_dist
    assert posterior.mean.shape == (1, 6, 8, 8) and posterior.mean[:, 4:].std() > 0
    expected = vae.decode(vae.encode(pixels).latent_dist.mean).sample
    # A sum of 4 products and 2 zeros may be taken in another order: 64 roundings of 2^-24 of numbers up to 8
    torch.testing.assert_close(wide.decode(posterior.mean).sample, expected, atol=64 * 8 * 2**-24, rtol=0)
    with torch.enable_grad():
        wide.decode(posterior.mean).sample.square().mean().backward()
    assert wide.decoder.conv_in.weight.grad[:, 4:].abs().max() > 0
    with pytest.raises(OptionError, match="latent_channels is 4; the autoencoder has 4"):
        with_more_latents(vae, 4)
    config = {key: value for key, value in vae.config.items() if not key.startswith("_")}
    bare = AutoencoderKL.from_config(config | {"use_quant_conv": False})
    with pytest.raises(OptionError, match="no quant_conv"):
        with_more_latents(bare, 8)
