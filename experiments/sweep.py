"""A sweep from its cells to its table: what each cell leaves behind, and what is made of all of them at the end.

runs/sweeps/<name>/  cells/  videos/  table.csv  figure.png  contact_sheet.png
"""

import os
import shutil
import time
import traceback
from collections.abc import Iterable
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

import pandas as pd
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from experiments.cell import Outcome, header, pairs_of, pipeline_of, run_cell, say
from experiments.collect import calibrated, collect_wide, sweep_failures, sweep_records
from experiments.figures import sweep_figure
from experiments.labels import SAMPLING, cell_label, departures
from experiments.plan import RETRY_HINT, PlannedCell, cell_key, cell_overrides
from experiments.publish import publish_in_time
from experiments.record import CELLS_DIR, FAILED, Record, RecordStore, failures_of, read_json, write_json
from experiments.schema import RunConfig, read_config, sweep_dir
from experiments.sheets import contact_sheet
from experiments.style import save
from experiments.trackers import run_name
from latentsync.errors import LatentSyncError, OptionError

RETRIES = (None, "failed")
RUN_VARIABLE = "LATENTSYNC_RUN"  # names the command that a cell is noted by

_announced: set[tuple] = set()  # headers printed by this process
_not_noted: list[dict] = []  # cells of this process whose notes could not be written
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
        outcomes = _run(read_config(config), _left_alone(config), wait)
    except LatentSyncError as error:
        say(f"error: {error}")
        outcomes = [Outcome("(every pair)", "", float("nan"), "failed", stage="set-up", reason=str(error))]
    if any(outcome.status == "elsewhere" for outcome in outcomes):
        _put_off.append((config, overrides))
    kept = cell_overrides(overrides)
    cell = {"overrides": kept, **_noted(), "outcomes": [asdict(outcome) for outcome in outcomes]}
    try:
        write_json(cell_dir / f"{cell_key(kept)}.json", cell)
    except OSError as error:  # a full disk; the records that are finished stay, and the next run finds them
        say(f"error: the cell {', '.join(kept)} could not be noted in {cell_dir}: {error}")
        _not_noted.append(cell)


def _noted() -> dict:
    """When a cell was noted, for people, and in which run: clocks may jump, and workers' may differ."""
    return {"noted": time.time(), "run": os.environ.get(RUN_VARIABLE, "")}


def expect(runs: Iterable[RunConfig]) -> None:
    """Tells this process the cells that it will be asked to run."""
    _siblings[:] = runs


def _left_alone(config: DictConfig) -> list[Outcome]:
    """The failures of earlier runs that this one does not try again: those of a record whose id is known.

    What failed before there was an id, for want of weights or by a wrong option, was refused before anything was
    computed, and is tried at each start.

    Raises:
        OptionError: `retry` is something else than null or "failed".
    """
    if config.retry not in RETRIES:
        raise OptionError(f"retry is {config.retry!r}; it is null, or failed to try again what failed in earlier runs")
    return [] if config.retry == "failed" else _earlier_failures(sweep_dir(config))


@lru_cache(maxsize=1)
def _earlier_failures(folder: Path) -> list[Outcome]:
    """The failures that a sweep's notes held when this run began, of records whose ids are known."""
    known = {field.name for field in fields(Outcome)}
    failures = [failure for failure in sweep_failures(folder) if failure["record"] is not None]
    return [Outcome(**{key: value for key, value in failure.items() if key in known}) for failure in failures]


def _run(run: RunConfig, earlier: list[Outcome], wait: bool) -> list[Outcome]:
    pairing, pipeline = pairs_of(run.data), pipeline_of(run)
    lines = tuple(header(run, pairing, pipeline))
    if lines not in _announced:
        _announced.add(lines)
        for line in lines:
            say(line)
    return run_cell(run, pairing.pairs, lambda outcome: say(outcome_line(outcome, run)), earlier, wait, _siblings)


def outcome_line(outcome: Outcome, run: RunConfig) -> str:
    """One line for one pair as it ends."""
    sampler = run.options.sampler
    cell = cell_label(outcome.guidance_scale, sampler.num_inference_steps, sampler.seed, vars(sampler))
    end = {
        "done": f"done in {outcome.seconds:.1f} s",
        "found": "found, nothing to do",
        "failed": f"FAILED ({outcome.stage}): {outcome.reason}",
        "left": f"failed earlier, left alone: {outcome.reason}",
        "elsewhere": "another process is making it",
    }[outcome.status]
    return f"{cell:<34} {outcome.pair:<28} {end}"


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
        write_json(path, {"overrides": cell.overrides, **_noted(), "outcomes": [asdict(o) for o in found]})
    summarise(run, this_run="")


def _found(record: Record) -> Outcome:
    pair, options = record.content["pair"], record.content["options"]
    return Outcome(pair["name"], pair["gender"], options["guidance_scale"], "found", record.id)


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
        _earlier_failures.cache_clear()
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


