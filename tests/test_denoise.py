"""The sampling loop against the original's trace."""

import json
from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file
from small_unet import small_unet

from latentsync.checkpoints.model import LATENTSYNC_SCHEDULER, MODELS_DIR
from latentsync.generation.denoise import Condition, denoise, num_passes, solver_of
from latentsync.generation.guidance import guidance_scales
from latentsync.generation.overlap import SharedFrames, new_spans, window_batches, windows_of
from latentsync.generation.portions import LEAST, Portions, Sizes
from latentsync.unet.model import UNet3DConditionModel, UNet3DOutput, published_config

pytestmark = pytest.mark.slow

TOLERANCE = 2e-4
ORIGINAL = {"reference": "the original, seeded small UNet"}


@pytest.fixture(scope="module")
def loop(golden):
    """Runs the original's small network over its stored inputs; gives the final latents and those after each step."""
    config = json.loads((golden / "manifest.json").read_text())["unet_tiny_v16_weights.safetensors"]["config"]
    unet = UNet3DConditionModel(**published_config(config)).eval()
    torch.nn.Module.load_state_dict(unet, load_file(golden / "unet_tiny_v16_weights.safetensors"), strict=False)
    io = load_file(golden / "ddim_tiny_v16.safetensors")
    condition = Condition(io["mask"], io["masked"], io["ref"], io["audio"][None])
    scheduler = DDIMScheduler.from_config(LATENTSYNC_SCHEDULER)

    def run(steps: int, guidance_scale: float, deepcache_interval: int = 1):
        trace, timesteps = [], []

        def on_step(index, timestep, latents):
            trace.append(latents.clone())
            timesteps.append(timestep)

        final = denoise(unet, scheduler, io["noise"], condition, guidance_scale, steps, on_step, deepcache_interval)
        return final, torch.stack(trace), timesteps

    return run, io


def test_guided_steps_equal_the_originals_trace(loop, agree):
    run, io = loop
    final, trace, timesteps = run(5, 1.5)
    assert timesteps == [801, 601, 401, 201, 1]
    agree("DDIM, 5 steps, guidance 1.5, every step", trace, io["trace_5steps_cfg15"], within=TOLERANCE, **ORIGINAL)
    agree("DDIM, 5 steps, guidance 1.5, final latents", final, io["final_5steps_cfg15"], within=TOLERANCE, **ORIGINAL)


@pytest.mark.parametrize("guidance_scale", [1.0, 0.5])
def test_guidance_up_to_one_is_none(loop, agree, guidance_scale):
    run, io = loop
    final, _, _ = run(5, guidance_scale)
    agree("DDIM, 5 steps, no guidance, final latents", final, io["final_5steps_nocfg"], within=TOLERANCE, **ORIGINAL)


def test_twenty_steps_equal_the_originals(loop, agree):
    run, io = loop
    final, _, _ = run(20, 1.5)
    agree("DDIM, 20 steps, guidance 1.5, final latents", final, io["final_20steps_cfg15"], within=TOLERANCE, **ORIGINAL)


def test_deepcache_equals_the_originals(loop, agree):
    run, io = loop
    final, _, _ = run(20, 1.5, deepcache_interval=3)
    cached = io["final_20steps_cfg15_deepcache3"]
    agree("DeepCache every 3 of 20 steps, final latents", final, cached, within=TOLERANCE, **ORIGINAL)
    assert (final - io["final_20steps_cfg15"]).abs().max() > 1  # it is another result, and a cheaper one


@pytest.fixture(scope="module")
def small():
    """A seeded small network over two windows, the left half of which is to be generated.

    Gives a run that returns the final latents, and for each call of the network the size of its batch and whether it
    ran whole.
    """
    unet = small_unet(0)
    mask = torch.ones(2, 1, 2, 8, 8)
    mask[..., :4] = 0
    condition = Condition(mask, torch.randn(2, 4, 2, 8, 8), torch.randn(2, 4, 2, 8, 8), torch.randn(2, 2, 5, 384))
    noise, scheduler = torch.randn(2, 4, 2, 8, 8), DDIMScheduler.from_config(LATENTSYNC_SCHEDULER)
    calls = []
    unet.register_forward_hook(lambda module, given, output: calls.append((len(given[0]), given[3] is None)))

    def run(guidance_scale: float, steps: int, deepcache_interval: int = 1, **options):
        calls.clear()
        final = denoise(unet, scheduler, noise, condition, guidance_scale, steps, None, deepcache_interval, **options)
        return final, list(calls)

    return run


