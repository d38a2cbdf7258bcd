"""Distils a UNet with guidance to a student of a few steps, which takes the guidance scale as an input.

The teacher makes clean latents from noise with its usual solver: many steps, two passes of the network each. The
student walks its own few steps from the same noise, one pass each. After each step its estimate of the clean latents is
compared with those of the teacher. Since the student sees the states that it makes itself, a later step learns to mend
what an earlier one left. The teacher's solver draws no random numbers. So the target is a function of the noise, the
condition and the guidance scale, and the student need not average over several results.

Sources: guidance as an input, Meng et al. 2022 (arXiv 2210.03142); one target for all steps, Song et al. 2023 (arXiv
2303.01469); learning on the student's own states, Yin et al. 2024 (arXiv 2405.14867, section 4.4).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from torch import Tensor
from torch.nn.functional import l1_loss
from torch.utils.data import Dataset

from latentsync.checkpoints.model import arguments_of, load_folder
from latentsync.config import MASKS, STUDENT_STEPS
from latentsync.errors import OptionError
from latentsync.generation.denoise import Condition, denoise
from latentsync.generation.solvers import STUDENT, solver_of
from latentsync.metrics.perceptual import LPIPS_NETS, lpips_network
from latentsync.shapes import Latents
from latentsync.training.losses import clean_latents, perceptual_distance, weighted_mse
from latentsync.training.settings import check_choice, read_settings
from latentsync.training.unet import UNetTask, shared_noise, window_sets
from latentsync.unet.model import UNet3DConditionModel

VALIDATION_GUIDANCE = 1.5  # of the windows that validation generates


@dataclass(frozen=True)
class DistillSettings:
    """The settings of a distillation.

    Attributes:
        num_frames: of a window.
        mask: which of the original's mouth masks.
        teacher_steps: DDIM steps of the teacher, each with two passes of its network.
        student_steps: of the student, 1 to 4. It learns this number of steps only.
        guidance_limit: guidance is drawn between 1 and this scale, and the student takes no greater one.
        hole_weight: how much more the latents in the mask's hole count.
        pixel_weight, lpips_weight: of the absolute error and of LPIPS between the lower halves of the student's and the
            teacher's decoded faces, after the last step; 0 and 0: nothing is decoded.
        lpips_net: "alex" or "vgg".
        pixel_windows: how many windows of a batch are decoded for these two; 0 is all of them.
        held_out_share, flip, colour_jitter, latent_copies: see `unet.UNetSettings`.
    """

    num_frames: int = 16
    mask: str = "mask"
    teacher_steps: int = 20
    student_steps: int = STUDENT_STEPS
    guidance_limit: float = 2.5
    hole_weight: float = 4.0
    pixel_weight: float = 0.0
    lpips_weight: float = 0.0
    lpips_net: str = "alex"
    pixel_windows: int = 1
    held_out_share: float = 0.1
    flip: bool = True
    colour_jitter: float = 0.1
    latent_copies: int = 0

    def __post_init__(self) -> None:
        check_choice("mask", self.mask, MASKS)
        check_choice("lpips_net", self.lpips_net, LPIPS_NETS)
        if not 1 <= self.student_steps <= STUDENT_STEPS:
            raise OptionError(
                f"task.student_steps is {self.student_steps}; it must be in 1..{STUDENT_STEPS} (4 is usual); for more "
                f"steps use the teacher itself"
            )
        if not self.student_steps <= self.teacher_steps <= 999:
            raise OptionError(
                f"task.teacher_steps is {self.teacher_steps}; it must be in {self.student_steps}..999 (20 is usual)"
            )
        if not self.guidance_limit > 1:
            raise OptionError(f"task.guidance_limit is {self.guidance_limit}; it must be above 1 (2.5 is usual)")
        for name in ("pixel_weight", "lpips_weight", "pixel_windows", "latent_copies"):
            if getattr(self, name) < 0:
                raise OptionError(f"task.{name} is {getattr(self, name)}; it must be at least 0")
        if not self.hole_weight > 0:
            raise OptionError(f"task.hole_weight is {self.hole_weight}; it must be above 0 (1 is off)")

    @property
    def has_pixels(self) -> bool:
        """Whether a loss looks at decoded faces."""
        return bool(self.pixel_weight or self.lpips_weight)


class DistillTask(UNetTask):
    """A student in training; see `task.Task`. Validation and sample videos are those of `UNetTask`, at guidance 1.5.

    Args:
        teacher: frozen; has no guidance input.
        vae: frozen.
        scheduler: the teacher's.
    """

    def __init__(
        self,
        teacher: UNet3DConditionModel,
        vae: AutoencoderKL,
        scheduler: DDIMScheduler,
        settings: DistillSettings,
        excerpt: dict[str, Tensor] | None = None,
    ) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.unet = student_of(teacher, settings.guidance_limit).train()
        self.vae = vae.eval().requires_grad_(False)
        self.scheduler, self.settings, self.excerpt = scheduler, settings, excerpt
        self.lpips = lpips_network(net=settings.lpips_net) if settings.lpips_weight else None
        self.judge = None

    def to(self, device: torch.device) -> None:
        super().to(device)
        self.teacher.to(device)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        settings = self.settings
        condition = self.condition(batch, generator)
        noise = shared_noise(condition.masked, generator)
        scales = 1 + (settings.guidance_limit - 1) * torch.rand(len(noise), generator=generator)
        target = denoise(self.teacher, self.scheduler, noise, condition, scales.tolist(), settings.teacher_steps)
        estimates = self.estimates(noise, condition, scales.to(noise.device))
        errors = [weighted_mse(one, target, condition.mask, settings.hole_weight) for one in estimates]
        parts = {"latents": torch.stack(errors).mean()}
        total, parts["last_latents"] = parts["latents"], errors[-1]
        if settings.has_pixels:
            seen = slice(settings.pixel_windows or None)
            faces = [self.decoded(one[seen]).flatten(0, 1) for one in (estimates[-1], target)]
            student, teacher = (one[..., one.shape[-1] // 2 :, :] for one in faces)
            parts["pixel"] = l1_loss(student, teacher)
            total = total + settings.pixel_weight * parts["pixel"]
            if self.lpips is not None:
                parts["lpips"] = perceptual_distance(self.lpips, student, teacher).mean()
                total = total + settings.lpips_weight * parts["lpips"]
        return total, parts

    def estimates(self, noise: Latents, condition: Condition, scales: Tensor) -> list[Latents]:
        """The clean latents that the student estimates in each step but the last, and its result.

        No gradient flows from step to step.
        """
        solver = solver_of(self.scheduler, STUDENT)
        solver.set_timesteps(self.settings.student_steps, device=noise.device)
        latents, estimates = noise, []
        for timestep in solver.timesteps:
            sample = torch.cat([latents, condition.mask, condition.masked, condition.reference], dim=1)
            prediction = self.unet(sample, timestep, condition.audio, guidance=scales).sample.float()
            estimates.append(clean_latents(solver, latents, prediction, timestep.expand(len(latents))))
            stepped = solver.step(prediction, timestep, latents).prev_sample
            latents = stepped.detach()
        return [*estimates[:-1], stepped]

    def sampled(self, noise: Latents, condition: Condition) -> Latents:
        """The latents that the student makes of noise, at guidance 1.5 or its limit."""
        scale = min(VALIDATION_GUIDANCE, self.settings.guidance_limit)
        return denoise(self.unet, self.scheduler, noise, condition, scale, self.settings.student_steps, solver=STUDENT)


def student_of(teacher: UNet3DConditionModel, guidance_limit: float) -> UNet3DConditionModel:
    """A network with the teacher's weights and a guidance input, which has no effect yet.

    Raises:
        OptionError: the teacher is a student itself.
    """
    if teacher.guidance_limit is not None:
        raise OptionError(
            f"the teacher is a student itself (its guidance_limit is {teacher.guidance_limit}); give the model that it "
            f"was distilled from with model_dir"
        )
    student = UNet3DConditionModel(**arguments_of(teacher) | {"guidance_limit": float(guidance_limit)})
    own = {name: value for name, value in student.state_dict().items() if name.startswith("guidance_embedding.")}
    student.load_state_dict({**teacher.state_dict(), **own})
    return student


def make(
    settings: dict[str, Any], data_dir: Path, model_dir: str | Path, seed: int
) -> tuple[DistillTask, Dataset, Dataset]:
    """The task and its training and validation sets.

    Args:
        settings: fields of `DistillSettings`.
        data_dir: aligned clips, as `latentsync prepare` writes them.
        model_dir: the teacher's model.

    Raises:
        OptionError, WeightsError, MediaError: a setting, the model or the data cannot be used.
    """
    options, parts = read_settings(DistillSettings, settings), load_folder(model_dir)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of the guidance input's first layer
        task = DistillTask(parts["unet"], parts["vae"], parts["scheduler"], options)
    return task, *window_sets(task, parts["audio"].whisper, data_dir, seed, has_pixels=False)
