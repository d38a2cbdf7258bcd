"""Compare the settings of a sweep over its clips.

    latentsync compare RUNS --sweep NAME [--column guidance_scale] --baseline 1.5 [--metrics NAME ...]
    latentsync compare TABLE.csv --column scheduler --baseline ddim --output DIR
    latentsync compare RUNS TABLE.csv --column model --baseline mini

Compares each setting with a baseline and the genders with each other, over speakers where they are known and clips
elsewhere; and computes the Pareto front. docs/statistics.md explains the methods and their limits.
"""

from pathlib import Path

from latentsync.lab.console import ArgumentParser, command, show


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync compare", description=__doc__)
    parser.add_argument(
        "source", type=Path, nargs="+",
        help="a runs folder, or a table written by collect or measure (.csv, .parquet); several count as one",
    )  # fmt: skip
    parser.add_argument("--sweep", help="only the records of this sweep")
    parser.add_argument("--column", default="guidance_scale", help="the parameter to compare; default: %(default)s")
    parser.add_argument("--baseline", required=True, help="the setting that the others are compared with")
    parser.add_argument(
        "--metrics", nargs="+", default=(), help="default: the table's metrics of lip sync and likeness"
    )
    parser.add_argument(
        "--margin",
        nargs="+",
        metavar="[NAME=]VALUE",
        help="settings that differ by less are equivalent; default: the deviation between seeds, if there are several",
    )
    parser.add_argument("--logs", action="store_true", help="compare logarithms, for skewed metrics above 0")
    parser.add_argument("--output", type=Path, help="a folder for comparisons.csv and front.csv")
    return parser


@command()
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.analysis.answers import answers
    from latentsync.lab.tables.tidy import read_sources, write_table

    table, margin = read_sources(args.source, args.sweep), margin_of(args.margin)
    results = answers(table, args.baseline, args.column, args.metrics, margin, args.logs)
    show(results.text)
    if args.output is not None:
        write_table(results.comparisons, args.output / "comparisons.csv")
        names = ["comparisons.csv"]
        if len(results.front):
            write_table(results.front, args.output / "front.csv")
            names.append("front.csv")
        show(f"\nwritten to {args.output}: {', '.join(names)}")


def margin_of(texts: list[str] | None) -> float | dict[str, float] | None:
    """The margin of `--margin`: one number for all metrics, or NAME=VALUE for each of some metrics.

    Raises:
        OptionError: a value is not a number, or a number for all metrics has others beside it.
    """
    from latentsync.errors import OptionError

    if not texts:
        return None
    margins = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        try:
            margins[name] = float(value)
        except ValueError:
            raise OptionError(f"--margin {text} has no number; give VALUE or NAME=VALUE, such as 0.01") from None
    if "" in margins and len(texts) > 1:
        raise OptionError(
            f"--margin {' '.join(texts)} mixes a number for all metrics with others; name a metric for each"
        )
    return margins.get("", margins)
