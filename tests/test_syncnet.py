"""Both SyncNets, their sound features and the LSE scores against the originals' numbers.

The few numbers in golden/syncnet.json need no other file; whole tensors are compared where the shared folder is there.
"""

import json
import math
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from rounding import rounding
from safetensors.torch import load_file

from latentsync.errors import MediaError, OptionError, WeightsError
from latentsync.media import read_frames, read_sound
from latentsync.media.sound import to_int16
from latentsync.metrics import speech_features
from latentsync.metrics.speech_features import mel_window, mfcc, wav2lip_mel
from latentsync.metrics.stable_syncnet import LATENT, PIXEL, PIXEL_ATTN, StableSyncNet, load_stable_syncnet
from latentsync.metrics.syncnet import SyncNet, SyncScores, clip_embeddings, load_syncnet, scores, window_distances

pytestmark = pytest.mark.slow

STORED = json.loads((Path(__file__).parent / "golden" / "syncnet.json").read_text())
ORIGINAL = "the original, seeded weights"
SMALL = {  # the published network, narrower
    "audio_encoder": PIXEL_ATTN["audio_encoder"] | {"block_out_channels": [32, 32, 64, 64, 64, 64, 128]},
    "visual_encoder": PIXEL_ATTN["visual_encoder"] | {"block_out_channels": [32, 32, 32, 32, 64, 64, 64, 128]},
}


# ---- seeded weights and inputs, tensor by tensor, as those of the golden numbers ----


def randn(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed * 1000003 + zlib.crc32(name.encode())))


def seeded_tensor(name: str, shape: torch.Size, seed: int) -> torch.Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.int64)
    values = randn(name, shape, seed)
    if name.endswith("running_var"):
        values = 1 + 0.1 * values.abs()
    elif values.ndim == 1:
        values = 1 + 0.1 * values if name.endswith("weight") else 0.02 * values
    else:
        values = values * (0.7 / math.sqrt(values[0].numel()))
    return values.half().float()


