"""A clip or voice that changes while its pair is made costs this pair; nothing of it is kept."""

import os

import pytest
import torch
from short_clips import clip_folder

from latentsync.errors import ChangedInputError, MediaError
from latentsync.generation.stage_cache import StageCache, input_sha256
from latentsync.lab.cells.passing import may_pass
from latentsync.lab.cells.steady import steady_inputs
from latentsync.lab.options.pairs import Pair
from latentsync.pipeline import LipsyncPipeline


@pytest.fixture
def pair(tmp_path):
    """A pair of two files that are no media, since nothing is decoded here."""
    for name in ("a.mp4", "a.wav"):
        (tmp_path / name).write_bytes(b"before")
    return Pair(tmp_path / "a.mp4", tmp_path / "a.wav", "neutral")


def parts_of(pair):
    return {"clip_sha256": input_sha256(pair.clip), "voice_sha256": input_sha256(pair.voice)}


def rewritten(path):
    """Other bytes with the same size and time of change, as some copying programs leave them."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(b"behind")
    os.utime(path, ns=times)


CHANGES = {
    "longer": lambda path: path.write_bytes(b"afterwards"),
    "rewritten": rewritten,
    "replaced": lambda path: os.replace(path.with_name("other"), path),
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("what", ["clip", "voice"])
def test_a_change_is_refused_and_what_was_cached_is_forgotten(pair, tmp_path, what, change):
    cache, parts = StageCache(tmp_path / "cache", 1 << 20), parts_of(pair)
    (tmp_path / "other").write_bytes(b"before")  # the same bytes in another file: the old one may have been read
    cache.keep("earlier", {"x": torch.zeros(1)})
    with (
        pytest.raises(ChangedInputError, match=f"changed while .*leave the {what} as it is") as caught,
        steady_inputs(pair, parts, cache) as require_steady,
    ):
        cache.keep("of old bytes", {"x": torch.ones(1)})
        change(getattr(pair, what))
        require_steady()
    assert "earlier" in cache and "of old bytes" not in cache
    assert may_pass(caught.value)  # so the same command tries it again


def test_a_failure_says_that_a_change_may_be_its_reason(pair):
    with pytest.raises(ChangedInputError) as caught, steady_inputs(pair, parts_of(pair), None):
        pair.clip.write_bytes(b"cut")
        raise MediaError("it cannot be decoded")
    assert str(caught.value.__cause__) == "it cannot be decoded"
    with pytest.raises(MediaError, match="it has no face"), steady_inputs(pair, parts_of(pair), None):
        raise MediaError("it has no face")


def test_answers_about_a_file_know_that_it_was_rewritten(pair):
    before = input_sha256(pair.clip)
    rewritten(pair.clip)
    assert input_sha256(pair.clip) != before


@pytest.mark.slow
def test_a_folder_job_stores_nothing_of_a_clip_that_changed(tmp_path, untrained, monkeypatch, capsys):
    from latentsync.lab.commands.batch import main

    folder, made = clip_folder(tmp_path / "in", 0.4, ("g-clara", "m-oskar")), LipsyncPipeline.run_together

    def run_together(self, clip, *more, **options):
        outputs = made(self, clip, *more, **options)
        if clip.name == "g-clara.mp4":
            clip.write_bytes(clip.read_bytes() + b"\0")
        return outputs

    monkeypatch.setattr(LipsyncPipeline, "run_together", run_together)
    arguments = ["--input_dir", str(folder), "--output_dir", str(tmp_path / "out"), f"model.pretrained={untrained}"]
    assert main([*arguments, "sampler.num_inference_steps=1", "metrics=none"]) == 1
    assert "g-clara.mp4 changed while its pair was made" in capsys.readouterr().out
    assert [path.name for path in sorted((tmp_path / "out").glob("*.mp4"))] == [
        "m-oskar__m-voice_mask.mp4", "m-oskar__m-voice_out.mp4",
    ]  # fmt: skip
