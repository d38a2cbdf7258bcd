"""References from elsewhere: which frame is whose, what it does to the pixels, and that old records keep their ids."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.io.wavfile
import torch
from hydra import compose, initialize_config_dir

from latentsync import media
from latentsync.config import Options, SamplerOptions, VideoOptions
from latentsync.constants import SOUND_RATE_HZ, VIDEO_RATE_HZ
from latentsync.errors import OptionError
from latentsync.faces.geometry import warp_crop
from latentsync.generation.references import GAP_FRAMES, answer_shift, frames_needed, reference_order
from latentsync.lab.cells.cell import options_for
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.pairs import SHIPPED_DIR, Pair
from latentsync.lab.options.schema import read_config
from latentsync.lab.records.identity import identity
from latentsync.pipeline import LipsyncPipeline

CLIP, VOICE = SHIPPED_DIR / "g-clara.mp4", SHIPPED_DIR / "g-clara.wav"
FAST = Options(SamplerOptions(guidance_scale=1.0, num_inference_steps=1))
ELSEWHERE = replace(FAST, video=VideoOptions(reference="elsewhere"))


@pytest.fixture(scope="module")
def pipe(untrained) -> LipsyncPipeline:
    return LipsyncPipeline.from_pretrained(untrained, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def short_voice(tmp_path_factory):
    path = tmp_path_factory.mktemp("voices") / "short.wav"
    rate_hz, samples = scipy.io.wavfile.read(VOICE)
    scipy.io.wavfile.write(path, rate_hz, samples[: int(0.4 * rate_hz)])
    return path


def test_the_same_frame_is_its_own_reference():
    assert reference_order([0, 1, 2, 1], np.ones(3, bool), "same") == [0, 1, 2, 1]


def test_references_elsewhere_are_far_away_and_run_along():
    has_face = np.ones(90, bool)
    order = [int(i) for i in media.ping_pong(270, 90)]
    references = reference_order(order, has_face, "elsewhere")
    assert all(abs(a - b) == GAP_FRAMES for a, b in zip(order, references, strict=True))
    jumps = np.flatnonzero(np.abs(np.diff(references)) > 1)
    assert len(jumps) == 3  # one for each pass through the clip


def test_a_reference_shows_a_face():
    has_face = np.ones(80, bool)
    has_face[[30, 31]] = False
    references = reference_order(range(80), has_face, "elsewhere")
    assert references[4:8] == [29, 32, 32, 32]
    assert references[54] == 79 and references[55] == 29 and references[56] == 29 and references[57] == 32
    nothing = np.zeros(80, bool)
    assert reference_order([3, 4], nothing, "elsewhere") == [3, 4]  # those frames are passed through


def test_a_reference_is_of_the_same_track():
    has_face, tracks = np.ones(150, bool), np.repeat([0, 1, 2], [60, 70, 20])
    references = reference_order(range(150), has_face, "elsewhere", tracks=tracks)
    assert (tracks[references] == tracks).all()
    far = np.abs(np.array(references) - np.arange(150)) >= GAP_FRAMES
    assert far[:130].all() and references[:2] == [25, 26] and references[59] == 34
    assert references[130:] == [149] * 10 + [130] * 10  # a short track: as far as it goes
    has_face[140:] = False
    assert reference_order(range(150), has_face, "elsewhere", tracks=tracks)[130:140] == [139] * 5 + [130] * 5


@pytest.mark.parametrize("shift", [-40, -20, 4, 10, 25, 30, 60])
def test_a_reference_is_far_from_the_lips_of_a_trimmed_voice_too(shift):
    has_face = np.ones(frames_needed(70, "elsewhere", shift) if shift > 0 else 120, bool)
    references = np.array(reference_order(range(70), has_face, "elsewhere", shift=shift))
    assert np.abs(references - np.arange(70)).min() >= GAP_FRAMES
    assert np.abs(references - np.arange(70) - shift).min() >= GAP_FRAMES


@pytest.mark.parametrize("frames, least", [(1, 26), (10, 35), (25, 50), (40, 50), (50, 50), (200, 200)])
def test_the_least_length_of_a_clip(frames, least):
    assert frames_needed(frames, "elsewhere") == least and frames_needed(frames, "same") == frames
    order = range(frames)
    reference_order(order, np.ones(least, bool), "elsewhere")
    if least > frames:
        with pytest.raises(OptionError, match=f"at least {least} frames .* reference=same"):
            reference_order(order, np.ones(least - 1, bool), "elsewhere")


@pytest.mark.slow
def test_the_pipeline_shows_the_model_a_frame_from_elsewhere(pipe, short_voice):
    resolved = pipe.resolve(ELSEWHERE)
    pair = pipe.prepare(CLIP, short_voice, resolved)
    assert (pair.num_frames, len(pair.faces)) == (10, 35)
    frames = list(pipe.generate(pair, resolved))
    clip = list(media.read_frames(CLIP, VIDEO_RATE_HZ, stop=35))
    for i in (0, 9):
        assert torch.equal(frames[i].crop, warp_crop(clip[i], pair.faces.matrices[i], 128))
        assert torch.equal(frames[i].reference, warp_crop(clip[i + 25], pair.faces.matrices[i + 25], 128))
    same = list(pipe.generate(pair, pipe.resolve(FAST)))
    assert all(torch.equal(frame.reference, frame.crop) for frame in same)
    assert (same[3].generated - frames[3].generated).abs().max() > 1e-3
    alone = list(pipe.generate(pair, resolved.changed(batch_size=1)))
    torch.testing.assert_close(alone[9].generated, frames[9].generated, atol=1e-4, rtol=0)


def test_a_clip_too_short_is_refused_and_leaves_no_file(pipe, tmp_path):
    with media.VideoWriter(tmp_path / "short.mp4", 512, 512) as writer:
        for frame in media.read_frames(CLIP, VIDEO_RATE_HZ, stop=40):
            writer.write(frame)
    with pytest.raises(OptionError, match=r"frame 15 of short.mp4 .* 40 frames; .* at least 50"):
        pipe(tmp_path / "short.mp4", VOICE, tmp_path / "out.mp4", num_inference_steps=1, reference="elsewhere")
    assert [path.name for path in tmp_path.iterdir()] == ["short.mp4"]


def test_the_option_is_configured_and_part_of_an_id_only_where_it_changes_something(pipe):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        video = read_config(compose("config", overrides=["video.reference=elsewhere"])).options.video
    assert video == VideoOptions(reference="elsewhere")
    with pytest.raises(OptionError, match="reference 'else' .* same, elsewhere"):
        VideoOptions(reference="else")
    pair = Pair(CLIP, VOICE, "female")
    same, elsewhere = (identity(pair, pipe, pipe.resolve(options))["options"] for options in (FAST, ELSEWHERE))
    assert "reference" not in same and elsewhere == {**same, "reference": "elsewhere"}
    assert pipe.resolve(FAST).flat()["reference"] == "same"


def trimmed(folder, start_s, stop_s):
    """A part of the voice as a file."""
    path = folder / f"g-{start_s}-{stop_s}.wav"
    rate_hz, samples = scipy.io.wavfile.read(VOICE)
    scipy.io.wavfile.write(path, rate_hz, samples[round(start_s * rate_hz) : round(stop_s * rate_hz)])
    return path


def test_the_lips_of_a_trimmed_voice_are_where_it_was_cut(tmp_path):
    def shift(start_s):
        return answer_shift(CLIP, media.read_sound(trimmed(tmp_path, start_s, start_s + 1.5), SOUND_RATE_HZ))

    assert [shift(start_s) for start_s in (0, 0.08, 1, 2)] == [0, 0, 25, 50]
    assert answer_shift(CLIP, media.read_sound(SHIPPED_DIR / "m-oskar.wav", SOUND_RATE_HZ)) == 0


def test_an_open_reference_is_elsewhere_where_the_clip_would_give_the_lips_away(tmp_path):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        left_open, original = (
            read_config(compose("config", overrides=overrides)) for overrides in ([], ["experiment=as_original_1_6"])
        )
    short = tmp_path / "g-short.mp4"
    with media.VideoWriter(short, 512, 512, sound=VOICE) as writer:
        for frame in media.read_frames(CLIP, VIDEO_RATE_HZ, stop=40):
            writer.write(frame)
    (tmp_path / "g-broken.mp4").write_bytes(b"no video")
    wanted = {
        (CLIP, VOICE): "elsewhere",
        (CLIP, SHIPPED_DIR / "g-clara-weather.wav"): "same",
        (short, VOICE): "same",
        (CLIP, trimmed(tmp_path, 0, 2)): "elsewhere",
        (CLIP, trimmed(tmp_path, 0.3, 3)): "elsewhere",
        (tmp_path / "g-broken.mp4", VOICE): "same",
    }
    pairs = [Pair(*paths, "female") for paths in wanted]
    assert [options_for(pair, left_open).video.reference for pair in pairs] == list(wanted.values())
    assert options_for(pairs[0], original).video.reference == "same"
