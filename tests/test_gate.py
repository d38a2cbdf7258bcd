"""The gate of a run, and the consent that its results keep. Neither is part of a record's id."""

import json

import pandas as pd
import pytest
from record_content import sound_record
from record_schemas import schema_faults

from latentsync.errors import OptionError
from latentsync.files import write_json
from latentsync.generation.write import SYNTHETIC_NOTICE, UNTRAINED_NOTICE, notice
from latentsync.lab.commands.batch import main as batch_main
from latentsync.lab.commands.run import main as run_main
from latentsync.lab.console import BELOW_GATE, complaints
from latentsync.lab.options.compose import configured
from latentsync.lab.options.gate import Gate
from latentsync.lab.options.schema import MetricsConfig, read_config
from latentsync.lab.records.store import RecordStore
from latentsync.lab.sweeps.request import cell_overrides
from latentsync.lab.tables.gate import gate_in, keep_gate
from latentsync.lab.tables.tidy import collect, collect_wide, read_table, write_table

CONSENT = "signed 2026-05-01, for research: no publication"


def failures(name, value, bound):
    return Gate.of({name: bound}).failures({name: {"value": value, "reason": "dark" if value is None else None}})


@pytest.mark.parametrize(
    ("name", "passes", "fails", "bound", "text"),
    [
        ("sync_mini_confidence", 0.3, 0.29, 0.3, "mini SyncNet confidence is 0.29, not at least 0.3"),
        ("lpips_alex_mouth", 0.1, 0.11, 0.1, "mouth LPIPS is 0.11, not at most 0.1"),
        ("sync_mini_confidence_minus_real", -0.1, -0.2, 0.1,
         "mini SyncNet confidence minus real clip is -0.2, not at most 0.1 away from 0"),
        ("window_boundary_ratio", 0.9, 1.2, 0.1, "not at most 0.1 away from 1"),
    ],
)  # fmt: skip
def test_the_direction_is_that_of_the_metric(name, passes, fails, bound, text):
    assert failures(name, passes, bound) == []
    (failure,) = failures(name, fails, bound)
    assert text in failure


def test_a_missing_value_does_not_pass_and_says_why():
    assert failures("psnr", None, 30) == ["PSNR has no value (dark), and must be at least 30"]
    assert Gate.of({"psnr": 30}).failures({}) == ["PSNR has no value (it was not measured), and must be at least 30"]


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("{sync_mini_confidenc: 0.3}", "no metric; did you mean sync_mini_confidence?"),
        ("{sync_mini_confidence_real: 0.3}", "neither more nor less is better"),
        ("{sync_mini_confidence: high}", "metrics.gate"),
        ("{sync_mini_confidence: nan}", "nan for sync_mini_confidence; give a finite number"),
        ("0.3", "metrics.gate"),
        ("{lpips_vgg: 1}", "not measured; add metrics.lpips_vgg=true"),
    ],
)
def test_a_wrong_gate_is_refused(gate, message):
    with pytest.raises(OptionError, match="metrics.gate") as refusal:
        read_config(configured([f"metrics.gate={gate}"]))
    assert message in str(refusal.value)


def test_the_option_is_read_and_no_part_of_a_cell():
    line = ["metrics.gate={sync_mini_confidence: 0.3, lpips_alex: 0.2}", f"data.consent={CONSENT}"]
    run = read_config(configured(line))
    assert run.metrics.gate.bounds == (("lpips_alex", 0.2), ("sync_mini_confidence", 0.3))
    assert run.data.consent == CONSENT
    assert cell_overrides(line) == [] and not MetricsConfig.of(()).gate


@pytest.mark.parametrize("text", ["  ", "two\\nlines", "x" * 1001])
def test_a_consent_that_metadata_cannot_hold_is_refused(text):
    with pytest.raises(OptionError, match="data.consent is .*; it must be one line of 1 to 1000 characters"):
        read_config(configured([f'data.consent="{text}"'.replace("\\n", "\n")]))


@pytest.fixture
def runs(tmp_path):
    """A sweep s of two records, the second of which has another confidence."""
    runs = tmp_path / "runs"
    records = [sound_record(runs, seed, seed=seed) for seed in (1, 2)]
    metrics = records[1].metrics
    metrics["sync_mini_confidence"]["value"] = 0.1
    write_json(records[1].metrics_path, metrics)
    outcomes = [{"pair": "g-a__g-v", "status": "done", "record": record.id} for record in records]
    write_json(runs / "sweeps/s/cells/1.json", {"overrides": [], "noted": 0.0, "outcomes": outcomes})
    return runs


