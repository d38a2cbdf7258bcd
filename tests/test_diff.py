"""`latentsync diff`: what two records were made of and how their metrics differ, beside the spread between seeds."""

import json
import math

import pytest
from record_content import sound_record

from latentsync.lab.commands.diff import main
from latentsync.lab.jobs.differences import differences


@pytest.fixture
def runs(tmp_path):
    """Three seeds at guidance 1.8 with confidences of 0.1, 0.2, 0.3, and one at 1.3 with 0.6 and an LPIPS."""
    made = [sound_record(tmp_path, seed, seed=seed) for seed in (1, 2, 3)]
    made.append(sound_record(tmp_path, 4, seed=1, guidance_scale=1.3))
    for record, value in zip(made, (0.1, 0.2, 0.3, 0.6), strict=True):
        metrics = json.loads(record.metrics_path.read_text())
        metrics["sync_mini_confidence"]["value"] = value
        if value == 0.6:
            metrics["lpips_alex"] |= {"value": 0.04, "reason": None}
        record.metrics_path.write_text(json.dumps(metrics))
    return tmp_path, made


def test_a_difference_stands_beside_the_spread_between_seeds(runs):
    _, (first, *_, other) = runs
    found = differences(first, other)
    assert [(fact.name, fact.values) for fact in found.facts] == [("guidance", ("1.8", "1.3"))]
    by_name = {one.name: one for one in found.metrics}
    confidence = by_name["sync_mini_confidence"]
    assert confidence.difference == pytest.approx(0.5)
    assert confidence.spread == pytest.approx(0.1) and confidence.num_seeds == 3  # one seed at 1.3 has no spread
    assert by_name["sync_mini_offset"].spread == 0 and by_name["sync_mini_offset"].difference == 0
    assert math.isnan(by_name["lpips_alex"].difference) and by_name["lpips_alex"].spread is None
    assert by_name["lpips_alex"].reasons == ("no frame shows a face", None)


def test_two_seeds_of_one_setting_count_their_seeds_once(runs):
    _, (first, second, *_) = runs
    found = differences(first, second)
    assert [(fact.name, fact.values) for fact in found.facts] == [("seed", ("1", "2"))]
    assert {one.num_seeds for one in found.metrics if one.spread is not None} == {3}


def test_the_command_shows_both_tables_and_reasons(runs, capsys):
    folder, (first, *_, other) = runs
    assert main([first.id, str(other.folder), "--runs", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert f"A is record {first.id}, B is record {other.id}" in printed
    assert "0.1 (3 seeds)" in printed and "+0.5" in printed
    assert "- A has no LPIPS: no frame shows a face" in printed
    assert main([first.id, first.id, "--runs", str(folder)]) == 0
    assert "made of the same clip, voice, model, options and versions" in capsys.readouterr().out


def test_a_record_that_is_not_there_or_damaged_is_named(runs, capsys):
    folder, (first, *_, other) = runs
    assert main([first.id, "0123456789abcdef", "--runs", str(folder)]) == 2
    assert "no record at 0123456789abcdef" in capsys.readouterr().err
    (other.folder / "record.json").write_text("{")
    assert main([first.id, other.id, "--runs", str(folder)]) != 0
    captured = capsys.readouterr()
    assert "record.json" in captured.err and "Traceback" not in captured.err + captured.out
