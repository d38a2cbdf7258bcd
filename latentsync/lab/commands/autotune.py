"""Find the smallest guidance that reaches a target score.

    latentsync autotune --target 0.45 [--gender female] [--pair g-a__g-b] [--metric sync_mini_confidence]
        [--low 1] [--high 3] [--tolerance 0.1] [--seeds 1247,7] [KEY=VALUE ...]

By bisection over the records of a configuration's pairs. Guidance is looked for on a grid of the tolerance's step, so
that calls share their records; the result is the grid's smallest value of those between which the score was seen to
cross the target. Bisection takes the score to rise with guidance: where records say otherwise, a note says so. The exit
status is 1 where the target is not reached.
"""

from argparse import ArgumentTypeError
from pathlib import Path

from latentsync.config import GENDERS
from latentsync.lab.console import CONTINUES, FAILED, MISUSED, ArgumentParser, command, say


def parser() -> ArgumentParser:
    """The command line; what it does not know must be Hydra overrides."""
    parser = ArgumentParser("latentsync autotune", description=__doc__)
    parser.add_argument("--target", type=float, required=True, help="the score to be reached, mean over pairs")
    parser.add_argument("--metric", default="sync_mini_confidence", help="default: %(default)s")
    parser.add_argument("--gender", choices=GENDERS, help="only pairs of this gender")
    parser.add_argument("--pair", help="only the pair CLIP__VOICE")
    parser.add_argument("--low", type=float, default=1.0, help="default: %(default)s, which is no guidance")
    parser.add_argument("--high", type=float, default=3.0, help="default: %(default)s")
    parser.add_argument("--tolerance", type=float, default=0.1, help="the grid's step; default: %(default)s")
    parser.add_argument("--seeds", type=_seeds, default="1247", help="with commas between them; default: %(default)s")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides")
    return parser


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(seed) for seed in text.split(",")))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} are no seeds; give whole numbers with commas between them") from None


@command(error_status=MISUSED, interrupted=CONTINUES)
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_intermixed_args(arguments)
    from latentsync.lab.jobs.search import Scorer, Search, chosen_pairs, search_config

    config = search_config(args.overrides, args.metric)
    scorer = Scorer(config, chosen_pairs(config, args.gender, args.pair), args.seeds, args.metric)
    search = Search(args.low, args.high, args.tolerance, args.target, scorer)
    guidance = search.smallest()
    for a, b in search.falls:
        say(f"note: the score falls from guidance {a:g} to {b:g}, so a smaller one may reach the target, too")
    if guidance is None:
        best = max(search.seen, key=search.seen.get)
        say(f"not reached up to guidance {args.high:g}: the best seen is {search.seen[best]:.4f} at {best:g}")
        return FAILED
    score = search.seen[guidance]
    say(f"guidance {guidance:g} reaches {args.metric} {args.target:g} ({score:.4f}; step {args.tolerance:g})")
    say(f"the records are in {Path(config.runs_dir) / 'records'}")
    return 0
