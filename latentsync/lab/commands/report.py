"""Write one HTML page that shows a sweep, or tables of measured videos.

    latentsync report RUNS [--sweep NAME] [--output report.html] [--videos embed|link] [--baseline VALUE]
                           [--pairs NAME,...]
    latentsync report TABLE.csv ... [RUNS] [--column model] [--baseline VALUE] [--output TABLE.html]

The page opens from disk and needs no network. It shows the settings, means over clips with intervals, comparisons with
a baseline, the Pareto front, figures, mouths and videos side by side, failures, versions and hashes. Of a large sweep
it shows the worst, the median and the best pair of each setting with videos, or the pairs of `--pairs`, and links the
other records. With `--videos embed` (the default) the page contains videos, pair by pair, until it reaches 30 MB, and
links to the others. With `--videos link` it links to all of them.

Tables of `latentsync measure` or `collect` count as one, and so do a runs folder and tables beside it. Their videos are
shown while they are where they were measured.
"""

from pathlib import Path

from latentsync.lab.console import ArgumentParser, command, show
from latentsync.lab.pages import REPORT_FILE, VIDEO_CHOICES


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync report", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUNS", help="a runs folder, or tables (.csv, .parquet)")
    parser.add_argument("--sweep", help="the sweep's name; needed only if there are several")
    parser.add_argument("--output", type=Path, help=f"default: {REPORT_FILE} in the sweep's folder, or beside a table")
    parser.add_argument("--videos", choices=VIDEO_CHOICES, default="embed", help="default: %(default)s, up to 30 MB")
    parser.add_argument("--column", help="what a page of tables compares; default: model")
    parser.add_argument("--baseline", help="the setting that the others are compared with")
    parser.add_argument(
        "--pairs", type=_names, default=(), metavar="NAME,...",
        help="the pairs to show with videos; default: the worst, median and best of each setting",
    )  # fmt: skip
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@command()
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.pages.write import report

    path = report(args.runs, args.sweep, args.output, args.videos, args.baseline, args.pairs, args.column)
    show(f"{path} has {path.stat().st_size / 1e6:.1f} MB")
