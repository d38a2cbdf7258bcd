"""The contents of a sweep's report: tables, figures, labels and facts."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from latentsync.errors import OptionError
from latentsync.lab.analysis.attrition import attrition, attrition_lines, luck_line
from latentsync.lab.analysis.comparisons import compare_all, swept_beside
from latentsync.lab.analysis.conclusions import METRICS, comparison_notes, has_direction, setting_of
from latentsync.lab.analysis.intervals import LEAST_DRAWN
from latentsync.lab.analysis.judged import judge_lines
from latentsync.lab.analysis.pareto import TIME_RATIO, pareto_front, with_time_ratio
from latentsync.lab.console import complaints
from latentsync.lab.figures import curves
from latentsync.lab.figures.style import UNTRAINED
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.pages.chosen import Choice, chosen
from latentsync.lab.pages.means import (
    MeanRow,
    is_headline,
    means_over_clips,
    metrics_of,
    setting_words,
    settings_of,
    value_text,
)
from latentsync.lab.pages.media import PairMedia, figure_source, pair_media
from latentsync.lab.pages.provenance import Provenance, provenance_of
from latentsync.lab.records.labels import departures, settings_beside, varied, word_of
from latentsync.lab.records.store import Record, RecordStore
from latentsync.lab.records.sweeps import cell_key, sweep_in, sweep_records
from latentsync.lab.sweeps.status import COLUMNS, SweepStatus, status_of
from latentsync.lab.tables.gate import PASSED
from latentsync.lab.tables.tidy import read_source, sweep_failures
from latentsync.metrics.definitions import SUFFIXES, base_name

if TYPE_CHECKING:
    from latentsync.faces.landmarks import LandmarkDetector

SHOWN_WITH_A_VIDEO = ("lse_c", "sync_mini_confidence", "lpips_alex_mouth")
MAX_COMPARED = 60  # settings, beyond which there is no comparison and no figure of settings
MAX_MEANS = 3000  # rows of means
TABLE_ROWS = 50  # of the records' table that are in the page without scripts, if there are more than MAX_TABLE_ROWS
MAX_TABLE_ROWS = 200
DEFAULT_BASELINES = {"guidance_scale": 1.5, "preset": "by_gender"}


@dataclass
class Page:
    """Everything that the page of a sweep shows. The template has no other source."""

    sweep: str
    status: SweepStatus
    facts: dict[str, str]
    swept: dict[str, list[str]]
    is_trained: bool
    judges: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    means: list[MeanRow] = field(default_factory=list)
    column: str = ""
    baseline: str = ""
    comparisons: list[dict] = field(default_factory=list)
    comparison_notes: list[str] = field(default_factory=list)
    not_compared: str = ""
    front: list[dict] = field(default_factory=list)
    objectives: dict[str, str] = field(default_factory=dict)
    front_note: str = ""
    time_note: str = ""
    front_figure: str = ""
    figures: dict[str, str] = field(default_factory=dict)
    pairs: list[PairMedia] = field(default_factory=list)
    choice: Choice = field(default_factory=Choice)
    choices: list[dict] = field(default_factory=list)
    left_out_means: str = ""
    runs: str = ""
    records_folder: str = ""
    failures: list[dict] = field(default_factory=list)
    record_metrics: list[str] = field(default_factory=list)
    records: list[dict] = field(default_factory=list)
    num_records: int = 0
    all_records: dict | None = None
    protocols: list[dict] = field(default_factory=list)
    versions: dict[str, list[str]] = field(default_factory=dict)
    weights: dict[str, list[str]] = field(default_factory=dict)
    videos_note: str = ""
    kind: str = "a sweep"
    noun: str = "record"

    @property
    def has_few_clips(self) -> bool:
        """Whether some mean has too few clips for an interval."""
        return any(row.clips < LEAST_DRAWN for row in self.means)

    @property
    def has_suspects(self) -> bool:
        """Whether some mean is better than that of the real clips, see `metrics.suspects`."""
        return any(row.suspect for row in self.means)

    def setting_values(self, place: int) -> list[str]:
        """The values of one of `columns`, as text."""
        values = dict.fromkeys(row.setting[place] for row in self.means)
        return [value_text(value) for value in sorted(values)]


def figures_of(table: pd.DataFrame, columns: Sequence[str], page: Page) -> dict[str, Figure]:
    """The figures of a page by their captions, which are also the alternative texts.

    Args:
        table: a wide table.
        columns: the columns that distinguish the settings.
        page: a page that has its comparisons and front.
    """
    there = [name for name in curves.HEADLINES if name in table and table[name].notna().any()]
    first, figures = page.column, {}
    within = [name for name in swept_beside(table, first) if name in columns]
    is_drawn = 1 < table[[first, *within]].drop_duplicates().shape[0] <= MAX_COMPARED
    few = page.has_few_clips
    if there and table[first].nunique() > 1 and is_drawn:
        marks = "dots are single clips" if few else "with 95 % intervals; faint lines: single clips"
        caption = f"Means over clips, {marks}; dashed: the real clips' score"
        figures[caption] = curves.curves(table, first, there, by=within[0] if within else None)
    if page.comparisons:
        baseline = setting_of(table, first, page.baseline)
        marks = "faint dots: single clips" if few else "with 95 % intervals"
        caption = f"Differences within each clip, {marks}; full marks: significant differences"
        compared_metrics = list(dict.fromkeys(row["metric"] for row in page.comparisons))  # one family of tests
        figures[caption] = curves.differences(table, first, baseline, compared_metrics, within)
    if there and table.groupby("clip")["seed"].nunique().max() > 1:
        figures["Seeds of each clip"] = curves.seed_spread(table, there)
    has_options = "guidance_scale" in table and table["guidance_scale"].notna().all()
    if has_options and (is_drawn or table[first].nunique() == 1):
        figures["Records of each pair; lines are means of seeds"] = curves.sweep_figure(table)
    return figures


def front_figure(table: pd.DataFrame, columns: Sequence[str], page: Page) -> Figure | None:
    """The settings of the page's front by its first two objectives; full marks are on the front of all of them."""
    names = list(page.objectives)
    table = with_time_ratio(table, columns) if TIME_RATIO in names else table
    return curves.pareto(table, columns, names[1], names[0], names[2:]) if len(page.front) > 1 else None


