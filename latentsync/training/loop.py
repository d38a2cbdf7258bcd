"""One training loop for every network: a task defines the computation, the loop does the rest. Knows no faces or Hydra.

<folder>/  checkpoints/  weights/ (as the task exports them)  log.jsonl

A killed run continues from its last checkpoint with the same losses, step for step, as if it had never been killed.
They are equal bit for bit if the arithmetic is reproducible, as on a CPU with a fixed number of threads. The reasons:
the order of the data, every random number and the learning rate are functions of the seed and the step, and networks,
moving average and optimiser are saved. To start from weights alone, without an optimiser's state, the task loads them
and the folder is a new one.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import gather, parse_flag_from_env, reduce, send_to_device
from filelock import FileLock, Timeout
from torch.utils.data import Dataset
from tqdm import tqdm

from latentsync.device import resolve_training_dtype
from latentsync.errors import LatentSyncError, OptionError
from latentsync.files import remove_abandoned, whole_folder
from latentsync.seeds import derived_seed, seeded_generator
from latentsync.training import checkpoint
from latentsync.training.journal import Journal, Means
from latentsync.training.learner import Learner
from latentsync.training.options import LoopOptions
from latentsync.training.order import Batches, global_draws_kept, loader, seed_global_draws
from latentsync.training.shortage import shortage_explained
from latentsync.training.task import LOSS, Task
from latentsync.training.validation import OnPictures, Validation, last_figures
from latentsync.verbosity import bars_off

CHECKPOINTS_DIR = "checkpoints"
WEIGHTS_DIR = "weights"
LOG_FILE = "log.jsonl"
LOCK_FILE = ".training.lock"
MIXED_PRECISION = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}

Log = Callable[[int, dict[str, float]], None]


class DivergedError(LatentSyncError):
    """A loss or a gradient is not finite."""


@dataclass(frozen=True)
class TrainResult:
    """The result of a training.

    Attributes:
        step: number of optimiser steps, including those of earlier runs.
        finished: False if the time limit came first; the same call continues from there.
        started_at: the step at which this run began.
        minutes: duration of this run.
        weights: the folder with the exported weights.
        validation: the last validation's figures; empty if there was none.
    """

    step: int
    finished: bool
    started_at: int
    minutes: float
    weights: Path
    validation: dict[str, float]


def train(
    task: Task,
    train_set: Dataset,
    validation_set: Dataset | None,
    options: LoopOptions,
    folder: str | Path,
    log: Log = lambda step, values: None,
    on_pictures: OnPictures | None = None,
    on_videos: OnPictures | None = None,
) -> TrainResult:
    """Trains a task's networks, or continues if `folder` holds a checkpoint.

    On several GPUs, every process that `accelerate launch` starts calls this. The first one logs, validates and writes.

    Args:
        train_set, validation_set: data sets whose items `collate`, their own or torch's, joins into batches. Random
            parts of an item come from a method `sample(epoch, index)`, or else from the global generators; see
            `order.SeededItems`.
        folder: belongs to this training alone.
        log: called with a step, counted from 1, and flat named values: the loss and its parts as means since the last
            line, learning_rate, gradient_norm, epoch, seconds of a step, validation/NAME.
        on_pictures, on_videos: called with a step and the task's pictures or videos, at each validation.

    Raises:
        DivergedError: a loss or gradient is not finite; that step is not saved.
        OptionError: an option does not fit this machine, these networks or these data, or another process trains in the
            folder.
        WeightsError: the checkpoint in the folder belongs to other networks.
        MemoryShortageError: the memory of the device is too small for a batch.
    """
    folder = Path(folder)
    accelerator = _accelerator(precision_of(options))
    for name, items in (("training", train_set), ("validation", validation_set)):
        if items is not None and not len(items):
            raise OptionError(f"the {name} set holds 0 items and needs at least 1; add clips to the data folder")
    with _folder_of_one_run(folder, accelerator), global_draws_kept(accelerator.device):
        return _Run(
            task, train_set, validation_set, options, folder, accelerator, log, on_pictures, on_videos
        ).to_the_end()


def last_step(folder: str | Path) -> int:
    """The step from which a training in this folder would continue; 0 for a new training."""
    paths = checkpoint.checkpoints(Path(folder) / CHECKPOINTS_DIR)
    return checkpoint.step_of(paths[-1]) if paths else 0


def precision_of(options: LoopOptions) -> torch.dtype:
    """The precision of a training's forward pass on this process's device.

    Raises:
        OptionError: the device does not support it.
    """
    return resolve_training_dtype(options.precision, device_of_process())


def device_of_process() -> torch.device:
    """Where this process trains, as accelerate says."""
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU")).device


def _accelerator(precision: torch.dtype) -> Accelerator:
    """The `Accelerator` for this machine."""
    AcceleratorState._reset_state()  # there is one per process, which refuses a second training in another precision
    return Accelerator(mixed_precision=MIXED_PRECISION[precision])


@contextmanager
def _folder_of_one_run(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE) if accelerator.is_main_process else nullcontext()
    try:
        with lock.acquire(timeout=0) if accelerator.is_main_process else lock:
            yield
    except Timeout as error:
        raise OptionError(f"another process trains in {folder}; end it, or choose another folder") from error


class _Run:
    """One call of `train`: the state that changes from step to step, and the steps."""

    def __init__(
        self,
        task: Task,
        train_set: Dataset,
        validation_set: Dataset | None,
        options: LoopOptions,
        folder: Path,
        accelerator: Accelerator,
        log: Log,
        on_pictures: OnPictures | None,
        on_videos: OnPictures | None,
    ) -> None:
        self.task, self.train_set, self.log = task, train_set, log
        self.options, self.folder, self.accelerator = options, folder, accelerator
        self.step = self.position = 0  # finished steps; items of the endless row that they used
        self.means, self.journal = Means(), Journal(folder / LOG_FILE)
        self.learner = Learner(task, options, accelerator)
        shows = {"pictures": on_pictures, "videos": on_videos}
        self.validation = (
            Validation(task, validation_set, options, accelerator, shows) if validation_set is not None else None
        )

    # ---- from the first step to the last

    def to_the_end(self) -> TrainResult:
        """Resumes, runs the remaining steps or as many as the time allows, and writes a checkpoint and weights."""
        options, start = self.options, time.monotonic()
        self._resume()
        began_at = self.step
        micro_batches = iter(self._loader())
        out_of_time = False
        with self._bar() as bar:
            while self.step < options.steps and not out_of_time:
                self._make_step(micro_batches, bar)
                out_of_time = self._agreed(_minutes_since(start) >= (options.max_minutes or math.inf))
                self._after_step(out_of_time)
        if not (self.folder / WEIGHTS_DIR).is_dir():  # finished earlier, and somebody moved the weights away
            self._export()
        self.accelerator.wait_for_everyone()
        return TrainResult(
            step=self.step,
            finished=self.step >= options.steps,
            started_at=began_at,
            minutes=_minutes_since(start),
            weights=self.folder / WEIGHTS_DIR,
            validation=last_figures(self.journal),
        )

    def _loader(self) -> Iterable:
        options, accelerator = self.options, self.accelerator
        left = max(0, options.steps - self.step) * options.gradient_accumulation
        self.batches = Batches(
            len(self.train_set), options.batch_size, options.seed, self.position, left,
            accelerator.process_index, accelerator.num_processes,
        )  # fmt: skip
        pin = accelerator.device.type == "cuda"
        return loader(self.train_set, self.batches, options.seed, options.num_workers, pin)

    def _bar(self) -> tqdm:
        off = bars_off() if self.accelerator.is_main_process else True
        return tqdm(total=self.options.steps, initial=self.step, disable=off, unit="step", dynamic_ncols=True)

    def _after_step(self, out_of_time: bool) -> None:
        """Log, validation and checkpoint, if they are due. The log comes first, since a resume shortens it to fit."""
        options, is_last = self.options, self.step == self.options.steps
        row = self.means.take() if is_last or self.step % options.log_every == 0 else {}
        is_due = options.validate_every and (is_last or self.step % options.validate_every == 0)
        if is_due and self.validation is not None:
            row |= self.validation.figures(self.step, self.learner)
        if row and self.accelerator.is_main_process:
            self.journal.write(self.step, row)
            self.log(self.step, row)
        if is_last or out_of_time or self.step % options.save_every == 0:
            self._save()

    def _agreed(self, is_wanted: bool) -> bool:
        """Whether any process wants it; all processes get the same answer."""
        if self.accelerator.num_processes == 1:
            return is_wanted
        return bool(reduce(torch.tensor(float(is_wanted), device=self.accelerator.device), "sum").item())

    # ---- one step

    def _make_step(self, micro_batches: Iterator, bar: tqdm) -> None:
        """Computes loss and gradient of the step's batches, then makes and counts one step of the optimiser."""
        options, began = self.options, time.perf_counter()
        generator = seeded_generator("step", options.seed, self.step, self.accelerator.process_index)
        self.learner.to_training_mode()
        total: dict[str, float] = {}
        with shortage_explained(f"a training step of {options.batch_size} items", options):
            for part in range(options.gradient_accumulation):
                for name, value in self._backward(next(micro_batches), part, generator).items():
                    total[name] = total.get(name, 0.0) + value / options.gradient_accumulation
            norm, rate = self._descend()
        self.step += 1
        per_step = options.batch_size * options.gradient_accumulation * self.accelerator.num_processes
        self.position += per_step
        seconds = time.perf_counter() - began
        epoch = self.position / len(self.train_set)
        self.means.add({**total, "learning_rate": rate, "gradient_norm": norm, "epoch": epoch, "seconds": seconds})
        bar.set_postfix({LOSS: f"{total[LOSS]:.4g}", "s/step": f"{seconds:.2f}"}, refresh=False)
        bar.update()

    def _backward(self, batch: Any, part: int, generator: torch.Generator) -> dict[str, float]:
        """Adds the gradient of one batch; returns the loss and its parts as means over the processes."""
        accelerator = self.accelerator
        seed_global_draws(derived_seed("global", self.options.seed, self.step, part, accelerator.process_index))
        with accelerator.autocast():
            loss, parts = self.task.loss(send_to_device(batch, accelerator.device), generator)
        if LOSS in parts:
            raise ValueError(f"a part of the loss is called {LOSS!r}, which is the name of the whole")
        names, values = [*parts, LOSS], [*parts.values(), loss]
        table = torch.stack([torch.as_tensor(value, device=loss.device).detach().float() for value in values])
        by_process = gather(table[None]).tolist()
        for rank, row in enumerate(by_process):
            for name, value in zip(names, row, strict=True):
                if not math.isfinite(value):
                    number = (self.step - self.began_at) * self.options.gradient_accumulation + part
                    indices = [index for index, _ in self.batches.batch(number, rank)]
                    what = "the loss" if name == LOSS else f"the loss part {name}"
                    raise DivergedError(self._stopped(f"{what} is {value}", f"items {indices} of the training set"))
        accelerator.backward(loss.float() / self.options.gradient_accumulation)
        means = {name: sum(row[i] for row in by_process) / len(by_process) for i, name in enumerate(names)}
        return {LOSS: means[LOSS], **means}

    def _descend(self) -> tuple[float, float]:
        """One step of the optimiser and of the moving average.

        Returns:
            The gradient's norm before clipping, and the learning rate.
        """
        norm = self.learner.clip_gradient()
        if (
            not math.isfinite(norm) and self.options.precision != "float16"
        ):  # with float16 the scaler skips such a step, by design
            raise DivergedError(self._stopped(f"the gradient's length is {norm}", "all parts of the loss are finite"))
        rate = self.options.learning_rate_at(self.step)
        self.learner.descend(rate)
        return norm, rate

    def _stopped(self, what: str, where: str) -> str:
        last = last_step(self.folder)
        last_checkpoint = f"the checkpoint of step {last} is the last" if last else "there is no checkpoint yet"
        return (
            f"{what} at step {self.step + 1} ({where}); this step is not saved, {last_checkpoint}; "
            f"lower the learning rate ({self.options.learning_rate:g}), use float32, or look at these items"
        )

    def _export(self) -> None:
        """Exports the task's weights; they replace the old ones only when they are complete."""
        if not self.accelerator.is_main_process:
            return
        with whole_folder(self.folder / WEIGHTS_DIR) as part, self.learner.finished():
            self.task.export(part)

    # ---- the state

    def _save(self) -> None:
        """Exports, then writes the checkpoint. A kill in between loses steps, but the weights are never too old."""
        accelerator = self.accelerator
        self._export()
        if accelerator.is_main_process:
            state = self.learner.snapshot(
                {
                    "step": self.step,
                    "position": self.position,
                    "sums": self.means.sums,
                    "count": self.means.count,
                    "options": asdict(self.options),
                }
            )
            checkpoint.save(self.folder / CHECKPOINTS_DIR, state)
        accelerator.wait_for_everyone()

    def _resume(self) -> None:
        """Loads the newest checkpoint, if there is one, and removes everything later than it."""
        folder, accelerator = self.folder / CHECKPOINTS_DIR, self.accelerator
        state = checkpoint.load_last(folder)
        if state is not None:
            self.learner.load(state, str(folder))
            self.step, self.position = state.state["step"], state.state["position"]
            self.means.sums, self.means.count = state.state["sums"], state.state["count"]
        self.began_at = self.step
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            remove_abandoned(self.folder, is_locked=True)
            checkpoint.remove_later(folder, self.step)
            self.journal.go_back_to(self.step)
        accelerator.wait_for_everyone()


def _minutes_since(start: float) -> float:
    return (time.monotonic() - start) / 60
