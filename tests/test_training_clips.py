"""Folders of aligned clips as training data: what is accepted, who is held out, and which samples are drawn."""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from aligned_clips import SIZE, write_clip
from diffusers import AutoencoderKL
from torch.utils.data import DataLoader

from latentsync.audio.features import Audio2Feature
from latentsync.audio.whisper import WhisperStates
from latentsync.checkpoints.model import seeded
from latentsync.errors import MediaError, OptionError
from latentsync.faces.masks import crops_to_pixels, masked_images, mouth_mask
from latentsync.metrics.speech_features import mel_columns, mel_window, wav2lip_mel
from latentsync.training import windows as room
from latentsync.training.clips import check_clips, find_clips, split
from latentsync.training.features import LatentFiles, cache_states, read_windows, states_path
from latentsync.training.windows import WindowSet, reference_starts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder, "g-a-000", 90, {"seed": 1})
    write_clip(folder, "g-a-001", 40, {"seed": 1})
    write_clip(folder, "m-b-000", 30, "oskar")
    (folder / "report.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def clips(folder):
    return find_clips(folder)


@pytest.fixture(scope="module")
def whisper():
    torch.manual_seed(0)
    return WhisperStates.from_dims(64, 1, 1)


def same(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k] for k in a)


# --- clips ---


def test_whole_clips_are_found_by_name(clips):
    assert [clip.name for clip in clips] == ["g-a-000", "g-a-001", "m-b-000"]
    assert [clip.num_frames for clip in clips] == [90, 40, 30]
    assert clips[0].frames().shape == (90, 3, SIZE, SIZE) and clips[0].waveform().shape == (57600,)
    assert "matrices" not in clips[0].facts and clips[0].matrices[7].tolist() == [[1, 0, 0], [0, 1, 7]]
    assert clips[0].truth["lip_gap_px"][9] == 4.5


