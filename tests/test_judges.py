"""A judge of sync that fails on real clips, or likes results better: all that shows its scores says so."""

import shutil

import pandas as pd
import pytest
from record_content import content
from written_sweep import write_sweep

from latentsync.errors import OptionError
from latentsync.files import write_json
from latentsync.lab.analysis.answers import answers
from latentsync.lab.analysis.calibration import calibrated
from latentsync.lab.analysis.measured import means_text
from latentsync.lab.commands.report import main as report
from latentsync.lab.commands.view import main as view
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.pages.reasons import reasons_of
from latentsync.lab.pages.tables import gather_tables
from latentsync.lab.records.store import METRICS_FILE, RecordStore
from latentsync.lab.tables.tidy import collect, collect_wide, read_table, widen, write_table
from latentsync.lab.tracking.trackers import config_of
from latentsync.metrics.definitions import entry
from latentsync.metrics.judges import failure_notes
from latentsync.metrics.suspects import SUSPECT

FAILS = "mini SyncNet fails on the real clip"
CLIPS = [f"{name}.mp4" for name in ("anna", "ben", "cara", "dora", "eve", "fay")]


def values(offset=0.0, confidence=0.5, generated=0.45):
    """Values of the embedded SyncNet for a result and its real clip."""
    return {
        "sync_mini_confidence": generated, "sync_mini_confidence_real": confidence,
        "sync_mini_confidence_minus_real": generated - confidence, "sync_mini_offset": 0.0,
        "sync_mini_offset_real": offset, "sync_mini_offset_minus_real": -offset,
    }  # fmt: skip


@pytest.mark.parametrize(
    "real, number",
    [
        ({"sync_mini_offset_real": 2, "sync_mini_confidence_real": 0.25}, 0),
        ({"sync_mini_offset_real": -3, "sync_mini_confidence_real": 0.5}, 1),
        ({"sync_mini_offset_real": 0, "sync_mini_confidence_real": 0.2}, 1),
        ({"sync_mini_offset_real": None, "sync_mini_confidence_real": None}, 0),
        ({"lse_offset_mediapipe_crop_real": 9, "lse_c_mediapipe_crop_real": 6, "landmark_sync_lag_real": 0}, 1),
        ({"lse_offset_real": 0, "lse_c_real": 2.9}, 1),
        ({"landmark_sync_lag_real": 4, "landmark_sync_peak_real": 0.1}, 1),
        ({"landmark_sync_lag_real": 0, "landmark_sync_peak_real": 0.1}, 0),
    ],
)
def test_a_judge_fails_on_a_real_clip_with_a_far_offset_or_a_low_confidence(real, number):
    assert len(failure_notes(real)) == number


def test_a_record_says_where_its_judge_fails(tmp_path):
    store = RecordStore(tmp_path)
    for name, offset in (("0001", 7.0), ("0002", 0.0)):
        with store.new(name) as folder:
            (folder / "result.mp4").touch()
            metrics = {metric: entry(metric, value) for metric, value in values(offset).items()}
            write_json(folder / METRICS_FILE, metrics)
            write_json(folder / "record.json", content(name, f"{name}__{name}", "female", 1, 1.5))
    bad, good = (store.look_or_complain(name) for name in ("0001", "0002"))
    assert any(reason.text.startswith(FAILS) for reason in reasons_of(bad))
    assert not any(FAILS in reason.text for reason in reasons_of(good))
    assert FAILS in config_of(bad.content, bad.metrics)["notes"] and not config_of(good.content, good.metrics)["notes"]
    for table in (collect(tmp_path), collect_wide(tmp_path)):
        notes = table.drop_duplicates("record").set_index("record")["notes"]
        assert FAILS in notes["0001"] and pd.isna(notes["0002"])


def measured(model: str, generated: float, far: str = "", broken: str = "", folder=None) -> pd.DataFrame:
    """A table as `latentsync measure` writes it; the real clip `far` has an offset, and `broken` was not measured."""
    rows = []
    for number, clip in enumerate(CLIPS):
        own = values(7.0 if clip == far else 0.0, 0.4 + 0.01 * number, generated + 0.011 * number)
        own["lpips_alex_mouth"] = 0.05 + 0.001 * number * (1 + len(model) % 3)
        facts = {
            "record": f"{model}-{number}", "pair": clip.removesuffix(".mp4"), "clip": clip, "voice": clip,
            "gender": "female", "group": None, "model": model, "preset": "measured", "seed": 0, "video_frames": 50,
            "notes": "", "video_file": f"{folder}/{model}-{clip}", "reference_file": f"{folder}/{clip}",
        }  # fmt: skip
        for metric, value in own.items():
            is_broken = clip == broken
            reason = "the file ends early" if is_broken else None
            rows.append(facts | {"metric": metric, "value": None if is_broken else value, "reason": reason})
    return pd.DataFrame(rows).astype({"value": float, "notes": str})


