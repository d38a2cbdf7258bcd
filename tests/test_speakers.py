"""The painted talking heads: mouths follow phones, pictures follow mouths, and the shipped clips are what they say."""

import json
import math
import shutil
import subprocess
import sys
import wave
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from latentsync.errors import LatentSyncError, OptionError
from latentsync.faces.landmarks import MediaPipeLandmarks
from latentsync.lab.commands import speakers as command
from latentsync.speakers import samples
from latentsync.speakers.clip import LIVELY_LIMITS, blink_track, head_motion, render_clip, truth_json, write_clip
from latentsync.speakers.identity import BEARDS, GLASSES, Identity, random_identity
from latentsync.speakers.mouth import mouth_geometry
from latentsync.speakers.painter import Expression, Painter, Pose, random_framing, view_top
from latentsync.speakers.surface import CHIN_Y, MOUTH_Y, PUPIL_X
from latentsync.speakers.visemes import FPS, SHAPES, VISEMES, MouthShape, frame_phones, mouth_track
from latentsync.speakers.voice import Phone, Voice

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="the speech synthesiser flite is not installed")
SIZE_PX = 192


def phones(*items: tuple[str, float]) -> list[Phone]:
    """Phones from names and durations in s."""
    ends = np.cumsum([duration for _, duration in items])
    return [Phone(name, end - duration, end) for (name, duration), end in zip(items, ends, strict=True)]


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter(samples.IDENTITIES["g-clara"], SIZE_PX)


# --- phones to mouths


@pytest.mark.parametrize("offset_s", [0.0, 0.013, 0.027, 0.039])
def test_lips_close_on_every_bilabial(offset_s: float) -> None:
    """Even for a b of 30 ms between open vowels, wherever it falls between the frames."""
    spoken = phones(("pau", 0.1 + offset_s), ("aa", 0.15), ("b", 0.03), ("aa", 0.15), ("m", 0.07), ("ae", 0.15),
                    ("p", 0.05), ("aa", 0.2), ("pau", 0.2))  # fmt: skip
    track = mouth_track(spoken, count=28)
    for phone in spoken:
        gaps = track[int(phone.start_s * FPS) : math.ceil(phone.end_s * FPS)]
        if phone.name in "mbp":
            assert min(shape.opening for shape in gaps) == 0.0
            assert max(shape.press for shape in gaps) >= 0.8
        elif phone.name != "pau":
            assert max(shape.opening for shape in gaps) > 0.35


def test_rounding_and_spreading() -> None:
    spoken = phones(("t", 0.1), ("uw", 0.3), ("t", 0.1), ("iy", 0.3), ("t", 0.1))
    track, heard = mouth_track(spoken, 22), frame_phones(spoken, 22)
    rounded = [shape for shape, name in zip(track, heard, strict=True) if name == "uw"]
    spread = [shape for shape, name in zip(track, heard, strict=True) if name == "iy"]
    assert max(shape.rounding for shape in rounded) > 0.75
    assert min(shape.rounding for shape in spread) < 0.1
    assert min(shape.width for shape in rounded) < -0.4 < 0.6 < max(shape.width for shape in spread)


def test_rounding_spreads_to_its_neighbours() -> None:
    """Coarticulation: the s of "soup" is rounder than the s of "seat"."""
    soup, seat = (mouth_track(phones(("s", 0.12), (vowel, 0.2), ("p", 0.1)), 10)[2] for vowel in ("uw", "iy"))
    assert soup.rounding > seat.rounding + 0.15


def test_lower_lip_meets_the_teeth_for_f() -> None:
    track = mouth_track(phones(("aa", 0.2), ("f", 0.12), ("aa", 0.2)), 13)
    assert max(shape.tuck for shape in track[5:8]) >= 0.85
    assert max(shape.tuck for shape in track[:3]) < 0.2


