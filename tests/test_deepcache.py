"""Deep features that are repeated or extrapolated between the steps that run the whole network."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, HeunDiscreteScheduler
from small_unet import small_unet

from latentsync.checkpoints.model import LATENTSYNC_SCHEDULER
from latentsync.generation.deepcache import DeepCache
from latentsync.generation.denoise import Condition, denoise
from latentsync.generation.portions import LEAST, Portions, Sizes
from latentsync.generation.solvers import log_snr

INTERVAL = {"guidance_schedule": "interval", "guidance_interval": (0.3, 0.7)}
SCHEDULER = DDIMScheduler.from_config(LATENTSYNC_SCHEDULER)


@pytest.fixture
def small():
    """A seeded small network over two windows: (network, run).

    A run gives the final latents, and for each call of the network its place, the deep features that it was given
    and those that it returned.
    """
    unet = small_unet(0)
    condition = Condition(
        torch.zeros(2, 1, 2, 8, 8), torch.randn(2, 4, 2, 8, 8), torch.randn(2, 4, 2, 8, 8), torch.randn(2, 2, 5, 384)
    )
    noise, calls = torch.randn(2, 4, 2, 8, 8), []
    unet.register_forward_hook(
        lambda _, given, output: calls.append((log_snr(SCHEDULER, given[1]), given[3], output.deep_features))
    )

    def run(steps: int, interval: int, order: int, guidance_scale: float = 1.8, scheduler=SCHEDULER, **options):
        calls.clear()
        options["deepcache_order"] = order
        final = denoise(unet, scheduler, noise, condition, guidance_scale, steps, None, interval, **options)
        return final, list(calls)

    return unet, run


def test_features_that_are_linear_in_the_place_are_extrapolated_exactly():
    start, slope = torch.randn(2, 4, 3, 1, 2, 2, dtype=torch.float64)

    def true(place: float) -> torch.Tensor:
        return start + slope * place

    cache = DeepCache(9, 3, order=1)
    for index, place in enumerate((-8.3, -2.9, -2.2, -1.7, -1.3, -1.0, -0.6, -0.1)):
        features = cache.features(index, place, 4)
        if features is None:
            assert index % 3 == 0
            cache.keep(place, true(place))
        else:
            known = true(place) if index > 3 else true(-8.3)  # one whole step cannot be extrapolated
            torch.testing.assert_close(features, known)


def test_each_half_of_guidance_is_extrapolated_from_its_own():
    without, voiced = torch.tensor([[1.0]]), torch.tensor([[10.0]])
    cache = DeepCache(99, 2, order=1)
    cache.keep(4.0, torch.cat([without, voiced]))
    cache.keep(2.0, torch.cat([without + 2, voiced - 4]))
    assert cache.features(3, 1.0, 2).tolist() == [[4.0], [4.0]]
    assert cache.features(3, 1.0, 1).tolist() == [[4.0]]  # with audio only
    assert cache.features(5, 0.0, 2) is None  # the step before had none without audio
    cache.keep(0.0, torch.cat([without, voiced]))
    assert cache.features(7, -1.0, 2).tolist() == [[1.0], [10.0]]  # without audio is known of one step: both repeat


def test_two_calls_at_one_place_are_one_known_step():
    cache = DeepCache(99, 2, order=1)
    for value in (1.0, 2.0):
        cache.keep(5.0, torch.full((1, 1), value))
    assert cache.features(1, 3.0, 1).tolist() == [[2.0]]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"guidance_scale": 1.0},
        {"guidance_every": 2},
        {"guidance_every": 4},
        INTERVAL,
        {"solver": "dpmpp_2m"},
        {"solver": "unipc"},
        {"solver": None, "scheduler": HeunDiscreteScheduler.from_config(LATENTSYNC_SCHEDULER)},
    ],
)
def test_the_order_changes_the_features_of_the_steps_between_and_not_which_they_are(small, options):
    _, run = small
    repeated, of_order_0 = run(9, 3, 0, **options)
    extrapolated, of_order_1 = run(9, 3, 1, **options)
    kinds = [[(place, given is None, len(out)) for place, given, out in calls] for calls in (of_order_0, of_order_1)]
    assert kinds[0] == kinds[1] and any(not is_whole for _, is_whole, _ in kinds[0])
    assert not torch.allclose(repeated, extrapolated, atol=1e-3)
    whole = []
    for place, given, out in of_order_1:
        if given is None:
            whole = [*[step for step in whole if step[0] != place][-1:], (place, out)]
            continue
        (first, older), (last, newer) = whole[0], whole[-1]
        older, newer = older[-len(given) :], newer[-len(given) :]
        expected = newer
        if first != last and len(older) == len(given):
            expected = newer + (newer - older) * (place - last) / (last - first)
        torch.testing.assert_close(given, expected, atol=1e-4, rtol=1e-4)


def test_final_steps_run_whole_as_well(small):
    _, run = small

    def is_whole(final_steps: int) -> list[bool]:
        return [given is None for _, given, _ in run(7, 3, 1, deepcache_final_steps=final_steps)[1]]

    assert is_whole(0) == is_whole(1) == [True, False, False, True, False, False, True]
    assert is_whole(2) == [True, False, False, True, False, True, True]
    assert torch.equal(run(7, 3, 1, deepcache_final_steps=7)[0], run(7, 1, 0)[0])


@pytest.mark.parametrize("options", [{}, {"guidance_every": 2}, {"solver": "dpmpp_2m"}])
def test_a_constant_deep_part_gives_the_result_without_deepcache(small, options):
    unet, run = small
    for order in (0, 1):
        assert not torch.allclose(run(9, 3, order, **options)[0], run(9, 1, 0, **options)[0], atol=1e-3)
    resnet, attention, _ = unet.up_blocks[-1].layers()[-2]
    for layer in (resnet.conv2, resnet.conv_shortcut, attention.proj_out):
        torch.nn.init.zeros_(layer.weight)  # what remains of the deep features are these layers' biases
    whole = run(9, 1, 0, **options)[0]
    for order in (0, 1):
        torch.testing.assert_close(run(9, 3, order, **options)[0], whole, atol=1e-5, rtol=1e-5)


def test_without_deepcache_its_other_options_have_no_effect(small):
    _, run = small
    assert torch.equal(run(5, 1, 1, deepcache_final_steps=2)[0], run(5, 1, 0)[0])


@pytest.mark.parametrize("sizes", [Sizes(windows=1), LEAST])
def test_portions_give_the_same(small, sizes):
    _, run = small
    parted = run(9, 3, 1, portions=Portions(sizes))[0]
    torch.testing.assert_close(parted, run(9, 3, 1)[0], atol=1e-4, rtol=0)


def test_the_log_of_signal_to_noise_is_finite_without_terminal_signal():
    zero_snr = DDIMScheduler.from_config(LATENTSYNC_SCHEDULER, rescale_betas_zero_snr=True)
    for scheduler in (SCHEDULER, zero_snr):
        places = [log_snr(scheduler, timestep) for timestep in range(1000)]
        assert places == sorted(places, reverse=True)
        power = float(scheduler.alphas_cumprod[500])
        assert places[500] == pytest.approx(math.log((power / (1 - power)) ** 0.5))
    assert places[-1] == pytest.approx(-12 * math.log(2))
