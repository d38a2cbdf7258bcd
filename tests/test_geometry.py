import cv2
import numpy as np
import pytest
import torch
from einops import rearrange

from latentsync.config import GEOMETRIES, ROUNDINGS
from latentsync.errors import OptionError
from latentsync.faces.geometry import FILL_LEVEL, Warping, crop_box_size, inverse_affine, places, sample, warp_crop

FRAME = np.zeros((480, 640, 3), np.uint8)


@pytest.mark.parametrize("name, choices", [("geometry", GEOMETRIES), ("rounding", ROUNDINGS)])
def test_unknown_choices_are_refused(name, choices):
    with pytest.raises(OptionError, match=f"{name} 'other' is unknown.*{', '.join(choices)}"):
        Warping(**{name: "other"})


@pytest.mark.parametrize("resolution, box_size", [(256, (210, 280)), (512, (420, 560))])
def test_crop_box_has_the_originals_size(resolution, box_size):
    assert crop_box_size(resolution) == box_size


@pytest.mark.parametrize(
    "geometry, file, matrices, faces, reference",
    [
        ("float32", "affine_v16", "matrices_256_fp32", "faces_256_fp32", "the original 1.6, float32"),
        ("float32", "affine_v16", "matrices_512_fp32", "face0_512_fp32", "the original 1.6, float32"),
        ("float16", "affine_v16", "matrices_256_fp16", "faces_256_fp16", "the original 1.6, float16"),
        ("lanczos", "affine_v10", "matrices", "faces", "the original 1.0"),
    ],
)
def test_crops_equal_the_original(golden, agree, geometry, file, matrices, faces, reference):
    frames, numbers = np.load(golden / "affine_v16.npz")["frames"], np.load(golden / f"{file}.npz")
    expected = numbers[faces].reshape(-1, 3, *numbers[faces].shape[-2:])
    size = expected.shape[-1]
    warping = Warping(geometry, "truncate")
    crops = [warp_crop(f, m, size, warping) for f, m, _ in zip(frames, numbers[matrices], expected, strict=False)]
    agree(f"aligned crops, {size} px", torch.stack(crops), expected, within=1, reference=reference, unit="levels")
    assert np.abs(torch.stack(crops).numpy().astype(int) - expected).mean() < 0.01


def test_crops_of_unbiased_rounding_are_near_the_original(golden, agree):
    numbers = np.load(golden / "affine_v16.npz")
    frames_and_matrices = zip(numbers["frames"], numbers["matrices_256_fp32"], strict=True)
    crops = torch.stack([warp_crop(frame, matrix, 256) for frame, matrix in frames_and_matrices])
    # the box differs by a level at most, and its enlarging with Lanczos sharpens that to two
    stage, reference = "aligned crops, 256 px, rounded to nearest", "the original 1.6, float32"
    agree(stage, crops, numbers["faces_256_fp32"], within=2, reference=reference, unit="levels")


@pytest.mark.parametrize("rounding, bias", [("nearest", 0), ("truncate", -0.5)])
def test_rounding_has_the_bias(rounding, bias):
    frame = np.random.default_rng(0).integers(60, 200, (400, 400, 3), dtype=np.uint8)
    matrix = np.array([[1.1, 0.2, -60.3], [-0.2, 1.1, -10.7]])
    at = places(inverse_affine(matrix), (slice(0, 280), slice(0, 210)), (280, 210), frame.shape[:2])
    box = sample(rearrange(torch.from_numpy(frame), "h w c -> c h w").float(), at, fill=FILL_LEVEL)
    exact = cv2.resize(rearrange(box.numpy(), "c h w -> h w c"), (256, 256), interpolation=cv2.INTER_LANCZOS4)
    crop = warp_crop(frame, matrix, 256, Warping(rounding=rounding))
    # OpenCV's enlarging of whole levels adds 0.02 itself
    assert (rearrange(crop, "c h w -> h w c").numpy() - exact).mean() == pytest.approx(bias, abs=0.03)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_crop_is_grey_beyond_the_frame(geometry):
    frame = np.full((100, 100, 3), 200, np.uint8)
    half_out = np.array([[1.0, 0, 105], [0, 1.0, 0]])  # the frame's left edge at the middle of the crop box
    crop = warp_crop(frame, half_out, 256, Warping(geometry)).float()
    assert (crop[:, :50, :115] == FILL_LEVEL).all()
    assert (crop[:, 10:50, 140:240] - 200).abs().max() <= 1


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("matrix", [[[1.0, 0, 9e4], [0, 1, 0]], np.zeros((2, 3)), np.full((2, 3), np.nan)])
def test_crop_of_nothing_is_grey(matrix, geometry):
    assert (warp_crop(FRAME, np.array(matrix), 128, Warping(geometry)) == FILL_LEVEL).all()


def test_face_too_small_for_float16_is_not_seen():
    assert (warp_crop(FRAME, np.array([[3e4, 0, 0], [0, 3e4, 0]]), 128, Warping("float16")) == FILL_LEVEL).all()
