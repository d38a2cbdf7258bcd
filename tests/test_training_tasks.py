"""What the networks are trained on: losses against their definitions, and tasks that learn a batch by heart."""

import json
import os
import shutil
from dataclasses import fields

import lpips
import numpy as np
import pytest
import torch
import yaml
from diffusers import AutoencoderKL, DDIMScheduler
from hydra import compose, initialize_config_dir
from rounding import rounding

from latentsync import weights
from latentsync.checkpoints.model import LATENTSYNC_SCHEDULER, load_folder
from latentsync.checkpoints.model import seeded as seeded_network
from latentsync.errors import OptionError, WeightsError
from latentsync.faces.masks import crops_to_pixels, mouth_mask
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.training.assemble import assemble
from latentsync.lab.training.job import make_task, run_training
from latentsync.lab.training.options import KINDS, read_config
from latentsync.metrics.own_syncnet import load_own_syncnet
from latentsync.metrics.perceptual import lpips_network, lpips_state_dict, read_arrays
from latentsync.metrics.speech_features import mel_columns
from latentsync.metrics.stable_syncnet import StableSyncNet
from latentsync.training.distill import DistillSettings
from latentsync.training.journal import Journal
from latentsync.training.loop import LOG_FILE
from latentsync.training.losses import (
    clean_latents,
    drawn_timesteps,
    mixed_noise,
    perceptual_distance,
    sync_loss,
    target_of,
    temporal_difference,
    weighted_mse,
)
from latentsync.training.settings import read_settings
from latentsync.training.syncnet import (
    SyncJudge,
    SyncNetSettings,
    SyncNetTask,
)
from latentsync.training.unet import UNetTask
from latentsync.training.unet_settings import UNetSettings
from latentsync.training.vae import VaeSettings, VaeTask, turned_colours

pytestmark = pytest.mark.slow

SIZE_PX, FRAMES = 64, 4
SMALL_SYNCNET = {  # for windows of four faces of 64 px
    "audio_encoder": {
        "in_channels": 1,
        "block_out_channels": [32] * 5 + [128],
        "downsample_factors": [[2, 1], 2, 2, 2, [2, 1], [2, 1]],
    },
    "visual_encoder": {
        "in_channels": 3 * FRAMES,
        "block_out_channels": [32] * 5 + [128],
        "downsample_factors": [[1, 2], 2, 2, 2, 2, 2],
    },
}


def seeded(number=0):
    return torch.Generator().manual_seed(number)


@pytest.fixture
def batch():
    """Two windows of smooth pictures with random sound."""
    coarse = torch.randint(0, 256, (2, 2 * FRAMES, 3, 8, 8), generator=seeded()).float()
    frames = torch.nn.functional.interpolate(coarse.flatten(0, 1), (SIZE_PX, SIZE_PX), mode="bicubic")
    frames = frames.clamp(0, 255).to(torch.uint8).unflatten(0, (2, 2 * FRAMES))
    return {
        "frames": frames[:, :FRAMES],
        "reference": frames[:, FRAMES:],
        "audio": torch.randn(2, FRAMES, 50, 384, generator=seeded()),
        "mel": 4 * torch.rand(2, 80, mel_columns(FRAMES), generator=seeded()),
        "reference_mel": 4 * torch.rand(2, 80, mel_columns(FRAMES), generator=seeded(1)),
    }


@pytest.fixture
def judge():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return SyncJudge(StableSyncNet(SMALL_SYNCNET), FRAMES)


def small_autoencoder(untrained):
    """With the layers of the untrained model's, and as many channels as learn something in seconds."""
    config = AutoencoderKL.load_config(untrained / "vae") | {
        "block_out_channels": [8, 16, 32, 32],
        "norm_num_groups": 4,
    }
    return seeded_network(AutoencoderKL, config, seed=1247)


