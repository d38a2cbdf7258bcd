"""The smallest guidance that reaches a target score, for the pairs of a configuration, by bisection over their records.

    latentsync autotune --target 0.45 [--gender female] [--pair g-a__g-b] [--metric sync_mini_confidence]
        [--low 1] [--high 3] [--tolerance 0.1] [--seeds 1247,7] [KEY=VALUE ...]

Guidance is looked for on a grid of the tolerance's step, so that calls share their records; what is found is the grid's
smallest value of those between which the score was seen to cross the target. Bisection takes the score to rise with
guidance: where records say otherwise, it is told.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from latentsync.config import GENDERS
from latentsync.errors import LatentSyncError, OptionError
from latentsync.lab.console import say
from latentsync.lab.jobs.search import Scorer, Search, chosen_pairs
from latentsync.lab.options.compose import configured
from latentsync.lab.options.schema import MetricsConfig, RunConfig, read_config
from latentsync.metrics.definitions import DEFINITIONS, base_name, direction_of


def configure(overrides: list[str], metric: str) -> RunConfig:
    """The configuration with just the family of metrics that is asked for, and no tracker.

    Raises:
        OptionError: an override or the metric is unknown, or more of the metric is not better.
    """
    if base_name(metric) not in DEFINITIONS:
        raise OptionError(f"metric {metric} is unknown; one of sync is sync_mini_confidence, docs/metrics.md has all")
    if direction_of(metric) != "higher":
        raise OptionError(f"higher values of {metric} are not better; a target is for measures where they are")
    run = read_config(configured([*overrides, "tracker=none"]))
    return replace(run, metrics=MetricsConfig.of([DEFINITIONS[base_name(metric)].family]))


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 1 where the target is not reached."""
    parser = argparse.ArgumentParser(prog="latentsync autotune", description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=float, required=True, help="the score to be reached, mean over pairs")
    parser.add_argument("--metric", default="sync_mini_confidence", help="default: %(default)s")
    parser.add_argument("--gender", choices=GENDERS, help="only pairs of this gender")
    parser.add_argument("--pair", help="only the pair CLIP__VOICE")
    parser.add_argument("--low", type=float, default=1.0, help="default: %(default)s, which is no guidance")
    parser.add_argument("--high", type=float, default=3.0, help="default: %(default)s")
    parser.add_argument("--tolerance", type=float, default=0.1, help="the grid's step; default: %(default)s")
    parser.add_argument("--seeds", default="1247", help="with commas between them; default: %(default)s")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides")
    told = parser.parse_intermixed_args(arguments)
    try:
        seeds = _seeds(told.seeds)
        run = configure(told.overrides, told.metric)
        pairs = chosen_pairs(run, told.gender, told.pair)
        search = Search(told.low, told.high, told.tolerance, told.target, Scorer(run, pairs, seeds, told.metric))
        found = search.smallest()
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for a, b in search.falls:
        say(f"note: the score falls from guidance {a:g} to {b:g}, so a smaller one may reach the target, too")
    if found is None:
        best = max(search.seen, key=search.seen.get)
        say(f"not reached up to guidance {told.high:g}: the best seen is {search.seen[best]:.4f} at {best:g}")
        return 1
    say(f"guidance {found:g} reaches {told.metric} {told.target:g} ({search.seen[found]:.4f}; step {told.tolerance:g})")
    say(f"the records are in {Path(run.runs_dir) / 'records'}")
    return 0


def _seeds(told: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(seed) for seed in told.split(",")))
    except ValueError:
        raise OptionError(f"seeds are {told!r}; give whole numbers with commas between them") from None
