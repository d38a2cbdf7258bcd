"""The typed configuration of a run: Hydra's composition becomes frozen dataclasses that check themselves."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from latentsync.config import SECTIONS as OPTION_SECTIONS
from latentsync.config import Options, RuntimeOptions, SamplerOptions, VideoOptions, recorded_infos
from latentsync.errors import OptionError, did_you_mean
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.folders import plain_name, sweep_folder
from latentsync.lab.options.gate import Gate
from latentsync.lab.options.typed import GENERAL, section_of, values_of
from latentsync.metrics.definitions import DEFINITIONS, FAMILIES, FAMILY_TEXTS, base_name
from latentsync.names import named_text
from latentsync.option import option, section_infos
from latentsync.plugins import TRACKERS_GROUP, beside
from latentsync.presets import Preset
from latentsync.weights import CATALOGUE

TRACKER_MODES = ("offline", "online")
TRACKERS = ("wandb", "csv", "tensorboard", "trackio")
OPTIONAL_TRACKERS = ("tensorboard", "trackio")  # whose packages are extras of the same names
PAIRINGS = ("all", "own", "other", "silent")
LONGEST_CONSENT = 1000  # characters


def _check(section: Any, name: str = "") -> None:
    for info in section_infos(type(section)):
        info.check(getattr(section, info.name), f"{name}{info.name}")


def is_metric(name: str) -> bool:
    """Whether records may have a number of this name."""
    return name == "seconds" or base_name(name) in DEFINITIONS


def _take_paths(section: Any, names: Collection[str]) -> None:
    """Replaces paths by those that they mean, see `latentsync.names.named_path`."""
    for name in names:
        if (path := getattr(section, name)) is not None:
            object.__setattr__(section, name, named_text(path))


@dataclass(frozen=True)
class GeneralOptions:
    """What is done, and where it is written."""

    name: str = option("default", "name of the sweep: runs_dir/sweeps/NAME has its table, figure and videos.")
    runs_dir: str = option("runs", "the folder below which everything is written: records, sweeps and the cache.")
    plan: bool = option(
        False, "only lists which records exist and which will be made, and estimates time and disk space."
    )
    preview: bool = option(False, "only shows one window of each cell, as runs_dir/sweeps/NAME/preview.png.")
    retry: str | None = option(
        None, "the failures of earlier runs of the sweep. Open: they are skipped; failed: they are tried again.",
        choices=("failed",), is_open=True,
    )  # fmt: skip
    objective: str | None = option(
        None,
        "a metric or seconds. Each cell reports its mean over the pairs, by which a sweeper such as Optuna searches.",
    )

    def __post_init__(self) -> None:
        _check(self)
        plain_name(self.name)
        if not self.runs_dir:
            raise OptionError("runs_dir is empty; give a folder")

        if self.objective is not None and not is_metric(self.objective):
            names = [*DEFINITIONS, *(f"{name}_minus_real" for name in DEFINITIONS), "seconds"]
            raise OptionError(f"objective {self.objective!r} is no metric; {did_you_mean(self.objective, names)}")

    @property
    def sweep_dir(self) -> Path:
        """The folder of the sweep's table, figures and notes."""
        return sweep_folder(Path(self.runs_dir), self.name)


