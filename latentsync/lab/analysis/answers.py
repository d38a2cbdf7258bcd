"""What a sweep answers: each setting against a baseline, the genders against each other, and the Pareto front."""

from collections.abc import Sequence
from dataclasses import dataclass

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
        for metric, found in self.interactions.items():
            parts.append("\n".join([f"women and men, {metric}:", *map(interaction_text, found)]))
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
    setting = setting_of(table, column, baseline)
    within = swept_beside(table, column)
    metrics = list(metrics) or [name for name in METRICS if name in table]
    if not metrics:
        raise OptionError(f"the table has none of {', '.join(METRICS)}; give --metrics")
    comparisons = compare_all(table, metrics, column, setting, within)
    genders = {metric: interactions(table, metric, column, setting, within) for metric in metrics}
    objectives = [*filter(has_direction, metrics), "seconds"]
    front = pareto_front(table, [column, *within], objectives)
    return Answers(column, comparisons, {name: each for name, each in genders.items() if each}, objectives, front)
