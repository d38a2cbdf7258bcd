"""The face crops of SyncNet v2's protocol: S3FD, tracks and crops, against the original's numbers and definitions."""

import json
import math
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch
from scipy.signal import medfilt

from latentsync.errors import FaceNotFoundError, MediaError, WeightsError
from latentsync.metrics.face_tracks import (
    PROTOCOL,
    FaceTrack,
    crop_track,
    find_tracks,
    landmark_boxes,
)
from latentsync.metrics.s3fd import S3FD, anchors, decode, face_scores, faces_of, load_s3fd, survivors

# ---- S3FD ----

TENSORS, PARAMETERS = 65, 22_459_110

# What the original finds in `waves(270, 334)` with the weights of `seeded`
ORIGINAL_FACES = [
    [218.1362, 202.9392, 376.1698, 293.2534, 1.0000],
    [-56.7881, 165.0492, 31.1401, 314.1440, 0.9999],
    [74.4660, 147.9405, 261.6081, 267.1879, 0.9997],
    [-80.1040, -2.0131, 34.3121, 145.7973, 0.9994],
    [214.5505, 71.1202, 370.4451, 162.9425, 0.9942],
    [88.7521, 236.9585, 158.6462, 304.6511, 0.9677],
    [-173.8309, -98.5422, 506.8383, 384.0316, 0.9482],
]


def on_meta() -> S3FD:
    with torch.device("meta"):
        return S3FD()


def seeded_tensor(name: str, shape: torch.Size) -> torch.Tensor:
    if name.startswith("L2Norm"):
        return torch.full(shape, {"3": 10.0, "4": 8.0, "5": 5.0}[name[6]])
    values = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if name.endswith("bias"):
        return 0.02 * values
    gains = {"vgg.0.": 0.01, "conf": 8.0, "loc": 3.0}  # for levels of 0..255, and for scores from 0 to 1
    gain = next((gain for beginning, gain in gains.items() if name.startswith(beginning)), 1.0)
    return values * math.sqrt(2 / values[0].numel()) * gain