def test_tables_of_the_sweep_have_its_gate_and_others_do_not(runs, tmp_path):
    keep_gate(runs / "sweeps/s", Gate.of({"sync_mini_confidence": 0.3}))
    wide = collect_wide(runs, "s").set_index("seed")
    assert wide["gate"].to_dict() == {1: "passed", 2: "failed"}
    assert pd.isna(wide["gate_failures"][1])
    assert wide["gate_failures"][2] == "mini SyncNet confidence is 0.1, not at least 0.3"
    tidy = collect(runs, "s")
    assert tidy.groupby("seed")["gate"].agg(["nunique", "first"])["first"].to_dict() == {1: "passed", 2: "failed"}
    assert "gate" not in collect_wide(runs) and "gate" not in collect(runs)
    for suffix in ("csv", "parquet"):
        write_table(tidy, tmp_path / f"table.{suffix}")
        pd.testing.assert_frame_equal(read_table(tmp_path / f"table.{suffix}"), tidy)
    keep_gate(runs / "sweeps/s", Gate())
    assert "gate" not in collect_wide(runs, "s")


def test_a_damaged_gate_is_named_and_costs_no_row(runs):
    for text in ("{", '{"bounds": {"a metric of later": 1}}'):
        (runs / "sweeps/s/gate.json").write_text(text)
        with complaints() as lines:
            assert len(collect_wide(runs, "s")) == 2 and not gate_in(runs / "sweeps/s")
        assert lines and all("the gate of s" in line for line in lines)


def status_of(main, arguments):
    try:
        return main(arguments) or 0
    except SystemExit as end:
        return end.code


@pytest.mark.slow
def test_a_run_ends_with_the_gate_and_keeps_the_consent(clips, tmp_path, capsys):
    runs = tmp_path / "runs"

    def run(*more):
        line = ["-m", "data=folder", f"data.input_dir={clips}", f"runs_dir={runs}", "name=s", "metrics=none",
                "metrics.seam=true", "tracker=none", "sampler.num_inference_steps=1", *more]  # fmt: skip
        return status_of(run_main, line), capsys.readouterr().out

    status, printed = run("metrics.gate={seam_colour: 0}", f"data.consent={CONSENT}")
    assert status == BELOW_GATE and "BELOW THE GATE  g-clara__g-voice (guidance 1.8, 1 steps" in printed
    assert "gate: 0 of 1 records passed (" in printed and "0 failures" in printed
    assert read_table(runs / "sweeps/s/table.csv")["gate"].tolist() == ["failed"]
    (record,) = RecordStore(runs).all()
    assert record.content["consent"] == CONSENT and collect_wide(runs)["consent"].tolist() == [CONSENT]
    assert list(schema_faults(record.folder)) == []
    for path in (record.video_path, record.folder / "mask.mp4"):
        assert comment_of(path) == f"{SYNTHETIC_NOTICE} Consent: {CONSENT}"
    status, printed = run("metrics.gate={seam_colour: 0}")  # nothing to make, and the gate still speaks
    assert status == BELOW_GATE and "nothing to do" in printed and "BELOW THE GATE" in printed
    assert run("metrics.gate={seam_colour: 0}")[0] == BELOW_GATE  # the plan alone answers
    status, printed = run("metrics.gate={seam_colour: 1000}", "data.consent=another", "retry=failed")
    assert status == 0 and "gate: 1 of 1 records passed" in printed
    assert RecordStore(runs).ids() == [record.id]
    assert run()[0] == 0 and "gate" not in collect_wide(runs, "s")


@pytest.mark.slow
def test_a_folder_job_has_gate_and_consent_too(clips, tmp_path, capsys):
    out = tmp_path / "out"
    line = ["--input_dir", str(clips), "--output_dir", str(out), "sampler.num_inference_steps=1", "metrics=none",
            "metrics.seam=true"]  # fmt: skip
    gate, consent = "metrics.gate={seam_colour: 0}", f"data.consent={CONSENT}"
    sidecar, video = out / "g-clara__g-voice.json", out / "g-clara__g-voice_out.mp4"
    assert batch_main(line) == 0
    plain = json.loads(sidecar.read_text())
    assert "consent" not in plain and comment_of(video) == SYNTHETIC_NOTICE
    capsys.readouterr()
    assert batch_main([*line, gate]) == BELOW_GATE
    answer = capsys.readouterr()
    assert "cached, nothing to do, BELOW THE GATE: " in answer.out
    assert "BELOW THE GATE  g-clara__g-voice: " in answer.err
    assert batch_main([*line, consent]) == 0
    content = json.loads(sidecar.read_text())
    assert content["consent"] == CONSENT and content["id"] == plain["id"]
    assert comment_of(video) == f"{SYNTHETIC_NOTICE} Consent: {CONSENT}"
    assert batch_main([*line, consent]) == 0 and "cached" in capsys.readouterr().out


def comment_of(path):
    import av

    with av.open(str(path)) as container:
        return container.metadata["comment"]


def test_without_a_consent_the_metadata_are_those_of_before():
    assert notice(True) == SYNTHETIC_NOTICE and notice(False) == f"{SYNTHETIC_NOTICE} {UNTRAINED_NOTICE}"
    assert notice(False, "yes") == f"{SYNTHETIC_NOTICE} {UNTRAINED_NOTICE} Consent: yes"
