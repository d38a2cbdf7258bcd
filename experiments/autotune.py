"""The smallest guidance that reaches a target score, for the pairs of a configuration, by bisection over their records.

    python -m experiments.autotune --target 0.45 [--gender female] [--pair g-a__g-b] [--metric sync_mini_confidence]
        [--low 1] [--high 3] [--tolerance 0.1] [--seeds 1247,7] [KEY=VALUE ...]

Guidance is looked for on a grid of the tolerance's step, so that calls share their records; what is found is the grid's
smallest value of those between which the score was seen to cross the target. Bisection takes the score to rise with
guidance: where records say otherwise, it is told.
"""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import mean

from experiments.cell import Outcome, pairs_of, pipeline_of, run_cell, say
from experiments.compose import configured
from experiments.measure import lacking, measure_record
from experiments.pairs import Pair
from experiments.record import RecordStore
from experiments.schema import MetricsConfig, RunConfig, read_config
from latentsync.config import GENDERS
from latentsync.errors import LatentSyncError, OptionError
from latentsync.metrics.definitions import DEFINITIONS, base_name, direction_of

MAX_STEPS = 10_000  # of the grid


@dataclass
class Search:
    """A bisection over the grid low, low + tolerance ... high.

    Attributes:
        score: of a guidance; costs records.
        seen: guidance -> score, in the order of asking.
    """

    low: float
    high: float
    tolerance: float
    target: float
    score: Callable[[float], float]
    seen: dict[float, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and 1 <= self.low < self.high):
            raise OptionError(f"low is {self.low} and high {self.high}; give 1 <= low < high (1 is no guidance)")
        if not 0 < self.tolerance <= self.high - self.low:
            raise OptionError(f"tolerance is {self.tolerance}; give one above 0 and at most {self.high - self.low:g}")
        if self.num_steps > MAX_STEPS:
            raise OptionError(f"tolerance is {self.tolerance}, {self.num_steps} steps; give one of at most {MAX_STEPS}")
        if not math.isfinite(self.target):
            raise OptionError(f"target is {self.target}; give a finite score")

    @property
    def num_steps(self) -> int:
        return math.ceil((self.high - self.low) / self.tolerance - 1e-9)

    def at(self, step: int) -> float:
        """The guidance of a grid point; the last one is `high`."""
        return self.high if step == self.num_steps else round(self.low + step * self.tolerance, 6)

    def reaches(self, step: int) -> bool:
        """Whether the score of a grid point is at least the target."""
        guidance = self.at(step)
        if guidance not in self.seen:
            self.seen[guidance] = self.score(guidance)
        return self.seen[guidance] >= self.target

    def smallest(self) -> float | None:
        """The smallest guidance that reaches the target; None where `high` does not."""
        if self.reaches(0):
            return self.at(0)
        if not self.reaches(self.num_steps):
            return None
        below, reached = 0, self.num_steps
        while reached - below > 1:
            middle = (below + reached) // 2
            if self.reaches(middle):
                reached = middle
            else:
                below = middle
        return self.at(reached)

    @property
    def falls(self) -> list[tuple[float, float]]:
        """Neighbours among what was seen between which the score falls: bisection is not sure there."""
        points = sorted(self.seen)
        return [(a, b) for a, b in pairwise(points) if self.seen[b] < self.seen[a]]


@dataclass(frozen=True)
class Scorer:
    """The mean score of pairs at a guidance: over seeds within a pair, then over pairs; makes the records it lacks."""

    run: RunConfig
    pairs: tuple[Pair, ...]
    seeds: tuple[int, ...]
    metric: str
    report: Callable[[str], None] = say

    def __call__(self, guidance: float) -> float:
        """The score.

        Raises:
            OptionError: a pair failed, or has no value; the message has the reason.
        """
        values = [mean(seeds) for seeds in zip(*(self._values(guidance, seed) for seed in self.seeds), strict=True)]
        self.report(f"guidance {guidance:g}: {self.metric} {mean(values):.4f} ({len(values)} pairs)")
        return mean(values)

    def _values(self, guidance: float, seed: int) -> list[float]:
        sampler = replace(self.run.options.sampler, guidance_scale=guidance, seed=seed)
        run = replace(self.run, options=replace(self.run.options, sampler=sampler))
        return [self._value(outcome, run) for outcome in run_cell(run, self.pairs, lambda outcome: None)]

    def _value(self, outcome: Outcome, run: RunConfig) -> float:
        if outcome.status == "failed":
            raise OptionError(f"{outcome.pair} failed at guidance {outcome.guidance_scale:g}: {outcome.reason}")
        record = RecordStore(run.runs_dir).find(outcome.record)
        if missing := lacking(record, run.metrics).families:  # of a record that was made without
            measure_record(record, MetricsConfig.of(missing), pipeline_of(run).detector)
        entry = record.metrics.get(self.metric)
        if entry is None:
            raise OptionError(
                f"{outcome.pair} has no {self.metric}; its record has {', '.join(sorted(record.metrics))}"
            )
        if entry["value"] is None:
            raise OptionError(f"{outcome.pair} has no value of {self.metric}: {entry['reason']}")
        return entry["value"]


def chosen_pairs(run: RunConfig, gender: str | None, name: str | None) -> tuple[Pair, ...]:
    """The pairs of a configuration, of one gender or one name where wanted.

    Raises:
        OptionError: there is none.
    """
    pairs = pairs_of(run.data).pairs
    found = tuple(p for p in pairs if gender in (None, p.gender) and name in (None, p.name))
    if not found:
        wanted = " and ".join(filter(None, (gender, name)))
        raise OptionError(f"no pair is {wanted}; there are {', '.join(f'{p.name} ({p.gender})' for p in pairs)}")
    return found


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
    parser = argparse.ArgumentParser(prog="python -m experiments.autotune", description=__doc__.splitlines()[0])
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


if __name__ == "__main__":
    sys.exit(main())
