"""Measure the quality of the embedded model on people and voices that it was not trained on.

    latentsync evaluate [--model mini] [--output FOLDER] [--rows vae,sync,lip] [--quick]

FOLDER/evaluation.json  evaluation.md  evaluation.parquet  clips-XXXXXXXX/

No training used these people, sentences and voices. Each row is written as soon as it is measured; rows measured by an
earlier run on the same weights and clips are kept. docs/mini.md explains each row. The exit status is 0 if every row
could be measured, no matter which value it has.
"""

from pathlib import Path

from latentsync.lab.console import CONTINUES, FAILED, ArgumentParser, command, few_workers


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync evaluate", description=__doc__)
    parser.add_argument("--model", default="mini", help="a shipped model by name, or a model's folder")
    parser.add_argument("--output", type=Path, help="default: runs/evaluation/MODEL, or MODEL-quick with --quick")
    parser.add_argument("--rows", help="some of the rows of docs/mini.md, separated by commas; default: all")
    parser.add_argument(
        "--quick", action="store_true", help="one or two cases a row: checks that it runs, not how good the model is"
    )
    parser.add_argument(
        "--workers", type=int, default=few_workers(), help="processes that render clips; default: %(default)s"
    )
    return parser


@command(interrupted=CONTINUES)
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.evaluation.model import evaluate

    parts = None if args.rows is None else [part.strip() for part in args.rows.split(",") if part.strip()]
    return FAILED if evaluate(args.model, args.output, parts, args.quick, args.workers) else 0
