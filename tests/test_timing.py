"""Which frames of a clip a result shows and when: rate, length and repetition; the sound's windows at their times."""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from short_clips import cut
from short_run import CLIP, FAST

from latentsync import media
from latentsync.audio.features import WindowReader, indices_around, window_indices
from latentsync.audio.whisper import WhisperStates
from latentsync.config import VideoOptions
from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import OptionError
from latentsync.faces.landmarks import MediaPipeLandmarks
from latentsync.generation.references import frames_needed, places_of, reference_order
from latentsync.generation.timing import at_rate, num_output_frames, timing_of
from latentsync.lab.measuring.result import Result
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.media import VideoWriter
from latentsync.media.sound import to_int16, write_wav
from latentsync.pipeline import LipsyncPipeline

WIDTH, HEIGHT = 64, 48
UNEVEN_MS = [10, 40, 33, 70, 20, 25, 100, 15, 40, 47]  # how long each frame of a variable rate lasts; 0.4 s


def shade(number: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), 20 + 10 * (number % 20), np.uint8)


def times_of(lengths_ms: list[int]) -> list[Fraction]:
    return [Fraction(sum(lengths_ms[:place]), 1000) for place in range(len(lengths_ms) + 1)]


def clip_of(path: Path, lengths_ms: list[int]) -> Path:
    with VideoWriter(path, WIDTH, HEIGHT, crf=0, times_s=times_of(lengths_ms)) as writer:
        for number in range(len(lengths_ms)):
            writer.write(shade(number))
    return path


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> Path:
    return clip_of(tmp_path_factory.mktemp("timing") / "uneven.mp4", UNEVEN_MS)


@pytest.fixture(scope="module")
def even(tmp_path_factory) -> Path:
    """10 frames of 25 Hz."""
    return clip_of(tmp_path_factory.mktemp("timing") / "even.mp4", [40] * 10)


def samples(seconds: float) -> int:
    return round(seconds * SOUND_RATE_HZ)


def numbers(path: Path, order: list[int] | None = None) -> list[int]:
    frames = media.read_frames(path, None) if order is None else media.read_frames_in_order(path, order, None)
    return [round((float(frame.mean()) - 20) / 10) for frame in frames]


def test_a_variable_rate_is_written_and_read_to_the_tick(uneven):
    assert media.frame_times(uneven, None) == times_of(UNEVEN_MS)
    assert media.probe(uneven, None).num_frames == len(UNEVEN_MS) == media.probe(uneven).num_frames
    assert numbers(uneven) == list(range(10))
    assert numbers(uneven, [9, 8, 3, 3, 4]) == [9, 8, 3, 3, 4]


@pytest.mark.parametrize(
    ("loop", "expected"),
    [("pingpong", [0, 1, 2, 2, 1, 0, 0, 1]), ("loop", [0, 1, 2, 0, 1, 2, 0, 1]), ("hold", [0, 1, 2, 2, 2, 2, 2, 2])],
)
def test_a_short_clip_goes_on_as_chosen(loop, expected):
    assert media.arranged(8, 3, loop).tolist() == expected
    assert media.arranged(2, 3, loop).tolist() == [0, 1]
    with pytest.raises(OptionError, match="loop 'mirror' is unknown; choose one of pingpong, loop, hold"):
        media.arranged(2, 3, "mirror")


@pytest.mark.parametrize("seconds", [0.2, 0.21, 0.4, 0.401, 0.7, 1.37])
def test_at_25_frames_a_second_the_frames_are_those_of_the_original_rule(even, seconds):
    for length in ("sound", "reference"):
        timing = timing_of(even, samples(seconds), VideoOptions(length=length))
        count = num_output_frames(samples(seconds), length)
        assert timing.order == media.ping_pong(count, min(count, 10)).tolist() and timing.rest == []
        assert timing.times_s == [Fraction(number, 25) for number in range(count + 1)]


