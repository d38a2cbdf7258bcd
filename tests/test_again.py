"""A row of a table, made again, is the same record, and differences are reported."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from short_clips import cut

from latentsync.errors import MediaError
from latentsync.lab.cells.cell import run_cell
from latentsync.lab.jobs.remake import agreement, run_again, shipped_rows
from latentsync.lab.options.pairs import SHIPPED_DIR, pairs_of
from latentsync.lab.sweeps import request
from latentsync.lab.sweeps.costs import measured_pace
from latentsync.lab.tables.tidy import collect, collect_wide


@pytest.fixture(scope="module")
def runs(clips, tmp_path_factory) -> Path:
    """The records of a sweep over steps, with LPIPS."""
    runs = tmp_path_factory.mktemp("runs")
    plan_request = request.read([
        "-m", "data=folder", f"data.input_dir={clips}", f"runs_dir={runs}", "name=test", "metrics=none", "tracker=none",
        "metrics.lpips=true", "sampler.num_inference_steps=1,2", "sampler.guidance_scale=1.4",
        "sampler.guidance_schedule=linear", "video.width=96", "video.height=96",
    ])  # fmt: skip
    for config in plan_request.runs:
        run_cell(config, pairs_of(config.data).pairs, lambda outcome: None)
    return runs


@pytest.mark.slow
def test_a_row_made_again_is_the_same_record_with_the_same_values(clips, runs, tmp_path):
    rows = shipped_rows(collect(runs), clips)
    assert len(rows) == 2
    records = [run_again(row, tmp_path, clips, ["lpips"]) for _, row in rows.iterrows()]
    assert [record.id for record in records] == rows["record"].tolist()
    both = agreement(rows, records)
    assert both.index.unique("metric").tolist() == [name for name in collect_wide(runs) if name in records[0].metrics]
    assert both["agrees"].all() and (both["difference"].abs() < 1e-6).all()
    changed = rows.assign(**{both.index[0][1]: 9.0})
    assert agreement(changed, records)["agrees"].sum() == len(both) - 2


@pytest.mark.slow
def test_a_precision_that_is_only_emulated_here_is_replaced(clips, runs, tmp_path, monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    row = shipped_rows(collect(runs), clips).assign(dtype="bfloat16").iloc[0]
    record = run_again(row, tmp_path, clips, ["lpips"])
    assert collect_wide(tmp_path).set_index("record")["dtype"].to_dict() == {record.id: "float32"}


def test_a_row_whose_files_are_elsewhere_is_refused(clips, runs, tmp_path):
    assert shipped_rows(collect_wide(runs)).empty  # the voice is not a shipped one
    other = tmp_path / "other"
    shutil.copytree(clips, other)
    cut(other / "g-voice.wav", SHIPPED_DIR / "g-clara.wav", 0.5, 0.5)
    row = collect_wide(runs).iloc[0]
    with pytest.raises(MediaError, match="g-voice.wav .* folder"):
        run_again(row, tmp_path, other)


def test_a_pace_adds_up_to_what_was_measured():
    def pipe(clip, voice, num_inference_steps, guidance_scale):
        assert (clip, voice, guidance_scale) == ("clip", "voice", 1.5)
        denoise = 13 * 0.25 * num_inference_steps
        return SimpleNamespace(num_frames=13, timings={"denoise": denoise, "total": denoise + 13 * 0.5})

    pace = measured_pace(pipe, "clip", "voice", steps=(1, 3), guidance_scale=1.5)
    assert (pace.once, pace.step) == pytest.approx((0.5, 0.25))
    table = pd.DataFrame({"video_frames": [13, 20], "num_inference_steps": [1, 8]})
    assert pace.seconds(table).tolist() == pytest.approx([13 * 0.75, 20 * 2.5])
