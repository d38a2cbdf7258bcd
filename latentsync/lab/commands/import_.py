"""Take a sweep from a file of `latentsync export` into a runs folder.

    latentsync import FILE.tar RUNS [--name NAME]

Nothing in the file is believed: the id of each record is computed again from what it was made of, and every video, clip
and voice must have its recorded hash. What does not is refused and named. Records that the folder has already stay as
they are. The exit status is 1 if anything was refused.
"""

from pathlib import Path

from latentsync.lab.console import FAILED, ArgumentParser, command, say, show


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync import", description=__doc__)
    parser.add_argument("archive", type=Path, metavar="FILE.tar", help="a file of `latentsync export`")
    parser.add_argument("runs", type=Path, help="a runs folder; it is made if it does not exist")
    parser.add_argument("--name", help="of the sweep in this folder; default: its own")
    return parser


@command()
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.jobs.exchange import take

    done = take(args.archive, args.runs, args.name)
    for line in done.refused:
        say(f"REFUSED  {line}")
    there = f", and {len(done.there)} were there already" if done.there else ""
    show(f"{args.runs} has the sweep {done.sweep}: {len(done.records)} records came{there}; {done.inputs} inputs")
    return FAILED if done.refused else 0