def test_what_is_no_whole_clip_is_left_out_with_the_reason(tmp_path):
    for name in ("good", "cut", "unfinished", "odd", "silenced", "other"):
        write_clip(tmp_path, name, 26)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "cut.mp4").read_bytes()[:-9])
    (tmp_path / "unfinished.json").unlink()
    (tmp_path / "odd.json").write_text("[1]")
    (tmp_path / "silenced.wav").unlink()
    facts = json.loads((tmp_path / "other.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps(facts | {"frames": 27}))
    (tmp_path / "note.json").write_text('{"a": 1}')
    whole, left_out = check_clips(tmp_path)
    assert [clip.name for clip in whole] == ["good"]
    expected = {
        "cut": "bytes and had", "unfinished": "not finished", "odd": "no facts", "silenced": "wav is absent",
        "other": "for 27 frames", "note": "no facts",
    }  # fmt: skip
    assert left_out.keys() == expected.keys()
    assert all(expected[name] in reason for name, reason in left_out.items())


def test_a_folder_without_clips_is_told(tmp_path):
    with pytest.raises(MediaError, match="it is empty.*latentsync prepare"):
        find_clips(tmp_path)
    with pytest.raises(MediaError, match="there is no folder"):
        find_clips(tmp_path / "none")


# --- held out ---


def many(number, tmp_path):
    keys = [{"seed": i // 3} if i % 2 else None for i in range(number)]
    facts = [{"identity": key, "source": {"sha256": str(i // 4)}} for i, key in enumerate(keys)]
    return [room.AlignedClip(f"c{i}", tmp_path, tmp_path, each) for i, each in enumerate(facts)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_identity_is_on_both_sides(tmp_path, seed):
    clips = many(120, tmp_path)
    train, held = split(clips, 0.2, seed)
    assert {clip.identity for clip in train}.isdisjoint({clip.identity for clip in held})
    assert sorted(clip.name for clip in train + held) == sorted(clip.name for clip in clips)
    total = len({clip.identity for clip in clips})
    assert len({clip.identity for clip in held}) == round(0.2 * total)
    again = split(clips[::-1], 0.2, seed)
    assert {clip.name for clip in again[1]} == {clip.name for clip in held}


def test_the_seed_decides_who_is_held_out(tmp_path):
    clips = many(120, tmp_path)
    assert {c.name for c in split(clips, 0.2, 0)[1]} != {c.name for c in split(clips, 0.2, 1)[1]}


def test_small_shares_hold_one_out_and_none_is_none(clips):
    assert len({clip.identity for clip in split(clips, 0.01)[1]}) == 1
    assert len({clip.identity for clip in split(clips, 0.99)[0]}) == 1
    assert split(clips, 0) == (clips, [])
    with pytest.raises(OptionError, match="held_out_share is 1"):
        split(clips, 1)
    with pytest.raises(OptionError, match="at least 2 are needed"):
        split(clips[:2], 0.5)


# --- Whisper's states ---


def test_audio_rows_are_those_of_inference(clips, whisper):
    digest = cache_states(clips, whisper)
    feature = Audio2Feature(whisper)
    for clip in clips:
        whole = feature.feature2chunks(feature.features(clip.waveform()), 25.0, clip.num_frames)
        assert torch.equal(read_windows(clip, digest, 0, clip.num_frames), whole)
        assert torch.equal(read_windows(clip, digest, 11, 19), whole[11:19])


def test_states_are_computed_once_for_each_encoder_and_sound(tmp_path, whisper, monkeypatch):
    write_clip(tmp_path, "a", 26)
    (clip,) = find_clips(tmp_path)
    calls = []
    features = Audio2Feature.features
    monkeypatch.setattr(Audio2Feature, "features", lambda *a: calls.append(1) or features(*a))
    digest = cache_states([clip], whisper)
    cache_states([clip], whisper)
    assert len(calls) == 1
    path = states_path(clip, digest)
    path.write_bytes(path.read_bytes()[:-100])  # damaged
    cache_states([clip], whisper)
    assert len(calls) == 2
    clip.facts["files"]["sound_sha256"] = "another"  # the clip was prepared anew with another sound
    cache_states([clip], whisper)
    assert len(calls) == 3
    assert cache_states([clip], WhisperStates.from_dims(64, 1, 1)) != digest  # other weights
    assert len(calls) == 4
    assert not list(tmp_path.glob(".*"))


def test_missing_states_are_told(clips):
    with pytest.raises(MediaError, match="cannot be read"):
        read_windows(clips[0], "000000000000", 0, 3)


# --- windows ---


@pytest.mark.parametrize(("frames", "length"), [(16, 90), (8, 60), (1, 60), (16, 57)])
def test_references_keep_the_gap_where_the_clip_allows_it(frames, length):
    for start in range(length - frames + 1):
        window = np.arange(start, start + frames)
        every = range(length - frames + 1)
        distance = {r: np.abs(np.arange(r, r + frames)[:, None] - window).min() for r in every}
        given = reference_starts(start, frames, length, 25)
        wanted = [r for r in every if distance[r] >= 25]
        if wanted:
            assert given == wanted
        else:
            (given,) = given
            assert abs(given - start) == max(abs(r - start) for r in every)


def test_a_sample_holds_what_it_says(clips, whisper):
    windows = WindowSet(clips, 8, whisper)
    assert len(windows) == 11 + 5 + 3
    for index in range(len(windows)):
        sample = windows[index]
        clip, start, reference = windows.clips[sample["clip"]], sample["start"], sample["reference_start"]
        assert torch.equal(sample["frames"], clip.frames(start, start + 8))
        assert torch.equal(sample["reference"], clip.frames(reference, reference + 8))
        assert sample["frames"].dtype == torch.uint8 and not sample["flipped"]
        assert sample["audio"].shape == (8, 20, 64)
        mel = wav2lip_mel(clip.waveform())
        column = int(80 * start / 25)
        assert sample["mel"].shape == (80, 26)
        np.testing.assert_array_equal(sample["mel"], mel[:, column : column + 26])
    assert [windows[i]["clip"] for i in range(19)] == [0] * 11 + [1] * 5 + [2] * 3


def test_the_mel_of_sixteen_frames_is_syncnets(clips):
    sample = WindowSet(clips, 16)[0]
    expected = mel_window(wav2lip_mel(clips[0].waveform()), sample["start"])
    np.testing.assert_array_equal(sample["mel"], expected)
    for frames in range(1, 40):  # the last window of a clip of any length has all its columns
        for length in range(frames, 60):
            start = length - frames
            assert int(80 * start / 25) + mel_columns(frames) <= 1 + 640 * length // 200


def test_a_sample_depends_on_seed_epoch_and_index_alone(clips, whisper):
    one, other = WindowSet(clips, 8, whisper, seed=3), WindowSet(clips, 8, whisper, seed=3, memory_budget_bytes=0)
    assert one.is_in_memory and not other.is_in_memory
    forward = [one.sample(2, i) for i in range(6)]
    backward = [other[i, 2] for i in reversed(range(6))][::-1]
    assert all(same(a, b) for a, b in zip(forward, backward, strict=True))
    starts = [[one.sample(epoch, i)["start"] for i in range(8)] for epoch in (0, 1)]
    assert starts[0] != starts[1] and starts[0] == [one[i]["start"] for i in range(8)]
    assert starts[0] != [WindowSet(clips, 8, seed=4)[i]["start"] for i in range(8)]


def test_processes_of_one_machine_share_half_of_its_free_memory(monkeypatch):
    monkeypatch.setattr(room, "free_bytes", lambda device: 12 << 30)
    assert room.memory_budget() == 6 << 30
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert room.memory_budget() == 3 << 30
    monkeypatch.setattr(room, "free_bytes", lambda device: None)
    assert room.memory_budget() == room.USUAL_BUDGET_BYTES


def test_workers_give_the_same_samples(clips):
    windows = WindowSet(clips, 8, flip=True, colour_jitter=0.1)
    alone, shared = (list(DataLoader(windows, 3, num_workers=workers)) for workers in (0, 2))
    assert all(same(a, b) for a, b in zip(alone, shared, strict=True))


def test_flip_and_colours_change_frames_and_reference_alike(clips):
    plain = WindowSet(clips, 8, seed=1)
    flipping, colouring = WindowSet(clips, 8, seed=1, flip=True), WindowSet(clips, 8, seed=1, colour_jitter=0.2)
    flipped = [flipping[i]["flipped"] for i in range(12)]
    assert 0 < sum(flipped) < 12
    for i in range(12):
        a, b, c = plain[i], flipping[i], colouring[i]
        for part in ("frames", "reference"):
            assert torch.equal(b[part], a[part].flip(-1) if flipped[i] else a[part])
            assert not torch.equal(c[part], a[part])
            assert (c[part].float() - a[part].float()).abs().mean() < 60
        # one table of levels for both: where the two had the same level, they have the same one still
        for channel in range(3):
            table = {}
            for part in ("frames", "reference"):
                pairs = zip(a[part][:, channel].flatten().tolist(), c[part][:, channel].flatten().tolist(), strict=True)
                assert all(table.setdefault(old, new) == new for old, new in set(pairs))
    assert torch.equal(plain[0]["frames"], WindowSet(clips, 8, seed=1)[0]["frames"])  # the kept crops are untouched


def test_only_what_is_wanted_is_given(clips):
    assert set(WindowSet(clips, 1, wanted=("frames",))[0]) == {"frames", "clip", "start", "reference_start", "flipped"}


def test_short_clips_are_left_out_and_bad_options_refused(clips, tmp_path):
    windows = WindowSet(clips, 35)
    assert [clip.num_frames for clip in windows.clips] == [90, 40] and "30 frames" in windows.left_out["m-b-000"]
    with pytest.raises(MediaError, match="none of 3 clips has 91 frames"):
        WindowSet(clips, 91)
    for options in ({"num_frames": 0}, {"seed": -1}, {"colour_jitter": 0.6}, {"wanted": ("audio",)}):
        with pytest.raises(OptionError):
            WindowSet(clips, **options)
    with pytest.raises(IndexError, match="sample 160 of epoch 0"):
        WindowSet(clips, 1)[160]
    write_clip(tmp_path, "large", 26, size_px=96)
    with pytest.raises(OptionError, match="crops of 64, 96 px"):
        WindowSet([*clips, *find_clips(tmp_path)])


# --- the VAE's latents ---


@pytest.fixture(scope="module")
def vae():
    config = {"block_out_channels": [8, 8], "down_block_types": ["DownEncoderBlock2D"] * 2}
    config |= {"up_block_types": ["UpDecoderBlock2D"] * 2, "norm_num_groups": 4, "scaling_factor": 0.5}
    return seeded(AutoencoderKL, config, seed=0)


@pytest.mark.parametrize(
    "native, tolerance", [(True, {"atol": 2e-3, "rtol": 2e-2}), (False, {"atol": 5e-4, "rtol": 1e-3})]
)
def test_latents_of_a_copy_are_those_of_its_augmented_faces(folder, vae, monkeypatch, native, tolerance):
    monkeypatch.setattr("latentsync.training.features.has_native", lambda dtype, device: native)
    clip = find_clips(folder)[1]
    files = LatentFiles(vae, "mask", copies=2, flip=True, colour_jitter=0.2, seed=3 + native)
    files.make([clip])
    faces = crops_to_pixels(files.augmentation(clip, 1)(clip.frames()))
    with torch.autocast("cpu", torch.bfloat16, enabled=native), torch.no_grad():
        parts = {"faces": faces[8:12], "masked": masked_images(faces[8:12], mouth_mask("mask", SIZE))}
        for part, pixels in parts.items():
            posterior = vae.encode(pixels).latent_dist
            expected = torch.cat([posterior.mean, posterior.std], dim=1) * 0.5
            torch.testing.assert_close(files.read(clip, 1, part, 8, 12), expected.float(), **tolerance)
    before = files.path(clip).stat().st_mtime_ns
    files.make([clip])
    assert files.path(clip).stat().st_mtime_ns == before
    assert not torch.equal(files.read(clip, 0, "faces", 8, 12), files.read(clip, 1, "faces", 8, 12))


def test_latents_of_other_networks_and_augmentations_lie_apart_and_damage_is_mended(folder, vae):
    clip = find_clips(folder)[2]
    files = LatentFiles(vae, "mask")
    others = (LatentFiles(vae, "mask2"), LatentFiles(vae, "mask", seed=1), LatentFiles(vae, "mask", copies=2))
    assert len({kind.digest for kind in (files, *others)}) == 4
    trained = deepcopy(vae)
    with torch.no_grad():
        trained.decoder.conv_out.weight += 1
        assert LatentFiles(trained, "mask").digest == files.digest  # a decoder may train on
        trained.quant_conv.weight += 1
        assert LatentFiles(trained, "mask").digest != files.digest
    with pytest.raises(MediaError, match="make the data set again"):
        others[0].read(clip, 0, "faces", 0, 3)
    files.make([clip])
    whole = files.path(clip).read_bytes()
    files.path(clip).write_bytes(whole[:-100])
    files.make([clip])
    assert files.path(clip).read_bytes() == whole
    with pytest.raises(OptionError, match="copies are 0"):
        LatentFiles(vae, "mask", copies=0)


def test_windows_hand_out_stored_latents_with_the_frames_they_are_of(clips, vae):
    files = LatentFiles(vae, "mask", flip=True, colour_jitter=0.2, seed=5)
    windows = WindowSet(clips[:1], 8, latents=files)
    sample = windows[2]
    assert sample["latents"].shape == sample["masked_latents"].shape == (8, 8, SIZE // 2, SIZE // 2)
    start, augment = sample["start"], files.augmentation(clips[0], 0)
    assert torch.equal(sample["latents"], files.read(clips[0], 0, "faces", start, start + 8))
    assert torch.equal(sample["frames"], augment(clips[0].frames(start, start + 8)))
    assert sample["flipped"] == augment.flipped
    reference = sample["reference_start"]
    assert torch.equal(sample["reference_latents"], files.read(clips[0], 0, "faces", reference, reference + 8))
