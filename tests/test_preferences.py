"""Bradley-Terry strengths of votes: known answers, coverage of intervals, and votes that decide nothing."""

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from latentsync.errors import OptionError
from latentsync.lab.analysis.preferences import LEFT, NEITHER, RIGHT, fit
from latentsync.lab.figures.ratings import rating_figure


def votes_of(*counted, clips=20, raters=1) -> pd.DataFrame:
    """Votes from (left, right, vote, number), dealt out over clips and raters."""
    answers = [(left, right, vote) for left, right, vote, number in counted for _ in range(number)]
    rows = [
        {
            "rater": f"r{i % raters}",
            "clip": f"c{i % clips}",
            "by": "guidance_scale",
            "left": a,
            "right": b,
            "vote": vote,
        }
        for i, (a, b, vote) in enumerate(answers)
    ]
    return pd.DataFrame(rows)


def test_two_settings_have_the_log_odds_of_their_wins_whatever_the_side():
    votes = votes_of((1.0, 2.0, RIGHT, 18), (2.0, 1.0, LEFT, 12), (1.0, 2.0, LEFT, 4), (2.0, 1.0, RIGHT, 6))
    fitted = fit(votes)
    assert list(fitted["setting"]) == [1.0, 2.0] and list(fitted["wins"]) == [10, 30]
    assert fitted["strength"].tolist() == pytest.approx([-math.log(3) / 2, math.log(3) / 2])
    assert fitted["preferred"].tolist() == pytest.approx([0.5, 0.75]) and fitted["votes"].tolist() == [40, 40]
    turned = fit(votes, baseline=2.0)
    assert turned["preferred"].tolist() == pytest.approx([0.25, 0.5])


def test_a_vote_for_neither_is_half_a_vote_for_each():
    ties = fit(votes_of((1.0, 2.0, LEFT, 10), (1.0, 2.0, RIGHT, 20), (1.0, 2.0, NEITHER, 10)))
    assert ties["preferred"].tolist()[1] == pytest.approx(25 / 40) and ties["ties"].tolist() == [10, 10]


def test_the_curvature_is_that_of_a_logistic_model():
    fitted = fit(votes_of((1.0, 2.0, RIGHT, 30), (1.0, 2.0, LEFT, 10), clips=3))
    assert (
        fitted["interval"][0].startswith("curvature of the likelihood")
        and "3 clips and 1 rater" in fitted["interval"][0]
    )
    reach = 1.959964 / math.sqrt(40 * 0.75 * 0.25)
    high = 1 / (1 + math.exp(-(math.log(3) + reach)))
    assert fitted["preferred_high"][1] == pytest.approx(high, abs=1e-6)
    assert fitted["high"][1] - fitted["strength"][1] == pytest.approx(reach / 2, abs=1e-6)


def simulated(rng, strengths, clips, raters=1, spread=0.0) -> pd.DataFrame:
    """A vote of each rater on every two settings of each clip; a clip adds a draw of its own to each strength."""
    rows = []
    for clip in range(clips):
        own = {setting: value + spread * rng.normal() for setting, value in strengths.items()}
        for rater in range(raters):
            for left, right in combinations(strengths, 2):
                is_left = rng.random() < 1 / (1 + math.exp(own[right] - own[left]))
                rows.append((f"r{rater}", f"c{clip}", "seed", left, right, LEFT if is_left else RIGHT))
    return pd.DataFrame(rows, columns=["rater", "clip", "by", "left", "right", "vote"])


@pytest.mark.slow
@pytest.mark.parametrize(("clips", "raters", "spread"), [(30, 1, 0.0), (25, 1, 0.6), (9, 6, 0.0)])
def test_strengths_are_recovered_and_their_intervals_cover_them(clips, raters, spread):
    flatter = 1 / math.sqrt(1 + 0.35 * 2 * spread**2)  # what a clip's own draws make of the odds over all clips
    rng, true = np.random.default_rng(7), np.array([-0.6, 0.1, 0.5]) * flatter
    covered, strengths = [], []
    for _ in range(80):
        fitted = fit(simulated(rng, {1: -0.6, 2: 0.1, 3: 0.5}, clips, raters, spread), prior=0.01)
        covered.append((fitted["low"] <= true) & (fitted["high"] >= true))
        strengths.append(fitted["strength"])
        assert fitted["interval"][0].startswith("bootstrap over clips" if clips >= 10 else "curvature")
    assert np.mean(strengths, axis=0) == pytest.approx(true, abs=0.08)
    assert 0.91 <= np.mean(covered) <= 0.99


def test_raters_are_drawn_anew_where_there_are_enough():
    rng = np.random.default_rng(0)
    label = fit(simulated(rng, {1: 0.0, 2: 0.3}, clips=12, raters=6))["interval"][0]
    assert label == "bootstrap over clips and raters (12 clips and 6 raters)"


def test_settings_that_were_never_compared_are_refused_by_name():
    votes = votes_of((1.0, 2.0, LEFT, 3), (1.0, 2.0, RIGHT, 3), (3.0, 4.0, LEFT, 2), (3.0, 4.0, RIGHT, 2))
    with pytest.raises(OptionError, match=r"\{1, 2\} and \{3, 4\} were never compared"):
        fit(votes)


