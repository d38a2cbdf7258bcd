"""Mel, Whisper states and windows against the original's numbers; the Whisper loaders against each other."""

import json

import numpy as np
import pytest
import scipy.io.wavfile
import torch
from safetensors.torch import load_file, save_file

from latentsync.audio.features import Audio2Feature, WindowReader, check_sound, log_mel, num_states
from latentsync.audio.whisper_files import load_whisper
from latentsync.errors import MediaError, WeightsError
from latentsync.generation.timing import num_output_frames

ORIGINAL = {"reference": "the original, seeded Whisper"}


@pytest.fixture(scope="module")
def io(golden):
    return load_file(golden / "whisper_small_io.safetensors")


@pytest.fixture(scope="module")
def waveform(io) -> np.ndarray:
    return io["audio_int16"].numpy().astype(np.float32) / 32768


@pytest.fixture(scope="module")
def small(golden, whisper_with) -> Audio2Feature:
    return Audio2Feature(whisper_with(load_file(golden / "whisper_small_weights.safetensors"), 64, 2, 2))


def test_mel_states_and_windows_equal_the_originals(small, io, waveform, agree):
    agree("log-mel", log_mel(waveform), io["mel"], within=1e-4, **ORIGINAL)
    features = small.features(waveform)
    agree("Whisper states", features, io["features"], within=1e-4, **ORIGINAL)
    windows = small.feature2chunks(features, 25)
    assert len(windows) == len(io["chunk_indices"]) == 77
    agree("audio windows", windows[io["chunk_ids"]], io["chunks"], within=1e-4, **ORIGINAL)


def test_sound_longer_than_one_segment_equals_the_originals(small, io, shared, agree):
    rate_hz, samples = scipy.io.wavfile.read(shared / "media" / "g-demo1.wav")
    assert rate_hz == 16000
    long = np.tile(samples.astype(np.float32) / 32768, 4)[: int(31.37 * 16000)]
    agree("log-mel, 31.4 s", log_mel(long)[:, 2990:3010], io["mel_long_tail"], within=1e-4, **ORIGINAL)
    features = small.features(long)
    assert len(features) == num_states(len(long)) == 1568
    agree("Whisper states, 31.4 s", features[io["features_long_ids"]], io["features_long"], within=1e-4, **ORIGINAL)
    windows = small.feature2chunks(features, 25)
    assert len(windows) == num_output_frames(len(long), "reference") == 786
    agree("audio windows, 31.4 s", windows[io["chunk_long_ids"]], io["chunks_long"], within=1e-4, **ORIGINAL)
    reader = WindowReader(small.whisper, long, 25)
    torch.testing.assert_close(reader(740, 786), windows[740:], atol=1e-5, rtol=0)  # across the seam of two segments


def test_overlapping_segments_have_no_seam(small, shared):
    _, samples = scipy.io.wavfile.read(shared / "media" / "g-demo1.wav")
    long = np.tile(samples.astype(np.float32) / 32768, 6)[: int(57.3 * 16000)]
    starts = []

    def noted(start, compute):
        starts.append(start)
        return compute()

    overlap = WindowReader(small.whisper, long, 25, cached=noted, segments="overlap")
    reference = WindowReader(small.whisper, long, 25)
    states, given = (
        torch.stack([reader(frame, frame + 1)[0].unflatten(0, (10, -1))[4] for frame in range(1430)])
        for reader in (overlap, reference)
    )  # the state at the time of each frame
    assert starts == [0, 1300, 2600]  # every 26 s, each once
    torch.testing.assert_close(states[:675], given[:675], atol=0, rtol=0)  # to 27 s: one segment's
    jumps, before = ((one[1:] - one[:-1]).square().mean((1, 2)).sqrt() for one in (states, given))
    seam, usual = slice(748, 751), slice(100, 600)
    assert before[seam].max() > 1.5 * before[usual].max() and jumps[seam].max() < before[usual].max()
    assert jumps[660:750].mean() < 1.1 * before[660:740].mean()  # nor where one segment goes over to the next
    short = WindowReader(small.whisper, long[: 29 * 16000], 25, segments="overlap")
    torch.testing.assert_close(short(0, 725), WindowReader(small.whisper, long[: 29 * 16000], 25)(0, 725))


def test_real_size_equals_the_original(golden, recipe, waveform, whisper_with, agree):
    shapes = json.loads((golden.parent / "keys" / "keys_whisper_tiny.json").read_text())
    tiny = Audio2Feature(whisper_with(recipe.synth_state_dict(shapes, 22), 384, 6, 4))
    expected = load_file(golden / "whisper_tiny_io.safetensors")
    features = tiny.features(waveform)
    agree("Whisper states, tiny's dimensions", features[::10], expected["features"], within=1e-4, **ORIGINAL)
    windows = tiny.feature2chunks(features, 25)[expected["chunk_ids"]]
    agree("audio windows, tiny's dimensions", windows, expected["chunks"], within=1e-4, **ORIGINAL)


def test_every_file_format_gives_the_same_encoder(tmp_path):
    """CTranslate2 (the carrier), OpenAI .pt and Hugging Face safetensors of one encoder."""
    carrier = load_whisper("tiny.en")
    theirs = carrier.encoder.state_dict()
    openai = {}
    for ours in theirs:
        name = ours
        for old, new in (
            ("layers.", "blocks."), ("self_attn.q_proj", "attn.query"), ("self_attn.k_proj", "attn.key"),
            ("self_attn.v_proj", "attn.value"), ("self_attn.out_proj", "attn.out"), ("self_attn_layer_norm", "attn_ln"),
            ("fc1", "mlp.0"), ("fc2", "mlp.2"), ("final_layer_norm", "mlp_ln"),
            ("embed_positions.weight", "positional_embedding"),
        ):  # fmt: skip
            name = name.replace(old, new)
        openai["encoder." + ("ln_post." + name.split(".")[1] if name.startswith("layer_norm.") else name)] = theirs[
            ours
        ]
    torch.save({"dims": {}, "model_state_dict": openai}, tmp_path / "tiny.pt")
    save_file({f"model.encoder.{name}": tensor for name, tensor in theirs.items()}, tmp_path / "hf.safetensors")
    mel = torch.randn(80, 200)
    expected = carrier(mel)
    assert expected.shape == (100, 5, 384)
    assert expected[:, -1].std() > 0.1
    for file in ("tiny.pt", "hf.safetensors"):
        torch.testing.assert_close(load_whisper(tmp_path / file)(mel), expected, atol=0, rtol=0)


def test_a_file_that_is_no_whisper_is_refused_by_name(tmp_path):
    save_file({"something": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="other.safetensors holds no Whisper"):
        load_whisper(tmp_path / "other.safetensors")
    (tmp_path / "broken.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="broken.pt is not a readable"):
        load_whisper(tmp_path / "broken.pt")


def test_short_sound_is_refused_and_silent_sound_is_taken_with_a_note(caplog):
    with pytest.raises(MediaError, match="0.04 s of sound; at least 0.2 s"):
        check_sound(np.ones(640, np.float32))
    for level in (0.0, 9e-5):
        caplog.clear()
        check_sound(np.full(16000, level, np.float32), "voice.wav")
        assert "voice.wav is silent" in caplog.text and "silence=rest" in caplog.text
    caplog.clear()
    check_sound(np.full(16000, 1e-3, np.float32))
    assert not caplog.text
