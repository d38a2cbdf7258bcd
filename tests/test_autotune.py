"""The smallest guidance that reaches a score."""

import pytest
from short_clips import clip_folder

from latentsync.errors import OptionError
from latentsync.lab.commands.autotune import main
from latentsync.lab.jobs.search import Search, search_config
from latentsync.lab.records.store import RecordStore


def search(score, target=0.5, low=1.0, high=3.0, tolerance=0.1):
    return Search(low, high, tolerance, target, score)


def test_bisection_finds_the_grids_smallest_value_in_few_scores():
    for edge in (1.0, 1.04, 1.75, 2.95, 3.0):
        one = search(lambda guidance, edge=edge: 1.0 if guidance >= edge else 0.0)
        smallest = one.smallest()
        assert smallest >= edge > smallest - 0.1 - 1e-9 and len(one.seen) <= 2 + 5  # of 21 points
    assert search(lambda guidance: 0.4).smallest() is None
    uneven = search(lambda guidance: guidance, target=2.0, high=2.25, tolerance=0.5)
    assert uneven.smallest() == 2.0 and uneven.at(3) == 2.25  # the last step is shorter


def test_a_score_that_rises_and_falls_again_is_found():
    for peak in (1.3, 2.2, 2.75):
        one = search(lambda guidance, peak=peak: 0.5 - 0.2 * (guidance - peak) ** 2, target=0.499)
        assert one.smallest() == pytest.approx(peak, abs=0.1) and one.falls and len(one.seen) <= 13  # of 21 points
    one = search(lambda guidance: 0.5 - 0.2 * (guidance - 2.2) ** 2, target=0.449)
    assert one.smallest() == 1.7
    low = search(lambda guidance: 0.5 - 0.2 * (guidance - 2.2) ** 2, target=0.6)
    assert low.smallest() is None and low.best == pytest.approx(2.2)


def test_a_score_that_falls_with_guidance_is_told():
    scores = {1.0: 0.1, 2.0: 0.6, 1.5: 0.05, 3.0: 0.7}
    one = search(scores.get, tolerance=0.5)
    assert one.smallest() == 2.0
    assert one.falls == [(1.0, 1.5)]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"low": 0.5}, "give 1 <= low < high"),
        ({"low": 3.0}, "give 1 <= low < high"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"tolerance": 1e-9}, "at most 10000"),
        ({"target": float("nan")}, "target is nan"),
    ],
)
def test_a_search_without_sense_is_refused(settings, word):
    with pytest.raises(OptionError, match=word):
        search(lambda guidance: 0.0, **settings)


def test_a_measure_that_is_not_better_when_higher_is_refused():
    with pytest.raises(OptionError, match="lpips_alex are not better"):
        search_config([], "lpips_alex")
    with pytest.raises(OptionError, match="did you mean sampler.seed"):
        search_config(["sampler.sed=1"], "sync_mini_confidence")


def test_a_sweep_of_values_is_refused():
    with pytest.raises(OptionError, match="num_inference_steps=5,20 has several"):
        search_config(["sampler.num_inference_steps=5,20"], "sync_mini_confidence")


@pytest.mark.slow
def test_the_command_makes_the_records_it_asks_and_finds_them_again(tmp_path, capsys):
    clips, runs = clip_folder(tmp_path / "clips", 1.6, start_s=0.5), tmp_path / "runs"
    given = ["--tolerance", "1", "--gender", "female", "data=folder", f"data.input_dir={clips}", f"runs_dir={runs}"]
    given.append("sampler.num_inference_steps=1")
    assert main(["--target", "100", *given]) == 1
    assert "not reached up to guidance 3" in capsys.readouterr().out
    ids = {record.id for record in RecordStore(runs).all()}
    assert len(ids) == 3  # of guidance 1, 3 and, in search of a peak, 2
    assert main(["--target", "-1", *given]) == 0
    assert "guidance 1 reaches mini SyncNet confidence -1" in capsys.readouterr().out
    assert {record.id for record in RecordStore(runs).all()} == ids
    assert main(["--target", "1", "--pair", "m-x__m-y", *given]) == 2
    assert "there are g-clara__g-voice (female)" in capsys.readouterr().err
