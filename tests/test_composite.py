import cv2
import numpy as np
import pytest
import torch

from latentsync.config import GEOMETRIES
from latentsync.faces import composite
from latentsync.faces.composite import HOLE_LEVEL, face_region, paint_hole, paste_face, paste_kept, restore
from latentsync.faces.geometry import Warping, apply_affine, crop_box_size
from latentsync.faces.masks import crops_to_pixels, mouth_mask

HEIGHT, WIDTH = 300, 240
ALL_WAYS = [Warping(geometry) for geometry in GEOMETRIES]


def noise_frame(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def placed(x, y, face_width_px, angle=0.1, resolution=128):
    """The affine whose crop box has this width and centre in the frame."""
    box = np.array(crop_box_size(resolution)) / 2
    scale = 2 * box[0] / face_width_px
    linear = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.column_stack([linear, box - linear @ (x, y)])


def under_box(matrix, resolution, reach_px):
    """Which pixels of the frame lie in the crop box grown by some px of the box."""
    at = apply_affine(matrix, np.arange(WIDTH)[None, :], np.arange(HEIGHT)[:, None])
    width, height = crop_box_size(resolution)
    return (np.abs(at[0] - (width - 1) / 2) < width / 2 + reach_px) & (
        np.abs(at[1] - (height - 1) / 2) < height / 2 + reach_px
    )


@pytest.mark.parametrize(
    "geometry, file, ending, reference",
    [
        ("float32", "affine_v16", "_256_fp32", "the original 1.6, float32"),
        ("float32", "affine_v16", "_512_fp32", "the original 1.6, float32"),
        ("float16", "affine_v16", "_256_fp16", "the original 1.6, float16"),
        ("lanczos", "affine_v10", "", "the original 1.0"),
    ],
)
def test_restored_frames_equal_the_original(golden, recipe, agree, geometry, file, ending, reference):
    frames, fakes, matrices, expected = original(golden, recipe, file, ending)
    size, warping = fakes.shape[-1], Warping(geometry, "truncate")
    restored = [restore(f, face, m, warping) for f, face, m in zip(frames, fakes, matrices, strict=True)]
    agree(f"restored frames, {size} px", restored, expected, within=1, reference=reference, unit="levels")
    assert np.abs(np.stack(restored).astype(int) - expected).mean() < 0.0005


def test_restored_frames_of_unbiased_rounding_are_near_the_original(golden, recipe, agree):
    *given, expected = original(golden, recipe, "affine_v16", "_256_fp32")
    restored = [restore(*one) for one in zip(*given, strict=True)]
    stage, reference = "restored frames, 256 px, rounded to nearest", "the original 1.6, float32"
    agree(stage, restored, expected, within=1, reference=reference, unit="levels")


def original(golden, recipe, file, ending):
    """Frames, generated faces, affines and restored frames of the original."""
    numbers, frames = np.load(golden / f"{file}.npz"), np.load(golden / "affine_v16.npz")["frames"]
    noise = recipe.randn("fake_faces", (3, 3, 256, 256), 3) * 0.3
    if "512" in ending:  # one face only
        faces, change = numbers["face0_512_fp32"][None], numbers["restored0_512_fp32_minus_frame"][None]
        noise = noise.repeat_interleave(2, 2).repeat_interleave(2, 3)
    else:
        faces, change = numbers[f"faces{ending}"], numbers[f"restored{ending}_minus_frame"]
    count = len(faces)
    fakes = noise[:count] + crops_to_pixels(torch.from_numpy(faces))
    return frames[:count], fakes, numbers[f"matrices{ending}"][:count], frames[:count] + change


@pytest.mark.parametrize(
    "x, y, face_width_px",
    [(120, 150, 90), (5, 150, 90), (120, 295, 90), (120, 150, 500), (120, 150, 6), (2, 2, 3)],
    ids=["whole", "over the left edge", "over the lower edge", "larger than the frame", "tiny", "tiny at the corner"],
)
@pytest.mark.parametrize("warping", ALL_WAYS, ids=GEOMETRIES)
def test_pixels_outside_of_the_soft_mask_are_untouched(x, y, face_width_px, warping):
    frame, matrix = noise_frame(), placed(x, y, face_width_px)
    before = frame.copy()
    result = restore(frame, torch.rand(3, 128, 128) * 2 - 1, matrix, warping)
    scale = np.sqrt(np.linalg.det(matrix[:, :2]))
    np.testing.assert_array_equal(
        result[~under_box(matrix, 128, 1 + 1.5 * scale)], frame[~under_box(matrix, 128, 1 + 1.5 * scale)]
    )
    region = face_region(matrix, 128, frame.shape[:2], warping)
    outside = np.ones(frame.shape[:2], bool)
    outside[region.rows, region.columns] = region.frame_weight == 1
    np.testing.assert_array_equal(result[outside], frame[outside])
    np.testing.assert_array_equal(frame, before)


@pytest.mark.parametrize("warping", ALL_WAYS, ids=GEOMETRIES)
@pytest.mark.parametrize("x, y, face_width_px", [(120, 150, 90), (5, 290, 150), (239, 150, 40), (120, 150, 13)])
def test_region_alone_gives_what_the_whole_frame_gives(monkeypatch, x, y, face_width_px, warping):
    frame, matrix, crop = noise_frame(), placed(x, y, face_width_px, angle=0.6), torch.rand(3, 128, 128) * 2 - 1
    alone = restore(frame, crop, matrix, warping)
    monkeypatch.setattr(composite, "_box_slices", lambda *_: (slice(0, HEIGHT), slice(0, WIDTH)))
    np.testing.assert_array_equal(alone, restore(frame, crop, matrix, warping))
    assert (alone != frame).any()


def test_region_holds_the_face_where_float16_moves_it():
    coverage = face_region(
        placed(3637, 248, 43, angle=0, resolution=256), 256, (2160, 3840), Warping("float16")
    ).coverage
    outline = [coverage[0], coverage[-1], coverage[:, 0], coverage[:, -1]]
    assert not np.concatenate(outline).any() and coverage.max() == 1


def test_affine_is_rounded_before_float16_restores():
    frame, crop, matrix = noise_frame(), torch.rand(3, 128, 128) * 2 - 1, placed(120, 150, 90)
    rounded = matrix.astype(np.float16).astype(float)
    half = Warping("float16")
    np.testing.assert_array_equal(restore(frame, crop, matrix, half), restore(frame, crop, rounded, half))


def test_face_shows_fully_in_the_middle():
    result = restore(noise_frame(), torch.full((3, 128, 128), 0.5), placed(120, 150, 90))
    assert (result[130:170, 100:140] == int(0.75 * 255)).all()


@pytest.mark.parametrize("rounding, bias", [("nearest", 0), ("truncate", -0.5)])
def test_rounding_has_the_bias(rounding, bias):
    frame, region = noise_frame(), face_region(placed(120, 150, 90), 128, (HEIGHT, WIDTH), Warping(rounding=rounding))
    levels = np.arange(32) * (5 + 1 / 32) + 40  # every 32nd part of a level once
    faces = [torch.full((3, 128, 128), level / 127.5 - 1) for level in levels]
    pixels = np.array([paste_face(frame, face, region)[150, 120, 0] for face in faces])
    assert (pixels - levels).mean() == pytest.approx(bias, abs=0.03)


def test_region_serves_several_crops():
    frame, matrix = noise_frame(), placed(120, 150, 90)
    region = face_region(matrix, 128, frame.shape[:2])
    for seed in range(2):
        crop = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(seed))
        np.testing.assert_array_equal(paste_face(frame, crop, region), restore(frame, crop, matrix))


