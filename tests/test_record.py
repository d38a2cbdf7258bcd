"""Records appear whole or not at all, and their identity covers what determines the pixels."""

import json
import os
from dataclasses import replace

import pandas as pd
import pytest
from record_content import content

from latentsync.config import Options, RuntimeOptions, SamplerOptions
from latentsync.disk import kernel
from latentsync.files import PART_PREFIX, write_json
from latentsync.lab.analysis.calibration import calibrated
from latentsync.lab.options.pairs import SHIPPED_DIR, Pair
from latentsync.lab.records.identity import identity, record_id
from latentsync.lab.records.store import RECORD_FILE, RecordStore
from latentsync.lab.sweeps.summary import calibration_texts
from latentsync.pipeline import LipsyncPipeline

PAIR = Pair(SHIPPED_DIR / "g-clara.mp4", SHIPPED_DIR / "g-clara.wav", "female")
OPTIONS = Options(SamplerOptions(guidance_scale=1.5))


@pytest.fixture(scope="module")
def pipe():
    return LipsyncPipeline.from_pretrained("mini", "cpu", "float32")


def id_of(pipe, pair=PAIR, options=OPTIONS):
    return record_id(identity(pair, pipe, pipe.resolve(options)))


def test_a_record_is_visible_only_when_complete(tmp_path):
    store = RecordStore(tmp_path)
    with store.new("abc") as folder:
        write_json(folder / RECORD_FILE, content("abc"))
        assert store.find("abc") is None and store.all() == []
    assert [record.id for record in store.all()] == ["abc"]
    with pytest.raises(ZeroDivisionError), store.new("def") as folder:
        write_json(folder / RECORD_FILE, content("def"))
        raise ZeroDivisionError
    assert store.find("def") is None
    assert [path.name for path in store.root.iterdir()] == ["abc"]


def test_what_killed_processes_left_is_removed(tmp_path):
    store = RecordStore(tmp_path)
    (store.root / f"{PART_PREFIX}0123456789ab-{kernel()}").mkdir(parents=True)
    with store.new("abc") as folder:
        assert [path.name for path in store.root.iterdir()] == [folder.parent.name]
        write_json(folder / RECORD_FILE, content("abc"))


def test_of_two_that_make_one_record_the_first_wins_and_neither_fails(tmp_path):
    store = RecordStore(tmp_path)
    with store.new("abc") as slow:
        write_json(slow / RECORD_FILE, content("abc") | {"by": "slow"})
        os.rename(slow, store.root / "elsewhere")  # as if it were another process's part
        with store.new("abc") as quick:
            write_json(quick / RECORD_FILE, content("abc") | {"by": "quick"})
        os.rename(store.root / "elsewhere", slow)
    assert store.find("abc").content["by"] == "quick"
    assert [path.name for path in store.root.iterdir()] == ["abc"]


