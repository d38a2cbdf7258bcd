"""Kinds of guidance: known answers for one step, and over a whole denoising window by window."""

import math
from functools import partial

import pytest
import torch
from diffusers import DDIMScheduler
from small_unet import small_unet

from latentsync.checkpoints.model import LATENTSYNC_SCHEDULER, MODELS_DIR
from latentsync.config import SamplerOptions
from latentsync.generation.denoise import Condition, denoise
from latentsync.generation.guidance import Plain, Projected, Rescaled, Step, ZeroStar, guidance_of, in_effect

pytestmark = pytest.mark.slow

SHAPE = (2, 4, 3, 8, 8)
KINDS = {
    "projected": partial(Projected, 0.0, 0.06, -0.5),
    "zero_star": ZeroStar,
    "rescaled": lambda: Rescaled(Plain(), 0.7),
}
CLOSE = {"atol": 1e-5, "rtol": 1e-5}  # a dozen float32 operations on numbers of up to about 10


def random(*seeds: int) -> list[torch.Tensor]:
    return [torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) for seed in seeds]


@pytest.fixture(params=["epsilon", "v_prediction", "sample"])
def step(request) -> Step:
    """Some step with as much signal as noise, near enough."""
    return Step(random(0)[0], 0.6, 0.8, request.param)


def test_a_prediction_becomes_clean_latents_and_a_velocity_and_back(step):
    (clean,) = random(1)
    eps = (step.latents - 0.6 * clean) / 0.8
    prediction = {"epsilon": eps, "v_prediction": 0.6 * eps - 0.8 * clean, "sample": clean}[step.predicts]
    torch.testing.assert_close(step.clean(prediction), clean, **CLOSE)
    torch.testing.assert_close(step.of_clean(clean), prediction, **CLOSE)
    torch.testing.assert_close(step.velocity(prediction), 0.6 * eps - 0.8 * clean, **CLOSE)
    torch.testing.assert_close(step.of_velocity(0.6 * eps - 0.8 * clean), prediction, **CLOSE)


def test_projected_guidance_with_all_of_the_difference_is_plain_guidance(step):
    without, voiced = random(1, 2)
    torch.testing.assert_close(
        Projected(parallel=1)(step, without, voiced, 2.5), Plain()(step, without, voiced, 2.5), **CLOSE
    )


def test_projected_guidance_scales_the_part_along_the_clean_latents_only(step):
    clean, other = random(1, 2)
    across = other - step.mean(other * clean) / step.mean(clean.square()) * clean
    without, voiced = step.of_clean(clean - 0.3 * clean - across), step.of_clean(clean)
    for parallel in (0.0, 0.25):
        guided = step.clean(Projected(parallel)(step, without, voiced, 3.0))
        torch.testing.assert_close(guided, clean + 2 * (across + parallel * 0.3 * clean), **CLOSE)


def test_a_large_difference_is_limited_in_each_window_and_a_small_one_stays(step):
    clean, change = random(1, 2)
    change = change / step.mean(change.square()).sqrt() * torch.tensor([0.5, 0.02]).view(-1, 1, 1, 1, 1)
    guided = Projected(1, limit=0.1)(step, step.of_clean(clean - change), step.of_clean(clean), 3.0)
    expected = clean + 2 * change * torch.tensor([0.2, 1.0]).view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(step.clean(guided), expected, **CLOSE)


def test_momentum_adds_the_average_of_earlier_steps(step):
    clean, first, second = random(1, 2, 3)
    guidance = Projected(1, momentum=-0.5)
    parts = [(step.of_clean(clean - change), step.of_clean(clean), 2.0) for change in (first, second, second)]
    *_, last = [step.clean(guidance(step, *part)) for part in parts]
    torch.testing.assert_close(last, clean + second - 0.5 * (second - 0.5 * first), **CLOSE)


def test_the_optimised_scale_takes_away_what_is_only_weaker_without_audio(step):
    """If the velocity without audio is a multiple of that with audio, no guidance is left."""
    velocity, other = random(1, 2)
    across = other - step.mean(other * velocity) / step.mean(velocity.square()) * velocity
    voiced = step.of_velocity(velocity)
    guided = ZeroStar()(step, step.of_velocity(0.4 * velocity), voiced, 3.0)
    torch.testing.assert_close(guided, voiced, **CLOSE)
    beside = step.velocity(ZeroStar()(step, step.of_velocity(across), voiced, 3.0))  # <c, u> is 0, and so is the scale
    torch.testing.assert_close(beside, 3 * velocity, **CLOSE)


