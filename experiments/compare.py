"""What a sweep answers: each setting against a baseline, the genders against each other, and the Pareto front.

    python -m experiments.compare RUNS --sweep NAME [--column guidance_scale] --baseline 1.5 [--metrics NAME ...]
    python -m experiments.compare TABLE.csv --column scheduler --baseline ddim --output DIR

The method, and how far to trust it: docs/statistics.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.collect import TABLE_SUFFIXES, collect_wide, read_table, widen, write_table
from experiments.comparisons import GENDERS, Interaction, compare_all, gender_interaction, require_columns
from experiments.labels import varied
from experiments.pareto import pareto_front
from experiments.statistics import ALPHA
from latentsync.errors import LatentSyncError, OptionError
from latentsync.metrics.definitions import DEFINITIONS, base_name, direction_of

METRICS = ("sync_mini_confidence_minus_real", "lpips_alex_mouth")
SETTINGS = ("guidance_scale", "num_inference_steps")


def read_source(source: Path, sweep: str | None) -> pd.DataFrame:
    """The wide table of a runs folder, or of a file that `experiments.collect` wrote.

    Raises:
        MediaError, OptionError: there is no such table, or it has no record.
    """
    is_file = source.suffix.lower() in TABLE_SUFFIXES
    if is_file and sweep is not None:
        raise OptionError(f"--sweep {sweep} goes with a runs folder; {source} is a table")
    table = widen(read_table(source)) if is_file else collect_wide(source, sweep)
    if table.empty:
        raise OptionError(f"{source} has no finished record" + (f" of the sweep {sweep}" if sweep else ""))
    return table.assign(**{kind: _told_apart(table, kind) for kind in ("clip", "voice")})


def _told_apart(table: pd.DataFrame, kind: str) -> pd.Series:
    """The names of clips or voices; where different files have one name, with the first digits of their hashes."""
    if f"{kind}_sha256" not in table:
        return table[kind]
    hashes = table[f"{kind}_sha256"]
    is_shared = hashes.groupby(table[kind]).transform("nunique") > 1
    return table[kind].where(~is_shared, table[kind] + " " + hashes.str[:8])


def swept_beside(table: pd.DataFrame, column: str) -> list[str]:
    """The other parameters that were swept: two records are compared where they agree in these."""
    swept = [name for name in SETTINGS if table[name].nunique() > 1]
    if column == "preset":  # which is a guidance_scale for each gender
        swept = [name for name in swept if name != "guidance_scale"]
    return [name for name in (*swept, *varied(table)) if name != column]


def setting_of(table: pd.DataFrame, column: str, told: str) -> float | str:
    """A setting as the table has it.

    Raises:
        OptionError: the table has no such column, or the column holds numbers and this is none.
    """
    require_columns(table, column)
    if not pd.api.types.is_numeric_dtype(table[column]):
        return told
    try:
        return table[column].dtype.type(told).item()
    except ValueError:
        there = ", ".join(f"{value:g}" for value in sorted(table[column].unique()))
        raise OptionError(f"{column}={told} is no number; choose one of {there}") from None


def interactions(table: pd.DataFrame, metric: str, column: str, baseline, within: list[str]) -> list[Interaction]:
    """Whether each other setting does more for one gender; none where only one gender has the baseline."""
    if column == "preset" or any(table.loc[table["gender"] == gender].empty for gender in GENDERS):
        return []
    others = [value for value in sorted(table[column].unique()) if value != baseline]
    told = {"within": within, "comparisons": len(others)}
    return [gender_interaction(table, metric, column, value, baseline, **told) for value in others]


def has_direction(metric: str) -> bool:
    """Whether one value of a measure is better than another; measures of change have no better."""
    return base_name(metric) in DEFINITIONS and direction_of(metric) != "none"


def comparison_frame(found: pd.DataFrame, column: str) -> pd.DataFrame:
    """The comparisons as a table for people, all of it text; * marks intervals that are approximate."""
    return pd.DataFrame(
        {
            "metric": found["metric"],
            column: [f"{a} less {b}" for a, b in zip(found["setting"], found["baseline"], strict=True)],
            "difference": found["difference"].map("{:+.4f}".format),
            "95 %": [_interval(row.low, row.high) + ("*" if row.approximate else "") for row in found.itertuples()],
            "Student's t": [_interval(row.student_low, row.student_high) for row in found.itertuples()],
            "p (Holm)": found["p_holm"].map("{:.3g}".format),
            "verdict": found["verdict"],
        }
    )


def comparison_text(found: pd.DataFrame, column: str) -> str:
    """`comparison_frame` with a note, as text."""
    note = "\n* approximate: fewer than 20 clips" if found["approximate"].any() else ""
    return comparison_frame(found, column).to_string(index=False) + note


def _interval(low: float, high: float) -> str:
    return "-" if pd.isna(low) else f"{low:+.4f} .. {high:+.4f}"


def conclusion(row: Any) -> str:
    """One sentence for a row of `compare_all`: better or worse where the test shows it and the metric has a better.

    Args:
        row: as `DataFrame.itertuples` gives it.
    """
    what = f"{row.setting} less {row.baseline}, {row.metric.replace('_', ' ')}: {row.difference:+.4f}"
    if not row.p_holm <= ALPHA:
        return f"{what}; nothing is shown ({row.verdict})"
    way = direction_of(row.metric) if base_name(row.metric) in DEFINITIONS else "none"
    if way not in ("higher", "lower"):
        return f"{what}; {row.verdict}"
    return f"{what}; {'better' if (row.difference > 0) == (way == 'higher') else 'worse'} ({row.verdict})"


def interaction_text(found: Interaction) -> str:
    """One line: how a setting's effect differs between the genders."""
    first, second = found.groups
    interval = "" if found.interval is None else f" ({_interval(*found.interval)}{'*' * found.is_approximate})"
    return (
        f"{found.setting} less {found.baseline}: {first} {found.differences[0]:+.4f}, {second} "
        f"{found.differences[1]:+.4f}, {found.difference:+.4f} apart{interval}: {found.verdict}"
    )