@pytest.mark.parametrize("fps", ["25", "source"])
@pytest.mark.parametrize("loop", ["pingpong", "loop", "hold"])
@pytest.mark.parametrize("seconds", [0.25, 0.39, 0.4, 1.1])
def test_a_result_lasts_as_its_rule_says(uneven, fps, loop, seconds):
    wanted = {"sound": seconds, "clip": 0.4, "shortest": min(seconds, 0.4)}
    for length, lasts_s in wanted.items():
        timing = timing_of(uneven, samples(seconds), VideoOptions(length=length, fps=fps, loop=loop))
        frames = timing.order + timing.rest
        assert len(timing.times_s) == len(frames) + 1
        usual_s = 0.04 if fps == "25" else 0.033
        assert -1e-9 <= float(timing.times_s[-1]) - lasts_s < usual_s
        assert timing.times_s == sorted(set(timing.times_s))
        spoken = timing.times_s[len(timing.order) - 1 : len(timing.order) + 1]
        assert spoken[0] < seconds and (length != "clip" or not timing.rest or spoken[1] >= seconds)


def test_with_the_clips_own_frames_each_lasts_as_in_the_clip(uneven):
    timing = timing_of(uneven, samples(1.0), VideoOptions(fps="source"))
    lengths_ms = [round((after - before) * 1000) for before, after in pairwise(timing.times_s)]
    assert timing.order[:20] == [*range(10), *range(9, -1, -1)]
    assert lengths_ms[:20] == UNEVEN_MS + UNEVEN_MS[::-1]
    held = timing_of(uneven, samples(1.0), VideoOptions(fps="source", loop="hold"))
    steps = {after - before for before, after in pairwise(held.times_s[10:])}
    assert set(held.order[10:]) == {9} and steps == {Fraction(33, 1000)}  # the mouth moves on a held picture
    cut_short = timing_of(uneven, samples(0.2), VideoOptions(fps="source"))
    assert cut_short.order == list(range(7)) and cut_short.times_s[-1] == Fraction(231, 1000)  # not the frame's 0.1 s


def test_with_the_clips_own_frames_a_clip_of_25_hz_is_as_always(even):
    for length in ("sound", "clip", "shortest", "reference"):
        for seconds in (0.3, 0.9):
            usual, own = (
                timing_of(even, samples(seconds), VideoOptions(length=length, fps=fps)) for fps in ("25", "source")
            )
            assert replace(own, rate_hz=25.0) == usual


def test_frames_of_a_constant_rate_are_found_among_those_of_a_variable_one(uneven):
    shown = at_rate(times_of(UNEVEN_MS), 10)
    assert shown == [round((float(frame.mean()) - 20) / 10) for frame in media.read_frames(uneven)]
    assert at_rate([Fraction(number, 25) for number in range(8)], 7) == list(range(7))
    assert at_rate(times_of(UNEVEN_MS), 3) == [1, 2]


def test_windows_lie_at_the_frames_true_times():
    whisper = WhisperStates.from_dims(width=16, heads=2, layers=1)
    waveform = np.random.default_rng(0).normal(0, 0.1, samples(2.0)).astype(np.float32)
    usual = WindowReader(whisper, waveform, 25)
    at_25 = WindowReader(whisper, waveform, 25, times_s=[Fraction(number, 25) for number in range(50)])
    torch.testing.assert_close(at_25(0, 50), usual(0, 50), rtol=0, atol=0)
    at_60 = WindowReader(whisper, waveform, 25, times_s=[Fraction(number, 60) for number in range(120)])
    torch.testing.assert_close(at_60(0, 120)[::12], usual(0, 50)[::5], rtol=0, atol=0)
    assert indices_around(31, 100) == window_indices(31, 50, 100)


def test_a_reference_from_elsewhere_is_a_second_away_at_any_rate(tmp_path):
    clip = clip_of(tmp_path / "fast.mp4", [10] * 230)  # 100 frames/s
    places = places_of(clip, None)
    order = reference_order(range(100), np.ones(230, bool), "elsewhere", places=places)
    assert order == list(range(100, 200)) and frames_needed(100, "elsewhere", places=places) == 200
    assert frames_needed(20, "elsewhere", places=places) == 120 and frames_needed(20, "same", places=places) == 20
    usual = places_of(clip, 25.0)
    for count in (1, 10, 24, 25, 26, 49, 50):
        assert frames_needed(count, "elsewhere", places=usual) == frames_needed(count, "elsewhere")