def compared(
    table: pd.DataFrame, columns: Sequence[str], baseline: str | None, page: Page, metrics: Sequence[str] = METRICS
) -> None:
    """Adds the comparisons with a baseline and the Pareto front to the page, or the reason why there are none.

    It compares the settings of the first column with several values, in those of the metrics that have any.

    Raises:
        OptionError: the given baseline is not a setting.
    """
    asked = metrics
    metrics = [name for name in asked if name in table and table[name].notna().any()]
    column = next((name for name in columns if table[name].nunique() > 1), columns[0])
    within = [name for name in swept_beside(table, column) if name in columns]
    try:
        first = _baseline(table, column) if baseline is None else setting_of(table, column, baseline)
        page.column, page.baseline = column, f"{first}"
        if not metrics:
            raise OptionError(f"no record has a value of {' or '.join(asked)}")
        if table[column].nunique() <= MAX_COMPARED:
            comparisons = compare_all(table, metrics, column, first, within)
            page.comparisons = comparisons.to_dict("records")
            page.comparison_notes = [
                *comparison_notes(comparisons),
                *attrition_lines(attrition(table, metrics, column, within), column),
                *filter(None, [luck_line(table, name, column, within) for name in metrics if has_direction(name)]),
            ]
    except OptionError as error:
        if baseline is not None:
            raise
        page.not_compared = str(error)
    setting = [column, *within]
    if (number := table[setting].drop_duplicates().shape[0]) > MAX_COMPARED:
        page.comparisons, page.comparison_notes = [], []
        page.not_compared = page.front_note = (
            f"the sweep has {number} settings, and a page compares at most {MAX_COMPARED}; `latentsync compare` takes "
            "those of a filter"
        )
        return
    has_time = "seconds" in table and table["seconds"].notna().all()
    timed = with_time_ratio(table, setting) if has_time else None
    page.objectives = {name: word_of(name) for name in metrics if has_direction(name)}
    if timed is None and has_time:
        page.time_note = "Time does not count: no setting differs measurably in it, clip by clip."
    elif timed is not None:
        first = setting_words(setting, table[setting].sort_values(setting).iloc[0])
        page.objectives[TIME_RATIO] = "time"
        page.time_note = (
            f"Time is a measured ratio: each setting's time to that of {first}, on the same clips, voices and seeds, "
            "to the nearest tenth; it is 1 where its interval holds 1."
        )
    if len(page.objectives) < 2:
        page.front_note = f"a front needs two objectives, and the records have {len(page.objectives)}"
        return
    try:
        front = pareto_front(table if timed is None else timed, setting, list(page.objectives))
    except OptionError as error:
        page.front_note = str(error)
        return
    page.front = [
        {**row, "setting": setting_words(setting, [row[name] for name in setting])} for row in front.to_dict("records")
    ]