def test_rising_guidance_has_the_mean_of_the_constant_one_and_an_interval_its_steps():
    shares = [1.0, 0.8, 0.6, 0.4, 0.2]
    assert guidance_scales(1.8, "constant", shares, None) == [1.8] * 5
    assert guidance_scales(1.8, "linear", shares, None) == pytest.approx([1, 1.4, 1.8, 2.2, 2.6])
    assert guidance_scales(1.8, "cosine", shares, None) == pytest.approx([1, 1.23431, 1.8, 2.36569, 2.6], abs=1e-5)
    assert guidance_scales(1.8, "interval", shares, (0.2, 0.8)) == [1, 1.8, 1.8, 1.8, 1]
    assert guidance_scales(1.8, "linear", [1.0], None) == [1.8]
    assert guidance_scales(0.5, "cosine", shares, None) == [0.5] * 5


def test_a_step_without_guidance_runs_the_network_with_audio_only(small):
    _, calls = small(1.8, 5, guidance_schedule="interval", guidance_interval=(0.3, 0.7))  # timesteps 801, 601 .. 1
    assert calls == [(2, True), (4, True), (4, True), (2, True), (2, True)]
    _, calls = small(1.8, 3, guidance_schedule="linear")
    assert calls == [(2, True), (4, True), (4, True)]
    guided, _ = small(1.8, 5, guidance_schedule="interval", guidance_interval=(0, 1))
    assert torch.equal(guided, small(1.8, 5)[0])
    unguided, _ = small(1.8, 5, guidance_schedule="interval", guidance_interval=(0.9, 1))
    assert torch.equal(unguided, small(1.0, 5)[0])


@pytest.mark.parametrize(
    ("guidance_scale", "options"),
    [
        (1.0, {}),
        (2.0, {}),
        (2.0, {"guidance_schedule": "linear"}),
        (2.0, {"guidance_schedule": "interval", "guidance_interval": (0.3, 0.7)}),
        (2.0, {"guidance_schedule": "interval", "guidance_interval": (0.3, 0.7), "solver": "unipc"}),
        (1.0, {"guidance_every": 3}),
        (2.0, {"guidance_every": 3}),
        (2.0, {"guidance_every": 2, "guidance_schedule": "linear"}),
    ],
)
def test_passes_are_counted_as_they_are_made(small, guidance_scale, options):
    _, calls = small(guidance_scale, 8, **options)
    passes = num_passes(DDIMScheduler.from_config(LATENTSYNC_SCHEDULER), 8, guidance_scale, **options)
    assert 2 * passes == sum(batch for batch, _ in calls)  # of two windows


def test_the_branch_without_audio_runs_at_every_kth_guided_step(small):
    _, calls = small(1.8, 5, guidance_every=2)
    assert calls == [(4, True), (2, True), (4, True), (2, True), (4, True)]
    _, calls = small(1.8, 5, guidance_every=2, guidance_schedule="linear")  # the first step is not guided
    assert calls == [(2, True), (4, True), (2, True), (4, True), (2, True)]
    exact, every, unguided = (small(g, 6, guidance_every=k)[0] for g, k in ((1.8, 1), (1.8, 2), (1.0, 1)))
    assert 0 < (every - exact).abs().mean() < (unguided - exact).abs().mean() / 2
    assert torch.equal(small(1.0, 6, guidance_every=2)[0], unguided)


def test_a_step_with_a_reused_difference_is_the_prediction_with_audio_and_that_difference(small, monkeypatch):
    """With a constant network all steps have one difference, so that reusing it changes nothing."""
    outputs = torch.cat([torch.full((2, 4, 2, 8, 8), 0.1), torch.full((2, 4, 2, 8, 8), 0.3)])
    monkeypatch.setattr(
        UNet3DConditionModel, "forward", lambda self, sample, *_: UNet3DOutput(outputs[-len(sample) :], sample)
    )
    exact, every = small(1.8, 6)[0], small(1.8, 6, guidance_every=3)[0]
    torch.testing.assert_close(every, exact)
    assert (exact - small(1.0, 6)[0]).abs().max() > 0.1


