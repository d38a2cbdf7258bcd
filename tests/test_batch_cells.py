"""Cells of a sweep that are denoised side by side make the records that each would have made alone."""

import shutil

import numpy as np

from latentsync import media
from latentsync.lab.cells.cell import run_cell
from latentsync.lab.options.pairs import pairs_of
from latentsync.lab.records.store import RecordStore
from latentsync.lab.sweeps import plan, request


def cells(clips, runs, batch_cells):
    """The cells of a sweep over seed, guidance and steps, as `latentsync run` reads them."""
    asked = request.read([
        "-m", "data=folder", f"data.input_dir={clips}", f"runs_dir={runs}", "name=test", "metrics=none", "tracker=none",
        "sampler.num_inference_steps=1,2", "sampler.seed=1,2", "sampler.guidance_scale=1.0,2.0",
        "runtime.dtype=float32", "video.crf=0", f"runtime.batch_cells={batch_cells}",
    ])  # fmt: skip
    return plan.runs_of(asked)


def run(config, others):
    return [outcome.status for outcome in run_cell(config, pairs_of(config.data).pairs, lambda o: None, others=others)]


def test_cells_made_together_are_those_made_alone(clips, tmp_path):
    alone, together = cells(clips, tmp_path / "alone", 1), cells(clips, tmp_path / "together", 3)
    assert [run(config, alone) for config in alone] == [["done"]] * 8
    store = RecordStore(tmp_path / "together")
    assert run(together[0], together) == ["done"]
    made = store.all()
    assert len(made) == 3 and {record.content["options"]["num_inference_steps"] for record in made} == {1}
    assert {record.content["together"] for record in made} == {3}
    assert [run(config, together) for config in together].count(["cached"]) == 5  # 3, and of 2 batches the others
    expected = {record.id: record for record in RecordStore(tmp_path / "alone").all()}
    assert {record.id for record in store.all()} == set(expected)
    for record in store.all():
        one, other = (list(media.read_frames(r.video_path)) for r in (record, expected[record.id]))
        assert len(one) == len(other) == 13
        assert (
            max(np.abs(a.astype(int) - b).max() for a, b in zip(one, other, strict=True)) <= 2
        )  # lossless but for colour
    assert "together" not in expected[made[0].id].content


def test_what_others_are_making_is_left_to_them(clips, tmp_path):
    configs = cells(clips, tmp_path, 8)
    assert run(configs[0], []) == ["done"]
    (record,) = RecordStore(tmp_path).all()
    shutil.rmtree(record.folder)
    ids = [_id(config) for config in configs]
    with RecordStore(tmp_path).claim(ids[1], wait=False) as is_ours:
        assert is_ours
        assert run(configs[0], configs) == ["done"]
    assert {record.id for record in RecordStore(tmp_path).all()} == {ids[0], *ids[2:4]}


def _id(config) -> str:
    from latentsync.lab.cells.cell import plan as planned
    from latentsync.lab.cells.loading import pipeline_of

    (pair,) = pairs_of(config.data).pairs
    return planned(pair, config, pipeline_of(config))[1].record
