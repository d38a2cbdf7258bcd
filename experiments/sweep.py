"""A sweep from its cells to its table: what each cell leaves behind, and what is made of all of them at the end.

runs/sweeps/<name>/  cells/  videos/  table.csv  figure.png  contact_sheet.png
"""

import hashlib
import os
import shutil
import time
import traceback
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from experiments import figures
from experiments.cell import Outcome, cell_label, header, pairs_of, pipeline_of, run_cell, say
from experiments.collect import CELLS_DIR, calibrated, collect_wide, sweep_failures, sweep_records
from experiments.publish import publish_in_time
from experiments.record import Record, write_json
from experiments.schema import RunConfig, read_config, sweep_dir
from experiments.trackers import run_name
from latentsync.errors import LatentSyncError

# Overrides that change no record; cells that differ in nothing else are one cell.
NOT_THE_CELLS = ("tracker", "launch", "hydra", "runs_dir", "name", "metrics", "runtime.device", "runtime.batch_size")

_announced: set[tuple] = set()  # headers printed by this process


def run_and_note(config: DictConfig, overrides: list[str]) -> None:
    """Runs one cell and notes what became of each pair; an error of the whole cell is noted too.

    Raises:
        SystemExit: the sweep has no folder that the error could be noted in.
    """
    try:
        cell_dir = sweep_dir(config) / CELLS_DIR
    except LatentSyncError as error:
        raise SystemExit(f"error: {error}") from error
    try:
        outcomes = _run(read_config(config))
    except LatentSyncError as error:
        say(f"error: {error}")
        outcomes = [Outcome("(every pair)", "", float("nan"), "failed", reason=str(error))]
    kept = sorted(o for o in overrides if not _is_beside_the_cell(o))
    key = hashlib.sha256("\n".join(kept).encode()).hexdigest()[:12]
    cell = {"overrides": kept, "noted": time.time(), "outcomes": [asdict(outcome) for outcome in outcomes]}
    write_json(cell_dir / f"{key}.json", cell)


def _is_beside_the_cell(override: str) -> bool:
    key = override.lstrip("+~").split("=")[0]
    return any(key == name or key.startswith(f"{name}.") for name in NOT_THE_CELLS)


def _run(run: RunConfig) -> list[Outcome]:
    pairing, pipeline = pairs_of(run.data), pipeline_of(run)
    lines = tuple(header(run, pairing, pipeline))
    if lines not in _announced:
        _announced.add(lines)
        for line in lines:
            say(line)
    return run_cell(run, pairing.pairs, lambda outcome: say(outcome_line(outcome, run)))


def outcome_line(outcome: Outcome, run: RunConfig) -> str:
    """One line for one pair as it ends."""
    sampler = run.options.sampler
    cell = cell_label(outcome.guidance_scale, sampler.num_inference_steps, sampler.seed)
    end = {
        "done": f"done in {outcome.seconds:.1f} s",
        "found": "found, nothing to do",
        "failed": f"FAILED: {outcome.reason}",
    }[outcome.status]
    return f"{cell:<34} {outcome.pair:<28} {end}"


class SweepReport(Callback):
    """At the end of a run or sweep: table, figures, links to the videos, publishing, exit status."""

    def __init__(self) -> None:
        self._started = time.time()

    def on_run_end(self, config: DictConfig, **kwargs: object) -> None:
        self._report(config)

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        self._report(config)

    def _report(self, config: DictConfig) -> None:
        try:
            failed = summarise(read_config(config), self._started)
        except LatentSyncError as error:  # said already, by the cell that it stopped
            raise SystemExit(1) from error
        except Exception:  # Hydra would make a warning of it, and success of the exit status
            traceback.print_exc()
            raise SystemExit(1) from None
        if failed:
            raise SystemExit(1)


def summarise(run: RunConfig, started: float = 0.0) -> int:
    """Writes and prints what a sweep came to.

    Args:
        started: seconds since the epoch; failures noted earlier are counted, but are not of this run.

    Returns:
        How many pairs failed in this run.
    """
    table = collect_wide(run.runs_dir, run.name)
    failures = sweep_failures(run.sweep_dir)
    now = [failure for failure in failures if failure["noted"] >= started]
    if not table.empty:
        say("\n" + table_text(table) + "\n")
        table.to_csv(run.sweep_dir / "table.csv", index=False)
        against_real = calibrated(table)
        if not against_real.empty:
            against_real.to_csv(run.sweep_dir / "calibration.csv", index=False)
            say(calibration_text(against_real) + "\n")
        records = sweep_records(run.runs_dir, run.name)
        link_videos(records, run.sweep_dir / "videos")
        figures.save(figures.sweep_figure(table), run.sweep_dir / "figure.png")
        figures.save(figures.contact_sheet(records), run.sweep_dir / "contact_sheet.png")
        count, stopped = publish_in_time(records, run.name, run.tracker, run.runs_dir)
        if run.tracker.kind != "none":
            say(
                f"W&B ({run.tracker.mode}): {count} records published now"
                + (f"; stopped: {stopped}" if stopped else "")
            )
    for failure in now:
        say(f"FAILED  {failure['pair']} ({', '.join(failure['overrides'])}): {failure['reason']}")
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
        label = f"{row.gender:<7} guidance {row.guidance_scale:g}, {row.num_inference_steps} steps"
        if not row.pairs:
            lines.append(f"  {label}: no pair has both")
            continue
        interval = "" if pd.isna(row.low) else f" ({row.low:+.3f} .. {row.high:+.3f})"
        lines.append(f"  {label}: {row.minus_real:+.3f}{interval}, real {row.real:.3f}, n={row.pairs}")
    return "\n".join(lines)


def table_text(table: pd.DataFrame) -> str:
    """The table that a run ends with: cell, pair, LPIPS, sync, seconds."""
    cells = [cell_label(row.guidance_scale, row.num_inference_steps, row.seed) for row in table.itertuples()]
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
