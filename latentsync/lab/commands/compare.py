"""What a sweep answers: each setting against a baseline, the genders against each other, and the Pareto front.

    latentsync compare RUNS --sweep NAME [--column guidance_scale] --baseline 1.5 [--metrics NAME ...]
    latentsync compare TABLE.csv --column scheduler --baseline ddim --output DIR

The method, and how far to trust it: docs/statistics.md.
"""

import argparse
import sys
from pathlib import Path

from latentsync.errors import LatentSyncError, OptionError
from latentsync.lab.analysis.comparisons import compare_all
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
from latentsync.lab.tables.tidy import read_source, write_table


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="latentsync compare", description="Compare the settings of a sweep over its clips."
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
