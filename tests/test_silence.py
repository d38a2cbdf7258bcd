"""The mouth where the voice is silent: what is heard as silence, and what each kind of mouth there leaves as it is."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from short_run import CLIP, FAST

from latentsync import media
from latentsync.audio.features import silent_window
from latentsync.audio.speech import silent_stretches
from latentsync.audio.whisper import WhisperStates
from latentsync.constants import VIDEO_RATE_HZ
from latentsync.errors import OptionError
from latentsync.faces.crops import aligned_crops
from latentsync.generation.silence import RestingMouth, silent_shares
from latentsync.lab.measuring.result import followed
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.media.sound import to_int16, write_wav
from latentsync.metrics.sync import lip_gap
from latentsync.pipeline import LipsyncPipeline

QUICK = FAST.changed(num_inference_steps=1, guidance_scale=1.0)
SPEECH_S = 0.8  # from 1 s on, Clara speaks without a pause


def speech(seconds: float = SPEECH_S) -> np.ndarray:
    return media.read_sound(SHIPPED_DIR / "g-clara.wav")[16000 : 16000 + round(seconds * 16000)]


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * 16000), np.float32)


# --- what is silent ---


def test_silence_is_heard_between_speech_and_through_noise():
    said = media.read_sound(SHIPPED_DIR / "g-clara.wav")
    assert silent_stretches(silence(2.0)) == [(0.0, math.inf)]
    assert silent_stretches(silence(0.2)) == [(0.0, math.inf)]
    hiss = np.random.default_rng(0).normal(0, 0.02, 32000).astype(np.float32)  # louder than many pauses
    assert silent_stretches(hiss) == [(0.0, math.inf)]
    before, after = silent_stretches(np.concatenate([silence(1.0), said, silence(1.0)]))
    assert before == (0, pytest.approx(1.2, abs=0.25)) and after == (pytest.approx(4.6, abs=0.25), math.inf)
    (pause,) = [s for s in silent_stretches(np.concatenate([speech(), silence(1.0), speech()])) if 0 < s[0] < 1.5]
    assert pause == (pytest.approx(SPEECH_S, abs=0.2), pytest.approx(SPEECH_S + 1, abs=0.2))


def test_a_short_pause_is_speech_and_threads_stay_as_they_are():
    threads = torch.get_num_threads()
    short = silent_stretches(np.concatenate([speech(), silence(0.15), speech()]))
    assert all(stop - start >= 0.3 for start, stop in short)
    assert not [start for start, stop in short if start < SPEECH_S < stop < math.inf and stop - start < 0.3]
    assert torch.get_num_threads() == threads


def test_frames_go_over_to_silence_in_three_frames_and_speech_is_not_touched():
    times_s = [Fraction(i, 25) for i in range(26)]
    shares = silent_shares([(0.2, 0.6)], times_s)  # frames 5 to 14
    assert shares.tolist() == [0] * 5 + [0.25, 0.5, 0.75, 1, 1, 1, 1, 0.75, 0.5, 0.25] + [0] * 10
    assert silent_shares([(0.21, 0.59)], times_s)[[5, 6, 13, 14]].tolist() == [0, 0.25, 0.25, 0]  # whole frames only
    assert silent_shares([(0.0, 0.2), (0.8, math.inf)], times_s).tolist() == (
        [1, 1, 0.75, 0.5, 0.25] + [0] * 15 + [0.25, 0.5, 0.75, 1, 1]
    )  # a video that begins or ends in silence does so at once
    assert silent_shares([(0.0, math.inf)], times_s).tolist() == [1] * 25
    of_50_hz = silent_shares([(0.2, 0.6)], [Fraction(i, 50) for i in range(51)])
    assert of_50_hz[[9, 10, 11, 12, 13]].tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_the_states_of_silence_are_one_window():
    whisper = WhisperStates.from_dims(32, 2, 2)
    window = silent_window(whisper)
    assert window.shape == (30, 32) and torch.equal(window, silent_window(whisper))


# --- the mouth in silence ---


@pytest.fixture(scope="module")
def pipe(untrained) -> LipsyncPipeline:
    return LipsyncPipeline.from_pretrained(untrained, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    """Speech, 0.8 s of silence, speech: 60 frames, the windows of which begin in, before and after silence."""
    path = tmp_path_factory.mktemp("voices") / "g-pause.wav"
    write_wav(path, to_int16(np.concatenate([speech(), silence(0.8), speech()])))
    return path


@pytest.fixture(scope="module")
def results(pipe, voice):
    """The frames of each kind of mouth, and the pair of the last one."""
    made = {}
    for kind in ("model", "rest", "source"):
        options = pipe.resolve(QUICK).changed(silence=kind)
        pair = pipe.prepare(CLIP, voice, options)
        made[kind] = list(pipe.generate(pair, options))
    return made, pair


@pytest.mark.slow
def test_speech_is_untouched_and_silence_is_another_mouth(results):
    made, pair = results
    silent = np.flatnonzero(pair.silence)
    assert 10 < len(silent) < 25 and silent.tolist() == list(range(silent[0], silent[-1] + 1))
    for i, (model, rest, source) in enumerate(zip(*made.values(), strict=True)):
        if pair.silence[i] == 0:
            assert torch.equal(rest.generated, model.generated) and np.array_equal(rest.frame, model.frame)
            assert torch.equal(source.generated, model.generated) and np.array_equal(source.frame, model.frame)
            continue
        assert not torch.equal(rest.generated, model.generated)
        if pair.silence[i] == 1:
            assert source.generated is None and np.array_equal(source.frame, source.source)
        else:
            away = [np.abs(one.frame.astype(int) - one.source).sum() for one in (source, model)]
            assert away[0] == pytest.approx((1 - pair.silence[i]) * away[1], rel=0.1)


@pytest.mark.slow
def test_a_resting_mouth_does_not_depend_on_the_batch(pipe, voice):
    options = pipe.resolve(QUICK).changed(silence="rest", window_overlap=2)
    pair = pipe.prepare(CLIP, voice, options)
    one, five = (
        torch.stack([frame.generated for frame in pipe.generate(pair, options.changed(batch_size=size))])
        for size in (1, 5)
    )
    torch.testing.assert_close(one, five, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_the_resting_reference_is_the_tracks_most_closed_mouth(pipe, results):
    _, pair = results
    options = pipe.resolve(FAST).changed(silence="rest")
    resting, gaps = RestingMouth(pipe, pair, options), lip_gap(pair.faces.landmarks)
    frames = list(media.read_frames(CLIP, VIDEO_RATE_HZ, stop=len(pair.faces)))
    (track,) = np.unique(pair.faces.tracks)
    most_closed = int(np.nanargmin(gaps))
    expected = aligned_crops([frames[most_closed]], pair.faces.matrices[[most_closed]], options.video.size_px)
    assert torch.equal(resting.reference(int(track)), expected)
    both = resting.posterior([3, 7])
    assert torch.equal(both.mean[0], both.mean[1])  # of one track


@pytest.mark.slow
def test_a_pair_prepared_without_silence_is_refused(pipe, voice):
    options = pipe.resolve(FAST)
    pair = pipe.prepare(CLIP, voice, options)
    with pytest.raises(OptionError, match="silence is rest, but the pair was prepared with silence=model; prepare"):
        next(pipe.generate(pair, options.changed(silence="rest")))


@pytest.mark.slow
def test_the_trained_model_shuts_the_mouth_for_a_silent_voice(tmp_path):
    """A clip that speaks, with a voice of digital silence: lips at rest, and hardly a movement."""
    mini = LipsyncPipeline.from_pretrained("mini", device="cpu", dtype="float32")
    write_wav(tmp_path / "still.wav", to_int16(silence(2.4)))
    options = mini.resolve(FAST).changed(silence="rest", num_inference_steps=6)
    pair = mini.prepare(CLIP, tmp_path / "still.wav", options)
    assert pair.silence.tolist() == [1] * 60
    theirs = lip_gap(pair.faces.landmarks)
    first = int(np.argmax(np.convolve(theirs, np.ones(8), "valid")))  # where the clip's mouth is open
    part = slice(first, first + 8)
    frames = list(mini.generate(replace(pair, order=pair.order[part], silence=pair.silence[part]), options))
    gaps = lip_gap(np.stack([followed(mini.detector, one.frame, one.matrix, 128) for one in frames]))
    assert theirs[part].mean() > 0.08 and theirs[part].std() > 0.02
    assert gaps.max() < 0.03 and gaps.std() < 0.005
