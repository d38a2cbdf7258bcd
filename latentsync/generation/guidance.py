"""Guidance: how a prediction with audio is led away from the one without audio, and at which steps.

Predictions of a step differ by c - u, with c with audio and u without. Plain guidance, u + w * (c - u), adds w - 1 such
differences to c. Other kinds change what is added; none of them needs training:

- projected (arXiv 2410.02416): of the difference between the clean latents that both predict, the part along c's clean
  latents is scaled. That part mostly changes contrast. The difference is limited in size, and averaged over steps.
- zero_star (arXiv 2503.18886): u is scaled to lie as near to c as it can, and the first steps leave the latents as they
  are.
- rescaled (arXiv 2305.08891), over any kind: the guided prediction gets back the standard deviation of c.

Every window is guided by itself: what a kind measures is measured over one window, all of its frames and channels, and
only where guidance acts (`guidance_mask`). So results do not depend on how windows are grouped.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from diffusers import SchedulerMixin
from torch import Tensor

from latentsync.config import GUIDANCE_INTERVAL, SamplerOptions
from latentsync.errors import OptionError

TINY = 1e-12  # keeps a ratio of two mean squares finite where both are 0
AXES = (1, 2, 3, 4)  # of a window


def is_guided(guidance_scale: float) -> bool:
    """Whether guidance acts: above 1. Otherwise only the prediction with audio is used, as in the original."""
    return guidance_scale > 1.0


def guidance_scales(
    guidance_scale: float, schedule: str, shares: list[float], interval: tuple[float, float] | None
) -> list[float]:
    """The guidance of each step.

    Let g be guidance_scale and s go from 0 (first step) to 1 (last). "linear" is 1 + (g - 1) * 2 * s and "cosine" is
    1 + (g - 1) * (1 - cos(pi * s)). Both rise from 1 to 2 * g - 1, and their mean is g (after arXiv 2404.13040).
    "interval" (arXiv 2404.07724) is g where low < share <= high, and 1 elsewhere. A scale of at most 1 is no guidance
    under any schedule.

    Args:
        schedule: "constant", "linear", "cosine" or "interval".
        shares: of the noise at each step; 1 is nothing but noise.
        interval: (low, high) of "interval"; the other schedules ignore it.
    """
    last = len(shares) - 1
    progress = [index / last if last else 0.5 for index in range(len(shares))]
    if schedule == "constant" or not is_guided(guidance_scale):
        return [guidance_scale] * len(shares)
    if schedule == "interval":
        low, high = interval or GUIDANCE_INTERVAL
        return [guidance_scale if low < share <= high else 1.0 for share in shares]
    rising = {"linear": lambda s: 2 * s, "cosine": lambda s: 1 - math.cos(math.pi * s)}[schedule]
    return [1 + (guidance_scale - 1) * rising(s) for s in progress]


def in_effect(sampler: SamplerOptions) -> SamplerOptions:
    """The options of guidance, with those that have no effect beside the others at their values for "not used"."""
    guided = is_guided(sampler.guidance_scale or 0.0)
    kind = sampler.guidance_kind if guided else "plain"
    is_projected = kind == "projected"
    by_interval = sampler.guidance_schedule == "interval"
    return replace(
        sampler,
        guidance_interval=(sampler.guidance_interval or GUIDANCE_INTERVAL) if by_interval else None,
        guidance_every=sampler.guidance_every if guided else 1,
        guidance_kind=kind,
        guidance_parallel=(sampler.guidance_parallel or 0.0) if is_projected else None,
        guidance_norm=(sampler.guidance_norm or 0.0) if is_projected else None,
        guidance_momentum=(sampler.guidance_momentum or 0.0) if is_projected else None,
        guidance_zero_steps=(sampler.guidance_zero_steps or 0) if kind == "zero_star" else None,
        guidance_rescale=sampler.guidance_rescale if guided else 0.0,
    )


# --- one step ---


@dataclass(frozen=True)
class Step:
    """The noise of a step, by which a prediction is turned into clean latents or a velocity, and back.

    With x the noisy latents, x = signal * clean + noise * eps. The velocity is signal * eps - noise * clean: how x
    moves along that circle. All of it is in float32.

    Attributes:
        latents: x, (b, c, f, h, w).
        signal, noise: their shares; the sum of their squares is 1.
        predicts: "epsilon", "v_prediction" or "sample": what the network predicts.
        region: (b, 1, f, h, w): 1 where guidance acts, 0 elsewhere; None acts everywhere.
    """

    latents: Tensor
    signal: float
    noise: float
    predicts: str
    region: Tensor | None = None

    @classmethod
    def of(cls, schedule: SchedulerMixin, timestep: Tensor, latents: Tensor, region: Tensor | None = None) -> "Step":
        """The step of a solver at one of its timesteps.

        Args:
            latents: as the network gets them (`scale_model_input`).
        """
        power = float(schedule.alphas_cumprod[int(timestep)])
        predicts = schedule.config.get("prediction_type", "epsilon")
        return cls(latents.float(), math.sqrt(power), math.sqrt(1 - power), predicts, region)

    def clean(self, prediction: Tensor) -> Tensor:
        """The clean latents of a prediction."""
        prediction = prediction.float()
        if self.predicts == "v_prediction":
            return self.signal * self.latents - self.noise * prediction
        if self.predicts == "epsilon":
            return (self.latents - self.noise * prediction) / self.signal
        return prediction

    def of_clean(self, clean: Tensor) -> Tensor:
        """The prediction of clean latents."""
        if self.predicts == "v_prediction":
            return (self.signal * self.latents - clean) / self.noise
        if self.predicts == "epsilon":
            return (self.latents - self.signal * clean) / self.noise
        return clean

    def velocity(self, prediction: Tensor) -> Tensor:
        """The velocity of a prediction."""
        if self.predicts == "v_prediction":
            return prediction.float()
        return (self.signal * self.latents - self.clean(prediction)) / self.noise

    def of_velocity(self, velocity: Tensor) -> Tensor:
        """The prediction of a velocity."""
        if self.predicts == "v_prediction":
            return velocity
        return self.of_clean(self.signal * self.latents - self.noise * velocity)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of each window over where guidance acts, (b, 1, 1, 1, 1)."""
        if self.region is None:
            return values.mean(AXES, keepdim=True)
        weights = self.region.float().expand_as(values)
        return (weights * values).sum(AXES, keepdim=True) / weights.sum(AXES, keepdim=True).clamp(min=1)

    def deviation(self, values: Tensor) -> Tensor:
        """The standard deviation of each window over where guidance acts, (b, 1, 1, 1, 1)."""
        return self.mean((values - self.mean(values)).square()).sqrt()

    def bounded(self, guided: Tensor, with_audio: Tensor) -> Tensor:
        """The guided prediction where guidance acts, and the one with audio elsewhere."""
        return guided if self.region is None else torch.lerp(with_audio.float(), guided.float(), self.region.float())


