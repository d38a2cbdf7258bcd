"""What results of one clip or voice share is measured once: the clip's crops, embeddings of its lips and of speech."""

import shutil
from collections import Counter
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from latentsync import media
from latentsync.faces.landmarks import MediaPipeLandmarks
from latentsync.faces.track import align
from latentsync.generation.stage_cache import StageCache
from latentsync.lab.measuring import result
from latentsync.lab.measuring.result import Result, measured
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.options.schema import MetricsConfig

FRAMES = 50  # four batches
WANTED = MetricsConfig.of(["sync_mini", "seam"])
FIRST = {"source crops": 4, "lips": 4, "speech": 2}  # of the clip's own sound and of the voice


@pytest.fixture(scope="module")
def detector():
    return MediaPipeLandmarks(refinements=0)


@pytest.fixture(scope="module")
def generated(detector) -> Result:
    """A shipped clip beside another one, as if it had been made from that for another sentence."""
    clip = SHIPPED_DIR / "g-clara.mp4"
    faces = align(media.read_frames(clip, stop=FRAMES), detector, 128)
    return Result(SHIPPED_DIR / "m-oskar.mp4", clip, SHIPPED_DIR / "g-clara-weather.wav", list(range(FRAMES)), faces)


@pytest.fixture
def counted(monkeypatch):
    """How often the SyncNet's halves run and the clip is decoded."""
    calls, network = Counter(), result.embedded_syncnet()[0]
    read = media.read_frames_in_order
    monkeypatch.setattr(media, "read_frames_in_order", lambda *args: (calls.update(["clip"]), read(*args))[1])
    halves = {"lips": network.visual_encoder, "speech": network.audio_encoder}
    hooks = [half.register_forward_hook(lambda *_, name=name: calls.update([name])) for name, half in halves.items()]
    yield calls
    for hook in hooks:
        hook.remove()


@pytest.mark.slow
def test_values_are_the_same_to_the_bit_and_nothing_shared_is_computed_twice(generated, detector, counted, tmp_path):
    without = measured(generated, WANTED, detector)
    assert without.entries["sync_mini_confidence_real"]["value"] is not None
    assert counted == {"clip": 1, "lips": 4 + 4, "speech": 2 + 2}  # each sound once, for values and curves
    in_place = without.curves["sync_mini_real_by_window"]
    assert without.entries["sync_mini_offset_real"]["value"] == 0
    assert np.mean(in_place) == pytest.approx(without.entries["sync_mini_distance_real"]["value"], abs=1e-3)
    calls = {}
    for run in ("first", "second"):
        counted.clear()
        assert measured(generated, WANTED, detector, stage_cache=StageCache(tmp_path, 10**9)) == without
        calls[run] = dict(counted)
    first = {"clip": 1, "lips": 4 + 4, "speech": 2 + 2}  # lips of result and clip; both sounds in two parts
    assert calls == {"first": first, "second": {"lips": 4}}


@pytest.mark.slow
def test_a_change_measures_anew_what_depends_on_it_and_nothing_else(generated, detector, monkeypatch, tmp_path):
    cache = StageCache(tmp_path / "kept", 10**9)

    def added(changed: Result) -> int:
        before = len(list(cache.folder.glob("*")))
        measured(changed, WANTED, detector, stage_cache=cache)
        return len(list(cache.folder.glob("*"))) - before

    assert added(generated) == sum(FIRST.values())
    forward_and_back = [*range(40), *range(38, 28, -1)]
    moved = replace(generated.faces, matrices=generated.faces.matrices + 0.5)
    changes = {
        "result": replace(generated, result=generated.clip),
        "name of the clip": replace(generated, clip=shutil.copy(generated.clip, tmp_path / "g-copy.mp4")),
        "voice": replace(generated, voice=SHIPPED_DIR / "m-oskar-weather.wav"),
        "order": replace(generated, order=forward_and_back),
        "faces": replace(generated, faces=moved),
        "clip": replace(generated, clip=SHIPPED_DIR / "m-oskar.mp4"),
    }
    assert {name: added(changed) for name, changed in changes.items()} == {
        "result": 0, "name of the clip": 0,
        "voice": 1,
        "order": 2 + 1,  # crops of two batches, and of the lips those that are not backwards
        "faces": 4 + 4,
        "clip": 4 + 4 + 1,
    }  # fmt: skip
    other = deepcopy(result.embedded_syncnet()[0])
    with torch.no_grad():
        other.visual_encoder.conv_in.weight.mul_(0.5)
    monkeypatch.setattr(result, "embedded_syncnet", lambda: (other, "another"))
    assert added(generated) == FIRST["lips"] + FIRST["speech"]
