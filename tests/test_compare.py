"""The command that compares the settings of a sweep: what it prints agrees with what it writes and computes."""

import pandas as pd
import pytest
from sweep_tables import sweep_table

from latentsync.errors import OptionError
from latentsync.lab.analysis.comparisons import as_presets, compare_all, interactions, swept_beside
from latentsync.lab.analysis.conclusions import (
    comparison_frame,
    conclusion,
    interaction_frame,
    setting_of,
)
from latentsync.lab.commands.compare import main
from latentsync.lab.records.labels import word_of
from latentsync.lab.tables.tidy import read_source, read_table, write_table
from latentsync.presets import Preset

SYNC = "sync_mini_confidence_minus_real"


@pytest.fixture
def table() -> pd.DataFrame:
    """A sweep of two settings of guidance over 16 women's and 8 men's clips, where only women gain."""
    women = sweep_table(16, {1.0: -2.0, 2.0: -1.0})
    men = sweep_table(8, {1.0: -2.0, 2.0: -2.0}, "male", seed=1)
    both = pd.concat([women, men], ignore_index=True).rename(columns={"sync": SYNC})
    both[SYNC] -= 5
    seconds = both["guidance_scale"] * 4
    return both.assign(num_inference_steps=20, scheduler="ddim", change_lpips_alex=0.1, seconds=seconds)


def test_the_command_says_and_writes_what_the_comparison_finds(table, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    write_table(table.astype({"num_inference_steps": int}), tmp_path / "table.csv")
    arguments = [str(tmp_path / "table.csv"), "--baseline", "1", "--metrics", SYNC, "change_lpips_alex"]
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    comparisons = compare_all(table, [SYNC, "change_lpips_alex"], "guidance_scale", 1.0)
    pd.testing.assert_frame_equal(read_table(tmp_path / "comparisons.csv"), comparisons, check_exact=True)
    assert all(verdict in said for verdict in comparisons["verdict"]) and "more in female than in male" in said
    front = pd.read_csv(tmp_path / "front.csv")
    assert front["on_front"].tolist() == [True, True]  # 2 is nearer to the real clips, 1 is faster
    assert f"Pareto front of {word_of(SYNC)} (distance from the best), seconds:" in said  # a change has no better


def test_records_are_compared_where_all_else_that_was_swept_agrees(table):
    twice = pd.concat([table, table.assign(scheduler="unipc", num_inference_steps=10)])
    assert swept_beside(table, "guidance_scale") == []
    assert swept_beside(twice, "guidance_scale") == ["num_inference_steps", "scheduler"]
    assert swept_beside(twice, "scheduler") == ["guidance_scale", "num_inference_steps"]
    assert swept_beside(twice, "preset") == ["num_inference_steps", "scheduler"]  # a preset is a guidance


def test_different_clips_of_one_name_are_different_clips(table, tmp_path):
    hashes = ["aa" * 32, *["bb" * 32] * (len(table) - 1)]
    named = table.assign(clip=["g-a.mp4", "g-a.mp4", *table["clip"][2:]], clip_sha256=hashes, voice_sha256="cc" * 32)
    write_table(named, tmp_path / "table.csv")
    rows = read_source(tmp_path / "table.csv", None)
    assert rows["clip"].tolist()[:3] == ["g-a.mp4 aaaaaaaa", "g-a.mp4 bbbbbbbb", table["clip"][2]]
    assert (rows["voice"] == table["voice"]).all()


def test_mistakes_are_told_with_what_there_is(table, tmp_path, capsys):
    assert setting_of(table, "num_inference_steps", "20") == 20 and setting_of(table, "scheduler", "ddim") == "ddim"
    with pytest.raises(OptionError, match="choose one of 1, 2"):
        setting_of(table, "guidance_scale", "high")
    write_table(table, tmp_path / "table.csv")
    assert main([str(tmp_path / "table.csv"), "--baseline", "3"]) == 2
    assert "guidance_scale=3.0" in capsys.readouterr().err
    assert main([str(tmp_path), "--baseline", "1"]) == 2
    assert "no finished record" in capsys.readouterr().err


def test_presets_are_read_off_a_sweep_over_guidance_and_a_conclusion_goes_with_its_test(table):
    presets = [Preset("own", female=2.0, male=1.0), Preset("neutral", female=1.0, male=1.0)]
    by_preset = as_presets(table, presets)
    assert len(by_preset) == len(table) and set(by_preset["preset"]) == {"own", "neutral"}
    own = by_preset[by_preset["preset"] == "own"]
    assert own.groupby("gender")["guidance_scale"].unique().map(list).to_dict() == {"female": [2.0], "male": [1.0]}
    with pytest.raises(OptionError, match="guidance 3 for female clips; .* 1, 2"):
        as_presets(table, [Preset("own", female=3.0)])
    rows = by_preset.rename(columns={SYNC: "sync_mini_confidence"})
    rows["lpips_alex"] = (rows["guidance_scale"] == 2) + rows["sync_mini_confidence"] / 100
    comparisons = compare_all(rows, ["sync_mini_confidence", "lpips_alex", "change_lpips_alex"], "preset", "neutral")
    better, worse, equal = (conclusion(row) for row in comparisons.itertuples())
    assert "; better (higher" in better and "; worse (higher" in worse and "no conclusion (equal" in equal
    frame = comparison_frame(comparisons, "preset")
    assert frame["verdict"].tolist() == comparisons["verdict"].tolist()
    genders = interactions(table, SYNC, "guidance_scale", 1.0, [])
    assert interaction_frame(genders)["verdict"].tolist() == [one.verdict for one in genders]
