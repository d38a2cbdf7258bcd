import weakref

import av
import cv2
import numpy as np
import pytest

from latentsync.errors import FaceNotFoundError, OptionError, WeightsError
from latentsync.faces import (
    BROW_SHRINK,
    FILL_LEVEL,
    LEFT_BROW,
    LOST_FRAMES,
    NOSE,
    RIGHT_BROW,
    AffineSmoother,
    MediaPipeLandmarks,
    _Region,
    align,
    align_points,
    alignment_points,
    apply_affine,
    crop_box_size,
    follow,
    template_points,
    warp_crop,
)

FRAME = np.zeros((480, 640, 3), np.uint8)


def face_at(x, y, size=100.0):
    """Landmarks of a face of about this size around a place: only brows and nose lie where a face has them."""
    shape = np.random.default_rng(0).uniform(-0.5, 0.5, (468, 3))
    shape[list(LEFT_BROW), :2] = (-0.2, -0.2)
    shape[list(RIGHT_BROW), :2] = (0.2, -0.2)
    shape[list(NOSE), :2] = (0.0, 0.1)
    return shape * size + (x, y, 0)


def scripted(faces_by_frame):
    """A detector that finds the given faces, frame by frame."""
    script = iter(faces_by_frame)
    return lambda frame: next(script)


def align_scripted(faces_by_frame, resolution=256):
    return align([FRAME] * len(faces_by_frame), scripted(faces_by_frame), resolution)


def box(x, y, size):
    return [x, y, x + size, y + size]


def boxes(*faces):
    return np.array(faces, dtype=float).reshape(-1, 4)


def decoded(path, numbers):
    """The frames of a clip with these numbers, RGB."""
    with av.open(str(path)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i in numbers:
                yield frame.to_ndarray(format="rgb24")
            if i >= max(numbers):
                return


@pytest.fixture(scope="module")
def mediapipe():
    try:
        return MediaPipeLandmarks()
    except WeightsError as error:
        pytest.skip(f"MediaPipe's networks are not at hand: {error}")


# --- landmarks ---


@pytest.mark.parametrize("clip", ["g-demo1", "m-demo2"])
def test_landmarks_agree_with_mediapipe(shared, mediapipe, clip):
    golden = np.load(shared / "golden" / "mediapipe_landmarks.npz")
    numbers, expected = golden[f"{clip}_frames"][:6].tolist(), golden[f"{clip}_landmarks"][:6]
    found = [mediapipe(frame) for frame in decoded(shared / "media" / f"{clip}.mp4", numbers)]
    assert [len(faces) for faces in found] == [1] * len(numbers)
    landmarks = np.stack([faces[0] for faces in found])
    distance = np.linalg.norm((landmarks - expected)[..., :2], axis=-1)
    assert np.median(distance) < 0.1 and np.percentile(distance, 95) < 0.2
    assert np.abs(landmarks - expected)[..., 2].max() < 0.5


def test_tilted_faces_keep_their_landmarks(shared, mediapipe):
    frame = next(decoded(shared / "media" / "m-demo2.mp4", [0]))
    upright = mediapipe(frame)[0]
    turn = cv2.getRotationMatrix2D(upright[:, :2].mean(0), 25, 1.0)
    tilted = mediapipe(cv2.warpAffine(frame, turn, frame.shape[1::-1]))[0]
    expected = apply_affine(turn, upright[:, 0], upright[:, 1]).T
    assert np.median(np.linalg.norm(tilted[:, :2] - expected, axis=1)) < 0.02 * np.ptp(upright[:, 0])


def test_every_face_of_a_frame_is_found(shared, mediapipe):
    sides = list(decoded(shared / "media" / "m-demo2.mp4", [0, 100]))
    faces = mediapipe(np.concatenate(sides, axis=1))
    centres = sorted(face[:, 0].mean() for face in faces)
    assert len(centres) == 2 and centres[0] < sides[0].shape[1] < centres[1]


def test_no_face_is_found_in_noise(mediapipe):
    assert mediapipe(np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)) == []


def test_refined_points_do_not_depend_on_the_framing(shared, mediapipe):
    frame = next(decoded(shared / "media" / "g-demo1.mp4", [0]))
    top = 300
    crop = np.ascontiguousarray(frame[top:1500])

    def moved(detector):
        whole, part = (alignment_points(detector(image)[0]) for image in (frame, crop))
        return np.linalg.norm(whole - part - (0, top), axis=1).max()

    assert moved(MediaPipeLandmarks(refinements=4)) < 1 < 5 < moved(mediapipe)


