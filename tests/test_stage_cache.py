"""What a stage made is computed once, never taken from a damaged file, and shared by just those it is right for."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from short_clips import cut
from short_run import CLIP, FAST

from latentsync.config import RuntimeOptions
from latentsync.generation import kept
from latentsync.generation.stage_cache import STAGE_VERSIONS, StageCache, stage_key
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.pipeline import LipsyncPipeline

pytestmark = pytest.mark.slow

FULL = """
import resource, signal, sys, torch
from pathlib import Path
from latentsync.generation.stage_cache import StageCache
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
cache = StageCache(Path(sys.argv[1]), 10**6)
for key in "ab":
    assert cache.get(key, lambda: {"x": torch.ones(5000)})["x"].sum() == 5000
"""


def value(number=1.0):
    return {"x": torch.full((100,), number, dtype=torch.bfloat16), "n": torch.tensor(3)}


def never(*_):
    raise AssertionError("computed again")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def test_a_kept_value_is_not_computed_again(tmp_path):
    StageCache(tmp_path, 10**6).get("a", value)
    assert same(StageCache(tmp_path, 10**6).get("a", never), value())


def test_the_key_covers_stage_version_and_dependencies(monkeypatch):
    given = {"x": 1, "y": 2}
    keys = {stage_key("a", given, "faces"), stage_key("b", given, "faces"), stage_key("a", given, "faces", "media")}
    keys.add(stage_key("a", {"x": 1, "y": 3}, "faces"))
    assert len(keys) == 4 and stage_key("a", {"y": 2, "x": 1}, "faces") in keys
    monkeypatch.setitem(STAGE_VERSIONS, "faces", 1000)
    assert stage_key("a", given, "faces") not in keys


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_a_damaged_file_is_computed_again(tmp_path, damage, caplog):
    cache = StageCache(tmp_path, 10**6)
    cache.get("a", value)
    path = tmp_path / "a.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    assert same(cache.get("a", lambda: value(2.0)), value(2.0)) and len(caplog.records) == 1
    assert same(cache.get("a", never), value(2.0))


def test_what_was_used_longest_ago_goes_first(tmp_path):
    StageCache(tmp_path, 10**6).get("a", value)
    size = (tmp_path / "a.safetensors").stat().st_size
    cache = StageCache(tmp_path, 2 * size)
    cache.get("b", value)
    for age, name in enumerate("ba", 1):
        os.utime(tmp_path / f"{name}.safetensors", (age, age))
    cache.get("b", never)
    cache.get("c", value)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["b", "c"]


def test_a_full_disk_costs_the_saving_only(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be written") == 1 and list(tmp_path.iterdir()) == []


# --- in the pipeline ---


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """Two voices of 0.5 s, 13 frames."""
    folder = tmp_path_factory.mktemp("voices")
    return [cut(folder / f"g-{start}.wav", SHIPPED_DIR / "g-clara.wav", start, 0.5) for start in (1.0, 2.0)]


def generated(pipe, voice, options=FAST, clip=CLIP):
    resolved = pipe.resolve(options)
    frames = pipe.generate(pipe.prepare(clip, voice, resolved), resolved)
    return torch.stack([frame.generated for frame in frames])


@pytest.fixture(scope="module")
def new_pipe(untrained):
    """Makes a pipeline that has seen nothing yet, since one remembers faces itself."""
    return lambda: LipsyncPipeline.from_pretrained(untrained, device="cpu", dtype="float32")


def test_results_are_the_same_with_and_without_a_cache_and_whoever_filled_it(new_pipe, voices, tmp_path, monkeypatch):
    without = generated(new_pipe(), voices[0])
    for is_filled in (False, True):
        pipe = new_pipe()
        pipe.cache = StageCache(tmp_path, 10**9)
        if is_filled:
            monkeypatch.setattr(kept, "align", never)
        assert torch.equal(generated(pipe, voices[0]), without)
        assert count(tmp_path) == 4
    generated(pipe, voices[0], replace(FAST, runtime=RuntimeOptions(batch_size=1)))
    assert count(tmp_path) == 4  # windows are kept one by one, however they are grouped


def count(folder):
    return len(list(folder.glob("*.safetensors")))


def test_what_is_kept_is_shared_by_those_that_agree_in_what_it_depends_on(new_pipe, voices, tmp_path):
    """Faces, a segment of the voice, two windows: 4 files; a change makes anew what depends on it and nothing else."""
    pipe = new_pipe()
    pipe.cache = StageCache(tmp_path, 10**9)
    generated(pipe, voices[0])
    assert count(tmp_path) == 4
    sampler, video = FAST.sampler, FAST.video
    copy = shutil.copy(CLIP, tmp_path / "g-copy.mp4")
    added = Counter()
    changes = {
        "seed": {"options": replace(FAST, sampler=replace(sampler, seed=7))},
        "guidance": {"options": replace(FAST, sampler=replace(sampler, guidance_scale=2.0))},
        "crf": {"options": replace(FAST, video=replace(video, crf=30))},
        "name of the clip": {"clip": copy},
        "voice": {"voice": voices[1]},
        "mask": {"options": replace(FAST, video=replace(video, mask="mask2"))},
        "rounding": {"options": replace(FAST, video=replace(video, rounding="truncate"))},
        "reference": {"options": replace(FAST, video=replace(video, reference="elsewhere"))},
        "geometry": {"options": replace(FAST, video=replace(video, geometry="lanczos"))},
        "size": {"options": replace(FAST, video=replace(video, width=64))},
        "window": {"options": replace(FAST, sampler=replace(sampler, num_frames=5))},
    }
    for name, change in changes.items():
        before = count(tmp_path)
        generated(pipe, **{"voice": voices[0], **change})
        added[name] = count(tmp_path) - before
    assert added == {
        "seed": 0, "guidance": 0, "crf": 0, "name of the clip": 0,
        "voice": 1,  # its states
        "mask": 2, "rounding": 2,  # both windows
        "reference": 3,  # faces of more frames, both windows
        "geometry": 3, "size": 3,  # faces, both windows
        "window": 3,  # three shorter windows
    }  # fmt: skip


def test_processes_that_write_one_key_at_once_leave_it_whole(tmp_path):
    write = (
        "import sys, torch; from pathlib import Path; from latentsync.generation.stage_cache import StageCache\n"
        "sys.stdin.read(1)\n"
        "for _ in range(30): StageCache(Path(sys.argv[1]), 10**9).keep('a', {'x': torch.arange(10**5)})"
    )
    both = [subprocess.Popen([sys.executable, "-c", write, tmp_path], stdin=subprocess.PIPE) for _ in range(2)]
    for process in both:
        process.stdin.write(b"x")
        process.stdin.close()
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    assert torch.equal(StageCache(tmp_path, 10**9).get("a", never)["x"], torch.arange(10**5))


def test_references_are_read_only_where_their_posteriors_are_not_kept(new_pipe, voices, tmp_path):
    elsewhere = replace(FAST, video=replace(FAST.video, reference="elsewhere"))

    def made_with(damaged=()):
        for path in damaged:
            path.write_bytes(path.read_bytes()[:-1])
        pipe = new_pipe()
        pipe.cache = StageCache(tmp_path, 10**9)
        resolved = pipe.resolve(replace(elsewhere, runtime=RuntimeOptions(batch_size=1)))
        frames = list(pipe.generate(pipe.prepare(CLIP, voices[0], resolved), resolved))
        return torch.stack([frame.generated for frame in frames]), [frame.reference is not None for frame in frames]

    first, were_read = made_with()
    assert all(were_read) and len(were_read) == 13
    again, were_read = made_with()
    assert torch.equal(again, first) and not any(were_read)
    windows = [path for path in tmp_path.glob("*.safetensors") if "masked_mean" in load_file(path)]
    assert len(windows) == 2
    mended, were_read = made_with(damaged=windows[1:])
    assert torch.equal(mended, first) and were_read in ([True] * 8 + [False] * 5, [False] * 8 + [True] * 5)
