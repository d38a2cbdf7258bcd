"""A task's output for the validation set: figures for the log, pictures and videos."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch.utils.data import Dataset

from latentsync.seeds import derived_seed, seeded_generator
from latentsync.training.journal import Journal
from latentsync.training.learner import Learner
from latentsync.training.options import LoopOptions
from latentsync.training.order import loader, seed_global_draws, validation_batches
from latentsync.training.shortage import shortage_explained
from latentsync.training.task import Task

PREFIX = "validation/"  # of the figures in the log

OnPictures = Callable[[int, dict[str, np.ndarray]], None]


class Validation:
    """A task's validation set; only the first process validates.

    Random numbers are the same at every validation, so that the figures are comparable.

    Args:
        shows: by the name of the task's method ("pictures" or "videos"), a function that is called with a step and the
            method's output; None does not call the method.
    """

    def __init__(
        self,
        task: Task,
        items: Dataset,
        options: LoopOptions,
        accelerator: Accelerator,
        shows: Mapping[str, OnPictures | None],
    ) -> None:
        self.task, self.items, self.options, self.accelerator = task, items, options, accelerator
        self.shows = {name: show for name, show in shows.items() if show is not None and hasattr(task, name)}

    def figures(self, step: int, learner: Learner) -> dict[str, float]:
        """The task's figures under their names in the log; also shows pictures and videos. Empty in other processes."""
        figures: dict[str, float] = {}
        if self.accelerator.is_main_process:
            seed = self.options.seed
            explained = shortage_explained(f"a validation batch of {self.options.batch_size} items", self.options)
            with learner.finished(), self.accelerator.autocast(), explained:
                seed_global_draws(derived_seed("validation", seed))
                figures = self.task.validate(self._batches(), seeded_generator("validation", seed))
                first = next(iter(self._batches(only_first=True))) if self.shows else None
                for name, show in self.shows.items():
                    show(step, getattr(self.task, name)(first, seeded_generator(name, seed)))
        self.accelerator.wait_for_everyone()
        return {f"{PREFIX}{name}": float(value) for name, value in figures.items()}

    def _batches(self, only_first: bool = False) -> Iterator:
        options = self.options
        batches = validation_batches(len(self.items), options.batch_size, options.validation_items)
        workers = 0 if only_first else options.num_workers
        pin = self.accelerator.device.type == "cuda"
        for batch in loader(self.items, batches[: 1 if only_first else None], options.seed, workers, pin):
            yield send_to_device(batch, self.accelerator.device)


def last_figures(journal: Journal) -> dict[str, float]:
    """The figures of the last validation in a log, by the task's own names; empty if there was none."""
    for row in reversed(journal.rows()):
        figures = {key.removeprefix(PREFIX): value for key, value in row.items() if key.startswith(PREFIX)}
        if figures:
            return figures
    return {}
