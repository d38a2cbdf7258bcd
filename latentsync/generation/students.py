"""Students: networks that were distilled to few steps and take guidance as an input. Which options suit them.

See `latentsync.training.distill` for how they are made.
"""

from dataclasses import replace

from latentsync.config import STUDENT_STEPS, SamplerOptions
from latentsync.errors import OptionError
from latentsync.generation.guidance import guidance_scales, require_plain
from latentsync.generation.solvers import STUDENT


def sampler_for(model: str, guidance_limit: float | None, sampler: SamplerOptions) -> SamplerOptions:
    """The sampler's options, with the student's solver where the model is a student and the solver is open.

    Args:
        model: its name, for messages.
        guidance_limit: of the model's UNet; None for a network that is no student.
        sampler: with a guidance scale.

    Raises:
        OptionError: the model is a student and an option does not suit it, or it is none and its solver is asked for.
    """
    if guidance_limit is None:
        if sampler.scheduler == STUDENT:
            raise OptionError(
                f"scheduler is student, but {model} is no student (its network has no guidance input); take another "
                f"solver such as ddim, or a model of train=unet_distill"
            )
        return sampler
    if sampler.scheduler not in (None, STUDENT):
        raise OptionError(
            f"scheduler is {sampler.scheduler}, but {model} is a student, trained for its own solver only; set "
            f"scheduler=student"
        )
    if sampler.num_inference_steps > STUDENT_STEPS:
        raise OptionError(
            f"num_inference_steps is {sampler.num_inference_steps}, but {model} is a student of 1 to {STUDENT_STEPS} "
            f"steps; set num_inference_steps={STUDENT_STEPS}"
        )
    if sampler.guidance_mask != "uniform":
        raise OptionError(
            f"guidance_mask is {sampler.guidance_mask}, but {model} is a student, which takes one guidance scale for "
            f"all of a frame; set guidance_mask=uniform"
        )
    if sampler.deepcache_order:
        raise OptionError(
            f"deepcache_order is {sampler.deepcache_order}, but {model} is a student, whose 1 to {STUDENT_STEPS} steps "
            f"are too few and too far apart to extrapolate features; set deepcache_order=0"
        )
    require_plain(model, sampler)
    steps = [1.0] * sampler.num_inference_steps  # shares of the noise, which matter to "interval" only
    greatest = max(guidance_scales(sampler.guidance_scale, sampler.guidance_schedule, steps, (0.0, 1.0)))
    if greatest > guidance_limit:
        raise OptionError(
            f"guidance_scale is {sampler.guidance_scale:g}"
            + (f", up to {greatest:g} in single steps" if greatest > sampler.guidance_scale else "")
            + f", but {model} is a student that knows guidance up to {guidance_limit:g}; set a lower guidance_scale"
        )
    return replace(sampler, scheduler=STUDENT)
