"""What a sweep will do, told before any of its jobs starts: which records are there, which are not, and what they cost.

The cells are expanded by Hydra's own parser and sweeper. The ids of their records are kept in the sweep's plan.json,
with a fingerprint of all that they follow from; while it holds, a repeated sweep is answered without loading a network.

runs/sweeps/<name>/plan.json
"""

import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hydra._internal.utils import get_args_parser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from experiments import CONF_DIR, ROOT
from experiments.compose import CellConfigs, cells_of, check_names, composed, composing
from experiments.costs import Work, costs, estimate
from experiments.pairs import read_pairs
from experiments.record import (
    METRICS_FILE,
    RecordStore,
    failures_of,
    plain_name,
    read_json,
    sweep_cells,
    sweep_folder,
    write_json,
)
from latentsync.errors import LatentSyncError, OptionError
from latentsync.weights.folders import CHECKPOINTS_DIR, cache_dir

if TYPE_CHECKING:
    from experiments.schema import RunConfig

PLAN_FILE = "plan.json"
RETRY_HINT = "add retry=failed to try them again"
BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
WEIGHT_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
OF_THE_IDS = ("data", "preset", "model", "sampler", "video", "attention", "runtime")
OF_THE_FILES = ("data", "model", "experiment")
INPUTS = ("input_dir", "list")  # in data
OF_THE_REPORT = ("metrics", "tracker", "runs_dir", "name")

# Overrides that change no record; cells that differ in nothing else are one cell.
NOT_THE_CELLS = (
    "tracker", "launch", "hydra", "runs_dir", "name", "metrics", "runtime.device", "runtime.batch_size",
    "runtime.batch_cells", "retry", "plan", "preview", "cache",
)  # fmt: skip


def cell_overrides(overrides: Iterable[str]) -> list[str]:
    """Those overrides that make a cell what it is, in order."""
    return sorted(o for o in overrides if not _is_beside_the_cell(o))


def cell_key(kept: list[str]) -> str:
    """The name of a cell's file."""
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:12]


def _is_beside_the_cell(override: str) -> bool:
    key = override.lstrip("+~").split("=")[0]
    return any(key == name or key.startswith((f"{name}.", f"{name}/")) for name in NOT_THE_CELLS)


