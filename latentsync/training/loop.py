"""One training loop for every network: a task says what is computed, the loop does the rest. Knows no faces, no Hydra.

<folder>/  checkpoints/  weights/ (as the task exports them)  log.jsonl

A killed run goes on from its last checkpoint with the same losses, step for step, as if it had not been killed (bit for
bit where the arithmetic is reproducible, as a CPU's is with one number of threads): the order of the data, every random
number and the learning rate are functions of the seed and the step, and networks, moving average and optimiser are
saved. To start from weights alone, without an optimiser's state, the task loads them and the folder is a new one.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast, gather, parse_flag_from_env, reduce, send_to_device
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from latentsync.device import memory_shortage_explained, resolve_dtype
from latentsync.errors import LatentSyncError, MemoryShortageError, OptionError, WeightsError
from latentsync.files import remove_abandoned, whole_folder
from latentsync.seeds import derived_seed, seeded_generator
from latentsync.training import checkpoint
from latentsync.training.ema import MovingAverage, trained_weights
from latentsync.training.journal import Journal, Means
from latentsync.training.options import LoopOptions
from latentsync.training.order import (
    Batches,
    global_draws_kept,
    loader,
    seed_global_draws,
    validation_batches,
)

CHECKPOINTS_DIR = "checkpoints"
WEIGHTS_DIR = "weights"
LOG_FILE = "log.jsonl"
LOCK_FILE = ".training.lock"
LOSS = "loss"  # name of the total in the log; no part may have it
VALIDATION_PREFIX = "validation/"
MIXED_PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}

Log = Callable[[int, dict[str, float]], None]
OnPictures = Callable[[int, dict[str, np.ndarray]], None]


class DivergedError(LatentSyncError):
    """A loss or a gradient is not finite."""


class Task(Protocol):
    """What is trained, and how. It keeps nothing that changes from step to step outside its networks.

    A task with frozen networks has a method `to(device)` too, which is called once. One with something that moves has a
    method `videos(batch, generator)` like `pictures`: named uint8 videos `f h w 3` of 25 frames a second.
    """

    def networks(self) -> dict[str, nn.Module]:
        """The trained networks by name; parameters without `requires_grad` stay as they are."""

    def loss(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss of a batch that is on the device, and its named parts for the log.

        Args:
            generator: on the CPU; all random numbers come from it (draw there, then move).
        """

    def validate(self, batches: Iterable, generator: torch.Generator) -> dict[str, float]:
        """Named figures of the validation set; without gradients, on averaged weights where there are such."""

    def pictures(self, batch: Any, generator: torch.Generator) -> dict[str, np.ndarray]:
        """Named uint8 pictures `h w 3` of the first validation batch."""

    def export(self, folder: Path) -> None:
        """Writes finished weights into an empty folder."""


