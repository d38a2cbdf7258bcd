"""`latentsync rerun`: a record made again is equal to the bit, and what differs is said."""

import json
import shutil

import numpy as np
import pytest
from short_clips import clip_folder

from latentsync.errors import MediaError, OptionError
from latentsync.lab.commands.rerun import main
from latentsync.lab.commands.run import main as run_main
from latentsync.lab.jobs import rerun as job
from latentsync.media import VideoWriter


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """The folder of a record of 0.4 s."""
    root = tmp_path_factory.mktemp("rerun")
    folder = clip_folder(root / "in", 0.4, ("g-clara",))
    assert run_main([
        "data=folder", f"data.input_dir={folder}", f"runs_dir={root}/runs", "name=test", "metrics=none", "tracker=none",
        "sampler.num_inference_steps=1", "sampler.seed=7",
    ]) in (0, None)  # fmt: skip
    (path,) = (root / "runs" / "records").glob("[!.]*")
    return path


@pytest.mark.slow
def test_a_record_is_made_again_to_the_bit_and_only_read(record, capsys):
    before = {path.name: path.read_bytes() for path in record.iterdir()}
    assert main([record.name, "--runs", str(record.parents[1])]) == 0
    assert f"record {record.name} is equal to the bit" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in record.iterdir()} == before


@pytest.mark.slow
def test_a_record_of_other_options_is_not_equal(record, tmp_path, capsys):
    copy = shutil.copytree(record, tmp_path / record.name)
    content = json.loads((copy / "record.json").read_text())
    content["options"]["seed"] = 8
    (copy / "record.json").write_text(json.dumps(content))
    assert main([str(copy)]) == 1
    printed = capsys.readouterr().out
    assert "not the same any more: options.seed: 7 then, 8 now" in printed and "NOT equal" in printed
    assert "mask.mp4: equal to the bit" in printed and "result.mp4: frames differ by up to" in printed


def test_a_record_without_its_inputs_or_files_is_refused(record, tmp_path, capsys):
    copy = shutil.copytree(record, tmp_path / record.name)
    content = json.loads((copy / "record.json").read_text())
    content["pair"]["clip"] |= {"path": str(tmp_path / "moved.mp4"), "name": "moved.mp4"}
    (copy / "record.json").write_text(json.dumps(content))
    with pytest.raises(MediaError, match=r"clip moved\.mp4 .*--inputs"):
        job.rerun(copy)
    (copy / "result.mp4").write_bytes((copy / "result.mp4").read_bytes()[:-1])
    with pytest.raises(MediaError, match=r"is damaged \(result\.mp4"):
        job.rerun(copy)
    assert main([str(record), "sampler.seed=1"]) == 2
    assert "sampler.seed=1 is no place of a model" in capsys.readouterr().err
    content["model"]["name"] = "elsewhere"
    with pytest.raises(OptionError, match=r"model elsewhere .*model\.pretrained=FOLDER"):
        job._model_of(content)


def test_frames_within_the_bounds_are_equal_and_others_are_not(tmp_path):
    frames = np.random.default_rng(0).integers(60, 180, (3, 64, 96, 3), dtype=np.uint8)

    def written(name, pictures):
        with VideoWriter(tmp_path / name, 96, 64, crf=0) as out:
            for picture in pictures:
                out.write(picture)
        return tmp_path / name

    first, patched, shifted = written("a.mp4", frames), frames.copy(), frames.copy()
    patched[1, 16:32, 16:32] += 60
    shifted[:, ::7, ::7] += 2
    assert job._difference(first, written("b.mp4", frames)).is_exact
    near, far = job._difference(first, written("c.mp4", shifted)), job._difference(first, written("d.mp4", patched))
    assert not near.is_exact and near.is_within and 0 < near.mean_levels < 0.3
    assert not far.is_within and far.block_levels > job.MOST_BLOCK_LEVELS
    short = job._difference(first, written("e.mp4", frames[:2]))
    assert not short.is_within and "3 frames then, 2 now" in short.reason