@dataclass(frozen=True)
class DataConfig:
    """The pairs of clips and voices."""

    input_dir: str | None = option(None, "a folder of clips and voices. Open: the two clips that are shipped.")
    pairing: str = option(
        "own",
        "how clips and voices of a folder are matched. own: files of the same name; all: every voice with every clip "
        "of its gender (the default of data=folder); other: each clip with one voice that is not its own, if there is "
        "one of its gender; silent: each clip with a minute of silence.",
        choices=PAIRINGS,
    )
    list: str | None = option(
        None,
        "a CSV file with the columns clip and voice (paths relative to it), and gender, group, split, name, face if "
        "wanted.",
    )
    split: str | None = option(None, "takes only the list's pairs of this split. Open: all.")
    max_pairs: int | None = option(
        None, "at most this many pairs of each gender, the first ones. Open: all.", whole=True, least=1, is_open=True,
        unit="pairs",
    )  # fmt: skip
    consent: str | None = option(
        None,
        "what the people in the clips agreed to, in your words; records, sidecars and the videos' metadata keep it.",
    )
    voice_track: int | None = option(
        None, "which sound track of every voice's file is the voice, counted from 0. Open: video.voice_track.",
        whole=True, least=0, is_open=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        _check(self, "data.")
        _take_paths(self, ("input_dir", "list"))
        if self.consent is not None:
            _check_consent(self.consent)
        if self.list is not None and self.input_dir is not None:
            raise OptionError(f"data.list is {self.list} and data.input_dir is {self.input_dir}; give one of them")
        if self.split is not None and self.list is None:
            raise OptionError(f"data.split is {self.split} but there is no list with splits; give data.list")


def _check_consent(text: str) -> None:
    """Refuses a consent that a video's metadata cannot hold."""
    if not text.strip() or len(text) > LONGEST_CONSENT or not text.isprintable():
        raise OptionError(
            f"data.consent is {text[:60]!r}; it must be one line of 1 to {LONGEST_CONSENT} characters, or null"
        )


@dataclass(frozen=True)
class ModelConfig:
    """The model: an embedded one, a folder, or a published checkpoint with its configuration."""

    pretrained: str | None = option(
        "mini", "an embedded model, or a folder in the diffusers layout; null where inference_ckpt_path is given."
    )
    inference_ckpt_path: str | None = option(
        None, "a published UNet: a file, or a name that `latentsync weights` lists.",
        source="the original's --inference_ckpt_path",
    )  # fmt: skip
    unet_config_path: str | None = option(
        None,
        "its configuration: a file, or a name in conf/unet. Open: the one of the named weight; for a file, the "
        "published one that fits the tensors, at 256 px.",
        source="the original's --unet_config_path",
    )
    vae: str | None = option(
        None, "a file with a VAE of the SD-VAE's shape. Open: the VAE that the published networks were trained with."
    )
    whisper: str | None = option(
        None, "a file with the Whisper of the checkpoint. Open: the published Whisper of its width."
    )

    def __post_init__(self) -> None:
        _take_paths(self, ("pretrained", "inference_ckpt_path", "unet_config_path", "vae", "whisper"))
        if (self.pretrained is None) == (self.inference_ckpt_path is None):
            raise OptionError(
                f"model.pretrained is {self.pretrained} and model.inference_ckpt_path is {self.inference_ckpt_path}; "
                f"give exactly one of them"
            )
        for name in ("unet_config_path", "vae", "whisper"):
            if self.pretrained is not None and getattr(self, name) is not None:
                raise OptionError(f"model.{name} needs model.inference_ckpt_path; {self.pretrained} has its own")

    @property
    def unet_config_file(self) -> Path | None:
        """The file of the UNet's configuration; None where it must be read from the checkpoint's tensors."""
        name = self.unet_config_path
        if name is None and self.inference_ckpt_path in CATALOGUE:
            name = CATALOGUE[self.inference_ckpt_path].unet_config
        if not name:
            return None
        named = CONF_DIR / "unet" / f"{name}.yaml"
        return named if named.is_file() else Path(name)


@dataclass(frozen=True)
class MetricsConfig:
    """The families of metrics that are computed for each record; see `latentsync.metrics.definitions`.

    Attributes:
        families: their names, in the order of `FAMILIES`.
        controls: whether to measure sync also with a shuffled and a delayed voice.
        gate: the bounds that a record must reach.
    """

    families: tuple[str, ...] = ()
    controls: bool = False
    gate: Gate = field(default_factory=Gate)

    def __post_init__(self) -> None:
        self.gate.require_measured(self.families)

    @classmethod
    def of(
        cls, families: Collection[str], controls: bool = False, gate: Mapping[str, float] | None = None
    ) -> "MetricsConfig":
        """Only these families, and bounds of metrics; errors as for `Gate`."""
        return cls(tuple(name for name in FAMILIES if name in families), controls, Gate.of(gate))


_CONTROLS = option(False, "measures sync also with a shuffled and a delayed voice.")
_GATE = option(
    None,
    "bounds that metrics must reach, such as {sync_mini_confidence: 0.3}; the table says which records pass, and the "
    "run ends with status 3 if one does not. Open: none.",
)
MetricFlags = make_dataclass(
    "MetricFlags",
    [
        *((name, bool, option(False, FAMILY_TEXTS[name])) for name in FAMILIES),
        ("controls", bool, _CONTROLS),
        ("gate", dict[str, float] | None, _GATE),
    ],
)
MetricFlags.__doc__ = "The families of metrics that are measured; docs/metrics.md defines each metric."


@lru_cache
def metric_sets() -> dict[str, tuple[str, ...]]:
    """The families of each set of metrics, from the files of conf/metrics, without empty sets."""
    flags = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((CONF_DIR / "metrics").glob("*.yaml"))}
    sets = {name: tuple(family for family in FAMILIES if wanted.get(family)) for name, wanted in flags.items()}
    return {name: families for name, families in sets.items() if families}