def seeded(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The network, perhaps of the meta device, with seeded weights in float16's steps."""
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    with ThreadPoolExecutor(2) as pool:  # 400 M random numbers take seconds
        tensors = pool.map(lambda name: seeded_tensor(name, shapes[name], seed), shapes)
        network.load_state_dict(dict(zip(shapes, tensors, strict=True)), assign=True)
    return network.eval().requires_grad_(False)


def on_meta(kind: type[torch.nn.Module], *args) -> torch.nn.Module:
    with torch.device("meta"):
        return kind(*args)


@pytest.fixture(scope="module")
def syncnet() -> SyncNet:
    return seeded(on_meta(SyncNet), 41)


@pytest.fixture(scope="module")
def small() -> StableSyncNet:
    return seeded(on_meta(StableSyncNet, SMALL), 31)


def lips_and_columns() -> tuple[torch.Tensor, torch.Tensor]:
    lips = (randn("lip", (2, 3, 5, 224, 224), 6) * 40 + 110).clamp(0, 255).round()
    return lips, randn("aud", (2, 1, 13, 20), 6) * 5


def images_and_mel() -> tuple[torch.Tensor, torch.Tensor]:
    return randn("sync_img", (2, 48, 128, 256), 5).clamp(-1, 1), randn("sync_mel", (2, 1, 80, 52), 5).clamp(-4, 4)


def embeddings() -> tuple[torch.Tensor, torch.Tensor]:
    """Random ones, in which the speech of window i + 3 is like the lips of window i."""
    lips, speech = randn("imf", (60, 1024), 7), randn("ccf", (60, 1024), 7)
    speech[3:] += 0.8 * lips[:-3]
    return lips, speech


def chirp() -> np.ndarray:
    """0.375 s of int16 samples with a gap of silence."""
    time_s = np.arange(6000) / 16000
    samples = np.rint(9000 * np.sin(2 * np.pi * (150 * time_s + 4000 * time_s**2))).astype(np.int16)
    samples[3000:4000] = 0
    return samples


def noise(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-9000, 9000, size).astype(np.int16)


@pytest.fixture(scope="module")
def manifest(golden) -> dict:
    return json.loads((golden / "manifest.json").read_text())


@pytest.fixture(scope="module")
def syncnet_io(golden) -> dict:
    return load_file(golden / "joonson_syncnet_io.safetensors")


@pytest.fixture(scope="module")
def stable_io(golden) -> dict:
    return load_file(golden / "stable_syncnet_io.safetensors")


def bound(embedding: torch.Tensor, *networks: torch.nn.Module) -> float:
    """What the order of sums may change in the embedding that these networks make."""
    return embedding.abs().max().item() * rounding(*networks)


# ---- SyncNet v2 ----


def test_syncnet_makes_the_stored_numbers_of_the_original(syncnet):
    lips, columns = lips_and_columns()
    for got, expected, networks in (
        (syncnet.embed_lips(lips), STORED["syncnet_v2"]["lips"], (syncnet.netcnnlip, syncnet.netfclip)),
        (syncnet.embed_audio(columns), STORED["syncnet_v2"]["audio"], (syncnet.netcnnaud, syncnet.netfcaud)),
    ):
        assert got.shape == (2, 1024)
        np.testing.assert_allclose(got[:, :8], expected, rtol=0, atol=bound(got, *networks))


def test_syncnet_equals_the_original(syncnet, syncnet_io, recipe, agree):
    again = recipe.synth("netfclip.0.weight", (512, 512), 41)
    assert torch.equal(syncnet.state_dict()["netfclip.0.weight"], again)  # the same seeds as the golden numbers'
    lips, columns = lips_and_columns()
    for what, got, expected, networks in [
        ("lip", syncnet.embed_lips(lips), syncnet_io["vision"], (syncnet.netcnnlip, syncnet.netfclip)),
        ("audio", syncnet.embed_audio(columns), syncnet_io["audio"], (syncnet.netcnnaud, syncnet.netfcaud)),
    ]:
        within = bound(expected, *networks)
        agree(f"SyncNet v2 {what} embedding", got, expected, within=within, reference=ORIGINAL)


def test_syncnets_names_and_shapes_equal_the_published(shared):
    expected = json.loads((shared / "keys" / "keys_syncnet_v2.json").read_text())
    assert {name: list(tensor.shape) for name, tensor in on_meta(SyncNet).state_dict().items()} == expected


def test_another_size_of_face_or_window_is_refused(syncnet):
    with pytest.raises(ValueError, match=r"faces have shape \(1, 3, 5, 112, 112\).*\(b, 3, 5, 224, 224\)"):
        syncnet.embed_lips(torch.zeros(1, 3, 5, 112, 112))
    with pytest.raises(ValueError, match=r"columns have shape \(1, 1, 13, 21\).*\(b, 1, 13, 20\)"):
        syncnet.embed_audio(torch.zeros(1, 1, 13, 21))


def test_a_published_file_loads_whole_or_not_at_all(syncnet, tmp_path):
    path = tmp_path / "syncnet_v2.model"
    torch.save(syncnet.state_dict(), path, _use_new_zipfile_serialization=False)  # as it was published
    loaded = load_syncnet(path)
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())
    for name, tensor in syncnet.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)
    torch.save({k: v for k, v in syncnet.state_dict().items() if k != "netfclip.1.running_var"}, path)
    with pytest.raises(WeightsError, match=r"1 missing \(netfclip.1.running_var\)"):
        load_syncnet(path)


# ---- StableSyncNet ----


def test_stable_syncnet_makes_the_stored_numbers_of_the_original(small):
    vision, audio = small(*images_and_mel())
    stored = STORED["stable_syncnet_small"]
    of_vision, of_audio = bound(vision, small.visual_encoder), bound(audio, small.audio_encoder)
    np.testing.assert_allclose(vision[:, :8], stored["vision"], rtol=0, atol=of_vision)
    np.testing.assert_allclose(audio[:, :8], stored["audio"], rtol=0, atol=of_audio)
    cosine = (vision * audio).sum(1)  # of unit vectors: an error of each entry of one is as large an error of it
    np.testing.assert_allclose(cosine, stored["cosine"], rtol=0, atol=of_vision + of_audio)


def test_stable_syncnet_equals_the_original(manifest, golden, stable_io, agree):
    network = StableSyncNet(manifest["stable_syncnet_small_weights.safetensors"]["config"]).eval()
    network.load_state_dict(load_file(golden / "stable_syncnet_small_weights.safetensors"))
    compare_stable(network, stable_io, "small", "the original, narrow network", agree)


def test_the_published_size_of_stable_syncnet_equals_the_original(stable_io, agree):
    network = seeded(on_meta(StableSyncNet), 32)
    compare_stable(network, stable_io, "real", f"{ORIGINAL}, 401 M parameters", agree)


