"""Answers from a sweep: compares settings with a baseline and the genders with each other; finds the Pareto front."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from latentsync.errors import OptionError
from latentsync.lab.analysis.comparisons import Interaction, compare_all
from latentsync.lab.analysis.conclusions import (
    METRICS,
    comparison_text,
    front_text,
    has_direction,
    interaction_text,
    interactions,
    setting_of,
    swept_beside,
)
from latentsync.lab.analysis.pareto import pareto_front
from latentsync.lab.console import paragraph
from latentsync.lab.records.labels import word_of
from latentsync.lab.tables.tidy import require_columns, widen, with_distinct_names


@dataclass(frozen=True)
class Answers:
    """The results of a table of records for one parameter.

    Attributes:
        column: the parameter.
        comparisons: each setting compared with the baseline, one row per metric and setting; see `compare_all`.
        interactions: by metric, how the genders differ; empty without both genders.
        objectives: the objectives of the Pareto front: metrics with a better direction, and seconds.
        front: the settings with their means and whether they are on the front; see `pareto_front`.
    """

    column: str
    comparisons: pd.DataFrame
    interactions: dict[str, list[Interaction]]
    objectives: list[str]
    front: pd.DataFrame

    @property
    def text(self) -> str:
        """All results as text."""
        parts = [comparison_text(self.comparisons, self.column)]
        if self.interactions:
            genders = [one for of_metric in self.interactions.values() for one in of_metric]
            parts.append(f"women and men:\n{interaction_text(genders)}")
        title = paragraph(f"Pareto front of {', '.join(map(word_of, self.objectives))}:")
        parts.append(f"{title}\n{front_text(self.front)}")
        return "\n\n".join(parts)


def answers(table: pd.DataFrame, baseline: str, column: str = "guidance_scale", metrics: Sequence[str] = ()) -> Answers:
    """The results of a table for one parameter. Compared records agree in all other swept parameters.

    Args:
        table: a wide table (one row per record) from `tables.tidy.read_source`.
        baseline: the setting that the others are compared with, as text from a command line.
        metrics: their names; if empty, the usual ones that the table has.

    Raises:
        OptionError: the table has no such column, setting or metric.
    """
    setting, within, metrics = _question(table, column, baseline, metrics)
    comparisons = compare_all(table, metrics, column, setting, within)
    genders = {metric: interactions(table, metric, column, setting, within) for metric in metrics}
    objectives = [*filter(has_direction, metrics), "seconds"]
    front = pareto_front(table, [column, *within], objectives)
    return Answers(column, comparisons, {name: each for name, each in genders.items() if each}, objectives, front)


def compare(
    table: pd.DataFrame, column: str = "guidance_scale", *, baseline: Any, metrics: str | Sequence[str] = ()
) -> pd.DataFrame:
    """Compares every other setting of a column with a baseline over clips. All metrics form one family of tests.

    `compare(collect("runs", "NAME"), "guidance_scale", baseline=1.5)`. Compared records agree in all other swept
    parameters. docs/statistics.md explains the method.

    Args:
        table: a table of `latentsync.lab.collect`, or a wide one (one row per record).
        metrics: their names; if empty, the usual ones that the table has. Give all metrics that you look at, because
            the correction for several comparisons counts only these.

    Returns:
        One row per metric and setting: `metric`, `setting`, `baseline`, `difference`, `low`, `high` (95 %, BCa),
        `student_low`, `student_high` (below 20 clips, else NaN), `p`, `p_holm`, `verdict` (in words), `clips`,
        `needed_clips`, `approximate`, `unpaired`. Differences are in the metric's unit.

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
    return compare_all(table, names, column, setting, within)


def _question(
    table: pd.DataFrame, column: str, baseline: Any, metrics: Sequence[str]
) -> tuple[Any, list[str], list[str]]:
    """The baseline with the table's type, the other swept parameters, and the metrics."""
    setting = setting_of(table, column, baseline) if isinstance(baseline, str) else baseline
    within = swept_beside(table, column)
    names = list(metrics) or [name for name in METRICS if name in table]
    if not names:
        raise OptionError(f"the table has none of {', '.join(METRICS)}; name metrics of the table")
    return setting, within, names
