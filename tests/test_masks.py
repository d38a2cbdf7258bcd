import numpy as np
import pytest
import torch

from latentsync.errors import OptionError
from latentsync.faces.masks import crops_to_pixels, mask_to_latents, masked_images, mouth_mask, pixels_to_crops

ORIGINAL = {"reference": "the original 1.6"}

# share of the hole, its first and last row, its first and last column: read off the original's images
HOLES = {
    "mask": (0.407, 95, 242, 9, 247),
    "mask2": (0.338, 128, 242, 9, 247),
    "mask3": (0.193, 128, 217, 39, 217),
    "mask4": (0.584, 60, 242, 9, 247),
}


@pytest.mark.parametrize("name", HOLES)
def test_mask_has_the_originals_hole(name):
    mask = mouth_mask(name, 256)
    assert mask.shape == (1, 256, 256) and set(mask.unique().tolist()) == {0, 1}
    rows, columns = torch.nonzero(mask[0] == 0, as_tuple=True)
    share, *extent = HOLES[name]
    assert [int(v) for v in (rows.min(), rows.max(), columns.min(), columns.max())] == extent
    assert 1 - mask.mean().item() == pytest.approx(share, abs=5e-4)


def test_default_mask_keeps_the_nose():
    mask = mouth_mask("mask", 256)[0]
    assert mask[95:128, 78:178].all() and not mask[128, 78:178].any()


@pytest.fixture(scope="module")
def numbers(golden):
    return np.load(golden / "masks_v16.npz")


def test_mask_equals_the_original(numbers, agree):
    mask = mouth_mask("mask", 256)
    agree("mouth mask, 256 px", mask, numbers["masks"], within=0, **ORIGINAL)
    agree("mask of the latents, 256 px", mask_to_latents(mask), numbers["mask_latent"], within=0, **ORIGINAL)


def test_mask_of_512_px_has_the_originals_soft_edges(numbers, agree):
    mask = mouth_mask("mask", 512)
    agree("mouth mask, 512 px", mask[0], numbers["mask512"], within=1e-6, **ORIGINAL)
    agree("mask of the latents, 512 px", mask_to_latents(mask), numbers["mask512_latent"], within=1e-6, **ORIGINAL)


def test_masked_images_equal_the_original(numbers, agree):
    pixels = crops_to_pixels(torch.from_numpy(numbers["face"])[None])
    agree("face as -1..1", pixels[0], numbers["pixel_values"], within=1e-6, **ORIGINAL)
    masked = masked_images(pixels, mouth_mask("mask", 256))
    agree("masked face", masked[0], numbers["masked_pixel_values_f64"], within=1e-6, **ORIGINAL)


def test_every_level_survives_the_way_to_pixels_and_back():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(pixels_to_crops(crops_to_pixels(levels)), levels)


def test_pixels_beyond_the_range_are_clamped_and_the_rest_rounded():
    pixels = torch.tensor([-1.2, 1.2, 2 * 100.4 / 255 - 1, 2 * 100.6 / 255 - 1])
    assert pixels_to_crops(pixels).tolist() == [0, 255, 100, 101]


def test_unknown_mask_names_the_known_ones():
    with pytest.raises(OptionError, match="mask9.*mask, mask2, mask3, mask4"):
        mouth_mask("mask9", 256)


def test_mask_without_area_is_refused():
    with pytest.raises(OptionError, match="0 px"):
        mouth_mask("mask", 0)


def test_mask_that_does_not_fit_the_latents_is_refused():
    with pytest.raises(OptionError, match="100 px.*multiple of 8"):
        mask_to_latents(torch.ones(1, 100, 100))