@torch.inference_mode()
def compare_stable(network: StableSyncNet, expected: dict, size: str, reference: str, agree) -> None:
    vision, audio = network(*images_and_mel())
    of_vision, of_audio = bound(vision, network.visual_encoder), bound(audio, network.audio_encoder)
    agree("StableSyncNet lip embedding", vision, expected[f"{size}_vision"], within=of_vision, reference=reference)
    agree("StableSyncNet audio embedding", audio, expected[f"{size}_audio"], within=of_audio, reference=reference)
    cosine = (vision * audio).sum(1)
    within = of_vision + of_audio
    agree("StableSyncNet cosine", cosine, expected[f"{size}_cos"], within=within, reference=reference)


@pytest.mark.parametrize(
    ("config", "published"), [(PIXEL_ATTN, "16_pixel_attn"), (PIXEL, "16_pixel"), (LATENT, "16_latent")]
)
def test_stable_syncnets_names_and_shapes_equal_the_published(shared, config, published):
    expected = json.loads((shared / "keys" / f"keys_stable_syncnet_{published}.json").read_text())
    network = on_meta(StableSyncNet, config)
    assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == expected


def test_the_latent_variant_ends_in_one_position():
    vision, audio = on_meta(StableSyncNet, LATENT)(
        torch.zeros(2, 64, 32, 32, device="meta"), torch.zeros(2, 1, 80, 52, device="meta")
    )
    assert vision.shape == audio.shape == (2, 1024)


def test_embeddings_have_length_one_and_no_negative_entry(small):
    for embedding in small(*images_and_mel()):
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))
        assert embedding.min() >= 0


def changed(**options) -> dict:
    """The narrow configuration with other options of the audio encoder; None takes one out."""
    audio = {key: value for key, value in (SMALL["audio_encoder"] | options).items() if value is not None}
    return SMALL | {"audio_encoder": audio}


def test_keys_that_change_nothing_are_taken():
    plain = on_meta(StableSyncNet, changed(attn_blocks=None)).state_dict().keys()
    same = changed(attn_blocks=[0] * 7, layers_per_block=2, act_fn="silu", norm_num_groups=32, dropout=0.1)
    assert on_meta(StableSyncNet, same).state_dict().keys() == plain


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (changed(act_fn="relu"), "audio_encoder.act_fn='relu'.*'silu'"),
        (changed(block_out_chanels=[32]), "'block_out_chanels' is unknown"),
        (changed(in_channels=None), "has no in_channels"),
        (changed(attn_blocks=[0, 1]), r"attn_blocks is \[0, 1\]"),
        (changed(downsample_factors=[2, 2, 2, 1, 2, 2, [2, 3, 1]]), r"has \[2, 3, 1\]"),
        (changed(downsample_factors=[2, 2, 2, 0, 2, 2, 2]), "has 0"),
        (changed(block_out_channels=[32, 32, 64, 64, 64, 64, 100]), r"has \[100\]; multiples of 32"),
        (changed(block_out_channels=[32, 32, 64, 64, 64, 64, 64]), "64 wide and the visual one 128"),
        (PIXEL["audio_encoder"], "audio_encoder and visual_encoder"),
    ],
)
def test_a_configuration_of_another_network_is_refused(config, message):
    with pytest.raises(OptionError, match=message):
        on_meta(StableSyncNet, config)


def test_inputs_of_another_size_are_refused(small):
    images, mel = images_and_mel()
    with pytest.raises(ValueError, match=r"image_sequences has shape \(2, 45, 128, 256\); \(b, 48,"):
        small(images[:, 3:], mel)
    with pytest.raises(ValueError, match=r"audio_sequences of shape \(2, 1, 80, 104\) ends in 1x\d.*\(b, 1, 80, 52\)"):
        small(images, torch.cat([mel, mel], dim=3))


def test_a_checkpoint_of_stable_syncnet_loads_exactly_or_is_refused(small, tmp_path):
    path = tmp_path / "stable_syncnet.pt"
    torch.save({"global_step": 7, "state_dict": small.state_dict(), "train_loss_list": [0.5]}, path)
    loaded = load_stable_syncnet(path, SMALL)
    assert not loaded.training
    for name, tensor in small.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)
    with pytest.raises(WeightsError, match=r"unexpected \(audio_encoder.down_blocks"):
        load_stable_syncnet(path, changed(attn_blocks=None))


