"""One unit and one verdict: what counts as one, what is lost, margins, and tables that cannot be compared."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from latentsync.errors import OptionError
from latentsync.lab.analysis.answers import answers
from latentsync.lab.analysis.attrition import attrition
from latentsync.lab.analysis.comparisons import compare_all, gender_interaction
from latentsync.lab.analysis.estimates import estimate_of
from latentsync.lab.analysis.intervals import equivalence_p, mean_interval, units_to_detect
from latentsync.lab.analysis.pareto import pareto_front
from latentsync.lab.analysis.seeds import seed_deviation
from latentsync.lab.analysis.units import clustered_error, per_unit, unit_kind
from latentsync.lab.commands.compare import main
from latentsync.lab.tables.tidy import write_table

COLUMNS = ["clip", "voice", "seed", "gender", "guidance_scale", "lpips_alex"]


def table_of(rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS).assign(num_inference_steps=20, seconds=1.0)


def sweep(clips: int = 8, settings=(1.0, 2.0), effect: float = 0.5, gender: str = "female") -> pd.DataFrame:
    generator = np.random.default_rng(clips)
    noise = generator.normal(0, 0.1, (clips, len(settings)))
    return table_of(
        (f"{gender}{c}", f"{gender}{c}", 1, gender, s, 5 + effect * i + noise[c, i])
        for c in range(clips)
        for i, s in enumerate(settings)
    )


def test_the_clips_of_a_speaker_count_as_one():
    table = sweep(12).assign(group=lambda t: t["clip"].str[-1].astype(int) % 4)
    row = compare_all(table.astype({"group": str}), "lpips_alex", "guidance_scale", 1.0).iloc[0]
    assert (row.unit, row.units, row.clips) == ("speaker", 4, 12) and "too few speakers" in row.verdict
    means = per_unit(table, ["lpips_alex"], ["guidance_scale"])["lpips_alex"].unstack("guidance_scale")
    assert (row.low, row.high) == pytest.approx(mean_interval(means[2.0] - means[1.0]))
    some = table.assign(group=table["group"].where(table["group"] == 1).astype(object).map({1: "a"}))
    assert compare_all(some, "lpips_alex", "guidance_scale", 1.0).iloc[0]["units"] == 12 - 4 + 1
    shared = pd.concat([table, table.assign(group="b", seed=2)]).astype({"group": str})
    assert unit_kind(shared) == "clip"  # a clip in two groups: they are no speakers


def test_errors_are_clustered_by_clip_and_by_voice():
    """In a balanced design the variance of means by clip, by voice and of cells are known; one way it is Student's."""
    values = np.random.default_rng(0).normal(size=(5, 4))
    index = pd.MultiIndex.from_tuples([(u, u, v) for u in range(5) for v in range(4)], names=["unit", "clip", "voice"])
    estimate = estimate_of(pd.Series(values.ravel(), index))
    rest = values - values.mean()
    parts = [
        5 / 4 * (rest.sum(axis=1) ** 2).sum(), 4 / 3 * (rest.sum(axis=0) ** 2).sum(), 20 / 19 * (rest**2).sum()
    ]  # fmt: skip
    variance = max(parts[0], parts[1], parts[0] + parts[1] - parts[2]) / 20**2
    assert estimate.error == pytest.approx(math.sqrt(variance)) and estimate.freedom == 3 and estimate.voices == 4
    assert estimate.interval == pytest.approx(stats.t.interval(0.95, 3, values.mean(), math.sqrt(variance)))
    alone = values.mean(axis=1)
    error, freedom = clustered_error((alone - alone.mean()) / 5, range(5))
    assert (error, freedom) == (pytest.approx(stats.sem(alone)), 4)


