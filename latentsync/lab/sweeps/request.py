"""The request of a command line: the cells of a sweep, their keys and the files that they depend on."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from latentsync.errors import OptionError
from latentsync.lab.options.compose import CellConfigs, cells_of, check_names, composed, composing
from latentsync.lab.options.pairs import read_pairs
from latentsync.lab.options.schema import plain_name, sweep_folder
from latentsync.lab.options.sources import CONFIG_NAME, ConfigSources, read_command_line
from latentsync.lab.records.store import RecordStore

PLAN_FILE = "plan.json"
RETRY_HINT = "add retry=failed to try them again"
OF_THE_IDS = ("data", "preset", "model", "sampler", "video", "runtime")
OF_THE_FILES = ("data", "model", "experiment")
INPUTS = ("input_dir", "list")  # in data
NEEDED = (*OF_THE_IDS, "metrics", "tracker", "cache", "runs_dir", "name", "retry", "plan", "preview")
OF_THE_REPORT = ("metrics", "tracker", "runs_dir", "name")
# Overrides that change no record. Cells that differ only in these are the same cell.
NOT_THE_CELLS = (
    "tracker", "launch", "hydra", "runs_dir", "name", "metrics", "runtime.device", "runtime.batch_size",
    "runtime.batch_cells", "retry", "plan", "preview", "cache",
)  # fmt: skip


def cell_overrides(overrides: Iterable[str]) -> list[str]:
    """The overrides that define a cell, sorted."""
    return sorted(o for o in overrides if not _is_beside_the_cell(o))


def cell_key(overrides: list[str]) -> str:
    """The key of a cell, which names its file."""
    return hashlib.sha256("\n".join(overrides).encode()).hexdigest()[:12]


def _is_beside_the_cell(override: str) -> bool:
    key = override.lstrip("+~").split("=")[0]
    return any(key == name or key.startswith((f"{name}.", f"{name}/")) for name in NOT_THE_CELLS)


@dataclass(frozen=True)
class SweepRequest:
    """The sweep that a command line asks for.

    Attributes:
        config: the composed configuration, without the sweep's values.
        cells: the overrides of each cell.
        is_sweep: whether Hydra runs a job for each cell.
        places: the input files of all cells, and the files, folders or weights that their models name.
        bases: one configuration for each different choice of groups among the cells, without their plain values.
        sources: the folders of the configurations.
    """

    config: DictConfig
    cells: list[list[str]]
    is_sweep: bool
    places: frozenset[str]
    bases: list[DictConfig]
    sources: ConfigSources

    @property
    def sweep_dir(self) -> Path:
        return sweep_folder(Path(str(self.config.runs_dir)), plain_name(str(self.config.name)))

    @property
    def store(self) -> RecordStore:
        return RecordStore(Path(str(self.config.runs_dir)))


@dataclass(frozen=True)
class PlannedCell:
    """A cell before it is run.

    Attributes:
        overrides: the overrides that define it.
        records: the record's id for each pair; empty if the cell cannot be planned.
        reason: why it cannot be planned.
    """

    overrides: list[str]
    records: dict[str, str] = field(default_factory=dict)
    reason: str | None = None


def read(arguments: list[str]) -> SweepRequest | None:
    """The cells that a command line asks for; None if it asks Hydra for something else, such as help.

    Raises:
        OptionError: a key, a group's choice or a value is unknown.
    """
    line = read_command_line(arguments)
    if line is None:
        return None
    with composing(sources=line.sources):
        check_names(line.overrides)
        config = composed(line.overrides)
        if missing := [key for key in NEEDED if key not in config]:
            raise OptionError(
                f"the configuration {line.sources.config_name} has no {', '.join(missing)}; begin its defaults with "
                f"{CONFIG_NAME}"
            )
        for key in ("runs_dir", "name"):
            if config[key] is None:
                raise OptionError(f"{key} is null; give a value")
        is_sweep = line.is_multirun or config.hydra.mode == RunMode.MULTIRUN
        cells, configs = list(cells_of(config, is_sweep)), CellConfigs()
        return SweepRequest(config, cells, is_sweep, places_of(cells, configs), configs.bases(cells), line.sources)


def places_of(cells: list[list[str]], configs: CellConfigs) -> frozenset[str]:
    """The input files of cells, and the files, folders or weights that their models name.

    Raises:
        MediaError: a list of pairs cannot be read.
    """
    places = set()
    for overrides in {tuple(o for o in cell if o.lstrip("+~").startswith(OF_THE_FILES)) for cell in cells}:
        config = configs.of(list(overrides))
        places |= {value for value in OmegaConf.to_container(config.model).values() if isinstance(value, str)}
        folder, pairs = (None if OmegaConf.is_missing(config.data, key) else config.data.get(key) for key in INPUTS)
        if folder is not None and Path(folder).is_dir():
            places |= {str(path) for path in Path(folder).iterdir() if path.is_file()}
        if pairs is not None:
            places |= {pairs, *(str(path) for pair in read_pairs(pairs).pairs for path in (pair.clip, pair.voice))}
    return frozenset(places)
