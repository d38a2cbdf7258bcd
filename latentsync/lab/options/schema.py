"""The typed configuration of a run: Hydra's composition becomes frozen dataclasses that check themselves."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from latentsync.config import Options, Preset, RuntimeOptions, SamplerOptions, VideoOptions, recorded_infos
from latentsync.errors import OptionError
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.sections import read_section
from latentsync.metrics.definitions import FAMILIES
from latentsync.weights import CATALOGUE

TRACKER_KINDS = ("wandb", "none")
TRACKER_MODES = ("offline", "online")


@dataclass(frozen=True)
class DataConfig:
    """The pairs of a run: from a folder (None: the shipped clips) or from a list.

    Attributes:
        pairing: how clips and voices of a folder are matched.
        list: a CSV file of pairs, see `latentsync.lab.options.pairs.read_pairs`.
        split: use only the list's pairs of this split; None takes all.
        max_pairs: how many pairs of each gender to use, from the first on; None takes all.
    """

    input_dir: str | None = None
    pairing: str = "own"
    list: str | None = None
    split: str | None = None
    max_pairs: int | None = None

    def __post_init__(self) -> None:
        if self.list is not None and self.input_dir is not None:
            raise OptionError(f"data.list is {self.list} and data.input_dir is {self.input_dir}; give one of them")
        if self.split is not None and self.list is None:
            raise OptionError(f"data.split is {self.split} but there is no list with splits; give data.list")
        if self.max_pairs is not None and self.max_pairs < 1:
            raise OptionError(f"data.max_pairs is {self.max_pairs}; it must be at least 1, or null for all pairs")


@dataclass(frozen=True)
class ModelConfig:
    """The model of a run: a shipped one, a folder, or a published checkpoint with its configuration.

    Attributes:
        inference_ckpt_path: a file, or the name of a weight in `latentsync.weights`.
        unet_config_path: a file, or the name of one in `conf/unet`. None takes the configuration of the named weight;
            for a file it takes the published configuration that fits the tensors, at 256 px.
        vae: a file with a VAE of the SD-VAE's shape; None takes the VAE that the published networks were trained with.
        whisper: a file with the Whisper that the checkpoint was trained with; None takes the named Whisper of its
            width.
    """

    pretrained: str | None = "mini"
    inference_ckpt_path: str | None = None
    unet_config_path: str | None = None
    vae: str | None = None
    whisper: str | None = None

    def __post_init__(self) -> None:
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
    """

    families: tuple[str, ...] = ()
    controls: bool = False

    @classmethod
    def of(cls, families: Collection[str], controls: bool = False) -> "MetricsConfig":
        """Only these families."""
        return cls(tuple(name for name in FAMILIES if name in families), controls)


MetricFlags = make_dataclass("MetricFlags", [(name, bool, False) for name in (*FAMILIES, "controls")])


@lru_cache
def metric_sets() -> dict[str, tuple[str, ...]]:
    """The families of each set of metrics, from the files of conf/metrics, without empty sets."""
    flags = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((CONF_DIR / "metrics").glob("*.yaml"))}
    sets = {name: tuple(family for family in FAMILIES if wanted[family]) for name, wanted in flags.items()}
    return {name: families for name, families in sets.items() if families}


@dataclass(frozen=True)
class CacheConfig:
    """The disk space for intermediate results that cells share, in `runs_dir`/cache, in GB; 0 keeps none."""

    max_gb: float = 5.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_gb) and self.max_gb >= 0):
            raise OptionError(f"cache.max_gb is {self.max_gb}; it must be at least 0 (0 keeps nothing)")


@dataclass(frozen=True)
class TrackerConfig:
    """Where finished records are published.

    Attributes:
        timeout_s: how long a sweep waits for an online tracker, in s. The next sweep or `latentsync publish` sends the
            rest.
    """

    kind: str = "wandb"
    mode: str = "offline"
    project: str = "latentsync"
    entity: str | None = None
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        for name, allowed in (("kind", TRACKER_KINDS), ("mode", TRACKER_MODES)):
            if getattr(self, name) not in allowed:
                raise OptionError(f"tracker.{name} is {getattr(self, name)!r}; choose one of {', '.join(allowed)}")
        if not 0 < self.timeout_s < float("inf"):
            raise OptionError(f"tracker.timeout_s is {self.timeout_s}; it must be above 0 and finite")


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


def read_config(config: DictConfig) -> RunConfig:
    """The composed configuration as checked dataclasses.

    Raises:
        OptionError: a key is unknown, or a value is missing, of the wrong type or out of range.
    """
    options = Options(
        sampler=read_section(config, SamplerOptions, "sampler"),
        video=read_section(config, VideoOptions, "video"),
        runtime=read_section(config, RuntimeOptions, "runtime"),
    )
    flags = read_section(config, MetricFlags, "metrics")
    return RunConfig(
        name=sweep_dir(config).name,
        runs_dir=Path(_top_level(config, "runs_dir")),
        data=read_section(config, DataConfig, "data"),
        preset=read_section(config, Preset, "preset"),
        model=read_section(config, ModelConfig, "model"),
        options=options,
        metrics=MetricsConfig.of([name for name in FAMILIES if getattr(flags, name)], flags.controls),
        tracker=read_section(config, TrackerConfig, "tracker"),
        cache=read_section(config, CacheConfig, "cache"),
    )


def sweep_dir(config: DictConfig) -> Path:
    """The folder of a sweep's table, figures and notes: `runs_dir`/sweeps/`name`, checked.

    Raises:
        OptionError: `runs_dir` or `name` is not given, or the name would lead out of the folder.
    """
    return sweep_folder(Path(_top_level(config, "runs_dir")), plain_name(_top_level(config, "name")))


def _top_level(config: DictConfig, key: str) -> str:
    try:
        value = config[key]
    except OmegaConfBaseException as error:
        raise OptionError(f"{key}: {str(error).splitlines()[0]}") from error
    if value is None:
        raise OptionError(f"{key} is null; give a value")
    return str(value)


def sweep_folder(runs_dir: Path, name: str) -> Path:
    """The folder of a sweep's cells, table and pictures."""
    return runs_dir / "sweeps" / name


def plain_name(name: str) -> str:
    """A sweep's name, checked. It names a folder, so it must not lead out of the runs folder.

    Raises:
        OptionError: it is not a plain folder name.
    """
    if not name or name != Path(name).name or name.startswith("."):
        raise OptionError(f"name is {name!r}; give a plain folder name, without slashes and leading dots")
    return name
