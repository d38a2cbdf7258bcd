"""Measures of lips against the real clip, each on a track whose answer is known."""

import math

import numpy as np
import pytest
import torch

from latentsync.errors import MediaError
from latentsync.metrics import sync_accuracy, theval
from latentsync.metrics.evaluate import evaluate
from latentsync.metrics.families import Batch, Subject

FRAMES = 100
MOUTH = 0.2 + 0.1 * np.sin(np.arange(FRAMES) * 2 * np.pi / 10)  # eye distances, 2.5 openings a second


def faces_of(gap: np.ndarray) -> np.ndarray:
    """Landmarks with this lip gap in eye distances, of a face whose eyes are 60 px apart."""
    points = np.zeros((len(gap), 468, 2), np.float32)
    points[:, [362, 263], 0] = 60
    points[:, 13, 1], points[:, 14, 1] = 50, 50 + 60 * gap
    return points


def measured(gap: np.ndarray, real: np.ndarray, voice: np.ndarray, relation: str = "own") -> dict[str, dict]:
    subject = Subject(128, voice, voice, relation, num_natural=len(real))
    batch = Batch(np.ones(len(gap), bool), landmarks=faces_of(gap), source_landmarks=faces_of(real))
    return evaluate(subject, [batch], ["theval", "lip_dtw"]).entries


def test_dynamics_are_the_speed_of_a_known_opening():
    gap = np.tile([0.1, 0.2], 50)  # 0.1 eye distances from each frame to the next
    assert theval.lip_dynamics(gap) == pytest.approx(0.1 * 25)
    assert theval.lip_dynamics(np.full(FRAMES, 0.3)) == 0
    gap[::2] = np.nan
    assert theval.lip_dynamics(gap) is None


def test_only_frames_of_a_known_silence_count_and_each_pause_has_its_own_rest():
    gap = MOUTH.copy()
    gap[20:40], gap[60:80] = 0.05, 0.08  # rests, which differ
    stretches = [(0.8, 1.6), (2.4, 3.2)]
    assert theval.silent_deviation(gap, stretches) == (0, 40)
    gap[20:40] += np.tile([-0.01, 0.01], 10)
    gap[60:80] += np.tile([-0.03, 0.03], 10)
    value, used = theval.silent_deviation(gap, stretches)
    assert value == pytest.approx(0.02) and used == 40  # half of the frames are 0.01 off and half 0.03
    assert theval.silent_deviation(gap, [(0.81, 1.0)]) == (None, 4)  # frames 21 to 24 lie within
    assert theval.silent_deviation(gap, [(3.2, math.inf)])[1] == 20


def test_lips_that_follow_the_loudness_have_no_distance_and_opposite_ones_the_largest():
    steps = np.repeat(np.tile([0.0, 1.0], 10), 5)
    assert theval.loudness_distance(0.1 + 0.2 * steps, -40 + 30 * steps) == 0
    assert theval.loudness_distance(0.3 - 0.2 * steps, -40 + 30 * steps) == 1
    assert theval.loudness_distance(np.full(FRAMES, 0.1), -40 + 30 * steps) is None
    with pytest.raises(ValueError, match="differ"):
        theval.loudness_distance(steps, steps[:-1])


def test_alignment_forgives_a_lag_of_five_frames_and_no_longer_one():
    truth = np.random.default_rng(0).uniform(0, 0.3, FRAMES + 20)
    for lag in (-5, 0, 3, 5):
        assert theval.gap_dtw(truth[10 - lag : 110 - lag], truth[10:110]) == 0
    assert theval.gap_dtw(truth[0:100], truth[10:110]) > 0.02
    assert theval.gap_dtw(truth[10:110] + 0.5, truth[10:110]) > 0.4
    assert theval.gap_dtw(np.full(FRAMES, 0.3), np.full(FRAMES, 0.1)) == pytest.approx(0.2)
    assert theval.gap_dtw(truth[:24], truth[:24]) is None


def test_likeness_is_the_relative_distance_from_the_real_clip():
    assert [theval.likeness(value, 0.4) for value in (0.4, 0.2, 0.6, 1.2)] == pytest.approx([1, 0.5, 0.5, -1])
    with pytest.raises(ValueError, match="is 0"):
        theval.likeness(1, 0)


def test_every_measure_stands_beside_the_real_clip_with_its_score():
    voice = np.zeros(FRAMES * 640, np.float32)  # silent throughout
    trembling = 0.1 + np.tile([-0.01, 0.01], FRAMES // 2)
    entries = measured(trembling / 2, trembling, voice)
    assert entries["silent_lip_deviation"]["value"] == pytest.approx(0.005, rel=1e-3)
    assert entries["silent_lip_deviation_real"]["value"] == pytest.approx(0.01, rel=1e-3)
    assert entries["silent_lip_deviation_score"]["value"] == pytest.approx(0.5, rel=1e-3)
    assert entries["lip_dynamics"]["value"] == pytest.approx(0.25, rel=1e-3)
    assert entries["lip_dynamics_minus_real"]["value"] == pytest.approx(-0.25, rel=1e-3)
    assert "do not move" in entries["lip_loudness_distance"]["reason"]
    assert entries["lip_gap_dtw"]["value"] > 0
    assert "not the clip's own" in measured(MOUTH, MOUTH, voice, "change")["change_lip_gap_dtw"]["reason"]


def test_lips_that_rest_within_the_noise_of_landmarks_have_no_score():
    voice = np.zeros(FRAMES * 640, np.float32)
    noise = np.random.default_rng(0).normal(0, 0.0015, FRAMES)  # a median absolute deviation of 0.001
    still = np.full(FRAMES, 0.1)
    restless = 0.1 + np.tile([-0.003, 0.0031], FRAMES // 2)
    entries = measured(still + noise[::-1], still + noise, voice)
    assert entries["silent_lip_deviation_real"]["value"] == pytest.approx(0.001, rel=0.2)
    assert "where noise counts" in entries["silent_lip_deviation_score"]["reason"]
    assert measured(restless + noise, restless, voice)["silent_lip_deviation_score"]["value"] > 0.9


def test_accuracy_is_one_for_a_perfect_judge_and_a_half_for_one_that_always_agrees():
    lips = torch.eye(40)
    seen = np.ones(40, bool)
    assert sync_accuracy.accuracy(lips, lips, seen) == 1
    assert sync_accuracy.accuracy(lips, lips.roll(-20, dims=0), seen) == 0
    same = lips[:1].expand(40, -1)
    assert sync_accuracy.accuracy(same, same, seen) == 0.5
    seen[:39] = False
    assert sync_accuracy.accuracy(torch.cat([same[:39], lips[39:]]), lips, seen) == 1
    for count, mask, words in ((31, seen, "at least 32"), (40, ~seen & seen, "no window")):
        with pytest.raises(MediaError, match=words):
            sync_accuracy.accuracy(lips[:count], lips, mask)