def test_identity_covers_what_determines_the_pixels(pipe, tmp_path):
    same = id_of(pipe)
    sampler = OPTIONS.sampler
    changed = [
        replace(OPTIONS, sampler=replace(sampler, seed=7)),
        replace(OPTIONS, sampler=replace(sampler, guidance_scale=1.6)),
        replace(OPTIONS, sampler=replace(sampler, num_inference_steps=21)),
        replace(OPTIONS, sampler=replace(sampler, num_frames=4)),
        replace(OPTIONS, sampler=replace(sampler, rng="reference")),
        replace(OPTIONS, sampler=replace(sampler, deepcache_interval=3)),
        replace(OPTIONS, sampler=replace(sampler, deepcache_interval=3, deepcache_order=1)),
        replace(OPTIONS, sampler=replace(sampler, deepcache_interval=3, deepcache_final_steps=1)),
        replace(OPTIONS, sampler=replace(sampler, scheduler="unipc")),
        replace(OPTIONS, sampler=replace(sampler, guidance_mask="mouth")),
        replace(OPTIONS, sampler=replace(sampler, guidance_every=2)),
        replace(OPTIONS, sampler=replace(sampler, guidance_kind="projected")),
        replace(OPTIONS, sampler=replace(sampler, guidance_kind="projected", guidance_parallel=0.5)),
        replace(OPTIONS, sampler=replace(sampler, guidance_kind="zero_star")),
        replace(OPTIONS, sampler=replace(sampler, guidance_kind="zero_star", guidance_zero_steps=0)),
        replace(OPTIONS, sampler=replace(sampler, guidance_rescale=0.7)),
        replace(OPTIONS, sampler=replace(sampler, guidance_schedule="interval")),
        replace(OPTIONS, sampler=replace(sampler, guidance_schedule="interval", guidance_interval=(0.1, 0.5))),
        replace(OPTIONS, video=replace(OPTIONS.video, length="reference")),
        replace(OPTIONS, video=replace(OPTIONS.video, geometry="float16")),
        replace(OPTIONS, video=replace(OPTIONS.video, rounding="truncate")),
        replace(OPTIONS, video=replace(OPTIONS.video, width=256)),
        replace(OPTIONS, video=replace(OPTIONS.video, mask="mask2")),
        replace(OPTIONS, video=replace(OPTIONS.video, sound="lossless")),
    ]
    other_voice = replace(PAIR, voice=SHIPPED_DIR / "g-clara-weather.wav")
    other_precision = LipsyncPipeline.from_pretrained("mini", "cpu", "bfloat16")
    pipe.save_pretrained(tmp_path / "edited")  # the same tensors under a configuration with other heads
    config = tmp_path / "edited" / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "attention_head_dim": 2}))
    other_heads = LipsyncPipeline.from_pretrained(tmp_path / "edited", "cpu", "float32")
    assert other_heads.weight_hashes == pipe.weight_hashes
    ids = [id_of(pipe, options=options) for options in changed]
    ids += [id_of(pipe, other_voice), id_of(other_precision), id_of(other_heads)]
    assert len({same, *ids}) == len(ids) + 1


def test_options_that_came_later_leave_the_ids_of_earlier_records_as_they_were(pipe):
    as_before = replace(OPTIONS, video=replace(OPTIONS.video, sound="lossless"))
    parts = identity(PAIR, pipe, pipe.resolve(as_before))
    assert set(parts["options"]) == {
        "guidance_scale", "num_inference_steps", "seed", "num_frames", "rng", "deepcache_interval", "size_px", "mask",
        "length", "geometry", "rounding", "crf", "dtype",
    }  # fmt: skip
    unused = replace(as_before, sampler=replace(as_before.sampler, guidance_interval=(0.1, 0.5)))
    assert id_of(pipe, options=unused) == record_id(parts)
    unguided = [replace(as_before.sampler, guidance_scale=1.0, guidance_every=every) for every in (1, 2)]
    assert len({id_of(pipe, options=replace(as_before, sampler=one)) for one in unguided}) == 1
    without_deepcache = replace(as_before.sampler, deepcache_order=1, deepcache_final_steps=1)
    assert id_of(pipe, options=replace(as_before, sampler=without_deepcache)) == record_id(parts)
    unused = replace(as_before.sampler, guidance_parallel=0.5, guidance_norm=0, guidance_momentum=0)
    assert id_of(pipe, options=replace(as_before, sampler=unused)) == record_id(parts)
    assert set(identity(PAIR, pipe, pipe.resolve(OPTIONS))["options"]) == {*parts["options"], "sound"}


def test_settings_of_networks_that_came_later_leave_the_ids_of_earlier_records_as_they_were(pipe):
    options = pipe.resolve(OPTIONS)
    assert set(identity(PAIR, pipe, options)["networks"]["unet"]) == {
        "attention_head_dim", "block_out_channels", "cross_attention_dim", "down_block_types",
        "downsample_padding", "in_channels", "layers_per_block", "motion_module_decoder_only",
        "motion_module_kwargs", "motion_module_mid_block", "motion_module_resolutions", "norm_eps",
        "norm_num_groups", "out_channels", "sample_size", "up_block_types", "use_motion_module",
    }  # fmt: skip
    pipe.unet.register_to_config(guidance_limit=2.5)
    try:
        assert identity(PAIR, pipe, options)["networks"]["unet"]["guidance_limit"] == 2.5
    finally:
        pipe.unet.register_to_config(guidance_limit=None)


