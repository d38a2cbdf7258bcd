"""Cells of a sweep that are denoised side by side make the records that each would have made alone."""

import shutil

import numpy as np
import pytest
import torch
from rounding import rounding

from latentsync import media
from latentsync.lab.cells.cell import run_cell
from latentsync.lab.cells.loading import pipeline_of
from latentsync.lab.options.pairs import pairs_of
from latentsync.lab.records.store import RecordStore
from latentsync.lab.sweeps import request
from latentsync.pipeline import LipsyncPipeline

pytestmark = pytest.mark.slow


def cells(clips, runs, batch_cells):
    """The cells of a sweep over seed, guidance and steps, as `latentsync run` reads them."""
    sweep_request = request.read([
        "-m", "data=folder", f"data.input_dir={clips}", f"runs_dir={runs}", "name=test", "metrics=none", "tracker=none",
        "sampler.num_inference_steps=1,2", "sampler.seed=1,2", "sampler.guidance_scale=1.0,2.0",
        "runtime.dtype=float32", "video.crf=0", f"runtime.batch_cells={batch_cells}",
    ])  # fmt: skip
    return sweep_request.runs


def run(config, others):
    return [outcome.status for outcome in run_cell(config, pairs_of(config.data).pairs, lambda o: None, others=others)]


@pytest.fixture
def generated(monkeypatch) -> dict:
    """The generated faces (frames, 3, r, r), -1..1, of every setting as its frames are handed to the encoder."""
    faces, generate = {}, LipsyncPipeline.generate_together

    def noting(self, pair, settings, *args):
        parts = [[] for _ in settings]
        for frames in generate(self, pair, settings, *args):
            for part, frame in zip(parts, frames, strict=True):
                part.append(frame.generated)
            yield frames
        faces.update({_setting(one.flat()): torch.stack(part) for one, part in zip(settings, parts, strict=True)})

    monkeypatch.setattr(LipsyncPipeline, "generate_together", noting)
    return faces


def test_workers_take_no_cells_from_each_other(tmp_path):
    sweep = ["-m", f"runs_dir={tmp_path}", "sampler.seed=1,2"]
    for more, count in (
        (["runtime.batch_cells=2"], 2),
        (["runtime.batch_cells=2", "launch=local"], 0),  # a worker would wait for a cell that another one makes
        ([], 0),
    ):
        assert len(request.read([*sweep, *more]).siblings) == count


def test_cells_made_together_are_those_made_alone(clips, tmp_path, generated):
    alone, together = cells(clips, tmp_path / "alone", 1), cells(clips, tmp_path / "together", 3)
    assert [run(config, alone) for config in alone] == [["done"]] * 8
    faces_alone = dict(generated)
    generated.clear()
    store = RecordStore(tmp_path / "together")
    assert run(together[0], together) == ["done"]
    records = store.all()
    assert len(records) == 3 and {record.content["options"]["num_inference_steps"] for record in records} == {1}
    assert {record.content["together"] for record in records} == {3}
    assert [run(config, together) for config in together].count(["cached"]) == 5  # 3, and of 2 batches the others
    expected = {record.id: record for record in RecordStore(tmp_path / "alone").all()}
    assert {record.id for record in store.all()} == set(expected)
    model = pipeline_of(alone[0])
    for setting, faces in faces_alone.items():
        scale, steps = setting[:2]
        # A guided prediction is scale * c - (scale - 1) * u, and the squares of the errors of c and u add up
        passes = round(steps * (scale**2 + (scale - 1) ** 2))
        bound = rounding(model.audio.whisper, model.vae.encoder, *[model.unet] * passes, model.vae.decoder)
        torch.testing.assert_close(generated[setting], faces, atol=bound, rtol=0)
        others = [other for name, other in faces_alone.items() if name != setting]
        assert min((other - faces).abs().max() for other in others) > 10 * bound
    decoded = {name: np.stack(list(media.read_frames(one.video_path))).astype(float) for name, one in expected.items()}
    for record in store.all():  # each file holds the frames of its own setting
        frames = np.stack(list(media.read_frames(record.video_path)))
        assert len(frames) == 13
        distances = {name: np.abs(frames - other).mean() for name, other in decoded.items()}
        assert min(distances, key=distances.get) == record.id
    assert "together" not in expected[records[0].id].content


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


def _setting(options: dict) -> tuple:
    return tuple(options[name] for name in ("guidance_scale", "num_inference_steps", "seed"))


def _id(config) -> str:
    from latentsync.lab.cells.cell import plan as planned

    (pair,) = pairs_of(config.data).pairs
    return planned(pair, config, pipeline_of(config))[1].record


def test_cells_whose_options_differ_once_they_are_resolved_are_made_apart(clips, tmp_path):
    """Without guidance nothing of guidance_every and guidance_kind is used, so such a cell has other options."""
    runs = request.read([
        "-m", "data=folder", f"data.input_dir={clips}", f"runs_dir={tmp_path}", "name=test", "metrics=none",
        "tracker=none", "sampler.num_inference_steps=2", "sampler.guidance_scale=1.0,1.5,2.0",
        "sampler.guidance_every=2", "sampler.guidance_kind=projected", "runtime.batch_cells=3",
    ]).runs  # fmt: skip
    assert [run(config, runs) for config in runs] == [["done"], ["done"], ["cached"]]
    together = [record.content.get("together") for record in RecordStore(tmp_path).all()]
    assert sorted(together, key=str) == [2, 2, None]


def test_what_is_kept_beside_a_record_is_there_first_and_costs_no_record(clips, tmp_path, capsys):
    config, store, seen = cells(clips, tmp_path, 1)[0], RecordStore(tmp_path), []

    def keep(record, output):
        assert record.fault(is_deep=True) is None and store.lacks(record.id)
        seen.append(record.id)
        raise ZeroDivisionError("no room for a preview")

    outcomes = run_cell(config, pairs_of(config.data).pairs, lambda outcome: None, on_whole=keep)
    assert [outcome.status for outcome in outcomes] == ["done"]
    assert [record.id for record in store.all()] == seen
    assert "no room for a preview" in capsys.readouterr().err
