"""The contents of a sweep's report: tables, figures, labels and facts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from latentsync.errors import OptionError
from latentsync.faces.landmarks import LandmarkDetector, MediaPipeLandmarks
from latentsync.lab.analysis.comparisons import compare_all, per_clip
from latentsync.lab.analysis.conclusions import METRICS, has_direction, setting_of, swept_beside
from latentsync.lab.analysis.intervals import mean_interval
from latentsync.lab.analysis.pareto import pareto_front
from latentsync.lab.console import complaints
from latentsync.lab.figures import curves
from latentsync.lab.figures.style import UNTRAINED
from latentsync.lab.options.schema import sweep_folder
from latentsync.lab.pages.media import PairMedia, figure_source, pair_media
from latentsync.lab.records.columns import notes_of
from latentsync.lab.records.labels import departures, settings_beside, varied, word_of
from latentsync.lab.records.store import Record
from latentsync.lab.records.sweeps import cell_key, sweep_in, sweep_records
from latentsync.lab.sweeps.status import COLUMNS, SweepStatus, status_of
from latentsync.lab.tables.tidy import collect, read_source, sweep_failures
from latentsync.metrics.definitions import DEFINITIONS, HEADLINES, PREFIXES, SUFFIXES, base_name, direction_of

SHOWN_WITH_A_VIDEO = ("lse_c", "sync_mini_confidence", "lpips_alex_mouth")
FRONT_AXES = ("lpips_alex_mouth", "sync_mini_confidence")
DEFAULT_BASELINES = {"guidance_scale": 1.5, "preset": "by_gender"}
BETTER = {"higher": "higher", "lower": "lower", "zero": "nearer to 0", "one": "nearer to 1", "none": "-"}


def is_headline(metric: str) -> bool:
    """Whether a metric, or the metric whose change (`change_`) or leak (`leaky_`) it measures, is shown first."""
    return _plain(metric) in HEADLINES


@dataclass(frozen=True)
class MeanRow:
    """A metric at one setting: mean and 95 % interval over `clips`; a single clip has no interval.

    `bar` has the positions of low, mean and high, in % of the range of all settings of the metric.
    """

    metric: str
    setting: tuple
    mean: float
    low: float | None
    high: float | None
    clips: int
    unit: str
    better: str
    is_headline: bool
    bar: tuple[float, float, float] | None = None


@dataclass
class Page:
    """Everything that the page of a sweep shows. The template has no other source."""

    sweep: str
    status: SweepStatus
    facts: dict[str, str]
    swept: dict[str, list[str]]
    is_trained: bool
    columns: list[str] = field(default_factory=list)
    means: list[MeanRow] = field(default_factory=list)
    column: str = ""
    baseline: str = ""
    comparisons: list[dict] = field(default_factory=list)
    not_compared: str = ""
    front: list[dict] = field(default_factory=list)
    objectives: list[str] = field(default_factory=list)
    front_note: str = ""
    figures: dict[str, str] = field(default_factory=dict)
    pairs: list[PairMedia] = field(default_factory=list)
    failures: list[dict] = field(default_factory=list)
    record_metrics: list[str] = field(default_factory=list)
    records: list[dict] = field(default_factory=list)
    protocols: list[dict] = field(default_factory=list)
    versions: dict[str, list[str]] = field(default_factory=dict)
    weights: dict[str, list[str]] = field(default_factory=dict)
    videos_note: str = ""

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
    if there and table[first].nunique() > 1:
        caption = "Means over clips with 95 % intervals; faint lines: single clips; dashed: the real clips' score"
        figures[caption] = curves.curves(table, first, there, by=within[0] if within else None)
    if page.comparisons:
        baseline = setting_of(table, first, page.baseline)
        caption = "Differences within each clip with BCa intervals; full marks: significant differences"
        compared_metrics = list(dict.fromkeys(row["metric"] for row in page.comparisons))  # one family of tests
        figures[caption] = curves.differences(table, first, baseline, compared_metrics, within)
    if page.front and set(FRONT_AXES) <= set(there):
        figures["Settings by two objectives, and how often each is on the Pareto front"] = curves.pareto(
            table, [first, *within], *FRONT_AXES
        )
    if there and table.groupby("clip")["seed"].nunique().max() > 1:
        figures["Seeds of each clip"] = curves.seed_spread(table, there)
    figures["Records of each pair; lines are means of seeds"] = curves.sweep_figure(table)
    return figures


def settings_of(table: pd.DataFrame) -> list[str]:
    """The columns that distinguish a sweep's settings: guidance, or the preset that chose it, and others."""
    first = "preset" if (table["guidance_from"] == "preset").all() else "guidance_scale"
    steps = ["num_inference_steps"] if table["num_inference_steps"].nunique() > 1 else []
    return [first, *steps, *varied(table)]


