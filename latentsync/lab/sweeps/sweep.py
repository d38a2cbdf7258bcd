"""A sweep from its cells to its table: what each cell leaves behind, and what is made of all of them at the end.

runs/sweeps/<name>/  cells/  videos/  table.csv  figure.png  contact_sheet.png
"""

import os
import traceback
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from latentsync.errors import LatentSyncError
from latentsync.files import read_json, write_json
from latentsync.lab.cells.cell import run_cell
from latentsync.lab.cells.loading import header, pipeline_of
from latentsync.lab.cells.outcome import Outcome, outcome_line
from latentsync.lab.console import say
from latentsync.lab.options.pairs import pairs_of
from latentsync.lab.options.schema import RunConfig, read_config, sweep_dir
from latentsync.lab.records.store import Record, RecordStore
from latentsync.lab.records.sweeps import CELLS_DIR, FAILED
from latentsync.lab.sweeps.notes import RUN_VARIABLE, earlier_failures, left_alone, not_noted, noted
from latentsync.lab.sweeps.request import PlannedCell, cell_key, cell_overrides
from latentsync.lab.sweeps.summary import summarise

_announced: set[tuple] = set()  # headers printed by this process
_siblings: list[RunConfig] = []  # all cells of this process's sweep, where some may be made together
_put_off: list[tuple[DictConfig, list[str]]] = []  # cells of this process that wait for records of another one


def run_and_note(config: DictConfig, overrides: list[str], wait: bool = True) -> None:
    """Runs one cell and notes what became of each pair; an error of the whole cell is noted too.

    Args:
        wait: for records that another process is making; else the cell is put off to the end of the sweep.

    Raises:
        SystemExit: the sweep has no folder that the error could be noted in.
    """
    try:
        cell_dir = sweep_dir(config) / CELLS_DIR
    except LatentSyncError as error:
        raise SystemExit(f"error: {error}") from error
    try:
        outcomes = _run(read_config(config), left_alone(config), wait)
    except LatentSyncError as error:
        say(f"error: {error}")
        outcomes = [Outcome("(every pair)", "", float("nan"), "failed", stage="set-up", reason=str(error))]
    if any(outcome.status == "taken" for outcome in outcomes):
        _put_off.append((config, overrides))
    kept = cell_overrides(overrides)
    cell = {"overrides": kept, **noted(), "outcomes": [asdict(outcome) for outcome in outcomes]}
    try:
        write_json(cell_dir / f"{cell_key(kept)}.json", cell)
    except OSError as error:  # a full disk; the records that are finished stay, and the next run finds them
        say(f"error: the cell {', '.join(kept)} could not be noted in {cell_dir}: {error}")
        not_noted.append(cell)


def expect(runs: Iterable[RunConfig]) -> None:
    """Tells this process the cells that it will be asked to run."""
    _siblings[:] = runs


def _run(run: RunConfig, earlier: list[Outcome], wait: bool) -> list[Outcome]:
    pairing, pipeline = pairs_of(run.data), pipeline_of(run)
    lines = tuple(header(run, pairing, pipeline))
    if lines not in _announced:
        _announced.add(lines)
        for line in lines:
            say(line)
    return run_cell(run, pairing.pairs, lambda outcome: say(outcome_line(outcome, run)), earlier, wait, _siblings)


def note_found(config: DictConfig, cells: list[PlannedCell]) -> None:
    """Notes and reports a sweep whose records were all found before any of its cells had to be run.

    Raises:
        LatentSyncError: the configuration is not fit.
    """
    run, store = read_config(config), RecordStore(Path(config.runs_dir))
    for cell in cells:
        path = run.sweep_dir / CELLS_DIR / f"{cell_key(cell.overrides)}.json"
        outcomes = (read_json(path) or {"outcomes": []})["outcomes"]
        is_noted = {outcome["record"] for outcome in outcomes} == set(cell.records.values())
        if is_noted and not any(outcome["status"] in FAILED for outcome in outcomes):
            continue
        found = [_found(store.find(i)) for i in cell.records.values()]
        write_json(path, {"overrides": cell.overrides, **noted(), "outcomes": [asdict(o) for o in found]})
    summarise(run, this_run="")


def _found(record: Record) -> Outcome:
    pair, options = record.content["pair"], record.content["options"]
    return Outcome(pair["name"], pair["gender"], options["guidance_scale"], "cached", record.id)


class SweepReport(Callback):
    """At the end of a run or sweep: table, figures, links to the videos, publishing, exit status."""

    def __init__(self) -> None:
        self._run = uuid4().hex
        os.environ[RUN_VARIABLE] = self._run

    def on_job_start(self, config: DictConfig, **kwargs: object) -> None:
        os.environ[RUN_VARIABLE] = self._run  # in a worker, too, wherever a launcher starts it

    def on_run_end(self, config: DictConfig, **kwargs: object) -> None:
        self._report(config)

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        self._report(config)

    def _report(self, config: DictConfig) -> None:
        while _put_off:
            run_and_note(*_put_off.pop(0))
        earlier_failures.cache_clear()
        try:
            failed = summarise(read_config(config), self._run)
        except LatentSyncError as error:  # said already, by the cell that it stopped
            raise SystemExit(1) from error
        except OSError as error:  # a full disk
            say(f"error: the table and figures could not be written ({error}); the records are whole, start it again")
            raise SystemExit(1) from error
        except Exception:  # Hydra would make a warning of it, and success of the exit status
            traceback.print_exc()
            raise SystemExit(1) from None
        if failed:
            raise SystemExit(1)