def test_silence_closes_softly() -> None:
    opening = [shape.opening for shape in mouth_track(phones(("aa", 0.4), ("pau", 0.6)), 25)]
    assert opening[-1] < 0.02
    assert max(np.abs(np.diff(opening))) < 0.6 * max(opening)


def test_intensity_scales_the_opening() -> None:
    spoken = phones(("t", 0.1), ("aa", 0.3))
    plain, mumbled = (max(s.opening for s in mouth_track(spoken, 10, level)) for level in (1.0, 0.4))
    assert mumbled == pytest.approx(0.4 * plain, rel=0.05)


def test_every_phone_has_a_known_shape() -> None:
    assert {name for names in VISEMES.values() for name in names} == set(SHAPES)


# --- mouths to pictures


def test_a_frame_depends_on_its_arguments_alone(painter: Painter) -> None:
    def frame(by: Painter, index: int) -> bytes:
        return by.paint(Pose(roll=index, yaw=2), Expression(brows=0.5), SHAPES["ah"], index).tobytes()

    forwards = [frame(painter, index) for index in range(3)]
    other = Painter(samples.IDENTITIES["g-clara"], SIZE_PX)
    backwards = [frame(other, index) for index in (2, 1, 0)][::-1]
    assert forwards == backwards
    assert len(set(forwards)) == 3


def _patch(
    painter: Painter, frame: np.ndarray, centre_mm: tuple[float, float], half_mm: tuple[float, float]
) -> np.ndarray:
    (x, y), per_mm = painter.to_px(centre_mm, Pose()), painter.size_px / 370
    dx, dy = half_mm[0] * per_mm, half_mm[1] * per_mm
    return frame[round(y - dy) : round(y + dy), round(x - dx) : round(x + dx)].astype(int)


def test_opening_shows_the_inside_of_the_mouth(painter: Painter) -> None:
    areas = []
    for opening in (0.0, 0.35, 0.7, 1.05):
        shape = MouthShape(opening=opening, jaw=opening, teeth=0.0)
        frame = painter.paint(Pose(), Expression(), shape)
        areas.append(int((_patch(painter, frame, (0, MOUTH_Y + 4), (22, 16)).sum(axis=2) < 190).sum()))
    assert all(more > less + 15 for less, more in pairwise(areas)), areas


def test_the_drawn_gap_is_the_stated_gap() -> None:
    """The dark run in the middle column of a large, toothless mouth is as long as the geometry says."""
    large = Painter(samples.IDENTITIES["g-clara"], 512)
    shape = MouthShape(opening=0.9, jaw=0.9, teeth=0.0, tongue=-1.0)
    column = large.paint(Pose(), Expression(), shape)[:, round(large.to_px((0, 0), Pose())[0]) + 6].astype(int)
    middle = round(large.to_px((0, MOUTH_Y + 2), Pose())[1])
    lips = np.flatnonzero(column[middle - 30 : middle + 40, 0] > 120)
    gap = lips[lips > 30].min() - lips[lips < 30].max()
    stated = mouth_geometry(large.identity, shape).visible_gap / large.px_mm
    assert gap == pytest.approx(stated, abs=3.0)


def test_jaw_takes_the_chin_along(painter: Painter) -> None:
    still, dropped = (painter.paint(Pose(), Expression(), SHAPES[name]) for name in ("rest", "ah"))
    below_chin, forehead = (0, CHIN_Y * painter.identity.chin_length + 3), (0, -50)
    change = [np.abs(_patch(painter, dropped, at, (8, 3)) - _patch(painter, still, at, (8, 3))).mean()
              for at in (below_chin, forehead)]  # fmt: skip
    assert change[0] > 15
    assert change[1] < 1


def test_blink_covers_the_iris() -> None:
    painter, dark = Painter(replace(samples.IDENTITIES["g-clara"], iris=(50, 34, 26)), SIZE_PX), []
    for openness in (1.0, 0.5, 0.0):
        frame = painter.paint(Pose(), Expression(eyes=openness), SHAPES["rest"])
        dark.append(int((_patch(painter, frame, (PUPIL_X, -1), (5, 5)).sum(axis=2) < 300).sum()))
    assert dark[0] > dark[1] > dark[2]
    assert dark[2] < 0.35 * dark[0]


