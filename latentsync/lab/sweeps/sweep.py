"""A sweep as it runs: each cell writes a note, and at the end the notes become tables and figures.

runs/sweeps/<name>/  cells/  videos/  table.csv  figure.png  contact_sheet.png  log.jsonl
"""

import os
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from latentsync import journal
from latentsync.errors import LatentSyncError, sentence_of
from latentsync.files import find_json
from latentsync.lab.cells.cell import ignore, run_cell
from latentsync.lab.cells.loading import header, pipeline_of
from latentsync.lab.cells.outcome import Outcome, note_outcome, outcome_line
from latentsync.lab.console import BELOW_GATE, FAILED, complain, say, show
from latentsync.lab.figures.previews import keep_previews
from latentsync.lab.options.pairs import pairs_of
from latentsync.lab.options.schema import RunConfig, read_config, sweep_dir
from latentsync.lab.records.claims import lock_notice
from latentsync.lab.records.columns import notes_of
from latentsync.lab.records.store import RESULT_FILE, RecordStore
from latentsync.lab.records.sweeps import MADE, note_fault
from latentsync.lab.sweeps.notes import earlier_failures, note_of, note_path, read_note, write_note
from latentsync.lab.sweeps.objective import objective_of
from latentsync.lab.sweeps.request import PlannedCell, cell_overrides
from latentsync.lab.sweeps.summary import summarise
from latentsync.lab.sweeps.trial import trial_of
from latentsync.processes import begin_worker

LOCAL_LAUNCHER = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"  # its workers are children
_running: "SweepRun | None" = None  # of this process, because Hydra calls the cells without our objects


@dataclass
class SweepRun:
    """The state that the cells of one sweep command share within a process.

    Hydra's launchers copy it into every worker, inside `SweepReport`.

    Attributes:
        run: id of the command; the notes of its cells carry it.
        process: number of the process that began it.
        siblings: all cells of the sweep, if some may be made together; else empty.
        unnoted: cells of this process whose notes could not be written.
        cells: the overrides of all cells, if the sweeper lists them, each with the run that had noted it before. At the
            end each must have a newer note, of this run or of another one beside it.
    """

    siblings: list[RunConfig] = field(default_factory=list)
    run: str = field(default_factory=lambda: uuid4().hex)
    process: int = field(default_factory=os.getpid)
    unnoted: list[dict[str, Any]] = field(default_factory=list)
    cells: list[tuple[list[str], str | None]] = field(default_factory=list)
    _has_shown_video: bool = False
    _announced: set[tuple[str, ...]] = field(default_factory=set)
    _put_off: list[tuple[DictConfig, list[str]]] = field(default_factory=list)
    _earlier: dict[Path, list[Outcome]] = field(default_factory=dict)

    def run_cell(self, config: DictConfig, overrides: list[str], wait: bool = True) -> float | None:
        """Runs one cell and notes the outcome of each pair. An error of the whole cell is noted too.

        Args:
            wait: whether to wait for records that another process is making; else the cell is run again at the end of
                the sweep.

        Returns:
            The cell's objective; None if the configuration has none, and NaN if no pair has a value.

        Raises:
            SystemExit: the sweep has no folder in which the error could be noted.
        """
        try:
            folder = sweep_dir(config)
        except LatentSyncError as error:
            raise SystemExit(f"error: {error}") from error
        own_overrides = cell_overrides(overrides)
        try:
            with journal.writing(folder / journal.LOG_FILE, self.run):
                journal.note("cell", overrides=own_overrides)
                outcomes = self._outcomes(config, folder, wait)
        except LatentSyncError as error:
            show(f"error: {error}")
            outcomes = [Outcome("(every pair)", "", float("nan"), "failed", stage="set-up", reason=str(error))]
        if any(outcome.status == "taken" for outcome in outcomes):
            self._put_off.append((config, overrides))
        note = note_of(own_overrides, outcomes, self.run)
        try:
            write_note(note_path(folder, own_overrides), note)
        except OSError as error:  # for example a full disk; finished records stay, and the next run uses them
            show(f"error: the cell {', '.join(own_overrides)} could not be noted in {folder}: {error}")
            self.unnoted.append(note)
        return None if config.get("objective") is None else self._objective(config, outcomes)

    def _objective(self, config: DictConfig, outcomes: list[Outcome]) -> float:
        """The cell's objective, which is printed; NaN if no pair has a value."""
        store = RecordStore(Path(config.runs_dir))
        records = [store.find(o.record, o.labels) for o in outcomes if o.status in MADE and o.record is not None]
        try:
            value = objective_of([record for record in records if record is not None], config.objective)
        except LatentSyncError as error:
            show(f"error: {error}")
            value = float("nan")
        show(f"objective {config.objective}: {value:.6g}")
        return value

    def _outcomes(self, config: DictConfig, folder: Path, wait: bool) -> list[Outcome]:
        run = read_config(config)
        if folder not in self._earlier:  # the failures from before this command
            self._earlier[folder] = [] if config.retry == "failed" else earlier_failures(folder)
        pairing, pipeline = pairs_of(run.data), pipeline_of(run)
        if not self._announced and (notice := lock_notice(RecordStore(run.runs_dir).root)) is not None:
            say(notice)
        lines = tuple(header(run, pairing, pipeline))
        if lines not in self._announced:
            self._announced.add(lines)
            for line in lines:
                say(line)

        def report(outcome: Outcome) -> None:
            note_outcome(outcome)
            say(outcome_line(outcome, run))
            self._show_first_video(outcome, run)

        keep = partial(keep_previews, Path(run.runs_dir)) if run.cache.max_gb else ignore
        return run_cell(run, pairing.pairs, report, self._earlier[folder], wait, self.siblings, keep)

    def _show_first_video(self, outcome: Outcome, run: RunConfig) -> None:
        """Prints where the first video of this process is, so that one can look at it while the others are made."""
        if outcome.status in MADE and not self._has_shown_video:
            self._has_shown_video = True
            say(f"first video: {RecordStore(run.runs_dir).root / outcome.record / RESULT_FILE}")

    def finish(self, config: DictConfig) -> int:
        """Runs the postponed cells, then writes and prints the sweep's results.

        Returns:
            The exit status: `FAILED` if a pair failed, else `BELOW_GATE` if a record misses a bound, else 0.

        Raises:
            LatentSyncError: the configuration is wrong; the cell that it stopped has printed why.
            OSError: a file could not be written.
        """
        while self._put_off:
            self.run_cell(*self._put_off.pop(0))
        run = read_config(config)
        cells = [overrides for overrides, _ in self.cells]
        trial = trial_of(run.sweep_dir, self.run, cells, config.get("objective"))
        summary = summarise(run, self.run, self.unnoted, trial)
        unnoted = [
            overrides for overrides, before in self.cells if _noted_run(run.sweep_dir, overrides) in (None, before)
        ]
        for overrides in unnoted:
            complain(
                f"the cell {', '.join(overrides) or '(as configured)'} has no note of this run; its records are "
                f"complete, run the sweep again to note them"
            )
        failed = summary.failures + len(unnoted)
        journal.finish(run.sweep_dir / journal.LOG_FILE, self.run, failures=failed)
        return FAILED if failed else BELOW_GATE if summary.below_gate else 0


