"""A clip of two people, and one in which the face is missing: from the choice to lines, tables, pages and previews."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from record_content import content
from short_clips import cut

from latentsync import LipsyncPipeline, media
from latentsync.errors import FaceNotFoundError, MediaError
from latentsync.faces.geometry import apply_affine, inverse_affine
from latentsync.faces.landmarks import MediaPipeLandmarks
from latentsync.files import write_json
from latentsync.lab.cells.outcome import Outcome, outcome_line
from latentsync.lab.commands.batch import main
from latentsync.lab.figures.mouths import mouth_rows
from latentsync.lab.figures.previews import MOUTH_SIZE_PX, mouth_path
from latentsync.lab.figures.sheets import PreviewWindow, preview_sheet
from latentsync.lab.options.compose import configured
from latentsync.lab.options.pairs import SHIPPED_DIR, read_pairs
from latentsync.lab.options.schema import read_config
from latentsync.lab.records.labels import varied
from latentsync.lab.records.store import RECORD_FILE, RESULT_FILE, Record

pytestmark = pytest.mark.slow

FRAMES, SIDE_PX = 10, 256
NOTE = "5 of 10 frames have no face and are the clip's own"
FAST = {"num_inference_steps": 1, "guidance_scale": 1.0}


def shrunk(name, count=FRAMES):
    frames = media.read_frames(SHIPPED_DIR / f"{name}.mp4", stop=count)
    return [np.ascontiguousarray(frame[::2, ::2]) for frame in frames]


def written(path, frames):
    height, width = frames[0].shape[:2]
    with media.VideoWriter(path, width, height) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The two shipped speakers side by side, the woman on the left, and a voice."""
    folder = tmp_path_factory.mktemp("two")
    sides = zip(shrunk("g-clara"), shrunk("m-oskar"), strict=True)
    cut(folder / "voice.wav", SHIPPED_DIR / "g-clara.wav", 1.0, FRAMES / 25)
    return written(folder / "two.mp4", [np.hstack(pair) for pair in sides]), folder / "voice.wav"


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A folder with a clip whose face is missing in the second half, and a voice."""
    folder = tmp_path_factory.mktemp("half")
    frames = shrunk("g-clara")
    written(folder / "g-half.mp4", frames[:5] + [np.full_like(frames[0], 128)] * 5)
    cut(folder / "g-voice.wav", SHIPPED_DIR / "g-clara.wav", 1.0, FRAMES / 25)
    return folder


@pytest.fixture(scope="module")
def pipe(untrained):
    return LipsyncPipeline.from_pretrained(untrained, device="cpu", dtype="float32")


@pytest.mark.parametrize(("face", "side"), [("left", 0), ("right", 1), (2, 1), (f"{SIDE_PX // 2},{SIDE_PX // 2}", 0)])
def test_only_the_chosen_one_speaks(pipe, two, face, side):
    output = pipe(*two, output_type="np", face=face, **FAST)
    made = (output.frames[0] * 255).round().astype(int)
    source = np.stack(list(media.read_frames(two[0])))
    change = np.abs(made - source).max((0, 1, 3))
    spoken, silent = np.split(change, [SIDE_PX]) if side == 0 else np.split(change, [SIDE_PX])[::-1]
    assert spoken.max() > 5 and silent.max() == 0
    assert output.options.flat()["face"] == str(face) and output.frames_without_face == 0


def test_a_clip_below_the_least_share_is_refused_and_leaves_nothing(pipe, half, tmp_path):
    clip, voice, out = half / "g-half.mp4", half / "g-voice.wav", tmp_path / "out.mp4"
    with pytest.raises(FaceNotFoundError, match=r"in 5 of 10 frames of g-half.mp4, a share of 0.5, .* is 0.6; choose"):
        pipe(clip, voice, out, min_face_share=0.6, **FAST)
    assert not list(tmp_path.iterdir())
    output = pipe(clip, voice, out, min_face_share=0.5, **FAST)
    assert (output.num_frames, output.frames_without_face) == (10, 5)


def test_lines_and_sidecars_say_how_many_frames_have_no_face(half, tmp_path, capsys):
    arguments = [
        "--input_dir", str(half), "--output_dir", str(tmp_path), "sampler.num_inference_steps=1", "metrics=none",
        "tracker=none", f"runs_dir={tmp_path}/runs",
    ]  # fmt: skip
    for end in ("done in", "cached"):
        assert main(arguments) == 0
        (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("[1/1]"))
        assert end in line and NOTE in line
    facts = json.loads((tmp_path / "g-half__g-voice.json").read_text())
    assert facts["video"]["frames_without_face"] == 5 and facts["notes"] == [NOTE]


def test_a_line_without_notes_ends_with_its_status():
    config = read_config(configured(["tracker=none"]))
    done = Outcome("g-a__g-a", "female", 1.8, "done", "12", 3.0)
    assert outcome_line(done, config).endswith("done in 3.0 s")
    assert outcome_line(replace(done, notes=(NOTE,)), config).endswith(f"done in 3.0 s ({NOTE})")


def test_a_line_names_the_models_own_steps_where_they_are_known():
    config = read_config(configured(["tracker=none"]))
    done = Outcome("g-a__g-a", "female", 1.8, "done", "12", 3.0, num_inference_steps=4)
    assert outcome_line(done, config).startswith("guidance 1.8, 4 steps, seed 1247 ")
    assert outcome_line(replace(done, num_inference_steps=None), config).startswith("guidance 1.8, seed 1247 ")


# --- lists ---


def listed(folder, *lines):
    for name in ("c.mp4", "v.wav"):
        (folder / name).touch()
    path = folder / "pairs.csv"
    path.write_text("\n".join(["clip,voice,gender,face", *lines]))
    return read_pairs(path).pairs


def test_a_list_chooses_faces_of_one_clip_under_names_of_their_own(tmp_path):
    pairs = listed(
        tmp_path, "c.mp4,v.wav,female,left", "c.mp4,v.wav,male, 2", 'c.mp4,v.wav,male,"320, 240"', "c.mp4,v.wav,,"
    )
    assert [pair.face for pair in pairs] == ["left", "2", "320,240", None]
    assert [pair.name for pair in pairs] == ["c__v__left", "c__v__2", "c__v__320x240", "c__v"]


def test_a_wrong_face_of_a_list_is_named_with_its_line(tmp_path):
    with pytest.raises(MediaError, match=r"pairs.csv, line 3: face is 'leftt'; .* \(did you mean left\?\)"):
        listed(tmp_path, "c.mp4,v.wav,female,left", "c.mp4,v.wav,male,leftt")


def test_faces_that_a_list_chooses_are_no_settings_but_swept_ones_are():
    rows = [{"clip": "c", "voice": "v", "pair": f"c__v__{face}", "face": face} for face in ("left", "right")]
    assert varied(pd.DataFrame(rows)) == []
    assert varied(pd.DataFrame([row | {"pair": "c__v"} for row in rows])) == ["face"]


# --- pictures ---


def record_of(folder, clip, face):
    """A record whose result is the clip itself."""
    folder.mkdir()
    (folder / RESULT_FILE).symlink_to(clip)
    facts = {"name": clip.name, "sha256": "0", "path": "/nowhere"}
    made = content(folder.name, "two__voice", clip=facts, voice=facts)
    write_json(folder / RECORD_FILE, {**made, "options": {**made["options"], "face": face}})
    return Record(folder)


@pytest.mark.parametrize(("face", "first_px"), [("left", 0), ("right", SIDE_PX)])
def test_mouths_in_pages_and_widgets_are_the_chosen_ones(two, tmp_path, face, first_px):
    def side(matrix, size):
        x, _ = apply_affine(inverse_affine(matrix), *(np.array([length / 2]) for length in size))
        return first_px <= x[0] < first_px + SIDE_PX

    assert all(side(matrix, MOUTH_SIZE_PX) for matrix in mouth_path(two[0], face, FRAMES, face=face))
    shown = mouth_rows([record_of(tmp_path / "r", two[0], face)], MediaPipeLandmarks(), 1).results[0][0]
    frame = next(media.read_frames(two[0]))[:, first_px : first_px + SIDE_PX]
    alone = written(tmp_path / "alone.mp4", [np.ascontiguousarray(frame)] * FRAMES)
    expected = mouth_rows([record_of(tmp_path / "a", alone, "largest")], MediaPipeLandmarks(), 1).results[0][0]
    assert np.abs(shown.astype(int) - expected).mean() < 6


def window(level, place):
    faces = np.full((2, 64, 64, 3), level, np.uint8)
    return PreviewWindow(faces, faces, np.full((40, 60, 3), place, np.uint8))


def test_a_sheet_draws_the_place_once_and_again_where_a_cell_chooses_another_face():
    one, other = window(10, 1), window(20, 2)

    def rows_of(cells):
        return [len(axis.images) for axis in preview_sheet(cells).axes]

    assert rows_of({"a": {"p": one}, "b": {"p": one}}) == [1] * 4  # place, clip, two cells
    assert rows_of({"left": {"p": one}, "right": {"p": other}}) == [1] * 6
    assert rows_of({"a": {"p": one, "q": other}, "b": {"p": one}}) == [1, 1, 1, 1, 1, 1, 1, 0]
