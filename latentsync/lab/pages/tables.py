"""The report of tables: videos that anything made, as `latentsync measure` writes them, and records beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import pandas as pd

from latentsync import media
from latentsync.constants import VIDEO_RATE_HZ
from latentsync.errors import LatentSyncError, OptionError
from latentsync.lab.analysis.comparisons import swept_beside
from latentsync.lab.analysis.conclusions import METRICS, has_direction
from latentsync.lab.analysis.judged import judge_lines
from latentsync.lab.pages.chosen import chosen
from latentsync.lab.pages.contents import (
    SHOWN_WITH_A_VIDEO,
    Page,
    add_means,
    add_records,
    choices_of,
    compared,
    figures_of,
    front_figure,
    notes_text,
    swept_of,
    video_labels,
)
from latentsync.lab.pages.means import is_headline, metrics_of, value_text
from latentsync.lab.pages.media import PageVideo, PairMedia, figure_source
from latentsync.lab.pages.provenance import PROTOCOL
from latentsync.lab.records.inputs import clip_of
from latentsync.lab.records.labels import word_of
from latentsync.lab.records.sweeps import all_records, sweep_records
from latentsync.lab.sweeps.status import SweepStatus
from latentsync.lab.tables.tidy import TABLE_SUFFIXES, collect, read_sources, read_table, require_columns
from latentsync.metrics.definitions import SUFFIXES, base_name

MOST_COMPARED = 4  # metrics of a table without the usual ones


def is_table(source: Path) -> bool:
    """Whether a source is the file of a table, and no runs folder."""
    return source.suffix.lower() in TABLE_SUFFIXES


@dataclass(frozen=True)
class Files:
    """The video of a row, and the one that it was made from or should look like. None: it is not known or not there."""

    video: Path | None
    reference: Path | None


def gather_tables(
    sources: Sequence[Path], sweep: str | None = None, column: str = "model", baseline: str | None = None,
    pairs: Sequence[str] = (),
) -> Page:  # fmt: skip
    """Everything that the page of tables shows. A row without any value is named among the failures.

    Args:
        sources: tables, and runs folders beside them.
        sweep: only the records of this sweep, of runs folders.
        column: what is compared.
        baseline: the value of the column that the others are compared with, as text; None: the first one.
        pairs: as for `contents.gather`.

    Raises:
        MediaError, OptionError: there is no such table, or it lacks a column or any value; the baseline or a pair is
            unknown.
    """
    table = _complete(read_sources(sources, sweep), column)
    metrics = metrics_of(table)
    if not metrics:
        raise OptionError(
            f"{_names(sources)} has no value of a known metric; measure the videos with latentsync measure"
        )
    page = Page(_names(sources), SweepStatus(""), {}, {}, is_trained=True, kind="tables", noun="video")
    tidy = _tidy(sources, sweep)
    is_whole = table[metrics].notna().any(axis=1)
    page.failures = [_failure(row, tidy, column) for row in table[~is_whole].to_dict("records")]
    within = swept_beside(table, column)
    for name in within:
        if table[name].isna().any():  # a video of another program has no such option
            table[name] = table[name].map(value_text)
    everything, table = table, table[is_whole].reset_index(drop=True)
    columns = [column, *within]
    page.record_metrics = [name for name in metrics if is_headline(name)] or metrics[:MOST_COMPARED]
    page.choice = chosen(table, columns, page.record_metrics, pairs)
    page.judges, page.protocols = judge_lines(table), _protocols(tidy)
    page.is_trained = bool(table["trained"].all())
    page.facts, page.swept = _facts(table, is_whole.sum(), len(page.failures)), swept_of(table, columns)
    page.columns = [word_of(name) for name in columns]
    add_means(page, table, columns, metrics)
    compared(everything, columns, baseline, page, _compared_metrics(table, metrics))
    if page.front and (figure := front_figure(table, [column, *within], page)) is not None:
        page.front_figure = figure_source(figure)
    page.figures = {caption: figure_source(figure) for caption, figure in figures_of(table, columns, page).items()}
    labels = video_labels(table, columns)
    add_records(page, table, labels)
    page.pairs = _pairs(page, table, labels, _files(sources, sweep, table), metrics)
    if not any(pair.videos for pair in page.pairs):
        page.pairs, page.facts = [], page.facts | {"not shown": "no video is where it was measured"}
    page.choices = choices_of(page, table, columns)
    return page


def _names(sources: Sequence[Path]) -> str:
    return " and ".join(source.name or source.resolve().name for source in sources)


def _complete(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The table with the columns that a page names, where a foreign table lacks them."""
    require_columns(table, "clip", "voice", column)
    known = {
        "record": table.index.astype(str), "pair": table["clip"].str.replace(r"\.\w+$", "", regex=True),
        "seed": 0, "gender": None, "notes": None, "video_frames": pd.NA,
    }  # fmt: skip
    table = table.assign(**{name: values for name, values in known.items() if name not in table})
    untrained = table["trained"].eq(other=False) if "trained" in table else False  # other programs say nothing of it
    table = table.assign(trained=~pd.Series(untrained, table.index).astype(bool))
    table = table.assign(gender=table["gender"].astype(object).where(table["gender"].notna(), "unknown"))
    if table["record"].duplicated().any():  # of the same content by the same model
        table = table.assign(record=table["record"] + "-" + table.groupby("record").cumcount().astype(str))
    return table.dropna(subset=[column])