@pytest.mark.parametrize("sizes", [Sizes(windows=1), Sizes(windows=2, by_branch=True), LEAST])
def test_a_network_in_portions_gives_the_same(small, sizes):
    options = {"deepcache_interval": 2, "guidance_every": 2, "guidance_schedule": "linear"}
    whole, _ = small(1.8, 6, **options)
    parted, calls = small(1.8, 6, **options, portions=Portions(sizes))
    least = max(1, sizes.windows) * (1 if sizes.by_branch else 2)
    assert max(batch for batch, _ in calls) == least
    torch.testing.assert_close(parted, whole, atol=1e-4, rtol=0)


def test_deep_features_serve_an_unguided_step_and_a_guided_one_without_them_runs_whole(small):
    interval = {"guidance_schedule": "interval", "guidance_interval": (0.3, 0.7)}
    _, calls = small(1.8, 5, 3, **interval)
    assert calls == [(2, True), (4, True), (4, False), (2, True), (2, False)]
    _, calls = small(1.8, 5, 5, **interval)
    assert calls == [(2, True), (4, True), (4, False), (2, False), (2, False)]
    # features left by a guided step lead an unguided one as those of an unguided step do
    almost_none, calls = small(1 + 1e-6, 2, 2, guidance_schedule="interval", guidance_interval=(0.4, 1))
    assert calls == [(4, True), (2, False)]
    torch.testing.assert_close(almost_none, small(1.0, 2, 2)[0], atol=1e-4, rtol=0)


def test_guidance_of_the_mouth_leaves_what_is_kept_to_the_prediction_with_audio(small):
    mouth, everywhere, unguided = (
        small(g, 1, guidance_mask=m)[0] for g, m in ((3.0, "mouth"), (3.0, "uniform"), (1.0, "uniform"))
    )
    torch.testing.assert_close(mouth[..., 4:], unguided[..., 4:], atol=1e-5, rtol=0)
    torch.testing.assert_close(mouth[..., :4], everywhere[..., :4], atol=1e-4, rtol=0)
    assert (everywhere - unguided)[..., 4:].abs().max() > 1e-3 < (everywhere - unguided)[..., :4].abs().max()


def solved(config: dict, solver: str, steps: int, spread: float = 0.5) -> float:
    """How far a solver's result of a unit of noise is off for normally distributed data, whose ODE has a known answer.

    The network is the exact one for data of this standard deviation.
    """
    schedule = solver_of(DDIMScheduler.from_config(config), solver)
    schedule.set_timesteps(steps)
    x, is_v = torch.ones(1, 1, 1, 1, 1, dtype=torch.float64), config.get("prediction_type") == "v_prediction"

    def levels(timestep):
        power = schedule.alphas_cumprod[int(timestep)].double()
        return power.sqrt(), (1 - power).sqrt()

    signal, noise = levels(schedule.timesteps[0])
    start = (signal**2 * spread**2 + noise**2).sqrt()
    for timestep in schedule.timesteps:
        signal, noise = levels(timestep)
        expected = x / (signal**2 * spread**2 + noise**2)
        clean, eps = signal * spread**2 * expected, noise * expected
        x = schedule.step(signal * eps - noise * clean if is_v else eps, timestep, x).prev_sample
    signal, noise = levels(0)  # the least noise of the training, where all end
    return abs(x.item() - ((signal**2 * spread**2 + noise**2).sqrt() / start).item())


@pytest.mark.parametrize("model", ["published", "mini"])
def test_solvers_of_second_order_come_closer_in_fifty_steps_than_ddim_in_a_hundred(model):
    mini = DDIMScheduler.load_config(MODELS_DIR / "mini" / "scheduler")
    config = mini if model == "mini" else LATENTSYNC_SCHEDULER
    for solver in ("dpmpp_2m", "unipc"):
        assert solved(config, solver, 20) < 0.65 * solved(config, "ddim", 20)
        assert solved(config, solver, 50) < solved(config, "ddim", 100)
        assert all(solved(config, solver, steps) < 1 for steps in (1, 2, 3, 700))  # finite, with and without signal


# --- windows that share frames ---

NUM_FRAMES, WINDOW, STEPS = 11, 4, 4


