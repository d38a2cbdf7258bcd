"""What a sweep answers: each setting against a baseline, the genders against each other, and the Pareto front."""

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
from latentsync.lab.tables.tidy import require_columns, widen, with_distinct_names


@dataclass(frozen=True)
class Answers:
    """What a table of records says of one parameter.

    Attributes:
        column: the parameter.
        comparisons: of each setting with the baseline, a row a metric and setting, as `compare_all` gives them.
        interactions: by metric, how the genders differ; empty where there are not both.
        objectives: of the Pareto front: the metrics that have a better value, and seconds.
        front: the settings that no other one beats in all objectives, as `pareto_front` gives them.
    """

    column: str
    comparisons: pd.DataFrame
    interactions: dict[str, list[Interaction]]
    objectives: list[str]
    front: pd.DataFrame

    @property
    def text(self) -> str:
        """All of it, for people."""
        parts = [comparison_text(self.comparisons, self.column)]
        for metric, interaction in self.interactions.items():
            parts.append("\n".join([f"women and men, {metric}:", *map(interaction_text, interaction)]))
        parts.append(f"Pareto front of {', '.join(self.objectives)}:\n{front_text(self.front)}")
        return "\n\n".join(parts)


def answers(table: pd.DataFrame, baseline: str, column: str = "guidance_scale", metrics: Sequence[str] = ()) -> Answers:
    """What a table says of a parameter; records are compared where all else that was swept agrees.

    Args:
        table: wide, a row a record, as `tables.tidy.read_source` gives it.
        baseline: the setting that the others are compared with, as a command line gives it.
        metrics: none: the usual ones that the table has.

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
    """Compares every other setting of a column with a baseline over clips, in all metrics as one family of tests.

    `compare(collect("runs", "NAME"), "guidance_scale", baseline=1.5)`. Records are compared where all else that was
    swept agrees. The method: docs/statistics.md.

    Args:
        table: as `latentsync.lab.collect` gives it, or wide, a row a record.
        metrics: by name; none: the usual ones that the table has. Give all that are looked at: the correction for
            several comparisons knows only these.

    Returns:
        One row a metric and setting: `metric`, `setting`, `baseline`, `difference`, `low`, `high` (95 %, BCa),
        `student_low`, `student_high` (below 20 clips, else NaN), `p`, `p_holm`, `verdict` (in words), `clips`,
        `needed_clips`, `approximate`, `unpaired`. Differences are in the metric's unit.

    Raises:
        OptionError: the table is empty, or has no such column, setting or metric.
    """
    if table.empty:
        raise OptionError("the table is empty; collect the records of a sweep that has been run")
    table = widen(table)
    require_columns(table, "clip", "voice")
    table = with_distinct_names(table)
    names = [metrics] if isinstance(metrics, str) else metrics
    setting, within, names = _question(table, column, baseline, names)
    return compare_all(table, names, column, setting, within)


def _question(
    table: pd.DataFrame, column: str, baseline: Any, metrics: Sequence[str]
) -> tuple[Any, list[str], list[str]]:
    """The baseline as the table has it, what else was swept, and the metrics."""
    setting = setting_of(table, column, baseline) if isinstance(baseline, str) else baseline
    within = swept_beside(table, column)
    names = list(metrics) or [name for name in METRICS if name in table]
    if not names:
        raise OptionError(f"the table has none of {', '.join(METRICS)}; name metrics that it has")
    return setting, within, names