def _noted_run(sweep_dir: Path, overrides: list[str]) -> str | None:
    """The run that wrote the note of a cell; None if there is no note, or it cannot be read now."""
    try:
        return (find_json(note_path(sweep_dir, overrides), note_fault) or {}).get("run")
    except OSError:
        return None


def start(siblings: Iterable[RunConfig] = (), cells: Iterable[list[str]] = (), sweep_dir: Path = Path()) -> SweepRun:
    """Begins a command's sweep in this process. From now on `running` returns it.

    Args:
        siblings: the cells of the sweep, if some may be made together.
        cells: the overrides of all cells, if the sweeper lists them.
        sweep_dir: the folder of their notes.
    """
    global _running
    own = [cell_overrides(cell) for cell in cells]
    _running = SweepRun(list(siblings), cells=[(cell, _noted_run(sweep_dir, cell)) for cell in own])
    return _running


def running() -> SweepRun:
    """The sweep that this process runs; it begins a new one if there is none."""
    return start() if _running is None else _running


class SweepReport(Callback):
    """Hydra's callback. It carries the sweep into workers; at the end it reports the sweep and sets the exit status."""

    def __init__(self) -> None:
        self._sweep = running()

    def on_job_start(self, config: DictConfig, **kwargs: object) -> None:
        """Makes the sweep known to the process in which a launcher starts a job."""
        global _running
        _running = self._sweep
        if config.hydra.launcher._target_ == LOCAL_LAUNCHER and os.getpid() != self._sweep.process:
            begin_worker(self._sweep.process)

    def on_run_end(self, config: DictConfig, **kwargs: object) -> None:
        """Reports a single cell."""
        self._report(config)

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        """Reports a sweep."""
        self._report(config)

    def _report(self, config: DictConfig) -> None:
        global _running
        try:
            status = self._sweep.finish(config)
        except LatentSyncError as error:  # the cell that it stopped has printed it
            raise SystemExit(1) from error
        except OSError as error:  # for example a full disk
            show(
                f"error: the table and figures could not be written ({error}); "
                f"the records are complete, start the sweep again"
            )
            raise SystemExit(1) from error
        except Exception as error:  # Hydra would turn it into a warning and exit with status 0
            if (sentence := sentence_of(error)) is None:
                traceback.print_exc()
            else:
                show(f"error: {sentence}")
            raise SystemExit(1) from None
        finally:
            _running = None
        if status:
            raise SystemExit(status)


def note_cached(config: DictConfig, cells: list[PlannedCell]) -> int:
    """Notes and reports a sweep whose records all existed before it began, so that no cell had to run.

    Its notes get the labels of its own list. A damaged note is set aside.

    Returns:
        How many records miss a bound of the gate.

    Raises:
        LatentSyncError: the configuration is wrong.
    """
    run, store = read_config(config), RecordStore(Path(config.runs_dir))
    for cell in cells:
        path = note_path(run.sweep_dir, cell.overrides)
        if not cell.is_noted(read_note(path)):
            cached = [_cached(store, pair, i, cell.labels.get(pair)) for pair, i in cell.records.items()]
            write_note(path, note_of(cell.overrides, cached, run=""))
    trial = trial_of(run.sweep_dir, "", [cell.overrides for cell in cells], config.get("objective"))
    return summarise(run, this_run="", trial=trial).below_gate


def _cached(store: RecordStore, pair: str, record_id: str, labels: dict | None) -> Outcome:
    content = store.find(record_id, labels).content
    options = content["options"]
    return Outcome(
        pair,
        content["pair"]["gender"],
        options["guidance_scale"],
        "cached",
        record_id,
        notes=notes_of(content),
        labels=labels,
        num_inference_steps=options["num_inference_steps"],
    )