def _baseline(table: pd.DataFrame, column: str) -> Any:
    there = sorted(table[column].dropna().unique().tolist())
    wanted = DEFAULT_BASELINES.get(column)
    return wanted if wanted in there else there[0]


def video_labels(table: pd.DataFrame, columns: Sequence[str]) -> dict[str, str]:
    """Record -> the label of a result among those of its pair: its setting, and the seed if it varies."""
    columns = [*columns, *(["seed"] if table["seed"].nunique() > 1 else [])]
    settings = table[columns].itertuples(index=False, name=None)
    return {record: setting_words(columns, own) for record, own in zip(table["record"], settings, strict=True)}


def failures_of_sweep(runs_dir: Path, status: SweepStatus) -> list[dict]:
    """The failures that no later run has resolved, each with pair, cell, stage and reason."""
    return [
        {**failure, "cell": ", ".join(failure["overrides"])}
        for failure in sweep_failures(sweep_folder(runs_dir, status.name))
        if status.states.get((cell_key(failure["overrides"]), failure["pair"]), "failed") == "failed"
    ]


def gather(
    runs_dir: Path, sweep: str, detector: "LandmarkDetector | None", baseline: str | None = None,
    pairs: Sequence[str] = (), folder: Path | None = None,
) -> Page:  # fmt: skip
    """Everything that the page of a sweep shows, except its videos, which are embedded or linked later.

    Args:
        detector: the landmark detector for the mouths; None takes the project's own.
        pairs: names of the pairs that are shown with videos; by default some of each setting, see `chosen`.
        folder: where the page will lie; by default the sweep's folder.

    Raises:
        OptionError: there is no such sweep, it has neither records nor failures, the baseline is not one of its
            settings, or a pair is unknown.
    """
    sweep_in(runs_dir, sweep)
    with complaints() as left_out:
        return _gathered(runs_dir, sweep, detector, baseline, pairs, folder or sweep_folder(runs_dir, sweep), left_out)


def _gathered(
    runs_dir: Path, sweep: str, detector: "LandmarkDetector | None", baseline: str | None, pairs: Sequence[str],
    folder: Path, left_out: list[str],
) -> Page:  # fmt: skip
    """The page of `gather`."""
    status = status_of(runs_dir, sweep)
    failures = failures_of_sweep(runs_dir, status)
    records = {record.id: record for record in sweep_records(runs_dir, sweep)}
    if not records and not failures:
        raise OptionError(f"sweep {sweep} in {runs_dir} has neither records nor failures; run it first")
    page = Page(sweep, status, {}, {}, True, failures=failures, runs=str(runs_dir))
    if not records:
        page.facts = {"records": _counts(status), **_left_out(left_out)}
        return page
    table = read_source(runs_dir, sweep)
    page.is_trained, page.judges = bool(table["trained"].all()), judge_lines(table)
    columns, metrics = settings_of(table), metrics_of(table)
    page.record_metrics = [name for name in metrics if is_headline(name)]
    page.choice = chosen(table, columns, page.record_metrics, pairs)
    known = provenance_of(Record(record.folder, record.labels) for record in records.values())
    page.versions, page.weights, page.protocols = known.versions, known.weights, known.protocols
    page.facts, page.swept = facts_of(table, known, status) | _left_out(left_out), swept_of(table, columns)
    page.columns = [word_of(name) for name in columns]
    add_means(page, table, columns, metrics)
    compared(table, columns, baseline, page)
    if page.front and (figure := front_figure(table, [page.column, *_within(table, columns, page)], page)) is not None:
        page.front_figure = figure_source(figure)
    page.figures = {caption: figure_source(figure) for caption, figure in figures_of(table, columns, page).items()}
    labels = video_labels(table, columns)
    add_records(page, table, labels, RecordStore(runs_dir).root, folder)
    rows = {row["record"]: row for row in table[table["record"].isin(page.choice.reasons)].to_dict("records")}
    values = [name for name in metrics if base_name(name) in SHOWN_WITH_A_VIDEO and not name.endswith(SUFFIXES)]
    details = {}
    for record, row in rows.items():
        details[record] = {word_of(name): value_text(row[name]) for name in values}
        details[record] |= {"note": row["notes"]} if isinstance(row["notes"], str) and row["notes"] else {}
    shown = [records[record] for record in page.choice.reasons if record in records and record in rows]
    page.pairs = pair_media(runs_dir, shown, labels, details, page.choice.reasons, detector)
    page.choices = choices_of(page, table, columns)
    return page


