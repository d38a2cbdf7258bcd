"""The evaluation of the embedded model: its arithmetic on known numbers, its material, and one quick run of it all."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import MediaError
from latentsync.lab.analysis.intervals import difference_interval, mean_interval, ratio_interval, share_interval
from latentsync.lab.commands import evaluate
from latentsync.lab.evaluation import report
from latentsync.lab.evaluation.kept import CASES_FILE, KeptCases
from latentsync.lab.evaluation.material import FIRST_SEED, pieces_of
from latentsync.lab.evaluation.painted import verdict
from latentsync.lab.evaluation.parts import PARTS
from latentsync.lab.evaluation.rows import Bar, Row
from latentsync.metrics.articulation import (
    LIPS,
    gap_correlation,
    lip_motion,
    lip_width,
    mouth_distances,
    silent_frames,
    silent_motion,
)
from latentsync.metrics.reconstruction import psnr_db
from latentsync.pipeline import LipsyncPipeline
from latentsync.speakers.real_speech import find_recordings
from latentsync.speakers.voice import Phone, Speech, Voice, speak

pytestmark = pytest.mark.slow

# --- measures ---


def test_lips_that_follow_correlate_whatever_their_scale_and_offset():
    truth = np.abs(np.random.default_rng(0).normal(size=80))
    assert gap_correlation(0.02 * truth + 0.3, truth) == pytest.approx(1)
    assert gap_correlation(-0.02 * truth + 0.3, truth) == pytest.approx(-1)
    assert gap_correlation(np.full(80, 0.3), truth) == 0  # still lips follow nothing
    unseen = 0.02 * truth
    unseen[::7] = np.nan
    assert gap_correlation(unseen, truth) == pytest.approx(1)
    assert lip_motion(unseen) == pytest.approx(0.02 * truth[np.arange(80) % 7 > 0].std())


def test_gaps_that_cannot_be_compared_are_refused():
    truth, few = np.ones(30), np.full(30, np.nan)
    few[:24] = 0.1
    with pytest.raises(ValueError, match="24 frames show a face; at least 25"):
        gap_correlation(few, truth)
    with pytest.raises(ValueError, match="one value per video frame"):
        gap_correlation(np.ones(29), truth)


def test_lips_are_compared_by_the_eyes_wherever_and_however_large_the_face_is():
    points = np.random.default_rng(0).normal(0, 20, (30, 468, 2))
    points[:, [33, 133]], points[:, [362, 263]] = (-30, 0), (30, 0)
    turn = np.array([[0.8, 0.6], [-0.6, 0.8]])
    moved = 3 * points @ turn + [100, 40]
    assert mouth_distances(moved, points) == pytest.approx(np.zeros(30), abs=1e-9)
    moved[:, LIPS] += 3 * np.array([0, 6.0]) @ turn  # a tenth of the eyes' distance down
    moved[4] = np.nan
    distances = mouth_distances(moved, points)
    assert np.isnan(distances[4]) and np.delete(distances, 4) == pytest.approx(np.full(29, 0.1))
    points[:, 61], points[:, 291] = (-12, 30), (18, 30)
    assert lip_width(3 * points @ turn) == pytest.approx(np.full(30, 0.5))
    with pytest.raises(ValueError, match="29 and 30 frames"):
        mouth_distances(moved[1:], points)


def test_motion_in_silence_counts_rest_by_rest_and_no_frame_beside_speech():
    energy = np.full(90, -20.0)
    energy[20:50] = energy[60:] = -60
    assert np.flatnonzero(silent_frames(energy)).tolist() == [*range(25, 45), *range(65, 90)]
    gap = np.random.default_rng(0).uniform(0, 1, 90)  # wild in speech and 0.2 s around it
    gap[25:45], gap[65:] = 0.3, 0.5
    assert silent_motion(gap, energy) == (pytest.approx(0, abs=1e-9), 45)
    gap[25:45:2] += 0.1
    assert silent_motion(gap, energy)[0] == pytest.approx(0.05 * np.sqrt(20 / 45))
    assert silent_motion(gap, np.full(90, -20.0)) == (None, 0)
    assert silent_motion(np.full(90, 0.1), np.full(90, -60.0)) == (pytest.approx(0, abs=1e-9), 90)


def test_psnr_of_known_errors():
    black = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    assert psnr_db(black, black) == math.inf
    assert psnr_db(black, black + 255) == pytest.approx(0, abs=1e-5)
    assert psnr_db(black, black + 10) == pytest.approx(20 * math.log10(25.5))
    half = torch.zeros(8, 8, dtype=torch.bool)
    half[:, :4] = True
    other = black.clone()
    other[..., 4:] = 200
    assert psnr_db(black, other, half) == math.inf
    assert psnr_db(black, other) == pytest.approx(20 * math.log10(255 / 200) + 10 * math.log10(2))
    with pytest.raises(ValueError, match="both must be uint8"):
        psnr_db(black.float(), black.float())


# --- intervals and rows ---


def test_intervals_agree_with_scipy():
    values = [0.2, 0.5, 0.4, 0.9]
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected)
    assert mean_interval([0.5]) is None
    wilson = stats.binomtest(19, 20).proportion_ci(0.95, method="wilson")
    assert share_interval(0.95, 20) == pytest.approx((wilson.low, wilson.high))
    assert share_interval(1.0, 20)[1] == pytest.approx(1)
    paired = stats.ttest_rel([1.0, 2.0, 4.0], [0.5, 1.0, 3.5]).confidence_interval(0.95)
    assert difference_interval([1.0, 2.0, 4.0], [0.5, 1.0, 3.5]) == pytest.approx((paired.low, paired.high))


def test_the_interval_of_a_ratio_lies_around_it_and_is_drawn_in_pairs():
    lower = np.random.default_rng(1).uniform(1, 3, 30)
    assert ratio_interval(0.8 * lower, lower) == pytest.approx((0.8, 0.8))
    low, high = ratio_interval(0.8 * lower[::-1], lower)
    assert low < 0.8 < high
    assert ratio_interval([0.0, 1.0], [0.0, 0.0]) is None


@pytest.mark.parametrize(
    "steps, whole, word",
    [
        ([(0.1, 0.2), (0.1, 0.2)], (0.2, 0.4), "rising"),
        ([(-0.1, 0.2), (-0.1, 0.2)], (0.01, 0.4), "rising"),
        ([(-0.1, 0.2), (-0.1, 0.2)], (-0.1, 0.4), "flat"),
        ([(0.1, 0.2), (-0.3, -0.1)], (-0.1, 0.4), "rising, then falling"),
        ([(-0.2, -0.1), (-0.1, 0.1)], None, "falling"),
    ],
)
def test_a_verdict_says_what_the_intervals_say(steps, whole, word):
    assert verdict(steps, whole) == word


def test_a_bar_that_a_baseline_reaches_is_told():
    row = Row("lip", "lip", "", "", 0.8, (0.7, 0.9), 20, Bar(0.75), {"output = input": 0.1, "frozen mouth": 0.76})
    assert row.passed and row.idle_baselines == ["frozen mouth"]
    assert not Row("lip", "lip", "", "", None, None, 20, Bar(0.75)).passed
    assert Row("guidance", "guidance", "", "", 0.1, None, 20).passed is None
    void = Row("sync", "sync", "", "", 0.99, None, 20, Bar(0.95), {"output = input": 1.0}, is_void=True)
    assert void.passed is None and void.idle_baselines == []  # no judge, no verdict
    assert Bar(0.25, at_least=False).holds(0.2) and str(Bar(0.25, at_least=False)) == "<= 0.25"


def test_rows_become_a_table_that_is_read_as_it_was_written(tmp_path):
    rows = [
        Row("lip", "lip", "lips", "", 0.8, (0.7, 0.9), 20, Bar(0.75), {"output = input": 0.1, "frozen mouth": 0.2}),
        Row("silence", "silence", "rest", "", 0.1, (0.05, 0.2), 12, Bar(0.15, at_least=False)),
        Row("guidance", "guidance", "more", "", None, None, 0, reason="no voice"),
    ]
    table = report.frame([report.entry(row, 1.0) for row in rows])
    table.to_parquet(tmp_path / "evaluation.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "evaluation.parquet"), table)
    assert table["row"].tolist() == ["lip", "silence", "guidance"] and table["n"].tolist() == [20, 12, 0]
    lip, silence, guidance = table.to_dict("records")
    assert [lip[name] for name in ("value", "low", "high", "bound", "frozen mouth")] == [0.8, 0.7, 0.9, 0.75, 0.2]
    assert lip["is_least"] and not silence["is_least"] and silence["bound"] == 0.15
    assert math.isnan(silence["frozen mouth"]) and math.isnan(guidance["bound"]) and math.isnan(guidance["value"])


def test_cases_are_kept_for_later_runs_of_the_same_identity_and_measured_anew_once(tmp_path):
    counts = iter(range(9))

    def value_in(kept: KeptCases) -> float:
        number, nothing = kept.of("dub", "g-00", lambda: {"lips": (next(counts), math.nan)})["lips"]
        assert math.isnan(nothing)
        return number

    path = tmp_path / CASES_FILE
    kept = KeptCases(path, {"plan": 1})
    assert [value_in(kept), value_in(kept), value_in(KeptCases(path, {"plan": 1}))] == [0, 0, 0]
    assert value_in(KeptCases(path, {"plan": 2})) == 1
    path.write_text(path.read_text()[:-9])  # damaged
    kept = KeptCases(path, {"plan": 2})
    assert value_in(kept) == 2
    assert kept.of("guidance", "g-00", lambda: [7]) == [7]
    kept = KeptCases(path, {"plan": 2})
    kept.anew = True
    assert [value_in(kept), value_in(kept), value_in(KeptCases(path, {"plan": 2}))] == [3, 3, 3]
    later = KeptCases(path, {"plan": 2})
    assert later.of("guidance", "g-00", lambda: pytest.fail("what was not asked for was lost")) == [7]
    with pytest.raises(TypeError, match="not JSON serializable"):
        kept.of("dub", "m-01", lambda: np.float32(0))


# --- material ---


def test_no_training_can_draw_a_held_out_person():
    drawn = np.random.SeedSequence([0, 0]).generate_state(1)  # as latentsync speakers draws a person's seed
    assert np.iinfo(drawn.dtype).max < FIRST_SEED


def test_pieces_of_a_speech_tile_it_and_begin_with_frames():
    sound = np.arange(round(7.1 * SOUND_RATE_HZ)).astype(np.int16)
    phones = (Phone("pau", 0.0, 1.0), Phone("ah", 1.0, 5.0), Phone("m", 5.0, 7.1))
    pieces = pieces_of(Speech(sound, phones))
    assert np.array_equal(np.concatenate([piece.sound for piece in pieces]), sound)
    assert [len(piece.sound) % 640 for piece in pieces[:-1]] == [0]
    first, second = (piece.phones for piece in pieces)
    assert [p.name for p in first] == ["pau", "ah"] and [p.name for p in second] == ["ah", "m"]
    assert first[-1].end_s == pytest.approx(pieces[0].duration_s) and second[0].start_s == 0
    assert second[-1].end_s == pytest.approx(pieces[1].duration_s)
    assert len(pieces_of(Speech(sound[:SOUND_RATE_HZ], phones[:1]))) == 1


# --- the command ---


def missing() -> str | None:
    """What of the speech is not installed."""
    try:
        speak("Bob", Voice("slt"))
        find_recordings()
        import pocketsphinx  # noqa: F401
    except (MediaError, ImportError) as error:
        return str(error)
    return None


MISSING = missing()


def table_of(folder) -> str:
    return (folder / "evaluation.md").read_text()


@pytest.mark.skipif(MISSING is not None, reason=f"speech is missing: {MISSING}")
def test_a_quick_run_measures_every_row_and_no_case_twice(tmp_path, capsys, monkeypatch):
    arguments = ["--quick", "--workers", "1", "--output", str(tmp_path)]
    assert evaluate.main(arguments) == 0
    content = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    rows = {row["name"]: row for row in content["rows"]}
    assert [row["part"] for row in content["rows"]] == sorted(
        (r["part"] for r in content["rows"]), key=list(PARTS).index
    )
    assert {row["part"] for row in content["rows"]} == set(PARTS) - {"faces"} and len(rows) == 18
    for row in rows.values():
        assert row["n"] >= 1 and row["protocol"] and (row["value"] is None) == (row["reason"] is not None)
        assert isinstance(row["passed"], bool) or row["bar"] is None or row["is_void"]
    for name in ("lip", "lip_of_ceiling", "real", "sync_confidence"):
        assert set(rows[name]["baselines"]) == {"output = input", "frozen mouth"}
    assert not any(rows[name]["idle_baselines"] for name in ("lip", "lip_of_ceiling", "real"))
    if not content["syncnet_trained"]:  # no judge, no verdict
        assert {row["part"] for row in rows.values() if row["is_void"]} == {"sync", "sync_confidence", "guidance"}
        assert "| void |" in table_of(tmp_path) and rows["sync_confidence"]["passed"] is None
    for name in ("self_psnr", "self_mouth_lpips", "jaw"):
        assert set(rows[name]["baselines"]) == {"copied reference", "frozen mouth"}
    alone = {name: float(rows[name]["note"].removeprefix("the autoencoder alone ")) for name in ("self_psnr", "jaw")}
    assert alone["self_psnr"] > rows["self_psnr"]["value"] + 2 and alone["jaw"] < rows["jaw"]["value"]
    mouths = rows["self_mouth_lpips"]
    for name in ("copied", "frozen"):
        (baseline,) = (value for label, value in mouths["baselines"].items() if label.startswith(name))
        assert rows[f"self_mouth_lpips_{name}"]["value"] == pytest.approx(mouths["value"] - baseline)
    assert "ceiling 0.9" in rows["lip"]["note"]  # the drawn mouth can be measured
    table = table_of(tmp_path)
    assert report.text(content) in capsys.readouterr().out
    assert all(f"| {name} |" in table for name in rows)
    (tmp_path / "evaluation.json").rename(tmp_path / "all.json")  # as if it had stopped before the first row was done
    with monkeypatch.context() as patch:
        patch.setattr(LipsyncPipeline, "generate", lambda *_: pytest.fail("a case was generated again"))
        assert evaluate.main([*arguments, "--rows", "lip,real,self,silence,sync_confidence,guidance"]) == 0
    for row in json.loads((tmp_path / "evaluation.json").read_text())["rows"]:
        assert (row["value"], row["interval"]) == (rows[row["name"]]["value"], rows[row["name"]]["interval"])
    (tmp_path / "all.json").replace(tmp_path / "evaluation.json")
    assert evaluate.main([*arguments, "--rows", "vae"]) == 0  # the other rows stay
    again = json.loads((tmp_path / "evaluation.json").read_text())
    assert {row["name"]: row["value"] for row in again["rows"]} == {name: row["value"] for name, row in rows.items()}
    assert evaluate.main(arguments) == 0  # nothing is missing, so nothing is measured or written
    assert json.loads((tmp_path / "evaluation.json").read_text()) == again


def test_an_unknown_row_is_refused(tmp_path, capsys):
    assert evaluate.main(["--rows", "vae,lips", "--output", str(tmp_path)]) == 2
    assert "lips; choose some of vae, sync, lip" in capsys.readouterr().err
