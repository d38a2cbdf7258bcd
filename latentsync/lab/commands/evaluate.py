"""Measure how good the embedded model is, on people and voices it never saw.

    latentsync evaluate [--model mini] [--output FOLDER] [--rows vae,sync,lip] [--quick]

FOLDER/evaluation.json  evaluation.md  evaluation.parquet  clips-XXXXXXXX/

No training saw these people, sentences and voices. Rows are written as they come; rows that an earlier run measured on
the same weights and clips are kept. docs/mini.md says what each row is. The exit status is 0 if every row could be
measured, whatever its value.
"""

from pathlib import Path

from latentsync.lab.console import CONTINUES, FAILED, ArgumentParser, command, few_workers


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync evaluate", description=__doc__)
    parser.add_argument("--model", default="mini", help="a shipped model by name, or a model's folder")
    parser.add_argument("--output", type=Path, help="default: runs/evaluation/MODEL, with -quick where it is quick")
    parser.add_argument("--rows", help="some of those of docs/mini.md, with commas between them; default: all")
    parser.add_argument("--quick", action="store_true", help="a case or two a row: shows that it runs, not how good")
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