def test_rescaling_gives_back_the_deviation_with_audio(step):
    without, voiced = random(1, 2)
    plain = Plain()(step, without, voiced, 3.0)
    whole, half = (Rescaled(Plain(), share)(step, without, voiced, 3.0) for share in (1.0, 0.5))
    torch.testing.assert_close(whole.std((1, 2, 3, 4)), voiced.std((1, 2, 3, 4)), **CLOSE)
    torch.testing.assert_close(half, (plain + whole) / 2, **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_guidance_of_the_mouth_measures_and_changes_the_mouth_only(step, kind):
    region = torch.zeros(2, 1, 3, 8, 8)
    region[..., :4] = 1
    without, voiced = random(1, 2)
    mouth = Step(step.latents, step.signal, step.noise, step.predicts, region)
    alone = Step(step.latents[..., :4], step.signal, step.noise, step.predicts)
    guided = KINDS[kind]()(mouth, without, voiced, 2.5)
    expected = KINDS[kind]()(alone, without[..., :4], voiced[..., :4], 2.5)
    torch.testing.assert_close(guided[..., :4], expected, **CLOSE)
    assert torch.equal(guided[..., 4:], voiced[..., 4:])


# --- a whole denoising ---


@pytest.fixture(scope="module")
def window_run():
    """Denoises some of two windows with a seeded small network: (windows, guidance scales, options) -> latents."""
    unet = small_unet(0)
    mask = torch.ones(2, 1, 2, 8, 8)
    mask[..., :4] = 0
    masked, reference, noise = torch.randn(3, 2, 4, 2, 8, 8)
    audio = torch.randn(2, 2, 5, 384)

    def run(windows, scales, model="published", steps=6, **options):
        mini = DDIMScheduler.load_config(MODELS_DIR / "mini" / "scheduler")
        scheduler = DDIMScheduler.from_config(mini if model == "mini" else LATENTSYNC_SCHEDULER)
        parts = [values[list(windows)] for values in (mask, masked, reference, audio)]
        return denoise(unet, scheduler, noise[list(windows)], Condition(*parts), scales, steps, **options)

    return run


@pytest.mark.parametrize("model", ["published", "mini"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"guidance_every": 2, "guidance_mask": "mouth"}, {"solver": "dpmpp_2m"}])
def test_every_kind_guides_windows_one_by_one(window_run, model, kind, options):
    run = partial(window_run, model=model, guidance=KINDS[kind], **options)
    together = run((0, 1), [1.5, 2.5])
    for window, scale in enumerate((1.5, 2.5)):
        torch.testing.assert_close(together[[window]], run((window,), scale), atol=1e-4, rtol=0)
    beside = run((0, 1), [1.0, 2.5])
    torch.testing.assert_close(beside[[1]], run((1,), 2.5), atol=1e-4, rtol=0)
    torch.testing.assert_close(beside[[0]], window_run((0,), 1.0, model, solver=options.get("solver", "ddim")),
                               atol=1e-4, rtol=0)  # fmt: skip
    plain = window_run((0, 1), [1.5, 2.5], model, **options)
    assert torch.isfinite(together).all() and (together - plain).abs().max() > 1e-3


def test_a_call_does_not_remember_the_one_before(window_run):
    first, second = (window_run((0, 1), 2.5, guidance=KINDS["projected"]) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("model", ["published", "mini"])
@pytest.mark.parametrize("schedule", ["constant", "linear"])  # the first step of the latter is not guided
def test_latents_at_rest_only_turn_by_the_angle_of_the_step(window_run, model, schedule):
    """With velocity 0, x = cos(angle) x0 + sin(angle) eps shrinks by the cosine of the change of the angle."""
    seen = []
    run = partial(window_run, (0, 1), model=model, guidance_schedule=schedule)
    run([1.0, 2.0], guidance=partial(ZeroStar, 2), on_step=lambda index, t, x: seen.append((t, x)))
    scheduler = DDIMScheduler.from_config(
        DDIMScheduler.load_config(MODELS_DIR / "mini" / "scheduler") if model == "mini" else LATENTSYNC_SCHEDULER
    )
    angles = [math.acos(math.sqrt(scheduler.alphas_cumprod[t])) for t, _ in seen]
    (_, before), (_, after) = seen[:2]
    turned = math.cos(angles[2] - angles[1]) * before
    torch.testing.assert_close(after[1], turned[1], **CLOSE)
    assert (after[0] - turned[0]).abs().max() > 0.01  # the window without guidance moves


# --- options ---


def test_options_make_their_kind_and_the_usual_ones_plain_guidance():
    step, (without, voiced) = Step(random(0)[0], 0.6, 0.8, "epsilon"), random(1, 2)

    def guided(**options):
        resolved = in_effect(SamplerOptions(guidance_scale=2.0, **options))
        return guidance_of(resolved)()(step, without, voiced, 2.0)

    assert torch.equal(guided(), without + 2.0 * (voiced - without))
    direct = Rescaled(Projected(0.5, 0.2, -0.25), 0.7)(step, without, voiced, 2.0)
    named = {"guidance_parallel": 0.5, "guidance_norm": 0.2, "guidance_momentum": -0.25, "guidance_rescale": 0.7}
    assert torch.equal(guided(guidance_kind="projected", **named), direct)
    assert torch.equal(guided(guidance_kind="zero_star"), ZeroStar()(step, without, voiced, 2.0))
    rest = guidance_of(in_effect(SamplerOptions(2.0, guidance_kind="zero_star", guidance_zero_steps=3)))()
    assert rest.resting_steps == 3 and Plain().resting_steps == 0


def test_options_without_effect_count_as_not_used():
    usual = in_effect(SamplerOptions(2.0))
    assert in_effect(SamplerOptions(2.0, guidance_parallel=0.5, guidance_zero_steps=2)) == usual
    assert usual.guidance_norm is usual.guidance_momentum is usual.guidance_interval is None
    unguided = SamplerOptions(1.0, guidance_kind="projected", guidance_rescale=0.7, guidance_every=2)
    assert in_effect(unguided) == in_effect(SamplerOptions(1.0))
    projected = in_effect(SamplerOptions(2.0, guidance_kind="projected"))
    parts = projected.guidance_parallel, projected.guidance_norm, projected.guidance_momentum
    assert parts == (0.0, 0.06, -0.5) and projected.guidance_zero_steps is None
