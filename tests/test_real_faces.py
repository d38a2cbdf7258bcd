"""The evaluation on recordings of real people, for which painted clips stand, and of several models side by side."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import stats

from latentsync import media
from latentsync.checkpoints.model import INDEX_FILE, MODELS_DIR
from latentsync.errors import MediaError, OptionError
from latentsync.faces.geometry import apply_affine
from latentsync.lab.commands import evaluate
from latentsync.lab.evaluation import comparison, report
from latentsync.lab.evaluation.bars import bars_for
from latentsync.lab.evaluation.reconstruction import block_interval, follows, scaled_affine
from latentsync.lab.evaluation.recordings import LEAST_MOVED, Recordings, own_sync
from latentsync.lab.evaluation.rows import Bar, Row, row_of_differences, row_of_means
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.pages.studies import embedded_model
from latentsync.media import VideoWriter
from latentsync.media.excerpt import excerpt
from latentsync.metrics.articulation import LIPS, jaw_distances
from latentsync.metrics.temporal import CHIN

# --- bars and rows ---


def test_a_bar_holds_for_the_value_the_whole_interval_or_every_clip():
    each = {"a": 0.4, "b": 0.7}

    def row(bar: Bar, interval=(0.3, 0.8)) -> Row:
        return Row("r", "p", "", "", 0.55, interval, 2, bar, {"input": 0.6}, each=each)

    assert (
        row(Bar(0.5)).passed and not row(Bar(0.5, scope="interval")).passed and not row(Bar(0.5, scope="each")).passed
    )
    assert row(Bar(0.3, scope="interval")).passed and row(Bar(0.4, scope="each")).passed
    assert not row(Bar(0.3, scope="interval"), None).passed  # of too few clips there is no interval
    assert row(Bar(0.5, most=0.56)).passed and not row(Bar(0.5, most=0.54)).passed
    assert row(Bar(0.5, most=0.56)).idle_baselines == [] and row(Bar(0.5)).idle_baselines == ["input"]
    assert str(Bar(0.9, most=1.05)) == "0.9 .. 1.05" and str(Bar(0, False, scope="each")) == "<= 0 (every clip)"
    assert bars_for(256)["vae"].bound > bars_for(128)["vae"].bound


def test_a_row_of_differences_is_paired_by_case():
    after, before = {"a": 1.0, "b": 2.0, "c": 4.0}, {"c": 3.5, "a": 0.5, "b": 1.0}
    row = row_of_differences("r", "p", "", "", after, before, Bar(0, False, scope="interval"))
    expected = stats.ttest_rel([1.0, 2.0, 4.0], [0.5, 1.0, 3.5]).confidence_interval(0.95)
    assert row.value == pytest.approx(2 / 3) and row.interval == pytest.approx(tuple(expected))
    assert row.each == {"a": 0.5, "b": 1.0, "c": 0.5} and not row.passed


def test_the_table_keeps_bars_of_every_form():
    bars = {"a": Bar(0.5), "b": Bar(0.5, most=0.9), "c": Bar(0.5, False, scope="each"), "d": None}
    rows = [row_of_means(name, "p", "", "", {"x": 0.6, "y": 0.7}, bar) for name, bar in bars.items()]
    table = report.frame([report.entry(row, 1.0) for row in rows])
    assert table["bar"].tolist() == [">= 0.5", "0.5 .. 0.9", "<= 0.5 (every clip)", ""]
    assert table["passed"].tolist()[:3] == [True, True, False] and pd.isna(table["passed"][3])
    page = embedded_model(table).text
    assert "| `b` |" in page and "| 0.5 .. 0.9 | yes |" in page and "| <= 0.5 (every clip) | **no** |" in page
    assert table["bound"].tolist()[:2] == [0.5, 0.5] and math.isnan(table["bound"][2])  # no bound for the value itself


# --- measures ---


def test_the_jaw_is_compared_by_the_eyes_and_without_the_lips():
    points = np.random.default_rng(0).normal(0, 20, (30, 468, 2))
    points[:, [33, 133]], points[:, [362, 263]] = (-30, 0), (30, 0)
    turn = np.array([[0.8, 0.6], [-0.6, 0.8]])
    moved = 3 * points @ turn + [100, 40]
    moved[:, LIPS] += 50
    assert jaw_distances(moved, points) == pytest.approx(np.zeros(30), abs=1e-9)
    moved[:, CHIN] += 3 * np.array([0, 6.0]) @ turn  # a tenth of the eyes' distance down
    assert jaw_distances(moved, points) == pytest.approx(np.full(30, 0.1))


def test_an_affine_for_other_crops_shows_the_same_part_of_the_frame():
    matrix = np.array([[0.3, 0.1, -7.0], [-0.1, 0.3, 4.0]])
    small, large = (apply_affine(scaled_affine(matrix, 128, size), 50.0, 80.0) for size in (128, 256))
    assert large + 0.5 == pytest.approx(2 * (small + 0.5))  # edges of pixels scale, centres do not


def test_an_interval_within_a_clip_is_wider_when_neighbours_are_alike():
    draw = np.random.default_rng(0)
    alike = np.repeat(draw.normal(size=20), 10)[None]
    low, high = block_interval(alike, 10)
    naive_low, naive_high = block_interval(alike, 1)
    assert low < alike.mean() < high and high - low > 2 * (naive_high - naive_low)
    both = np.stack([alike[0], alike[0] * 3 + 1])
    assert block_interval(both, 10) == pytest.approx((1, 1))


def test_lips_without_a_truth_have_no_value_and_results_without_a_face_follow_nothing():
    gap, unseen = np.random.default_rng(0).uniform(0, 1, 60), np.full(60, np.nan)
    assert follows(gap, gap) == pytest.approx(1)
    assert follows(unseen, gap) == 0 and np.isnan(follows(gap, unseen))


def embeddings(offset: int, number: int = 120) -> tuple[torch.Tensor, torch.Tensor]:
    """Random unit vectors as lips and speech, the lips `offset` windows later."""
    speech = torch.nn.functional.normalize(torch.rand(number, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    return torch.roll(speech, offset, 0), speech


def test_lips_in_sync_beat_every_other_place_of_their_speech():
    lips, speech = embeddings(offset=2)
    scores, chance = own_sync(lips, speech)
    assert scores.sync_mini_offset == 2 and chance == pytest.approx(1 / (120 - 2 * LEAST_MOVED + 2))
    _, chance = own_sync(torch.roll(lips, 60, 0), speech)  # a place that shifts do not reach, but moves do
    assert chance > 0.05
    with pytest.raises(ValueError, match="61 windows of speech; at least 62"):
        own_sync(*embeddings(0, 61))


# --- recordings ---


def damaged_copy(clip: Path, target: Path) -> None:
    target.write_bytes(clip.read_bytes()[:4000])


def faceless(target: Path, frames: int = 30) -> None:
    with VideoWriter(target, 64, 64) as writer:
        for level in range(frames):
            writer.write(np.full((64, 64, 3), 60 + level, np.uint8))


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """A folder of clips, one good and in sync, and every kind of bad one."""
    folder = tmp_path_factory.mktemp("people")
    clara = SHIPPED_DIR / "g-clara.mp4"
    good = excerpt(clara, folder, 1.0, 2.1)
    for name, seconds, silent in (("short", 1.4, False), ("mute", 1.4, True)):
        excerpt(clara, folder / name, 1.0, seconds, height_px=256, silent=silent).rename(folder / f"{name}.mp4")
    assert good == folder / "g-clara.mp4"
    damaged_copy(clara, folder / "cut.mp4")
    faceless(folder / "grey.mp4")
    (folder / "notes.txt").write_text("of the recording")
    return folder


@pytest.mark.slow
def test_the_syncnet_finds_which_clip_is_in_sync(tmp_path):
    shutil.copy(SHIPPED_DIR / "g-clara.mp4", tmp_path / "true.mp4")
    frames = list(media.read_frames(SHIPPED_DIR / "g-clara.mp4", 25.0))
    with VideoWriter(tmp_path / "late.mp4", 512, 512, sound=SHIPPED_DIR / "g-clara.wav") as writer:
        for frame in [frames[0]] * 8 + frames[:-8]:
            writer.write(frame)
    clips = {clip.video.stem: clip for clip in Recordings(tmp_path).clips}
    assert clips["true"].is_in_sync and abs(clips["true"].offset) <= 1 and clips["true"].chance <= 0.05
    assert not clips["late"].is_in_sync and clips["late"].offset == pytest.approx(8, abs=1)
    assert "its offset in frames is" in clips["late"].why


@pytest.mark.slow
def test_every_bad_clip_is_left_out_with_a_sentence(people):
    recordings = Recordings(people)
    clips = {clip.name: clip for clip in recordings.clips}
    assert set(clips) == {"g-clara.mp4", "short.mp4", "mute.mp4"} and not any(
        clip.is_in_sync for clip in clips.values()
    )
    assert "too few to judge its sync" in clips["short.mp4"].why and "--in-sync" in clips["short.mp4"].why
    assert clips["mute.mp4"].why == "it has no sound"
    assert set(recordings.left_out) == {"cut.mp4", "grey.mp4"}
    assert "face" in recordings.left_out["grey.mp4"] and "cut.mp4" in recordings.left_out["cut.mp4"]
    named = {clip.name: clip.is_in_sync for clip in Recordings(people, ["g-clara"]).clips}
    assert named == {"g-clara.mp4": True, "short.mp4": False, "mute.mp4": False}


def test_a_missing_or_empty_folder_and_unknown_names_are_refused(tmp_path, people):
    with pytest.raises(MediaError, match="there is no folder at"):
        _ = Recordings(tmp_path / "nowhere").clips
    with pytest.raises(MediaError, match="has no video"):
        _ = Recordings(tmp_path).clips
    with pytest.raises(OptionError, match="--in-sync names g-klara, which is not in .*did you mean g-clara"):
        _ = Recordings(people, ["g-klara"]).clips
    assert Recordings(tmp_path).digest is None and Recordings(people).digest != Recordings(people, ["short"]).digest


# --- side by side ---


def content_of(values: dict[str, float], **more) -> dict:
    row = row_of_means("lip", "lip", "lips", "", values, Bar(0.5), baselines={"frozen mouth": 0.1}, note="a note")
    return {"model": "m", "trained": True, "syncnet_trained": True, "rows": [report.entry(row, 1.0)], **more}


def test_models_are_compared_clip_by_clip(tmp_path):
    contents = {
        "a": content_of({"x": 0.4, "y": 0.5, "z": 0.9}),
        "b": content_of({"z": 0.8, "y": 0.7, "x": 0.5, "only b": 0.0}),
    }
    (one,) = comparison.differences(contents)
    expected = stats.ttest_rel([0.5, 0.7, 0.8], [0.4, 0.5, 0.9]).confidence_interval(0.95)
    assert (
        one["n"] == 3 and one["value"] == pytest.approx(0.2 / 3) and one["interval"] == pytest.approx(tuple(expected))
    )
    text = comparison.write(tmp_path, contents)
    assert "b less a" in text
    table = (tmp_path / "comparison.md").read_text()
    assert "| lip | 0.6 (" in table and ">= 0.5: pass; frozen mouth 0.1 | 0.5 (" in table and "+0.0667" in table
    frame = pd.read_parquet(tmp_path / "comparison.parquet")
    assert frame["model"].tolist() == ["a", "b"] and frame["n"].tolist() == [3, 4]
    assert json.loads((tmp_path / "comparison.json").read_text())["differences"][0]["model"] == "b"


def test_models_with_one_name_and_options_that_do_not_fit_are_refused(tmp_path, capsys):
    for arguments, message in (
        (["--models", "mini"], "give two or more models"),
        (["--models", "mini,other/mini"], "names or folders differ"),
        (["--in-sync", "a"], "give their folder with --real"),
        (["--rows", "faces"], "give their folder with --real"),
    ):
        assert evaluate.main([*arguments, "--output", str(tmp_path)]) == 2
        assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_real_people_are_evaluated_by_models_of_either_size(tmp_path, people, capsys):
    large = tmp_path / "large"  # the same weights with larger crops, which they never saw
    shutil.copytree(MODELS_DIR / "mini", large)
    index = json.loads((large / INDEX_FILE).read_text()) | {"size_px": 256}
    (large / INDEX_FILE).write_text(json.dumps(index))
    output = tmp_path / "out"
    command = ["--quick", "--rows", "faces", "--workers", "1", "--output", str(output)]
    models = ["--models", f"mini,{large}", "--in-sync", "g-clara,short"]
    assert evaluate.main([*command, *models, "--real", str(people)]) == 0
    for name in ("mini-quick", "large-quick"):
        content = json.loads((output / name / "evaluation.json").read_text())
        rows = {row["name"]: row for row in content["rows"]}
        assert {row["part"] for row in rows.values()} == {"faces"}
        assert rows["faces_vae"]["n"] == 3 and rows["faces_vae"]["value"] > 20
        assert set(content["recordings"]["left_out"]) == {"cut.mp4", "grey.mp4", "short.mp4"}
        assert "reference=elsewhere needs a face" in content["recordings"]["left_out"]["short.mp4"]
        for measure in ("mouth_psnr", "mouth_lpips", "lip", "jaw", "seam_colour", "seam_gradient", "jitter"):
            row = rows[f"faces_{measure}"]
            assert list(row["each"]) == ["g-clara.mp4"] and set(row["baselines"]) == {
                "copied reference",
                "frozen mouth",
            }
            assert "g-clara.mp4" in row["note"] and np.isfinite(row["value"])
            assert "; the autoencoder alone " in row["note"]
        assert rows["faces_mouth_lpips_copied"]["value"] == pytest.approx(
            rows["faces_mouth_lpips"]["value"] - rows["faces_mouth_lpips"]["baselines"]["copied reference"]
        )
        assert rows["faces_lip"]["baselines"]["frozen mouth"] < 0.5
        assert rows["faces_sync"]["baselines"]["frozen mouth"] < 0.5  # of the clip's own
        (sheet,) = (output / name / "sheets").iterdir()
        assert sheet.name == "g-clara.mp4.png" and Image.open(sheet).size[0] > 1000
        assert "| mute.mp4 | no | it has no sound |" in (output / name / "evaluation.md").read_text()
    table = (output / "comparison.md").read_text()
    assert "| faces_vae |" in table and "large-quick" not in table and "large less mini" in table
    capsys.readouterr()
    assert evaluate.main([*command, "--real", str(tmp_path / "no")]) == 1
    assert "there is no folder at" in " ".join(capsys.readouterr().out.split())