def test_brows_rise(painter: Painter) -> None:
    def brow_row(amount: float) -> float:
        frame = painter.paint(Pose(), Expression(brows=amount), SHAPES["rest"])
        darkness = np.clip(500 - _patch(painter, frame, (PUPIL_X, -24), (8, 10)).sum(axis=2), 0, None)
        return float((darkness.sum(axis=1) * np.arange(len(darkness))).sum() / darkness.sum())

    assert brow_row(1.0) < brow_row(0.0) - 1.0


@pytest.mark.parametrize("yaw", [5, -12])
def test_to_px_inverts_the_pose(painter: Painter, yaw: float) -> None:
    pose = Pose(roll=4, yaw=yaw, pitch=-3, x_mm=6, y_mm=-4, scale=1.03)
    x, y = painter.face_positions(pose)
    for point in ((0.0, MOUTH_Y), (PUPIL_X, 0.0), (-20.0, 40.0)):
        column, row = painter.to_px(point, pose)
        place = x[round(row), round(column)], y[round(row), round(column)]
        assert place == pytest.approx(point, abs=1.1 * painter.px_mm)


@pytest.mark.parametrize("view_mm", [195.0, 210.0, 260.0])
def test_a_close_up_keeps_the_face_under_motion(view_mm: float) -> None:
    """Forehead, cheeks and the chin of a wide open mouth stay in the picture at the ends of the head's motion."""
    close = Painter(Identity("male", chin_length=1.06), 64, view_mm)
    chin = CHIN_Y * 1.06 + mouth_geometry(close.identity, SHAPES["ah"]).jaw
    roll, yaw, pitch, x_mm, y_mm, nearer = LIVELY_LIMITS
    end = Pose(roll, yaw, pitch, x_mm, y_mm, 1 + nearer)
    for pose in (Pose(), end, replace(end, roll=-roll, yaw=-yaw, pitch=-pitch, x_mm=-x_mm, y_mm=-y_mm)):
        for point in ((0, -40), (70, 10), (-70, 10), (0, chin)):
            assert all(0 <= value < 64 for value in close.to_px(point, pose)), (point, pose)


def test_framing_is_seeded_and_checked() -> None:
    assert random_framing(3) == random_framing(3) != random_framing(4)
    assert 195 <= random_framing(3) <= 260
    assert Painter(Identity("male"), 64, 210).view_top_mm == view_top(210) > view_top(370) == -156
    with pytest.raises(OptionError, match="190 and 420"):
        Painter(Identity("male"), 64, 100)


def test_identities_are_seeded_and_checked() -> None:
    assert random_identity(5, "female") == random_identity(5, "female") != random_identity(6, "female")
    with pytest.raises(OptionError, match="long, bob"):
        Identity(gender="female", hair_style="mohawk")
    with pytest.raises(OptionError, match="64 and 2048"):
        Painter(Identity("male"), 32)


def test_identities_vary_in_every_look() -> None:
    """Of 60 people no look is the same for all, and the light comes from everywhere."""
    people = [vars(random_identity(seed, ("female", "male")[seed % 2])) for seed in range(60)]
    assert all(len({person[look] for person in people}) > 1 for look in people[0])
    assert min(person["light"] for person in people) < -0.8 < 0.8 < max(person["light"] for person in people)
    brightness = [sum(person["background"]) / 765 for person in people]
    assert min(brightness) < 0.2 < 0.8 < max(brightness)


@pytest.mark.parametrize("beard", BEARDS)
@pytest.mark.parametrize("glasses", GLASSES)
def test_beards_and_glasses_change_the_picture(beard: str, glasses: str) -> None:
    bare, worn = (
        Painter(Identity("male", hair_style="bald", beard=hairs, glasses=rims), 64).paint(
            Pose(), Expression(), SHAPES["rest"]
        )
        for hairs, rims in (("none", "none"), (beard, glasses))
    )
    assert np.array_equal(bare, worn) == (beard == glasses == "none")


