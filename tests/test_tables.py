"""The tables that commands print: they fit the terminal, and a metric has one name in all of them."""

import re
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from record_content import METRICS
from sweep_tables import sweep_table
from wcwidth import width
from written_sweep import write_sweep

from latentsync.errors import OptionError
from latentsync.lab.analysis.answers import answers
from latentsync.lab.analysis.calibration import calibrated
from latentsync.lab.commands import compare, memory, status, weights
from latentsync.lab.console import paragraph, table_text, terminal_width
from latentsync.lab.evaluation import report
from latentsync.lab.evaluation.damage import DAMAGES
from latentsync.lab.evaluation.rows import Bar, Row
from latentsync.lab.figures.curves import label_of
from latentsync.lab.measuring.records import metrics_text
from latentsync.lab.records.labels import missing_lines, word_of
from latentsync.lab.sweeps.summary import calibration_texts, summary_text
from latentsync.lab.tables.tidy import read_table, write_table
from latentsync.metrics.definitions import DEFINITIONS

ROOT = Path(__file__).resolve().parents[1]
WIDTHS = (40, 80, 100, 200)
LONG = "no frame of the clip shows a face that is large enough to be measured by this network, in any window"


def widest(text: str) -> int:
    return max(width(line) for line in text.splitlines())


def words_of(text: str) -> list[str]:
    return sorted(re.findall(r"\S+", text))


