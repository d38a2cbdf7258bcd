"""Bring archived records or an archived sweep back.

    latentsync restore RUNS ID [ID ...] [--from FOLDER]
    latentsync restore RUNS --sweep NAME [--from FOLDER]

They are moved from RUNS/archive, or from the folder of `latentsync archive --to`, back into RUNS. After a kill or a
power cut the same command goes on.
"""

from pathlib import Path

from latentsync.lab.console import CONTINUES, ArgumentParser, command, show


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync restore", description=__doc__)
    parser.add_argument("runs", type=Path, help="a runs folder")
    parser.add_argument("ids", nargs="*", metavar="ID", help="records to bring back")
    parser.add_argument("--sweep", help="a sweep to bring back, with its records")
    parser.add_argument(
        "--from", dest="folder", type=Path, metavar="FOLDER", help="where they are; default: RUNS/archive"
    )
    return parser


@command(interrupted=CONTINUES)
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_intermixed_args(arguments)
    from latentsync.lab.records.archive import restore

    done = restore(args.runs, args.ids, args.sweep, args.folder)
    what = f"the sweep {done.sweep} and " if done.sweep else ""
    show(f"{args.runs} has {what}{len(done.records)} records back")
    if done.there:
        show(f"{len(done.there)} records were there already")
    if done.shared:
        show(f"{len(done.shared)} records stay archived, since other archived sweeps have them too")
    return 0
