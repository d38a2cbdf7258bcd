"""The stand-in for SyncNet's scores: known embeddings give known numbers, and windows are those of training."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from latentsync.errors import MediaError
from latentsync.faces.landmarks import MediaPipeLandmarks
from latentsync.faces.masks import crops_to_pixels
from latentsync.lab.measuring.result import Result, measured
from latentsync.lab.options.schema import MetricsConfig
from latentsync.metrics import sync_mini
from latentsync.metrics.evaluate import evaluate
from latentsync.metrics.families import Batch, Networks, Subject
from latentsync.metrics.own_syncnet import load_own_syncnet
from latentsync.metrics.speech_features import wav2lip_mel
from latentsync.metrics.stable_syncnet import StableSyncNet, lower_halves, on_channels
from latentsync.metrics.suspects import is_clearly_better
from latentsync.metrics.sync_mini import embed, mel_windows, num_frames, scores, shift_distances, whole_windows
from latentsync.pipeline import LipsyncPipeline
from latentsync.speakers import samples


@pytest.fixture(scope="module")
def network() -> StableSyncNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return load_own_syncnet("mini")[0].eval()


def unit_rows(count: int, seed: int = 0) -> torch.Tensor:
    """Embeddings as the network makes them: at least 0, of length 1."""
    return normalize(torch.rand(count, 64, generator=torch.Generator().manual_seed(seed)), dim=1)


def clip(frames: int, size_px: int = 128) -> tuple[torch.Tensor, np.ndarray]:
    draw = np.random.default_rng(5)
    crops = torch.from_numpy(draw.integers(0, 256, (frames, 3, size_px, size_px), dtype=np.uint8))
    return crops, draw.uniform(-0.5, 0.5, frames * 640).astype(np.float32)


@pytest.mark.parametrize("shift", [-10, -1, 0, 4, 15])
def test_an_injected_shift_is_found(shift):
    both = unit_rows(80)
    lips, speech = (both[: 80 - shift], both[shift:]) if shift >= 0 else (both[-shift:], both[: 80 + shift])
    result = scores(shift_distances(lips, speech))  # the sound of lips i is that of speech i - shift
    assert result.sync_mini_offset == shift
    assert result.sync_mini_distance == pytest.approx(0, abs=1e-6)
    assert 0.1 < result.sync_mini_confidence < 0.4


def test_distances_are_means_over_what_is_there():
    lips, speech = unit_rows(20, 1), unit_rows(23, 2)
    distances = shift_distances(lips, speech, max_shift=3)
    assert distances.shape == (7,)
    cosines = (lips @ speech.T).numpy()
    for k, shift in enumerate(range(-3, 4)):
        pairs = [cosines[i, i + shift] for i in range(20) if 0 <= i + shift < 23]
        assert float(distances[k]) == pytest.approx(1 - np.mean(pairs), abs=1e-6)


def test_scores_of_a_known_curve():
    curve = torch.tensor([0.5, 0.6, 0.7, 0.1, 0.9])
    assert scores(curve).sync_mini_confidence == pytest.approx(0.5)
    assert (scores(curve).sync_mini_distance, scores(curve).sync_mini_offset) == (pytest.approx(0.1), -1)
    with pytest.raises(ValueError, match="finite"):
        scores(torch.tensor([0.5, math.nan, 0.7]))


def test_no_shift_is_told_from_windows_too_few():
    with pytest.raises(MediaError, match="in 9 at a shift of -15 .* 25 windows"):
        shift_distances(unit_rows(24), unit_rows(24))


def test_windows_are_those_of_training(network):
    crops, waveform = clip(75)
    assert num_frames(network) == 8
    vision, speech = embed(network, crops, waveform)
    assert len(vision) == 68 and len(speech) in (68, 69)
    mel, pixels = wav2lip_mel(waveform), crops_to_pixels(crops)[None]
    with torch.no_grad():
        for i in (0, 1, 63, 64, 67):
            first = int(80 * i / 25)
            window = torch.from_numpy(mel[None, None, :, first : first + 26])
            lips, sound = network(on_channels(lower_halves(network, pixels[:, i : i + 8])), window)
            torch.testing.assert_close(vision[i], lips[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(speech[i], sound[0], atol=1e-5, rtol=0)


def test_mel_windows_of_known_columns():
    mel = np.tile(np.arange(30, dtype=np.float32), (80, 1))
    starts = mel_windows(mel, 8)[:, 0, 0].tolist()
    assert starts == [0, 3] and mel_windows(mel, 8).shape == (2, 80, 26)


def by_family(network, crops, waveform, has_face) -> dict:
    """What the family of measures says, which sees ten frames at a time."""
    batches = [Batch(has_face[i : i + 10], crops[i : i + 10], crops[i : i + 10]) for i in range(0, len(crops), 10)]
    subject = Subject(crops.shape[-1], waveform, networks=Networks(sync_mini=network))
    return evaluate(subject, batches, ["sync_mini"]).entries


def test_windows_without_a_face_do_not_count(network):
    crops, waveform = clip(75)
    has_face = np.ones(75, bool)
    has_face[20] = False
    seen = whole_windows(has_face, 8)
    assert np.flatnonzero(~seen).tolist() == list(range(13, 21)) and len(seen) == 68
    vision, speech = unit_rows(68), unit_rows(69)
    vision[13:21] = 0  # as far from all speech as can be
    assert scores(shift_distances(vision, speech, seen=seen)).sync_mini_distance == pytest.approx(0, abs=1e-6)
    assert scores(shift_distances(vision, speech)).sync_mini_distance > 0.1
    entries = by_family(network, crops, waveform, has_face)
    expected = scores(shift_distances(*embed(network, crops, waveform), seen=seen))
    assert {name: entries[name]["value"] for name in vars(expected)} == pytest.approx(vars(expected), abs=1e-6)
    assert (entries["sync_mini_offset"]["used"], entries["sync_mini_offset"]["left_out"]) == (60, 8)
    short = by_family(network, crops[:30], waveform, has_face[:30])["sync_mini_offset"]
    assert short["value"] is None and "at least 10 are needed" in short["reason"]


def test_what_gives_no_window_is_told(network):
    crops, waveform = clip(75)
    with pytest.raises(MediaError, match="there are 7 frames; a window has 8"):
        embed(network, crops[:7], waveform)
    with pytest.raises(MediaError, match="sound for 7 frames; a window has 8"):
        embed(network, crops, waveform[: 7 * 640 + 100])
    with pytest.raises(ValueError, match=r"uint8 \(f, 3, r, r\)"):
        embed(network, crops.float(), waveform)


def test_names_are_a_stand_ins():
    names = set(sync_mini.SyncMiniScores.__dataclass_fields__)
    assert names == {"sync_mini_confidence", "sync_mini_distance", "sync_mini_offset"}


@pytest.mark.slow
@pytest.mark.parametrize("name", samples.IDENTITIES)
def test_no_generated_mouth_is_more_in_sync_than_the_drawn_one(name: str, tmp_path: Path):
    """Of a shipped clip with its own voice, as in `make demo`."""
    clip, voice = samples.FOLDER / f"{name}.mp4", samples.FOLDER / f"{name}.wav"
    pipe = LipsyncPipeline.from_pretrained("mini")
    output = pipe(clip, voice, tmp_path / "result.mp4", guidance_scale=1.0, num_inference_steps=2)
    wanted = MetricsConfig.of(["sync_mini"])
    found = measured(Result.of_output(output, clip, voice), wanted, MediaPipeLandmarks()).entries
    real, minus_real = (found[f"sync_mini_confidence{end}"]["value"] for end in ("_real", "_minus_real"))
    assert real > 0.45  # as other drawn clips; it is about 0.28 where half of the sentence is not drawn
    assert not is_clearly_better("sync_mini_confidence", minus_real, real)
