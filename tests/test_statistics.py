"""Intervals and tests keep what they promise on simulated data, and a comparison says no more than its clips."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sweep_tables import sweep_table

from latentsync.errors import OptionError
from latentsync.lab.analysis.comparisons import compare_all, gender_interaction, paired_difference
from latentsync.lab.analysis.intervals import (
    bca_intervals,
    bca_intervals_of_two,
    detectable_difference,
    detectable_difference_of_two,
    draws_for,
    holm,
    label_least,
    label_p,
    needed_clips,
    needed_clips_of_two,
    sign_flip_p,
)
from latentsync.lab.analysis.pareto import pareto_front

SIMULATIONS = 5000
DRAWS = 2000
MOST_FALSE = 0.059  # 5 % and three standard errors of 5000 simulations


def lognormal_pairs(generator: np.random.Generator, shape: tuple[int, int], effect: float, spread: float):
    """A skewed metric at two settings: exp of normal clip effects (0.5), of noise (`spread`) and of the effect."""
    clip = generator.normal(0, 0.5, shape)
    return np.exp(clip + effect + generator.normal(0, spread, shape)), np.exp(clip + generator.normal(0, spread, shape))


def simulated(kind: str, number: int) -> tuple[np.ndarray, float]:
    """Differences (SIMULATIONS, number) and their true mean."""
    generator, shape = np.random.default_rng(5), (SIMULATIONS, number)
    if kind == "normal":
        return generator.normal(0.3, 1, shape), 0.3
    if kind == "lognormal":
        return generator.lognormal(0, 0.5, shape), math.exp(0.5**2 / 2)
    after, before = lognormal_pairs(generator, shape, effect=0.3, spread=0.5)
    if kind == "logs of lognormal pairs":
        return np.log(after) - np.log(before), 0.3
    return after - before, math.exp(0.5**2) * (math.exp(0.3) - 1)


def coverage(kind: str, number: int) -> float:
    values, true = simulated(kind, number)
    low, high = bca_intervals(values, DRAWS).T
    return float(np.mean((low <= true) & (true <= high)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "lognormal", "logs of lognormal pairs"])
def test_bca_intervals_cover_what_they_promise(kind):
    assert 0.93 <= coverage(kind, 40) <= 0.97
    assert coverage(kind, 20) >= 0.9


@pytest.mark.slow
def test_bca_intervals_of_long_tailed_differences_fall_short():
    """Differences of two widely spread lognormal metrics: the case for `of_logs`; docs/statistics.md tells it."""
    assert 0.9 <= coverage("lognormal pairs", 40) < 0.93


def test_rows_of_intervals_are_those_of_each_alone_and_equal_values_have_none():
    values = np.random.default_rng(0).exponential(size=(60, 25))
    values[3] = 0.1
    together = bca_intervals(values)
    assert np.isnan(together[3]).all() and np.isfinite(np.delete(together, 3, axis=0)).all()
    np.testing.assert_allclose(together[[59]], bca_intervals(values[59:]), rtol=1e-12)
    assert np.isnan(bca_intervals(np.ones((2, 1)))).all()
    low, high = bca_intervals(np.array([[0.0, 1.0]]))[0]
    assert 0 <= low < high <= 1


@pytest.mark.parametrize("number", [10, 20, 40])
@pytest.mark.parametrize("kind", ["normal", "lognormal"])
def test_sign_flips_find_little_where_settings_are_interchangeable(kind, number):
    generator, shape = np.random.default_rng(number), (SIMULATIONS, number)
    after, before = lognormal_pairs(generator, shape, effect=0, spread=1)
    values = after - before if kind == "lognormal" else generator.normal(size=shape)
    assert np.mean(sign_flip_p(values, DRAWS) <= 0.05) <= MOST_FALSE


def test_families_of_comparisons_find_little_where_there_is_nothing():
    values = np.random.default_rng(1).normal(size=(SIMULATIONS, 4, 10))
    values = values - 0.7 * values[:, :1]  # four settings share their baseline
    p = sign_flip_p(values.reshape(-1, 10)).reshape(SIMULATIONS, 4)
    assert np.mean(p.min(axis=1) <= 0.05) > 2 * MOST_FALSE
    assert np.mean(holm(p).min(axis=1) <= 0.05) <= MOST_FALSE


def test_sign_flips_are_scipys_exactly_and_find_an_effect():
    values = np.random.default_rng(2).normal(0.5, 1, size=9)
    exact = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip_p(values[None])[0] == pytest.approx(exact)
    assert sign_flip_p(np.ones((1, 6)))[0] == 2 / 2**6
    assert sign_flip_p(np.ones((1, 40)))[0] == 1 / 10_001  # drawn: never 0
    strong = np.random.default_rng(3).normal(0.8, 1, (1000, 20))
    assert np.mean(sign_flip_p(strong, DRAWS) <= 0.05) > 0.85


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, np.nan])), [0.04, 0.09, 0.09, np.nan])


@pytest.mark.parametrize("spread, most", [(1, MOST_FALSE), (2, 0.07)])
def test_labels_find_little_where_means_are_equal(spread, most):
    """Exchanged labels are exact for equal spreads and nearly so for others, where Student's t has 14 %."""
    generator = np.random.default_rng(4)
    first, second = generator.normal(0, spread, (SIMULATIONS, 8)), generator.normal(0, 1, (SIMULATIONS, 20))
    parts = [label_p(first[i : i + 200], second[i : i + 200], draws=499) for i in range(0, SIMULATIONS, 200)]
    assert np.mean(np.concatenate(parts) <= 0.05) <= most


