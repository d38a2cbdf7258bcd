"""One page that shows a sweep: a single HTML file that opens from disk and asks nothing of the network.

    latentsync report RUNS [--sweep NAME] [--output report.html] [--videos embed|link] [--baseline VALUE]

What was run, means over clips with intervals, comparisons with a baseline, the Pareto front, figures, mouths and videos
side by side, failures, versions and hashes. With `--videos embed` (the default) as many videos are put into the page as
keep it below 30 MB, pair by pair, and the others are linked; `link` puts none in.
"""

import argparse
import sys
from pathlib import Path

from latentsync.errors import LatentSyncError
from latentsync.lab.pages.write import REPORT_FILE, VIDEO_CHOICES, write_report
from latentsync.lab.records.sweeps import sweep_in


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="latentsync report", description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="a runs folder")
    parser.add_argument("--sweep", help="its name; may be left out where there is only one")
    parser.add_argument("--output", type=Path, help=f"default: {REPORT_FILE} in the sweep's folder")
    parser.add_argument("--videos", choices=VIDEO_CHOICES, default="embed", help="default: %(default)s, below 30 MB")
    parser.add_argument("--baseline", help="the setting that the others are compared with")
    told = parser.parse_args(arguments)
    try:
        sweep = sweep_in(told.runs, told.sweep)
        path = write_report(told.runs, sweep, told.output, told.videos, told.baseline)
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{path} has {path.stat().st_size / 1e6:.1f} MB")
    return 0
