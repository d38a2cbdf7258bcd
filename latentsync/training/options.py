"""The options of preparing clips and of a training loop, with their checks. Knows nothing of the trained networks."""

import math
from dataclasses import dataclass, fields

from latentsync.config import DTYPES, MAX_SEED, MIN_DURATION_S
from latentsync.constants import LATENT_PX
from latentsync.errors import OptionError
from latentsync.option import is_number, is_whole

SCHEDULES = ("constant", "cosine")
# Of a model's own SyncNet, 0..1. Not comparable with SyncNet v2's; chosen before such a SyncNet was trained.
LEAST_MINI_CONFIDENCE = 0.05

# Whole numbers: the least value, and the remedy in the message
_WHOLE = {
    "steps": (1, "give the length of the whole training, not the number of steps that are left"),
    "batch_size": (1, "it counts the items that one device holds at once"),
    "warmup_steps": (0, "0 is off"),
    "gradient_accumulation": (1, "1 is off"),
    "num_workers": (0, "0 reads the data in the training process"),
    "log_every": (1, "1 logs each step"),
    "validate_every": (0, "0 is never"),
    "validation_items": (0, "0 is all of them"),
    "save_every": (1, "a killed run loses at most that many steps"),
}


@dataclass(frozen=True)
class PrepareOptions:
    """The options of pieces.

    Attributes:
        size_px: side of the crops, a multiple of 8, at least 64.
        min_seconds, max_seconds: length of a piece.
        crf: constant rate factor of the H.264 crops, 0 (lossless) .. 51; 10 is visually lossless.
    """

    size_px: int = 256
    min_seconds: float = 1.0
    max_seconds: float = 10.0
    crf: int = 10

    def __post_init__(self) -> None:
        if self.size_px < 64 or self.size_px % LATENT_PX:
            raise OptionError(
                f"size is {self.size_px}; it must be a multiple of {LATENT_PX} and at least 64 (256 is usual)"
            )
        if not MIN_DURATION_S <= self.min_seconds < math.inf:
            raise OptionError(f"min_seconds is {self.min_seconds}; it must be at least {MIN_DURATION_S} (1 is usual)")
        if not 2 * self.min_seconds <= self.max_seconds < math.inf:  # so that equal parts are never too short
            raise OptionError(
                f"max_seconds is {self.max_seconds}; it must be at least twice min_seconds ({self.min_seconds})"
            )
        if not 0 <= self.crf <= 51:
            raise OptionError(f"crf is {self.crf}; it must be from 0 (lossless) to 51 (10 is usual)")


@dataclass(frozen=True)
class LoopOptions:
    """The options of training any network.

    Attributes:
        steps: optimiser steps in total, including those before a resume.
        batch_size: items that one device holds at once; one step uses
            batch_size x gradient_accumulation x processes of them.
        learning_rate: of AdamW, after the warm-up.
        weight_decay: of AdamW.
        warmup_steps: steps over which the learning rate rises linearly from zero.
        schedule: "constant", or "cosine" down to zero at the last step.
        max_grad_norm: norm to which the gradient is clipped; 0 leaves it as it is.
        precision: of the forward pass (autocast); weights, gradients and optimiser are float32 throughout. None:
            bfloat16 where the device computes in it itself, else float32.
        ema_decay: of the moving average of the weights, which validation, pictures and export then use; 0 is off.
        seed: of the order of the data and of every random number drawn in training.
        num_workers: processes that read data.
        log_every, validate_every, save_every: steps between log lines, validations (0: never) and checkpoints.
        validation_items: how many items of the validation set are used, spread evenly over it; 0 is all of them.
        gradient_checkpointing: computes activations twice, to store fewer of them.
        max_minutes: stops with a checkpoint after this time; None runs to the end.
    """

    steps: int = 10_000
    batch_size: int = 8
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    warmup_steps: int = 0
    schedule: str = "constant"
    max_grad_norm: float = 1.0
    gradient_accumulation: int = 1
    precision: str | None = None
    ema_decay: float = 0.0
    seed: int = 1247
    num_workers: int = 0
    log_every: int = 50
    validate_every: int = 1000
    validation_items: int = 256
    save_every: int = 1000
    gradient_checkpointing: bool = False
    max_minutes: float | None = None

    def __post_init__(self) -> None:
        for name, (least, remedy) in _WHOLE.items():
            self._check(name, is_whole(value := getattr(self, name)) and value >= least, f"a whole number >= {least}",
                        remedy)  # fmt: skip
        self._check("learning_rate", is_number(self.learning_rate) and self.learning_rate > 0, "above 0", "try 1e-4")
        for name in ("weight_decay", "max_grad_norm"):
            self._check(name, is_number(value := getattr(self, name)) and value >= 0, "at least 0", "0 is off")
        self._check("ema_decay", is_number(self.ema_decay) and 0 <= self.ema_decay < 1, "in 0..1", "0 is off")
        self._check("seed", is_whole(self.seed) and 0 <= self.seed <= MAX_SEED, "in 0..2^63-1", "1247 is usual")
        self._check("schedule", self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}", "choose one of them")
        self._check("precision", self.precision is None or self.precision in DTYPES, f"one of {', '.join(DTYPES)}",
                    "null is what the device runs well")  # fmt: skip
        minutes = self.max_minutes
        self._check("max_minutes", minutes is None or (is_number(minutes) and minutes > 0), "above 0", "null is off")

    def _check(self, name: str, holds: bool, bound: str, remedy: str) -> None:
        if not holds:
            raise OptionError(f"{name} is {getattr(self, name)!r}; it must be {bound} ({remedy})")

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0: linear warm-up, then the schedule. It depends on nothing else.

        cosine: lr * (1 + cos(pi * t)) / 2 with t from 0 after the warm-up to 1 at the end (Loshchilov and Hutter 2017,
        eq. 5, without restarts).
        """
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return self.learning_rate
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of all options."""
        return tuple(field.name for field in fields(cls))