def test_the_camera_takes_the_mouth_with_the_skin(painter: Painter) -> None:
    """Exposure, white balance and contrast act on skin, lips and teeth alike."""
    taken = Painter(replace(painter.identity, exposure=0.5, temperature=0.8), SIZE_PX)
    plain, warm = (by.paint(Pose(), Expression(), SHAPES["ee"]) for by in (painter, taken))
    for at in ((0, 40), (0, MOUTH_Y), (0, MOUTH_Y + 9)):
        red, _, blue = (_patch(painter, warm, at, (5, 3)) - _patch(painter, plain, at, (5, 3))).mean(axis=(0, 1))
        assert red > 8
        assert red > blue + 5


@pytest.mark.parametrize("seed", range(4))
def test_random_identities_paint_whole_pictures(seed: int) -> None:
    gender = ("female", "male")[seed % 2]
    frame = Painter(random_identity(seed, gender), 64).paint(Pose(), Expression(), SHAPES["eh"])
    assert frame.shape == (64, 64, 3)
    assert frame.dtype == np.uint8
    assert frame.std() > 20


def test_purposes_have_generators_of_their_own() -> None:
    """A longer clip begins with the shorter one's blinks, and other seeds blink elsewhere."""
    assert np.array_equal(blink_track(3, 100), blink_track(3, 200)[:100])
    assert not np.array_equal(blink_track(3, 100), blink_track(4, 100))
    assert min(blink_track(3, 200)) == 0.0
    poses = head_motion(3, 100, np.zeros(100))
    steps = np.diff([[pose.roll, pose.yaw, pose.x_mm] for pose in poses], axis=0)
    assert 0.005 < np.abs(steps).max() < 0.8  # moves, and smoothly


def test_liveliness_brings_turns_and_leans() -> None:
    """Speakers differ in how much they move, and none leaves the limits; without it all but sway."""
    loud = np.random.default_rng(0).random(200)
    spans = []
    for seed in range(12):
        poses = head_motion(seed, 200, loud, liveliness=1.0)
        values = np.array([[p.roll, p.yaw, p.pitch, p.x_mm, p.y_mm, p.scale - 1] for p in poses])
        assert (np.abs(values) <= LIVELY_LIMITS).all()
        assert np.abs(np.diff(values[:, 1])).max() < 2  # degrees a frame
        spans.append(np.ptp(values[:, 1]))
    assert max(spans) > 2.5 * min(spans)
    assert head_motion(3, 100, loud[:100]) == head_motion(3, 100, loud[:100], liveliness=0.0)


# --- clips and files


