"""Find the smallest guidance that reaches a target score.

    latentsync autotune --target 0.45 [--gender female] [--pair g-a__g-b] [--metric sync_mini_confidence]
        [--low 1] [--high 3] [--tolerance 0.1] [--seeds 1247,7] [KEY=VALUE ...]

The search bisects the guidance scale and scores it on the records of a configuration's pairs. It uses a grid whose step
is the tolerance, so that later calls can reuse the records. The result is a value that reaches the target, while the
value one step below does not (or the lowest value). Bisection assumes that the score rises with guidance; a note is
printed if the records contradict this. The exit status is 1 if the target is not reached.
"""

from argparse import ArgumentTypeError
from pathlib import Path

from latentsync.config import GENDERS
from latentsync.lab.console import CONTINUES, FAILED, ArgumentParser, command, show


def parser() -> ArgumentParser:
    """The command line. Arguments that are not its own options must be Hydra overrides."""
    parser = ArgumentParser("latentsync autotune", description=__doc__)
    parser.add_argument("--target", type=float, required=True, help="the score to reach (mean over pairs)")
    parser.add_argument("--metric", default="sync_mini_confidence", help="default: %(default)s")
    parser.add_argument("--gender", choices=GENDERS, help="use only the pairs of this gender")
    parser.add_argument("--pair", help="use only the pair CLIP__VOICE")
    parser.add_argument(
        "--low", type=float, default=1.0, help="smallest guidance scale; default: %(default)s, which means no guidance"
    )
    parser.add_argument("--high", type=float, default=3.0, help="largest guidance scale; default: %(default)s")
    parser.add_argument("--tolerance", type=float, default=0.1, help="the grid's step; default: %(default)s")
    parser.add_argument("--seeds", type=_seeds, default="1247", help="separated by commas; default: %(default)s")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides")
    return parser


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(seed) for seed in text.split(",")))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a list of seeds; give whole numbers separated by commas") from None


@command(interrupted=CONTINUES)
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_intermixed_args(arguments)
    from latentsync.lab.jobs.search import Scorer, Search, chosen_pairs, search_config
    from latentsync.lab.records.labels import word_of

    config = search_config(args.overrides, args.metric)
    scorer = Scorer(config, chosen_pairs(config, args.gender, args.pair), args.seeds, args.metric)
    search = Search(args.low, args.high, args.tolerance, args.target, scorer)
    guidance = search.smallest()
    for a, b in search.falls:
        show(f"note: the score falls from guidance {a:g} to {b:g}; a smaller guidance may reach the target too")
    if guidance is None:
        best = f"the best score of {len(search.seen)} is {search.seen[search.best]:.4f} at {search.best:g}"
        show(f"not reached up to guidance {args.high:g}: {best}")
        return FAILED
    score = search.seen[guidance]
    show(f"guidance {guidance:g} reaches {word_of(args.metric)} {args.target:g} ({score:.4f}; step {args.tolerance:g})")
    show(f"the records are in {Path(config.runs_dir) / 'records'}")
    return 0
