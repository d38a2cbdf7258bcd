"""A student of few steps: its training, its guidance input, its file, and the options that do not suit it."""

import pytest
import torch
from diffusers import DDIMScheduler
from rounding import rounding

from latentsync.checkpoints.model import LATENTSYNC_SCHEDULER, load_folder, load_network
from latentsync.config import SamplerOptions
from latentsync.errors import OptionError
from latentsync.generation.denoise import Condition, denoise, num_passes
from latentsync.generation.solvers import solver_of
from latentsync.generation.students import sampler_for
from latentsync.training.distill import DistillSettings, DistillTask, student_of
from latentsync.training.settings import read_settings
from latentsync.unet.model import UNet3DConditionModel

pytestmark = pytest.mark.slow

FRAMES = 3
SETTINGS = DistillSettings(num_frames=FRAMES, teacher_steps=4, student_steps=2)


def seeded(number=0):
    return torch.Generator().manual_seed(number)


@pytest.fixture
def parts(untrained):
    return load_folder(untrained)


@pytest.fixture
def batch():
    """Two windows of random latents and sound, as stored latents give them."""
    names = ("latents", "masked_latents", "reference_latents")
    stored = {name: torch.rand(2, FRAMES, 8, 8, 8, generator=seeded(i)) for i, name in enumerate(names)}
    return stored | {"audio": torch.randn(2, FRAMES, 50, 384, generator=seeded())}


def task_of(parts, settings=SETTINGS):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DistillTask(parts["unet"], parts["vae"], parts["scheduler"], settings)


class Counted(torch.nn.Module):
    """A network that notes the size of each batch it is given."""

    def __init__(self, unet):
        super().__init__()
        self.unet, self.guidance_limit, self.savings, self.sizes = unet, unet.guidance_limit, unet.savings, []

    def forward(self, sample, *inputs, **named):
        self.sizes.append(len(sample))
        return self.unet(sample, *inputs, **named)


@pytest.mark.parametrize("settings", [SETTINGS, DistillSettings(FRAMES, "mask", 4, 2, pixel_weight=1.0,
                                                                lpips_weight=0.1)])  # fmt: skip
def test_a_student_comes_nearer_to_its_teacher(parts, batch, settings):
    task, losses = task_of(parts, settings), []
    optimizer = torch.optim.AdamW(task.unet.parameters(), lr=1e-3)
    before = {name: tensor.clone() for name, tensor in task.teacher.state_dict().items()}
    for _ in range(6):
        loss, pieces = task.loss(batch, seeded(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    assert set(pieces) == {"latents", "last_latents"} | ({"pixel", "lpips"} if settings.has_pixels else set())
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.teacher.state_dict().items())


def test_a_new_student_predicts_what_its_teacher_does_without_guidance(parts, batch):
    task = task_of(parts)
    condition = task.condition(batch, seeded())
    sample = torch.cat([condition.masked, condition.mask, condition.masked, condition.reference], dim=1)
    with torch.no_grad():
        wanted = task.teacher(sample, 500, condition.audio).sample
        bound = wanted.abs().max().item() * rounding(task.teacher)  # the teacher in eval() saves, its student does not
        for scale in (1.0, 2.5):
            made = task.unet(sample, 500, condition.audio, guidance=torch.full((2,), scale)).sample
            torch.testing.assert_close(made, wanted, atol=bound, rtol=0)


def test_guidance_acts_through_the_input_alone(parts, batch):
    task = task_of(parts)
    torch.nn.init.normal_(task.unet.guidance_embedding.linear_2.weight, generator=seeded())
    condition: Condition = task.condition(batch, seeded())
    noise = torch.randn(condition.masked.shape, generator=seeded())

    def made(*scales):
        unet = Counted(task.unet)
        latents = denoise(unet, task.scheduler, noise, condition, scales, 3, solver="student")
        assert unet.sizes == [2] * 3  # one pass a step, guidance or not
        return latents

    none, less, mixed = made(1.0, 1.0), made(0.5, 0.5), made(1.0, 2.0)
    assert torch.equal(none, less)  # up to 1 is no guidance
    assert torch.allclose(mixed[0], none[0], atol=1e-5) and (mixed[1] - none[1]).abs().max() > 1e-3
    assert num_passes(task.scheduler, 3, 2.0, solver="student") == 3
    assert num_passes(task.scheduler, 3, 2.0) == 6


def test_a_student_walks_in_equal_steps_to_the_end_of_its_model(parts):
    for config in (parts["scheduler"].config, LATENTSYNC_SCHEDULER):
        scheduler = DDIMScheduler.from_config(config)
        solver = solver_of(scheduler, "student")
        solver.set_timesteps(4)
        assert solver.timesteps.tolist() == [999, 749, 499, 249]
        assert solver.final_alpha_cumprod == scheduler.final_alpha_cumprod


def test_a_students_file_is_read_back(parts, tmp_path):
    task = task_of(parts)
    torch.nn.init.normal_(task.unet.guidance_embedding.linear_2.weight)
    task.export(tmp_path)
    again = load_network(UNet3DConditionModel, tmp_path / "unet")
    assert again.guidance_limit == 2.5
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in task.unet.state_dict().items())
    with pytest.raises(OptionError, match=r"a student itself .*guidance_limit is 2\.5.*model_dir"):
        student_of(again, 2.0)