# ---- the sound ----


def test_features_of_a_chirp_are_the_stored_ones():
    np.testing.assert_allclose(mfcc(chirp())[:, ::9].T, STORED["mfcc"], rtol=0, atol=1e-8)
    mel = wav2lip_mel(chirp().astype(np.float32) / 32768)
    assert mel.dtype == np.float32
    np.testing.assert_allclose(mel[::8, ::9].T, STORED["mel"], rtol=0, atol=2e-5)


def test_mfcc_equals_the_original(shared, syncnet_io, agree):
    samples = to_int16(read_sound(shared / "media" / "g-demo1.wav", 16000))[:48000]
    agree("MFCC", mfcc(samples), syncnet_io["mfcc"], within=1e-10, reference="python_speech_features, 3 s of speech")


def test_the_mel_of_wav2lip_equals_the_original(shared, stable_io, agree):
    waveform = read_sound(shared / "media" / "g-demo1.wav", 16000)[:48000]
    mel, reference = wav2lip_mel(waveform), "the original, 3 s of speech"
    agree("Wav2Lip mel", mel, stable_io["wav2lip_mel"], within=1e-5, reference=reference)
    window = mel_window(mel, 10)
    agree("Wav2Lip mel, window of frame 10", window, stable_io["mel_window_frame10"], within=1e-5, reference=reference)


@pytest.mark.parametrize("size", [1, 400, 401, 560, 561])
def test_zeros_complete_the_last_window_after_preemphasis(size):
    samples = noise(size)
    got = mfcc(samples)
    assert got.shape == (13, 1 + max(0, math.ceil((size - 400) / 160)))
    lifted = np.append(samples[0], samples[1:] - 0.97 * samples[:-1])
    power = np.abs(np.fft.rfft(lifted[160 * (got.shape[1] - 1) :], 512)) ** 2 / 512
    assert got[0, -1] == pytest.approx(np.log(power.sum()))


def test_silence_has_finite_features():
    assert mfcc(np.zeros(4000, np.int16))[0] == pytest.approx(np.log(np.finfo(np.float64).eps))
    assert (wav2lip_mel(np.zeros(4000, np.float32)) == -4).all()


def test_features_do_not_depend_on_the_blocks_they_are_made_in(monkeypatch):
    samples = noise(16000)
    waveform = samples.astype(np.float32) / 32768
    whole = mfcc(samples), wav2lip_mel(waveform)
    monkeypatch.setattr(speech_features, "BLOCK_WINDOWS", 7)
    np.testing.assert_allclose(mfcc(samples), whole[0], rtol=1e-10)
    np.testing.assert_allclose(wav2lip_mel(waveform), whole[1], atol=1e-5)


def test_a_long_sound_needs_no_more_memory_than_itself():
    samples = noise(10 * 60 * 16000)
    waveform = samples.astype(np.float32) / 32768  # 38 MB; its overlapping windows would be 300 MB
    for feature, sound in ((mfcc, samples), (wav2lip_mel, waveform)):
        tracemalloc.start()
        columns = feature(sound)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * columns.nbytes + 32e6, feature.__name__


def test_mel_windows_begin_at_the_frame_and_stay_within_the_sound():
    mel = np.tile(np.arange(241.0), (80, 1))
    assert [mel_window(mel, frame)[0, 0] for frame in (0, 1, 2, 5, 59)] == [0, 3, 6, 16, 188]
    assert mel_window(mel, 59).shape == (80, 52)
    with pytest.raises(ValueError, match="frame 60 needs .* 192 to 244 .* 241"):
        mel_window(mel, 60)
    with pytest.raises(ValueError, match="frame -1"):
        mel_window(mel, -1)


def test_samples_are_rounded_and_held_at_the_ends():
    waveform = np.array([0, 1, -1, 1.7, 0.5, -0.6 / 32768], np.float32)
    assert to_int16(waveform).tolist() == [0, 32767, -32768, 32767, 16384, -1]


def test_sound_in_the_wrong_scale_is_refused():
    with pytest.raises(ValueError, match=r"float32; \(n,\) of int16 .*to_int16"):
        mfcc(np.zeros(16000, np.float32))
    with pytest.raises(ValueError, match=r"shape \(0,\)"):
        mfcc(np.zeros(0, np.int16))
    for feature in (wav2lip_mel, to_int16):
        with pytest.raises(ValueError, match=r"int16; \(n,\) of floats"):
            feature(noise(100))


