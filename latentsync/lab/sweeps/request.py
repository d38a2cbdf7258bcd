"""The request of a command line: the cells of a sweep, their keys and the files that they depend on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig

from latentsync.errors import OptionError
from latentsync.lab.options.cells import CellConfigs
from latentsync.lab.options.compose import (
    cells_of,
    check_names,
    check_sections,
    composed,
    composing,
    is_listed,
    parsed,
    refuse_search,
    refuse_several_values,
)
from latentsync.lab.options.pairs import pairs_of, read_pairs
from latentsync.lab.options.presence import require_folder_to_write, require_model
from latentsync.lab.options.schema import GeneralOptions, RunConfig, general_options
from latentsync.lab.options.sources import CONFIG_NAME, read_command_line
from latentsync.lab.records.store import RecordStore
from latentsync.lab.records.sweeps import FAILED, note_fault
from latentsync.option import section_infos

OF_THE_IDS = ("data", "preset", "model", "sampler", "video", "runtime")
ONCE = tuple(info.name for info in section_infos(GeneralOptions))  # options of the whole sweep
NEEDED = (*OF_THE_IDS, "metrics", "tracker", "cache", "runs_dir", "name", "retry", "plan", "preview")
OF_THE_REPORT = ("metrics", "tracker", "runs_dir", "name")
# Overrides that change no record. Cells that differ only in these are the same cell.
NOT_THE_CELLS = (
    "tracker", "launch", "hydra", "runs_dir", "name", "metrics", "runtime.device", "runtime.batch_size",
    "runtime.batch_cells", "runtime.memory", "runtime.durable", "runtime.isolate_decoding", "retry", "plan", "preview",
    "cache", "data.consent",
)  # fmt: skip


def cell_overrides(overrides: Iterable[str]) -> list[str]:
    """The overrides that define a cell, sorted."""
    return sorted(o for o in overrides if not _is_beside_the_cell(o))


def _is_beside_the_cell(override: str) -> bool:
    key = override.lstrip("+~").split("=")[0]
    return any(key == name or key.startswith((f"{name}.", f"{name}/")) for name in NOT_THE_CELLS)


@dataclass(frozen=True)
class SweepRequest:
    """The sweep that a command line asks for. All of its configuration is checked.

    Attributes:
        config: the composed configuration, without the sweep's values.
        general: its options outside of sections.
        cells: the overrides of each cell.
        runs: the configuration of each cell.
        is_sweep: whether Hydra runs a job for each cell.
        is_listed: whether these are the cells. Sweepers other than Hydra's own choose cells as they run; then `cells`
            show each listed value once.
        bases: one configuration for each different choice of groups among the cells, without their plain values.
    """

    config: DictConfig
    general: GeneralOptions
    cells: list[list[str]]
    runs: list[RunConfig]
    is_sweep: bool
    is_listed: bool
    bases: list[DictConfig]

    @property
    def sweep_dir(self) -> Path:
        """The folder of the sweep's table, figures and notes."""
        return self.general.sweep_dir

    @property
    def store(self) -> RecordStore:
        """The records of the runs folder."""
        return RecordStore(Path(self.general.runs_dir))

    @property
    def places(self) -> frozenset[str]:
        """The input files of all cells, and the files, folders or weights that their models name."""
        return places_of(self.runs)

    @property
    def wants_batches(self) -> bool:
        """Whether cells are asked to be denoised side by side."""
        return self.is_sweep and any(run.options.runtime.batch_cells != 1 for run in self.runs)

    @property
    def siblings(self) -> list[RunConfig]:
        """The cells that one process may denoise side by side. Workers would only wait for cells of each other."""
        return self.runs if self.wants_batches and self.launcher == "basic" else []

    @property
    def launcher(self) -> str:
        """What runs the cells: "basic" for this process, or another launcher of Hydra."""
        return self.config.hydra.runtime.choices["hydra/launcher"]


@dataclass(frozen=True)
class PlannedCell:
    """A cell before it is run.

    Attributes:
        overrides: the overrides that define it.
        records: the record's id for each pair; empty if the cell cannot be planned.
        reason: why it cannot be planned.
        labels: how the sweep calls each pair, see `records.content.labels_of`.
    """

    overrides: list[str]
    records: dict[str, str] = field(default_factory=dict)
    reason: str | None = None
    labels: dict[str, dict] = field(default_factory=dict)

    def is_noted(self, note: Mapping[str, Any] | None) -> bool:
        """Whether a note of the cell has just these records and labels, and no failure."""
        if note is None or note_fault(note) is not None:
            return False
        outcomes = {outcome.get("pair"): outcome for outcome in note["outcomes"]}
        return outcomes.keys() == self.records.keys() and all(
            outcome["status"] not in FAILED
            and outcome.get("record") == self.records[pair]
            and outcome.get("labels") == self.labels.get(pair)
            for pair, outcome in outcomes.items()
        )

    @classmethod
    def read(cls, cell: Mapping[str, Any]) -> "PlannedCell":
        """A cell as plan.json holds it."""
        known = {name: cell[name] for name in cls.__dataclass_fields__ if name in cell}
        return cls(**known)