def test_equivalence_is_shown_within_a_named_margin_or_the_deviation_between_seeds():
    table = sweep(10, effect=0.0)
    values = table.pivot(index="clip", columns="guidance_scale", values="lpips_alex")
    differences = (values[2.0] - values[1.0]).to_numpy()
    row = compare_all(table, "lpips_alex", "guidance_scale", 1.0, margin=0.3).iloc[0]
    one_sided = [stats.ttest_1samp(differences, edge, alternative=way).pvalue
                 for edge, way in ((-0.3, "greater"), (0.3, "less"))]  # fmt: skip
    assert row.p_equivalent == pytest.approx(max(one_sided)) and row.verdict.startswith("equivalent within 0.3")
    assert equivalence_p(0.4, 0.1, 9, 0.3) > 0.5
    seeds = pd.concat([table, table.assign(seed=2, lpips_alex=table["lpips_alex"] + 0.2)])
    assert seed_deviation(seeds, "lpips_alex") == pytest.approx(0.2 / math.sqrt(2))
    assert compare_all(seeds, "lpips_alex", "guidance_scale", 1.0).iloc[0]["margin"] == pytest.approx(0.1 * 2**0.5)
    unsure = compare_all(table, "lpips_alex", "guidance_scale", 1.0).iloc[0]
    assert f"would find one of {unsure.detectable:.2g}" in unsure.verdict
    with pytest.raises(OptionError, match="margin of lpips_alex is -1"):
        compare_all(table, "lpips_alex", "guidance_scale", 1.0, margin=-1)


def test_women_and_men_belong_to_the_same_family():
    both = pd.concat([sweep(8), sweep(8, gender="male")])
    alone, family = (compare_all(t, "lpips_alex", "guidance_scale", 1.0).iloc[0] for t in (sweep(8), both))
    assert alone.p_holm == alone.p and family.p_holm == pytest.approx(2 * family.p)
    rows = [(f"c{c}", "v", 1, "female" if c < 3 else "male", s, ((10 if c < 3 else 0) + 0.1 * c) * (s == 2))
            for c in range(7) for s in (1.0, 2.0)]  # fmt: skip
    interaction = gender_interaction(table_of(rows), "lpips_alex", "guidance_scale", 2.0, 1.0)
    assert interaction.p == pytest.approx(1 / 35) and interaction.verdict.startswith("more in female than in male")


def test_a_verdict_follows_its_p_where_clips_differ_in_number():
    noise = np.random.default_rng(0).normal(0, 0.1, (20, 3))
    rows = [(f"c{c}", f"c{c}", 1, "female", s, s + noise[c, i]) for c in range(20)
            for i, s in enumerate((1.0, 2.0, 3.0)) if s < 3 or c < 6]  # fmt: skip
    comparisons = compare_all(table_of(rows), "lpips_alex", "guidance_scale", 1.0).set_index("setting")
    assert comparisons.loc[3.0, "p_holm"] == 2 / 2**6 and comparisons.loc[3.0, "verdict"].startswith("higher")


def test_rounding_is_no_effect_and_equal_differences_and_bounds_have_no_wild_intervals():
    rows = [(f"c{c}", v, 1, "female", s, x) for c in range(10)
            for v, s, x in (("a", 1.0, 0.3), ("a", 2.0, 0.4), ("b", 1.0, 0.2), ("b", 2.0, 0.1))]  # fmt: skip
    assert compare_all(table_of(rows), "lpips_alex", "guidance_scale", 1.0).iloc[0]["verdict"] == "equal in 10 clips"
    same = table_of((f"c{c}", f"c{c}", 1, "female", s, s + c) for c in range(6) for s in (1.0, 2.0))
    row = compare_all(same, "lpips_alex", "guidance_scale", 1.0).iloc[0]
    assert row[["low", "high", "bca_low", "bca_high"]].isna().all() and row.verdict.startswith("higher (p 0.031")
    assert mean_interval([0.99, 0.999, 1.0], (-1, 1))[1] == 1.0 and mean_interval([1.0, 2.0]) is None


