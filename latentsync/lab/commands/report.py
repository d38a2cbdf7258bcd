"""Write one HTML page that shows a sweep.

    latentsync report RUNS [--sweep NAME] [--output report.html] [--videos embed|link] [--baseline VALUE]

The page opens from disk and needs no network: what was run, means over clips with intervals, comparisons with a
baseline, the Pareto front, figures, mouths and videos side by side, failures, versions and hashes. With
`--videos embed` (the default) as many videos are put into the page as keep it below 30 MB, pair by pair, and the others
are linked; `link` puts none in.
"""

from pathlib import Path

from latentsync.lab.console import ArgumentParser, command
from latentsync.lab.pages import REPORT_FILE, VIDEO_CHOICES


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync report", description=__doc__)
    parser.add_argument("runs", type=Path, help="a runs folder")
    parser.add_argument("--sweep", help="its name; may be left out where there is only one")
    parser.add_argument("--output", type=Path, help=f"default: {REPORT_FILE} in the sweep's folder")
    parser.add_argument("--videos", choices=VIDEO_CHOICES, default="embed", help="default: %(default)s, below 30 MB")
    parser.add_argument("--baseline", help="the setting that the others are compared with")
    return parser


@command()
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.pages.write import write_report
    from latentsync.lab.records.sweeps import sweep_in

    path = write_report(args.runs, sweep_in(args.runs, args.sweep), args.output, args.videos, args.baseline)
    print(f"{path} has {path.stat().st_size / 1e6:.1f} MB")
