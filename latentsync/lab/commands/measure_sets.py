"""Measure FID and FVD between a folder of results and one of real clips.

    latentsync measure-sets --generated FOLDER --real FOLDER [--output FILE.json]

Each video of the folders counts once. One that cannot be read, is too short or shows no face is named and left out.
Folders with fewer than 100 clips are refused. The exit status is 0 if both metrics have a value.
"""

from pathlib import Path

from latentsync.lab.console import FAILED, ArgumentParser, command, say, show


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync measure-sets", description=__doc__)
    parser.add_argument("--generated", type=Path, required=True, help="a folder of results")
    parser.add_argument("--real", type=Path, required=True, help="a folder of real clips")
    parser.add_argument("--output", type=Path, help="a JSON file for the values")
    return parser


@command()
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.files import write_json
    from latentsync.lab.measuring.records import metrics_text
    from latentsync.lab.measuring.sets import measure_sets

    entries = measure_sets(args.generated, args.real, say)
    show(metrics_text(entries))
    if args.output is not None:
        write_json(args.output, entries)
    return 0 if all(entry["value"] is not None for entry in entries.values()) else FAILED
