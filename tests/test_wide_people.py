"""Wide people: as their seed says, within the ranges they state, turned as their truth tells; plain people stay."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from latentsync.errors import LatentSyncError, OptionError
from latentsync.faces.landmarks import MediaPipeLandmarks
from latentsync.lab.commands import speakers as command
from latentsync.speakers.identity import Identity, random_identity
from latentsync.speakers.mouth import mouth_geometry
from latentsync.speakers.painter import Expression, Painter, Pose
from latentsync.speakers.surface import MOUTH_Y, PUPIL_X
from latentsync.speakers.visemes import SHAPES, MouthShape
from latentsync.speakers.wide.covers import Cover
from latentsync.speakers.wide.looks import COVERS, OVERLAYS, ROOMS, Looks, random_person
from latentsync.speakers.wide.motion import LIMITS, wide_motion
from latentsync.speakers.wide.painter import WidePainter

SIZE_PX = 128
PEOPLE = [random_person(seed, ("female", "male")[seed % 2]) for seed in range(200)]
PLAIN_PEOPLE = "d3e9890d771c932625fabdde9e23af0044d4c5e94e3cd308d6338869617b676c"
PLAIN_PICTURE = [
    [90.05, 190.51, 195.51, 94.57],
    [112.91, 187.23, 192.2, 113.44],
    [100.1, 151.51, 148.92, 91.29],
    [91.55, 119.52, 120.2, 87.71],
]


@pytest.fixture(scope="module")
def painter() -> WidePainter:
    return WidePainter(Identity("female", seed=3), Looks(), SIZE_PX, 230.0)


def test_plain_people_are_those_of_before() -> None:
    """The looks of eight seeds to the last digit, and one picture but for the rounding of other processors."""
    looks = json.dumps([vars(random_identity(seed, gender)) for seed in range(4) for gender in ("female", "male")])
    assert hashlib.sha256(looks.encode()).hexdigest() == PLAIN_PEOPLE
    frame = Painter(random_identity(1, "male"), 96, 230.0).paint(Pose(yaw=5), Expression(), SHAPES["ah"])
    grid = frame.reshape(4, 24, 4, 24, 3).mean(axis=(1, 3, 4))
    assert np.abs(grid - PLAIN_PICTURE).max() < 0.5


def test_a_person_and_a_frame_follow_from_seed_and_arguments() -> None:
    def frame(index: int) -> bytes:
        person = WidePainter(*random_person(6, "male"), 64, 230.0)
        return person.paint(Pose(yaw=20), Expression(), SHAPES["ah"], index).tobytes()

    assert random_person(5, "female") == random_person(5, "female") != random_person(6, "female")
    assert frame(4) == frame(4) != frame(5)
    with pytest.raises(OptionError, match="hand, microphone"):
        Looks(cover="umbrella")


def test_people_differ_widely() -> None:
    skins = np.array([identity.skin for identity, _ in PEOPLE]).mean(axis=1)
    assert skins.min() < 60
    assert skins.max() > 210
    for name, choices in (("overlay", OVERLAYS), ("cover", COVERS), ("room", ROOMS)):
        assert {getattr(looks, name) for _, looks in PEOPLE} == set(choices)
    azimuths = [looks.azimuth for _, looks in PEOPLE]
    assert min(azimuths) < -80
    assert max(azimuths) > 80
    constant = [name for name in vars(Looks()) if len({getattr(looks, name) for _, looks in PEOPLE}) == 1]
    assert constant == []


def test_heads_turn_to_35_degrees_and_no_farther() -> None:
    poses = [pose for seed in range(60) for pose in wide_motion(seed, 75, np.zeros(75))]
    yaws, rolls, pitches = (np.abs([getattr(pose, name) for pose in poses]) for name in ("yaw", "roll", "pitch"))
    assert 30 < yaws.max() <= LIMITS[1] == 35
    assert 12 < rolls.max() <= LIMITS[0]
    assert 12 < pitches.max() <= LIMITS[2]
    assert np.median(yaws) < 15


@pytest.mark.parametrize("yaw", [-30, 0, 30])
def test_a_turned_head_shows_its_places_where_the_truth_says(painter: WidePainter, yaw: int) -> None:
    """For places that nothing hides; the tolerance is one pixel and a half, as a place lies between pixels."""
    pose = Pose(roll=8, yaw=yaw, pitch=-6, x_mm=5, y_mm=-4, scale=1.04)
    x, y = painter.face_positions(pose)
    for point in ((0.0, MOUTH_Y), (0.0, 20.0), (np.sign(-yaw) * PUPIL_X, 0.0)):
        column, row = painter.to_px(point, pose)
        place = x[round(row), round(column)], y[round(row), round(column)]
        assert place == pytest.approx(point, abs=1.5 * painter.px_mm / np.cos(np.deg2rad(yaw)))


@pytest.mark.parametrize("pose", [Pose(yaw=20), Pose(pitch=15), Pose(roll=15), Pose(scale=1.1), Pose(x_mm=9, y_mm=5)])
def test_angles_mean_what_they_mean_for_plain_people(painter: WidePainter, pose: Pose) -> None:
    """The tip of the nose goes the same way."""
    plain = Painter(painter.identity, SIZE_PX, 230.0)
    ways = [by.to_px((0.0, 30.0), pose) - by.to_px((0.0, 30.0), Pose()) for by in (plain, painter)]
    assert np.dot(*ways) > 0.9 * np.linalg.norm(ways[0]) * np.linalg.norm(ways[1]) > 0


def test_a_nose_hides_the_cheek_behind_it(painter: WidePainter) -> None:
    x, y = painter.face_positions(Pose(yaw=35))
    row = np.abs(y[:, SIZE_PX // 2] - 35).argmin()
    shown = x[row][np.abs(x[row]) < 60]
    assert np.diff(shown).max() > 4 * painter.px_mm  # a jump from the tip of the nose to the far cheek
    assert np.all(np.diff(shown) > -painter.px_mm)


@pytest.mark.parametrize("yaw", [0, 28])
def test_the_drawn_gap_is_the_stated_gap(yaw: int) -> None:
    """The dark run along the middle line of a large, toothless mouth is as long as the truth says."""
    looks = Looks(noise=0.0, chroma_noise=0.0, blur=0.1, lower_teeth=0.0, azimuth=0.0)
    person, pose = WidePainter(Identity("female", seed=3), looks, 512, 220.0), Pose(yaw=yaw)
    shape = MouthShape(opening=0.9, jaw=0.9, teeth=0.0, tongue=-1.0)
    frame, geometry = person.paint(pose, Expression(), shape).astype(int), mouth_geometry(person.identity, shape)
    column, row = (round(value) for value in person.to_px((0.0, MOUTH_Y + 2.0), pose))
    bright = np.flatnonzero(frame[row - 60 : row + 80, column, 0] > 95)
    gap = bright[bright > 60].min() - bright[bright < 60].max()
    assert gap == pytest.approx(person.gap_px(geometry, pose), abs=0.15 * gap)


def test_a_nod_foreshortens_the_gap(painter: WidePainter) -> None:
    geometry = mouth_geometry(painter.identity, SHAPES["ah"])
    assert painter.gap_px(geometry, Pose(yaw=20)) == pytest.approx(painter.gap_px(geometry, Pose()), rel=0.06)
    nods = [painter.gap_px(geometry, Pose(pitch=pitch)) for pitch in (-18, 18)]  # depths add to one what they take
    assert np.mean(nods) == pytest.approx(np.cos(np.deg2rad(18)) * painter.gap_px(geometry, Pose()), rel=0.02)


@pytest.mark.parametrize("kind", COVERS[1:])
def test_covers_hide_the_mouth_for_a_part_of_a_clip(kind: str) -> None:
    identity, looks = random_person(9, "female")
    looks = replace(looks, cover=kind, cover_share=0.3)
    cover = Cover(identity, looks, scale=0.5)
    hidden = np.array([cover.hides(number) for number in range(500)])
    assert 0.2 < hidden.mean() < 0.5
    person = WidePainter(identity, looks, 64, 230.0)
    column, row = np.round(person.to_px((0.0, MOUTH_Y), Pose())).astype(int)
    numbers = int(np.flatnonzero(hidden)[len(np.flatnonzero(hidden)) // 2]), int(np.flatnonzero(~hidden)[0])
    bare = WidePainter(identity, replace(looks, cover="none"), 64, 230.0)
    covered, free = (
        np.abs(
            person.paint(Pose(), Expression(), SHAPES["ah"], number).astype(int)
            - bare.paint(Pose(), Expression(), SHAPES["ah"], number)
        )[row - 5 : row + 6, column - 5 : column + 6].mean()
        for number in numbers
    )
    assert covered > 10
    assert covered > 2 * free


def test_mediapipe_follows_a_turned_mouth() -> None:
    """One face in each frame of a head turned by 25 degrees; its lip gap follows the drawn one."""
    try:
        landmarks_of = MediaPipeLandmarks(refinements=1)
    except LatentSyncError as error:
        pytest.skip(f"MediaPipe's networks are not here: {error}")
    identity, looks = random_person(2, "female")
    person = WidePainter(identity, replace(looks, cover="none", noise=1.0, blur=0.3), 256, 230.0)
    names, pose, gaps = ("rest", "ah", "ee", "bilabial", "uh", "ih", "sibilant", "ae", "oh"), Pose(yaw=25), []
    for number, name in enumerate(names):
        faces = landmarks_of(person.paint(pose, Expression(), SHAPES[name], number))
        assert len(faces) == 1
        drawn = person.gap_px(mouth_geometry(identity, SHAPES[name]), pose)
        gaps.append((np.linalg.norm(faces[0][13, :2] - faces[0][14, :2]), drawn))
    assert np.corrcoef(np.array(gaps).T)[0, 1] > 0.85


def test_a_wide_clip_tells_its_looks_and_another_kind_is_refused(tmp_path, capsys) -> None:
    asked = ["make", "--output_dir", str(tmp_path), "--count", "1", "--size", "64", "--seconds", "1", "--gender", "m"]
    assert command.main([*asked, "--kind", "wide"]) == 0
    facts = json.loads((tmp_path / "m-00001.json").read_text())
    assert facts["kind"] == "wide"
    assert len(facts["mouth_hidden"]) == facts["frames"]
    assert facts["looks"].keys() == vars(Looks()).keys()
    assert command.main(asked) == 2
    assert "other options" in capsys.readouterr().err
