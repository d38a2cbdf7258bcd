"""LPIPS, lips against loudness and the comparison of voices, against known answers."""

import os
import pickle
import warnings

import lpips
import numpy as np
import pytest
import torch

from latentsync import weights
from latentsync.errors import WeightsError
from latentsync.metrics import perceptual, sync

RATE_HZ = 16000


@pytest.fixture(scope="module")
def alexnet():
    """The path of the LPIPS weights."""
    try:
        return weights.locate(perceptual.LPIPS_WEIGHTS)
    except WeightsError as error:
        pytest.skip(str(error))


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=generator)


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose loudness moves like syllables."""
    random = np.random.default_rng(seed)
    loudness = np.repeat(random.uniform(0.02, 0.6, round(seconds * 25)), RATE_HZ // 25)
    return (loudness * random.uniform(-1, 1, loudness.size)).astype(np.float32)


# ---- LPIPS ----


def test_identical_pictures_have_no_distance_and_noise_adds_to_it(alexnet):
    a = pictures(2)
    noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(1))
    little, much = ((a + strength * noise).clamp(0, 255).to(torch.uint8) for strength in (8, 60))
    assert perceptual.lpips_distance(a, a).tolist() == [0, 0]
    assert (perceptual.lpips_distance(a, little) > 0).all()
    assert (perceptual.lpips_distance(a, little) < perceptual.lpips_distance(a, much)).all()


def test_the_distance_of_two_gratings_is_the_stored_one(alexnet):
    across = ((torch.arange(64) // 4 % 2) * 200).to(torch.uint8).expand(1, 3, 64, 64)
    blank = torch.full_like(across, 100)
    stored = {"across": 0.968718, "down": 0.947722}  # of this network; they differ, so kernels are not turned
    for name, grating in (("across", across), ("down", across.transpose(2, 3))):
        assert perceptual.lpips_distance(grating, blank)[0] == pytest.approx(stored[name], rel=1e-4)


def test_bytes_and_signed_floats_and_batches_agree(alexnet):
    a, b = pictures(19), pictures(19, seed=5)
    whole = perceptual.lpips_distance(a, b)
    assert whole.shape == (19,)
    np.testing.assert_allclose(perceptual.lpips_distance(a / 127.5 - 1, b / 127.5 - 1), whole, rtol=1e-5)
    np.testing.assert_allclose(perceptual.lpips_distance(a[17:], b[17:]), whole[17:], rtol=1e-4)


def test_kept_features_give_the_same_distances_to_the_bit(alexnet, monkeypatch):
    network, source, seen = perceptual.lpips_network(), pictures(19, seed=5), []
    forward = network.net.forward
    monkeypatch.setattr(network.net, "forward", lambda crops: (seen.append(len(crops)), forward(crops))[1])
    for max_bytes, later in ((10**8, [16, 3]), (0, [16, 16, 3, 3])):
        kept = perceptual.KeptFeatures(max_bytes)
        for seed, now in ((1, [16, 16, 3, 3]), (2, later), (3, later)):
            result = pictures(19, seed)
            parts = zip(*((crops.float() / 127.5 - 1).split(16) for crops in (result, source)), strict=True)
            whole = torch.cat([network(*part).flatten() for part in parts]).double().numpy()
            seen.clear()
            assert np.array_equal(perceptual.lpips_distance(result, source, kept=kept), whole)
            assert sorted(seen) == sorted(now)


@pytest.mark.parametrize("net", perceptual.LPIPS_NETS)
def test_the_carriers_heads_are_those_of_the_lpips_package(net, alexnet):
    path = os.path.join(os.path.dirname(lpips.__file__), "weights", "v0.1", f"{net}.pth")
    shipped = torch.load(path, map_location="cpu", weights_only=True)
    state = {name: value.cpu() for name, value in perceptual.lpips_network(net=net).state_dict().items()}
    assert len(shipped) == 5
    for name, head in shipped.items():
        torch.testing.assert_close(state[name], head, rtol=0, atol=0)


def test_distances_are_those_of_the_lpips_package_with_the_same_weights(alexnet):
    arrays = perceptual.read_arrays(alexnet)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    theirs.load_state_dict(perceptual.lpips_state_dict(arrays), strict=False)
    a, b = pictures(3), pictures(3, seed=9)
    with torch.no_grad():
        expected = theirs.eval()(a.float() / 127.5 - 1, b.float() / 127.5 - 1).flatten().numpy()
    np.testing.assert_allclose(perceptual.lpips_distance(a, b), expected, atol=1e-5)


def test_the_network_is_made_in_silence_and_leaves_the_random_state_alone(alexnet, capfd, monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("a download was tried"))
    perceptual.loaded_lpips.cache_clear()
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = perceptual.lpips_network()
    assert torch.equal(torch.rand(1), expected)
    assert capfd.readouterr() == ("", "")
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())


def test_no_code_of_a_weight_file_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = tmp_path / "trap.ckpt"
    path.write_bytes(pickle.dumps({"AlexNet_0": Trap()}))
    with pytest.raises(WeightsError, match=r"names \w+\.mkdir"):
        perceptual.read_arrays(path)
    assert not (tmp_path / "sprung").exists()
    path.write_bytes(pickle.dumps({"a": np.arange(3)})[:-9])
    with pytest.raises(WeightsError, match="damaged"):
        perceptual.read_arrays(path)


def test_crops_that_cannot_be_compared_are_refused():
    a = pictures(2)
    for left, right, what in [
        (a, a[:1], "cannot be compared"),
        (a[..., :16], a[..., :16], "at least 32"),
        (a.float(), a.float(), "must lie in -1..1"),
    ]:
        with pytest.raises(ValueError, match=what):
            perceptual.lpips_distance(left, right)


# ---- lips and loudness ----


def face(gap_px: float) -> np.ndarray:
    """468 points with eyes 100 px apart and inner lips `gap_px` apart."""
    points = np.zeros((468, 3))
    points[[33, 133], :2] = [(80, 50), (120, 50)]
    points[[362, 263], :2] = [(180, 50), (220, 50)]
    points[13] = 150, 200, 7
    points[14] = 150, 200 + gap_px, -30  # depth takes no part
    return points


def test_lip_gap_is_in_eye_distances_and_nan_without_a_face():
    landmarks = np.stack([face(0), face(25), np.full((468, 3), np.nan), 3 * face(25)])
    np.testing.assert_allclose(sync.lip_gap(landmarks), [0, 0.25, np.nan, 0.25])


def test_log_energy_is_the_power_under_each_frame():
    half = np.concatenate([np.full(640, 0.5), np.zeros(640), np.full(320, 0.1)]).astype(np.float32)
    decibels = sync.log_energy(half, RATE_HZ, num_frames=4)
    np.testing.assert_allclose(decibels, [-6.0206, -60, -20, -60], atol=1e-3)
    ends = sync.log_energy(np.ones(48000, np.float32), 48000, num_frames=30, video_rate_hz=30)
    np.testing.assert_allclose(ends, 0, atol=1e-9)


@pytest.mark.parametrize("shift", [-4, 0, 6])
def test_a_known_shift_is_found_with_its_sign(shift):
    energy = sync.log_energy(speech(6), RATE_HZ, 150)
    gap = np.roll(energy, shift) * 0.01 + 1  # positive: what the sound does, the lips do later
    gap[10:13] = np.nan
    curve = sync.lip_energy_correlation(gap, energy)
    assert curve.lag == shift
    assert curve.peak == pytest.approx(1)
    assert (curve.num_used, curve.num_left_out, curve.reason) == (147, 3, None)
    assert curve.lags.tolist() == list(range(-15, 16)) and curve.correlation.shape == (31,)


def test_correlation_is_pearsons_over_the_overlap():
    random = np.random.default_rng(0)
    gap, energy = random.random(60), random.random(60) * 20
    curve = sync.lip_energy_correlation(gap, energy, max_lag=2)
    expected = [
        np.corrcoef(gap[max(0, k) : 60 + min(0, k)], energy[max(0, -k) : 60 - max(0, k)])[0, 1] for k in range(-2, 3)
    ]
    np.testing.assert_allclose(curve.correlation, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("gap", "energy", "reason"),
    [
        (np.full(80, 0.2), np.random.default_rng(0).random(80), "lips do not move"),
        (np.random.default_rng(0).random(80), np.full(80, -60.0), "silent"),
        (np.full(80, np.nan), np.random.default_rng(0).random(80), "0 frames show a face"),
        (np.random.default_rng(0).random(20), np.random.default_rng(1).random(30), "20 frames"),
    ],
)
def test_where_there_is_no_answer_there_is_a_reason(gap, energy, reason):
    curve = sync.lip_energy_correlation(gap, energy)
    assert (curve.peak, curve.lag) == (None, None)
    assert reason in curve.reason


def test_a_network_that_measured_first_serves_a_training_too():
    perceptual.loaded_lpips.cache_clear()
    grey = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
    perceptual.lpips_distance(grey, grey)
    picture = torch.zeros(1, 3, 64, 64, requires_grad=True)
    perceptual.lpips_network()(picture, torch.rand(1, 3, 64, 64)).sum().backward()
    assert picture.grad.abs().sum() > 0
