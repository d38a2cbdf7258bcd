import weakref

import cv2
import numpy as np
import pytest

from latentsync.errors import FaceNotFoundError
from latentsync.faces.cuts import CutDetector
from latentsync.faces.geometry import Warping
from latentsync.faces.landmarks import MediaPipeLandmarks
from latentsync.faces.people import LOST_FRAMES, Sighting, follow
from latentsync.faces.track import (
    BROW_SHRINK,
    LEFT_BROW,
    NOSE,
    RIGHT_BROW,
    AffineSmoother,
    PointHolder,
    align,
    align_points,
    alignment_points,
    template_points,
)
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.media import read_frames

FRAME = np.zeros((480, 640, 3), np.uint8)
SHAPE = np.random.default_rng(0).uniform(0, 1, (468, 2))
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


def boxes(*faces, looks=None):
    """The faces of a frame; all look alike unless their levels are given."""
    looks = looks or [100] * len(faces)
    return [
        Sighting(SHAPE * (face[2] - face[0]) + face[:2], np.array(face, float), np.full((8, 8, 3), look, np.uint8))
        for face, look in zip(faces, looks, strict=True)
    ]


def followed(frames, cuts=(), face="largest", size=(480, 640)):
    """For each frame the number of the followed face, and where tracks start."""
    chosen, tracks = follow(frames, np.isin(np.arange(len(frames)), list(cuts)), face, size)
    return chosen, (np.diff(tracks, prepend=-1) != 0).tolist()


# --- one identity ---


def test_largest_face_is_followed_even_when_another_grows():
    small, large = box(0, 0, 50), box(200, 0, 80)
    grown = box(0, 0, 150)
    chosen, starts = followed([boxes(small, large), boxes(large, grown), boxes(grown, large)])
    assert chosen == [1, 0, 1] and starts == [True, False, False]


def test_most_overlapping_face_is_followed():
    chosen, _ = followed([boxes(box(100, 0, 100)), boxes(box(30, 0, 100), box(120, 0, 100))])
    assert chosen == [0, 1]


def test_stranger_is_not_followed_while_the_face_is_briefly_missing():
    face, stranger = box(0, 0, 80), box(200, 0, 50)
    gap = [boxes(stranger)] * LOST_FRAMES
    chosen, starts = followed([boxes(face, stranger), *gap, boxes(stranger, face)])
    assert chosen == [0, *[None] * LOST_FRAMES, 1] and sum(starts) == 1


def test_another_face_is_followed_when_the_largest_is_lost():
    before, after = boxes(box(0, 0, 80)), boxes(box(200, 0, 50), box(400, 0, 60))
    chosen, starts = followed([before, *[after] * (LOST_FRAMES + 1)])
    assert chosen == [0, *[1] * (LOST_FRAMES + 1)]
    assert [i for i, start in enumerate(starts) if start] == [0, 1]


def test_face_that_stays_away_too_long_is_given_up():
    face, stranger = boxes(box(0, 0, 80)), boxes(box(200, 0, 50))
    _, starts = followed([face, *[stranger] * (LOST_FRAMES + 1), face])
    assert starts[1]


def test_frames_without_faces_have_no_choice():
    chosen, starts = followed([boxes(), boxes(box(0, 0, 10)), boxes()])
    assert chosen == [None, 0, None] and sum(starts) == 1


# --- people, choices and cuts ---


def test_a_track_ends_at_a_cut_even_where_the_faces_overlap():
    frame, other = boxes(box(100, 100, 80)), boxes(box(102, 100, 80), looks=[150])
    chosen, starts = followed([frame] * 3 + [other] * 3, cuts=[3])
    assert chosen == [0] * 6 and starts == [True, False, False, True, False, False]


def test_a_face_that_stays_while_the_picture_around_it_changes_is_one_track():
    frame = boxes(box(100, 100, 80))
    assert followed([frame] * 6, cuts=[3])[1] == [True] + [False] * 5


TRIO = (box(500, 10, 60), box(20, 10, 50), box(280, 200, 70))  # right, left, centre; the centre is the largest


@pytest.mark.parametrize(
    ("face", "index"),
    [("largest", 2), ("left", 1), ("right", 0), ("centre", 2), ("1", 1), ("2", 2), ("3", 0), ("540,30", 0)],
)
def test_a_choice_holds_in_each_shot_whatever_the_order_of_detection(face, index):
    shuffled = [2, 0, 1]
    frames = [boxes(*TRIO)] * 2 + [boxes(*(TRIO[k] for k in shuffled))] * 2
    expected = [index, index, shuffled.index(index), shuffled.index(index)]
    assert followed(frames, face=face)[0] == expected
    assert followed(frames, cuts=[2], face=face)[0] == expected


def test_a_choice_is_made_where_all_are_in_view_and_nobody_else_takes_the_place():
    left, right = box(20, 10, 60), box(400, 10, 60)
    frames = [boxes(right)] * 2 + [boxes(left, right)] + [boxes(right)] * (2 * LOST_FRAMES) + [boxes(right, left)]
    expected = [None, None, 0, *[None] * (2 * LOST_FRAMES), 1]
    assert followed(frames, face="left")[0] == expected
    assert followed(frames, face="2")[0] == [0, 0, 1, *[0] * (2 * LOST_FRAMES + 1)]
    assert followed(frames, face="3")[0] == [None] * len(frames)


