"""The options of a training, composed by Hydra and checked."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.types import RunMode
from omegaconf import MISSING as NOT_GIVEN
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from latentsync.errors import MediaError, OptionError
from latentsync.lab.options.cells import CellConfigs
from latentsync.lab.options.compose import (
    Root,
    cells_of,
    check_names,
    check_sections,
    composed,
    composing,
    refuse_several_values,
)
from latentsync.lab.options.folders import plain_name
from latentsync.lab.options.literal import literal, text_keys
from latentsync.lab.options.presence import require_folder_to_write, require_model_folder
from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.options.sources import read_command_line
from latentsync.training.options import LoopOptions

KINDS = ("vae", "syncnet", "unet_stage1", "unet_stage2", "unet_distill")
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
        plain_name(self.name)
        if others := [name for name in self.tracker.names if name != "wandb"]:
            raise OptionError(
                f"a training reports to wandb alone, not to {', '.join(others)}; give tracker=wandb_offline or none"
            )

    @property
    def folder(self) -> Path:
        return Path(self.runs_dir) / "training" / self.name


def read_config(config: DictConfig) -> TrainConfig:
    """The composed configuration as checked dataclasses.

    Raises:
        OptionError: a key is unknown, or a value is missing, of the wrong type or out of range.
    """
    schema = OmegaConf.structured(TrainConfig)
    for section in (schema, schema.loop, schema.tracker):
        OmegaConf.set_readonly(section, False)
    try:
        for key in sorted(OmegaConf.missing_keys(config)):
            raise OptionError(f"{key} is not given; add {key}=VALUE")
        return OmegaConf.to_object(OmegaConf.merge(schema, config))
    except OmegaConfBaseException as error:
        raise OptionError(f"{error.full_key or error.key}: {str(error).splitlines()[0]}") from error


TRAIN = Root(
    command="train",
    config_name="train_config",
    keys=frozenset(
        f"{section}{one.name}"
        for section, kind in (("", TrainConfig), ("loop.", LoopOptions), ("tracker.", TrackerConfig))
        for one in fields(kind)
    ),
    texts=text_keys({"": TrainConfig, "tracker": TrackerConfig}.items()),
    free=("task", "hydra"),
    required=("train",),
)


def configure(overrides: list[str]) -> TrainConfig:
    """The configuration composed from the command line and `conf/`.

    Raises:
        OptionError: an override is unknown, missing or out of range.
    """
    overrides = literal(overrides, TRAIN.texts)
    with composing(root=TRAIN):
        check_names(overrides, TRAIN)
        config = compose(TRAIN.config_name, overrides=overrides)
    return read_config(config)


def check_request(arguments: list[str]) -> None:
    """Refuses a wrong command line of `latentsync train`, before anything is stored.

    Raises:
        LatentSyncError: a key, a choice or a value is wrong in one of its trainings, or a folder is missing.
    """
    line = read_command_line(arguments, TRAIN.config_name)
    with composing(line.sources, TRAIN):
        check_names(line.overrides, TRAIN)
        if line.only_shows:
            refuse_several_values(line.overrides, "one configuration is shown; give one")
            return
        config = composed(line.overrides)
        is_sweep = line.is_multirun or config.hydra.mode == RunMode.MULTIRUN
        if not is_sweep:
            refuse_several_values(line.overrides, "-m is not given; add -m to train with each")
        configs, trainings = CellConfigs(), []
        for cell in cells_of(config, is_sweep):
            composition = configs.of(cell)
            check_sections(composition, TRAIN)
            trainings.append(read_config(composition))
    for training in trainings:
        require_folder_to_write("runs_dir", Path(training.runs_dir))
        if not Path(training.data_dir).is_dir():
            raise MediaError(f"there is no folder at {training.data_dir}; give one that latentsync prepare wrote")
        require_model_folder("model_dir", training.model_dir)