def test_intervals_of_two_groups_cover_the_difference():
    generator = np.random.default_rng(6)
    low, high = bca_intervals_of_two(generator.normal(1, 2, (500, 12)), generator.normal(0, 1, (500, 30)), draws=999).T
    assert np.sum((low <= 1) & (high >= 1)) >= 465
    edges = bca_intervals_of_two(np.array([[1, 1], [1, 2]]), np.array([[0, 0], [0, 0]]))
    assert np.isnan(edges[0]).all() and np.isfinite(edges[1]).all()
    assert np.isnan(bca_intervals_of_two(np.array([[1, 2]]), np.array([[0]]))).all()


def test_exchanged_labels_are_scipys_exactly_and_count_ties():
    generator = np.random.default_rng(7)
    first, second = generator.normal(0.5, 1, (3, 4)), generator.normal(0, 2, (3, 6))

    def statistic(one, other, axis):
        return np.abs(stats.ttest_ind(one, other, equal_var=False, axis=axis).statistic)

    for draws in (210, 150):  # all labellings, and as many as are drawn
        exact = stats.permutation_test(
            (first, second), statistic, permutation_type="independent", n_resamples=draws, axis=-1, vectorized=True,
            alternative="greater", random_state=np.random.default_rng(0),
        ).pvalue  # fmt: skip
        np.testing.assert_allclose(label_p(first, second, draws), exact, rtol=1e-12)
    apart = np.array([[1, 1, 1, 1 + 1e-7]])
    assert label_p(apart, np.zeros((1, 4)), 70)[0] == label_least(4, 4, 70) == 2 / 70
    tied = np.array([[0.1, 0.2, 0.3, 0.3]])
    assert label_p(tied, tied[:, ::-1], 70)[0] == label_p(np.ones((1, 4)), np.ones((1, 3)), 35)[0] == 1


def test_a_detectable_difference_is_found_in_four_of_five_samples():
    """An exact spread, shifted by the difference, is the truth; t tests of normal samples of it are counted."""
    generator, number = np.random.default_rng(8), 9
    spread = stats.norm.ppf((np.arange(number) + 0.5) / number)
    spread /= spread.std(ddof=1)
    one, two = detectable_difference(spread), detectable_difference_of_two(spread, spread)
    is_significant = stats.ttest_1samp(generator.normal(one, 1, (SIMULATIONS, number)), 0, axis=1).pvalue <= 0.05
    first, second = generator.normal(two, 1, (SIMULATIONS, number)), generator.normal(0, 1, (SIMULATIONS, number))
    of_two = stats.ttest_ind(first, second, axis=1, equal_var=False).pvalue <= 0.05
    for share in (is_significant.mean(), of_two.mean()):
        assert share == pytest.approx(0.8, abs=0.02)  # three standard errors of SIMULATIONS, and Welch's approximation
    strict = stats.ttest_1samp(
        generator.normal(detectable_difference(spread, 4), 1, (SIMULATIONS, number)), 0, axis=1
    ).pvalue
    assert (strict <= 0.05 / 4).mean() == pytest.approx(0.8, abs=0.02)
    assert detectable_difference(3 * spread) == pytest.approx(3 * one)
    assert detectable_difference([1.0]) is None and detectable_difference([2.0, 2.0]) is None
    assert detectable_difference_of_two([1.0, 2.0], [0.0]) is None