@dataclass(frozen=True)
class CacheConfig:
    """Intermediate results that cells share, in runs_dir/cache."""

    max_gb: float = option(
        5.0, "the disk space that they may take; 0 keeps none.", least=0, hint="0 keeps nothing", unit="GB"
    )

    def __post_init__(self) -> None:
        _check(self, "cache.")


@dataclass(frozen=True)
class TrackerConfig:
    """Where finished records are published. `tracker=[csv,tensorboard]` switches on several trackers."""

    wandb: bool = option(False, "Weights & Biases.")
    csv: bool = option(False, "one CSV file for each sweep, in runs_dir/csv.")
    tensorboard: bool = option(False, "TensorBoard's event files, in runs_dir/tensorboard.")
    trackio: bool = option(False, "trackio's local database, in runs_dir/trackio; it needs no account.")
    plugin: str | None = option(
        None, "a tracker of an installed package, see docs/extension. Open: none.", plugins=TRACKERS_GROUP
    )
    mode: str | None = option(
        None, "of W&B: offline writes below runs_dir/wandb, online sends. Open: WANDB_MODE, else offline.",
        choices=TRACKER_MODES, is_open=True,
    )  # fmt: skip
    project: str | None = option(None, "the project. Open: WANDB_PROJECT, else latentsync.")
    entity: str | None = option(None, "the user or team in W&B. Open: WANDB_ENTITY, else the account's default.")
    timeout_s: float = option(
        120.0,
        "how long a sweep waits at its end for a server or the code of another package, above 0; the next sweep or "
        "`latentsync publish` sends the rest.",
        unit="s",
    )

    def __post_init__(self) -> None:
        _check(self, "tracker.")
        if not 0 < self.timeout_s < float("inf"):
            raise OptionError(f"tracker.timeout_s is {self.timeout_s}; it must be above 0 and finite")
        for name in OPTIONAL_TRACKERS:
            if getattr(self, name) and find_spec(name) is None:
                raise OptionError(f"tracker={name} needs the package {name}; pip install 'latentsync-lab[{name}]'")
        if self.plugin is not None and self.plugin not in (known := beside(TRACKERS_GROUP, TRACKERS)):
            have = f"choose one of {', '.join(known)}" if known else "no installed package brings a tracker"
            raise OptionError(f"tracker.plugin {self.plugin!r} is unknown; {have}")

    @property
    def names(self) -> tuple[str, ...]:
        """The trackers that are switched on. `WANDB_MODE=disabled` switches W&B off where the mode is open."""
        is_off = self.mode is None and os.environ.get("WANDB_MODE") == "disabled"
        names = [name for name in TRACKERS if getattr(self, name) and not (name == "wandb" and is_off)]
        return (*names, *([] if self.plugin is None else [self.plugin]))

    def only(self, name: str) -> "TrackerConfig":
        """The same with one of its trackers."""
        flags = {each: each == name for each in TRACKERS}
        return replace(self, **flags, plugin=None if name in TRACKERS else name)

    @property
    def wandb_mode(self) -> str:
        """The mode of W&B: the given one, else that of `WANDB_MODE`, else offline."""
        if self.mode is not None:
            return self.mode
        named = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline"}
        return named.get(os.environ.get("WANDB_MODE", ""), "offline")

    @property
    def project_name(self) -> str:
        """The project: the given one, else that of `WANDB_PROJECT`, else latentsync."""
        return self.project or os.environ.get("WANDB_PROJECT") or "latentsync"

    @property
    def only_name(self) -> str:
        """The name of the one tracker that is switched on, which names its folder, too."""
        (name,) = self.names
        return name

    def is_remote(self, name: str) -> bool:
        """Whether a tracker may not have all that was published: a server, or the code of another package."""
        return name not in TRACKERS or (name == "wandb" and self.wandb_mode == "online")

    def is_apart(self, name: str) -> bool:
        """Whether a tracker publishes in a process of its own, since it may hang or end its process."""
        return name in OPTIONAL_TRACKERS or self.is_remote(name)