def test_a_setting_that_always_won_is_refused_or_takes_a_prior():
    votes = votes_of((1.0, 2.0, RIGHT, 5), (1.0, 2.0, LEFT, 5), (1.0, 3.0, RIGHT, 4), (2.0, 3.0, RIGHT, 4))
    with pytest.raises(OptionError, match=r"3 won all 8 votes .* prior=1"):
        fit(votes)
    fitted = fit(votes, prior=1)
    assert np.isfinite(fitted[["strength", "low", "high"]]).all(axis=None) and fitted["strength"].idxmax() == 2
    assert "1 tied votes added" in fitted["interval"][0]


@pytest.mark.parametrize(
    ("change", "settings", "words"),
    [
        ({"vote": "maybe"}, {}, "a vote is 'maybe'"),
        ({}, {"baseline": 5.0}, "baseline is 5.0; choose one of 1, 2"),
        ({}, {"prior": -1.0}, "prior is -1.0"),
    ],
)
def test_what_makes_no_sense_is_refused(change, settings, words):
    votes = votes_of((1.0, 2.0, LEFT, 3), (1.0, 2.0, RIGHT, 3)).assign(**change)
    with pytest.raises(OptionError, match=words):
        fit(votes, **settings)
    with pytest.raises(OptionError, match="there are no votes"):
        fit(votes.iloc[:0])


def test_a_raters_later_vote_on_the_same_records_holds():
    votes = votes_of((1.0, 2.0, LEFT, 2), (1.0, 2.0, RIGHT, 4)).assign(left_record="a", right_record="b")
    votes["left_record"] = [f"a{i}" for i in range(6)]
    again = votes.iloc[[0]].assign(vote=RIGHT, left="2", right="1", left_record="b", right_record="a0")
    again[["left", "right"]] = [2.0, 1.0]
    assert fit(pd.concat([votes, again]))["wins"].tolist() == [2, 4]  # turned round, so 1 won again


def test_the_figure_names_settings_and_says_how_its_intervals_were_made():
    fitted = fit(votes_of((1.0, 2.0, RIGHT, 30), (1.0, 2.0, LEFT, 10)))
    axis = rating_figure(fitted).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["guidance 1", "guidance 2"]
    assert "bootstrap over clips (20 clips and 1 rater); 40 votes" in axis.get_xlabel()
    assert any(text.get_text().startswith("75%") for text in axis.texts)


def test_twenty_agreeing_votes_with_a_prior_leave_a_wide_interval():
    """A bootstrap of equal votes does not vary; the curvature says what twenty votes can say."""
    fitted = fit(votes_of((1.0, 2.0, LEFT, 20)), prior=1)
    assert fitted.loc[0, ["strength", "low", "high"]].tolist() == pytest.approx([1.857, 0.454, 3.259], abs=1e-3)
    assert fitted["interval"][0].startswith("curvature") and fitted["left"].isna().all()


def test_a_preference_for_one_side_is_told_and_taken_out():
    """Both ways of each pair: the log odds of the left are +b and of the strengths s, so that the votes are known."""
    side, strength = 1.5, 0.8
    votes = []
    for left, right, sign in ((1.0, 2.0, -1), (2.0, 1.0, 1)):
        share = 1 / (1 + math.exp(-(sign * strength + side)))
        votes += [(left, right, LEFT, round(200 * share)), (left, right, RIGHT, 200 - round(200 * share))]
    fitted = fit(votes_of(*votes))
    assert fitted["strength"].diff()[1] == pytest.approx(strength, abs=0.03)
    assert fitted["left"][0] == pytest.approx(1 / (1 + math.exp(-side)), abs=0.01) and fitted["left_p"][0] < 1e-6
    fair = fit(votes_of((1.0, 2.0, RIGHT, 12), (1.0, 2.0, LEFT, 8), (2.0, 1.0, LEFT, 12), (2.0, 1.0, RIGHT, 8)))
    assert fair["left"][0] == pytest.approx(0.5) and fair["left_p"][0] > 0.9
    assert fair["strength"].diff()[1] == pytest.approx(math.log(1.5))


def test_few_raters_who_differ_have_wide_intervals():
    """Four raters with tastes of their own: votes of one rater are alike, however many there are."""
    rng, rows = np.random.default_rng(1), []
    for rater in range(4):
        own = 1.0 * rng.normal()
        for clip in range(20):
            is_left = rng.random() < 1 / (1 + math.exp(-own))
            rows.append((f"r{rater}", f"c{clip}", "seed", 1.0, 2.0, LEFT if is_left else RIGHT))
    votes = pd.DataFrame(rows, columns=["rater", "clip", "by", "left", "right", "vote"])
    several, alone = fit(votes), fit(votes.assign(rater="one"))
    assert "clustered by clip and rater" in several["interval"][0]
    assert (several["high"] - several["low"]).min() > 2 * (alone["high"] - alone["low"]).max()


@pytest.mark.parametrize(
    ("change", "words"), [({"rater": ""}, "6 votes have no rater"), ({"left": math.nan}, "6 votes have no setting")]
)
def test_votes_without_a_name_or_a_setting_are_refused(change, words):
    with pytest.raises(OptionError, match=words):
        fit(votes_of((1.0, 2.0, LEFT, 3), (1.0, 2.0, RIGHT, 3)).assign(**change))
