import weakref

import numpy as np
import pytest

from latentsync.errors import FaceNotFoundError
from latentsync.faces.geometry import Warping
from latentsync.faces.track import (
    BROW_SHRINK,
    LEFT_BROW,
    LOST_FRAMES,
    NOSE,
    RIGHT_BROW,
    AffineSmoother,
    PointHolder,
    align,
    align_points,
    alignment_points,
    follow,
    template_points,
)

FRAME = np.zeros((480, 640, 3), np.uint8)
WARPING, LANCZOS = Warping(), Warping("lanczos")


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


def align_scripted(faces_by_frame, warping=WARPING):
    return align([FRAME] * len(faces_by_frame), scripted(faces_by_frame), 256, warping)


def box(x, y, size):
    return [x, y, x + size, y + size]


def boxes(*faces):
    return np.array(faces, dtype=float).reshape(-1, 4)


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


@pytest.mark.parametrize(("warping", "slack"), [(Warping(), 1e-6), (LANCZOS, 1e-12)])  # float32 and float64
def test_points_on_a_turned_and_scaled_template_are_laid_back_on_it(warping, slack):
    angle, scale, shift = 0.3, 1.7, np.array([40.0, -25.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    template = template_points(256)
    matrix, _ = align_points(template @ turn.T + shift, 256, warping)
    np.testing.assert_allclose(matrix[:, :2], np.linalg.inv(turn), atol=slack)
    np.testing.assert_allclose(matrix @ np.append(turn @ template[0] + shift, 1), template[0], atol=300 * slack)


def test_nose_on_the_template_has_no_offset():
    _, offset = align_points(template_points(256) * 2 + 30, 256)
    np.testing.assert_allclose(offset, 0, atol=1e-12)


def test_mirrored_points_are_turned_not_mirrored():
    matrix, _ = align_points(template_points(256) * (-1, 1), 256)
    assert np.linalg.det(matrix[:, :2]) > 0


def test_mirrored_points_are_mirrored_as_in_1_0():
    matrix, _ = align_points(template_points(256) * (-1, 1), 256, LANCZOS)
    np.testing.assert_allclose(matrix[:, :2], np.diag([-1, 1]), atol=1e-12)


def test_coincident_points_are_refused():
    with pytest.raises(FaceNotFoundError, match="coincide at"):
        align_points(np.full((3, 2), 7.0), 256)


def points_of_106(landmarks):
    """The three points of the original's 1.6, from insightface's 106."""
    landmarks = landmarks.round().astype(int)
    indices = ([43, 48, 49, 51, 50], [101, 102, 103, 104, 105], [74, 77, 83, 86])
    return np.stack([landmarks[i].mean(0) for i in indices]).round()


@pytest.mark.parametrize("resolution", [256, 512])
def test_affines_equal_those_of_1_6(golden, agree, resolution):
    numbers = np.load(golden / "affine_v16.npz")
    smoother = AffineSmoother(resolution)
    matrices = np.stack([smoother(points_of_106(landmarks)) for landmarks in numbers["landmarks106"]])
    expected = numbers[f"matrices_{resolution}_fp32"]
    agree(f"affines, {resolution} px", matrices, expected, within=1e-4, reference="the original 1.6, float32")
    if resolution == 256:
        rounded, expected = Warping("float16").affine(matrices), numbers["matrices_256_fp16"]
        agree("affines, 256 px", rounded, expected, within=1e-4, reference="the original 1.6, float16")


def test_affines_equal_those_of_1_0(golden, agree):
    landmarks = np.load(golden / "affine_v10.npz")["smoothed68"]
    points = [np.stack([face[i].mean(0) for i in (slice(17, 22), slice(22, 27), slice(27, 36))]) for face in landmarks]
    smoother = AffineSmoother(256, LANCZOS)
    matrices, expected = np.stack([smoother(p) for p in points]), np.load(golden / "affine_v10.npz")["matrices"]
    agree("affines, 256 px", matrices, expected, within=1e-9, reference="the original 1.0")


def test_points_are_held_still_as_in_1_0(golden, agree):
    numbers = np.load(golden / "affine_v10.npz")
    holder = PointHolder()
    held = np.stack([holder(points, np.ptp(points[:, 0])) for points in numbers["landmarks68"]])
    agree("landmarks held still", held, numbers["smoothed68"], within=1e-9, reference="the original 1.0", unit="px")


def test_missing_frames_lie_between_their_neighbours_and_ends_are_held():
    faces = [[], [face_at(100, 100)], [], [], [face_at(160, 130)], []]
    aligned = align_scripted(faces)
    assert aligned.has_face.tolist() == [False, True, False, False, True, False] and len(aligned) == 6
    assert (aligned.resolution, aligned.frame_size) == (256, FRAME.shape[:2])
    first, last = aligned.matrices[1], aligned.matrices[4]
    np.testing.assert_allclose(aligned.matrices[2], first + (last - first) / 3)
    np.testing.assert_allclose(aligned.matrices[3], first + (last - first) * 2 / 3)
    np.testing.assert_array_equal(aligned.matrices[[0, 5]], [first, last])


@pytest.mark.parametrize("warping", [WARPING, LANCZOS], ids=["own", "1.0"])
@pytest.mark.parametrize("between, x", [([[]], 110), ([], 500)], ids=["gap", "cut"])
def test_smoothing_restarts_after_a(between, x, warping):
    def skewed(x):
        face = face_at(x, 200)
        face[list(NOSE), 0] += 10
        return face

    def alone(x):
        return AffineSmoother(256, warping)(alignment_points(skewed(x)))

    matrices = align_scripted([[face_at(100, 200)], [skewed(105)], *between, [skewed(x)]], warping).matrices
    assert not np.allclose(matrices[1], alone(105), atol=1e-3)
    np.testing.assert_allclose(matrices[-1], alone(x))


def test_face_that_hardly_moves_is_held_still_as_in_1_0_only():
    faces = [[face_at(100, 200)], [face_at(101, 200)]]
    own, held = (np.ptp(align_scripted(faces, warping).matrices[:, 0, 2]) for warping in (WARPING, LANCZOS))
    assert held < 0.1 * own


def test_nose_offset_is_smoothed_with_a_fifth_of_the_last_one():
    points = [alignment_points(face_at(x, 200, size)) for x, size in ((100, 100), (110, 100))]
    points[1][2] += 8
    smoother = AffineSmoother(256, LANCZOS)  # the one in float64
    first, second = smoother(points[0]), smoother(points[1])
    (plain_first, offset_first), (plain_second, offset_second) = (align_points(p, 256, LANCZOS) for p in points)
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
