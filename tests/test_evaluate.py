"""The measures of whole videos: definitions, known answers, and what happens where there is no answer."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync import media, weights
from latentsync.errors import OptionError
from latentsync.faces.crops import aligned_crops
from latentsync.faces.landmarks import MediaPipeLandmarks
from latentsync.faces.masks import mouth_mask
from latentsync.faces.track import align
from latentsync.lab.commands.measure import main as measure_command
from latentsync.lab.commands.measure_sets import main as measure_sets
from latentsync.lab.measuring.records import wanted_of
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.options.schema import MetricsConfig, metric_sets
from latentsync.media.sound import to_int16
from latentsync.metrics import blending, controls, identity, sets
from latentsync.metrics.definitions import DEFINITIONS, WORDS, definition_of, direction_of, entry, table, word_of_metric
from latentsync.metrics.evaluate import evaluate, needed_parts
from latentsync.metrics.face_tracks import crop_track, find_tracks, landmark_boxes
from latentsync.metrics.families import FAMILIES, Batch, Family, Networks, Subject
from latentsync.metrics.families.pictures import bounding_box
from latentsync.metrics.own_syncnet import load_trained_syncnet
from latentsync.metrics.syncnet import SyncNet, clip_embeddings, window_distances
from latentsync.metrics.syncnet import scores as syncnet_scores

pytestmark = pytest.mark.slow

SIZE_PX = 64


def noise(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(20, 230, (count, 3, SIZE_PX, SIZE_PX), dtype=torch.uint8, generator=generator)


def batches(
    crops: torch.Tensor, source: torch.Tensor, has_face: np.ndarray | None = None, size: int = 7
) -> list[Batch]:
    has_face = np.ones(len(crops), bool) if has_face is None else has_face
    starts = range(0, len(crops), size)
    return [Batch(has_face[i : i + size], crops[i : i + size], source[i : i + size]) for i in starts]


# ---- definitions ----


def test_every_family_tells_what_its_definitions_name():
    assert {definition.family for definition in DEFINITIONS.values()} == set(FAMILIES)
    for name, family in FAMILIES.items():
        entries = family.without(Subject(SIZE_PX), "no reason")
        assert {definition_of(measure).family for measure in entries} == {name}
        assert {one["reason"] for one in entries.values()} == {"no reason"}


def test_the_documentation_has_the_table_of_all_measures():
    """Where it does not: `python -c "from latentsync.metrics.definitions import table; print(table())"`."""
    assert table() in (Path(__file__).resolve().parents[1] / "docs" / "metrics.md").read_text()


def test_names_tell_what_a_number_says():
    assert [direction_of(name) for name in ("psnr", "leaky_psnr", "change_psnr")] == ["higher", "higher", "none"]
    confidence = "sync_mini_confidence"
    directions = [direction_of(confidence + more) for more in ("", "_real", "_minus_real", "_shuffled")]
    assert directions == ["higher", "none", "zero", "none"]
    assert definition_of("leaky_lpips_vgg_mouth") is DEFINITIONS["lpips_vgg_mouth"]
    assert definition_of("lse_c_mediapipe_crop_minus_real") is DEFINITIONS["lse_c"]
    words = {"leaky_psnr": "leaky PSNR", "change_lpips_alex_mouth": "change of mouth LPIPS", "fvd": "FVD"}
    words["lse_c_mediapipe_crop_minus_real"] = "LSE-C (MediaPipe crop) minus real clip"
    assert {name: word_of_metric(name) for name in words} == words
    assert len(set(WORDS.values())) == len(WORDS)
    with pytest.raises(ValueError, match="neither a value nor a reason"):
        entry("psnr", None)


def test_the_command_takes_sets_and_families():
    sets = metric_sets()
    assert list(sets) == ["full", "quick", "standard"] and set(sets["full"]) == set(FAMILIES)
    assert set(sets["quick"]) < set(sets["standard"]) < set(sets["full"])
    assert wanted_of("quick, lpips_vgg") == MetricsConfig.of([*sets["quick"], "lpips_vgg"])
    with pytest.raises(OptionError, match="names beauty"):
        wanted_of("quick,beauty")


# ---- known answers ----


def test_the_pictures_of_a_video_are_added_up_over_batches_and_frames_with_a_face():
    source, has_face = noise(10), np.arange(10) != 4
    crops = source.clone()
    crops[:5] += 10
    scores = evaluate(Subject(SIZE_PX, relation="own"), batches(crops, source, has_face), ["reconstruction", "lpips"])
    psnr = scores.entries["psnr"]
    assert psnr["value"] == pytest.approx(10 * np.log10(255**2 / (100 * 4 / 9)))
    assert (psnr["used"], psnr["left_out"], psnr["direction"], psnr["version"]) == (9, 1, "higher", 1)
    per_frame = scores.curves["lpips_alex"]
    assert len(per_frame) == 9 and per_frame[4:] == [0] * 5 and min(per_frame[:4]) > 0
    assert scores.entries["lpips_alex"]["value"] == pytest.approx(np.mean(per_frame), abs=1e-4)
    assert scores.entries["lpips_alex"]["weights"] == "443c5bc35326"
    hole = mouth_mask("mask", SIZE_PX)[0] < 0.5
    outside = source.clone()
    outside[..., ~hole] = 0
    beside = evaluate(Subject(SIZE_PX, relation="own"), batches(outside, source), ["reconstruction"]).entries
    assert beside["ssim"]["value"] < beside["ssim_mouth"]["value"]
    assert "identical" in beside["psnr_mouth"]["reason"] and beside["psnr"]["value"] < 20


def test_names_say_what_the_clip_is_to_the_result():
    for relation, prefix in (("own", ""), ("leaky", "leaky_"), ("change", "change_")):
        subject = Subject(SIZE_PX, relation=relation)
        scores = evaluate(subject, batches(noise(8), noise(8, 1)), ["reconstruction", "seam"]).entries
        assert {f"{prefix}psnr", f"{prefix}ssim_mouth", "seam_colour"} <= set(scores)
    with pytest.raises(ValueError, match="own, leaky, change"):
        Subject(SIZE_PX, relation="foreign")


def test_a_patch_of_another_colour_is_a_step_at_the_seam_as_large_as_the_difference():
    mask, source = mouth_mask("mask", SIZE_PX), noise(3)
    patched = source.clone()
    patched[..., mask[0] < 0.5] += 12
    assert blending.seam_colours(patched, source, mask).tolist() == pytest.approx([12] * 3, rel=1e-4)
    assert blending.seam_colours(source + 12, source, mask).abs().max() < 1e-3  # a brighter face has no seam
    assert (blending.seam_gradients(patched, source, mask) > 0).all()
    assert blending.seam_gradients(source + 12, source, mask).abs().max() < 1e-3
    inside, outside = blending.ring_sectors(mask)
    assert not (inside.any(0) & outside.any(0)).any() and (inside.any(0) <= (mask[0] < 0.5)).all()


def test_a_blurred_mouth_is_less_sharp():
    source, hole = noise(4), mouth_mask("mask", SIZE_PX)[0] < 0.5
    soft = torch.nn.functional.avg_pool2d(source.float(), 3, 1, 1).to(torch.uint8)
    assert (blending.sharpness(soft, hole) < 0.2 * blending.sharpness(source, hole)).all()
    scores = evaluate(Subject(SIZE_PX), batches(soft, source), ["sharpness"]).entries
    assert 0 < scores["mouth_sharpness_ratio"]["value"] < 0.2
    flat = torch.zeros_like(source)
    assert "one colour" in evaluate(Subject(SIZE_PX), batches(soft, flat), ["sharpness"]).entries[
        "mouth_sharpness_ratio"]["reason"]  # fmt: skip


def test_what_changed_beside_the_crop_is_seen_and_what_changed_within_is_not():
    frame = np.full((200, 300, 3), 90, np.uint8)
    matrix = np.array([[1.0, 0, -100], [0, 1.0, -40]])  # the box begins at (100, 40)
    within, beside = frame.copy(), frame.copy()
    within[60:100, 120:160] += 50
    beside[:, :50] += 30
    assert blending.outside_difference(frame, frame, matrix, 128) == 0
    assert blending.outside_difference(within, frame, matrix, 128) == 0
    assert blending.outside_difference(within, frame, None, 128) == pytest.approx(50 * 40 * 40 / (200 * 300))
    assert blending.outside_difference(beside, frame, matrix, 128) > 5
    everything = np.array([[1e-3, 0, 30.0], [0, 1e-3, 30.0]])
    assert np.isnan(blending.outside_difference(frame, frame, everything, 128))


def test_the_mouths_box_is_large_enough_and_within_the_picture():
    region = torch.zeros(64, 64, dtype=torch.bool)
    region[60:64, 5:50] = True
    rows, columns = bounding_box(region, 32)
    assert (rows.start, rows.stop, columns.start, columns.stop) == (32, 64, 5, 50)


def test_jumps_at_windows_and_at_thirty_seconds_are_told_apart():
    steps = np.arange(800) // 8 * 3 % 200
    steps[750:] += 40
    crops = torch.from_numpy(steps.astype(np.uint8))[:, None, None, None].expand(800, 3, 2, 2).contiguous()
    subject = Subject(SIZE_PX, window=8)
    long = evaluate(subject, batches(crops, crops, size=16), ["window_boundary"]).entries
    assert long["window_boundary_ratio"]["value"] > 20  # all but one jump is at the seams
    assert long["whisper_boundary_ratio"]["value"] > 50
    short = evaluate(subject, batches(crops[:100], crops[:100]), ["window_boundary"]).entries
    assert "the first seam is at frame 750" in short["whisper_boundary_ratio"]["reason"]
    single = evaluate(Subject(SIZE_PX, window=1), batches(crops[:9], crops[:9]), ["window_boundary"]).entries
    assert "a window of one frame" in single["window_boundary_ratio"]["reason"]


# ---- voices that must fail ----


def test_controls_keep_the_sound_and_change_its_order_or_its_time():
    voice = np.arange(32_500, dtype=np.float32)
    mixed = controls.shuffled(voice, 16_000)
    assert sorted(mixed) == voice.tolist() and (mixed[:32_000] != voice[:32_000]).mean() > 0.5
    assert mixed[32_000:].tolist() == voice[32_000:].tolist()
    late = controls.delayed(voice, 16_000)
    assert not late[:6400].any() and late[6400:].tolist() == voice[:-6400].tolist()


def spoken(frames: int) -> np.ndarray:
    """A voice of 16 kHz whose loudness moves like syllables."""
    random = np.random.default_rng(0)
    loudness = np.repeat(random.uniform(0.02, 0.6, frames), 640)
    return (loudness * random.uniform(-1, 1, loudness.size)).astype(np.float32)


def faces_that_say(voice: np.ndarray, later: int) -> np.ndarray:
    """Landmarks whose lips open with the loudness of the voice, `later` frames later."""
    energy = np.square(voice.reshape(-1, 640)).mean(axis=1)
    points = np.random.default_rng(1).normal(0, 0.05, (len(energy), 468, 2)).astype(np.float32)
    points[:, [362, 263], 0] += 60
    points[:, 13, 1] += 50
    points[:, 14, 1] += 80 + np.roll(10 * np.log10(energy), later) / 2
    return points


def test_lips_are_scored_beside_the_real_clip_and_beside_controls():
    voice = spoken(100)
    result, given = faces_that_say(voice, 3), faces_that_say(voice, 0)
    frames = [Batch(np.ones(100, bool), landmarks=result, source_landmarks=given)]
    subject = Subject(SIZE_PX, voice, voice, "own", num_natural=100, controls=True)
    scores = evaluate(subject, frames, ["landmark_sync", "mouth", "jitter", "silence"])
    value = {name: one["value"] for name, one in scores.entries.items()}
    assert (value["landmark_sync_lag"], value["landmark_sync_lag_real"]) == (3, 0)
    assert (value["landmark_sync_lag_minus_real"], value["landmark_sync_lag_delayed"]) == (3, -7)
    assert value["landmark_sync_peak"] > 0.9 > 0.5 > value["landmark_sync_peak_shuffled"]
    assert value["mouth_landmark_distance"] > 0 and abs(value["lip_gap_correlation"]) < 0.5
    assert value["landmark_jitter_ratio"] == pytest.approx(1)
    assert "the voice is silent in 0 frames" in scores.entries["silent_lip_motion"]["reason"]
    assert len(scores.curves["lip_gap"]) == 100 and len(scores.curves["landmark_sync"]) == 31
    other = evaluate(Subject(SIZE_PX, voice), frames, ["mouth", "landmark_sync"]).entries
    assert "not the clip's own" in other["change_lip_gap_correlation"]["reason"]
    assert other["change_mouth_landmark_distance"]["direction"] == "none"
    assert "no sound of its own" in other["landmark_sync_peak_real"]["reason"]


def test_a_shift_of_frames_is_found_by_every_measure_of_sync():
    """Of a clip that ships with the project, whose frames are moved against its sound."""
    clip, shift = SHIPPED_DIR / "g-clara.mp4", 4
    voice = media.read_sound(clip, 16_000)
    faces = align(media.read_frames(clip), MediaPipeLandmarks(refinements=1), 128)
    crops = aligned_crops(media.read_frames(clip), faces.matrices, 128)
    later = [max(i - shift, 0) for i in range(len(crops))]
    judge = Networks(sync_mini=load_trained_syncnet("mini"))
    subject = Subject(128, voice, voice, "own", num_natural=len(later), networks=judge)
    batch = Batch(faces.has_face[later], crops[later], crops, faces.landmarks[later], faces.landmarks)
    scores = evaluate(subject, [batch], ["sync_mini", "landmark_sync"]).entries
    value = {name: one["value"] for name, one in scores.items()}
    assert (value["sync_mini_offset"], value["sync_mini_offset_real"]) == (shift, 0)
    assert (value["landmark_sync_lag"], value["landmark_sync_lag_real"]) == (shift, 0)
    assert value["sync_mini_confidence_minus_real"] == pytest.approx(0, abs=0.05)


def test_syncnet_scores_tracks_by_its_protocol_and_says_whose_boxes_they_are():
    """With seeded weights; boxes of landmarks, as where S3FD's weights are not to be had."""
    torch.manual_seed(0)
    network = SyncNet().eval()
    random = np.random.default_rng(0)
    frames = [random.integers(0, 255, (160, 200, 3)).astype(np.uint8) for _ in range(54)]
    faces = np.zeros((54, 468, 2), np.float32)
    faces[:, 0], faces[:, 1:] = (40, 20), (150, 140)
    voice = spoken(54)
    subject = Subject(
        SIZE_PX, voice, networks=Networks(syncnet=network), frames_again=lambda: frames, source_again=lambda: frames
    )
    batch = Batch(np.ones(54, bool), landmarks=faces, source_landmarks=faces, frames=frames, source_frames=frames)
    scores = evaluate(subject, [batch], ["syncnet"]).entries
    (track,) = find_tracks([landmark_boxes([face]) for face in faces])
    embeddings = clip_embeddings(network, crop_track(frames, track), to_int16(voice))
    expected = syncnet_scores(window_distances(*embeddings))
    values = [scores[f"{name}_mediapipe_crop"]["value"] for name in ("lse_c", "lse_d", "lse_offset")]
    assert values == [expected.lse_c, expected.lse_d, expected.offset]
    assert scores["lse_c_mediapipe_crop"]["used"] == 54 and "lse_c" not in scores
    assert "no sound of its own" in scores["lse_d_mediapipe_crop_real"]["reason"]
    few = Batch(batch.has_face[:40], landmarks=faces[:40], frames=frames[:40], source_frames=frames)
    assert "40 frames" in evaluate(subject, [few], ["syncnet"]).entries["lse_c_mediapipe_crop"]["reason"]
    assert set(evaluate(Subject(SIZE_PX), [batch], ["syncnet"]).entries) == {"lse_c", "lse_d", "lse_offset"}