# ---- distances and scores ----


def test_scores_of_seeded_embeddings_are_the_stored_ones():
    result = scores(window_distances(*embeddings()))
    assert result.offset == STORED["scores"]["offset"] == -3
    assert result.lse_d == pytest.approx(STORED["scores"]["lse_d"], rel=1e-6)
    assert result.lse_c == pytest.approx(STORED["scores"]["lse_c"], rel=1e-6)


def test_distances_and_scores_equal_the_originals(syncnet_io, manifest, agree):
    reference = "the original, seeded embeddings"
    distances = window_distances(*embeddings())
    agree("SyncNet v2 distances", distances, syncnet_io["dists"], within=1e-4, reference=reference)
    agree("SyncNet v2 mean distances", distances.mean(1), syncnet_io["mean_dists"], within=1e-4, reference=reference)
    expected = manifest["joonson_syncnet_io.safetensors"]
    assert scores(syncnet_io["dists"]) == scores(syncnet_io["mean_dists"])
    for result in (scores(distances), scores(syncnet_io["dists"])):
        assert result.offset == expected["offset"]
        agree("LSE-D", result.lse_d, expected["min_dist"], within=1e-5, reference=reference)
        agree("LSE-C", result.lse_c, expected["conf"], within=1e-5, reference=reference)


def test_scores_of_a_matrix_done_by_hand():
    distances = torch.tensor([[9.0, 11], [2, 4], [3, 7], [7, 7], [8, 8]])  # means 10 3 5 7 8: their median is 7
    assert scores(distances) == SyncScores(lse_c=4, lse_d=3, offset=1)
    assert scores(distances.mean(dim=1)) == SyncScores(lse_c=4, lse_d=3, offset=1)


