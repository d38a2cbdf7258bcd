"""The end of a sweep: it writes tables and figures, links the videos and publishes the records."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from latentsync.errors import MediaError
from latentsync.files import place_link, whole_files
from latentsync.lab.analysis.calibration import calibrated
from latentsync.lab.analysis.intervals import LEAST_UNITS, interval_text
from latentsync.lab.analysis.judged import judge_lines
from latentsync.lab.console import complain, paragraph, show, table_text
from latentsync.lab.figures.curves import sweep_figure
from latentsync.lab.figures.sheets import contact_sheet
from latentsync.lab.figures.style import save
from latentsync.lab.options.schema import RunConfig
from latentsync.lab.records.labels import cell_label, departures, missing_lines, run_name, varied, word_of
from latentsync.lab.records.store import Record, RecordStore
from latentsync.lab.records.sweeps import RETRY_HINT, failures_of, sweep_records
from latentsync.lab.tables.gate import below_gate, keep_gate
from latentsync.lab.tables.tidy import collect_wide, sweep_failures, write_table
from latentsync.lab.tracking.apart import publish_in_time
from latentsync.lab.tracking.trial import Trial
from latentsync.metrics.suspects import SUSPECT
from latentsync.names import name_max_bytes, shortened, visible

SHOWN = {
    "lpips_alex_mouth": "{:.3f}",
    "sync_mini_confidence": "{:.3f}",
    "sync_mini_offset": "{:+.0f}",
    "landmark_sync_peak": "{:.2f}",
    "landmark_sync_lag": "{:+.0f}",
    "seconds": "{:.1f}",
}  # the columns that a run prints at its end
MOST_ROWS = 60  # of that table
CALIBRATED = ("sync_mini_confidence",)  # whose differences from the real clips it prints, too
SHEET = "contact_sheet.png"
FILES = (SHEET, "figure.png", "table.csv", "calibration.csv")  # of one state of the sweep
NOT_QUALITY = "these numbers only show that the program works, not how good the lip sync is"


class Summary(NamedTuple):
    """What became of a sweep.

    Attributes:
        failures: how many pairs failed in this run, or failed earlier and were skipped by it.
        below_gate: how many records miss a bound of the gate.
    """

    failures: int
    below_gate: int


def summarise(
    run: RunConfig, this_run: str | None = None, unnoted: Sequence[dict] = (), trial: Trial | None = None
) -> Summary:
    """Writes and prints the results of a sweep.

    Args:
        this_run: id of this run. Failures noted by other runs are counted separately; None counts all failures as
            failures of this run.
        unnoted: cells of this run whose notes could not be written.
        trial: what this run reports into the run of an agent that started it.
    """
    RecordStore(run.runs_dir).remove_free_claims()
    keep_gate(run.sweep_dir, run.metrics.gate)
    table = collect_wide(run.runs_dir, run.name)
    failures = sweep_failures(run.sweep_dir) + failures_of(list(unnoted))
    now = [failure for failure in failures if this_run in (None, failure["run"])]
    records = sweep_records(run.runs_dir, run.name)
    if not table.empty:
        show("\n" + summary_text(table) + "\n")
        against_real = calibrated(table)
        if not against_real.empty:
            show("".join(f"{text}\n" for text in calibration_texts(against_real)))
        for line in judge_lines(table):
            show(f"{paragraph(line)}\n")
        shown = [record for record in records if _has_video(record)]
        link_videos(shown, run.sweep_dir / "videos")
        with whole_files(run.sweep_dir, FILES) as part:
            write_table(table, part / "table.csv")
            if not against_real.empty:
                write_table(against_real, part / "calibration.csv")
            save(sweep_figure(table), part / "figure.png")
            _save_contact_sheet(shown, part / SHEET)
        if (sheet := run.sweep_dir / SHEET).is_file():
            show(f"contact sheet of the videos: {sheet}")
    if len(table) or failures:
        _publish(run, records, trial)
    for failure in now:
        show(f"FAILED  {failure['pair']} ({', '.join(failure['overrides'])}): {failure['reason']}")
    left = sum(failure["status"] == "skipped" for failure in now)
    if left:
        show(f"{left} of the failures are from earlier runs and were skipped; {RETRY_HINT}")
    below = below_gate(table)
    for line in below:
        show(line)
    if run.metrics.gate:
        show(f"gate: {len(table) - len(below)} of {len(table)} records passed ({run.metrics.gate.text})")
    earlier = f" (and {len(failures) - len(now)} from earlier runs)" if len(failures) > len(now) else ""
    show(f"{len(table)} records, {len(now)} failures{earlier} in {run.sweep_dir}")
    if not table.empty:
        show("files: videos/, contact_sheet.png, figure.png, table.csv, calibration.csv")
        show(f"the records are in {run.runs_dir / 'records'}")
        for line in missing_lines(_missing(table)):
            show(paragraph(line, indent="  "))
    return Summary(len(now), len(below))


def _publish(run: RunConfig, records: Sequence[Record], trial: Trial | None) -> None:
    """Hands the sweep to its trackers. One that fails says so in a line, and the others get theirs."""
    for tracker in run.tracker.names:
        count, stopped = publish_in_time(records, run.name, run.tracker.only(tracker), run.runs_dir, trial)
        place = f"W&B ({run.tracker.wandb_mode})" if tracker == "wandb" else tracker
        show(f"{place}: {count} records published now" + (f"; stopped: {stopped}" if stopped else ""))


def _has_video(record: Record) -> bool:
    """Whether a record's video is there; only a record of an older version can be whole without it."""
    if record.video_path.is_file():
        return True
    complain(f"left out: the video of record {record.id} is missing; remove {record.folder} to make it again")
    return False