def test_negative_refinements_are_refused():
    with pytest.raises(OptionError, match="refinements is -1.*at least 0"):
        MediaPipeLandmarks(refinements=-1)


def test_region_without_a_face_in_it_is_dropped(mediapipe, monkeypatch):
    monkeypatch.setattr(mediapipe, "_regions", lambda frame: [_Region(np.array([300.0, 200.0]), 200.0)])
    assert mediapipe(FRAME) == []


# --- one identity ---


def test_largest_face_is_followed_even_when_another_grows():
    small, large = box(0, 0, 50), box(200, 0, 80)
    grown = box(0, 0, 150)
    chosen, starts = follow([boxes(small, large), boxes(large, grown), boxes(grown, large)])
    assert chosen == [1, 0, 1] and starts == [True, False, False]


def test_most_overlapping_face_is_followed():
    chosen, _ = follow([boxes(box(100, 0, 100)), boxes(box(30, 0, 100), box(120, 0, 100))])
    assert chosen == [0, 1]


def test_stranger_is_not_followed_while_the_face_is_briefly_missing():
    face, stranger = box(0, 0, 80), box(200, 0, 50)
    gap = [boxes(stranger)] * LOST_FRAMES
    chosen, starts = follow([boxes(face, stranger), *gap, boxes(stranger, face)])
    assert chosen == [0, *[None] * LOST_FRAMES, 1] and sum(starts) == 1


def test_another_face_is_followed_from_a_cut_on():
    before, after = boxes(box(0, 0, 80)), boxes(box(200, 0, 50), box(400, 0, 60))
    chosen, starts = follow([before, *[after] * (LOST_FRAMES + 1)])
    assert chosen == [0, *[1] * (LOST_FRAMES + 1)]
    assert [i for i, start in enumerate(starts) if start] == [0, 1]


def test_face_that_stays_away_too_long_is_given_up():
    face, stranger = boxes(box(0, 0, 80)), boxes(box(200, 0, 50))
    _, starts = follow([face, *[stranger] * (LOST_FRAMES + 1), face])
    assert starts[1]


def test_frames_without_faces_have_no_choice():
    chosen, starts = follow([boxes(), boxes(box(0, 0, 10)), boxes()])
    assert chosen == [None, 0, None] and starts == [False, True, False]


# --- alignment ---


def test_brow_points_are_drawn_together_and_the_nose_is_left():
    left, right, nose = alignment_points(face_at(300, 200, 100))
    reach = 20 * (1 - BROW_SHRINK)
    np.testing.assert_allclose([left, right, nose], [[300 - reach, 180], [300 + reach, 180], [300, 210]])