@pytest.fixture(scope="module")
def seeded() -> S3FD:
    network = on_meta()
    tensors = {name: seeded_tensor(name, tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)


@pytest.fixture
def empty() -> S3FD:
    """All weights and biases 0: every anchor scores 0.5 and stays where it is."""
    network = on_meta().to_empty(device="cpu").requires_grad_(False)
    for parameter in network.parameters():
        parameter.zero_()
    return network.eval()


def waves(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([127.5 + 127 * np.sin(x / 23 + y / 31 * k + k) for k in (1, 2, 3)], axis=-1).astype(np.uint8)


def test_s3fds_names_and_shapes_equal_the_published(shared):
    expected = json.loads((shared / "keys" / "keys_s3fd.json").read_text())
    assert {name: list(tensor.shape) for name, tensor in on_meta().state_dict().items()} == expected


def test_s3fd_has_the_published_number_of_tensors_and_parameters():
    tensors = on_meta().state_dict()
    assert (len(tensors), sum(tensor.numel() for tensor in tensors.values())) == (TENSORS, PARAMETERS)


def test_fresh_norms_have_the_published_scales():
    fresh = [S3FD().get_parameter(f"L2Norm{level}_3.weight") for level in (3, 4, 5)]
    assert [weight.unique().tolist() for weight in fresh] == [[10], [8], [5]]


def test_s3fd_finds_the_faces_that_the_original_finds(seeded):
    boxes = faces_of(seeded, waves(270, 334))  # 68x84 px: the third pool keeps an odd row and column
    assert boxes.dtype == np.float64
    np.testing.assert_allclose(boxes[:, :4], np.array(ORIGINAL_FACES)[:, :4], rtol=0, atol=5e-3)
    np.testing.assert_allclose(boxes[:, 4], np.array(ORIGINAL_FACES)[:, 4], rtol=0, atol=2e-4)


def test_the_network_sees_rgb_less_each_colours_mean(seeded):
    frame = np.full((120, 120, 3), (123, 117, 104), np.uint8)
    seen = []
    handle = seeded.vgg[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    faces_of(seeded, frame)
    faces_of(seeded, frame + np.array([1, 2, 3], np.uint8))
    handle.remove()
    assert seen[0].shape == (1, 3, 30, 30)
    assert not seen[0].any()
    assert seen[1][0, :, 7, 9].tolist() == [1, 2, 3]


@pytest.mark.parametrize(("level", "stride", "side"), [(0, 4, 16), (2, 16, 64), (5, 128, 512)])
def test_anchors_lie_in_the_middle_of_their_places(level, stride, side):
    assert anchors(2, 3, level).tolist() == [
        [(column + 0.5) * stride, (row + 0.5) * stride, side] for row in range(2) for column in range(3)
    ]


def test_boxes_decoded_by_hand():
    offsets = torch.tensor([[[0.0, 0, 0, 0], [5, -10, 5 * math.log(2), 10 * math.log(3)]]])
    expected = [[[12.0, 22, 28, 38], [12, -52, 44, 92]]]  # anchors of 16 px about (20, 30) and (20, 36)
    places = torch.tensor([[20.0, 30, 16], [20, 36, 16]])
    torch.testing.assert_close(decode(offsets, places), torch.tensor(expected), rtol=0, atol=1e-4)


def test_a_face_is_held_against_the_likeliest_background():
    logits = torch.tensor([[0.0, 3], [2, -1], [1, 0], [2, 1]])[
        None, :, None
    ]  # three backgrounds and a face, two places
    torch.testing.assert_close(face_scores(logits)[0, 0], torch.tensor([0.0, -2]).sigmoid())
    torch.testing.assert_close(face_scores(logits[:, :2])[0, 0], torch.tensor([2.0, -4]).sigmoid())


def test_boxes_that_overlap_a_surer_one_or_score_too_low_are_dropped():
    square = torch.tensor([0.0, 0, 10, 10])
    slides = (0, 6, 5, 100, 200)  # overlap with the first: 1, 0.25, 0.33
    boxes = torch.stack([square + torch.tensor([slide, 0, slide, 0]) for slide in slides])
    assert survivors(boxes, torch.tensor([0.9, 0.7, 0.8, 0.06, 0.05])).tolist() == [0, 1, 3]


def test_only_the_surest_boxes_are_kept():
    boxes = torch.tensor([0.0, 0, 1, 1]) + 2 * torch.arange(6000)[:, None]
    scores = torch.linspace(0.1, 0.9, 6000)
    assert survivors(boxes, scores).tolist() == list(range(5999, 5249, -1))
    boxes[1001:] = boxes[-1]  # the surest 4999 are one face
    assert survivors(boxes, scores).tolist() == [5999, 1000]


def test_a_box_comes_back_in_px_of_the_frame(empty):
    empty.conf[5].bias[1] = 4.0
    frame = waves(118, 113)  # 30x28 px in the network, whose last map is one place about (64, 64)
    expected = np.array([-192, -192, 320, 320]) * np.array([113 / 28, 118 / 30, 113 / 28, 118 / 30])
    np.testing.assert_allclose(faces_of(empty, frame)[0, :4], expected, rtol=1e-6)
    assert faces_of(empty, frame)[0, 4] == pytest.approx(1 / (1 + math.exp(-4)))
    empty.conf[5].bias[1] = 2.19  # a score of 0.899
    assert faces_of(empty, frame).shape == (0, 5)
    empty.conf[5].bias[1] = 2.20  # 0.9002
    assert len(faces_of(empty, frame)) == 1


def test_of_two_faces_that_overlap_a_little_the_surer_is_kept(empty):
    # Boxes of 64 px, 64 px apart: made 1.25 times as wide they overlap by 0.11, and if 1.17 times by 0.08.
    empty.conf[3].bias[1] = 4.0
    empty.loc[3].bias[3] = 5 * math.log(1 / 8)
    counts = []
    for wider in (1.17, 1.25):
        empty.loc[3].bias[2] = 5 * math.log(32 * wider / 128)
        counts.append(len(faces_of(empty, waves(128, 512), scale=0.5)))
    assert counts == [16, 8]  # two rows of eight, or every other one of them


def test_frames_that_s3fd_cannot_take_are_refused(empty):
    with pytest.raises(MediaError, match=r"27x100 px at scale 0.25.*28x28; give a larger"):
        faces_of(empty, waves(400, 109))
    assert faces_of(empty, waves(112, 112)).shape == (0, 5)
    with pytest.raises(ValueError, match=r"shape \(120, 120\) .* \(h, w, 3\) of uint8"):
        faces_of(empty, waves(120, 120)[..., 0])
    with pytest.raises(ValueError, match="float32"):
        faces_of(empty, waves(120, 120).astype(np.float32))
    with pytest.raises(ValueError, match=r"scale is 0; .*\(0.25"):
        faces_of(empty, waves(120, 120), scale=0)


def test_the_published_file_loads_whole_or_not_at_all(seeded, tmp_path):
    path = tmp_path / "sfd_face.pth"
    torch.save(seeded.state_dict(), path, _use_new_zipfile_serialization=False)  # as it was published
    loaded = load_s3fd(path)
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())
    for name, tensor in seeded.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    torch.save({name: tensor for name, tensor in seeded.state_dict().items() if name != "loc.5.bias"}, path)
    with pytest.raises(WeightsError, match=r"1 missing \(loc.5.bias\)"):
        load_s3fd(path)


# ---- tracks ----

FACE = np.array([100.0, 50, 260, 210])


def video(length: int, *faces: tuple[np.ndarray, range | list[int]]) -> list[np.ndarray]:
    """The faces found in every frame: each box in the frames that it is given."""
    detections = [[[*box, 1.0] for box, frames in faces if i in frames] for i in range(length)]
    return [np.array(boxes).reshape(-1, 5) for boxes in detections]


def spans(tracks: list[FaceTrack]) -> list[tuple[int, int]]:
    return [(track.start, len(track)) for track in tracks]


@pytest.mark.parametrize(("missing", "expected"), [(24, [(3, 144)]), (25, [(3, 60), (88, 60)])])
def test_a_track_goes_on_if_the_face_is_found_again_within_25_frames(missing, expected):
    frames = [*range(3, 63), *range(63 + missing, 123 + missing)]
    assert spans(find_tracks(video(160, (FACE, frames)))) == expected


def test_no_track_goes_over_a_cut():
    detections = video(180, (FACE, range(180)))
    assert spans(find_tracks(detections)) == [(0, 180)]
    assert spans(find_tracks(detections, cuts=[120, 60])) == [(0, 60), (60, 60), (120, 60)]
    assert spans(find_tracks(detections, cuts=[0, 100, 130])) == [(0, 100)]


@pytest.mark.parametrize(("aside", "expected"), [(53, [(0, 120)]), (54, [(0, 60), (60, 60)])])
def test_a_face_that_overlaps_the_last_one_by_half_or_less_is_another(aside, expected):
    moved = FACE + np.array([aside, 0, aside, 0])  # 160 px wide: 107/213 is above a half, 106/214 below
    assert spans(find_tracks(video(120, (FACE, range(60)), (moved, range(60, 120))))) == expected


def test_an_overlap_of_exactly_a_half_is_too_little():
    half = np.array([100.0, 50, 260, 130])
    assert spans(find_tracks(video(120, (FACE, range(60)), (half, range(60, 120))))) == [(0, 60), (60, 60)]


def test_a_track_follows_its_last_sight_and_not_its_first():
    detections = [np.array([[*(FACE + 3 * i), 1.0]]) for i in range(100)]
    tracks = find_tracks(detections)
    assert spans(tracks) == [(0, 100)]
    np.testing.assert_array_equal(tracks[0].boxes, np.concatenate(detections)[:, :4])


def test_two_faces_have_two_tracks_and_swap_no_boxes():
    other = FACE + 300
    detections = video(80, (FACE, range(80)), (other, range(10, 75)))
    for i in range(1, 80, 2):
        detections[i] = detections[i][::-1]  # sometimes this one is surer, sometimes that one
    tracks = find_tracks(detections)
    assert spans(tracks) == [(0, 80), (10, 65)]
    for track, box in zip(tracks, (FACE, other), strict=True):
        np.testing.assert_array_equal(track.boxes, np.tile(box, (len(track), 1)))


def test_of_two_faces_over_the_last_one_the_surer_is_taken():
    detections = video(60, (FACE, range(60)))
    detections[7] = np.array([[*(FACE + 20), 0.99], [*FACE, 0.95]])
    (track,) = find_tracks(detections)
    np.testing.assert_array_equal(track.boxes[7], FACE + 20)
    np.testing.assert_array_equal(track.boxes[8], FACE)


def test_boxes_in_between_lie_on_a_line():
    detections = [
        np.empty((0, 5)) if i % 10 in (3, 4, 5, 6) else np.array([[*(FACE * (1 + i / 500)), 1]]) for i in range(98)
    ]
    (track,) = find_tracks(detections)
    np.testing.assert_allclose(track.boxes, FACE * (1 + np.arange(98) / 500)[:, None], rtol=0, atol=1e-9)


def test_a_track_needs_51_sights_however_long_it_is():
    assert spans(find_tracks(video(101, (FACE, range(0, 101, 2))))) == [(0, 101)]
    with pytest.raises(FaceNotFoundError, match=r"in 50 of 101 frames .* more than 50, so give"):
        find_tracks(video(101, (FACE, range(1, 101, 2))))
    with pytest.raises(FaceNotFoundError, match="in 0 of 60 frames"):
        find_tracks(video(60))


def test_short_and_small_faces_are_dropped():
    small, low = np.array([300.0, 300, 400, 400]), np.array([300.0, 300, 400.5, 340])
    frames = range(60)
    assert len(find_tracks(video(60, (FACE, frames), (small, frames)))) == 1
    assert len(find_tracks(video(60, (FACE, frames), (low, frames)))) == 2  # wider than 100 px is enough
    assert len(find_tracks(video(60, (FACE, frames), (low, range(50))))) == 1
    with pytest.raises(FaceNotFoundError, match=r"is 100 px .* more than 100 px, so give"):
        find_tracks(video(60, (small, frames)))


def test_a_video_under_51_frames_is_refused():
    assert spans(find_tracks(video(51, (FACE, range(51))))) == [(0, 51)]
    with pytest.raises(MediaError, match=r"50 frames \(2.00 s\); .* at least 51 .*give a longer"):
        find_tracks(video(50, (FACE, range(50))))


def test_faces_and_cuts_that_cannot_be_are_refused():
    detections = video(60, (FACE, range(60)))
    for cuts in ([61], [-1]):
        with pytest.raises(ValueError, match=r"cuts are \[-?\d+\]; .* 60 frames"):
            find_tracks(detections, cuts)
    with pytest.raises(ValueError, match=r"frame 4 have shape \(1, 4\); \(n, 5\)"):
        find_tracks([*detections[:4], detections[4][:, :4]])
    with pytest.raises(ValueError, match="frame 60 .*finite"):
        find_tracks([*detections, np.full((1, 5), np.nan)])


def test_boxes_of_landmarks_are_their_bounds():
    points = np.tile([50.0, 60, 0], (468, 1))
    points[7], points[99] = (10, 65, -30), (55, 20, 30)
    assert landmark_boxes([points, points + 100]).tolist() == [[10, 20, 55, 65, 1], [110, 120, 155, 165, 1]]
    assert landmark_boxes([]).shape == (0, 5)


# ---- crops ----


def noise_frames(length: int, height: int = 90, width: int = 130) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(3)
    for _ in range(length):
        yield rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def wandering(length: int, centre: tuple[float, float], side: float) -> np.ndarray:
    rng = np.random.default_rng(5)
    middles = np.array(centre) + rng.normal(0, 4, (length, 2))
    sides = side * np.array([0.8, 1]) + rng.normal(0, 3, (length, 2))
    return np.column_stack([middles - sides / 2, middles + sides / 2])


def crops_by_definition(frames: list[np.ndarray], track: FaceTrack) -> list[np.ndarray]:
    """Whole frames padded and cut, as the protocol says."""
    left, top, right, bottom = track.boxes.T
    s, y, x = (
        medfilt(series, 13)
        for series in (np.maximum(bottom - top, right - left) / 2, (top + bottom) / 2, (left + right) / 2)
    )
    crops = []
    for i in range(len(track)):
        border = int(s[i] * 1.8)
        padded = np.pad(frames[track.start + i], ((border, border), (border, border), (0, 0)), constant_values=110)
        my, mx = y[i] + border, x[i] + border
        part = padded[int(my - s[i]) : int(my + s[i] * 1.8), int(mx - s[i] * 1.4) : int(mx + s[i] * 1.4)]
        crops.append(cv2.resize(part, (224, 224)))
    return crops


@pytest.mark.parametrize(
    ("centre", "side"),
    [((65, 40), 30), ((8, 6), 50), ((125, 86), 60), ((65, 45), 200), ((65, 95), 30), ((133, 45), 30)],
    ids=["inside", "upper left", "lower right", "larger than the frame", "centre below", "centre to the right"],
)
def test_crops_equal_those_of_padded_frames(centre, side):
    track = FaceTrack(4, wandering(20, centre, side))
    expected = crops_by_definition(list(noise_frames(24)), track)
    got = list(crop_track(noise_frames(30), track))
    assert len(got) == 20
    for one, other in zip(got, expected, strict=True):
        assert one.shape == (224, 224, 3) and one.dtype == np.uint8
        np.testing.assert_array_equal(one, other)


def test_the_median_takes_out_a_jump_and_sees_zeros_beyond_the_ends():
    boxes = np.tile([40.0, 30, 60, 50], (30, 1))
    boxes[12:15] += 30  # three frames elsewhere
    boxes[0] -= 20  # the least of the first seven
    still, jumping = (FaceTrack(0, b) for b in (np.tile(boxes[20], (30, 1)), boxes))
    frame = next(noise_frames(1))
    steady, got = (list(crop_track([frame] * 30, track)) for track in (still, jumping))
    assert [i for i in range(30) if not np.array_equal(steady[i], got[i])] == [0]


def test_no_more_frames_are_read_than_the_crops_at_hand_need():
    num_read = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal num_read
        for frame in noise_frames(100):
            num_read += 1
            yield frame

    crops = crop_track(counted(), FaceTrack(10, wandering(20, (65, 45), 30)))
    assert num_read == 0
    for expected in range(11, 31):
        next(crops)
        assert num_read == expected
    assert next(crops, None) is None
    assert num_read == 30


def test_a_face_is_found_followed_and_cut_out_in_its_place():
    def frames() -> Iterator[np.ndarray]:
        for i in range(60):
            frame = np.zeros((300, 400, 3), np.uint8)
            frame[60 + i : 180 + i, 100 + 2 * i : 220 + 2 * i] = (250, 150, 50)
            yield frame

    def find_square(frame: np.ndarray) -> np.ndarray:
        rows, columns = np.flatnonzero(frame.any((1, 2))), np.flatnonzero(frame.any((0, 2)))
        return np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1, 0.97]], np.float64)

    (track,) = find_tracks([find_square(frame) for frame in frames()])
    crops = np.stack(list(crop_track(frames(), track)))[6:-6]
    # The square is 2 of 2.8 half sides: from the upper edge on, and in the middle.
    assert (np.abs(crops[:, 2:158, 34:190].astype(int) - (250, 150, 50)) <= 1).all()
    assert not crops[:, 162:, :].any() and not crops[:, :, :30].any() and not crops[:, :, 194:].any()


def test_crops_that_cannot_be_made_are_refused():
    track = FaceTrack(5, wandering(20, (65, 45), 30))
    with pytest.raises(ValueError, match="after 15 of .* 20 from frame 5 .* give the whole video"):
        list(crop_track(noise_frames(20), track))
    with pytest.raises(ValueError, match=r"boxes have shape \(12, 4\)"):
        list(crop_track(noise_frames(30), FaceTrack(0, track.boxes[:12])))
    with pytest.raises(FaceNotFoundError, match=r"at \(6\d, -\d+\) px .* 130x90 px; .* in the frame"):
        list(crop_track(noise_frames(30), FaceTrack(0, track.boxes - [0, 100, 0, 100])))
    with pytest.raises(FaceNotFoundError, match=r"half a side of 0.0 px"):
        list(crop_track(noise_frames(30), FaceTrack(0, np.tile([60.0, 40, 60, 40], (20, 1)))))


def test_the_protocol_tells_its_numbers_and_what_is_left_out():
    for part in ("25 frames", "above 0.5", "50 frames", "100 px", "over 13 frames", "scale 0.4", "grey 110", "JPEG"):
        assert part in PROTOCOL