def _save_contact_sheet(records: list[Record], path: Path) -> None:
    try:
        if records:
            save(contact_sheet(records), path)
    except MediaError as error:
        complain(f"the contact sheet could not be made: {error}; `latentsync check` finds damaged records")


def calibration_texts(against_real: pd.DataFrame) -> list[str]:
    """Confidences of sync of the results minus those of the real clips, by gender and setting: a table for each metric.

    Args:
        against_real: a table of `calibrated`.
    """
    texts = []
    for metric in CALIBRATED:
        columns = {name: [] for name in ("gender", "setting", "minus real clip", "95 %", "real clip", "over")}
        part = against_real[against_real["metric"] == metric]
        for row in part.itertuples():
            setting = row._asdict()
            steps = f"{row.num_inference_steps} steps"
            words = [f"guidance {row.guidance_scale:g}", steps, *departures(setting, setting)]
            difference = f"{row.minus_real:+.3f}{' *' * row.suspect}" if row.units else "-"
            interval = interval_text((row.low, row.high), "+.3f")
            cells = (row.gender, ", ".join(words), difference, interval, row.real, f"{row.units} {row.unit}s")
            for column, cell in zip(columns.values(), cells, strict=True):
                column.append(cell)
        if columns["gender"]:
            title = f"{word_of(metric)} of the results minus that of the real clips (0 is as good as real):"
            unit = against_real["unit"].iloc[0]
            notes = [f"Fewer than {LEAST_UNITS} {unit}s have no interval."] if part["units"].min() < LEAST_UNITS else []
            notes += [SUSPECT] if part["suspect"].any() else []
            texts.append("\n".join([paragraph(title), table_text(columns), *map(paragraph, notes)]))
    return texts


def summary_text(table: pd.DataFrame) -> str:
    """The table printed at the end of a run: cell, pair, a few metrics, seconds. Of a large sweep, its first rows."""
    also, number = varied(table), len(table)
    is_trained, table = table["trained"].all(), table.head(MOST_ROWS)
    columns = {"cell": [cell_label(row, also) for _, row in table.iterrows()], "pair": table["pair"]}
    for name, form in SHOWN.items():
        if name in table:
            columns[word_of(name)] = ["-" if pd.isna(value) else form.format(value) for value in table[name]]
    parts = [table_text(columns)]
    if not is_trained:
        parts.insert(0, paragraph(f"UNTRAINED MODEL: {NOT_QUALITY}"))
    if number > MOST_ROWS:
        parts.append(f"the first {MOST_ROWS} of {number} records; table.csv has all")
    return "\n".join(parts)


def _missing(table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """The metric and the reason of each missing value of a wide table."""
    for column in table:
        if column.endswith("_reason"):
            yield from ((column.removesuffix("_reason"), reason) for reason in table[column].dropna())


def link_videos(records: list[Record], folder: Path) -> None:
    """Gives the videos of a sweep readable names: links into the records, or copies if links are not supported."""
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        end = f"_{record.id}.mp4"
        name = re.sub(r"[\s/]", "_", visible(run_name(record.content)))
        link = folder / f"{shortened(name, name_max_bytes(folder) - len(end))}{end}"
        if not link.exists():
            place_link(record.video_path, link)