@pytest.fixture(scope="module")
def long_video():
    """A seeded small network over eleven frames; gives a run in windows: (overlap, batch size) -> latents of each."""
    unet = small_unet(1)
    mask = torch.zeros(1, 1, NUM_FRAMES, 8, 8)
    images = torch.randn(2, 1, 4, 1, 8, 8) + 0.1 * torch.randn(2, 1, 4, NUM_FRAMES, 8, 8)
    audio, noise = torch.randn(1, NUM_FRAMES, 5, 384), torch.randn(1, 4, 1, 8, 8).expand(-1, -1, NUM_FRAMES, -1, -1)
    scheduler = DDIMScheduler.from_config(LATENTSYNC_SCHEDULER)

    def run(overlap: int, batch_size: int, num_settings: int = 1, is_blended: bool = True, **options):
        shared, finals = SharedFrames(overlap if is_blended else 0, num_settings), {}
        for windows in window_batches(NUM_FRAMES, WINDOW, batch_size, overlap):

            def cut(values: torch.Tensor, axis: int = 2, windows=windows) -> torch.Tensor:
                parts = [values.narrow(axis, start, stop - start) for start, stop in windows]
                return torch.cat(parts * num_settings)

            shared.next_group(windows)
            condition = Condition(cut(mask), cut(images[0]), cut(images[1]), cut(audio, 1))
            scales = [scale for scale in (1.5, 2.5)[:num_settings] for _ in windows]
            final = denoise(unet, scheduler, cut(noise), condition, scales, STEPS, blend=shared, **options)
            finals |= dict(zip(windows, final.unflatten(0, (num_settings, -1)).transpose(0, 1), strict=True))
        return finals

    return run


def seams(finals, overlap: int) -> torch.Tensor:
    """How far the frames that two windows share differ between them, relative to the latents' deviation."""
    both = [(a[0, :, -overlap:], b[0, :, :overlap]) for a, b in pairwise(finals.values())]
    return torch.stack([(a - b).square().mean((0, 2, 3)).sqrt() / a.std() for a, b in both])


def test_windows_without_overlap_are_denoised_as_before(long_video):
    finals = long_video(0, 2)
    assert list(finals) == [(0, 4), (4, 8), (8, 11)]
    alone = long_video(0, 1)
    for window, latents in finals.items():
        torch.testing.assert_close(latents, alone[window], atol=1e-4, rtol=0)
    zeros = torch.zeros(2, 4, 3, 8, 8)
    assert SharedFrames(0)(0, zeros) is zeros  # not even copied


@pytest.mark.parametrize(
    "options", [{}, {"solver": "unipc"}, {"deepcache_interval": 2}, {"deepcache_interval": 2, "deepcache_order": 1}]
)
def test_shared_frames_go_from_one_window_to_the_next_for_any_batch_size(long_video, options):
    one, *others = (long_video(2, size, **options) for size in (1, 2, 4))
    assert list(one) == [(0, 4), (2, 6), (4, 8), (6, 10), (8, 11)]
    for other in others:
        for window, latents in one.items():
            torch.testing.assert_close(other[window], latents, atol=1e-4, rtol=0)
    blended = seams(one, 2)
    assert (blended[:, 0] < blended[:, 1]).all()  # a ramp: the first shared frame is the earlier window's for the most
    apart = long_video(2, 4, is_blended=False, **options)
    torch.testing.assert_close(apart[(0, 4)], one[(0, 4)], atol=1e-4, rtol=0)  # the earlier window stays as it is
    assert blended.mean() < 0.7 * seams(apart, 2).mean()


def test_settings_with_shared_frames_are_those_made_alone(long_video):
    alone, together = long_video(1, 2), long_video(1, 2, num_settings=2)
    assert list(alone) == [(0, 4), (3, 7), (6, 10), (9, 11)]
    for window, latents in together.items():
        torch.testing.assert_close(latents[:1], alone[window], atol=1e-4, rtol=0)
        assert not torch.allclose(latents[1], latents[0], atol=1e-2)


@pytest.mark.parametrize("num_frames", [1, 3, 4, 5, 11, 64])
@pytest.mark.parametrize(("window", "overlap"), [(4, 0), (4, 1), (4, 2), (5, 2), (1, 0)])
def test_windows_cover_the_video_and_share_frames(num_frames, window, overlap):
    windows = windows_of(num_frames, window, overlap)
    assert windows[0][0] == 0 and windows[-1][1] == num_frames
    assert all(a[1] - b[0] == overlap and a[1] - a[0] == window for a, b in pairwise(windows))
    assert num_frames <= overlap or windows[-1][1] - windows[-1][0] > overlap
    spans = new_spans(windows, 0)
    assert [i for start, stop in spans for i in range(start, stop)] == list(range(num_frames))
    assert [w for batch in window_batches(num_frames, window, 3, overlap) for w in batch] == windows