class Guidance(Protocol):
    """One kind of guidance, over the steps of one call of `denoise`; it may remember earlier steps.

    Attributes:
        resting_steps: the first steps of the denoising, which leave the latents as they are.
    """

    resting_steps: int

    def __call__(self, step: Step, without: Tensor, with_audio: Tensor, scale: float | Tensor) -> Tensor:
        """The guided prediction.

        Args:
            without, with_audio: the predictions, (b, c, f, h, w).
            scale: one for all windows, or (b, 1, 1, 1, 1); 1 follows the prediction with audio.
        """
        ...


class Plain:
    """Classifier-free guidance, u + w * (c - u) (arXiv 2207.12598)."""

    resting_steps = 0

    def __call__(self, step: Step, without: Tensor, with_audio: Tensor, scale: float | Tensor) -> Tensor:
        """See `Guidance`."""
        if step.region is None:
            return without + scale * (with_audio - without)
        return with_audio + (scale - 1) * step.region * (with_audio - without)


class Projected:
    """Adaptive projected guidance (arXiv 2410.02416), on the clean latents that the predictions stand for.

    With d the difference between the clean latents with and without audio, and p those with audio: d is averaged over
    steps as d + momentum * (average before); scaled down to `limit` where its root mean square is larger; and split
    into the part along p and the rest. p + (w - 1) * (rest + parallel * part) are the guided clean latents. With
    parallel 1 and neither limit nor momentum this is plain guidance.

    Args:
        parallel: how much of the part along p is used. The paper's eta.
        limit: the largest root mean square of d; 0 is no limit. The paper's r is a norm: r = limit * sqrt(elements).
        momentum: of the average; negative takes back some of what the steps before added. The paper's beta.
    """

    resting_steps = 0

    def __init__(self, parallel: float = 0.0, limit: float = 0.0, momentum: float = 0.0) -> None:
        self._parallel, self._limit, self._momentum = parallel, limit, momentum
        self._average: Tensor | None = None

    def __call__(self, step: Step, without: Tensor, with_audio: Tensor, scale: float | Tensor) -> Tensor:
        """See `Guidance`."""
        clean = step.clean(with_audio)
        change = clean - step.clean(without)
        if self._average is not None:
            change = change + self._momentum * self._average
        self._average = change
        if self._limit:
            size = step.mean(change.square()).sqrt()
            change = change * (self._limit / size.clamp(min=self._limit))
        along = step.mean(change * clean) / step.mean(clean.square()).clamp(min=TINY) * clean
        change = change - (1 - self._parallel) * along
        return step.bounded(step.of_clean(clean + (scale - 1) * change), with_audio)


class ZeroStar:
    """Guidance with an optimised scale and a start at rest (arXiv 2503.18886), on velocities.

    The velocity without audio is multiplied by <c, u> / <u, u>, which makes it as near to the one with audio as it can
    be. In the first `resting_steps` the velocity is 0, since guidance is most wrong at pure noise.
    """

    def __init__(self, resting_steps: int = 1) -> None:
        self.resting_steps = resting_steps

    def __call__(self, step: Step, without: Tensor, with_audio: Tensor, scale: float | Tensor) -> Tensor:
        """See `Guidance`."""
        voiced, silent = step.velocity(with_audio), step.velocity(without)
        silent = silent * (step.mean(voiced * silent) / step.mean(silent.square()).clamp(min=TINY))
        return step.bounded(step.of_velocity(silent + scale * (voiced - silent)), with_audio)


