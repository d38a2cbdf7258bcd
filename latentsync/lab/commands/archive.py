"""Put records or a sweep away: they are moved and never deleted.

    latentsync archive RUNS ID [ID ...] [--to FOLDER]
    latentsync archive RUNS --sweep NAME [--to FOLDER]

Tables, reports and `latentsync view` then do not show them. They lie in RUNS/archive, which is a runs folder itself:
`latentsync view RUNS/archive` shows them. With --to they go to another folder, which may be on another disk. A sweep
takes the records along that no other sweep has. `latentsync restore` brings everything back, and so does a sweep that
asks for a record in RUNS/archive. After a kill or a power cut the same command goes on.
"""

from pathlib import Path

from latentsync.lab.console import CONTINUES, ArgumentParser, command, show


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync archive", description=__doc__)
    parser.add_argument("runs", type=Path, help="a runs folder")
    parser.add_argument("ids", nargs="*", metavar="ID", help="records to put away")
    parser.add_argument("--sweep", help="a sweep to put away, with the records that no other sweep has")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="the runs folder to move to; default: RUNS/archive")
    return parser


@command(interrupted=CONTINUES)
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_intermixed_args(arguments)
    from latentsync.lab.records.archive import archive

    done = archive(args.runs, args.ids, args.sweep, args.to)
    what = f"the sweep {done.sweep} and " if done.sweep else ""
    show(f"{done.target} has {what}{len(done.records)} records of {args.runs} now")
    if done.there:
        show(f"{len(done.there)} records were there already")
    if done.shared:
        show(f"{len(done.shared)} records stay, since other sweeps have them too")
    return 0
