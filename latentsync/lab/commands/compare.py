"""Compare the settings of a sweep over its clips.

    latentsync compare RUNS --sweep NAME [--column guidance_scale] --baseline 1.5 [--metrics NAME ...]
    latentsync compare TABLE.csv --column scheduler --baseline ddim --output DIR

Compares each setting with a baseline and the genders with each other, and computes the Pareto front. docs/statistics.md
explains the methods and their limits.
"""

from pathlib import Path

from latentsync.lab.console import ArgumentParser, command, show


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync compare", description=__doc__)
    parser.add_argument("source", type=Path, help="a runs folder, or a table written by collect (.csv, .parquet)")
    parser.add_argument("--sweep", help="only the records of this sweep")
    parser.add_argument("--column", default="guidance_scale", help="the parameter to compare; default: %(default)s")
    parser.add_argument("--baseline", required=True, help="the setting that the others are compared with")
    parser.add_argument(
        "--metrics", nargs="+", default=(), help="default: the table's metrics of lip sync and likeness"
    )
    parser.add_argument("--output", type=Path, help="a folder for comparisons.csv and front.csv")
    return parser


@command()
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.analysis.answers import answers
    from latentsync.lab.tables.tidy import read_source, write_table

    results = answers(read_source(args.source, args.sweep), args.baseline, args.column, args.metrics)
    show(results.text)
    if args.output is not None:
        write_table(results.comparisons, args.output / "comparisons.csv")
        write_table(results.front, args.output / "front.csv")
        show(f"\nwritten to {args.output}: comparisons.csv, front.csv")
