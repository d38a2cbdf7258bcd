"""The end of a sweep: it writes tables and figures, links the videos and publishes the records."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from latentsync.lab.analysis.calibration import calibrated
from latentsync.lab.analysis.intervals import interval_text
from latentsync.lab.console import say
from latentsync.lab.figures.curves import sweep_figure
from latentsync.lab.figures.sheets import contact_sheet
from latentsync.lab.figures.style import save
from latentsync.lab.options.schema import RunConfig
from latentsync.lab.records.labels import cell_label, departures, run_name, varied
from latentsync.lab.records.store import Record
from latentsync.lab.records.sweeps import failures_of, sweep_records
from latentsync.lab.sweeps.request import RETRY_HINT
from latentsync.lab.tables.tidy import collect_wide, sweep_failures
from latentsync.lab.tracking.publish import publish_in_time
from latentsync.names import name_max_bytes, shortened


def summarise(run: RunConfig, this_run: str | None = None, unnoted: Sequence[dict] = ()) -> int:
    """Writes and prints the results of a sweep.

    Args:
        this_run: id of this run. Failures noted by other runs are counted separately; None counts all failures as
            failures of this run.
        unnoted: cells of this run whose notes could not be written.

    Returns:
        How many pairs failed in this run, or failed earlier and were skipped by it.
    """
    table = collect_wide(run.runs_dir, run.name)
    failures = sweep_failures(run.sweep_dir) + failures_of(list(unnoted))
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
    left = sum(failure["status"] == "skipped" for failure in now)
    if left:
        say(f"{left} of the failures are from earlier runs and were skipped; {RETRY_HINT}")
    earlier = f" (and {len(failures) - len(now)} from earlier runs)" if len(failures) > len(now) else ""
    say(f"{len(table)} records, {len(now)} failures{earlier} in {run.sweep_dir}")
    if not table.empty:
        say("files: videos/, contact_sheet.png, figure.png, table.csv, calibration.csv")
        say(f"the records are in {run.runs_dir / 'records'}")
    return len(now)


def calibration_text(against_real: pd.DataFrame) -> str:
    """The embedded SyncNet's confidence for the results minus that for the real clips, by gender and setting."""
    rows = against_real[against_real["metric"] == "sync_mini_confidence"]
    lines = ["sync_mini confidence, results minus real clips (mean and 95 % interval over pairs):"]
    for row in rows.itertuples():
        setting = row._asdict()
        words = [f"guidance {row.guidance_scale:g}", f"{row.num_inference_steps} steps", *departures(setting, setting)]
        label = f"{row.gender:<7} {', '.join(words)}"
        if not row.pairs:
            lines.append(f"  {label}: no pair has both values")
            continue
        interval = "" if pd.isna(row.low) else f" ({interval_text((row.low, row.high), '+.3f')})"
        lines.append(f"  {label}: {row.minus_real:+.3f}{interval}, real {row.real:.3f}, n={row.pairs}")
    return "\n".join(lines)


def table_text(table: pd.DataFrame) -> str:
    """The table printed at the end of a run: cell, pair, LPIPS, sync, seconds."""
    also = varied(table)
    cells = [cell_label(row, also) for _, row in table.iterrows()]
    columns_shown = pd.DataFrame({"cell": cells, "pair": table["pair"]})
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
            columns_shown[title] = ["-" if pd.isna(value) else form.format(value) for value in table[name]]
    text = columns_shown.to_string(index=False)
    if not table["trained"].all():
        text = f"UNTRAINED MODEL: these numbers only show that the program works, not how good the lip sync is\n{text}"
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
    """Gives the videos of a sweep readable names: links into the records, or copies if links are not supported."""
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        end = f"_{record.id}.mp4"
        name = run_name(record.content).replace(" ", "_").replace("/", "_")
        link = folder / f"{shortened(name, name_max_bytes(folder) - len(end))}{end}"
        if link.exists():
            continue
        try:
            link.symlink_to(os.path.relpath(record.video_path, folder))
        except OSError:
            shutil.copyfile(record.video_path, link)