@dataclass(frozen=True)
class LaunchOptions:
    """Several cells at once: on this machine (launch=local), or as tasks of a SLURM array (launch=slurm)."""

    n: int = option(2, "cells at once (launch=slurm: 8).", whole=True, least=1, unit="cells")
    partition: str | None = option(None, "SLURM's partition. Open: the cluster's default.")
    gpus: int | None = option(1, "GPUs of each SLURM task; null: none.", whole=True, least=0, is_open=True, unit="GPUs")
    cpus: int | None = option(4, "cores of each SLURM task.", whole=True, least=1, unit="cores")
    mem_gb: float | None = option(
        32, "memory of each SLURM task. Null: the cluster's default.", least=1, is_open=True, unit="GB"
    )
    timeout_min: int | None = option(240, "time limit of each SLURM task.", whole=True, least=1, unit="min")

    def __post_init__(self) -> None:
        _check(self, "launch.")


@dataclass(frozen=True)
class RunConfig:
    """One cell: all options of `latentsync run`."""

    name: str
    runs_dir: Path
    data: DataConfig
    preset: Preset
    model: ModelConfig
    options: Options
    metrics: MetricsConfig
    tracker: TrackerConfig
    cache: CacheConfig = field(default_factory=CacheConfig)

    @property
    def sweep_dir(self) -> Path:
        """The folder of the sweep's table, figures and notes."""
        return sweep_folder(self.runs_dir, self.name)


def options_like(known: Mapping[str, Any], runtime: RuntimeOptions) -> Options:
    """The options of a record, or of a row of a table. Missing ones get the value in effect before they existed.

    Args:
        known: values by name, as in records and tables, with `size_px` and `dtype`.
        runtime: where to run.

    Raises:
        OptionError: a value is out of range.
    """
    infos = recorded_infos()
    values = {name: info.value(known.get(name, info.record_default)) for name, info in infos.items()}
    values = {name: value for name, value in values.items() if value is not None}
    size_px = values.pop("size_px")
    sampler, video = (
        {one.name: values[one.name] for one in fields(kind) if one.name in values}
        for kind in (SamplerOptions, VideoOptions)
    )
    place = {name: values[name] for name in ("dtype", "attention") if name in values}
    return Options(
        sampler=SamplerOptions(**sampler),
        video=VideoOptions(**video, width=size_px, height=size_px),
        runtime=replace(runtime, **place),
    )


SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "preset": Preset,
    "model": ModelConfig,
    **OPTION_SECTIONS,
    "metrics": MetricFlags,
    "tracker": TrackerConfig,
    "cache": CacheConfig,
    "launch": LaunchOptions,
}
OPTIONAL = ("launch",)  # sections that a configuration may lack
KINDS: dict[str, type] = {GENERAL: GeneralOptions, **SECTIONS}


def read_config(config: DictConfig) -> RunConfig:
    """The composed configuration as checked dataclasses.

    Raises:
        OptionError: a key is unknown, or a value is missing, of the wrong type or out of range.
    """
    return run_config({name: section_of(name, KINDS[name], values) for name, values in all_values(config).items()})


def all_values(config: DictConfig) -> dict[str, dict[str, Any]]:
    """The values of every section of a composed configuration, in the types of its options.

    Raises:
        OptionError: a key is unknown, or a value is of the wrong type.
    """
    names = [name for name in KINDS if name not in OPTIONAL or name in config]
    return {name: values_of(config, name, KINDS[name]) for name in names}


def run_config(sections: Mapping[str, Any]) -> RunConfig:
    """The configuration of a run from its checked sections, by name; see `KINDS`."""
    general, flags = sections[GENERAL], sections["metrics"]
    return RunConfig(
        name=general.name,
        runs_dir=Path(general.runs_dir),
        options=Options(**{name: sections[name] for name in OPTION_SECTIONS}),
        metrics=MetricsConfig.of([name for name in FAMILIES if getattr(flags, name)], flags.controls, flags.gate),
        **{name: sections[name] for name in ("data", "preset", "model", "tracker", "cache")},
    )


def general_options(config: DictConfig) -> GeneralOptions:
    """The checked options of a composed configuration that belong to no section.

    Raises:
        OptionError: one is missing, of the wrong type or out of range.
    """
    return section_of(GENERAL, GeneralOptions, values_of(config, GENERAL, GeneralOptions))


def sweep_dir(config: DictConfig) -> Path:
    """The folder of a sweep's table, figures and notes: `runs_dir`/sweeps/`name`, checked.

    Raises:
        OptionError: `runs_dir` or `name` is not given, or the name would lead out of the folder.
    """
    return general_options(config).sweep_dir
