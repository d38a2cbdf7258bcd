"""The whole walk on a shipped clip with the small model: what comes out, what stays untouched, what it depends on."""

import inspect
import pydoc
import re
from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from short_clips import cut
from short_run import CLIP, FAST

from latentsync import media
from latentsync.config import SECTIONS, Options, takes_options
from latentsync.constants import VIDEO_RATE_HZ
from latentsync.errors import FaceNotFoundError, LatentSyncError, MediaError, OptionError
from latentsync.faces.composite import face_region
from latentsync.faces.landmarks import MediaPipeLandmarks
from latentsync.generation.memory import needs_of
from latentsync.generation.overlap import window_batches
from latentsync.generation.timing import num_output_frames
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.option import section_infos
from latentsync.pipeline import LipsyncPipeline

pytestmark = pytest.mark.slow

VOICE_S = 0.83  # 21 frames: two whole windows of 8 and a shorter one


@pytest.fixture(scope="module")
def pipe(untrained) -> LipsyncPipeline:
    return LipsyncPipeline.from_pretrained(untrained, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    return cut(tmp_path_factory.mktemp("voices") / "g-short.wav", SHIPPED_DIR / "g-clara.wav", 1.0, VOICE_S)


@pytest.fixture(scope="module")
def frames(pipe, voice):
    """Every generated frame of the pair, in memory."""
    resolved = pipe.resolve(FAST)
    return list(pipe.generate(pipe.prepare(CLIP, voice, resolved), resolved))


def test_open_steps_are_the_models_own_and_other_options_must_fit_them(pipe):
    few = LipsyncPipeline.from_pretrained("mini-256", device="cpu", dtype="float32")
    open_steps = Options.of(guidance_scale=1.0)
    assert [one.resolve(open_steps).sampler.num_inference_steps for one in (pipe, few)] == [20, 2]
    assert few.resolve(open_steps.changed(num_inference_steps=7)).sampler.num_inference_steps == 7
    with pytest.raises(OptionError, match="guidance_every is 5, but there are 2 steps; give at most 2"):
        few.resolve(open_steps.changed(guidance_every=5))
    student = LipsyncPipeline.from_pretrained("mini", device="cpu", dtype="float32")
    student.unet.register_to_config(guidance_limit=2.5)
    assert student.resolve(open_steps).sampler.num_inference_steps == 4


def crops(frames):
    return torch.stack([frame.generated for frame in frames])


def test_files_have_the_documented_length_and_the_sound_as_given(pipe, voice, tmp_path):
    out, mask = tmp_path / "it's a result.mp4", tmp_path / "mask.mp4"
    result = pipe(CLIP, voice, out, mask, num_inference_steps=1, sound="lossless")
    info = media.probe(out)
    assert info.num_frames == result.num_frames == num_output_frames(int(VOICE_S * 16000)) == 21
    assert (info.width, info.height) == (512, 512)
    assert np.array_equal(media.read_sound(out, 16000)[: int(VOICE_S * 16000)], media.read_sound(voice, 16000))
    assert media.probe(mask).num_frames == 21 and not media.probe(mask).has_sound
    assert len(list(result.read_frames())) == 21
    assert sorted(path.name for path in tmp_path.iterdir()) == ["it's a result.mp4", "mask.mp4"]
    assert {"audio", "align", "encode", "denoise", "decode", "composite", "write", "total"} <= set(result.timings)


@pytest.mark.parametrize("trained", [True, False])
def test_stages_are_announced_and_every_video_says_that_it_is_synthetic_and_if_untrained(pipe, tmp_path, trained):
    settings = replace(pipe.settings, trained=trained)
    labelled = LipsyncPipeline(pipe.vae, pipe.unet, pipe.scheduler, pipe.audio, settings)
    voice = cut(tmp_path / "voice.wav", SHIPPED_DIR / "g-clara.wav", 1.0, 0.2)
    begun: dict[str, int] = {}
    paths = tmp_path / "out.mp4", tmp_path / "mask.mp4"

    def note(stage: str, done: int, _: int) -> None:
        begun.setdefault(stage, done)

    labelled(CLIP, voice, *paths, num_inference_steps=1, on_progress=note)
    assert list(begun.items()) == [("read", 0), ("align", 0), ("audio", 0), ("denoise", 0)]
    for name in ("out.mp4", "mask.mp4"):
        with av.open(str(tmp_path / name)) as container:
            comment = container.metadata["comment"]
        assert "Synthetic video" in comment and ("UNTRAINED" in comment) == (not trained)


def test_pixels_outside_the_face_are_the_sources(frames):
    for frame in frames[::5]:
        region = face_region(frame.matrix, frame.crop.shape[-1], frame.frame.shape[:2])
        inside = np.zeros(frame.frame.shape[:2], bool)
        inside[region.rows, region.columns] = region.frame_weight < 1
        assert np.array_equal(frame.frame[~inside], frame.source[~inside])
        assert 0.02 < inside.mean() < 0.5
        assert (frame.frame[inside] != frame.source[inside]).mean() > 0.2  # and the mouth is not


def test_the_result_does_not_depend_on_batching(pipe, voice, frames):
    resolved = pipe.resolve(FAST).changed(batch_size=1)
    pair = pipe.prepare(CLIP, voice, resolved)
    torch.testing.assert_close(crops(list(pipe.generate(pair, resolved))), crops(frames), atol=1e-4, rtol=0)
    in_reference_order = resolved.changed(rng="reference")
    alone = crops(list(pipe.generate(pair, in_reference_order)))
    together = crops(list(pipe.generate(pair, in_reference_order.changed(batch_size=4))))
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    assert (alone - crops(frames)).abs().max() > 1e-3


def test_the_result_does_not_depend_on_the_memory_and_too_little_is_refused(pipe, voice, frames):
    resolved = pipe.resolve(FAST)
    pair = pipe.prepare(CLIP, voice, resolved)
    size_px, num_frames = resolved.video.size_px, resolved.sampler.num_frames
    needs = needs_of(pipe, num_frames, size_px, guided=True)
    least = resolved.changed(memory=needs.least / 1e9)
    torch.testing.assert_close(crops(list(pipe.generate(pair, least))), crops(frames), atol=1e-4, rtol=0)
    assert pipe.portions.sizes.by_branch and pipe.portions.sizes.windows == 1
    with pytest.raises(OptionError, match=r"memory is 0.01 GB, but mini needs at least \S+ GB .*num_frames") as refused:
        next(pipe.generate(pair, resolved.changed(memory="10e-3 GB")))
    enough = float(re.search(r"at least (\S+) GB", str(refused.value))[1])
    assert needs.least <= enough * 1e9 < needs.least + 1e7
    next(pipe.generate(pair, resolved.changed(memory=enough)))


def test_settings_generated_together_are_those_generated_alone(pipe, voice, tmp_path):
    first = pipe.resolve(FAST)
    settings = [first, first.changed(seed=7), first.changed(guidance_scale=1.0), first.changed(guidance_scale=2.5)]
    pair = pipe.prepare(CLIP, voice, first)
    together = [crops(frames) for frames in zip(*pipe.generate_together(pair, settings), strict=True)]
    for setting, results in zip(settings, together, strict=True):
        alone = crops(list(pipe.generate(pair, setting)))
        torch.testing.assert_close(results, alone, atol=1e-4, rtol=0)
    assert not torch.allclose(together[0], together[1], atol=1e-2)
    with pytest.raises(OptionError, match="seed and guidance_scale only"):
        next(pipe.generate_together(pair, [first, first.changed(num_inference_steps=3)]))


def test_sampler_options_and_voice_reach_the_pixels(pipe, voice, frames, tmp_path):
    other_voice = cut(tmp_path / "g-other.wav", SHIPPED_DIR / "g-clara-weather.wav", 1.0, VOICE_S)
    reference = crops(frames)
    for changed_voice, sampler in (
        (voice, replace(FAST.sampler, seed=7)),
        (voice, replace(FAST.sampler, guidance_scale=3.0)),
        (voice, replace(FAST.sampler, deepcache_interval=2)),
        (other_voice, FAST.sampler),
    ):
        resolved = pipe.resolve(replace(FAST, sampler=sampler))
        changed = crops(list(pipe.generate(pipe.prepare(CLIP, changed_voice, resolved), resolved)))
        assert (changed - reference).abs().max() > 1e-3


def test_a_voice_longer_than_the_clip_plays_it_back_and_forth(pipe, voice, tmp_path):
    source = list(media.read_frames(CLIP, VIDEO_RATE_HZ, stop=6))
    with media.VideoWriter(tmp_path / "short.mp4", 512, 512) as writer:
        for frame in source:
            writer.write(frame)
    pair = pipe.prepare(tmp_path / "short.mp4", voice, pipe.resolve(FAST))
    assert pair.order[:14] == [0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0, 0, 1]
    assert len(pair.order) == 21 and len(pair.faces) == 6
    frames = list(pipe.generate(pair, pipe.resolve(FAST)))
    assert np.array_equal(frames[5].source, frames[6].source)


def test_frames_without_a_face_pass_through_untouched(untrained, voice, tmp_path):
    real, seen = MediaPipeLandmarks(), iter(range(100))

    def blind_at_five(frame):
        return [] if next(seen) == 5 else real(frame)

    base = LipsyncPipeline.from_pretrained(untrained, "cpu", "float32")
    pipe = LipsyncPipeline(base.vae, base.unet, base.scheduler, base.audio, base.settings, blind_at_five)
    resolved = pipe.resolve(FAST)
    frames = list(pipe.generate(pipe.prepare(CLIP, voice, resolved), resolved))
    assert frames[5].generated is None and np.array_equal(frames[5].frame, frames[5].source)
    assert frames[4].generated is not None and not np.array_equal(frames[4].frame, frames[4].source)


def test_a_callback_sees_every_step(pipe, voice, tmp_path):
    steps = []
    pipe(
        CLIP,
        voice,
        tmp_path / "out.mp4",
        num_inference_steps=3,
        callback_on_step_end=lambda p, step, timestep, kwargs: steps.append((step, kwargs["latents"].shape)),
    )
    assert [step for step, _ in steps] == [0, 1, 2] * 2  # a batch of two whole windows, and the shorter one
    assert steps[0][1] == (2, 4, 8, 16, 16) and steps[-1][1] == (1, 4, 5, 16, 16)


def test_saved_and_loaded_it_gives_the_same_numbers(pipe, voice, frames, tmp_path):
    pipe.save_pretrained(tmp_path / "model")
    again = LipsyncPipeline.from_pretrained(tmp_path / "model", "cpu", "float32")
    assert again.weight_hashes == pipe.weight_hashes
    assert again.settings.trained == pipe.settings.trained
    resolved = again.resolve(FAST)
    results = list(again.generate(again.prepare(CLIP, voice, resolved), resolved))
    assert torch.equal(crops(results), crops(frames))
    again.save_pretrained(tmp_path / "model")  # over the very files that it was loaded from
    assert LipsyncPipeline.from_pretrained(tmp_path / "model", "cpu", "float32").weight_hashes == pipe.weight_hashes
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_windows_are_grouped_by_length():
    assert window_batches(21, 8, 2) == [[(0, 8), (8, 16)], [(16, 21)]]
    assert window_batches(32, 8, 3) == [[(0, 8), (8, 16), (16, 24)], [(24, 32)]]
    assert window_batches(5, 8, 3) == [[(0, 5)]]


def test_every_option_of_config_is_a_keyword_in_signature_and_help(pipe):
    parameters = inspect.signature(pipe).parameters
    page = " ".join(pydoc.plaintext.document(LipsyncPipeline.__call__).split())
    infos = {info.name: info for kind in SECTIONS.values() for info in section_infos(kind)}
    assert infos.keys() <= parameters.keys() and "options" not in parameters
    assert all(f" {name}=" in page for name in infos if name not in ("device", "dtype", "attention"))
    assert parameters["seed"].default == infos["seed"].default and parameters["guidance_scale"].default == 1.5
    assert parameters["seed"].kind is inspect.Parameter.KEYWORD_ONLY and parameters["seed"].annotation is int
    assert "seed=1247: seed of all random numbers" in page and "one of mask, mask2, mask3, mask4" in page


def test_a_function_may_have_defaults_and_options_of_its_own():
    @takes_options(seed=7)
    def make(clip, crf=0, **options):
        """Makes something."""

    parameters = inspect.signature(make).parameters
    assert list(parameters)[:3] == ["clip", "crf", "guidance_scale"]
    assert (parameters["crf"].default, parameters["seed"].default) == (0, 7)
    assert make.__doc__.startswith("Makes something.\n\nOptions:\n") and "seed=7: " in make.__doc__
    assert "crf=" not in make.__doc__


def test_options_move_the_networks_or_are_taken_as_given(untrained, voice, tmp_path):
    pipe = LipsyncPipeline.from_pretrained(untrained, "cpu", "float32")
    in_float32 = pipe.weight_hashes
    result = pipe(CLIP, voice, tmp_path / "out.mp4", guidance_scale=None, num_inference_steps=1, dtype="bfloat16")
    assert (result.options.sampler.guidance_scale, result.options.runtime.dtype) == (1.5, "bfloat16")
    assert pipe.dtype is torch.bfloat16 and pipe.weight_hashes["unet"] != in_float32["unet"]


def test_bad_input_is_one_sentence_and_leaves_no_file(pipe, voice, tmp_path):
    with media.VideoWriter(tmp_path / "grey.mp4", 128, 128) as writer:
        for _ in range(5):
            writer.write(np.full((128, 128, 3), 90, np.uint8))
    (tmp_path / "empty.mp4").touch()
    silent = cut(tmp_path / "silent.wav", SHIPPED_DIR / "g-clara.wav", 0, 0.1)
    files = sorted(tmp_path.iterdir())
    for clip, sound, options, error, message in (
        (tmp_path / "grey.mp4", voice, {}, FaceNotFoundError, "any of the 5 frames"),
        (tmp_path / "empty.mp4", voice, {}, MediaError, "empty.mp4"),
        (tmp_path / "absent.mp4", voice, {}, MediaError, "absent.mp4"),
        (CLIP, silent, {}, MediaError, "silent.wav holds 0.10 s .* at least 0.2 s"),
        (CLIP, voice, {"num_inference_steps": 0}, OptionError, "num_inference_steps is 0"),
        (CLIP, voice, {"num_frames": 32}, OptionError, "at most 24"),
        (CLIP, voice, {"width": 130}, OptionError, "multiple of 8"),
        (CLIP, voice, {"guidance_scal": 2.0}, OptionError, r"guidance_scal .* did you mean guidance_scale\?"),
        (CLIP, voice, {"guidance_scale": "1.5"}, OptionError, "is '1.5'; .* number of at least 0, .*presets use 1.3"),
        (CLIP, voice, {"device": "cuda:99"}, OptionError, "device 'cuda:99' .* use cpu"),
        (CLIP, voice, {"dtype": "float16"}, OptionError, "float16 .* use bfloat16 or float32"),
        (CLIP, voice, {"attention": "flash"}, OptionError, "'flash' is unknown; .* sdpa, xformers"),
    ):
        with pytest.raises(error, match=message):
            pipe(clip, sound, tmp_path / "out.mp4", tmp_path / "out_mask.mp4", **options)
    assert sorted(tmp_path.iterdir()) == files


def test_running_out_of_memory_is_explained(pipe, voice, tmp_path, monkeypatch):
    def exhausted(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(pipe.unet, "forward", exhausted)
    with pytest.raises(LatentSyncError, match=r"16 frames of 128 px.*tiny"):
        pipe(CLIP, voice, tmp_path / "out.mp4", num_inference_steps=1)
    assert list(tmp_path.iterdir()) == []


def test_windows_that_share_frames_give_one_video_for_any_batch_size(pipe, voice, frames):
    resolved = pipe.resolve(FAST).changed(window_overlap=2)
    pair = pipe.prepare(CLIP, voice, resolved)
    events = []
    for options in (resolved, resolved.changed(batch_size=1)):
        result = list(pipe.generate(pair, options, None, lambda *given: events.append(given[3]["frames"])))
        if options is resolved:
            together = crops(result)
    assert [np.array_equal(a.source, b.source) for a, b in zip(result, frames, strict=True)] == [True] * 21
    torch.testing.assert_close(crops(result), together, atol=1e-4, rtol=0)
    assert events[-8::2] == events[-7::2] == [(0, 8), (6, 14), (12, 20), (18, 21)]
    torch.testing.assert_close(together[:6], crops(frames)[:6], atol=1e-4, rtol=0)  # the first window's own
    assert (together[8:16] - crops(frames)[8:16]).abs().max() > 1e-3
    with pytest.raises(OptionError, match="window_overlap is 5; windows of 8 frames share at most 4"):
        pipe.resolve(resolved.changed(window_overlap=5))
