"""Every metric answers to the damage that it is there for: effects on three painted clips, at the strongest damage."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from latentsync import media
from latentsync.faces.landmarks import MediaPipeLandmarks
from latentsync.faces.masks import mouth_mask
from latentsync.lab.evaluation.damage import DAMAGES, damaged, wrong_voice
from latentsync.lab.evaluation.sensitivity import (
    UNDAMAGED,
    WholeClip,
    all_steps,
    badness,
    changes,
    effects,
    judged,
    speak_clip,
    verdicts,
)
from latentsync.lab.figures.sensitivity import changes_figure, sensitivity_figure
from latentsync.lab.options.schema import MetricsConfig, metric_sets
from latentsync.media import VideoWriter
from latentsync.metrics.definitions import DEFINITIONS, definition_of

pytestmark = pytest.mark.slow

NUMBERS = (2, 5, 7)  # short ones of the command's clips
VGG_FRAMES = 4  # VGG16 is slow
LEAST_EFFECT = 2
MAIN = {
    "lpips_alex": "blur",
    "lpips_alex_mouth": "blur",
    "lpips_vgg": "blur",
    "lpips_vgg_mouth": "blur",
    "psnr": "blur",
    "psnr_mouth": "blur",
    "ssim": "blur",
    "ssim_mouth": "blur",
    "seam_gradient": "blur",
    "mouth_sharpness_ratio": "blur",
    "sync_mini_confidence": "frozen",
    "sync_mini_distance": "wrong voice",
    "sync_mini_offset": "shift",
    "landmark_sync_peak": "wrong voice",
    "landmark_sync_lag": "shift",
    "mouth_landmark_distance": "jitter",
    "landmark_jitter_ratio": "jitter",
    "lip_gap_correlation": "frozen",
    "lip_width_correlation": "frozen",
    "lip_gap_dtw": "frozen",
    "lip_dynamics_score": "frozen",
    "sync_mini_accuracy": "frozen",
    "silent_lip_motion": "wrong voice",
    "seam_colour": "colour",
    "window_boundary_ratio": "windows",
    "outside_residual": "codec",
}
ELSEWHERE = {
    "identity_cosine",
    "identity_distance",
    "whisper_boundary_ratio",
    "lse_c",
    "lse_d",
    "lse_offset",
    "stable_syncnet_cosine",
    "stable_syncnet_accuracy",
    "lip_dynamics",  # no direction
    "silent_lip_deviation",  # landmark noise and few clips: see experiments/measures
    "silent_lip_deviation_score",
    "lip_loudness_distance",
    "lip_loudness_distance_score",
}  # 30 s; absent weights

needs_speech = pytest.mark.skipif(shutil.which("flite") is None, reason="the speech synthesiser flite is not installed")


def families_of(damage: str) -> list[str]:
    return list({definition_of(metric).family for metric, main in MAIN.items() if main == damage} - {"lpips_vgg"})


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> pd.DataFrame:
    folder, detector = tmp_path_factory.mktemp("clips"), MediaPipeLandmarks()
    clips = [folder / f"{number}.mp4" for number in NUMBERS]
    for number, clip in zip(NUMBERS, clips, strict=True):
        speak_clip(number, clip)
    rows = []
    for clip, other in zip(clips, [*clips[1:], clips[0]], strict=True):
        whole = WholeClip(clip, other, detector)
        for step in all_steps(strongest=True):
            families = families_of(step[0])
            if step[0] == UNDAMAGED:
                families = [*metric_sets()["standard"], "theval", "lip_dtw", "sync_mini_accuracy"]
            rows.append(whole.values(MetricsConfig.of(families), step))
        part = folder / f"part-{clip.name}"
        frames = list(media.read_frames(clip, 25, stop=VGG_FRAMES))
        with VideoWriter(part, 256, 256, sound=clip.with_suffix(".wav")) as writer:
            for frame in frames:
                writer.write(frame)
        shutil.copy(clip.with_suffix(".wav"), part.with_suffix(".wav"))
        steps = [step for step in all_steps(strongest=True) if step[0] in (UNDAMAGED, "blur")]
        short = WholeClip(part, other, detector)
        rows += [short.values(MetricsConfig.of(["lpips_vgg"]), step) for step in steps]
    values = pd.concat(rows, ignore_index=True)
    return effects(values[values["metric"].map(judged)])


@needs_speech
@pytest.mark.parametrize("metric", MAIN)
def test_its_main_damage_is_seen_and_in_the_right_direction(metric, table):
    row = table[(table["metric"] == metric) & (table["damage"] == MAIN[metric])].iloc[0]
    assert row["clips"] + row["lost"] == len(NUMBERS) and row["clips"] >= 2
    assert row["effect"] > LEAST_EFFECT, row


@needs_speech
def test_the_figure_shows_every_effect(table):
    texts = [text.get_text() for text in sensitivity_figure(table).axes[0].texts]
    assert set(DAMAGES) <= set(texts)
    known = table.dropna(subset="effect")["metric"]
    assert len(texts) == len(DAMAGES) + known.nunique() * len(DAMAGES)


def test_no_measure_is_left_out():
    assert set(MAIN) | ELSEWHERE == set(DEFINITIONS) and not set(MAIN) & ELSEWHERE


# ---- damage and effects, known ----


@pytest.mark.parametrize("name", [name for name, damage in DAMAGES.items() if damage.crops is not None])
def test_damage_changes_the_mouth_alone_and_more_where_it_is_stronger(name):
    across = 100 + 40 * torch.sin(1.2 * torch.arange(128.0))  # stripes that brighten from frame to frame
    crops = (across + 3 * torch.arange(24)[:, None, None, None]).expand(24, 3, 128, 128).to(torch.uint8).contiguous()
    hole = mouth_mask("mask", 128)[0] < 0.5
    changes = []
    for strength in DAMAGES[name].strengths:
        changed = damaged(crops, DAMAGES[name], strength)
        assert changed.dtype == torch.uint8 and torch.equal(changed[..., ~hole], crops[..., ~hole])
        changes.append(float((changed.int() - crops.int())[..., hole].abs().float().mean()))
    assert changes[0] > 0 and changes == sorted(changes)


def test_a_wrong_voice_begins_with_the_other_and_ends_with_its_own():
    voice, other = np.arange(90, dtype=np.float32), -np.ones(40, np.float32)
    half = wrong_voice(voice, other, 0.5)
    assert half[:45].tolist() == [-1] * 45 and half[45:].tolist() == voice[45:].tolist()


def test_effects_are_in_deviations_of_the_undamaged_and_positive_where_it_is_worse():
    offset, sharp = "sync_mini_offset", "mouth_sharpness_ratio"
    rows = [
        ("a", UNDAMAGED, 0, "psnr", 30), ("b", UNDAMAGED, 0, "psnr", 34),
        ("a", "blur", 1, "psnr", 20), ("b", "blur", 1, "psnr", 24),
        ("a", "blur", 2, "psnr", 20), ("b", "blur", 2, "psnr", 22), ("c", "blur", 2, "psnr", 21),
        ("c", UNDAMAGED, 0, "psnr", 32), ("c", "blur", 1, "psnr", 22),
        ("a", UNDAMAGED, 0, offset, 0), ("b", UNDAMAGED, 0, offset, 0),
        ("a", "blur", 1, offset, -3), ("b", "blur", 1, offset, -3),
        ("a", UNDAMAGED, 0, sharp, 1.1), ("b", UNDAMAGED, 0, sharp, 0.9),
        ("a", "blur", 1, sharp, 0.5), ("b", "blur", 1, sharp, None),
    ]  # fmt: skip
    values = pd.DataFrame(rows, columns=["clip", "damage", "strength", "metric", "value"]).astype({"value": float})
    by_metric = effects(values).set_index("metric")
    stronger = by_metric[by_metric["strength"] == 2].loc["psnr"]
    known = stats.ttest_1samp(np.array([10, 12, 11]) / 2, 0).confidence_interval(0.95)
    assert (stronger["low"], stronger["high"]) == pytest.approx(tuple(known))
    assert stronger["effect"] > by_metric.iloc[0]["effect"]
    by_metric = by_metric[by_metric["strength"] == 1]
    assert by_metric.loc["psnr", "effect"] == pytest.approx(10 / 2)
    assert by_metric.loc[offset, "effect"] == pytest.approx(3 * 12**0.5)
    assert np.isnan(by_metric.loc[sharp, "effect"]) and by_metric.loc[sharp, "lost"] == 1
    assert badness(sharp, pd.Series([0.5, 1.5, 1])).tolist() == [0.5, 0.5, 0]
    assert judged("psnr") and not judged("sync_mini_offset_real") and not judged("sync_mini_offset_minus_real")


def test_changes_and_verdicts_compare_damages_within_a_metric():
    offset, steps = "sync_mini_offset", [(UNDAMAGED, 0), ("blur", 1), ("blur", 2), ("shift", 5), ("codec", 35)]
    known = {
        "psnr": ([30, 25, 20, 33, 29.9], [34, 29, 24, 37, 33.9]),
        offset: ([0, 0, 0, -5, 0], [1, 1, 1, -4, None]),
    }
    rows = [
        (clip, *step, metric, value)
        for metric, by_clip in known.items()
        for clip, values in zip("ab", by_clip, strict=True)
        for step, value in zip(steps, values, strict=True)
    ]
    values = pd.DataFrame(rows, columns=["clip", "damage", "strength", "metric", "value"]).astype({"value": float})
    table = changes(values)
    by_damage = table.set_index(["metric", "damage", "strength"])
    assert list(zip(table["damage"], table["strength"], strict=True)) == 2 * steps[1:]
    assert by_damage.loc[("psnr", "blur", 1), ["undamaged", "damaged", "change", "worse", "share"]].tolist() == [
        32, 27, -5, 5, 0.5,
    ]  # fmt: skip
    assert by_damage.loc[("psnr", "shift", 5), "share"] == pytest.approx(-0.3)
    assert by_damage.loc[(offset, "shift", 5), ["change", "worse"]].tolist() == [4, 4]
    assert by_damage.loc[(offset, "codec", 35), "undamaged"] == 0
    judgement = verdicts(table)
    assert judgement.loc["psnr"].tolist() == ["blur", "", "shift", "codec"]
    assert judgement.loc[offset, ["most", "blind to"]].tolist() == ["shift", "blur, codec"]
    texts = [text.get_text() for text in changes_figure(table).axes[0].texts]
    assert {"-5", "-10", "+3", "-0.1", "+4", "0", "blur", "shift", "codec"} == set(texts)