@needs_flite
def test_a_written_clip_is_whole_and_repeatable(tmp_path: Path) -> None:
    identity, words = random_identity(2, "male"), Voice("awb")
    clip = render_clip(identity, "Bob may move.", words, seed=1, size_px=64)
    write_clip(clip, tmp_path / "m-bob.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m-bob.json", "m-bob.mp4", "m-bob.wav"]
    again = render_clip(identity, "Bob may move.", words, seed=1, size_px=64)
    assert truth_json(again) == (tmp_path / "m-bob.json").read_text()
    assert all(np.array_equal(a, b) for a, b in zip(again.frames(), clip.frames(), strict=True))
    # The header of the file stands in front of its pictures, so that a browser can start before all is loaded.
    data = (tmp_path / "m-bob.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


@needs_flite
def test_an_interrupted_clip_leaves_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = render_clip(random_identity(2, "male"), "Bob may move.", Voice("awb"), seed=1, size_px=64)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(clip.painter, "paint", stop)
    with pytest.raises(KeyboardInterrupt):
        write_clip(clip, tmp_path / "m-bob.mp4")
    assert not list(tmp_path.glob("*.mp4")) and not list(tmp_path.glob(".*"))


@needs_flite
def test_make_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["make", "--output_dir", str(tmp_path), "--size", "64", "--seconds", "1", "--gender", "both"]
    assert command.main([*options, "--count", "1"]) == 0
    written = (tmp_path / "g-00001.mp4").stat().st_mtime_ns
    assert command.main([*options, "--count", "2"]) == 0
    assert (tmp_path / "g-00001.mp4").stat().st_mtime_ns == written
    assert (tmp_path / "m-00002.mp4").exists()
    assert command.main([*options, "--count", "1", "--seed", "9"]) == 2
    assert "made with other options" in capsys.readouterr().err


def test_the_command_names_the_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["make", "--output_dir", str(tmp_path), "--size", "255"]) == 2
    assert "even number" in capsys.readouterr().err
    missing = tmp_path / "none.txt"
    assert command.main(["make", "--output_dir", str(tmp_path), "--sentences", str(missing)]) == 2
    assert "none.txt" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        command.main(["make", "--output_dir", str(tmp_path), "--count", "0"])
    assert stopped.value.code == 2
    assert "from 1 to" in capsys.readouterr().err


def test_a_sheet_shows_every_person(tmp_path: Path) -> None:
    assert command.main(["sheet", "--output", str(tmp_path / "faces.png"), "--count", "2", "--size", "64"]) == 0
    assert (tmp_path / "faces.png").stat().st_size > 10_000