def interaction_frame(found: Sequence[Interaction]) -> pd.DataFrame:
    """Interactions as a table for people, all of it text."""
    return pd.DataFrame(
        {
            "metric": one.metric,
            one.column: f"{one.setting} less {one.baseline}",
            **{group: f"{difference:+.4f}" for group, difference in zip(one.groups, one.differences, strict=True)},
            "apart": f"{one.difference:+.4f}",
            "95 %": "-" if one.interval is None else _interval(*one.interval) + "*" * one.is_approximate,
            "verdict": one.verdict,
        }
        for one in found
    )


def front_text(front: pd.DataFrame) -> str:
    """The settings that no other one beats in all objectives, and how sure that is."""
    shown = front.rename(columns={"on_front": "on the front", "share": "share of draws"})
    return shown.drop(columns=["clips", "without", "approximate"]).to_string(index=False, float_format="{:.4g}".format)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.compare", description="Compare the settings of a sweep over its clips."
    )
    parser.add_argument("source", type=Path, help="a runs folder, or a table of one (.csv, .parquet)")
    parser.add_argument("--sweep", help="only the records of this sweep")
    parser.add_argument("--column", default="guidance_scale", help="the parameter (default: guidance_scale)")
    parser.add_argument("--baseline", required=True, help="the setting that the others are compared with")
    parser.add_argument("--metrics", nargs="+", help=f"default: those of {', '.join(METRICS)} that are there")
    parser.add_argument("--output", type=Path, help="a folder for comparisons.csv and front.csv")
    told = parser.parse_args(arguments)
    try:
        table = read_source(told.source, told.sweep)
        baseline = setting_of(table, told.column, told.baseline)
        within = swept_beside(table, told.column)
        metrics = told.metrics or [name for name in METRICS if name in table]
        if not metrics:
            raise OptionError(f"the table has none of {', '.join(METRICS)}; give --metrics")
        found = compare_all(table, metrics, told.column, baseline, within)
        print(comparison_text(found, told.column))
        for metric in metrics:
            if genders := interactions(table, metric, told.column, baseline, within):
                print(f"\nwomen and men, {metric}:")
                print("\n".join(interaction_text(each) for each in genders))
        objectives = [*filter(has_direction, metrics), "seconds"]
        front = pareto_front(table, [told.column, *within], objectives)
        print(f"\nPareto front of {', '.join(objectives)}:\n{front_text(front)}")
        if told.output is not None:
            for name, each in (("comparisons", found), ("front", front)):
                write_table(each, told.output / f"{name}.csv")
            print(f"\nwritten to {told.output}: comparisons.csv, front.csv")
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