def test_voices_and_seeds_are_paired_on_the_front_and_offsets_do_not_cancel():
    rows = [(f"c{c}", v, 1, "female", s, 0.2 if v == "a" else 0.6) for c in range(20) for v in "ab" for s in (1.0, 2.0)
            if (v, s) != ("b", 2.0)]  # fmt: skip
    assert pareto_front(table_of(rows), ["guidance_scale"], ["lpips_alex"])["on_front"].tolist() == [True, True]
    rows = [
        (f"c{c}", "v", 1, "female", s, (8 if c % 2 else -8) if s == 1 else 1.0) for c in range(20) for s in (1.0, 2.0)
    ]
    offsets = table_of(rows).rename(columns={"lpips_alex": "sync_mini_offset"})
    front = pareto_front(offsets, ["guidance_scale"], ["sync_mini_offset"])
    assert front["sync_mini_offset"].tolist() == [8, 1] and front["on_front"].tolist() == [False, True]


def test_lost_clips_are_named_with_their_setting(tmp_path, capsys):
    table = sweep(10)
    left = table.drop(table.index[(table["guidance_scale"] == 2) & table["clip"].isin(["female0", "female1"])])
    left.loc[left.index[-1], "lpips_alex"] = math.inf  # no value either
    assert attrition(left, ["lpips_alex"], "guidance_scale").to_numpy().tolist() == [["lpips_alex", 2.0, 10, 3, 3]]
    write_table(left, tmp_path / "table.csv")
    assert main([str(tmp_path / "table.csv"), "--baseline", "1", "--metrics", "lpips_alex"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "3 of 10 clips have no value (3 records)" in said and "The best of 2 settings looks good by luck" in said


def test_a_setting_that_a_gender_lacks_ends_nothing(tmp_path):
    both = pd.concat([sweep(8, (1.0, 2.0, 3.0)), sweep(8, gender="male")])
    both_answers = answers(both, "1", metrics=["lpips_alex"])
    verdicts = [one.verdict for one in both_answers.interactions["lpips_alex"]]
    assert verdicts[1] == "no comparison: no male clip has both settings" and len(both_answers.comparisons) == 2
    assert "no male clip" in " ".join(both_answers.text.split())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="gender"), ""),
        (lambda t: t.drop(columns="num_inference_steps"), ""),
        (lambda t: t.drop(columns="seconds"), ""),
        (lambda t: t[(t["guidance_scale"] == 1) ^ t["clip"].isin(["female0", "female1"])], ""),
        (lambda t: t.assign(voice=math.nan), ""),
        (lambda t: t.drop(columns="clip"), "the table has no column clip"),
        (lambda t: t.drop(columns="voice"), "the table has no column voice"),
        (lambda t: t.drop(columns="seed"), "the table has no column seed"),
        (lambda t: t.assign(lpips_alex="low"), "lpips_alex"),
        (lambda t: t.assign(lpips_alex=1e308), "lpips_alex is 1e+308 in a record, which cannot be measured"),
    ],
)
def test_an_odd_table_gives_an_answer_or_one_sentence(change, words, tmp_path, capsys):
    path = tmp_path / "table.csv"
    change(sweep()).to_csv(path, index=False)
    status = main([str(path), "--baseline", "1", "--metrics", "lpips_alex", "--output", str(tmp_path / "out")])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err and status == (2 if words else 0), printed.err
    assert words in printed.err and (tmp_path / "out").exists() == (not words)


def test_partners_that_differ_in_two_options_are_refused():
    table = sweep().assign(model=lambda t: t["guidance_scale"].map({1.0: "A", 2.0: "B"}))
    with pytest.raises(OptionError, match="also differ in model \\(A and B\\)"):
        compare_all(table, "lpips_alex", "guidance_scale", 1.0)


def test_the_number_of_units_for_a_difference_detects_it():
    number = units_to_detect(0.5, 1.0)
    values = np.random.default_rng(0).normal(0.5, 1, (4000, number))
    assert (stats.ttest_1samp(values, 0, axis=1).pvalue <= 0.05).mean() == pytest.approx(0.8, abs=0.03)