def _tidy(sources: Sequence[Path], sweep: str | None) -> pd.DataFrame:
    """The rows of metrics of all sources that have them; a wide table has none."""
    tables = [read_table(source) if is_table(source) else collect(source, sweep) for source in sources]
    return pd.concat([table for table in tables if "metric" in table] or [pd.DataFrame({"metric": [], "value": []})])


def _protocols(tidy: pd.DataFrame) -> list[dict]:
    """Network and protocol of each metric, one row for each combination."""
    rows = tidy.assign(**{name: None for name in PROTOCOL if name not in tidy})
    counts = rows.groupby(["metric", *PROTOCOL], dropna=False)["value"].agg(["size", "count"]).reset_index()
    counts = counts.astype(object).where(counts.notna(), None)
    return counts.assign(records=counts["size"], without=counts["size"] - counts["count"]).to_dict("records")


def _failure(row: Mapping, tidy: pd.DataFrame, column: str) -> dict:
    """A row without values, as pages list failures."""
    reason = "no metric has a value"
    if {"record", "reason"} <= set(tidy):
        own = tidy.loc[tidy["record"] == row["record"], "reason"].dropna()
        reason = own.iloc[0] if len(own) else reason
    return {
        "pair": row["pair"],
        "cell": f"{word_of(column)} {row[column]}",
        "stage": None,
        "reason": reason,
        "trace": "",
    }


def _compared_metrics(table: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    usual = [name for name in METRICS if name in metrics]
    return usual or [name for name in metrics if has_direction(name) and name != "seconds"][:MOST_COMPARED]


def _facts(table: pd.DataFrame, videos: int, failures: int) -> dict[str, str]:
    genders = ", ".join(f"{number} {name}" for name, number in table.groupby("gender")["clip"].nunique().items())
    facts = {
        "model": ", ".join(sorted(map(str, table["model"].dropna().unique()))) if "model" in table else "",
        "videos": f"{videos} measured" + (f", {failures} failed" if failures else ""),
        "clips": f"{table['clip'].nunique()} ({genders})",
        "speakers": f"{table['group'].nunique()}" if "group" in table and table["group"].notna().any() else "",
        "notes": notes_text(table),
    }
    return {name: value for name, value in facts.items() if value}


def _files(sources: Sequence[Path], sweep: str | None, table: pd.DataFrame) -> dict[str, Files]:
    """The files of each record or row, as far as they are there."""
    files = {}
    for runs in (source for source in sources if not is_table(source)):
        for record in all_records(runs) if sweep is None else sweep_records(runs, sweep):
            files[record.id] = Files(record.video_path if record.video_path.is_file() else None, clip_of(record))
    if {"video_file", "reference_file"} <= set(table):
        named = table.dropna(subset=["video_file", "reference_file"])
        for record, *paths in named[["record", "video_file", "reference_file"]].itertuples(index=False):
            files[record] = Files(*(Path(path) if Path(path).is_file() else None for path in paths))
    return files


def _pairs(
    page: Page, table: pd.DataFrame, labels: Mapping[str, str], files: Mapping[str, Files], metrics: Sequence[str]
) -> list[PairMedia]:
    """The chosen videos, each beside what it was made from."""
    shown = [name for name in metrics if base_name(name) in SHOWN_WITH_A_VIDEO and not name.endswith(SUFFIXES)]
    shown = shown or page.record_metrics
    rows = {row["record"]: row for row in table[table["record"].isin(page.choice.reasons)].to_dict("records")}
    pairs: dict[str, PairMedia] = {}
    for record, reasons in page.choice.reasons.items():
        row, own = rows[record], files.get(record, Files(None, None))
        pair = pairs.setdefault(row["pair"], PairMedia(row["pair"], row["gender"], []))
        if _plays(own.reference) and not pair.videos:
            pair.videos.append(PageVideo("reference", own.reference))
        if not _plays(own.video):
            pair.notes.append(f"The video of {labels[record]} is not where it was measured.")
        else:
            details = {word_of(name): value_text(row[name]) for name in shown}
            details |= {"note": row["notes"]} if isinstance(row["notes"], str) and row["notes"] else {}
            pair.videos.append(PageVideo(labels[record], own.video, record, details))
        pair.reasons += [f"{reason} of {labels[record]}" for reason in reasons]
    return list(pairs.values())


def _plays(path: Path | None) -> TypeGuard[Path]:
    """Whether a file is a video. A table may name any file, and a page contains what it shows."""
    try:
        return path is not None and bool(media.probe(path, VIDEO_RATE_HZ).num_frames)
    except (LatentSyncError, OSError):
        return False