@dataclass(frozen=True)
class Asked:
    """What a command line comes to.

    Attributes:
        config: as composed, without the sweep's values.
        cells: the overrides of each cell.
        is_sweep: whether Hydra makes a job of each.
        places: the input files of all cells, and whatever their models name.
    """

    config: DictConfig
    cells: list[list[str]]
    is_sweep: bool
    places: frozenset[str]

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
        overrides: that make it what it is.
        records: id by pair; empty where the cell cannot be planned.
        reason: why it cannot.
    """

    overrides: list[str]
    records: dict[str, str] = field(default_factory=dict)
    reason: str | None = None


def read(arguments: list[str]) -> Asked | None:
    """The cells that a command line asks for; None where it asks Hydra for something else, such as its help.

    Raises:
        OptionError: a key, a group's choice or a value is unknown.
    """
    told = get_args_parser().parse_args(arguments)
    others = (told.help, told.hydra_help, told.cfg, told.info, told.shell_completion, told.config_name,
              told.config_path, told.config_dir, told.experimental_rerun)  # fmt: skip
    if any(others):
        return None
    with composing():
        check_names(told.overrides)
        config = composed(told.overrides)
        for key in ("runs_dir", "name"):
            if config[key] is None:
                raise OptionError(f"{key} is null; give a value")
        is_sweep = bool(told.multirun) or config.hydra.mode == RunMode.MULTIRUN
        cells = list(cells_of(config, is_sweep))
        return Asked(config, cells, is_sweep, places_of(cells))


def places_of(cells: list[list[str]]) -> frozenset[str]:
    """The input files of cells, and whatever their models name: files, folders or weights.

    Raises:
        MediaError: a list of pairs cannot be read.
    """
    configs, places = CellConfigs(), set()
    for overrides in {tuple(o for o in cell if o.lstrip("+~").startswith(OF_THE_FILES)) for cell in cells}:
        config = configs.of(list(overrides))
        places |= {value for value in OmegaConf.to_container(config.model).values() if isinstance(value, str)}
        folder, pairs = (None if OmegaConf.is_missing(config.data, key) else config.data.get(key) for key in INPUTS)
        if folder is not None and Path(folder).is_dir():
            places |= {str(path) for path in Path(folder).iterdir() if path.is_file()}
        if pairs is not None:
            places |= {pairs, *(str(path) for pair in read_pairs(pairs).pairs for path in (pair.clip, pair.voice))}
    return frozenset(places)


def _tell_plan(asked: Asked) -> int:
    """Prints each record of a sweep with its state, and the cost of those to be made."""
    work: dict[str, Work] = {}
    cells, store = resolved(asked, work), asked.store
    failed = {o["record"]: o for o in failures_of(sweep_cells(asked.sweep_dir)) if o["record"] is not None}
    missing = dict.fromkeys(i for _, i in _missing(cells, store) if i is not None)
    left = [i for i in missing if i in failed and asked.config.retry != "failed"]
    for cell in cells:
        label = ", ".join(cell.overrides) or "(as configured)"
        if cell.reason is not None:
            print(f"unknown   {label}: {cell.reason}")
        for pair, i in cell.records.items():
            state = "found" if i not in missing else "failed" if i in left else "to make"
            print(f"{state:<9} {i}  {pair:<28} {label}")
    unknown = sum(cell.reason is not None for cell in cells)
    number, to_make = len({i for cell in cells for i in cell.records.values()}), [i for i in missing if i not in left]
    counts = f"{number - len(missing)} found, {len(to_make)} to make, {len(left)} failed in earlier runs"
    counts += (f" ({RETRY_HINT})" if left else "") + (f"; {unknown} cells unknown" if unknown else "")
    print(f"{len(cells)} cells, {number} records: {counts}")
    if to_make:
        print(estimate([work[i] for i in to_make], costs(store)))
    return 0


def answer(asked: Asked) -> int | None:
    """What needs no job: the plan if it was asked for, or that nothing is left to do.

    Returns:
        The exit status; None where Hydra's jobs have to run.

    Raises:
        LatentSyncError: the plan was asked for and cannot be made.
    """
    is_plan = bool(asked.config.plan)
    if not (asked.is_sweep or is_plan):
        return None
    stamp = fingerprint(asked)
    known = read_json(asked.sweep_dir / PLAN_FILE) or {}
    if known.get("fingerprint") == stamp:
        cells = [PlannedCell(**cell) for cell in known["cells"]]
        missing = _missing(cells, asked.store)
        if not missing and (is_plan or (known.get("reported") and _report_is_fresh(asked, cells))):
            return _nothing_to_do(asked, cells, is_plan)
    if is_plan:
        return _tell_plan(asked)
    cells = resolved(asked)
    write_json(
        asked.sweep_dir / PLAN_FILE,
        {"fingerprint": stamp, "reported": False, "cells": [asdict(cell) for cell in cells]},
    )
    if _missing(cells, asked.store):
        return None
    from experiments.sweep import note_found

    note_found(asked.config, cells)
    note_reported(asked)
    return _nothing_to_do(asked, cells, is_plan)


def runs_of(asked: Asked) -> list["RunConfig"]:
    """The configuration of each cell; one that cannot be read is left out, and told when it is run."""
    from experiments.schema import read_config

    with composing():
        configs, found = CellConfigs(), []
        for cell in asked.cells:
            with suppress(LatentSyncError):
                found.append(read_config(configs.of(cell)))
    return found


def note_reported(asked: Asked) -> None:
    """Notes that the table and figures of a sweep have been made of all that its plan has."""
    path = asked.sweep_dir / PLAN_FILE
    if asked.is_sweep and (known := read_json(path)) is not None:
        write_json(path, {**known, "reported": True})


def _missing(cells: list[PlannedCell], store: RecordStore) -> list[tuple[PlannedCell, str | None]]:
    """Cells with the ids of their records that are not there; with None where the cell could not be planned."""
    missing = [(cell, None) for cell in cells if not cell.records]
    return missing + [(cell, i) for cell in cells for i in cell.records.values() if store.find(i) is None]


def _report_is_fresh(asked: Asked, cells: list[PlannedCell]) -> bool:
    """Whether the table is younger than all metrics, and nothing is waiting to be published."""
    tracker, table = asked.config.tracker, asked.sweep_dir / "table.csv"
    if tracker.kind != "none" and tracker.mode == "online":
        return False
    metrics = [asked.store.root / i / METRICS_FILE for cell in cells for i in cell.records.values()]
    try:
        return table.stat().st_mtime_ns >= max(path.stat().st_mtime_ns for path in metrics)
    except OSError:
        return False


def _nothing_to_do(asked: Asked, cells: list[PlannedCell], is_plan: bool) -> int:
    number = len({i for cell in cells for i in cell.records.values()})
    print(f"nothing to do: {len(cells)} cells, all {number} records are there")
    if not is_plan:
        print(f"their table, figure and videos: {asked.sweep_dir}")
    return 0


def fingerprint(asked: Asked) -> str:
    """A hash of all that the ids of a sweep's records and its report follow from, without reading a network.

    Options and cells by value; inputs, weights and this program's files by place, size and time; the machine by name,
    since it chooses device and precision.
    """
    sections = {
        name: OmegaConf.to_container(asked.config[name], resolve=True)
        if isinstance(asked.config[name], DictConfig)
        else asked.config[name]
        for name in (*OF_THE_IDS, *OF_THE_REPORT)
        if name != "data" or not OmegaConf.missing_keys(asked.config.data)
    }
    places = [ROOT / "experiments", ROOT / "latentsync", CONF_DIR, *map(Path, asked.places)]
    parts = {
        "sections": sections,
        "cells": [cell_overrides(cell) for cell in asked.cells],
        "files": sorted(
            {stamp for place in places for stamp in _stamps(place, ())}
            | {stamp for place in (cache_dir(), CHECKPOINTS_DIR) for stamp in _stamps(place, WEIGHT_SUFFIXES)}
        ),
        "machine": [socket.gethostname(), os.environ.get("CUDA_VISIBLE_DEVICES"), os.getcwd(), sys.prefix],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _stamps(place: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of a file, or of all files below a folder."""
    files = [place] if place.is_file() else place.rglob("*")
    for path in files:
        if path.suffix != ".pyc" and (not suffixes or path.suffix in suffixes) and path.is_file():
            status = path.stat()
            yield str(path.absolute()), status.st_size, status.st_mtime_ns


