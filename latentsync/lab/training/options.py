"""The options of a training, composed by Hydra and checked."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import MISSING as NOT_GIVEN
from omegaconf import DictConfig

from latentsync.errors import OptionError
from latentsync.lab.options.compose import composing
from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.options.sections import read_section
from latentsync.training.options import LoopOptions

KINDS = ("vae", "syncnet", "unet_stage1", "unet_stage2")
FIXED = ("kind", "model_dir", "task")  # options that must not change when a training continues


@dataclass(frozen=True)
class TrainConfig:
    """All options of `latentsync train`.

    Attributes:
        kind: the network or stage to train.
        task: the task's own keys; the task checks them.
    """

    kind: str = NOT_GIVEN
    data_dir: str = NOT_GIVEN
    model_dir: str = "mini"
    runs_dir: str = "runs"
    name: str = NOT_GIVEN
    loop: LoopOptions = field(default_factory=LoopOptions)
    task: dict[str, Any] = field(default_factory=dict)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise OptionError(f"kind is {self.kind!r}; choose one of {', '.join(KINDS)}")
        if not self.name or self.name != Path(self.name).name or self.name.startswith("."):
            raise OptionError(f"name is {self.name!r}; give a plain folder name, without slashes and leading dots")

    @property
    def folder(self) -> Path:
        return Path(self.runs_dir) / "training" / self.name


def read_config(config: DictConfig) -> TrainConfig:
    """The composed configuration as checked dataclasses.

    Raises:
        OptionError: a key is unknown, or a value is missing, of the wrong type or out of range.
    """
    return read_section(config, TrainConfig)


def configure(overrides: list[str]) -> TrainConfig:
    """The configuration composed from the command line and `conf/`.

    Raises:
        OptionError: an override is unknown, missing or out of range.
    """
    with composing("train"):
        composed = compose("train_config", overrides=overrides)
    return read_config(composed)