def test_the_library_stays_light() -> None:
    code = (
        "import sys, latentsync.speakers.samples; print([m for m in ('torch', 'hydra', 'wandb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- the shipped clips


def _truth(name: str) -> dict:
    return json.loads((samples.FOLDER / f"{name}.json").read_text())


def _column(truth: dict, name: str) -> np.ndarray:
    return np.array([row[truth["columns"].index(name)] for row in truth["truth"]])


def _wav(name: str) -> np.ndarray:
    with wave.open(str(samples.FOLDER / f"{name}.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)


def _frames(name: str) -> list[np.ndarray]:
    with av.open(str(samples.FOLDER / f"{name}.mp4")) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", samples.IDENTITIES)
def test_shipped_clip_agrees_with_its_truth(name: str) -> None:
    truth, sound = _truth(name), _wav(name)
    assert 3 <= len(sound) / 16_000 <= 4.05
    assert truth["frames"] == len(truth["truth"]) == math.ceil(len(sound) * 25 / 16_000)
    assert truth["samples"] == len(sound)
    with av.open(str(samples.FOLDER / f"{name}.mp4")) as container:
        video, track = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, video.average_rate, video.codec_context.name) == (512, 512, 25, "h264")
        assert video.frames == truth["frames"]
        assert track.rate == 16_000
        assert abs(float(video.duration * video.time_base) - float(track.duration * track.time_base)) < 0.04
        assert "ynthetic" in container.metadata["comment"]
        decoded = np.concatenate([part.to_ndarray()[0] for part in container.decode(audio=0)])
    lags = range(-1200, 1201, 8)
    middle = sound[16_000:32_000]
    match = [float(np.dot(decoded[16_000 + lag : 32_000 + lag], middle)) for lag in lags]
    assert abs(lags[int(np.argmax(match))]) <= 16  # 1 ms: the sound track and the wav start together


@pytest.mark.parametrize("name", samples.IDENTITIES)
def test_shipped_mouth_moves_wherever_it_is_heard(name: str) -> None:
    truth = _truth(name)
    sound = np.zeros(truth["frames"] * 640)
    sound[: truth["samples"]] = _wav(name)
    power = (sound.reshape(-1, 640) ** 2).mean(axis=1)
    phones = np.array([row[truth["columns"].index("phone")] for row in truth["truth"]])
    assert (phones[power > 0.1 * power.mean()] == "pau").mean() < 0.1  # the edges of a rest lie within frames
    gap = _column(truth, "lip_gap_px")
    assert all(half.max() > 8 for half in np.array_split(gap, 2))  # of 512 px


@pytest.mark.parametrize("name", samples.OTHER_SENTENCES)
def test_shipped_other_voices(name: str) -> None:
    assert 3 <= len(_wav(name)) / 16_000 <= 4.05


def test_shipped_files_are_small() -> None:
    bounds = {".mp4": 500_000, ".wav": 130_000, ".json": 60_000}
    sizes = {path: path.stat().st_size for path in samples.FOLDER.iterdir() if path.suffix in bounds}
    assert len(sizes) == 8
    assert all(size < bounds[path.suffix] for path, size in sizes.items()), sizes


@pytest.mark.slow
@needs_flite
@pytest.mark.parametrize("name", samples.IDENTITIES)
def test_shipped_truth_is_what_the_code_makes(name: str) -> None:
    """The samples are of this version of the code; `latentsync speakers samples` makes them again."""
    clip = render_clip(
        samples.IDENTITIES[name], samples.SENTENCES[name], samples.VOICES[name], samples.SEEDS[name], samples.SIZE_PX
    )
    shipped = _truth(name)
    if not np.array_equal(clip.speech.sound, _wav(name)):
        pytest.skip("this version of flite speaks otherwise than flite 2.2, which spoke the samples")
    content = json.loads(truth_json(clip))
    numbers = [np.array([row[:1] + row[3:] for row in truth.pop("truth")]) for truth in (content, shipped)]
    assert content == shipped
    assert np.allclose(*numbers, atol=0.02)
    painted = next(iter(clip.frames())).astype(float)
    assert np.abs(painted - _frames(name)[0]).mean() < 4  # but for the encoder's loss


@pytest.fixture(scope="module")
def landmarks_of():
    try:
        return MediaPipeLandmarks(refinements=0)
    except LatentSyncError as error:
        pytest.skip(f"MediaPipe's networks are not here: {error}")


@pytest.mark.parametrize("name", samples.IDENTITIES)
def test_mediapipe_follows_the_shipped_mouth(name: str, landmarks_of) -> None:
    """One face in every frame; the landmarks' lip gap follows the drawn one and the loudness of the sound."""
    landmarks = [landmarks_of(frame) for frame in _frames(name)]
    assert [len(faces) for faces in landmarks] == [1] * len(landmarks)
    points = np.array([faces[0][:, :2] for faces in landmarks])
    eyes = np.linalg.norm(points[:, [33, 133]].mean(axis=1) - points[:, [263, 362]].mean(axis=1), axis=1)
    gap = np.linalg.norm(points[:, 13] - points[:, 14], axis=1) / eyes
    truth = _truth(name)
    assert np.corrcoef(gap, _column(truth, "lip_gap_px"))[0, 1] > 0.9
    centre = np.stack([_column(truth, "mouth_x_px"), _column(truth, "mouth_y_px")], axis=1)
    assert np.abs(points[:, [13, 14]].mean(axis=1) - centre).mean() < 6  # of 512 px
    sound = np.zeros(len(gap) * 640)
    sound[: truth["samples"]] = _wav(name) / 32768
    energy = np.log((sound.reshape(-1, 640) ** 2).mean(axis=1) + 1e-6)
    scores = {lag: _correlation_at(gap, energy, lag) for lag in range(-15, 16)}
    peak = max(scores, key=scores.get)
    assert abs(peak) <= 1
    assert scores[peak] > max(score for lag, score in scores.items() if abs(lag - peak) > 3) + 0.15


def _correlation_at(gap: np.ndarray, energy: np.ndarray, lag: int) -> float:
    """Correlation of the gap with the energy `lag` frames earlier."""
    count = len(gap)
    shifted = gap[max(lag, 0) : count + min(lag, 0)], energy[max(-lag, 0) : count + min(-lag, 0)]
    return float(np.corrcoef(*shifted)[0, 1])
