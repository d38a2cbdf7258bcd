"""Records -> tables: tidy, a row per record and metric, or wide, a row per record and a column per metric.

    latentsync collect RUNS [--sweep NAME] [--wide] --output table.csv|table.parquet

`read_table` gives a written table back as it was.
"""

import argparse
import sys
from pathlib import Path

from latentsync.errors import LatentSyncError, MediaError
from latentsync.lab.tables.tidy import collect, collect_wide, write_table


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="latentsync collect", description="Write the table of finished records.")
    parser.add_argument("runs_dir", type=Path, help="the folder given as runs_dir")
    parser.add_argument("--sweep", help="only the records of this sweep")
    parser.add_argument("--wide", action="store_true", help="a row per record instead of one per record and metric")
    parser.add_argument("--output", type=Path, required=True, help="a .csv or .parquet file")
    told = parser.parse_args(arguments)
    try:
        table = (collect_wide if told.wide else collect)(told.runs_dir, told.sweep)
        if table.empty:
            of = "" if told.sweep is None else f" of a sweep called {told.sweep!r}"
            remedy = "" if told.wide else "; --wide takes records without metrics, too"
            raise MediaError(f"{told.runs_dir} has no finished records with metrics{of}{remedy}")
        write_table(table, told.output)
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{told.output} has {len(table)} rows of {table['record'].nunique()} records")
    return 0
