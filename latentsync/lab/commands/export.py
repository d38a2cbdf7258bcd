"""Write a sweep to one file, to hand it on.

    latentsync export RUNS FILE.tar [--sweep NAME] [--without-inputs]

The file holds the sweep's plan and notes, its records, and their clips and voices. `latentsync import` takes it into
another runs folder, where tables, report and `latentsync rerun` give the same. Think of the people in the clips before
you hand them on: `--without-inputs` leaves clips and voices out. The exit status is 1 if an input is missing.
"""

from pathlib import Path

from latentsync.lab.console import FAILED, ArgumentParser, command, say, show


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync export", description=__doc__)
    parser.add_argument("runs", type=Path, help="a runs folder")
    parser.add_argument("archive", type=Path, metavar="FILE.tar", help="the file to write")
    parser.add_argument("--sweep", help="the sweep; default: the only one")
    parser.add_argument("--without-inputs", action="store_true", help="leave clips and voices out")
    return parser


@command()
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.jobs.exchange import export

    done = export(args.runs, args.sweep, args.archive, not args.without_inputs)
    for line in done.refused:
        say(f"left out  {line}")
    size = args.archive.stat().st_size / 1e6
    parts = f"{len(done.records)} records, {done.inputs} inputs"
    show(f"{args.archive} ({size:.1f} MB) holds the sweep {done.sweep}: {parts}")
    return FAILED if done.refused else 0
