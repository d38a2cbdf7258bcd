"""The studies of experiments/: each can be made again from its page, and each page says what its table says."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from latentsync.errors import MediaError, OptionError
from latentsync.lab.analysis.seeds import seed_deviation
from latentsync.lab.commands.pictures import OF_RECORDS, study_results
from latentsync.lab.evaluation.damage import DAMAGES
from latentsync.lab.pages.studies import BEGIN, END, MARGINS, STUDIES, TABLE_FILE, markdown, results_of, write_results
from latentsync.lab.tables.tidy import read_table, widen

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]\d+)?")
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")


@pytest.fixture(scope="module")
def results():
    return {name: study_results(EXPERIMENTS, name) for name in STUDIES}


def split(text: str) -> tuple[str, list[str]]:
    """A text without its numbers, and the numbers."""
    return NUMBER.sub("#", text), NUMBER.findall(text)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_a_page_says_what_its_table_says(name, results):
    """`latentsync pictures studies` writes both; numbers agree to a step of their last digit."""
    (words, numbers), (written_words, written) = split(results[name].text), split(results_of(page_of(name)))
    assert written_words == words
    for now, then in zip(numbers, written, strict=True):
        last = 10.0 ** -len(then.partition(".")[2]) if "." in then and "e" not in then else 0  # counts are equal
        assert float(now) == pytest.approx(float(then), rel=0.02, abs=1.001 * last), (name, then)


def page_of(name: str) -> Path:
    return EXPERIMENTS / name / "README.md"


@pytest.mark.parametrize("name", STUDIES)
def test_a_page_has_its_question_command_table_and_figures(name, results):
    text = page_of(name).read_text()
    assert "**Question.**" in text and re.search(r"Ma(de|king|sured) (on|again)|[Mm]easured on", text)
    assert "```sh\n" in text and "latentsync " in text and f"experiments/{name}/{TABLE_FILE}" in text
    assert {"## Results", "## What it shows", "## What it does not show"} <= set(text.splitlines())
    assert set(PICTURE.findall(text)) >= {f"{figure}.png" for figure in results[name].figures}
    assert (EXPERIMENTS / name / TABLE_FILE).stat().st_size < 300_000
    assert f"[{name}]({name}/README.md)" in (EXPERIMENTS / "README.md").read_text()


@pytest.mark.parametrize("name", OF_RECORDS)
def test_every_setting_of_a_sweep_has_every_clip(name):
    table = read_table(EXPERIMENTS / name / TABLE_FILE)
    assert table["trained"].all() and not table.duplicated(["record", "metric"]).any()
    settings = ["guidance_scale", "num_inference_steps", "seed", "scheduler"]
    assert (table.groupby(settings)["clip"].nunique() == table["clip"].nunique()).all()


def test_the_measures_were_tried_on_every_clip_with_every_damage():
    table = read_table(EXPERIMENTS / "measures" / TABLE_FILE)
    assert set(table["damage"]) == {"none", *DAMAGES}
    steps = table[["damage", "strength"]].drop_duplicates()
    assert (table.groupby(["damage", "strength"])["clip"].nunique() == table["clip"].nunique()).all()
    assert len(steps) >= 1 + len(DAMAGES)


def test_presets_are_reported_with_what_could_have_been_found(results):
    """The page's conclusions: presets move sync by less than a seed does, and whether genders differ is not known."""
    rows = [
        line.split(" | ") for line in results["gender_presets"].text.splitlines() if line.startswith("| mini SyncNet")
    ]
    assert len(rows) == 4
    for row in rows[:2]:
        assert abs(float(row[3].strip("*"))) < float(row[-2]) and row[-1].startswith("0.0068 (p ")
    for row in rows[2:]:
        assert abs(float(row[4].strip("*"))) < float(row[-2])
    assert rows[3][-1].startswith("not shown")


def test_the_margins_are_the_deviations_between_seeds():
    table = read_table(EXPERIMENTS / "steps" / TABLE_FILE)
    for metric, margin in MARGINS.items():
        assert f"{seed_deviation(widen(table), metric):.4f}" == f"{margin:.4f}"


def test_results_are_written_between_the_marks(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    table = markdown([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])
    write_results(page, table)
    write_results(page, table)
    assert (
        page.read_text() == f"before\n\n{BEGIN}\n\n| a | b |\n| --- | --- |\n| 1 | x |\n| 2 | y |\n\n{END}\n\nafter\n"
    )
    assert results_of(page) == table
    page.write_text("no marks")
    with pytest.raises(MediaError, match="has no place for results"):
        write_results(page, table)


def test_a_study_without_its_table_or_columns_is_refused(tmp_path):
    with pytest.raises(MediaError, match="no table"):
        study_results(tmp_path, "guidance")
    table = pd.DataFrame({"record": ["a"], "clip": ["c"], "voice": ["v"], "seed": [1], "gender": ["female"]})
    (tmp_path / "steps").mkdir()
    table.to_parquet(tmp_path / "steps" / TABLE_FILE)
    with pytest.raises((OptionError, KeyError)):
        study_results(tmp_path, "steps")


def test_the_bars_figure_has_a_value_for_each_bar(results):
    table = read_table(EXPERIMENTS / "embedded_model" / TABLE_FILE)
    axis = results["embedded_model"].figures["evaluation"].axes[0]
    names = [label.get_text().replace(" ", "_") for label in axis.get_yticklabels()]
    assert names == table.loc[table["bound"].notna(), "row"].tolist()
    values = [line.get_xdata()[0] for line in axis.lines if line.get_label() == "value, 95 % interval"]
    lips, silence = table[table["row"] == "lip"].iloc[0], table[table["row"] == "silence"].iloc[0]
    assert values[names.index("lip")] == pytest.approx(lips["value"] / lips["bound"])
    assert values[names.index("silence")] == pytest.approx(silence["bound"] / silence["value"])
    assert np.isfinite(values).all()
