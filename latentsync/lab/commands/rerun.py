"""Make a record again, and say whether it is equal.

    latentsync rerun RECORD [--runs RUNS] [--inputs FOLDER] [--device cpu] [model.pretrained=FOLDER ...]

RECORD is the folder of a record (runs/records/ID), or its id. It is made again from its own options and inputs in a
scratch folder, without any cache, and both results are compared. On the machine that made it the files are equal to the
bit. On another processor they are compared frame by frame, with the bounds that docs/reliability.md states. The record
itself is only read. The exit status is 0 if it is equal, and 1 if it is not.
"""

from pathlib import Path

from latentsync.lab.console import FAILED, ArgumentParser, command, say


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync rerun", description=__doc__)
    parser.add_argument("record", help="the folder of a record, or its id")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where an id is looked for; default: runs")
    parser.add_argument("--inputs", type=Path, help="folder of the clip and the voice, if they were moved since")
    parser.add_argument("--device", help="a torch device, such as cpu or cuda:1; default: the GPU, if there is one")
    parser.add_argument(
        "overrides", nargs="*", metavar="model.KEY=VALUE", help="where the model is, if it is none of the shipped ones"
    )
    return parser


@command()
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.errors import OptionError
    from latentsync.lab.jobs.rerun import rerun
    from latentsync.lab.options.compose import configured
    from latentsync.lab.options.schema import read_config

    if others := [each for each in args.overrides if not each.startswith("model.")]:
        raise OptionError(f"{others[0]} is no place of a model; give model.KEY=VALUE, all else comes from the record")
    model = read_config(configured(args.overrides)).model if args.overrides else None
    done = rerun(args.record, args.runs, args.inputs, model, args.device)
    for line in done.changed:
        say(f"not the same any more: {line}")
    for one in done.files:
        say(str(one))
    say(f"{done.verdict} (made again in {done.seconds:.1f} s)")
    return 0 if done.is_equal else FAILED
