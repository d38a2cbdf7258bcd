"""What a stage made is computed once, and never taken from a damaged file."""

import os
import subprocess
import sys

import pytest
import torch

from latentsync.stage_cache import StageCache, stage_key

FULL = """
import resource, signal, sys, torch
from pathlib import Path
from latentsync.stage_cache import StageCache
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
cache = StageCache(Path(sys.argv[1]), 10**6)
for key in "ab":
    assert cache.get(key, lambda: {"x": torch.ones(5000)})["x"].sum() == 5000
"""


def value(number=1.0):
    return {"x": torch.full((100,), number, dtype=torch.bfloat16), "n": torch.tensor(3)}


def never():
    raise AssertionError("computed again")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def test_a_kept_value_is_not_computed_again(tmp_path):
    StageCache(tmp_path, 10**6).get("a", value)
    assert same(StageCache(tmp_path, 10**6).get("a", never), value())


def test_the_key_covers_stage_version_and_dependencies():
    keys = {stage_key("a", 1, {"x": 1, "y": 2}), stage_key("b", 1, {"x": 1, "y": 2})}
    keys |= {stage_key("a", 2, {"x": 1, "y": 2}), stage_key("a", 1, {"x": 1, "y": 3})}
    assert len(keys) == 4 and stage_key("a", 1, {"y": 2, "x": 1}) in keys


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
