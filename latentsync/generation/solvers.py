"""The solvers that denoise: by name, or a scheduler of diffusers that was assigned to a pipeline."""

import inspect
import json
import math
from functools import cache

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, SchedulerMixin, UniPCMultistepScheduler

from latentsync import plugins
from latentsync.errors import OptionError

SECOND_ORDER = {
    "dpmpp_2m": (DPMSolverMultistepScheduler, {"euler_at_final": True}),
    "unipc": (UniPCMultistepScheduler, {}),
}
STUDENT = "student"
ZERO_SNR = "rescale_betas_zero_snr"
KNOWN = "use DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler or EulerDiscreteScheduler"
TRIAL_STEPS = 3  # enough for a scheduler to draw random numbers, if it ever does
LEAST_SIGNAL = 2.0**-12  # a model without terminal signal is taken to have this share of it, as solvers do
MAX_NOISE_DIFFERENCE = 1e-4  # of the signal's share at any timestep; schedulers compute it in float32


def solver_of(scheduler: SchedulerMixin, name: str | None) -> SchedulerMixin:
    """The solver of a name, for the noise that the model was trained with. It is a new object; `scheduler` stays as is.

    All named solvers end at the noise that DDIM ends at: at none, or, where `set_alpha_to_one` is false, at the least
    of the training. "dpmpp_2m" and "unipc" are of second order, and their steps are in the logarithm of signal to
    noise. So they begin at a signal of 2^-12 with a model without terminal signal (`rescale_betas_zero_snr`). They do
    not use the spacing "leading", which would begin well below the noise that they get (timestep 901 at 100 steps, 501
    at 500); "linspace" begins at the last timestep. DPM-Solver++ makes its last step with first order, as UniPC does.
    That step is by far its longest in the logarithm, and for normally distributed data second order doubles the error
    at 20 steps.

    "student" is DDIM for a network that was distilled to few steps (`latentsync.training.distill`). With any model it
    begins at the last timestep and makes equal steps.

    Args:
        scheduler: has the noise of the training in its configuration.
        name: "ddim", "dpmpp_2m", "unipc", "student" or the name of an installed solver (see `plugins`). None is a copy
            of `scheduler` itself.

    Raises:
        OptionError: an installed solver cannot be used; see `require_usable`.
    """
    config = scheduler.config
    if name is None:
        return type(scheduler).from_config(config)
    if name == "ddim":
        return DDIMScheduler.from_config(config)
    if name == STUDENT:
        return DDIMScheduler.from_config(config, timestep_spacing="trailing")
    if name not in SECOND_ORDER:
        return _installed(scheduler, name)
    kind, own = SECOND_ORDER[name]
    spacing = config.get("timestep_spacing", "leading")
    return kind.from_config(
        config,
        **own,
        solver_order=2,
        final_sigmas_type="zero" if config.get("set_alpha_to_one", True) else "sigma_min",
        timestep_spacing="linspace" if spacing == "leading" else spacing,
    )


def log_snr(solver: SchedulerMixin, timestep: float) -> float:
    """ln(signal / noise) at a timestep of the training; finite at the end without signal, too."""
    power = min(max(float(solver.alphas_cumprod[int(timestep)]), LEAST_SIGNAL**2), 1 - LEAST_SIGNAL**2)
    return math.log(power / (1 - power)) / 2


def num_steps(scheduler: SchedulerMixin, name: str | None, num_inference_steps: int) -> int:
    """How many steps a solver makes of `num_inference_steps`. Some of diffusers' make two for one."""
    solver = solver_of(scheduler, name)
    solver.set_timesteps(num_inference_steps)
    return len(solver.timesteps)


def _installed(scheduler: SchedulerMixin, name: str) -> SchedulerMixin:
    """The solver of another package: a scheduler's class, or a function of the model's scheduler that returns one."""
    factory = plugins.load(plugins.SCHEDULERS_GROUP, name)
    made = factory.from_config(scheduler.config) if hasattr(factory, "from_config") else factory(scheduler)
    require_usable(made, scheduler, f"scheduler {name}")
    return made


def require_usable(scheduler: SchedulerMixin, trained: SchedulerMixin | None, name: str = "scheduler") -> None:
    """Refuses a scheduler that cannot denoise with this model.

    Args:
        trained: the model's own scheduler, with the noise of its training; None where this is the first one.
        name: of the scheduler, for messages.

    Raises:
        OptionError: it is no scheduler of diffusers, its noise or its kind of prediction is not the model's, or it
            draws random numbers in its steps.
    """
    kind = type(scheduler).__name__
    remedy = "make it with SchedulerClass.from_config(pipe.scheduler.config)"
    if not (isinstance(scheduler, SchedulerMixin) and hasattr(scheduler, "alphas_cumprod")):
        raise OptionError(f"{name} is {kind}, which is no diffusion scheduler of diffusers; {remedy}")
    if trained is not None:
        ours, theirs = trained.alphas_cumprod, scheduler.alphas_cumprod
        if len(ours) != len(theirs) or float((ours - theirs).abs().max()) > MAX_NOISE_DIFFERENCE:
            if trained.config.get(ZERO_SNR) and ZERO_SNR not in inspect.signature(type(scheduler)).parameters:
                remedy = f"the model's noise ends without signal ({ZERO_SNR}), which {kind} does not know; {KNOWN}"
            raise OptionError(f"{name} is {kind} with other noise than the model was trained with; {remedy}")
        wanted, given = (one.config.get("prediction_type", "epsilon") for one in (trained, scheduler))
        if wanted != given:
            raise OptionError(
                f"{name} is {kind} for prediction_type {given}, but the model predicts {wanted}; {remedy}"
            )
    if _draws_random_numbers(scheduler):
        raise OptionError(
            f"{name} is {kind}, which draws random numbers in its steps, so that a result would depend on how frames "
            f"are grouped; {KNOWN}"
        )


def _draws_random_numbers(scheduler: SchedulerMixin) -> bool:
    return _ends_differ(type(scheduler), scheduler.to_json_string())


@cache  # an installed solver is made for every batch of windows
def _ends_differ(kind: type[SchedulerMixin], config: str) -> bool:
    """Whether a few steps of a scheduler end elsewhere with other random numbers."""
    ends = []
    with torch.random.fork_rng(devices=[]):
        for seed in (0, 1):
            torch.manual_seed(seed)
            solver = kind.from_config(json.loads(config))
            solver.set_timesteps(TRIAL_STEPS)
            latents = torch.full((1, 4, 1, 2, 2), math.pi) * solver.init_noise_sigma
            for timestep in solver.timesteps:
                seen = solver.scale_model_input(latents, timestep)
                latents = solver.step(seen / 2, timestep, latents).prev_sample
            ends.append(latents)
    return not torch.equal(*ends)
