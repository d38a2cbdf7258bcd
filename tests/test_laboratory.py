"""What a notebook calls by name from `latentsync.lab`, on the records of a sweep."""

import pandas as pd
import pytest
from written_sweep import write_sweep

from latentsync.errors import MediaError, OptionError
from latentsync.files import write_json
from latentsync.lab import collect, compare, measure
from latentsync.lab.analysis.comparisons import compare_all
from latentsync.lab.measuring import records as measuring
from latentsync.lab.records.store import RecordStore
from latentsync.lab.tables.tidy import collect_wide
from latentsync.metrics.definitions import entry


@pytest.fixture
def runs(tmp_path):
    """A runs folder with the sweep `guidance`: eight records of two clips, two of guidance and two seeds."""
    write_sweep(tmp_path, "guidance")
    return tmp_path


def test_settings_are_compared_from_a_tidy_or_a_wide_table(runs):
    tidy, wide = collect(runs, "guidance"), collect_wide(runs, "guidance")
    comparisons = compare(tidy, "guidance_scale", baseline=1.5, metrics=["psnr", "lpips_alex_mouth"])
    expected = compare_all(wide, ["psnr", "lpips_alex_mouth"], "guidance_scale", 1.5)
    pd.testing.assert_frame_equal(comparisons, expected)
    assert comparisons["difference"].tolist() == pytest.approx([-0.005, -0.005])
    usual = compare(wide, baseline="1.5")
    pd.testing.assert_frame_equal(usual, compare_all(wide, "lpips_alex_mouth", "guidance_scale", 1.5))
    pd.testing.assert_frame_equal(compare(wide, baseline=1.5, metrics="lpips_alex_mouth"), usual)


def test_what_cannot_be_compared_is_refused_with_what_there_is(runs):
    table = collect(runs)
    with pytest.raises(OptionError, match=r"guidance_scale=9; choose two of 1\.0, 1\.5"):
        compare(table, "guidance_scale", baseline=9, metrics="psnr")
    with pytest.raises(OptionError, match="no column beauty"):
        compare(table, "guidance_scale", baseline=1.5, metrics="beauty")
    with pytest.raises(OptionError, match="the table is empty"):
        compare(table.iloc[:0], baseline=1.5)
    with pytest.raises(OptionError, match="name metrics of the table"):
        compare(table[table["metric"] == "psnr"], baseline=1.5)


def test_records_are_measured_by_names_of_metrics(runs, monkeypatch, capsys):
    first, *others = RecordStore(runs).all()
    calls = []

    def measure_record(record, wanted, detector, inputs):
        if record.id == first.id:
            raise MediaError("its clip is gone")
        calls.append((record.id, wanted.families, inputs))
        entries = {"mouth_sharpness_ratio": entry("mouth_sharpness_ratio", 0.5)}
        write_json(record.metrics_path, record.metrics | entries)
        return entries

    monkeypatch.setattr(measuring, "measure_record", measure_record)
    metrics = measure(runs, ["sharpness"], sweep="guidance", inputs="moved", detector=object())
    assert calls and {families for _, families, _ in calls} == {("sharpness",)}
    assert {record for record, *_ in calls} == {record.id for record in others}
    assert all(str(inputs) == "moved" for *_, inputs in calls)
    assert metrics.index.names == ["record", "metric"]
    assert metrics.loc[(others[0].id, "mouth_sharpness_ratio"), "value"] == 0.5
    assert metrics.loc[first.id].index.tolist() == ["lpips_alex_mouth", "psnr"]
    assert "FAILED  its clip is gone" in capsys.readouterr().out
    one = measure(others[0], "sharpness", again=True, detector=object())
    assert one.index.get_level_values("record").unique().tolist() == [others[0].id]


def test_no_record_and_no_metric_of_that_name_are_refused(runs, tmp_path):
    with pytest.raises(OptionError, match="names beauty"):
        measure(runs, "beauty")
    with pytest.raises(OptionError, match="sweep guidence"):
        measure(runs, "sharpness", sweep="guidence")
    with pytest.raises(OptionError, match="has no record"):
        measure(tmp_path / "nothing", "sharpness")
