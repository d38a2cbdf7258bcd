"""How far sweeps have come, and whether their records are whole.

    latentsync status RUNS [--sweep NAME]

Each sweep's records are done, failed, running (a process holds their claim) or missing: planned, and none of these. A
record that was edited by hand or is broken is named with what is wrong with it. Nothing is loaded and nothing changed.
"""

import argparse
import sys
from pathlib import Path

from latentsync.errors import LatentSyncError, OptionError
from latentsync.lab.records.store import RecordStore
from latentsync.lab.sweeps.request import RETRY_HINT
from latentsync.lab.sweeps.status import COLUMNS, faults, status_of


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="latentsync status", description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="a runs folder")
    parser.add_argument("--sweep", help="only this sweep and its records")
    return parser.parse_args(arguments)


def report(told: argparse.Namespace) -> bool:
    """Prints the table; returns whether nothing failed or is broken.

    Raises:
        OptionError: there is no such runs folder or sweep.
    """
    names = sorted(path.name for path in (told.runs / "sweeps").glob("[!.]*") if path.is_dir())
    if told.sweep is not None and told.sweep not in names:
        raise OptionError(f"{told.runs} has no sweep {told.sweep}; it has {', '.join(names) or 'none'}")
    if not names and not (told.runs / "records").is_dir():
        raise OptionError(f"{told.runs} is no runs folder; give the one that runs_dir named (by default runs)")
    sweeps = [status_of(told.runs, name) for name in names if told.sweep in (None, name)]
    width = max((len(sweep.name) for sweep in sweeps), default=5)
    print(f"{'sweep':<{width}}  {'  '.join(f'{column:>7}' for column in COLUMNS)}")
    for sweep in sweeps:
        print(f"{sweep.name:<{width}}  {'  '.join(f'{sweep.count(column):>7}' for column in COLUMNS)}")
    for sweep in sweeps:
        for line in sweep.lines:
            print(f"{sweep.name}: {line}")
    failed = sum(sweep.count("failed") for sweep in sweeps)
    if failed:
        print(f"{failed} failed; start the sweep again with what was wrong mended, or {RETRY_HINT}")
    broken = list(faults(RecordStore(told.runs), None if told.sweep is None else sweeps[0].records))
    for line in broken:
        print(f"BROKEN  {line}")
    return not failed and not broken


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 1 if anything failed or is broken."""
    told = parse(arguments)
    try:
        return 0 if report(told) else 1
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
