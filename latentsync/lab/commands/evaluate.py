"""Measure how good the embedded model is on people and voices new to it.

    latentsync evaluate [--model mini] [--output FOLDER] [--rows vae,sync,lip] [--quick]
    latentsync evaluate --real FOLDER [--in-sync a.mp4,b.mp4]   also on recordings of real people
    latentsync evaluate --models A,B                            several models side by side

FOLDER/evaluation.json  evaluation.md  evaluation.parquet  cases.json  clips-XXXXXXXX/  sheets/

No training used these people, sentences and voices. Each row is written as soon as it is measured; rows measured by an
earlier run on the same weights and clips are kept. A run that is stopped goes on at the next case. docs/mini.md
explains each row. The exit status is 0 if every row could be measured, no matter which value it has.
"""

from pathlib import Path

from latentsync.lab.console import CONTINUES, FAILED, ArgumentParser, command, few_workers


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync evaluate", description=__doc__)
    parser.add_argument("--model", help="a shipped model by name, or a model's folder; default: mini")
    parser.add_argument("--models", help="two or more in place of --model, separated by commas: one table for them all")
    parser.add_argument("--output", type=Path, help="default: runs/evaluation/MODEL, or MODEL-quick with --quick")
    parser.add_argument(
        "--rows", help="parts of docs/mini.md, separated by commas, to be measured again; default: all, once"
    )
    parser.add_argument("--real", type=Path, help="a folder of videos of real people; adds the rows faces")
    parser.add_argument(
        "--in-sync",
        help="names of the videos of --real that speak in sync with their own sound, separated by commas, or all; "
        "default: the embedded model's SyncNet decides",
    )
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
    if args.model is not None and args.models is not None:
        parser().error("--model and --models exclude each other; name all models with --models")
    from latentsync.lab.evaluation.model import evaluate, evaluate_models

    options = (args.output, _names(args.rows), args.quick, args.workers, args.real, _names(args.in_sync))
    models = _names(args.models)
    failures = evaluate(args.model or "mini", *options) if models is None else evaluate_models(models, *options)
    return FAILED if failures else 0


def _names(text: str | None) -> list[str] | None:
    """The names of a list with commas; None if there is no list."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