def read(arguments: list[str]) -> SweepRequest | None:
    """The cells that a command line asks for; None if it asks Hydra to show something.

    Nothing is stored and no network is loaded.

    Raises:
        LatentSyncError: a key, a choice or a value is wrong in one of the cells, or a file, folder or weight that one
            names is not on this machine.
    """
    line = read_command_line(arguments)
    with composing(line.sources):
        check_names(line.overrides)
        if line.only_shows:
            refuse_several_values(line.overrides, "one configuration is shown; give one")
            return None
        config = composed(line.overrides)
        if missing := [key for key in NEEDED if key not in config]:
            raise OptionError(
                f"the configuration {line.sources.config_name} has no {', '.join(missing)}; begin its defaults with "
                f"{CONFIG_NAME}, and delete nothing that a run needs"
            )
        general = general_options(config)
        is_sweep = line.is_multirun or config.hydra.mode == RunMode.MULTIRUN
        if not is_sweep:
            refuse_several_values(line.overrides, "-m is not given; add -m to sweep over them")
        request = _request(config, general, is_sweep, line.overrides)
    _require_places(request)
    return request


def _request(config: DictConfig, general: GeneralOptions, is_sweep: bool, overrides: list[str]) -> SweepRequest:
    cells, configs = cells_of(config, is_sweep), CellConfigs()
    bases = configs.bases(cells)
    for base in bases:
        check_sections(base)
    _check_hydra(config, general)
    if is_sweep:
        for override in parsed(overrides):
            is_once = override.key_or_group in ONCE or override.key_or_group.startswith("launch")
            if is_once and override.is_sweep_override():
                raise OptionError(f"{override.input_line} has several values, but a sweep has one; give one")
        _check_sweeper(config, general, bases, overrides)
    runs = [configs.run(cell) for cell in cells]
    one_each = {(run.runs_dir, run.name): run for run in runs}.values()
    names = sorted({str(run.sweep_dir) for run in one_each} | {str(general.sweep_dir)})
    if len(names) > 1:
        raise OptionError(
            f"the cells would be written to several sweeps ({', '.join(names)}); a sweep has one name and one "
            f"runs_dir, so add name=NAME"
        )
    return SweepRequest(config, general, cells, runs, is_sweep, is_listed(config) or not is_sweep, bases)


def _check_hydra(config: DictConfig, general: GeneralOptions) -> None:
    """Refuses options of Hydra's own that would lead results or paths astray."""
    for key in ("run", "sweep"):
        folder = config.hydra[key].dir
        if Path(folder) != general.sweep_dir:
            raise OptionError(
                f"hydra.{key}.dir is {folder}, but results are written to {general.sweep_dir}; leave it as it is and "
                f"give runs_dir=FOLDER name=NAME"
            )
    if config.hydra.job.chdir:
        raise OptionError(
            "hydra.job.chdir is true, but paths are relative to the folder where the command is started; leave it out"
        )


def _check_sweeper(config: DictConfig, general: GeneralOptions, bases: list[DictConfig], overrides: list[str]) -> None:
    """Refuses a sweeper or launcher that cannot do what the cells want."""
    choices = config.hydra.runtime.choices
    sweeper = choices["hydra/sweeper"]
    refuse_search(sweeper, general.objective)
    if (general.plan or general.preview) and not is_listed(config):
        wish = "plan" if general.plan else "preview"
        raise OptionError(f"hydra/sweeper={sweeper} chooses its cells as it runs, so that {wish}=true cannot list them")
    _check_launcher(config, bases, overrides)


def _check_launcher(config: DictConfig, bases: list[DictConfig], overrides: list[str]) -> None:
    """Refuses a launcher, or options of one, that only some of the swept choices bring: a sweep has one launcher."""
    given = {o.key_or_group: o.value() for o in parsed(overrides) if o.key_or_group.startswith("launch.")}
    wanted = _launch(config, given)
    for base in bases:
        own = _launch(base, given)
        if own != wanted:
            raise OptionError(
                f"one of the swept choices brings {_words(own)}, but the sweep has {_words(wanted)}, and all cells of "
                f"a sweep are launched alike; add launch={own['launch']}, or another launch, and its options to the "
                f"command line"
            )


def _launch(config: DictConfig, given: dict[str, Any]) -> dict[str, Any]:
    choices = config.hydra.runtime.choices
    if choices["hydra/launcher"] == "basic":  # it has no options
        return {"launch": choices.get("launch"), "hydra/launcher": "basic"}
    options = {f"launch.{key}": value for key, value in (config.get("launch") or {}).items()}
    return {"launch": choices.get("launch"), "hydra/launcher": choices["hydra/launcher"], **options} | given


def _words(launch: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in launch.items())


def _require_places(request: SweepRequest) -> None:
    require_folder_to_write("runs_dir", request.sweep_dir)
    for data in {run.data for run in request.runs}:
        pairs_of(data)
    for model in {run.model for run in request.runs}:
        require_model(model)


def places_of(runs: Iterable[RunConfig]) -> frozenset[str]:
    """The input files of cells, and the files, folders or weights that their models name.

    Raises:
        MediaError: a list of pairs cannot be read.
    """
    runs = list(runs)
    places = {value for model in {run.model for run in runs} for value in vars(model).values() if value is not None}
    for data in {run.data for run in runs}:
        if data.input_dir is not None and Path(data.input_dir).is_dir():
            places |= {str(path) for path in Path(data.input_dir).iterdir() if path.is_file()}
        if data.list is not None:
            pairs = read_pairs(data.list).pairs
            places |= {data.list, *(str(path) for pair in pairs for path in (pair.clip, pair.voice))}
    return frozenset(places)