# --- losses ---


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_target_stands_for_the_clean_latents(kind):
    scheduler = DDIMScheduler.from_config({**LATENTSYNC_SCHEDULER, "prediction_type": kind})
    latents, noise = torch.randn(2, 3, 4, 2, 5, 5, generator=seeded()).unbind(1)[:2]
    timesteps = torch.tensor([20, 700, 900])[: len(latents)]
    noisy = scheduler.add_noise(latents, noise, timesteps)
    target = target_of(scheduler, latents, noise, timesteps)
    torch.testing.assert_close(clean_latents(scheduler, noisy, target, timesteps), latents, atol=1e-4, rtol=1e-4)
    assert torch.equal(target, noise) == (kind == "epsilon")
    assert torch.equal(target, latents) == (kind == "sample")


@pytest.mark.parametrize(("alpha", "shared"), [(0.0, 0.0), (1.0, 0.5), (2.0, 0.8)])
def test_frames_share_a_part_of_the_noise(alpha, shared):
    noise = mixed_noise((4, 4, 2, 32, 32), alpha, seeded())
    assert noise.std() == pytest.approx(1, abs=0.02)
    first, second = noise[:, :, 0].flatten(), noise[:, :, 1].flatten()
    assert float(torch.corrcoef(torch.stack([first, second]))[0, 1]) == pytest.approx(shared, abs=0.03)


def test_the_hole_counts_more():
    mask = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 1, 2)
    wrong_outside = torch.tensor([1.0, 0.0]).expand(1, 4, 3, 1, 2)
    assert weighted_mse(wrong_outside, torch.zeros_like(wrong_outside), mask, 1.0) == pytest.approx(0.5)
    assert weighted_mse(wrong_outside, torch.zeros_like(wrong_outside), mask, 3.0) == pytest.approx(0.25)


def test_the_mouth_counts_more_still():
    wrong = torch.zeros(1, 1, 1, 32, 32)
    wrong[..., 20, 16] = 1.0  # between the lips of an aligned face
    mouth, hole = 12 * 14, 16 * 32  # numbers around the mouth, and in this hole: the lower half
    mask = torch.ones(1, 1, 1, 32, 32)
    mask[..., 16:, :] = 0
    for weight in (1.0, 3.0):
        expected = 2 * weight / (16 * 32 + 2 * (hole - mouth) + 2 * weight * mouth)
        assert weighted_mse(wrong, torch.zeros_like(wrong), mask, 2.0, weight) == pytest.approx(expected)


def test_motion_is_compared_and_not_place():
    still = torch.rand(1, 3, 3, 4, 4, generator=seeded())
    assert temporal_difference(still + 0.3, still) == pytest.approx(0, abs=1e-12)
    assert temporal_difference(still.flip(1), still) > 0.01


def test_sync_loss_asks_for_nearness_where_they_belong_together():
    same = torch.nn.functional.normalize(torch.rand(3, 8, generator=seeded()), dim=1)
    apart = torch.eye(8)[:3], torch.eye(8)[3:6]
    assert sync_loss(same, same, torch.ones(3)) < 1e-3 and sync_loss(*apart, torch.zeros(3)) < 1e-3
    assert sync_loss(same, same, torch.zeros(3)) > 5 and sync_loss(*apart, torch.ones(3)) > 5


