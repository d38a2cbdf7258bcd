"""The study of docs/statistics.md: how often intervals cover a known truth, and how often nothing is called something.

`make test-statistics` runs it (minutes) and writes its table into the page. `REPEATS` sets the number of simulations.
"""

import math
import os
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from latentsync.files import write_text
from latentsync.lab.analysis.comparisons import differences_of, gender_interaction, interactions, judge
from latentsync.lab.analysis.estimates import estimate_of
from latentsync.lab.analysis.intervals import bca_intervals, equivalence_p, mean_interval, sign_flip_p
from latentsync.lab.analysis.preferences import LEFT, RIGHT, fit

PAGE = Path(__file__).resolve().parents[1] / "docs" / "statistics.md"
BEGIN, END = "<!-- simulations: written by `make test-statistics` -->", "<!-- end of simulations -->"
REPEATS = int(os.environ.get("REPEATS", 2000))
LEAST, MOST = 0.93, 0.06  # coverage of intervals, and false positives, that are wanted
SHORT = "skewed"  # data that cover less with few units; the page says how much
pytestmark = pytest.mark.statistics


def deviations(kind: str, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Values with mean 0: normal, strongly skewed (lognormal, sigma 1), or normal ones rounded to few values."""
    if kind == SHORT:
        return np.exp(generator.normal(0, 1, shape)) - math.exp(0.5)
    values = generator.normal(0, 1, shape)
    return np.round(values) if kind == "tied" else values


def covers(interval: tuple[float, float] | None, truth: float = 0.0) -> bool:
    return interval is not None and interval[0] <= truth <= interval[1]


def of_units() -> list[tuple]:
    rows = []
    for kind, number in product(("normal", "tied", SHORT), (3, 5, 8, 20)):
        values = deviations(kind, (REPEATS, number), np.random.default_rng(number))
        cases = [(row, interval) for row in values if (interval := mean_interval(row)) is not None]
        claims = (sign_flip_p(values, 1000) <= 0.05).mean()
        rows.append((f"{kind}, {number} units", "Student's t", np.mean([covers(each) for _, each in cases]), claims))
        if number >= 8:
            low, high = bca_intervals(values, 1000).T
            rows.append((f"{kind}, {number} units", "BCa", ((low <= 0) & (high >= 0)).mean(), None))
    return rows


def of_cells() -> list[tuple]:
    """Units with several clips or shared voices, as balanced designs and with 30 % of the cells missing at random."""
    rows = []
    designs = [
        ("20 clips of 5 speakers", 5, 4, 0), ("40 clips of 4 speakers", 4, 10, 0),
        ("20 clips, the same 3 voices", 20, 1, 3), ("20 clips, the same 8 voices", 20, 1, 8),
        ("5 clips, the same 5 voices", 5, 1, 5),
    ]  # fmt: skip
    for (name, units, clips, voices), share in product(designs, (0.0, 0.3)):
        generator, hits, claims, number = np.random.default_rng(7), 0, 0, REPEATS // 4
        keys = [(u, f"{u}-{c}", v if voices else f"{u}-{c}") for u in range(units) for c in range(clips)
                for v in range(max(1, voices))]  # fmt: skip
        index = pd.MultiIndex.from_tuples(keys, names=["unit", "clip", "voice"])
        of_unit = np.array([u for u, *_ in keys])
        of_voice = np.array([v for *_, v in keys]) if voices else np.zeros(len(keys), int)
        for _ in range(number):
            values = generator.normal(size=len(keys)) * 0.5 + generator.normal(size=units)[of_unit]
            values += generator.normal(size=max(1, voices))[of_voice] if voices else 0
            kept = generator.random(len(keys)) >= share
            estimate = estimate_of(pd.Series(values, index)[kept])
            hits += covers(estimate.interval)
            claims += estimate.p is not None and estimate.p <= 0.05
        rows.append((name + ", 30 % missing" * bool(share), "Student's t", hits / number, claims / number))
    return rows


def table_of(generator: np.random.Generator, women: int, men: int, settings: int) -> pd.DataFrame:
    rows = [
        (f"{gender}{clip}", f"{gender}{clip}", 0, gender, setting, *(own + generator.normal(size=2)))
        for gender, clips in (("female", women), ("male", men))
        for clip in range(clips)
        for own in [generator.normal(size=2)]
        for setting in range(settings)
    ]
    return pd.DataFrame(rows, columns=["clip", "voice", "seed", "gender", "guidance_scale", "one", "two"])


def of_families() -> list[tuple]:
    rows, generator = [], np.random.default_rng(3)
    number = REPEATS // 5
    for women, men in ((5, 5), (4, 10)):
        tests = [gender_interaction(table_of(generator, women, men, 2), "one", "guidance_scale", 1, 0)
                for _ in range(number)]  # fmt: skip
        hits, claims = (
            np.mean([covers(one.interval) for one in tests]),
            np.mean([one.p <= 0.05 for one in tests]),
        )
        rows.append((f"women and men, {women} and {men} clips", "Welch's t", hits, claims))
    claims, metrics = 0, ["one", "two"]
    for _ in range(number):
        table = table_of(generator, 8, 8, 5)
        frame, genders = judge(
            differences_of(table, metrics, "guidance_scale", 0), interactions(table, metrics, "guidance_scale", 0)
        )
        claims += (frame["p_holm"] <= 0.05).any() or any(one.judged.is_significant for one in genders)
    rows.append(("any claim of 2 metrics, 4 settings and genders", "Holm", None, claims / number))
    return rows


def of_equivalence() -> list[tuple]:
    rows = []
    for number in (3, 5, 8, 20):
        values = np.random.default_rng(number).normal(0.5, 1, (REPEATS, number))
        errors = values.std(axis=1, ddof=1) / math.sqrt(number)
        p = [equivalence_p(m, e, number - 1, 0.5) for m, e in zip(values.mean(axis=1), errors, strict=True)]
        rows.append((f"equivalence at the margin, {number} units", "two t tests", None, np.mean(np.array(p) <= 0.05)))
    return rows


def of_raters() -> list[tuple]:
    rows, number = [], max(20, REPEATS // 20)
    for raters in (2, 3, 4, 5, 10):
        generator, hits = np.random.default_rng(raters), 0
        for _ in range(number):
            tastes = 0.7 * generator.normal(size=raters)
            votes = [
                (f"r{rater}", f"c{clip}", "seed", *sides, LEFT if generator.random() < chance else RIGHT)
                for rater, clip in product(range(raters), range(20))
                for sides in [(1.0, 2.0) if clip % 2 else (2.0, 1.0)]
                for chance in [1 / (1 + math.exp(-tastes[rater] * (sides[0] - sides[1])))]
            ]
            frame = pd.DataFrame(votes, columns=["rater", "clip", "by", "left", "right", "vote"])
            first = fit(frame, prior=0.01).iloc[0]
            hits += covers((first["low"], first["high"]))
        rows.append((f"strengths, {raters} raters with tastes", "Bradley-Terry", hits / number, 1 - hits / number))
    return rows


def page_table(rows: list[tuple]) -> str:
    lines = ["| data | interval or test | coverage | false positives |", "| --- | --- | --- | --- |"]
    for name, method, coverage, claims in rows:
        cells = ("-" if value is None else f"{value:.3f}" for value in (coverage, claims))
        lines.append(f"| {name} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_what_is_printed_holds_what_it_promises():
    parts = {"units": of_units(), "cells": of_cells(), "families": of_families(), "equivalence": of_equivalence(),
             "raters": of_raters()}  # fmt: skip
    rows = [row for part in parts.values() for row in part]
    print("\n" + page_table(rows))
    if REPEATS >= 1000:  # a shorter run is no evidence
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        write_text(PAGE, f"{before}{BEGIN}\n\n{page_table(rows)}\n\n{END}{rest.partition(END)[2]}")
    repeats = {"units": REPEATS, "cells": REPEATS // 4, "families": REPEATS // 5, "equivalence": REPEATS,
               "raters": max(20, REPEATS // 20)}  # fmt: skip
    wrong = []
    for part, each in parts.items():
        errors = [2 * math.sqrt(bound * (1 - bound) / repeats[part]) for bound in (LEAST, MOST)]  # of the simulation
        for name, method, coverage, claims in each:
            if name.startswith(SHORT):
                continue
            if coverage is not None and coverage < LEAST - errors[0]:
                wrong.append(f"{name}, {method}: covers {coverage:.3f}")
            if claims is not None and claims > MOST + errors[1]:
                wrong.append(f"{name}, {method}: {claims:.3f} false positives")
    assert not wrong, wrong