def _within(table: pd.DataFrame, columns: Sequence[str], page: Page) -> list[str]:
    """The columns that make a setting beside the compared one."""
    return [name for name in swept_beside(table, page.column) if name in columns]


def add_means(page: Page, table: pd.DataFrame, columns: Sequence[str], metrics: Sequence[str]) -> None:
    """Adds the means; only those of the headline metrics, or of the first settings, if there are too many."""
    settings = table[list(columns)].drop_duplicates().sort_values(list(columns))
    if len(settings) * len(metrics) > MAX_MEANS:
        metrics = [name for name in metrics if is_headline(name)] or metrics[:1]
        page.left_out_means = "Only headline metrics are listed, because there are many settings."
    if len(settings) * len(metrics) > MAX_MEANS:
        first = settings.head(max(1, MAX_MEANS // len(metrics)))
        page.left_out_means = f"Only {len(first)} of {len(settings)} settings and headline metrics are listed."
        table = table.merge(first, on=list(columns))
    if page.left_out_means and page.runs:
        page.left_out_means += f" latentsync collect {page.runs} --sweep {page.sweep} writes all values."
    page.means = means_over_clips(table, columns, metrics)


def add_records(
    page: Page, table: pd.DataFrame, labels: Mapping[str, str], root: Path | None = None, folder: Path = Path()
) -> None:
    """Adds the table of records: all of them, or the first ones and all as compact columns for the page's script.

    Args:
        root, folder: where the records and the page lie; None: no record has a folder.
    """
    page.num_records = len(table)
    if root is not None:
        page.records_folder = quote(Path(os.path.relpath(root.resolve(), folder.resolve())).as_posix())
    reasons = [f"{name}_reason" for name in page.record_metrics if f"{name}_reason" in table]
    facts = ["record", "pair", "gender", "seed", "video_frames"]
    rows = table[[*facts, *page.record_metrics, *reasons]].assign(label=table["record"].map(labels))
    first = rows if len(rows) <= MAX_TABLE_ROWS else rows.head(TABLE_ROWS)
    page.records = first.to_dict("records")
    if len(first) == len(rows):
        return
    columns: list[dict] = []
    for name in ("pair", "gender", "label", "seed", "video_frames", *page.record_metrics, "record"):
        is_number = name in ("seed", "video_frames", *page.record_metrics)
        columns.append(_packed(rows[name], is_number, rows.get(f"{name}_reason")))
    page.all_records = {"columns": columns, "folder": page.records_folder}


def _packed(values: pd.Series, is_number: bool, reasons: pd.Series | None) -> dict:
    """A column for the page's script: numbers as they are, words by their place in a list of different ones."""
    if is_number:
        numbers = [None if pd.isna(value) else float(f"{value:.6g}") for value in values]
        missing = {} if reasons is None else {
            place: reason for place, reason in enumerate(reasons) if isinstance(reason, str) and reason
        }  # fmt: skip
        return {"numbers": numbers, "reasons": missing}
    codes, words = pd.factorize(values)
    return {"words": [str(word) for word in words], "places": codes.tolist()}


def choices_of(page: Page, table: pd.DataFrame, columns: Sequence[str]) -> list[dict]:
    """The pairs that are shown of each setting, by rank, each with the place of its pair in the page and its value."""
    if not page.choice.metric or not any(page.choice.reasons.values()):
        return []
    places = {video.record: place for place, pair in enumerate(page.pairs) for video in pair.videos if video.record}
    rows = table[table["record"].isin(places)].sort_values(list(columns))
    choices: dict[str, dict] = {}
    for row in rows.to_dict("records"):
        setting = setting_words(columns, [row[name] for name in columns])
        own = choices.setdefault(setting, {"setting": setting})
        for rank in page.choice.reasons[row["record"]]:
            own[rank] = {
                "place": places[row["record"]], "pair": row["pair"], "value": value_text(row[page.choice.metric])
            }  # fmt: skip
    return list(choices.values())


def _left_out(lines: Sequence[str]) -> dict[str, str]:
    """The fact of a page that names what it leaves out; empty if it leaves out nothing."""
    return {"left out": "; ".join(line.removeprefix("left out: ") for line in lines)} if lines else {}


def facts_of(table: pd.DataFrame, known: Provenance, status: SweepStatus) -> dict[str, str]:
    """The facts of a sweep in a few words each: model, clips, options, time."""
    genders = ", ".join(f"{number} {name}" for name, number in table.groupby("gender")["clip"].nunique().items())
    models = sorted(set(table["model"] + np.where(table["trained"], "", f" ({UNTRAINED})")))
    facts = {
        "model": ", ".join(models),
        "records": _counts(status),
        "clips": f"{table['clip'].nunique()} ({genders})",
        "pairs": f"{table['pair'].nunique()} of clip and voice",
        "seed": ", ".join(map(str, sorted(table["seed"].unique()))),
        "steps": ", ".join(map(str, sorted(table["num_inference_steps"].unique()))),
        "scheduler": ", ".join(sorted(table["scheduler"].unique())),
        "unusual options": _common_departures(table),
        "size (px)": ", ".join(map(str, sorted(table["size_px"].unique()))),
        "generation": f"{table['seconds'].mean():.3g} s a record, {table['seconds'].sum() / 60:.3g} min in all",
        "made": " to ".join(known.made),
        "gate": f"{(table['gate'] == PASSED).sum()} of {len(table)} records passed" if "gate" in table else "",
        "consent": "; ".join(sorted(table["consent"].dropna().unique())),
        "notes": notes_text(table),
    }
    swept = swept_of(table, settings_of(table))
    return {name: value for name, value in facts.items() if value and name not in [word_of(key) for key in swept]}


def notes_text(table: pd.DataFrame) -> str:
    """What a reader must know of the pairs' clips and results, each note once, with the pairs that it is about."""
    pairs: dict[str, set[str]] = {}
    noted = table[table["notes"].notna()]
    for name, notes in zip(noted["pair"], noted["notes"], strict=True):
        for note in notes.split("; "):
            pairs.setdefault(note, set()).add(name)
    return "; ".join(f"{_first_names(sorted(names))}: {note}" for note, names in pairs.items())


def _first_names(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _common_departures(table: pd.DataFrame) -> str:
    """The unusual options that all records share, in words, without the scheduler, which has its own line."""
    differing = {*varied(table), "scheduler"}
    columns = [name for name in settings_beside() if name in table and name not in differing]
    words = [departures(row) for row in table[columns].drop_duplicates().to_dict("records")]
    return ", ".join(word for word in words[0] if all(word in others for others in words))


def _counts(status: SweepStatus) -> str:
    return ", ".join(f"{status.count(state)} {state}" for state in COLUMNS if state == "done" or status.count(state))


def swept_of(table: pd.DataFrame, columns: Sequence[str]) -> dict[str, list[str]]:
    """The parameters with several values, and these values."""
    names = [name for name in (*columns, "seed") if table[name].nunique() > 1]
    return {name: [value_text(value) for value in sorted(table[name].dropna().unique().tolist())] for name in names}