@pytest.fixture
def at_80(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write_sweep(folder, "a_sweep_with_a_name_that_takes_half_of_the_line")
    return folder


def test_a_table_fits_and_keeps_every_word():
    table = {"pair": ["g-clara__m-oskar", "b"], "value": [0.25, float("nan")], "note": [LONG, None], "n": [1, 20]}
    whole = table_text(table, 300)
    assert whole.splitlines()[1] == f"g-clara__m-oskar   0.25  {LONG}   1"
    assert whole.splitlines()[2].split() == ["b", "-", "-", "20"]
    for columns in WIDTHS:
        text = table_text(table, columns)
        assert widest(text) <= columns and words_of(text) == words_of(whole)


def test_columns_that_do_not_fit_go_on_below_with_the_first_repeated():
    table = {"name": ["one", "two"], **{f"a_long_heading_{i}": [f"cell{i}", str(i)] for i in range(9)}}
    text = table_text(table, 80)
    assert widest(text) <= 80
    assert [line.split()[0] for line in text.splitlines() if line].count("one") == text.count("\n\n") + 1 > 1
    assert all(text.count(f"a_long_heading_{i}") == 1 for i in range(9))


def test_words_longer_than_the_terminal_are_broken_and_wide_characters_are_counted():
    assert widest(table_text({"id": ["a" * 200], "n": [1]}, 40)) == 40
    chinese = table_text({"片段": ["名字很长的文件" * 9, "b"], "n": [1, 2]}, 60)
    assert widest(chinese) <= 60 and "".join(re.findall("[名字很长的文件]", chinese)) == "名字很长的文件" * 9
    assert table_text({"a": [], "b": []}, 10) == "a  b"


def test_the_width_is_that_of_columns_or_of_the_terminal_and_80_in_a_pipe(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.__stdout__", StringIO())  # no terminal
    assert terminal_width() == 80 and widest(paragraph("word " * 200)) <= 80
    assert 60 < widest(table_text({"note": [LONG * 3]})) <= 80
    monkeypatch.setenv("COLUMNS", "50")
    assert terminal_width() == 50 and widest(table_text({"note": [LONG * 3]})) <= 50
    assert widest(paragraph("word " * 200, indent="  ")) <= 50


def test_missing_values_are_counted_in_one_line_each():
    silent = "the voice is silent in {} frames with a face; 10 are needed"
    missing = [("lse_c", "no weights"), *(("silent_lip_motion", silent.format(number)) for number in (1, 2, 1))]
    assert missing_lines(missing) == [
        "- LSE-C is missing in 1 record: no weights",
        f"- lip motion in silence is missing in 3 records: {silent.format(1)} (the numbers differ)",
    ]
    table = pd.DataFrame({"record": range(100), "pair": "a__b", "trained": True, "guidance_scale": 1.0, "seed": 1})
    text = summary_text(table.assign(num_inference_steps=20, clip="a", voice="b"))
    assert len(text.splitlines()) < 70 and "of 100 records" in text


@pytest.mark.parametrize("columns", WIDTHS[1:])
def test_what_compare_prints_fits(runs, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert compare.main([str(runs), "--baseline", "1.5"]) == 0
    assert widest(capsys.readouterr().out) <= columns


@pytest.mark.parametrize("columns", WIDTHS[1:])
def test_results_of_many_metrics_and_options_fit(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    women, men = sweep_table(8, {1.0: 0, 2.0: 1}), sweep_table(8, {1.0: 0, 2.0: 1}, "male", seed=1)
    table = pd.concat([women, men]).rename(columns={"sync": "sync_mini_confidence_minus_real"})
    table = table.assign(num_inference_steps=20, seconds=1.5, landmark_jitter_ratio=1.0, lse_c=table["seed"] + 1.0)
    metrics = ("sync_mini_confidence_minus_real", "landmark_jitter_ratio", "lse_c")
    text = answers(table, "1.0", metrics=metrics).text
    assert widest(text) <= columns
    for metric in metrics:
        assert word_of(metric) in " ".join(text.split()) or columns < 200
        assert metric not in text


@pytest.mark.slow
def test_tables_of_status_memory_and_weights_fit(runs, at_80, capsys):
    assert status.main([str(runs)]) == 1  # this sweep has a failure
    table, _, _ = capsys.readouterr().out.partition("a_sweep_with_a_name_that_takes_half_of_the_line: failed")
    assert widest(table) <= 80 and "done" in table
    assert memory.main(["--width", "256", "--num_frames", "8"]) == 0
    assert weights.main(["list"]) == 0
    table, _, _ = capsys.readouterr().out.partition("\ncheckpoints:")
    assert widest(table) <= 80
    assert {"2.52", "OpenRAIL++", "CC0-1.0"} <= set(table.split())


def test_tables_of_a_sweep_and_its_metrics_fit(at_80):
    metrics = {name: 0.5 for name in DEFINITIONS}
    row = {"guidance_scale": 1.5, "num_inference_steps": 20, "seed": 2**63 - 1, "pair": "g-clara__g-clara"}
    row |= {"gender": "female", "trained": False, "seconds": 12.0, "lse_c_reason": LONG, "clip": "a", "voice": "b"}
    table = pd.DataFrame([row | metrics | {"sync_mini_confidence_real": 0.4, "sync_mini_confidence_minus_real": 0.1}])
    texts = [summary_text(table), *calibration_texts(calibrated(table)), metrics_text(METRICS)]
    assert len(texts) == 3 and max(map(widest, texts)) <= 80
    assert "UNTRAINED" in texts[0] and str(2**63 - 1) in texts[0]
    assert "+0.100" in texts[1] and "0.3333" in texts[2]


def test_the_table_of_an_evaluation_fits(at_80):
    rows = [
        Row("lip", "lip", "lips", "", 0.8, (0.7, 0.9), 20, Bar(0.75), {"output = input": 0.1, "frozen mouth": 0.2}),
        Row("guidance", "guidance", "more", "", None, None, 0, reason=LONG, note=LONG),
    ]
    content = {"model": "mini", "trained": False, "syncnet_trained": False}
    text = report.text(content | {"rows": [report.entry(row, 1.0) for row in rows]})
    assert widest(text) <= 80 and "UNTRAINED" in text and "not measured" in " ".join(text.split())


def test_the_table_of_damages_fits():
    effects = {"metric": list(map(word_of, DEFINITIONS)), **{name: ["-12.3"] * len(DEFINITIONS) for name in DAMAGES}}
    text = table_text(effects, 80)
    assert widest(text) <= 80 and " ".join(DAMAGES).split() == text.splitlines()[0].split()[1:]


# --- names ---


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_metric_has_one_name(name):
    word = DEFINITIONS[name].word
    assert word_of(name) == word and label_of(name).startswith(word)
    assert f"| {word} | `{name}` |" in (ROOT / "docs" / "metrics.md").read_text()
    assert word in metrics_text({name: {"value": 1.0, "unit": "", "direction": "none"}})


# --- files ---


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_numbers_and_texts_of_any_table_are_read_as_they_were(tmp_path, suffix):
    text = pd.StringDtype(na_value=float("nan"))
    table = pd.DataFrame(
        {
            "seed": [2**63 - 1, 0, 7],
            "clips": pd.array([2**53 + 1, None, -3], "Int64"),
            "setting": [1.0, 2.0, 1e-17],
            "low": [float("nan")] * 3,
            "value": [1 / 3, float("nan"), float("-inf")],
            "group": pd.array(["0042", None, "NA"], text),
            "verdict": pd.array(["higher (p 0.002, 9 clips)", "a, \"b\"\nc", None], text),
            "code": pd.array(["007", "1e5x", "nan"], text),
            "large": pd.array(["9223372036854775808", "1", "2"], text),
            "on_front": [True, False, True],
            "approximate": pd.array([True, None, False], "boolean"),
            "used": pd.array([1, None, 3], "Int64"),
        }
    )  # fmt: skip
    write_table(table, tmp_path / f"table{suffix}")
    pd.testing.assert_frame_equal(read_table(tmp_path / f"table{suffix}"), table, check_exact=True)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cut.parquet", b"PAR1" + bytes(100), "is damaged or no table"),
        ("cut.csv", b"\xff\xfe\x00", "is damaged or no table"),
        ("odd.csv", b"record,metric\n1,2\n", "the table has no column value; it has record, metric"),
        ("odd.csv", b"a,b\n1,2\n", "the table has no column clip, voice"),
        ("twice.csv", b"record,metric,value\n1,m,2\n1,m,3\n", "several values of m for record 1"),
    ],
)
def test_a_damaged_or_odd_table_ends_a_command_in_a_sentence(tmp_path, capsys, name, content, reason):
    (tmp_path / name).write_bytes(content)
    assert compare.main([str(tmp_path / name), "--baseline", "1.5"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and reason in error and error.count("\n") == 1


def test_plain_pandas_reads_whole_numbers_too(tmp_path):
    table = pd.DataFrame({"record": ["01042", "b"], "seed": [2**63 - 1, 7], "used": pd.array([9, None], "Int64")})
    write_table(table, tmp_path / "table.csv")
    read = pd.read_csv(tmp_path / "table.csv", dtype={"record": str}, dtype_backend="numpy_nullable")
    assert read["record"].tolist() == ["01042", "b"] and read["seed"].tolist() == [2**63 - 1, 7]
    assert read["used"].dtype == "Int64" and read["used"][0] == 9


@pytest.mark.parametrize(
    ("column", "text"), [("seed", "1.5"), ("seed", str(2**63)), ("seconds", "fast"), ("trained", "maybe")]
)
def test_a_value_of_another_type_is_refused_with_its_column(tmp_path, column, text):
    (tmp_path / "table.csv").write_text(f"record,{column}\na,\nb,{text}\n")
    with pytest.raises(OptionError, match=rf"{column} of .*table.csv has '{text}'.*correct the file"):
        read_table(tmp_path / "table.csv")