def test_the_fewest_clips_are_the_first_that_can_show_anything():
    for comparisons in (1, 5, 40):
        number, each = needed_clips(comparisons), needed_clips_of_two(comparisons)
        assert comparisons * 2 ** (1 - number) <= 0.05 < comparisons * 2 ** (2 - number)
        ones = np.ones((1, number))
        assert sign_flip_p(ones, draws_for(comparisons))[0] * comparisons <= 0.05
        assert 2 * comparisons / math.comb(2 * each, each) <= 0.05 < 2 * comparisons / math.comb(2 * each - 2, each - 1)
    assert needed_clips(1) == 6 and needed_clips_of_two(1) == 4


def test_a_pair_is_of_one_clip_voice_and_seed_and_a_clip_is_one_value():
    columns = ["clip", "voice", "seed", "guidance_scale", "sync"]
    rows = [
        ("one", "a", 0, 1.0, 1.0), ("one", "a", 0, 2.0, 2.0),
        ("one", "a", 1, 1.0, 5.0), ("one", "a", 1, 2.0, 8.0),  # voice a: 1 and 3
        ("one", "b", 0, 1.0, 1.0), ("one", "b", 0, 2.0, 1.0),  # voice b: 0
        ("two", "a", 0, 1.0, 1.0), ("two", "a", 0, 2.0, 4.0),  # 3
        ("two", "a", 1, 1.0, 9.0), ("two", "a", 2, 2.0, 9.0),  # no partners
        ("two", "a", 3, 1.0, math.nan), ("two", "a", 3, 2.0, 9.0),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    result = paired_difference(table, "sync", "guidance_scale", 2.0, 1.0)
    assert (result.clips, result.units, result.unpaired, result.difference) == (2, 2, 4, 2.0)  # of 1 and 3
    assert result.interval is None  # of two clips it would say nothing
    third = pd.DataFrame([("three", "a", 0, 1.0, 1.0), ("three", "a", 0, 2.0, 3.5)], columns=columns)
    more = paired_difference(pd.concat([table, third]), "sync", "guidance_scale", 2.0, 1.0)
    assert more.interval == pytest.approx(stats.t.interval(0.95, 2, 6.5 / 3, stats.sem([1, 3, 2.5])))
    ratio = paired_difference(table.iloc[6:8], "sync", "guidance_scale", 2.0, 1.0, of_logs=True)
    assert ratio.difference == pytest.approx(math.log(4)) and ratio.interval is None and ratio.estimate.bca is None
    none = compare_all(table.iloc[8:10], "sync", "guidance_scale", 1.0).iloc[0]
    assert none.clips == 0 and math.isnan(none.p_holm) and none.verdict.startswith("no comparison")
    twice = pd.concat([table.assign(steps=20), table.assign(steps=40)])
    assert paired_difference(twice, "sync", "guidance_scale", 2.0, 1.0, within=["steps"]).difference == 2.0
    for wrong, settings, word in [
        (twice, (2.0, 1.0), "12 records"), (table, (3.0, 1.0), "guidance_scale=3.0"),
        (table, (1.0, 1.0), "itself"), (table.drop(columns="voice"), (2.0, 1.0), "voice"),
    ]:  # fmt: skip
        with pytest.raises(OptionError, match=word):
            paired_difference(wrong, "sync", "guidance_scale", *settings)
    with pytest.raises(OptionError, match="above 0"):
        paired_difference(table.assign(sync=-1.0), "sync", "guidance_scale", 2.0, 1.0, of_logs=True)


def test_all_comparisons_tell_an_effect_and_show_none_where_none_is():
    table = sweep_table(24, {1.0: 0.0, 1.5: 0.0, 2.0: 1.0, 2.5: -1.0})
    comparisons = compare_all(table, "sync", "guidance_scale", baseline=1.0).set_index("setting")
    assert comparisons.loc[2.0, "low"] < 1 < comparisons.loc[2.0, "high"]
    assert comparisons.loc[2.0, "verdict"].startswith("higher") and comparisons.loc[2.5, "verdict"].startswith("lower")
    assert comparisons.loc[1.5, "verdict"].startswith("no significant difference") and comparisons.loc[1.5, "p"] > 0.05
    np.testing.assert_allclose(comparisons["p_holm"], holm(comparisons["p"].to_numpy()))
    assert (comparisons["bca_low"] < comparisons["difference"]).all()
    assert (comparisons["clips"] == 24).all() and (comparisons["needed_clips"] == 7).all()


def test_few_clips_are_never_called_significant():
    table = sweep_table(6, {1.0: 0.0, 2.0: 50.0})
    alone = compare_all(table, "sync", "guidance_scale", 1.0).iloc[0]
    assert alone.verdict.startswith("higher (p 0.031") and alone.low > 0 and math.isnan(alone.bca_low)
    more = pd.concat([table, sweep_table(6, {3.0: 0.0})])  # the same clips, one more setting
    comparisons = compare_all(more, "sync", "guidance_scale", 1.0).set_index("setting")
    assert comparisons.loc[2.0, "verdict"] == "too few clips: 6 of 6 clips differ, and 2 comparisons need at least 7"
    still = table.assign(sync=1.0)
    assert compare_all(still, "sync", "guidance_scale", 1.0).iloc[0].verdict == "equal in 6 clips"


def test_the_interaction_is_told_only_where_genders_differ():
    women = sweep_table(14, {1.0: 0.0, 2.0: 1.5})
    for effect, word in [(0.5, "more in female than in male"), (1.5, "no significant difference")]:
        table = pd.concat([women, sweep_table(10, {1.0: 0.0, 2.0: effect}, "male", seed=1)])
        result = gender_interaction(table, "sync", "guidance_scale", 2.0, 1.0)
        assert result.clips == (14, 10) and result.verdict.startswith(word)
        for low, high in (result.interval, result.estimate.bca):
            assert low < 1.5 - effect < high
    few = pd.concat([sweep_table(3, {1.0: 0.0, 2.0: 50.0}), sweep_table(3, {1.0: 0.0, 2.0: 0.0}, "male")])
    verdict = gender_interaction(few, "sync", "guidance_scale", 2.0, 1.0).verdict
    assert verdict == "too few clips (3 and 3 clips): 1 comparison needs about 4 in each group"
    still = table.assign(sync=0.1)
    assert gender_interaction(still, "sync", "guidance_scale", 2.0, 1.0).p == 1
    with pytest.raises(OptionError, match="both genders"):
        gender_interaction(pd.concat([women, women.assign(gender="male")]), "sync", "guidance_scale", 2.0, 1.0)


def test_the_front_leaves_out_what_is_beaten_and_is_unsure_of_what_is_close():
    table = sweep_table(20, {1.0: 0.0, 1.5: -3.0, 2.0: 2.0, 2.5: 2.0})
    table["lpips"] = table["guidance_scale"].map({1.0: 0.1, 1.5: 0.2, 2.0: 0.3, 2.5: 0.3})
    table["seconds"] = table["guidance_scale"].map({1.0: 4.0, 1.5: 5.0, 2.0: 9.0, 2.5: 9.0})
    better = {"sync": "higher", "lpips": "lower", "seconds": "lower"}
    front = pareto_front(table, ["guidance_scale"], better).set_index("guidance_scale")
    assert front["on_front"].tolist()[:2] == [True, False]  # 1.5 loses to 1.0 in all three
    assert front["share"].tolist()[:2] == [1.0, 0.0]
    assert front.loc[[2.0, 2.5], "share"].sum() == pytest.approx(1)  # one beats the other in sync alone
    assert front["share"].between(0.01, 0.99).sum() == 2
    assert (front["clips"] == 20).all() and not front["approximate"].any()
    hole = table.drop(table.index[(table["clip"] == "female3") & (table["guidance_scale"] == 2.0)])
    assert pareto_front(hole, ["guidance_scale"], better)[["clips", "without"]].iloc[0].tolist() == [19, 1]
    single = pareto_front(table[table["clip"] == "female0"], ["guidance_scale", "gender"], better)
    assert single["share"].isna().all() and single.loc[0, "on_front"]
    named = table.rename(columns={"lpips": "lpips_vgg", "sync": "sync_mini_confidence_minus_real"})
    nearest = pareto_front(named, ["guidance_scale"], ["sync_mini_confidence_minus_real", "lpips_vgg", "seconds"])
    assert nearest["on_front"].tolist() == [True, True, False, False]  # sync nearest to the real one's is best
    for objectives, word in [
        ({"sync": "none"}, r"sync \(none\) is not a direction"),
        ({"other": "lower"}, "no column other"),
    ]:
        with pytest.raises(OptionError, match=word):
            pareto_front(table, ["guidance_scale"], objectives)