def test_a_face_recogniser_knows_the_person_by_another_mouth():
    pytest.importorskip("dlib", reason="dlib (extra identity) is not installed")
    if (path := weights.find(identity.WEIGHTS)) is None:
        pytest.skip(f"{identity.WEIGHTS} is not on this machine")
    network, detector = identity.load_recogniser(path), MediaPipeLandmarks(refinements=1)
    pictures = {name: next(iter(media.read_frames(SHIPPED_DIR / f"{name}.mp4"))) for name in ("g-clara", "m-oskar")}
    later = list(media.read_frames(SHIPPED_DIR / "g-clara.mp4", stop=41))[40]
    frames = [pictures["g-clara"], later, pictures["m-oskar"]]
    faces = np.stack([detector(frame)[0][:468, :2] for frame in frames])

    def scores(first: int, second: int) -> dict[str, float]:
        batch = Batch(np.ones(1, bool), landmarks=faces[[first]], source_landmarks=faces[[second]],
                      frames=[frames[first]], source_frames=[frames[second]])  # fmt: skip
        entries = evaluate(Subject(SIZE_PX, networks=Networks(identity=network)), [batch], ["identity"]).entries
        return {name: one["value"] for name, one in entries.items()}

    assert scores(0, 0) == {"identity_cosine": pytest.approx(1), "identity_distance": 0}
    assert scores(0, 1)["identity_cosine"] > 0.98 > scores(0, 2)["identity_cosine"]
    assert scores(0, 1)["identity_distance"] < 0.3 < scores(0, 2)["identity_distance"]


