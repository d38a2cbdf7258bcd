"""Write the table of finished records.

    latentsync collect RUNS [--sweep NAME] [--tag TAG] [--wide] --output table.csv|table.parquet

By default the table is tidy: one row per record and metric. With --wide it has one row per record and one column per
metric. `latentsync.lab.tables.tidy.read_table` reads a written table back unchanged.
"""

from pathlib import Path

from latentsync.errors import MediaError
from latentsync.lab.console import ArgumentParser, command, show


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync collect", description=__doc__)
    parser.add_argument("runs_dir", type=Path, help="the folder given as runs_dir")
    parser.add_argument("--sweep", help="only the records of this sweep")
    parser.add_argument("--tag", action="append", default=[], help="only records with this tag; several: with all")
    parser.add_argument("--wide", action="store_true", help="one row per record instead of one per record and metric")
    parser.add_argument("--output", type=Path, required=True, help="a .csv or .parquet file")
    return parser


@command()
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.tables.filter import with_tags
    from latentsync.lab.tables.tidy import collect, collect_wide, write_table

    table = with_tags((collect_wide if args.wide else collect)(args.runs_dir, args.sweep), args.tag)
    if table.empty:
        of = "" if args.sweep is None else f" of a sweep called {args.sweep!r}"
        of += f" and with the tag {' and '.join(args.tag)}" if args.tag else ""
        remedy = "" if args.wide else "; --wide also lists records without metrics"
        raise MediaError(f"{args.runs_dir} has no finished records with metrics{of}{remedy}")
    write_table(table, args.output)
    show(f"{args.output} has {len(table)} rows of {table['record'].nunique()} records")