def test_identity_does_not_cover_names_places_and_speed(pipe, tmp_path):
    renamed = Pair(tmp_path / "g-x.mp4", tmp_path / "g-y.wav", "female")
    renamed.clip.write_bytes(PAIR.clip.read_bytes())
    renamed.voice.write_bytes(PAIR.voice.read_bytes())
    assert id_of(pipe, renamed) == id_of(pipe)
    assert id_of(pipe, options=replace(OPTIONS, runtime=RuntimeOptions(batch_size=3))) == id_of(pipe)
    explicit = replace(OPTIONS, sampler=replace(OPTIONS.sampler, num_frames=8), video=replace(OPTIONS.video, width=128))
    assert id_of(pipe, options=explicit) == id_of(pipe)  # what the model says, said again


def test_results_are_held_against_the_real_clips_of_their_gender():
    setting = {"guidance_scale": 1.5, "num_inference_steps": 20}
    values = [("a", "female", 0.3, 0.4), ("a", "female", 0.4, 0.4), ("b", "female", 0.2, 0.6),
             ("e", "female", 0.3, 0.5), ("c", "male", 0.5, 0.4), ("d", "male", 0.5, None)]  # fmt: skip
    rows = [
        {"clip": pair, "voice": pair, "gender": gender, **setting, "score": value, "score_real": real,
         "score_minus_real": None if real is None else value - real} for pair, gender, value, real in values
    ]  # fmt: skip
    table = calibrated(pd.DataFrame(rows).astype({"score_real": float, "score_minus_real": float}))
    women, men = (row for _, row in table.set_index("gender").iterrows())
    assert women["minus_real"] == pytest.approx((-0.05 - 0.4 - 0.2) / 3) and women["clips"] == 3  # seeds count as one
    assert women["low"] < women["minus_real"] < women["high"] and women["real"] == pytest.approx(0.5)
    assert men["minus_real"] == pytest.approx(0.1) and (men["clips"], men["without"]) == (1, 1)
    assert pd.isna(men["low"])
    assert calibrated(pd.DataFrame(rows)[["clip", "gender", *setting]]).empty
    two = pd.concat([table_of := pd.DataFrame(rows[:1]).assign(scheduler="ddim"), table_of.assign(scheduler="unipc")])
    assert calibrated(two)["scheduler"].tolist() == ["ddim", "unipc"]  # settings are not averaged over
    sisters = pd.DataFrame(rows).assign(group=["x", "x", "x", "y", "z", "z"])
    women = calibrated(sisters.astype({"score_real": float, "score_minus_real": float})).iloc[0]
    assert (women["unit"], women["units"], women["clips"]) == ("speaker", 2, 3) and pd.isna(women["low"])
    assert women["minus_real"] == pytest.approx(((-0.05 - 0.4) / 2 - 0.2) / 2)  # the clips of a speaker count as one


@pytest.mark.parametrize(
    ("metric", "generated", "real", "suspect"),
    [
        ("sync_mini_confidence", [0.53, 0.50], [0.28, 0.26], True),  # without an interval: each by more than a tenth
        ("sync_mini_confidence", [0.53, 0.50], [0.52, 0.49], False),
        ("sync_mini_confidence", [0.53, 0.20], [0.28, 0.26], False),
        ("sync_mini_confidence", [0.53, 0.54, 0.53], [0.50, 0.50, 0.50], True),  # the interval lies above 0
        ("sync_mini_confidence", [0.46, 0.60, 0.52], [0.50, 0.50, 0.50], False),
        ("sync_mini_distance", [0.10, 0.10], [0.20, 0.20], True),
        ("sync_mini_distance", [0.20, 0.20], [0.10, 0.10], False),
        ("sync_mini_offset", [1, 1], [0, 0], False),
    ],
)
def test_results_that_beat_the_real_clips_are_suspect(metric, generated, real, suspect):
    setting = {"gender": "female", "guidance_scale": 1.5, "num_inference_steps": 20}
    rows = [
        {"clip": i, "voice": i, metric: one, f"{metric}_real": true, f"{metric}_minus_real": one - true} | setting
        for i, (one, true) in enumerate(zip(generated, real, strict=True))
    ]
    table = calibrated(pd.DataFrame(rows))
    assert table["suspect"].tolist() == [suspect]
    assert any("suspect" in text for text in calibration_texts(table)) == (suspect and "confidence" in metric)