def test_distances_done_by_hand_with_zeros_beyond_the_ends():
    lips, speech = torch.tensor([[3.0, 4], [0, 0]]), torch.tensor([[0.0, 0], [3, 0]])
    expected = [[5, 0], [5, 3], [4, 0]]  # to the speech before, at, and after
    torch.testing.assert_close(
        window_distances(lips, speech, max_shift=1), torch.tensor(expected) * 1.0, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("shift", [-7, 0, 4])
def test_the_offset_is_positive_where_the_lips_come_late(shift):
    speech = randn("speech", (80, 64), 1)
    lips = torch.roll(speech, shift, dims=0)  # positive: what the sound does, the lips do later
    result = scores(window_distances(lips, speech))
    assert result.offset == shift
    assert result.lse_c > 5


def test_identical_embeddings_have_no_distance():
    same = randn("same", (40, 1024), 2)
    result = scores(window_distances(same, same))
    assert result.offset == 0
    assert result.lse_d == pytest.approx(0, abs=1e-4)


def test_what_has_no_scores_is_refused():
    for lips, speech in [((3, 4), (2, 4)), ((3,), (3,)), ((0, 4), (0, 4))]:
        with pytest.raises(ValueError, match=r"must both be \(n, d\)"):
            window_distances(torch.zeros(lips), torch.zeros(speech))
    with pytest.raises(ValueError, match="max_shift is -1"):
        window_distances(torch.zeros(3, 4), torch.zeros(3, 4), max_shift=-1)
    for shape in ((30, 5), (31, 0), (31, 2, 2)):
        with pytest.raises(ValueError, match="distances have shape"):
            scores(torch.zeros(shape))
    with pytest.raises(ValueError, match="not finite"):
        scores(torch.tensor([1.0, math.nan, 2.0]))


# ---- a clip ----


@pytest.fixture(scope="module")
def clip() -> tuple[np.ndarray, np.ndarray]:
    """28 random faces and their sound, and a little more sound."""
    return np.random.default_rng(1).integers(0, 256, (28, 224, 224, 3), dtype=np.uint8), noise(28 * 640 + 300)


def test_a_clip_is_embedded_window_by_window_in_batches(syncnet, clip, monkeypatch):
    frames, samples = clip
    batches = []
    embed = syncnet.embed_lips
    monkeypatch.setattr(syncnet, "embed_lips", lambda faces: batches.append(len(faces)) or embed(faces))
    lips, speech = clip_embeddings(syncnet, (frame for frame in frames), samples)
    assert lips.shape == speech.shape == (23, 1024)
    assert batches == [20, 3]
    columns = torch.from_numpy(mfcc(samples)).float()
    for i in (0, 19, 20, 22):
        faces = torch.from_numpy(frames[i : i + 5, ..., ::-1].copy()).float().permute(3, 0, 1, 2)[None]  # BGR
        within = bound(lips, syncnet.netcnnlip, syncnet.netfclip)
        torch.testing.assert_close(lips[i : i + 1], embed(faces), atol=within, rtol=0)
        window = columns[None, None, :, 4 * i : 4 * i + 20]
        within = bound(speech, syncnet.netcnnaud, syncnet.netfcaud)
        torch.testing.assert_close(speech[i : i + 1], syncnet.embed_audio(window), atol=within, rtol=0)


@pytest.mark.parametrize(("num_frames", "sizes"), [(6, [6]), (24, [24]), (25, [25]), (26, [25, 6]), (45, [25, 25])])
def test_strips_hold_every_window_but_the_last_once(num_frames, sizes):
    from latentsync.metrics.syncnet import strips_of

    frames = np.broadcast_to(np.arange(num_frames, dtype=np.uint8)[:, None, None, None], (num_frames, 224, 224, 3))
    strips = [strip[:, 0, 0, 0].tolist() for strip in strips_of(frames)]
    assert [len(strip) for strip in strips] == sizes
    assert [first for strip in strips for first in strip[:-5]] == list(range(num_frames - 5))


def test_frames_beyond_the_sound_are_not_read(syncnet, clip):
    frames = iter(clip[0])
    lips, _ = clip_embeddings(syncnet, frames, noise(8 * 640 + 639))
    assert lips.shape == (3, 1024)
    assert len(list(frames)) == 20


def test_clips_that_cannot_be_scored_are_refused(syncnet, clip):
    frames, samples = clip
    with pytest.raises(MediaError, match="5 frames; .* at least 6"):
        clip_embeddings(syncnet, frames[:5], samples)
    with pytest.raises(MediaError, match="the clip has 0 frames"):
        clip_embeddings(syncnet, iter(()), samples)
    with pytest.raises(MediaError, match=r"3839 samples, .* at least 6 \(3840"):
        clip_embeddings(syncnet, frames, samples[:3839])
    with pytest.raises(ValueError, match=r"shape \(112, 224, 3\)"):
        clip_embeddings(syncnet, frames[:, ::2], samples)
    with pytest.raises(ValueError, match=r"of int16 .*to_int16"):
        clip_embeddings(syncnet, frames, samples.astype(np.float32))
    syncnet.train()
    try:
        with pytest.raises(ValueError, match="training mode"):
            clip_embeddings(syncnet, frames, samples)
    finally:
        syncnet.eval()


def through_jpeg(path: Path):
    """The clip's frames as the original reads them: written by FFmpeg as JPEG of its default quality, which is low."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width = encoder.height = 224
    encoder.pix_fmt, encoder.bit_rate, encoder.thread_count = "yuvj420p", 200_000, 1
    encoder.time_base, encoder.framerate = Fraction(1, 25), 25
    with av.open(path) as container:
        for frame in container.decode(video=0):
            frame = frame.reformat(format="yuvj420p", src_color_range="MPEG", dst_color_range="JPEG")
            frame.pict_type = 0
            for packet in encoder.encode(frame):
                yield cv2.imdecode(np.frombuffer(bytes(packet), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_a_clip_scores_as_in_the_original(syncnet, golden, manifest, agree):
    expected = manifest["joonson_syncnet_io.safetensors"]["evaluate_on_demo"]
    path = golden / "syn224.mp4"
    samples = to_int16(read_sound(path, 16000))
    for frames, reference, within in [
        (through_jpeg(path), f"{ORIGINAL}, frames through JPEG as there", (0.1, 5e-4)),  # FFmpeg's rate control differs
        (read_frames(path), f"{ORIGINAL}, frames without its JPEG", (0.5, 2e-3)),
    ]:
        lips, speech = clip_embeddings(syncnet, frames, samples)
        assert len(lips) == len(speech) == 70
        result = scores(window_distances(lips, speech))
        assert result.offset == expected["offset"]
        agree("LSE-D of a clip", result.lse_d, expected["min_dist"], within=within[0], reference=reference)
        agree("LSE-C of a clip", result.lse_c, expected["conf"], within=within[1], reference=reference)