# ---- no answer ----


def test_a_family_that_fails_costs_the_others_nothing(monkeypatch):
    def broken(*_):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(FAMILIES["seam"], "compare", broken)
    scores = evaluate(Subject(SIZE_PX), batches(noise(8), noise(8, 1)), ["seam", "sharpness"]).entries
    assert scores["seam_colour"]["reason"] == scores["seam_gradient"]["reason"] == "RuntimeError: no such luck"
    assert scores["mouth_sharpness_ratio"]["value"] > 0
    with pytest.raises(ValueError, match="no measure beauty"):
        evaluate(Subject(SIZE_PX), [], ["beauty"])


def test_where_there_is_no_face_voice_or_network_there_is_a_reason():
    nobody = batches(noise(8), noise(8, 1), np.zeros(8, bool))
    pictures = [name for name, family in FAMILIES.items() if family.needs == {"crops", "source_crops"}]
    scores = evaluate(Subject(SIZE_PX, networks=Networks(missing={"sync_mini": "not here"})), nobody, pictures).entries
    assert all(one["value"] is None for one in scores.values())
    assert scores["sync_mini_offset"]["reason"] == "not here"
    assert scores["change_psnr"]["reason"] == "no frame shows a face"
    nothing = evaluate(Subject(SIZE_PX), [], FAMILIES).entries
    assert set(nothing) >= {"change_psnr", "landmark_jitter_ratio", "silent_lip_motion"}
    assert all(one["value"] is None and one["reason"] for one in nothing.values())
    assert needed_parts(["residual", "jitter"]) == {"frames", "source_frames", "landmarks", "source_landmarks"}
    assert issubclass(FAMILIES["lpips"], Family)


