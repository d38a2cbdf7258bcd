"""Tables of records: tidy with what every number is, wide, and the same again when read from a file."""

import pandas as pd
import pytest
from record_content import METRICS, content

from latentsync.errors import OptionError
from latentsync.files import write_json
from latentsync.lab.commands.collect import main
from latentsync.lab.records.store import METRICS_FILE, RECORD_FILE, RecordStore
from latentsync.lab.tables.tidy import collect, collect_wide, read_table, widen


@pytest.fixture
def runs(tmp_path):
    """Three records, the second of a list, the third without metrics."""
    for record_id, metrics, facts in (
        ("12345678", METRICS, {}),
        ("b2", METRICS, {"name": "m-b__m-v", "gender": "male", "group": "0042", "split": "test"}),
        ("c3", {}, {"seed": 7}),
    ):
        with RecordStore(tmp_path).new(record_id) as folder:
            write_json(folder / METRICS_FILE, metrics)
            write_json(folder / RECORD_FILE, content(record_id, **facts))
    outcomes = [{"record": "b2", "status": "done"}]
    write_json(tmp_path / "sweeps/men/cells/1.json", {"overrides": [], "noted": 0.0, "outcomes": outcomes})
    return tmp_path


def test_the_tidy_table_has_a_row_per_record_and_metric_and_says_what_a_number_is(runs):
    table = collect(runs)
    assert len(table) == 6 and set(table["record"]) == {"12345678", "b2"}
    row = table[(table["record"] == "b2") & (table["metric"] == "sync_mini_confidence")].iloc[0]
    columns = ["clip", "voice", "clip_sha256", "voice_sha256", "gender", "group", "split", "network", "weights"]
    assert list(row[columns]) == ["m-b.mp4", "m-v.wav", "12e4", "0077", "male", "0042", "test", "mini", "1234567e8901"]
    assert (row["value"], row["direction"], row["version"], row["used"], row["left_out"]) == (1 / 3, "higher", 1, 9, 1)
    assert row["protocol"] and row["unit"] and (row["seconds"], row["guidance_scale"], row["seed"]) == (12.3, 1.8, 1247)
    missing = table[table["metric"] == "lpips_alex"]
    assert missing["value"].isna().all() and set(missing["reason"]) == {"no frame shows a face"}
    assert set(collect(runs, "men")["record"]) == {"b2"}


def test_the_wide_table_has_a_row_per_record_those_without_metrics_too(runs):
    table = collect_wide(runs).set_index("record")
    assert list(table.index) == ["c3", "12345678", "b2"]
    assert list(table["sync_mini_offset"].fillna(0)) == [0, -2, -2] and table["lpips_alex"].isna().all()
    assert table.loc["b2", "lpips_alex_reason"] == "no frame shows a face" and table.loc["c3", "seconds"] == 12.3


def test_a_tidy_table_made_wide_is_the_wide_one_of_records_with_metrics(runs):
    tidy, wide = collect(runs), collect_wide(runs)
    wanted = wide[wide["record"].isin(tidy["record"])]
    wanted = wanted.drop(columns=[name for name in wide if name.endswith("_reason")]).reset_index(drop=True)
    pd.testing.assert_frame_equal(widen(tidy)[list(wanted)], wanted)
    assert widen(wide) is wide


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("wide", [False, True], ids=["tidy", "wide"])
def test_a_written_table_is_read_as_it_was(runs, suffix, wide, capsys):
    path = runs / "tables" / f"table{suffix}"
    assert main([str(runs), "--output", str(path), *(["--wide"] if wide else [])]) == 0
    assert f"has {3 if wide else 6} rows of {3 if wide else 2} records" in capsys.readouterr().out
    pd.testing.assert_frame_equal(read_table(path), collect_wide(runs) if wide else collect(runs), check_exact=True)


def test_a_table_without_rows_or_of_another_kind_is_refused(runs, capsys):
    assert main([str(runs), "--sweep", "women", "--output", str(runs / "t.csv")]) == 2
    assert "has no sweep women; it has men" in capsys.readouterr().err
    with pytest.raises(OptionError, match="there is no folder .*nowhere; give the folder of runs_dir"):
        collect(runs / "nowhere")
    assert main([str(runs), "--output", str(runs / "t.xlsx")]) == 2
    assert "neither of .csv and .parquet" in capsys.readouterr().err
    with pytest.raises(OptionError, match="neither of"):
        read_table(runs / "t.txt")
    assert not list(runs.glob("t.*"))