def test_points_on_a_turned_and_scaled_template_are_laid_back_on_it():
    angle, scale, shift = 0.3, 1.7, np.array([40.0, -25.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    template = template_points(256)
    matrix, _ = align_points(template @ turn.T + shift, 256)
    np.testing.assert_allclose(matrix[:, :2], np.linalg.inv(turn), atol=1e-12)
    np.testing.assert_allclose(matrix @ np.append(turn @ template[0] + shift, 1), template[0], atol=1e-9)


def test_nose_on_the_template_has_no_offset():
    _, offset = align_points(template_points(256) * 2 + 30, 256)
    np.testing.assert_allclose(offset, 0, atol=1e-12)


def test_mirrored_points_are_turned_not_mirrored():
    matrix, _ = align_points(template_points(256) * (-1, 1), 256)
    assert np.linalg.det(matrix[:, :2]) > 0


def test_coincident_points_are_refused():
    with pytest.raises(FaceNotFoundError, match="coincide at"):
        align_points(np.full((3, 2), 7.0), 256)


def points_of_106(landmarks):
    """The three points of the original's 1.6, from insightface's 106."""
    landmarks = landmarks.round().astype(int)
    indices = ([43, 48, 49, 51, 50], [101, 102, 103, 104, 105], [74, 77, 83, 86])
    return np.stack([landmarks[i].mean(0) for i in indices]).round()


@pytest.mark.parametrize("resolution, box_size", [(256, (210, 280)), (512, (420, 560))])
def test_affines_and_crops_equal_the_original(golden, resolution, box_size):
    numbers = np.load(golden / "affine_v16.npz")
    assert crop_box_size(resolution) == box_size
    smoother = AffineSmoother(resolution)
    matrices = np.stack([smoother(points_of_106(landmarks)) for landmarks in numbers["landmarks106"]])
    np.testing.assert_allclose(matrices, numbers[f"matrices_{resolution}_fp32"], atol=1e-4, rtol=2e-6)
    expected = numbers["faces_256_fp32"] if resolution == 256 else numbers["face0_512_fp32"][None]
    for frame, matrix, face in zip(numbers["frames"], matrices, expected, strict=False):
        crop = warp_crop(frame, matrix, resolution).numpy()
        difference = np.abs(crop.astype(int) - face)
        assert difference.max() <= 1 and difference.mean() < 0.01


def test_missing_frames_lie_between_their_neighbours_and_ends_are_held():
    faces = [[], [face_at(100, 100)], [], [], [face_at(160, 130)], []]
    aligned = align_scripted(faces)
    assert aligned.found.tolist() == [False, True, False, False, True, False] and len(aligned) == 6
    assert (aligned.resolution, aligned.frame_size) == (256, FRAME.shape[:2])
    first, last = aligned.matrices[1], aligned.matrices[4]
    np.testing.assert_allclose(aligned.matrices[2], first + (last - first) / 3)
    np.testing.assert_allclose(aligned.matrices[3], first + (last - first) * 2 / 3)
    np.testing.assert_array_equal(aligned.matrices[[0, 5]], [first, last])


@pytest.mark.parametrize("between, x", [([[]], 110), ([], 500)], ids=["gap", "cut"])
def test_smoothing_restarts_after_a(between, x):
    def skewed(x):
        face = face_at(x, 200)
        face[list(NOSE), 0] += 10
        return face

    matrices = align_scripted([[face_at(100, 200)], [skewed(105)], *between, [skewed(x)]]).matrices
    assert not np.allclose(matrices[1], AffineSmoother(256)(alignment_points(skewed(105))), atol=1e-3)
    np.testing.assert_allclose(matrices[-1], AffineSmoother(256)(alignment_points(skewed(x))))


def test_nose_offset_is_smoothed_with_a_fifth_of_the_last_one():
    points = [alignment_points(face_at(x, 200, size)) for x, size in ((100, 100), (110, 100))]
    points[1][2] += 8
    smoother = AffineSmoother(256)
    first, second = smoother(points[0]), smoother(points[1])
    (plain_first, offset_first), (plain_second, offset_second) = (align_points(p, 256) for p in points)
    np.testing.assert_allclose(first[:, 2] - plain_first[:, 2], offset_first)
    np.testing.assert_allclose(second[:, 2] - plain_second[:, 2], 0.2 * offset_first + 0.8 * offset_second)


def test_video_without_a_face_says_how_many_frames_were_looked_at():
    with pytest.raises(FaceNotFoundError, match="any of the 3 frames.*choose another"):
        align_scripted([[], [], []])


def test_one_identity_is_aligned_where_two_faces_are_in_view():
    speaker, listener = face_at(150, 200, 100), face_at(450, 200, 80)
    closer = face_at(450, 200, 140)
    aligned = align_scripted([[listener, speaker], [closer, speaker], [speaker, closer]])
    np.testing.assert_allclose(aligned.matrices, np.stack([aligned.matrices[0]] * 3))


def test_frames_are_forgotten_as_they_pass():
    alive = []

    def stream():
        for _ in range(6):
            frame = FRAME.copy()
            alive.append(weakref.ref(frame))
            yield frame
            del frame
            assert sum(ref() is not None for ref in alive) <= 1

    align(stream(), lambda frame: [face_at(200, 200)], 256)


# --- crops ---


def test_crop_is_grey_beyond_the_frame():
    frame = np.full((100, 100, 3), 200, np.uint8)
    half_out = np.array([[1.0, 0, 105], [0, 1.0, 0]])  # the frame's left edge at the middle of the crop box
    crop = warp_crop(frame, half_out, 256).float()
    assert (crop[:, :50, :120] == FILL_LEVEL).all()
    assert (crop[:, 10:50, 140:240] - 200).abs().max() <= 1


@pytest.mark.parametrize("matrix", [[[1.0, 0, 9e4], [0, 1, 0]], np.zeros((2, 3)), np.full((2, 3), np.nan)])
def test_crop_of_nothing_is_grey(matrix):
    assert (warp_crop(FRAME, np.array(matrix), 128) == FILL_LEVEL).all()