def metrics_of(table: pd.DataFrame) -> list[str]:
    """The metrics of results that have a value, headline metrics first, without those of controls and real clips."""
    known = [name for name in table.columns if base_name(name) in DEFINITIONS or name == "seconds"]
    known = [name for name in known if table[name].notna().any()]
    known = [name for name in known if name.endswith("_minus_real") or not name.endswith(SUFFIXES)]
    return sorted(known, key=lambda name: HEADLINES.index(_plain(name)) if is_headline(name) else len(HEADLINES))


def _plain(metric: str) -> str:
    for prefix in PREFIXES:
        metric = metric.removeprefix(prefix)
    return metric


def means_over_clips(table: pd.DataFrame, columns: Sequence[str], metrics: Sequence[str]) -> list[MeanRow]:
    """Each metric at each setting: the mean over clips with Student's interval. Seeds and voices are averaged first."""
    clips = per_clip(table, metrics, columns)
    rows = []
    for metric in metrics:
        unit = "s" if metric == "seconds" else DEFINITIONS[base_name(metric)].unit
        better = BETTER["lower" if metric == "seconds" else direction_of(metric)]
        of_metric = []
        for setting, part in clips[metric].groupby(list(columns)):
            values = part.dropna().to_numpy()
            if len(values):
                low, high = mean_interval(values) or (None, None)
                numbers = float(values.mean()), low, high, len(values), unit, better, is_headline(metric)
                of_metric.append(MeanRow(metric, setting, *numbers))
        rows += _with_bars(of_metric)
    return rows


def _with_bars(rows: list[MeanRow]) -> list[MeanRow]:
    """The rows of one metric with the positions of low, mean and high, in % of the range of all rows."""
    edges = [value for row in rows for value in (row.low, row.mean, row.high) if value is not None]
    start, span = min(edges, default=0.0), max(edges, default=0.0) - min(edges, default=0.0)
    if not span:
        return rows

    def place(value: float) -> float:
        return round(100 * (value - start) / span, 2)

    lows_and_highs = [(row.mean, row.mean) if row.low is None else (row.low, row.high) for row in rows]
    return [
        replace(row, bar=(place(low), place(row.mean), place(high)))
        for row, (low, high) in zip(rows, lows_and_highs, strict=True)
    ]


def compared(table: pd.DataFrame, columns: Sequence[str], baseline: str | None, page: Page) -> None:
    """Adds the comparisons with a baseline and the Pareto front to the page, or the reason why there are none.

    It compares the settings of the first column with several values.

    Raises:
        OptionError: the given baseline is not a setting.
    """
    metrics = [name for name in METRICS if name in table and table[name].notna().any()]
    column = next((name for name in columns if table[name].nunique() > 1), columns[0])
    within = [name for name in swept_beside(table, column) if name in columns]
    try:
        chosen = _baseline(table, column) if baseline is None else setting_of(table, column, baseline)
        page.column, page.baseline = column, f"{chosen}"
        if not metrics:
            raise OptionError(f"no record has a value of {' or '.join(METRICS)}")
        page.comparisons = compare_all(table, metrics, column, chosen, within).to_dict("records")
    except OptionError as error:
        if baseline is not None:
            raise
        page.not_compared = str(error)
    page.objectives = [*filter(has_direction, metrics), "seconds"]
    try:
        front = pareto_front(table, [column, *within], page.objectives)
    except OptionError as error:
        page.front_note = str(error)
        return
    page.front = [
        {**row, "setting": _setting_words([column, *within], [row[name] for name in (column, *within)])}
        for row in front.to_dict("records")
    ]


def _baseline(table: pd.DataFrame, column: str) -> Any:
    there = sorted(table[column].dropna().unique().tolist())
    wanted = DEFAULT_BASELINES.get(column)
    return wanted if wanted in there else there[0]


def _setting_words(columns: Sequence[str], values: Iterable[Any]) -> str:
    return ", ".join(f"{word_of(name)} {value_text(value)}" for name, value in zip(columns, values, strict=True))