def test_settings_out_of_range_are_refused():
    for settings, message in (
        ({"student_steps": 50}, r"task.student_steps is 50; .* 1\.\.4 .*teacher"),
        ({"teacher_steps": 3}, r"task.teacher_steps is 3; .* 4\.\.999 .*20"),
        ({"guidance_limit": 1}, "task.guidance_limit is 1; .* above 1"),
        ({"lpips_weight": -1.0}, "task.lpips_weight is -1.0; .* at least 0"),
        ({"hole_weight": 0.0}, "task.hole_weight is 0.0; .* above 0"),
        ({"mask": "nose"}, "task.mask is 'nose'; .* mask"),
        ({"lpips_net": "squeeze"}, "task.lpips_net is 'squeeze'; .* alex, vgg"),
        ({"noise_alpha": 1.0}, "task.noise_alpha is unknown"),
    ):
        with pytest.raises(OptionError, match=message):
            read_settings(DistillSettings, settings)


def test_options_that_do_not_suit_are_refused():
    def options(**changes):
        return SamplerOptions(**{"guidance_scale": 1.5, "num_inference_steps": 4} | changes)

    assert sampler_for("s", 2.5, options()).scheduler == "student"
    assert sampler_for("mini", None, options()).scheduler is None
    with pytest.raises(OptionError, match=r"num_inference_steps is 50; .*1 to 4 steps; set num_inference_steps=4"):
        options(scheduler="student", num_inference_steps=50)
    for limit, changes, message in (
        (None, {"scheduler": "student"}, "scheduler is student, but m is no student .*ddim"),
        (2.5, {"num_inference_steps": 20}, "num_inference_steps is 20, but m is a student of 1 to 4 .*=4"),
        (2.5, {"scheduler": "unipc"}, "scheduler is unipc, but m is a student.*scheduler=student"),
        (2.5, {"guidance_mask": "mouth"}, "guidance_mask is mouth, but m .*guidance_mask=uniform"),
        (2.5, {"deepcache_interval": 2, "deepcache_order": 1}, "deepcache_order is 1, but m .*deepcache_order=0"),
        (2.5, {"guidance_every": 2}, "guidance_every is 2, but m .*guidance_every=1"),
        (2.5, {"guidance_kind": "projected"}, "guidance_kind is projected, but m .*guidance_kind=plain"),
        (2.5, {"guidance_rescale": 0.7}, "guidance_rescale is 0.7, but m .*guidance_rescale=0"),
        (2.5, {"guidance_scale": 3}, r"guidance_scale is 3, but m .*up to 2\.5; set a lower"),
        (2.5, {"guidance_scale": 2, "guidance_schedule": "cosine"}, r"is 2, up to 3 in single steps, .*up to 2\.5"),
    ):
        with pytest.raises(OptionError, match=message):
            sampler_for("m", limit, options(**changes))