def test_small_sets_have_no_distance_but_a_reason(tmp_path, capsys):
    for name in ("generated", "real"):
        (tmp_path / name).mkdir()
        shutil.copy(SHIPPED_DIR / "g-clara.mp4", tmp_path / name)
    target = tmp_path / "found.json"
    args = ["--generated", str(tmp_path / "generated"), "--real", str(tmp_path / "real"), "--output", str(target)]
    assert measure_sets(args) == 1
    written = json.loads(target.read_text())
    assert all(one["value"] is None and "1 and 1 clips; at least 100" in one["reason"] for one in written.values())
    assert set(written) == {"fid", "fvd"} and sets.refusal(100, 100) is None
    many = np.zeros((100, 1, 1, 1, 3), np.uint8)
    assert "cd-fvd" in sets.fvd(many, many)["reason"]  # it is not installed, or cannot bring its network
    with pytest.raises(ValueError, match="make them equal"):
        sets.fvd(many, np.zeros((100, 2, 1, 1, 3), np.uint8))


# ---- any pair of files ----


def test_a_video_beside_itself_scores_perfectly(tmp_path: Path, capsys):
    clip, target = SHIPPED_DIR / "g-clara.mp4", tmp_path / "found.json"
    args = ["--video", str(clip), "--reference", str(clip), "--output", str(target)]
    assert measure_command([*args, "--metrics", "standard"]) == 0
    metrics = json.loads(target.read_text())["metrics"]
    value = {name: one["value"] for name, one in metrics.items()}
    zero = ("lpips_alex", "lpips_alex_mouth", "mouth_landmark_distance", "seam_colour", "seam_gradient")
    one = ("ssim", "ssim_mouth", "lip_gap_correlation", "lip_width_correlation", "mouth_sharpness_ratio")
    assert [value[name] for name in (*zero, "outside_residual")] == pytest.approx([0] * 6, abs=1e-6)
    assert [value[name] for name in (*one, "landmark_jitter_ratio")] == pytest.approx([1] * 6, abs=1e-6)
    assert value["psnr"] is None and "infinite" in metrics["psnr"]["reason"]
    assert value["sync_mini_offset"] == value["landmark_sync_lag"] == 0
    assert value["sync_mini_confidence_minus_real"] == value["landmark_sync_peak_minus_real"] == 0
    assert "mouth PSNR" in capsys.readouterr().out
    assert measure_command(["--video", str(tmp_path / "no.mp4"), "--reference", str(clip)]) == 2
    assert "no.mp4" in capsys.readouterr().err