def test_face_over_the_edge_equals_the_same_face_in_a_cut_frame():
    wide, matrix = noise_frame(), placed(120, 150, 90)
    crop = torch.rand(3, 128, 128) * 2 - 1
    whole = restore(wide, crop, matrix)
    matrix[:, 2] += matrix[:, 0] * 120  # cut through the middle of the face
    half = restore(np.ascontiguousarray(wide[:, 120:]), crop, matrix)
    np.testing.assert_array_equal(half[140:160, 20:30], whole[140:160, 140:150])
    assert (half[140:160, 0] != wide[140:160, 120]).any(), "the soft edge follows the face's outline, not the frame's"


@pytest.mark.parametrize(
    "matrix", [placed(-400, 150, 90), placed(120, 9e5, 90), np.zeros((2, 3)), np.full((2, 3), np.nan)]
)
def test_face_outside_of_the_frame_or_without_extent_changes_nothing(matrix):
    frame = noise_frame()
    for warping in ALL_WAYS:
        np.testing.assert_array_equal(restore(frame, torch.zeros(3, 128, 128), matrix, warping), frame)
    np.testing.assert_array_equal(paint_hole(frame, torch.zeros(1, 128, 128), matrix), frame)


def test_kept_pixels_are_pasted_over_the_decoded_face():
    decoded, pixels = torch.full((2, 3, 1, 3), -1.0), torch.full((2, 3, 1, 3), 1.0)
    mask = torch.tensor([[[0.0, 0.5, 1.0]]])
    assert paste_kept(decoded, pixels, mask)[1, 2].tolist() == [[-1.0, 0.0, 1.0]]


def test_hole_is_painted_grey_where_the_model_fills_and_nowhere_else():
    frame, matrix = noise_frame(), placed(120, 150, 90, resolution=256)
    mask = mouth_mask("mask", 256)
    result = paint_hole(frame, mask, matrix)
    at = apply_affine(matrix, np.arange(WIDTH)[None, :], np.arange(HEIGHT)[:, None])
    box_size = crop_box_size(256)
    column, row = (np.rint((p + 0.5) * 256 / side - 0.5).astype(int) for p, side in zip(at, box_size, strict=True))
    inside = (column >= 0) & (column < 256) & (row >= 0) & (row < 256)
    hole = inside & (mask[0].numpy()[row.clip(0, 255), column.clip(0, 255)] == 0)
    kernel = np.ones((5, 5), np.uint8)  # the edge itself may be either
    surely, maybe = cv2.erode(hole.astype(np.uint8), kernel) == 1, cv2.dilate(hole.astype(np.uint8), kernel) == 1
    assert surely.sum() > 3000 and (result[surely] == HOLE_LEVEL).all()
    np.testing.assert_array_equal(result[~maybe], frame[~maybe])


def test_hole_has_the_masks_share_of_the_face():
    painted = paint_hole(
        np.zeros((HEIGHT, WIDTH, 3), np.uint8), mouth_mask("mask", 128), placed(120, 150, 90), grey=255
    )
    assert painted.mean() / 255 * HEIGHT * WIDTH == pytest.approx(0.407 * 90 * 120, rel=0.01)


def test_hole_takes_the_given_grey():
    assert (paint_hole(noise_frame(), torch.zeros(1, 128, 128), placed(120, 150, 90), grey=30)[150, 120] == 30).all()
