import av
import cv2
import numpy as np
import pytest

from latentsync.errors import OptionError, WeightsError
from latentsync.faces.geometry import apply_affine
from latentsync.faces.landmarks import MediaPipeLandmarks, _Region
from latentsync.faces.track import alignment_points


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
        return MediaPipeLandmarks(refinements=0)  # its static image mode
    except WeightsError as error:
        pytest.skip(f"MediaPipe's networks are not at hand: {error}")


@pytest.mark.parametrize("clip", ["g-demo1", "m-demo2"])
def test_landmarks_agree_with_mediapipe(shared, mediapipe, agree, clip):
    golden = np.load(shared / "golden" / "mediapipe_landmarks.npz")
    numbers, expected = golden[f"{clip}_frames"][:6].tolist(), golden[f"{clip}_landmarks"][:6]
    meshes = [mediapipe(frame) for frame in decoded(shared / "media" / f"{clip}.mp4", numbers)]
    assert [len(faces) for faces in meshes] == [1] * len(numbers)
    landmarks = np.stack([faces[0] for faces in meshes])
    distance = np.linalg.norm((landmarks - expected)[..., :2], axis=-1)
    assert np.median(distance) < 0.1 and np.percentile(distance, 95) < 0.2
    reference = {"reference": "MediaPipe's own run", "unit": "px"}
    agree(f"landmarks, {clip}", landmarks[..., :2], expected[..., :2], within=0.3, **reference)
    agree(f"depth of landmarks, {clip}", landmarks[..., 2], expected[..., 2], within=0.5, **reference)


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

    assert moved(MediaPipeLandmarks()) < 1 < 5 < moved(mediapipe)


def test_negative_refinements_are_refused():
    with pytest.raises(OptionError, match="refinements is -1.*at least 0"):
        MediaPipeLandmarks(refinements=-1)


def test_region_without_a_face_in_it_is_dropped(mediapipe, monkeypatch):
    monkeypatch.setattr(mediapipe, "_regions", lambda frame: [_Region(np.array([300.0, 200.0]), 200.0)])
    assert mediapipe(np.zeros((480, 640, 3), np.uint8)) == []
