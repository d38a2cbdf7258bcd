"""The scripts that a user of pandas would write first, as docs/python.md has them, on a small sweep."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from written_sweep import CLIPS, GUIDANCE, SEEDS, write_sweep

from latentsync.lab.commands.collect import main as collect_command
from latentsync.lab.tables.tidy import collect_wide, write_table

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "python.md").read_text()
SECTION = PAGE.split("\n### With pandas\n")[1].split("\n### ")[0]
SCRIPTS = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
FIGURE = "guidance.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as the page assumes it: `runs` with the sweep `guidance`, and a file that `collect` wrote."""
    folder = tmp_path_factory.mktemp("scripts")
    write_sweep(folder / "runs", "guidance")
    write_table(collect_wide(folder / "runs", "guidance"), folder / "runs" / "sweeps" / "guidance" / "table.csv")
    parquet = folder / "guidance.parquet"
    assert collect_command([str(folder / "runs"), "--sweep", "guidance", "--output", str(parquet)]) == 0
    return folder


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """Runs the one script of the page that has a text; returns what it printed and its names."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MPLBACKEND", "agg")

    def run(text: str) -> tuple[str, dict]:
        (script,) = (script for script in SCRIPTS if text in script)
        names: dict = {}
        exec(compile(script, "docs/python.md", "exec"), names)  # noqa: S102 - code of this test or of the docs
        return capsys.readouterr().out, names

    return run


def lpips_of(guidance: float) -> np.ndarray:
    """LPIPS of the written records: (clips, seeds)."""
    return np.array([[0.1 * i + 0.01 * guidance + 0.001 * seed for seed in SEEDS] for i in range(len(CLIPS))])


def test_the_page_has_scripts_of_few_lines():
    assert len(SCRIPTS) >= 7
    assert all(len([line for line in script.splitlines() if line]) <= 5 for script in SCRIPTS)


def test_means_by_gender_and_guidance(run):
    printed, names = run(".agg(")
    means = names["lpips"].groupby(["gender", "guidance_scale"])["value"].mean()
    assert means["female", 1.5] == pytest.approx(lpips_of(1.5)[0].mean())
    assert all(word in printed for word in ("female", "male", "mean", "std", "count"))


def test_a_pivot_has_a_column_for_each_setting(run):
    printed, names = run('index=["metric", "unit"]')
    pivot = names["table"].pivot_table(index="metric", columns="guidance_scale", values="value")
    assert list(pivot.columns) == list(GUIDANCE)
    assert pivot.loc["lpips_alex_mouth", 1.0] == pytest.approx(lpips_of(1.0).mean())
    assert "psnr" in printed and "dB" in printed


def test_compared_settings_are_a_data_frame(run):
    printed, names = run("compare(table")
    row = names["results"].set_index("metric").loc["lpips_alex_mouth"]
    assert row["difference"] == pytest.approx((lpips_of(1.0) - lpips_of(1.5)).mean())
    assert "too few clips" in row["verdict"] and "verdict" in printed


def test_a_test_of_ones_own_is_paired_by_clip(run):
    _, names = run("ttest_rel")
    assert list(names["by_clip"].index) == [f"{clip}.mp4" for clip in CLIPS]
    assert names["by_clip"][1.5].tolist() == pytest.approx(lpips_of(1.5).mean(axis=1).tolist())


def test_the_sweeps_table_is_read_by_pandas_alone(run, folder):
    printed, names = run("read_csv")
    table, records = names["table"], collect_wide(folder / "runs", "guidance")
    assert table["record"].tolist() == records["record"].tolist() and table["record"][0] in printed
    assert table["seed"].dtype == "Int64" and table["seed"].tolist() == records["seed"].tolist()
    np.testing.assert_array_equal(table["lpips_alex_mouth"], records["lpips_alex_mouth"])
    assert table["batch_size"].dtype == "Int64" and table["batch_size"].isna().all()  # whole, though all are missing


def test_a_collected_file_is_read_by_pandas_alone(run):
    printed, names = run("read_parquet")
    assert len(names["table"]) == 2 * len(CLIPS) * len(GUIDANCE) * len(SEEDS)
    assert "75%" in printed and names["table"]["used"].dtype == "Int64"


def test_a_table_is_drawn(run, folder):
    run("means.plot")
    assert (folder / FIGURE).read_bytes().startswith(b"\x89PNG")


def test_plain_reading_gives_the_same_numbers(folder):
    """Without any argument: only ids of digits and missing whole numbers have another type then."""
    table = pd.read_csv(folder / "runs" / "sweeps" / "guidance" / "table.csv")
    assert table["seed"].dtype == "int64" and table["lpips_alex_mouth"].dtype == "float64"
    assert table["trained"].dtype == bool and set(table["gender"]) == {"female", "male"}