class Rescaled:
    """Any guidance, then rescaled (arXiv 2305.08891, section 3.4).

    The guided prediction is multiplied by 1 - share + share * (deviation with audio / deviation when guided), so that
    strong guidance does not overexpose.

    Args:
        share: of the correction, the paper's phi; 0 is none.
    """

    def __init__(self, guidance: Guidance, share: float) -> None:
        self._guidance, self._share = guidance, share
        self.resting_steps = guidance.resting_steps

    def __call__(self, step: Step, without: Tensor, with_audio: Tensor, scale: float | Tensor) -> Tensor:
        """See `Guidance`."""
        guided = self._guidance(step, without, with_audio, scale).float()
        ratio = step.deviation(with_audio.float()) / step.deviation(guided).clamp(min=TINY)
        return step.bounded(guided * (1 + self._share * (ratio - 1)), with_audio)


def guidance_of(sampler: SamplerOptions) -> Callable[[], Guidance]:
    """What makes the guidance of resolved options, a new one for each call of `denoise`."""

    def make() -> Guidance:
        guidance: Guidance = Plain()
        if sampler.guidance_kind == "projected":
            parts = (sampler.guidance_parallel, sampler.guidance_norm, sampler.guidance_momentum)
            guidance = Projected(*(part or 0.0 for part in parts))
        elif sampler.guidance_kind == "zero_star":
            guidance = ZeroStar(sampler.guidance_zero_steps or 0)
        return Rescaled(guidance, sampler.guidance_rescale) if sampler.guidance_rescale else guidance

    return make


# --- all steps ---


class Guide:
    """Guides the predictions of all steps of one call of `denoise`.

    Args:
        guidance: its kind.
        scales: for each step, the guidance scale of each window.
        every: the network runs without audio at every k-th guided step only. The guided steps between take c - u from
            the last of those. (arXiv 2410.19355 reuses that difference, too.)
        is_input: whether the network takes the scale as an input and guides itself, as a student does.
    """

    def __init__(
        self, guidance: Guidance, scales: Sequence[Sequence[float]], every: int = 1, is_input: bool = False
    ) -> None:
        self._guidance, self._scales, self._every, self._is_input = guidance, scales, every, is_input
        self._ever = [any(map(is_guided, of_window)) for of_window in zip(*scales, strict=True)]
        self._num_guided, self._difference = 0, None

    def needs_both(self, index: int) -> bool:
        """Whether the network has to predict without audio, too, at this step."""
        return self._is_guided(index) and self._num_guided % self._every == 0

    def network_input(self, index: int, device: torch.device) -> dict[str, Tensor]:
        """What a network that guides itself gets beside its other inputs."""
        return {"guidance": torch.tensor(self._scales[index], device=device)} if self._is_input else {}

    def __call__(self, index: int, prediction: Tensor, step: Callable[[], Step]) -> Tensor:
        """The guided prediction of each window; a window with a scale of at most 1 follows the one with audio.

        Args:
            index: of the step; steps come in order.
            prediction: of the network: where it `needs_both`, (2b, c, f, h, w), first without audio, then with it;
                else (b, c, f, h, w), with audio.
            step: gives the noise of this step.
        """
        if self._is_guided(index):
            prediction = self._guided(index, prediction, step())
        if not self._is_input and index < self._guidance.resting_steps:
            at_rest = step().of_velocity(torch.zeros_like(prediction, dtype=torch.float32)).to(prediction.dtype)
            prediction = torch.where(_by_window(self._ever, at_rest), at_rest, prediction)
        return prediction

    def _is_guided(self, index: int) -> bool:
        return not self._is_input and any(map(is_guided, self._scales[index]))

    def _guided(self, index: int, prediction: Tensor, step: Step) -> Tensor:
        has_both = self.needs_both(index)
        without, voiced = prediction.chunk(2) if has_both else (prediction - self._difference, prediction)
        self._difference = voiced - without if self._every > 1 else None
        self._num_guided += 1
        scales = self._scales[index]
        if len(set(scales)) == 1:
            return self._guidance(step, without, voiced, scales[0]).to(voiced.dtype)
        scale = _by_window(scales, voiced).to(voiced.dtype)
        return torch.where(scale > 1, self._guidance(step, without, voiced, scale).to(voiced.dtype), voiced)


def _by_window(values: Sequence[float | bool], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device).view(-1, 1, 1, 1, 1)


# --- students ---


def require_plain(model: str, sampler: SamplerOptions) -> None:
    """Refuses what acts on a prediction without audio, for a student: it makes none.

    Raises:
        OptionError: such an option is set.
    """
    why = "which makes no prediction without audio"
    for name, usual in (("guidance_every", 1), ("guidance_kind", "plain"), ("guidance_rescale", 0)):
        if (value := getattr(sampler, name)) != usual:
            raise OptionError(f"{name} is {value}, but {model} is a student, {why}; set {name}={usual}")