@pytest.mark.parametrize(("coding", "rate_hz"), [("lossless", 16000), ("auto", 44100)])
def test_silence_follows_a_padded_sound_to_the_end_of_the_video(tmp_path, coding, rate_hz):
    voice = tmp_path / "voice.wav"
    write_wav(voice, to_int16(0.5 * np.sin(np.arange(rate_hz // 2) * 0.3).astype(np.float32)), rate_hz)
    with VideoWriter(tmp_path / "a.mp4", 64, 48, sound=voice, sound_coding=coding, pads_sound=True) as writer:
        for number in range(30):
            writer.write(shade(number))
    heard = media.read_sound(tmp_path / "a.mp4")
    assert len(heard) / SOUND_RATE_HZ == pytest.approx(1.2, abs=0.02)
    assert np.abs(heard[samples(0.53) :]).max() < 2e-3 and np.abs(heard[: samples(0.49)]).max() > 0.4


# ---- with the model ----


@pytest.fixture(scope="module")
def pipe(untrained) -> LipsyncPipeline:
    return LipsyncPipeline.from_pretrained(untrained, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def voice(tmp_path_factory) -> Path:
    return cut(tmp_path_factory.mktemp("voices") / "g-short.wav", SHIPPED_DIR / "g-clara.wav", 1.0, 0.5)


@pytest.mark.slow
def test_a_clip_of_25_hz_gives_the_same_pictures_with_its_own_frames(pipe, voice):
    results = []
    for fps in ("25", "source"):
        resolved = pipe.resolve(FAST.changed(fps=fps))
        results.append([frame.frame for frame in pipe.generate(pipe.prepare(CLIP, voice, resolved), resolved)])
    assert len(results[0]) == len(results[1]) == 13
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.slow
def test_a_clip_of_a_variable_rate_keeps_its_times_and_is_measured_at_25(pipe, voice, tmp_path):
    clip, result = tmp_path / "uneven.mp4", tmp_path / "result.mp4"
    lengths_ms = [UNEVEN_MS[number % 10] for number in range(30)]
    with VideoWriter(clip, 512, 512, crf=4, preset="ultrafast", times_s=times_of(lengths_ms)) as writer:
        for frame in media.read_frames(CLIP, 25, 0, 30):
            writer.write(frame)
    output = pipe(clip, voice, result, fps="source", num_inference_steps=1)
    assert output.num_frames == len(list(output.read_frames())) == math.ceil(output.fps * 0.5)
    assert media.frame_times(result, None)[:-1] == times_of(lengths_ms)[: output.num_frames]
    assert float(media.frame_times(result, None)[-1]) == pytest.approx(0.5, abs=0.02)
    assert media.probe_sound(result).duration_s == pytest.approx(0.5, abs=0.05)
    made = Result.of_output(output, clip, voice)
    again = Result.of_options(result, clip, voice, output.options.flat(), MediaPipeLandmarks())
    assert made.order == again.order and made.num_natural == again.num_natural == len(made.order) == 13
    np.testing.assert_allclose(made.faces.matrices, again.faces.matrices)


@pytest.mark.slow
def test_the_rest_of_a_clip_plays_on_untouched(pipe, voice, tmp_path):
    output = pipe(CLIP, voice, tmp_path / "result.mp4", length="clip", num_inference_steps=1, output_type="np")
    whole = list(media.read_frames(CLIP))
    assert output.num_frames == len(whole) and output.order == list(range(13))
    made = (output.frames[0] * 255).round().astype(np.uint8)
    np.testing.assert_array_equal(made[13:], whole[13:])
    assert all((made[place] != whole[place]).any() for place in range(13))
    assert media.probe_sound(tmp_path / "result.mp4").duration_s == pytest.approx(len(whole) / 25, abs=0.05)
    shortest = pipe.resolve(FAST.changed(length="shortest"))
    assert pipe.prepare(CLIP, SHIPPED_DIR / "g-clara.wav", shortest).order == list(range(len(whole)))