def resolved(asked: Asked, work: dict[str, Work] | None = None) -> list[PlannedCell]:
    """Every cell with the ids of its records; loads the networks, and hashes the inputs.

    Args:
        work: what each record takes, by id, is put in here.
    """
    if asked.config.hydra.launcher._target_ != BASIC_LAUNCHER:
        reason = "it is planned by the process that runs it, whose device may be another"
        return [PlannedCell(cell_overrides(cell), reason=reason) for cell in asked.cells]
    with composing():
        configs = CellConfigs()
        return [_resolved_cell(cell, configs, work) for cell in asked.cells]


def _resolved_cell(overrides: list[str], configs: CellConfigs, work: dict[str, Work] | None) -> PlannedCell:
    from experiments import cell as cells
    from experiments.schema import read_config

    kept = cell_overrides(overrides)
    try:
        run = read_config(configs.of(overrides))
        pipeline = cells.pipeline_of(run)
        records = {}
        for pair in cells.pairs_of(run.data).pairs:
            parts, outcome = cells.plan(pair, run, pipeline)
            records[pair.name] = outcome.record
            if work is not None:
                place = pipeline.settings.name, str(pipeline.device)
                work[outcome.record] = Work.of(*place, parts, cells.num_frames_of(pair, run.options.video))
        return PlannedCell(kept, records)
    except LatentSyncError as error:
        return PlannedCell(kept, reason=str(error).splitlines()[0])
