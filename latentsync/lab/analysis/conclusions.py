"""Comparisons as text and as tables: differences, verdicts, interactions, the Pareto front."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from latentsync.config import SPEAKER_GENDERS
from latentsync.errors import OptionError
from latentsync.lab.analysis.comparisons import Interaction, clip_differences, gender_interaction
from latentsync.lab.analysis.intervals import ALPHA, detectable_difference, interval_text
from latentsync.lab.console import table_text
from latentsync.lab.records.labels import varied, word_of
from latentsync.lab.tables.tidy import require_columns
from latentsync.metrics.definitions import DEFINITIONS, base_name, direction_of

METRICS = ("sync_mini_confidence_minus_real", "lpips_alex_mouth")
SETTINGS = ("guidance_scale", "num_inference_steps")


def swept_beside(table: pd.DataFrame, column: str) -> list[str]:
    """The other swept parameters; compared records must agree in these."""
    swept = [name for name in SETTINGS if table[name].nunique() > 1]
    if column == "preset":  # a preset is a guidance_scale for each gender
        swept = [name for name in swept if name != "guidance_scale"]
    return [name for name in (*swept, *varied(table)) if name != column]


def setting_of(table: pd.DataFrame, column: str, text: str) -> float | str:
    """A setting with the type of the table's column.

    Raises:
        OptionError: the table has no such column, or the column has numbers and the text is not a number.
    """
    require_columns(table, column)
    if not pd.api.types.is_numeric_dtype(table[column]):
        return text
    try:
        return table[column].dtype.type(text).item()
    except ValueError:
        there = ", ".join(f"{value:g}" for value in sorted(table[column].unique()))
        raise OptionError(f"{column}={text} is not a number; choose one of {there}") from None


def interactions(table: pd.DataFrame, metric: str, column: str, baseline, within: list[str]) -> list[Interaction]:
    """Whether each other setting changes more for one gender; empty if only one gender has the baseline."""
    if column == "preset" or any(table.loc[table["gender"] == gender].empty for gender in SPEAKER_GENDERS):
        return []
    others = [value for value in sorted(table[column].unique()) if value != baseline]
    options = {"within": within, "comparisons": len(others)}
    return [gender_interaction(table, metric, column, value, baseline, **options) for value in others]


def has_direction(metric: str) -> bool:
    """Whether a metric has a better direction; measures of change have none."""
    return base_name(metric) in DEFINITIONS and direction_of(metric) != "none"


def comparison_frame(comparisons: pd.DataFrame, column: str) -> pd.DataFrame:
    """The comparisons as a table of text; * marks approximate intervals."""
    return pd.DataFrame(
        {
            "metric": comparisons["metric"].map(word_of),
            word_of(column): [f"{row.setting} minus {row.baseline}" for row in comparisons.itertuples()],
            "difference": comparisons["difference"].map("{:+.4f}".format),
            "95 %": [
                interval_text((row.low, row.high)) + "*" * (row.approximate and not pd.isna(row.low))
                for row in comparisons.itertuples()
            ],
            "Student's t": [interval_text((row.student_low, row.student_high)) for row in comparisons.itertuples()],
            "p (Holm)": comparisons["p_holm"].map("{:.3g}".format),
            "verdict": comparisons["verdict"],
        }
    )


def comparison_text(comparisons: pd.DataFrame, column: str) -> str:
    """`comparison_frame` as text, with a note."""
    note = "\n* approximate: fewer than 20 clips" if comparisons["approximate"].any() else ""
    return table_text(dict(comparison_frame(comparisons, column))) + note


def conclusion(row: Any) -> str:
    """One sentence for a row of `compare_all`. It says better or worse if the difference is significant and the metric
    has a better direction.

    Args:
        row: a row of `DataFrame.itertuples`.
    """
    what = f"{row.setting} minus {row.baseline}, {word_of(row.metric)}: {row.difference:+.4f}"
    if not row.p_holm <= ALPHA:
        return f"{what}; no conclusion ({row.verdict})"
    way = direction_of(row.metric) if base_name(row.metric) in DEFINITIONS else "none"
    if way not in ("higher", "lower"):
        return f"{what}; {row.verdict}"
    return f"{what}; {'better' if (row.difference > 0) == (way == 'higher') else 'worse'} ({row.verdict})"


def power_frame(
    table: pd.DataFrame, metrics: Sequence[str], column: str, baseline: Any, within: Sequence[str] = ()
) -> pd.DataFrame:
    """The difference of each setting from the baseline, and the smallest difference that the test could detect.

    Arguments and errors as for `comparisons.clip_differences`.

    Returns:
        One row per metric and setting: `metric`, the column ("a minus b"), `clips`, `difference`, and `detectable`: the
        true difference that is detected in 80 % of samples (see `intervals.detectable_difference`; NaN if there are
        too few clips or they do not differ). It is corrected for as many comparisons as there are rows.
    """
    settings = [value for value in sorted(table[column].dropna().unique()) if value != baseline]
    rows = []
    for metric in metrics:
        for setting in settings:
            values, _ = clip_differences(table, metric, column, setting, baseline, within)
            least = detectable_difference(values, len(metrics) * len(settings))
            rows.append((metric, f"{setting} minus {baseline}", len(values), values.mean(), least))
    frame = pd.DataFrame(rows, columns=["metric", column, "clips", "difference", "detectable"])
    return frame.astype({"detectable": float})


def interaction_text(comparisons: Sequence[Interaction]) -> str:
    """`interaction_frame` as text, with a note."""
    note = "\n* approximate: fewer than 20 clips of a gender" if any(one.is_approximate for one in comparisons) else ""
    return table_text(dict(interaction_frame(comparisons))) + note


def interaction_frame(comparisons: Sequence[Interaction]) -> pd.DataFrame:
    """Interactions as a table of text."""
    return pd.DataFrame(
        {
            "metric": word_of(one.metric),
            word_of(one.column): f"{one.setting} minus {one.baseline}",
            **{group: f"{difference:+.4f}" for group, difference in zip(one.groups, one.differences, strict=True)},
            "apart": f"{one.difference:+.4f}",
            "95 %": interval_text(one.interval) + "*" * (one.interval is not None and one.is_approximate),
            "verdict": one.verdict,
        }
        for one in comparisons
    )


def front_text(front: pd.DataFrame) -> str:
    """The settings with their means, whether each is on the Pareto front, and in which share of draws it is."""
    table = front.drop(columns=["clips", "without", "approximate", "on_front", "share"]).rename(columns=word_of)
    on_front = front["on_front"].map({True: "yes", False: "no"})
    return table_text({**table, "on the front": on_front, "share of draws": front["share"].map("{:.2f}".format)})
