"""Show whether a model listens to the voice or copies the lips that it is shown.

    latentsync leakage RUNS --sweep leakage [--output table.csv|table.parquet]
    latentsync leakage TABLE.parquet

Of a sweep with `experiment=leakage`: each clip with its own voice, with another one and with silence. The table says
how near the lips come to the clip's own and how much they move, beside a copied reference and a frozen mouth.
"""

from pathlib import Path

from latentsync.lab.console import ArgumentParser, command, show


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync leakage", description=__doc__)
    parser.add_argument("source", type=Path, help="a runs folder, or a table that --output wrote")
    parser.add_argument("--sweep", help="only the records of this sweep")
    parser.add_argument("--output", type=Path, help="a .csv or .parquet file for the value of each record")
    return parser


@command()
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.analysis.leakage import cells_of, leakage, summary, verdict
    from latentsync.lab.analysis.units import unit_kind
    from latentsync.lab.console import paragraph, table_text
    from latentsync.lab.records.sweeps import records_in
    from latentsync.lab.tables.tidy import collect_wide, read_table, write_table

    if args.source.is_dir():
        table = leakage(records_in(args.source, args.sweep), collect_wide(args.source, args.sweep))
    else:
        table = read_table(args.source)
    rows = summary(table)
    show(table_text(cells_of(rows)))
    for line in verdict(rows, unit_kind(table)):
        show("\n" + paragraph(line))
    if args.output is not None:
        write_table(table, args.output)
        show(f"\nwritten: {args.output}")
