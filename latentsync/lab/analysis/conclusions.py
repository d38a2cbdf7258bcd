"""Comparisons as text and as tables: differences, verdicts, interactions, the Pareto front."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from latentsync.errors import OptionError
from latentsync.lab.analysis.comparisons import compare_all
from latentsync.lab.analysis.intervals import ALPHA, LEAST_BCA, LEAST_UNITS, interval_text
from latentsync.lab.analysis.verdicts import Interaction
from latentsync.lab.console import paragraph, table_text
from latentsync.lab.records.labels import word_of
from latentsync.lab.tables.tidy import require_columns
from latentsync.metrics.definitions import DEFINITIONS, base_name, direction_of

METRICS = ("sync_mini_confidence_minus_real", "lpips_alex_mouth")


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


def has_direction(metric: str) -> bool:
    """Whether a metric has a better direction; measures of change have none."""
    return base_name(metric) in DEFINITIONS and direction_of(metric) != "none"


def comparison_frame(comparisons: pd.DataFrame, column: str) -> pd.DataFrame:
    """The comparisons as a table of text. Intervals are Student's t; BCa stands beside them where there are any."""
    frame = {
        "metric": comparisons["metric"].map(word_of),
        word_of(column): [f"{row.setting} minus {row.baseline}" for row in comparisons.itertuples()],
        "difference": ["-" if pd.isna(value) else f"{value:+.4f}" for value in comparisons["difference"]],
        "95 %": [interval_text((row.low, row.high)) for row in comparisons.itertuples()],
    }
    if comparisons["bca_low"].notna().any():
        frame["95 %, BCa"] = [interval_text((row.bca_low, row.bca_high)) for row in comparisons.itertuples()]
    frame["p (Holm)"] = ["-" if pd.isna(value) else f"{value:.3g}" for value in comparisons["p_holm"]]
    return pd.DataFrame(frame | {"verdict": comparisons["verdict"]})


def comparison_text(comparisons: pd.DataFrame, column: str) -> str:
    """`comparison_frame` as text, with notes on what the numbers are of."""
    notes = "".join(f"\n{paragraph(note)}" for note in comparison_notes(comparisons))
    return table_text(dict(comparison_frame(comparisons, column))) + notes


def comparison_notes(comparisons: pd.DataFrame) -> list[str]:
    """Sentences on the units of rows of `compare_all`, on intervals that are missing, and on margins."""
    unit, fewest, most = comparisons["unit"].iloc[0], comparisons["units"].min(), comparisons["units"].max()
    number = f"{most}" if fewest == most else f"{fewest} to {most}"
    beside = f" ({comparisons['clips'].max()} clips)" if unit != "clip" else ""
    notes = [f"Means over {number} {unit}s{beside}; intervals by Student's t."]
    if 0 < fewest < LEAST_UNITS:
        notes.append(f"Fewer than {LEAST_UNITS} {unit}s have no interval: it would say nothing.")
    elif 0 < fewest < LEAST_BCA:
        notes.append(f"A bootstrap (BCa) interval stands beside them from {LEAST_BCA} {unit}s on.")
    if (voices := comparisons["voices"].max()) >= LEAST_UNITS:
        notes.append(f"The {unit}s share {voices} voices, so errors are clustered by {unit} and by voice.")
    elif voices:
        what = "voices: the results are about these voices" if voices > 1 else "voice: the results are about this voice"
        notes.append(f"The {unit}s share {voices} {what}, and say nothing of others.")
    of_metrics = comparisons.dropna(subset=["margin"]).drop_duplicates("metric")
    if len(of_metrics):
        margins = ", ".join(f"{row.margin:.2g} in {word_of(row.metric)}" for row in of_metrics.itertuples())
        notes.append(f"Settings are equivalent if they differ by less than {margins} (the margin).")
    return notes


def conclusion(row: Any) -> str:
    """One sentence for a row of `compare_all`. It says better or worse if the difference is significant and the metric
    has a better direction.

    Args:
        row: a row of `DataFrame.itertuples`.
    """
    size = "-" if pd.isna(row.difference) else f"{row.difference:+.4f}"
    what = f"{row.setting} minus {row.baseline}, {word_of(row.metric)}: {size}"
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

    Arguments and errors as for `comparisons.compare_all`.

    Returns:
        One row per metric and setting: `metric`, the column ("a minus b"), `clips`, `units`, `difference`, and
        `detectable`: the true difference that is detected in 80 % of samples (see `intervals.detectable_difference`;
        NaN without an interval). It is corrected for all comparisons of the family.
    """
    comparisons = compare_all(table, metrics, column, baseline, within)
    words = [f"{row.setting} minus {row.baseline}" for row in comparisons.itertuples()]
    return comparisons[["metric", "clips", "units", "difference", "detectable"]].assign(**{column: words})[
        ["metric", column, "clips", "units", "difference", "detectable"]
    ]


def interaction_text(comparisons: Sequence[Interaction]) -> str:
    """`interaction_frame` as text."""
    return table_text(dict(interaction_frame(comparisons)))


def interaction_frame(comparisons: Sequence[Interaction]) -> pd.DataFrame:
    """Interactions as a table of text; intervals are Welch's t."""
    return pd.DataFrame(
        {
            "metric": word_of(one.metric),
            word_of(one.column): f"{one.setting} minus {one.baseline}",
            **{group: _signed(difference) for group, difference in zip(one.groups, one.differences, strict=True)},
            "apart": _signed(one.difference),
            "95 %": interval_text(one.interval),
            "verdict": one.verdict,
        }
        for one in comparisons
    )


def _signed(value: float | None) -> str:
    return "-" if value is None or pd.isna(value) else f"{value:+.4f}"


def front_text(front: pd.DataFrame) -> str:
    """The settings with their means, whether each is on the Pareto front, and in which share of draws it is."""
    hidden = ["unit", "units", "clips", "without", "approximate", "on_front", "share"]
    table = front.drop(columns=hidden).rename(columns=word_of)
    on_front = front["on_front"].map({True: "yes", False: "no"})
    shares = ["-" if pd.isna(share) else f"{share:.2f}" for share in front["share"]]
    return table_text({**table, "on the front": on_front, "share of draws": shares})