def test_lower_precision_around_them_changes_neither_lpips_nor_the_loss_of_sync():
    a, b = (torch.rand(2, 2, 3, 64, 64, generator=seeded()) * 2 - 1).unbind()
    near = torch.nn.functional.normalize(torch.tensor([[1.0, 1e-3]]), dim=1)
    numbers = perceptual_distance(lpips_network(), a, b), sync_loss(near, near.flip(1), torch.ones(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(perceptual_distance(lpips_network(), a, b), numbers[0])
        assert sync_loss(near, near.flip(1), torch.ones(1)) == numbers[1]
        assert torch.isfinite(sync_loss(near.bfloat16(), near.bfloat16(), torch.zeros(1)))


# --- tasks ---


def learnt(task, batch, steps, learning_rate):
    """The first and the last losses of a task that sees one batch over and over."""
    networks = torch.nn.ModuleDict(task.networks())
    weights = [parameter for parameter in networks.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate)
    losses = []
    for _ in range(steps):
        loss, parts = task.loss(batch, seeded(1))
        assert all(torch.isfinite(part) for part in parts.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses[0], losses[-1]


def test_the_autoencoder_learns_and_tells_its_scale(batch, untrained, tmp_path):
    task = VaeTask(small_autoencoder(untrained), VaeSettings(lpips_weight=0.1))
    before = task.validate([batch], seeded())
    first, last = learnt(task, batch, steps=50, learning_rate=3e-3)
    assert last < 0.7 * first
    assert task.validate([batch], seeded())["psnr_db"] > before["psnr_db"] + 1
    assert task.pictures(batch, seeded())["faces_and_round_trip"].shape == (2 * SIZE_PX, 8 * SIZE_PX, 3)
    task.export(tmp_path)
    config = type(task.vae).load_config(tmp_path / "vae")
    assert config["scaling_factor"] == pytest.approx(1 / float(task.deviation.value), rel=1e-3)
    assert config["scaling_factor"] != 0.18215


def test_squares_and_colours_count_as_they_are_weighted(batch, untrained):
    vae = small_autoencoder(untrained)
    plain, weighted = VaeSettings(lpips_weight=0), VaeSettings(lpips_weight=0, mse_weight=3, colour_weight=5)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(2)  # of the map from latents to colours
        before, parts = VaeTask(vae, plain).loss(batch, seeded())
        task = VaeTask(vae, weighted)
        total, more = task.loss(batch, seeded())
    assert set(more) - set(parts) == {"mse", "colour"} and set(task.networks()) == {"vae", "deviation", "colours"}
    torch.testing.assert_close(total, before + 3 * more["mse"] + 5 * more["colour"])
    first, last = learnt(task, batch, steps=80, learning_rate=3e-3)
    assert last < 0.7 * first
    with torch.no_grad():
        assert task.loss(batch, seeded())[1]["colour"] < 0.5 * more["colour"]


def test_turned_colours_keep_their_lightness():
    grey, red = torch.full((64, 3, 2, 2), 0.3), torch.tensor([0.2, 0.0, 0.0]).reshape(1, 3, 1, 1).expand(64, 3, 2, 2)
    torch.testing.assert_close(turned_colours(grey, 1.0, seeded()), grey)
    assert turned_colours(red, 0.0, seeded()) is red
    turned = turned_colours(red, 0.5, seeded())
    torch.testing.assert_close(turned.mean(1), red.mean(1))
    is_turned = (turned - red).abs().amax((1, 2, 3)) > 1e-4
    assert 20 < is_turned.sum() < 44
    reach = (turned - turned.mean(1, keepdim=True)).norm(dim=1) / (red - red.mean(1, keepdim=True)).norm(dim=1)
    assert 0.5 < reach[is_turned].min() < 0.7 and 1.4 < reach[is_turned].max() < 2
    assert set(turned[is_turned].argmax(1).flatten().tolist()) == {0, 1, 2}  # all hues


def test_a_decoder_trained_alone_leaves_the_latents_as_they_are(batch, untrained, tmp_path):
    vae = load_folder(untrained)["vae"]
    latents, scale = vae.encode(torch.zeros(1, 3, SIZE_PX, SIZE_PX)).latent_dist.mean, vae.config.scaling_factor
    task = VaeTask(vae, VaeSettings(train_encoder=False, lpips_weight=0))
    first, last = learnt(task, batch, steps=8, learning_rate=3e-3)
    assert last < 0.9 * first
    task.export(tmp_path)
    assert vae.config.scaling_factor == pytest.approx(scale, abs=1e-5)
    assert torch.equal(vae.encode(torch.zeros(1, 3, SIZE_PX, SIZE_PX)).latent_dist.mean, latents)


@pytest.mark.parametrize("stage", [1, 2])
def test_the_unet_learns(batch, untrained, tmp_path, stage):
    parts = load_folder(untrained)
    task = UNetTask(parts["unet"], parts["vae"], parts["scheduler"], UNetSettings(stage, FRAMES, validation_steps=2))
    frozen = {name for name, parameter in task.unet.named_parameters() if not parameter.requires_grad}
    assert frozen == (
        set()
        if stage == 1
        else {n for n, _ in task.unet.named_parameters() if "attentions." not in n and "motion" not in n}
    )
    first, last = learnt(task, batch, steps=12, learning_rate=2e-3)
    assert last < 0.9 * first
    figures = task.validate([batch], seeded())
    known = {"hole_psnr_db"} if stage == 1 else {"hole_psnr_db", "lpips"}
    assert set(figures) == {f"{kind}{name}" for kind in ("", "vae_", "reference_") for name in known}
    assert figures["vae_hole_psnr_db"] > 3
    copied = task.validate([batch | {"reference": batch["frames"]}], seeded())  # the reference is the true frame
    assert copied["reference_hole_psnr_db"] == pytest.approx(100) and copied.get("reference_lpips", 0) == 0
    assert figures["reference_hole_psnr_db"] < 50 and figures.get("reference_lpips", 1) > 0
    assert task.pictures(batch, seeded())["true_and_generated"].shape == (2 * SIZE_PX, FRAMES * SIZE_PX, 3)
    (video,) = task.videos(batch, seeded()).values()
    assert video.shape == (2 * FRAMES, 2 * SIZE_PX, SIZE_PX, 3)
    true = batch["frames"].flatten(0, 1).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(video[:, :SIZE_PX], true) and not np.array_equal(video[:, SIZE_PX:], true)
    task.export(tmp_path)
    assert (tmp_path / "unet" / "config.json").is_file()


def test_syncnet_learns_which_lips_go_with_a_sound(untrained, tmp_path):
    network, config = load_own_syncnet(untrained)
    task = SyncNetTask(network, config, SyncNetSettings(num_frames=8))
    assert sum(parameter.numel() for parameter in network.parameters()) < 3e6
    levels = torch.tensor([40, 200]).reshape(2, 1, 1, 1, 1).expand(2, 8, 3, 128, 128)
    mel = torch.linspace(-3, 3, 2).reshape(2, 1, 1).expand(2, 80, mel_columns(8)) + torch.zeros(2, 80, 1)
    batch = {"frames": levels.to(torch.uint8), "reference": levels.flip(0).to(torch.uint8), "mel": mel,
             "reference_mel": mel.flip(0)}  # fmt: skip
    first, last = learnt(task, batch, steps=25, learning_rate=1e-3)
    assert last < 0.5 * first
    network.eval()
    assert task.validate([batch], seeded()) == {"accuracy": 1.0, "true_is_nearer": 1.0}
    assert task.pictures(batch, seeded())["window"].shape == (32, 8 * 64, 3)
    task.export(tmp_path)
    assert json.loads((tmp_path / "syncnet" / "config.json").read_text()) == config
    with pytest.raises(OptionError, match="num_frames is 16; .* 24 channels, .*8 frames"):
        SyncNetTask(network, config, SyncNetSettings())


def test_the_judge_sees_faces_as_its_network_learnt_them(judge, batch):
    faces = crops_to_pixels(batch["frames"]).requires_grad_()
    loss = judge.loss(faces, batch["mel"])
    loss.backward()
    lower = crops_to_pixels(batch["frames"])[..., SIZE_PX // 2 :, :].flatten(1, 2)
    expected = sync_loss(*judge.network(lower, batch["mel"][:, None]), torch.ones(2))
    bound = loss.exp().item() * rounding(judge.network)  # an error of the cosine c is 1 / c as large in -log(c)
    torch.testing.assert_close(loss, expected, atol=bound, rtol=0)
    assert 0.01 < loss < 10
    assert faces.grad[..., SIZE_PX // 2 :, :].abs().sum() > 0 and not faces.grad[..., : SIZE_PX // 2, :].any()
    assert not any(parameter.requires_grad for parameter in judge.network.parameters())
    plain = torch.linspace(-1, 1, 2 * FRAMES * 3).reshape(2, FRAMES, 3, 1, 1)
    own, larger = (judge.loss(plain.expand(2, FRAMES, 3, side, side), batch["mel"]) for side in (SIZE_PX, 2 * SIZE_PX))
    torch.testing.assert_close(own, larger)  # faces of another size are resized
    with pytest.raises(OptionError, match="num_frames is 8; .* 12 channels, .*4 frames"):
        SyncJudge(judge.network, 8)


@pytest.fixture
def second_stage(judge, untrained):
    """Makes a task of stage 2 with a judge: (settings) -> task."""

    def make(**settings):
        parts = load_folder(untrained)
        return UNetTask(parts["unet"], parts["vae"], parts["scheduler"], UNetSettings(2, FRAMES, **settings), judge)

    return make


def test_the_second_stage_may_train_everything(second_stage):
    frozen = [p for p in second_stage(trained="all").unet.parameters() if not p.requires_grad]
    assert not frozen


def test_the_losses_in_pixels_see_the_windows_that_they_should(second_stage, batch):
    timesteps = torch.tensor([900, 100, 50])
    for settings, seen in (
        ({}, [0, 1, 2]),
        ({"pixel_windows": 2}, [0, 1]),
        ({"pixel_timesteps_below": 900}, [1, 2]),
        ({"pixel_timesteps_below": 900, "pixel_windows": 1}, [1]),
        ({"pixel_timesteps_below": 50}, []),
    ):
        assert second_stage(**settings).windows_in_pixels(timesteps).tolist() == seen
    task, faces, mel = second_stage(), crops_to_pixels(batch["frames"]), batch["mel"]
    clean = torch.randn(2, 4, FRAMES, SIZE_PX // 8, SIZE_PX // 8, generator=seeded())
    losses = task.pixel_losses(clean, faces, mel, torch.tensor([False, True]))
    alone = task.pixel_losses(clean[1:], faces[1:], mel[1:], torch.tensor([True]))
    torch.testing.assert_close(losses["sync"], alone["sync"])  # a window whose sound was dropped is not judged
    assert losses["lpips"] > 0.01 and losses["temporal"] > 0 and losses["sync"] > 0
    assert task.pixel_losses(clean, faces, mel, torch.tensor([False, False]))["sync"] == 0
    nothing = task.pixel_losses(clean[:0], faces[:0], mel[:0], torch.ones(0, dtype=torch.bool))
    assert nothing == {"lpips": 0, "pixel": 0, "temporal": 0, "sync": 0}
    decoded, silent = task.decoded(clean).detach(), torch.zeros(2, dtype=torch.bool)
    same, brighter = (task.pixel_losses(clean, decoded + by, mel, silent) for by in (0.0, 0.1))
    assert same["pixel"] == 0 and brighter["pixel"] == pytest.approx(0.1, abs=1e-5)


def test_lpips_sees_the_lower_half_or_all_rows_from_the_hole_on(second_stage, batch):
    hole = mouth_mask("mask", SIZE_PX)[0] < 0.5
    top = int(hole.any(1).nonzero()[0])
    assert 0 < top < SIZE_PX // 2
    faces, silent = crops_to_pixels(batch["frames"]), torch.tensor([False, False])
    clean = 0.1 * torch.randn(2, 4, FRAMES, SIZE_PX // 8, SIZE_PX // 8, generator=seeded())
    for rows, first in (("lower", SIZE_PX // 2), ("hole", top)):
        task = second_stage(lpips_rows=rows)
        flat = [part[..., first:, :].flatten(0, 1) for part in (task.decoded(clean), faces)]
        expected = perceptual_distance(task.lpips, *flat).mean()
        assert task.pixel_losses(clean, faces, batch["mel"], silent)["lpips"] == pytest.approx(float(expected))


def test_the_second_stage_adds_its_losses_by_weight(second_stage, batch):
    task = second_stage(lpips_weight=0.3, pixel_weight=0.5, temporal_weight=2.0, sync_weight=0.07)
    total, parts = task.loss(batch, seeded())
    expected = (
        parts["denoising"] + 0.3 * parts["lpips"] + 0.5 * parts["pixel"] + 2 * parts["temporal"] + 0.07 * parts["sync"]
    )
    torch.testing.assert_close(total, expected)
    assert parts.keys() == {"denoising", "lpips", "pixel", "temporal", "sync"}


def test_computing_twice_what_is_not_kept_changes_no_gradient(second_stage, batch, monkeypatch):
    task, gradients = second_stage(), []
    monkeypatch.setattr("latentsync.training.unet.frames_at_once", lambda size_px: 3)
    for prepare in (lambda: None, task.unet.enable_gradient_checkpointing):
        prepare()
        task.loss(batch, seeded())[0].backward()
        gradients.append({name: p.grad for name, p in task.unet.named_parameters() if p.grad is not None})
        task.unet.zero_grad()
    once, twice = gradients
    assert once.keys() == twice.keys() and len(once) > 50
    for name in once:
        torch.testing.assert_close(twice[name], once[name], atol=1e-6, rtol=1e-4)


def test_vggs_heads_are_those_of_the_lpips_package():
    try:
        file = weights.locate("lpips/vgg16.ckpt")
    except WeightsError as error:
        pytest.skip(str(error))
    path = os.path.join(os.path.dirname(lpips.__file__), "weights", "v0.1", "vgg.pth")
    shipped, state = (
        torch.load(path, map_location="cpu", weights_only=True),
        lpips_state_dict(read_arrays(file), "vgg"),
    )
    assert len(shipped) == 5 and all(torch.equal(state[name], head) for name, head in shipped.items())
    pictures = torch.rand(2, 3, 64, 64, generator=seeded()) * 2 - 1
    network = lpips_network(net="vgg")
    assert network(pictures, pictures).abs().max() == 0 and network(pictures[:1], pictures[1:]) > 0.1


def test_the_condition_is_that_of_inference(batch, untrained):
    parts = load_folder(untrained)
    task = UNetTask(parts["unet"], parts["vae"], parts["scheduler"], UNetSettings(num_frames=FRAMES))
    condition = task.condition(batch, seeded())
    mask = mouth_mask("mask", SIZE_PX)[:, ::8, ::8]
    assert torch.equal(condition.mask, mask[None, :, None].expand(2, -1, FRAMES, -1, -1))
    assert condition.masked.shape == condition.reference.shape == (2, 4, FRAMES, SIZE_PX // 8, SIZE_PX // 8)
    changed = batch | {"frames": batch["frames"].clone()}
    hole = mouth_mask("mask", SIZE_PX)[0] == 0
    changed["frames"][0][..., hole] = 0  # what is to be generated must not be seen
    torch.testing.assert_close(task.condition(changed, seeded()).masked[0], condition.masked[0])


def test_all_sound_is_dropped_where_it_should_be(batch, untrained, monkeypatch):
    parts, seen = load_folder(untrained), []
    task = UNetTask(parts["unet"], parts["vae"], parts["scheduler"], UNetSettings(audio_dropout=0.5))
    real = task.unet.forward
    monkeypatch.setattr(
        task.unet, "forward", lambda *args: seen.append(args[2].abs().amax((1, 2, 3)) > 0) or real(*args)
    )
    with torch.no_grad():
        for number in range(16):
            task.loss(batch, seeded(number))
    has_sound = torch.cat(seen)
    assert 8 <= int(has_sound.sum()) <= 24  # of 32


def test_unknown_and_odd_settings_are_refused():
    assert read_settings(UNetSettings, {"hole_weight": 2, "stage": 2}) == UNetSettings(stage=2, hole_weight=2)
    for settings, message in (
        ({"lips_weight": 1.0}, "task.lips_weight .* stage"),
        ({"stage": "2"}, "task.stage is '2'; a value like 1"),
        ({"flip": 1}, "task.flip is 1; a value like True"),
        ({"stage": 3}, "task.stage is 3; .* 1 or 2"),
        ({"mask": "nose"}, "task.mask is 'nose'; .* mask"),
        ({"audio_dropout": 1.0}, "task.audio_dropout is 1.0"),
        ({"sync_weight": -1.0}, "task.sync_weight is -1.0; .* at least 0"),
        ({"lpips_rows": "upper"}, "task.lpips_rows is 'upper'; choose one of lower, hole"),
        ({"pixel_windows": -1}, "task.pixel_windows is -1; .* at least 0"),
        ({"pixel_timesteps_below": 0}, "task.pixel_timesteps_below is 0; .* at least 1"),
        ({"trained": "convolutions"}, "task.trained is 'convolutions'; .* attentions, all"),
        ({"lpips_net": "squeeze"}, "task.lpips_net is 'squeeze'; .* alex, vgg"),
        ({"hole_weight": 0.0}, "task.hole_weight is 0.0; .* above 0"),
        ({"mouth_weight": -1.0}, "task.mouth_weight is -1.0; .* above 0"),
    ):
        with pytest.raises(OptionError, match=message):
            read_settings(UNetSettings, settings)


# --- from files to a loss ---


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """The shipped speakers as aligned clips of 128 px."""
    from latentsync.lab.commands.prepare import main

    folder = tmp_path_factory.mktemp("clips")
    args = ["--input_dir", str(SHIPPED_DIR), "--output_dir", str(folder), "--size", "128", "--max_seconds", "2"]
    assert main(args) == 0
    return folder


@pytest.fixture(scope="module")
def model(untrained, tmp_path_factory):
    """The shipped model with weights of a SyncNet."""
    folder = tmp_path_factory.mktemp("model") / "mini"
    shutil.copytree(untrained, folder)
    shutil.rmtree(folder / "syncnet")
    SyncNetTask(*load_own_syncnet(untrained), SyncNetSettings(num_frames=8)).export(folder)
    return folder


def configured(kind, clips, *overrides):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        all_overrides = [f"train={kind}", f"data_dir={clips}", "task.held_out_share=0.5", *overrides]
        return read_config(compose("train_config", overrides=all_overrides))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("vae", VaeSettings),
        ("syncnet", SyncNetSettings),
        ("unet_stage1", UNetSettings),
        ("unet_stage2", UNetSettings),
        ("unet_distill", DistillSettings),
    ],
)
def test_a_trainings_file_lists_all_of_its_settings(kind, settings):
    listed = yaml.safe_load((CONF_DIR / "train" / f"{kind}.yaml").read_text())["task"]
    known = {field.name for field in fields(settings)}
    if kind == "unet_stage1":  # it decodes nothing
        known -= {"trained", *(name for name in known if name.startswith(("lpips", "temporal", "sync", "pixel")))}
    assert set(listed) == known


def begin(*overrides):
    return make_task(configured(*overrides))


def test_the_second_stage_asks_for_a_trained_syncnet(clips, untrained):
    with pytest.raises(OptionError, match=r"no trained SyncNet .*train=syncnet.*task\.sync_weight=0"):
        begin("unet_stage2", clips, f"model_dir={untrained}")
    task, train_set, _ = begin("unet_stage2", clips, f"model_dir={untrained}", "task.sync_weight=0")
    assert task.judge is None and "mel" not in train_set.sample(0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_configured_training_begins_from_prepared_clips(clips, model, kind):
    task, train_set, validation_set = begin(kind, clips, f"model_dir={model}")
    assert {clip.identity for clip in train_set.clips}.isdisjoint(clip.identity for clip in validation_set.clips)
    batch = torch.utils.data.default_collate([train_set.sample(0, 0), train_set.sample(1, 1)])
    loss, _ = task.loss(batch, seeded())
    loss.backward()
    trained = [p for network in task.networks().values() for p in network.parameters() if p.requires_grad]
    assert torch.isfinite(loss) and any(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)


def test_a_sample_video_shows_windows_in_a_row_of_a_held_out_clip(clips, untrained):
    task, _, validation_set = begin("unet_stage1", clips, f"model_dir={untrained}", "task.validation_steps=1")
    frames = task.excerpt["frames"].flatten(0, 1)
    assert 3 * 8 <= len(frames) <= 50 and task.excerpt["audio"].shape[:2] == task.excerpt["reference"].shape[:2]
    count, crops = len(frames), [clip.frames() for clip in validation_set.clips]
    assert any(torch.equal(part[i : i + count], frames) for part in crops for i in range(len(part) - count + 1))
    with torch.no_grad():
        (video,) = task.videos({}, seeded()).values()
    assert video.shape == (count, 2 * 128, 128, 3) and np.array_equal(video[:, :128], frames.permute(0, 2, 3, 1))


def test_training_starts_anew_from_weights_alone(clips, untrained, tmp_path, monkeypatch):
    options = ["steps=3", "batch_size=2", "learning_rate=1e-3", "warmup_steps=0", "precision=float32", "ema_decay=0",
               "num_workers=0", "log_every=1", "validate_every=0"]  # fmt: skip
    fixed = [*(f"loop.{option}" for option in options), f"runs_dir={tmp_path}", "tracker=none"]
    first = run_training(configured("vae", clips, *fixed, "name=first", f"model_dir={untrained}"))
    assemble(untrained, tmp_path / "model", {"vae": first.weights})
    shutil.rmtree(tmp_path / "training")  # with its checkpoints and their optimiser's state
    calls, real = [], VaeTask.loss

    def telling(task, batch, generator):
        calls.append((batch, generator.get_state()))
        return real(task, batch, generator)

    monkeypatch.setattr(VaeTask, "loss", telling)
    second = configured("vae", clips, *fixed, "name=second", f"model_dir={tmp_path / 'model'}")
    assert run_training(second).started_at == 0
    losses = []
    for folder in (tmp_path / "model", untrained):
        batch, state = calls[0]
        task = VaeTask(load_folder(folder)["vae"], read_settings(VaeSettings, second.task))
        losses.append(float(real(task, batch, torch.Generator().set_state(state))[0].detach()))
    begun = [row["loss"] for row in Journal(second.folder / LOG_FILE).rows()]
    assert begun[0] == pytest.approx(losses[0], rel=1e-5) and abs(losses[0] - losses[1]) > 0.01


def test_noisy_timesteps_are_drawn_more_often_on_request():
    plain, biased = (drawn_timesteps(1000, 20_000, bias, seeded()) for bias in (1.0, 3.0))
    assert plain.min() >= 0 and biased.min() >= 0 and max(plain.max(), biased.max()) <= 999
    assert plain.float().mean() == pytest.approx(499.5, abs=6)
    assert biased.float().mean() == pytest.approx(750, abs=6)  # the mean of 3 t^2 on 0..1
    with pytest.raises(OptionError, match="timestep_bias is 0"):
        UNetSettings(timestep_bias=0.0)