def summarise(run: RunConfig, this_run: str | None = None) -> int:
    """Writes and prints what a sweep came to.

    Args:
        this_run: failures noted by others are counted, but are not of this run; None takes all as of it.

    Returns:
        How many pairs failed in this run, or failed earlier and were left alone by it.
    """
    table = collect_wide(run.runs_dir, run.name)
    failures = sweep_failures(run.sweep_dir) + failures_of(_not_noted)
    now = [failure for failure in failures if this_run in (None, failure["run"])]
    if not table.empty:
        say("\n" + table_text(table) + "\n")
        table.to_csv(run.sweep_dir / "table.csv", index=False)
        against_real = calibrated(table)
        if not against_real.empty:
            against_real.to_csv(run.sweep_dir / "calibration.csv", index=False)
            say(calibration_text(against_real) + "\n")
        records = sweep_records(run.runs_dir, run.name)
        link_videos(records, run.sweep_dir / "videos")
        save(sweep_figure(table), run.sweep_dir / "figure.png")
        save(contact_sheet(records), run.sweep_dir / "contact_sheet.png")
        count, stopped = publish_in_time(records, run.name, run.tracker, run.runs_dir)
        if run.tracker.kind != "none":
            say(
                f"W&B ({run.tracker.mode}): {count} records published now"
                + (f"; stopped: {stopped}" if stopped else "")
            )
    for failure in now:
        say(f"FAILED  {failure['pair']} ({', '.join(failure['overrides'])}): {failure['reason']}")
    left = sum(failure["status"] == "left" for failure in now)
    if left:
        say(f"{left} of the failures are of earlier runs and were left alone; {RETRY_HINT}")
    earlier = f" (and {len(failures) - len(now)} of earlier runs)" if len(failures) > len(now) else ""
    say(f"{len(table)} records, {len(now)} failures{earlier} in {run.sweep_dir}")
    if not table.empty:
        say("there: videos/, contact_sheet.png, figure.png, table.csv, calibration.csv")
        say(f"the records are in {run.runs_dir / 'records'}")
    return len(now)


def calibration_text(against_real: pd.DataFrame) -> str:
    """The embedded SyncNet's confidence of results less that of the real clips, by gender and setting."""
    shown = against_real[against_real["metric"] == "sync_mini_confidence"]
    lines = ["sync_mini confidence, results less real clips (95 % over pairs):"]
    for row in shown.itertuples():
        told = {name: getattr(row, name) for name in SAMPLING if hasattr(row, name)}
        settings = [f"guidance {row.guidance_scale:g}", f"{row.num_inference_steps} steps", *departures(told)]
        label = f"{row.gender:<7} {', '.join(settings)}"
        if not row.pairs:
            lines.append(f"  {label}: no pair has both")
            continue
        interval = "" if pd.isna(row.low) else f" ({row.low:+.3f} .. {row.high:+.3f})"
        lines.append(f"  {label}: {row.minus_real:+.3f}{interval}, real {row.real:.3f}, n={row.pairs}")
    return "\n".join(lines)


def table_text(table: pd.DataFrame) -> str:
    """The table that a run ends with: cell, pair, LPIPS, sync, seconds."""
    cells = [
        cell_label(row["guidance_scale"], row["num_inference_steps"], row["seed"], row) for _, row in table.iterrows()
    ]
    shown = pd.DataFrame({"cell": cells, "pair": table["pair"]})
    columns = {
        "lpips_alex_mouth": ("LPIPS", "{:.3f}"),
        "sync_mini_confidence": ("sync_mini", "{:.3f}"),
        "sync_mini_offset": ("offset", "{:+.0f}"),
        "landmark_sync_peak": ("sync", "{:.2f}"),
        "landmark_sync_lag": ("lag", "{:+.0f}"),
        "seconds": ("seconds", "{:.1f}"),
    }
    for name, (title, form) in columns.items():
        if name in table:
            shown[title] = ["-" if pd.isna(value) else form.format(value) for value in table[name]]
    text = shown.to_string(index=False)
    if not table["trained"].all():
        text = f"UNTRAINED MODEL: these numbers check the plumbing, they say nothing of lip sync\n{text}"
    reasons = sorted(
        {
            f"{column.removesuffix('_reason')}: {reason}"
            for column in table.columns
            if column.endswith("_reason")
            for reason in table[column].dropna()
        }
    )
    return "\n".join([text, *(f"- where {reason}" for reason in reasons)])


def link_videos(records: list[Record], folder: Path) -> None:
    """Readable names for the videos of a sweep; links into the records where the file system has links."""
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        link = folder / f"{run_name(record.content).replace(' ', '_')}_{record.id}.mp4"
        if link.exists():
            continue
        try:
            link.symlink_to(os.path.relpath(record.video_path, folder))
        except OSError:
            shutil.copyfile(record.video_path, link)
