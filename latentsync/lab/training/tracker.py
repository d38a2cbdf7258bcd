"""The Weights & Biases run of a training."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.lab.console import warn
from latentsync.lab.tracking.wandb_run import begin_run, end_service
from latentsync.lab.training.options import TrainConfig
from latentsync.training.loop import last_step


class TrainingTracker:
    """A Weights & Biases run for each start of a training, grouped by its name. Errors of W&B do not stop a training.

    Each start needs its own run: W&B accepts each step only once, and after a kill some logged steps are made again.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._run = None
        if "wandb" in config.tracker.names:
            self._try(lambda: self._begin(config))

    def _begin(self, config: TrainConfig) -> None:
        self._run = begin_run(
            config.tracker,
            Path(config.runs_dir),
            name=f"{config.name} from step {last_step(config.folder)}",
            group=config.name,
            job_type="train",
            tags=[config.kind],
            config=asdict(config),
        )

    def _try(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # a tracker may raise anything; the training goes on
            self._run = None
            warn(f"the tracker stopped, {type(error).__name__}: {error}; the folder has everything")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Logs the values of a step."""
        if self._run is not None:
            self._try(lambda: self._run.log(dict(values), step=step))

    def log_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Logs pictures (uint8, h w 3) of a step."""
        if self._run is not None:
            self._try(lambda: self._run.log(_wandb_images(pictures), step=step))

    def log_videos(self, step: int, files: Mapping[str, Path]) -> None:
        """Logs video files of a step."""
        if self._run is not None:
            self._try(lambda: self._run.log(_wandb_videos(files), step=step))

    def close(self) -> None:
        """Ends the run; its files are written when this returns."""
        if self._run is not None:
            self._try(self._end)

    def _end(self) -> None:
        self._run.finish()
        end_service()


def _wandb_images(pictures: Mapping[str, np.ndarray]) -> dict[str, Any]:
    import wandb

    return {f"pictures/{name}": wandb.Image(picture) for name, picture in pictures.items()}


def _wandb_videos(files: Mapping[str, Path]) -> dict[str, Any]:
    import wandb

    return {f"videos/{name}": wandb.Video(str(path), format="mp4") for name, path in files.items()}