def value_text(value: Any) -> str:
    """A value as text: four significant digits, or a dash if there is none."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def video_labels(table: pd.DataFrame, columns: Sequence[str]) -> dict[str, str]:
    """Record -> the label of a result among those of its pair: its setting, and the seed if it varies."""
    columns = [*columns, *(["seed"] if table["seed"].nunique() > 1 else [])]
    return {row["record"]: _setting_words(columns, [row[name] for name in columns]) for row in table.to_dict("records")}


def failures_of_sweep(runs_dir: Path, status: SweepStatus) -> list[dict]:
    """The failures that no later run has resolved, each with pair, cell, stage and reason."""
    return [
        {**failure, "cell": ", ".join(failure["overrides"])}
        for failure in sweep_failures(sweep_folder(runs_dir, status.name))
        if status.states.get((cell_key(failure["overrides"]), failure["pair"]), "failed") == "failed"
    ]


def protocols_of(tidy: pd.DataFrame) -> list[dict]:
    """The network and protocol of each metric, one row for each combination and version."""
    columns = ["metric", "unit", "direction", "network", "weights", "version", "protocol"]
    if tidy.empty:
        return []
    counted = tidy.groupby(columns, dropna=False).agg(records=("value", "size"), without=("value", _missing))
    return counted.reset_index().to_dict("records")


def _missing(values: pd.Series) -> int:
    return int(values.isna().sum())


def values_by_name(records: Sequence[Record], *keys: str) -> dict[str, list[str]]:
    """The entries under the given keys of the records' contents, each with all its values over the records."""
    values: dict[str, list[str]] = {}
    for record in records:
        entries = record.content
        for key in keys:
            entries = entries.get(key) or {}
        for name, value in entries.items():
            if str(value) not in values.setdefault(name, []):
                values[name].append(str(value))
    return values


def gather(runs_dir: Path, sweep: str, detector: LandmarkDetector | None, baseline: str | None = None) -> Page:
    """Everything that the page of a sweep shows, except its videos, which are embedded or linked later.

    Args:
        detector: the landmark detector for the mouths; None takes the project's own.

    Raises:
        OptionError: there is no such sweep, it has neither records nor failures, or the baseline is not one of its
            settings.
    """
    sweep_in(runs_dir, sweep)
    with complaints() as left_out:
        return _gathered(runs_dir, sweep, detector, baseline, left_out)


def _gathered(
    runs_dir: Path, sweep: str, detector: LandmarkDetector | None, baseline: str | None, left_out: list[str]
) -> Page:
    """The page of `gather`, which collects what it leaves out."""
    status, records = status_of(runs_dir, sweep), sweep_records(runs_dir, sweep)
    failures = failures_of_sweep(runs_dir, status)
    if not records and not failures:
        raise OptionError(f"sweep {sweep} in {runs_dir} has neither records nor failures; run it first")
    is_trained = all(record.content["model"]["trained"] for record in records)
    page = Page(sweep, status, {}, {}, is_trained, failures=failures)
    if not records:
        page.facts = {"records": _counts(status), **_left_out(left_out)}
        return page
    table, tidy = read_source(runs_dir, sweep), collect(runs_dir, sweep)
    columns, metrics = settings_of(table), metrics_of(table)
    page.facts, page.swept = facts_of(table, records, status) | _left_out(left_out), swept_of(table, columns)
    page.columns = [word_of(name) for name in columns]
    page.means = means_over_clips(table, columns, metrics)
    compared(table, columns, baseline, page)
    page.figures = {caption: figure_source(figure) for caption, figure in figures_of(table, columns, page).items()}
    page.record_metrics = [name for name in metrics if is_headline(name)]
    labels = video_labels(table, columns)
    page.records = [{**row, "label": labels[row["record"]]} for row in table.to_dict("records")]
    page.protocols = protocols_of(tidy)
    page.versions, page.weights = (
        values_by_name(records, "versions"),
        values_by_name(records, "model", "weights_sha256"),
    )
    values = [name for name in metrics if base_name(name) in SHOWN_WITH_A_VIDEO and not name.endswith(SUFFIXES)]
    details = {row["record"]: {word_of(name): value_text(row[name]) for name in values} for row in page.records}
    for record in records:
        details[record.id] |= {"note": note} if (note := "; ".join(notes_of(record.content))) else {}
    detector = detector or MediaPipeLandmarks()
    page.pairs = pair_media(records, labels, details, detector)
    return page


def _left_out(lines: Sequence[str]) -> dict[str, str]:
    """The fact of a page that names what it leaves out; empty if it leaves out nothing."""
    return {"left out": "; ".join(line.removeprefix("left out: ") for line in lines)} if lines else {}


def facts_of(table: pd.DataFrame, records: Sequence[Record], status: SweepStatus) -> dict[str, str]:
    """The facts of a sweep in a few words each: model, clips, options, time."""
    dates = sorted(record.content["made"][:10] for record in records if "made" in record.content)
    days = " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else ""
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
        "made": days,
        "notes": _notes(records),
    }
    swept = swept_of(table, settings_of(table))
    return {name: value for name, value in facts.items() if value and name not in [word_of(key) for key in swept]}


def _notes(records: Sequence[Record]) -> str:
    """What a reader must know of the pairs' clips and results, each note once, with the pairs that it is about."""
    pairs: dict[str, set[str]] = {}
    for record in records:
        for note in notes_of(record.content):
            pairs.setdefault(note, set()).add(record.content["pair"]["name"])
    return "; ".join(f"{', '.join(sorted(names))}: {note}" for note, names in pairs.items())


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