@dataclass(frozen=True)
class TrainResult:
    """What a training came to.

    Attributes:
        step: optimiser steps made, those of earlier runs included.
        finished: False where the time limit came first; the same call goes on from there.
        started_at: step that this run began at.
        minutes: that this run took.
        weights: folder that the task exported to.
        validation: the last validation's figures; empty where there was none.
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
    """Trains a task's networks, or goes on with it where `folder` holds a checkpoint.

    On several GPUs each process that `accelerate launch` starts calls this; the first one logs, validates and writes.

    Args:
        train_set, validation_set: of items that `collate`, theirs or torch's own, makes batches of. Random parts of an
            item come from a method `sample(epoch, index)`, or else from the global generators; see `order.SeededItems`.
        folder: of this training alone.
        log: takes a step, counted from 1, and flat named values: the loss and its parts as means since the last line,
            learning_rate, gradient_norm, epoch, seconds of a step, validation/NAME.
        on_pictures, on_videos: take a step and the task's pictures or videos, at each validation.

    Raises:
        DivergedError: a loss or gradient is not finite; nothing of that step is kept.
        OptionError: an option does not go with this machine, these networks or these data, or another process trains
            in the folder.
        WeightsError: the checkpoint in the folder is of other networks.
        MemoryShortageError: the device does not hold a batch.
    """
    folder = Path(folder)
    accelerator = _accelerator(options.precision)
    for name, items in (("training", train_set), ("validation", validation_set)):
        if items is not None and not len(items):
            raise OptionError(f"the {name} set holds 0 items and needs at least 1; add clips to the data folder")
    with _folder_of_one_run(folder, accelerator), global_draws_kept(accelerator.device):
        return _Run(
            task, train_set, validation_set, options, folder, accelerator, log, on_pictures, on_videos
        ).to_the_end()


def last_step(folder: str | Path) -> int:
    """The step that training in this folder would go on from; 0 where it would begin."""
    found = checkpoint.checkpoints(Path(folder) / CHECKPOINTS_DIR)
    return checkpoint.step_of(found[-1]) if found else 0


def _accelerator(precision: str) -> Accelerator:
    """Accelerate's view of the machine.

    Raises:
        OptionError: the precision is none for this device.
    """
    resolve_dtype(precision, PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU")).device)
    AcceleratorState._reset_state()  # it is one a process, and refuses a second training in another precision
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
        self.task, self.train_set, self.validation_set = task, train_set, validation_set
        self.options, self.folder, self.accelerator = options, folder, accelerator
        self.log, self.shows = log, {"pictures": on_pictures, "videos": on_videos}
        self.step = self.position = 0  # steps made; items of the endless row that they saw
        self.means, self.journal = Means(), Journal(folder / LOG_FILE)
        self.networks = self._placed_networks()
        self.weights = trained_weights(self.networks)
        if not self.weights:
            raise OptionError("the task's networks have no weights that require gradients; nothing can be trained")
        self.ema = MovingAverage(self.networks, options.ema_decay) if options.ema_decay else None
        self.optimizer = self._make_optimizer()

    def _placed_networks(self) -> dict[str, nn.Module]:
        """The task's networks on the device in float32; the same in every process."""
        device, networks = self.accelerator.device, dict(self.task.networks())
        if hasattr(self.task, "to"):
            self.task.to(device)
        for name, network in networks.items():
            nn.Module.to(network, device=device, dtype=torch.float32)
            if self.options.gradient_checkpointing and any(weight.requires_grad for weight in network.parameters()):
                _save_activations(name, network)
        if self.accelerator.num_processes > 1:
            for tensor in checkpoint.network_tensors(networks).values():
                broadcast(tensor)
        return networks

    def _make_optimizer(self) -> torch.optim.Optimizer:
        options, device = self.options, self.accelerator.device
        optimizer = torch.optim.AdamW(
            self.weights.values(),
            lr=options.learning_rate,
            weight_decay=options.weight_decay,
            fused=device.type in ("cuda", "cpu"),
        )
        return self.accelerator.prepare(optimizer)

    # ---- from the first step to the last

    def to_the_end(self) -> TrainResult:
        """Resumes, makes the steps that are left or that the time allows, and leaves a checkpoint and weights."""
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
        if not (self.folder / WEIGHTS_DIR).is_dir():  # finished earlier, and the weights have been moved away
            self._export()
        self.accelerator.wait_for_everyone()
        return TrainResult(
            step=self.step,
            finished=self.step >= options.steps,
            started_at=began_at,
            minutes=_minutes_since(start),
            weights=self.folder / WEIGHTS_DIR,
            validation=self._last_validation(),
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
        off = None if self.accelerator.is_main_process else True  # None: off where nobody looks, as in a log file
        return tqdm(total=self.options.steps, initial=self.step, disable=off, unit="step", dynamic_ncols=True)

    def _after_step(self, out_of_time: bool) -> None:
        """Log, validation and checkpoint, where the step has them; the log first, since a resume cuts it to fit."""
        options, is_last = self.options, self.step == self.options.steps
        row = self.means.take() if is_last or self.step % options.log_every == 0 else {}
        is_due = options.validate_every and (is_last or self.step % options.validate_every == 0)
        if is_due and self.validation_set is not None:
            row |= self._validate()
        if row and self.accelerator.is_main_process:
            self.journal.write(self.step, row)
            self.log(self.step, row)
        if is_last or out_of_time or self.step % options.save_every == 0:
            self._save()

    def _agreed(self, is_wanted: bool) -> bool:
        """Whether any process wants it; all get the same answer."""
        if self.accelerator.num_processes == 1:
            return is_wanted
        return bool(reduce(torch.tensor(float(is_wanted), device=self.accelerator.device), "sum").item())

    # ---- one step

    def _make_step(self, micro_batches: Iterator, bar: tqdm) -> None:
        """Loss and gradient of the step's batches, then one step of the optimiser; counts it."""
        options, began = self.options, time.perf_counter()
        generator = seeded_generator("step", options.seed, self.step, self.accelerator.process_index)
        for network in self.networks.values():
            network.train()
        total: dict[str, float] = {}
        with _out_of_memory_explained(f"a training step of {options.batch_size} items", options):
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
        """Adds the gradient of one batch; the loss and its parts as means over the processes."""
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
            The gradient's length before it is cut, and the learning rate.
        """
        options, accelerator = self.options, self.accelerator
        self._average_gradients()
        norm = accelerator.clip_grad_norm_(self.weights.values(), options.max_grad_norm or math.inf).item()
        if not math.isfinite(norm) and options.precision != "float16":  # there the scaler skips the step, by design
            raise DivergedError(self._stopped(f"the gradient's length is {norm}", "all parts of the loss are finite"))
        rate = options.learning_rate_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update()
        return norm, rate

    def _average_gradients(self) -> None:
        """The mean gradient over the processes.

        Done here and not by DistributedDataParallel, which hooks into a network's `forward` only: a task may call
        `vae.encode` or two networks in turn.
        """
        if self.accelerator.num_processes == 1:
            return
        for weight in self.weights.values():
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            weight.grad = reduce(gradient, "mean")

    def _stopped(self, what: str, where: str) -> str:
        last = last_step(self.folder)
        kept = f"the checkpoint of step {last} is the last" if last else "there is no checkpoint yet"
        return (
            f"{what} at step {self.step + 1} ({where}); nothing of this step is kept, {kept}; "
            f"lower the learning rate ({self.options.learning_rate:g}), use float32, or look at these items"
        )

    # ---- validation and weights

    @contextmanager
    def _finished_weights(self) -> Iterator[None]:
        """Inside the block the networks are as they will be used: averaged, without dropout and gradients."""
        swapped: AbstractContextManager = nullcontext() if self.ema is None else self.ema.swapped_in()
        for network in self.networks.values():
            network.eval()
        with swapped, torch.no_grad():
            yield

    def _validate(self) -> dict[str, float]:
        """The task's figures, pictures and videos; random numbers are the same at every validation."""
        figures: dict[str, float] = {}
        if self.accelerator.is_main_process:
            seed = self.options.seed
            what = f"a validation batch of {self.options.batch_size} items"
            explained = _out_of_memory_explained(what, self.options)
            with self._finished_weights(), self.accelerator.autocast(), explained:
                seed_global_draws(derived_seed("validation", seed))
                figures = self.task.validate(self._validation_loader(), seeded_generator("validation", seed))
                shown = [name for name, show in self.shows.items() if show is not None and hasattr(self.task, name)]
                first = next(iter(self._validation_loader(only_first=True))) if shown else None
                for name in shown:
                    self.shows[name](self.step, getattr(self.task, name)(first, seeded_generator(name, seed)))
        self.accelerator.wait_for_everyone()
        return {f"{VALIDATION_PREFIX}{name}": float(value) for name, value in figures.items()}

    def _validation_loader(self, only_first: bool = False) -> Iterator:
        options = self.options
        batches = validation_batches(len(self.validation_set), options.batch_size, options.validation_items)
        workers = 0 if only_first else options.num_workers
        pin = self.accelerator.device.type == "cuda"
        for batch in loader(self.validation_set, batches[: 1 if only_first else None], options.seed, workers, pin):
            yield send_to_device(batch, self.accelerator.device)

    def _last_validation(self) -> dict[str, float]:
        for row in reversed(self.journal.rows()):
            found = {k.removeprefix(VALIDATION_PREFIX): v for k, v in row.items() if k.startswith(VALIDATION_PREFIX)}
            if found:
                return found
        return {}

    def _export(self) -> None:
        """The task's weights under their final name; they are exchanged only when the new ones are whole."""
        if not self.accelerator.is_main_process:
            return
        with whole_folder(self.folder / WEIGHTS_DIR) as part, self._finished_weights():
            self.task.export(part)

    # ---- the state

    def _save(self) -> None:
        """Exports, then writes the checkpoint: a kill in between costs steps, but leaves no older weights behind."""
        accelerator = self.accelerator
        self._export()
        if accelerator.is_main_process:
            state = checkpoint.State(
                networks=checkpoint.network_tensors(self.networks),
                ema=None if self.ema is None else self.ema.state_dict(),
                optimizer={
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": None if accelerator.scaler is None else accelerator.scaler.state_dict(),
                },
                state={
                    "step": self.step,
                    "position": self.position,
                    "sums": self.means.sums,
                    "count": self.means.count,
                    "options": asdict(self.options),
                },
            )
            checkpoint.save(self.folder / CHECKPOINTS_DIR, state)
        accelerator.wait_for_everyone()

    def _resume(self) -> None:
        """Takes up the newest checkpoint, where there is one; what is later than it goes."""
        folder, accelerator = self.folder / CHECKPOINTS_DIR, self.accelerator
        state = checkpoint.load_last(folder)
        if state is not None:
            self._take_up(state, str(folder))
        self.began_at = self.step
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            remove_abandoned(self.folder, is_locked=True)
            checkpoint.remove_later(folder, self.step)
            self.journal.go_back_to(self.step)
        accelerator.wait_for_everyone()

    def _take_up(self, state: checkpoint.State, source: str) -> None:
        checkpoint.load_networks(self.networks, state.networks, source)
        if self.ema is not None and state.ema is not None:
            self.ema.load_state_dict(state.ema)
        elif self.ema is not None:  # it was off until now: the average starts from these weights
            self.ema = MovingAverage(self.networks, self.options.ema_decay)
        try:
            self.optimizer.load_state_dict(state.optimizer["optimizer"])
        except ValueError as error:
            raise WeightsError(
                f"{source} was trained with other weights frozen ({error}); train these in a folder of their own"
            ) from error
        for group in self.optimizer.param_groups:  # the options of now hold
            group["weight_decay"] = self.options.weight_decay
        if self.accelerator.scaler is not None and state.optimizer["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state.optimizer["scaler"])
        self.step, self.position = state.state["step"], state.state["position"]
        self.means.sums, self.means.count = state.state["sums"], state.state["count"]


def _save_activations(name: str, network: nn.Module) -> None:
    try:
        network.enable_gradient_checkpointing()
    except (AttributeError, ValueError) as error:
        raise OptionError(
            f"gradient_checkpointing is on, and the network {name} cannot do it; set loop.gradient_checkpointing=false"
        ) from error


@contextmanager
def _out_of_memory_explained(what: str, options: LoopOptions) -> Iterator[None]:
    try:
        with memory_shortage_explained(what):
            yield
    except MemoryShortageError as error:
        fewer = max(1, options.batch_size // 2)
        more = options.gradient_accumulation * math.ceil(options.batch_size / fewer)
        raise MemoryShortageError(
            f"the memory does not hold {what}; use loop.batch_size={fewer} with loop.gradient_accumulation={more}, "
            f"loop.gradient_checkpointing=true or loop.precision=bfloat16"
        ) from error


def _minutes_since(start: float) -> float:
    return (time.monotonic() - start) / 60