def test_a_face_is_found_again_elsewhere_if_it_looks_the_same():
    def frames(look):
        return [boxes(box(20, 10, 60), box(400, 10, 60), looks=[100, 200])] * 2 + [
            boxes(box(400, 10, 60), box(200, 200, 60), looks=[200, look])
        ] * 3

    assert followed(frames(102), face="left")[0] == [0, 0, 1, 1, 1]
    assert followed(frames(170), face="left")[0] == [0, 0, None, None, None]


@pytest.mark.parametrize("looks", [(100, 160), (100, 100)], ids=["by look and movement", "by movement"])
def test_people_who_cross_keep_apart(looks):
    """One walks to the right and is hidden by the other, who walks to the left."""
    frames = []
    for i in range(30):
        front, behind = box(300 - 10 * i, 10, 80), box(10 * i, 10, 80)
        is_hidden = abs(front[0] - behind[0]) < 45
        frames.append(boxes(front, looks=looks[:1]) if is_hidden else boxes(front, behind, looks=looks))
    chosen, starts = followed([frame[::-1] if i % 3 else frame for i, frame in enumerate(frames)], face="left")
    hidden = [len(frame) == 1 for frame in frames]
    assert 3 < sum(hidden) < 12 and sum(starts) == 1
    assert chosen == [None if hidden[i] else (0 if i % 3 else 1) for i in range(30)]


def test_a_choice_that_fits_nobody_says_what_there_is():
    faces = [[face_at(150, 200), face_at(450, 200)]] * 3
    with pytest.raises(FaceNotFoundError, match="face is 3, but no frame shows more than 2 faces; give 1 to 2"):
        align(iter([FRAME] * 3), scripted(faces), 256, face="3")
    with pytest.raises(FaceNotFoundError, match=r"face is 5,470, .* 640x480 px; .* are at 1\d\d,\d+ and 4\d\d,\d+"):
        align(iter([FRAME] * 3), scripted(faces), 256, face="5,470")


def picture(seed):
    """A smooth picture of random colours, 64x48 px."""
    colours = np.random.default_rng(seed).uniform(0, 255, (4, 4, 3)).astype(np.float32)
    return cv2.resize(colours, (64, 48), interpolation=cv2.INTER_LINEAR)


def cuts_of(frames):
    detector = CutDetector()
    for frame in frames:
        detector.add(np.clip(frame, 0, 255).astype(np.uint8))
    return np.flatnonzero(detector.cuts()).tolist()


def test_cuts_are_found_and_movement_flashes_and_dissolves_are_none():
    one, other, third = map(picture, range(3))
    assert cuts_of([]) == cuts_of([one]) == cuts_of([one] * 8) == []
    assert cuts_of([one] * 6 + [other] * 6 + [third] * 6) == [6, 12]
    assert cuts_of([one] * 6 + [other] * 3 + [one] * 6) == [6, 9]
    assert cuts_of([one, other, other]) == [1]
    assert cuts_of([one] * 6 + [one + 90] + [one] * 6) == []  # a flash
    assert cuts_of([np.roll(one, 2 * i, axis=1) for i in range(30)]) == []  # a turning camera
    assert cuts_of([np.roll(one, 6 * (3 * i // 5), axis=1) for i in range(40)]) == []  # the same at 15 frames a second
    assert cuts_of([one + (other - one) * i / 10 for i in range(11)]) == []  # a dissolve


def test_two_speakers_cut_together_are_two_tracks():
    clara, oskar = (list(read_frames(SHIPPED_DIR / f"{name}.mp4", stop=6)) for name in ("g-clara", "m-oskar"))
    assert cuts_of(clara + oskar) == [6]
    faces = align(clara[:3] + oskar[:3] + clara[3:], MediaPipeLandmarks(refinements=1), 128)
    assert faces.tracks.tolist() == [0] * 3 + [1] * 3 + [2] * 3 and faces.has_face.all()


def test_sides_that_swap_at_a_cut_are_chosen_anew_and_a_point_follows_its_place():
    clara, oskar = (list(read_frames(SHIPPED_DIR / f"{name}.mp4", stop=6)) for name in ("g-clara", "m-oskar"))
    frames = [np.hstack(pair) for pair in [*zip(clara[:3], oskar[:3]), *zip(oskar[3:], clara[3:])]]  # noqa: B905
    width, height = clara[0].shape[1], clara[0].shape[0]

    def sides(face):
        found = align(frames, detector, 128, face=face)
        assert found.has_face.all() and found.tracks.tolist() == [0] * 3 + [1] * 3
        return [int(x >= width) for x in np.nanmean(found.landmarks[:, :, 0], axis=1)]

    detector = MediaPipeLandmarks(refinements=1)
    assert sides("left") == [0] * 6 and sides("2") == [1] * 6
    assert sides(f"{width // 2},{height // 2}") == [0] * 6


def test_a_face_that_stands_on_its_head_gets_the_landmarks_of_the_upright_one():
    detector = MediaPipeLandmarks()
    (frame,) = read_frames(SHIPPED_DIR / "m-oskar.mp4", stop=1)
    (upright,), (turned,) = detector(frame), detector(np.ascontiguousarray(frame[::-1, ::-1]))
    back = np.array(frame.shape[1::-1]) - 1 - turned[:, :2]
    width = np.ptp(upright[:, 0])
    assert np.abs(back - upright[:, :2]).max() < 0.02 * width


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