def test_suspect_results_and_failing_judges_are_told_of_measured_videos():
    plain, far = measured("plain", 0.38), measured("far", 0.55, far="ben.mp4")
    assert SUSPECT not in " ".join(means_text(plain).split()) and "fails" not in means_text(plain)
    text = " ".join(means_text(far).split())
    assert "0.1525 *" in text and SUSPECT in text and "mini SyncNet fails on 1 of 6 real clips" in text
    both = pd.concat([widen(plain), widen(far)])
    text = answers(both, "plain", "model").text
    assert "mini SyncNet fails on 1 of 6 real clips" in " ".join(text.split())
    assert "fails on" not in answers(both, "plain", "model", ["lpips_alex_mouth"]).text
    cells = both.assign(guidance_scale=both["model"].map({"plain": 1.0, "far": 2.0}), num_inference_steps=20)
    table = calibrated(cells.drop(columns="model")).set_index(["guidance_scale", "metric"])
    assert table.loc[(2.0, "sync_mini_confidence"), ["suspect", "failing"]].tolist() == [True, 1]
    assert table.loc[(1.0, "sync_mini_confidence"), ["suspect", "failing"]].tolist() == [False, 0]


def test_models_are_compared_though_the_guidance_of_one_depends_on_the_gender():
    table = pd.concat([widen(measured("plain", 0.38)), widen(measured("ours", 0.4))])
    gender = ["female", "male"] * 6
    guidance = [None if model == "plain" else 1.8 for model in table["model"]]
    table = table.assign(gender=gender, guidance_scale=guidance)
    table.loc[(table["model"] == "ours") & (table["gender"] == "male"), "guidance_scale"] = 1.3
    found = answers(table, "plain", "model", ["sync_mini_confidence"]).comparisons.iloc[0]
    assert found["units"] == 6 and found["difference"] == pytest.approx(0.02)


@pytest.mark.slow
def test_a_report_shows_tables_of_several_programs_and_records_beside_them(tmp_path, capsys):
    shutil.copy(SHIPPED_DIR / "g-clara.mp4", tmp_path / "far-anna.mp4")
    shutil.copy(SHIPPED_DIR / "g-clara.mp4", tmp_path / "anna.mp4")
    (tmp_path / "far-ben.mp4").write_text("no video, and of no concern to the page")
    for name, generated in (("plain", 0.38), ("far", 0.55)):
        write_table(measured(name, generated, "ben.mp4", "cara.mp4", tmp_path), tmp_path / f"{name}.csv")
    tables = [str(tmp_path / f"{name}.csv") for name in ("plain", "far")]
    assert report([*tables, "--baseline", "plain", "--videos", "link"]) == 0
    html = (tmp_path / "plain.html").read_text()
    assert "mini SyncNet fails on 1 of 5 real clips" in html and "the file ends early" in html and SUSPECT in html
    assert '<a href="#failures">2 failed</a>' in html and "far minus plain" in html
    assert 'src="far-anna.mp4"' in html and 'src="anna.mp4"' in html and "is not where it was measured" in html
    assert "far-ben.mp4" not in html
    assert "1 of 6 clips have no value" in html and "records/" not in html

    write_sweep(tmp_path / "runs", "guidance")
    output = tmp_path / "mixed.html"
    runs = [str(tmp_path / "runs"), tables[0]]
    assert report([*runs, "--pairs", "g-clara__g-clara,anna", "--videos", "link", "--output", str(output)]) == 0
    mixed = output.read_text()
    assert 'src="runs/records/' in mixed and "plain" in mixed and "mini" in mixed

    for wrong, words in (
        ([tables[0], "--baseline", "none"], "no record has model=none"),
        ([tables[0], "--column", "colour"], "no column colour"),
        ([str(tmp_path / "runs"), "--column", "model"], "needs a table"),
        ([str(tmp_path / "runs"), str(tmp_path)], "give one runs folder, or tables"),
        ([str(tmp_path / "nowhere.csv")], "there is no table at"),
    ):
        assert report(wrong) == 2 and words in " ".join(capsys.readouterr().err.split())
    write_table(read_table(tables[0]).assign(value=float("nan")), tmp_path / "empty.csv")
    with pytest.raises(OptionError, match="no value of a known metric"):
        gather_tables([tmp_path / "empty.csv"])
    assert view([tables[0], "--no-browser"]) == 2 and "latentsync report" in capsys.readouterr().err
