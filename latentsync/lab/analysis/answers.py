"""Answers from a sweep: compares settings with a baseline and the genders with each other; finds the Pareto front."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from latentsync.errors import OptionError
from latentsync.lab.analysis.attrition import attrition, attrition_lines, luck_line
from latentsync.lab.analysis.comparisons import (
    compare_all,
    differences_of,
    interactions,
    judge,
    swept_beside,
)
from latentsync.lab.analysis.conclusions import (
    METRICS,
    comparison_text,
    front_text,
    has_direction,
    interaction_text,
    setting_of,
)
from latentsync.lab.analysis.judged import judge_lines
from latentsync.lab.analysis.pareto import DISTANCES, directions_of, pareto_front
from latentsync.lab.analysis.seeds import margins
from latentsync.lab.analysis.verdicts import Interaction
from latentsync.lab.console import paragraph
from latentsync.lab.records.labels import word_of
from latentsync.lab.tables.tidy import require_columns, widen, with_distinct_names


@dataclass(frozen=True)
class Answers:
    """The results of a table of records for one parameter.

    Attributes:
        column: the parameter.
        comparisons: each setting compared with the baseline, one row per metric and setting; see `compare_all`.
        interactions: by metric, how the genders differ; empty without both genders. They belong to the same family of
            tests as the comparisons.
        objectives: the objectives of the Pareto front: metrics with a better direction, and seconds.
        front: the settings with their means and whether they are on the front; see `pareto_front`. Empty if there is
            none; `notes` says why.
        lost: the clips without a value at some setting; see `attrition`.
        notes: sentences on judges of sync that fail on real clips, on a choice among the settings, and on what could
            not be computed.
    """

    column: str
    comparisons: pd.DataFrame
    interactions: dict[str, list[Interaction]]
    objectives: list[str]
    front: pd.DataFrame
    lost: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All results as text."""
        parts = [comparison_text(self.comparisons, self.column)]
        if len(self.lost):
            parts.append("\n".join(map(paragraph, ["Lost:", *attrition_lines(self.lost, self.column)])))
        if self.interactions:
            genders = [one for of_metric in self.interactions.values() for one in of_metric]
            parts.append(f"women and men:\n{interaction_text(genders)}")
        if len(self.front):
            ways = directions_of(self.objectives)
            words = [word_of(name) + " (distance from the best)" * (ways[name] in DISTANCES) for name in ways]
            title = paragraph(f"Pareto front of {', '.join(words)}:")
            parts.append(f"{title}\n{front_text(self.front)}")
        return "\n\n".join([*parts, *map(paragraph, self.notes)])


def answers(
    table: pd.DataFrame, baseline: str, column: str = "guidance_scale", metrics: Sequence[str] = (),
    margin: float | Mapping[str, float] | None = None, of_logs: bool = False,
) -> Answers:  # fmt: skip
    """The results of a table for one parameter. Compared records agree in all other swept parameters.

    Args:
        table: a wide table (one row per record) from `tables.tidy.read_source`.
        baseline: the setting that the others are compared with, as text from a command line.
        metrics: their names; if empty, the usual ones that the table has.
        margin: within which settings count as equivalent, for all metrics or by metric; None takes the deviation
            between seeds, if there are several.
        of_logs: whether to compare logarithms, for skewed metrics above 0.

    Raises:
        OptionError: the table has no such column, setting or metric.
    """
    setting, within, metrics = _question(table, column, baseline, metrics)
    differences = differences_of(table, metrics, column, setting, within, of_logs)
    genders = interactions(table, metrics, column, setting, within, of_logs)
    comparisons, genders = judge(differences, genders, _margins(table, metrics, margin, of_logs))
    by_metric = {name: [one for one in genders if one.metric == name] for name in metrics}
    notes: list[str | None] = list(judge_lines(table, metrics))
    notes += [luck_line(table, name, column, within) for name in metrics if has_direction(name)]
    objectives = [*filter(has_direction, metrics), *(["seconds"] if "seconds" in table else [])]
    front = pd.DataFrame()
    try:
        if len(objectives) < 2:
            raise OptionError(f"it needs two objectives, and there is {len(objectives)}")
        front = pareto_front(table, [column, *within], objectives)
    except OptionError as error:
        notes.append(f"No Pareto front: {error}")
    return Answers(
        column=column,
        comparisons=comparisons,
        interactions={name: each for name, each in by_metric.items() if each},
        objectives=objectives,
        front=front,
        lost=attrition(table, metrics, column, within),
        notes=[note for note in notes if note],
    )


def _margins(
    table: pd.DataFrame, metrics: Sequence[str], margin: float | Mapping[str, float] | None, of_logs: bool
) -> dict[str, float | None]:
    """Margins of the metrics. A deviation between seeds is none of logarithms."""
    if of_logs and margin is None:
        return {}
    return margins(table, metrics, margin)


def compare(
    table: pd.DataFrame, column: str = "guidance_scale", *, baseline: Any, metrics: str | Sequence[str] = (),
    margin: float | Mapping[str, float] | None = None, of_logs: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Compares every other setting of a column with a baseline, over speakers where they are known, else over clips.
    All metrics form one family of tests.

    `compare(collect("runs", "NAME"), "guidance_scale", baseline=1.5)`. Compared records agree in all other swept
    parameters. docs/statistics.md explains the method.

    Args:
        table: a table of `latentsync.lab.collect`, or a wide one (one row per record).
        metrics: their names; if empty, the usual ones that the table has. Give all metrics that you look at, because
            the correction for several comparisons counts only these.

        margin: within which settings count as equivalent, for all metrics or by metric, in the metric's unit; None
            takes the deviation between seeds, if there are several.
        of_logs: whether to compare logarithms, for skewed metrics above 0, such as seconds.

    Returns:
        One row per metric and setting: `metric`, `setting`, `baseline`, `difference`, `low`, `high` (Student's t),
        `bca_low`, `bca_high` (from 8 units on), `p`, `p_holm`, `verdict` (in words), `detectable`, `margin`,
        `p_equivalent`, `p_equivalent_holm`, `unit`, `units`, `clips`, `voices`, `needed_clips`, `unpaired`; see
        `analysis.comparisons.compare_all`. Differences are in the metric's unit.

    Raises:
        OptionError: the table is empty, or has no such column, setting or metric.
    """
    if table.empty:
        raise OptionError("the table is empty; collect the records of a finished sweep")
    table = widen(table)
    require_columns(table, "clip", "voice")
    table = with_distinct_names(table)
    names = [metrics] if isinstance(metrics, str) else metrics
    setting, within, names = _question(table, column, baseline, names)
    return compare_all(table, names, column, setting, within, of_logs, margin)


def _question(
    table: pd.DataFrame, column: str, baseline: Any, metrics: Sequence[str]
) -> tuple[Any, list[str], list[str]]:
    """The baseline with the table's type, the other swept parameters, and the metrics."""
    setting = setting_of(table, column, baseline) if isinstance(baseline, str) else baseline
    within = swept_beside(table, column)
    require_columns(table, column, "clip", "voice", "seed")
    names = list(metrics) or [name for name in METRICS if name in table]
    if not names:
        raise OptionError(f"the table has none of {', '.join(METRICS)}; name metrics of the table")
    return setting, within, names
