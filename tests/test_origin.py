"""`latentsync run from=ID`: a run starts from the pair, model and options of a record."""

import json
import shutil
from pathlib import Path

import pytest
from short_clips import clip_folder

from latentsync.errors import MediaError, OptionError, WeightsError
from latentsync.lab.commands.run import main
from latentsync.lab.jobs.origin import origin_of, run_from
from latentsync.lab.records.identity import changes
from latentsync.lab.records.store import RECORD_FILE, RecordStore
from latentsync.lab.sweeps import request
from latentsync.lab.sweeps.plan import resolved

pytestmark = pytest.mark.slow

UNUSUAL = ("sampler.num_inference_steps=1", "sampler.guidance_schedule=interval",
           "sampler.guidance_interval=[0.1,0.6]", "sampler.seed=7", "video.crf=30", "video.face=[256,200]",
           "video.reference=elsewhere")  # fmt: skip


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A record of 0.5 s with unusual options, from a clip and a voice of its folder."""
    root = tmp_path_factory.mktemp("origin")
    folder = clip_folder(root / "in", 0.5)
    assert main(["data=folder", f"data.input_dir={folder}", f"runs_dir={root}/runs", "name=first", "metrics=none",
                 "tracker=none", *UNUSUAL]) in (0, None)  # fmt: skip
    (record,) = RecordStore(root / "runs").all()
    return record


def cells(record, *overrides):
    """The cells of a command line that starts from a record, with the ids of their records."""
    line = [f"from={record.id}", f"runs_dir={record.runs_dir}", "metrics=none", "tracker=none"]
    line = [*overrides[:1], *line, *overrides[1:]]  # Hydra takes -m before or after all others
    return resolved(request.read(origin_of(line).arguments))


def options_of(record, *overrides):
    origin = origin_of([f"from={record.id}", f"runs_dir={record.runs_dir}", *overrides])
    (run,) = request.read(origin.arguments).runs
    return run


def copy_of(record, folder: Path, edit=lambda content: None):
    """A record of another runs folder, with another content of record.json."""
    store = RecordStore(folder / "runs")
    copy = shutil.copytree(record.folder, store.root / record.id)
    content = json.loads((copy / RECORD_FILE).read_text())
    edit(content)
    (copy / RECORD_FILE).write_text(json.dumps(content))
    return store.look(record.id)


def test_without_overrides_it_is_the_same_record(record):
    (cell,) = cells(record)
    assert cell.records == {"g-clara__g-voice": record.id}
    assert record.content["schema"] == 1 and record.content["model_place"] == {"pretrained": "mini"}


def test_a_sweep_over_one_option_changes_that_one_only(record):
    made = cells(record, "-m", "sampler.guidance_scale=1.3,1.8")
    ids = [one.records["g-clara__g-voice"] for one in made]
    assert ids[1] == record.id != ids[0]
    assert [sorted({*one.overrides} - {*made[1].overrides}) for one in made] == [["sampler.guidance_scale=1.3"], []]


def test_a_group_brings_what_its_file_says_and_leaves_the_rest(record):
    sampler = options_of(record, "sampler=unipc").options.sampler
    assert (sampler.scheduler, sampler.num_inference_steps, sampler.seed) == ("unipc", 1, 7)
    assert sampler.guidance_interval == (0.1, 0.6) and sampler.guidance_scale == 1.8
    assert options_of(record, "preset=male").options.sampler.guidance_scale is None
    assert options_of(record, "sampler=ddim").options.sampler.seed == 1247


def test_other_pairs_leave_open_what_depends_on_the_pair(record, clips):
    run = options_of(record, "data=folder", f"data.input_dir={clips}")
    assert (run.data.input_dir, run.data.list) == (str(clips), None)
    assert run.options.sampler.guidance_scale is None and run.options.video.reference is None
    assert run.options.video.face == "largest" and run.options.video.crf == 30


def test_another_model_brings_its_own_sizes(record, untrained):
    origin = origin_of([f"from={record.id}", f"runs_dir={record.runs_dir}", f"model.pretrained={untrained}"])
    (run,) = request.read(origin.arguments).runs
    assert origin.weights_sha256 is None and run.model.pretrained == str(untrained)
    assert (run.options.video.width, run.options.sampler.num_frames) == (None, None)


def test_an_input_that_was_changed_or_is_gone_is_refused(record, tmp_path):
    def moved(content):
        content["pair"]["voice"]["path"] = str(tmp_path / "g-voice.wav")

    copy = copy_of(record, tmp_path, moved)
    line = [f"from={copy.folder}", f"runs_dir={tmp_path / 'new'}"]
    with pytest.raises(MediaError, match=r"the voice g-voice.wav of record .* is not at .*g-voice.wav.*data=list"):
        origin_of(line)
    (tmp_path / "g-voice.wav").write_bytes(b"another")
    with pytest.raises(MediaError, match=r"g-voice.wav has SHA-256 ae448ac86c4e\.\.\."):
        origin_of(line)
    assert not (tmp_path / "new").exists()


def test_weights_that_are_gone_or_others_are_refused(record, tmp_path, capsys):
    def others(content):
        content["model"]["weights_sha256"]["unet"] = "0" * 64

    copy = copy_of(record, tmp_path, others)
    line = [f"from={copy.id}", f"runs_dir={copy.runs_dir}", "metrics=none", "tracker=none", "plan=true"]
    assert main(line) == 2
    assert f"the unet of record {copy.id} had the hash 000000000000..., and" in capsys.readouterr().err
    gone = copy_of(record, tmp_path / "gone", lambda content: content.update(model_place={"pretrained": "/no/model"}))
    with pytest.raises(WeightsError, match="model.pretrained is /no/model, and there is no model"):
        cells(gone)
    older = copy_of(record, tmp_path / "older", lambda content: content.pop("model_place"))
    assert cells(older)[0].records == {"g-clara__g-voice": record.id}


def test_two_records_or_an_experiment_beside_it_are_refused(record):
    runs = f"runs_dir={record.runs_dir}"
    for more in (["from=0123456789abcdef"], ["experiment=quickstart"]):
        with pytest.raises(OptionError, match="several records|both say what to run"):
            origin_of([f"from={record.id}", runs, *more])
    with pytest.raises(OptionError, match="several records"):
        origin_of([f"from={record.id},0123456789abcdef", runs])
    with pytest.raises(OptionError, match="there is no record at 0123456789abcdef"):
        origin_of(["from=0123456789abcdef", runs])


def test_a_notebook_makes_the_record_that_differs_in_one_option(record):
    other = run_from(record.id, ["metrics=none", "video.crf=28"], record.runs_dir)
    pair = record.content["identity"], other.content["identity"]
    assert list(changes(*pair)) == [("options.crf", 30, 28)]
    assert run_from(record, ["video.crf=28"], record.runs_dir).id == other.id
