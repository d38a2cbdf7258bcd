"""Check this machine: packages, codecs, devices, weights, and the runs folder.

    latentsync doctor [RUNS] [--json]

A table shows what is here, and below it stands what to do about each problem. Nothing is changed, and no network is
loaded. The exit status is 1 if something is wrong; notes, such as a codec that only some clips need, do not count.
"""

from pathlib import Path

from latentsync.lab.console import FAILED, ArgumentParser, command, show


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync doctor", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs"), help="a runs folder; default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser


@command()
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.jobs.doctor import diagnose

    diagnosis = diagnose(args.runs)
    show(diagnosis.to_json() if args.json else diagnosis.text())
    return 0 if diagnosis.is_healthy else FAILED
