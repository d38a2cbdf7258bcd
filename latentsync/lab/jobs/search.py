"""A search by bisection for the smallest guidance whose results reach a target score."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import mean

from latentsync.errors import OptionError
from latentsync.lab.cells.cell import run_cell
from latentsync.lab.cells.loading import pipeline_of
from latentsync.lab.cells.outcome import Outcome
from latentsync.lab.console import say
from latentsync.lab.measuring.records import lacking, measure_record
from latentsync.lab.options.compose import configured
from latentsync.lab.options.pairs import Pair, pairs_of
from latentsync.lab.options.schema import MetricsConfig, RunConfig, read_config
from latentsync.lab.records.labels import word_of
from latentsync.lab.records.store import RecordStore
from latentsync.metrics.definitions import DEFINITIONS, base_name, direction_of

MAX_STEPS = 10_000  # most steps of the grid


@dataclass
class Search:
    """A bisection over the grid low, low + tolerance ... high.

    Attributes:
        score: the function from a guidance scale to its score; it makes the records.
        seen: guidance scale -> score, in the order of the calls.
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
            raise OptionError(
                f"tolerance is {self.tolerance}; give a tolerance above 0 and at most {self.high - self.low:g}"
            )
        if self.num_steps > MAX_STEPS:
            raise OptionError(
                f"tolerance is {self.tolerance}, {self.num_steps} steps; give one for at most {MAX_STEPS} steps"
            )
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
        """The smallest guidance that reaches the target; None if none does.

        Where `high` does not reach it, the score may rise and fall again: then its peak is searched first.
        """
        if self.reaches(0):
            return self.at(0)
        reached = self.num_steps if self.reaches(self.num_steps) else self._near_peak()
        if reached is None:
            return None
        below = 0
        while reached - below > 1:
            middle = (below + reached) // 2
            if self.reaches(middle):
                reached = middle
            else:
                below = middle
        return self.at(reached)

    def _near_peak(self) -> int | None:
        """A grid point that reaches the target, though the ends do not; None if none does on the way to the peak.

        The gaps beside the best point so far are halved, the wider one first. A score with one peak is found so.
        """
        tried = [0, self.num_steps]
        while True:
            best = max(range(len(tried)), key=lambda place: self.seen[self.at(tried[place])])
            beside = [(tried[i], tried[i + 1]) for i in (best - 1, best) if 0 <= i < len(tried) - 1]
            first, last = max(beside, key=lambda gap: gap[1] - gap[0])
            if last - first < 2:
                return None
            middle = (first + last) // 2
            if self.reaches(middle):
                return middle
            tried = sorted([*tried, middle])

    @property
    def best(self) -> float:
        """The guidance with the highest score so far."""
        return max(self.seen, key=self.seen.__getitem__)

    @property
    def falls(self) -> list[tuple[float, float]]:
        """Neighbouring guidance scales between which the score falls, so that the bisection is uncertain there."""
        points = sorted(self.seen)
        return [(a, b) for a, b in pairwise(points) if self.seen[b] < self.seen[a]]


@dataclass(frozen=True)
class Scorer:
    """The mean score of pairs at a guidance scale, over the seeds of a pair and then over pairs.

    It makes the records that are missing.
    """

    run: RunConfig
    pairs: tuple[Pair, ...]
    seeds: tuple[int, ...]
    metric: str
    report: Callable[[str], None] = say

    def __call__(self, guidance: float) -> float:
        """The score.

        Raises:
            OptionError: a pair failed or has no value; the message gives the reason.
        """
        values = [mean(seeds) for seeds in zip(*(self._values(guidance, seed) for seed in self.seeds), strict=True)]
        self.report(f"guidance {guidance:g}: {word_of(self.metric)} {mean(values):.4f} ({len(values)} pairs)")
        return mean(values)

    def _values(self, guidance: float, seed: int) -> list[float]:
        sampler = replace(self.run.options.sampler, guidance_scale=guidance, seed=seed)
        run = replace(self.run, options=replace(self.run.options, sampler=sampler))
        return [self._value(outcome, run) for outcome in run_cell(run, self.pairs, lambda outcome: None)]

    def _value(self, outcome: Outcome, run: RunConfig) -> float:
        if outcome.status == "failed":
            raise OptionError(f"{outcome.pair} failed at guidance {outcome.guidance_scale:g}: {outcome.reason}")
        record = RecordStore(run.runs_dir).find(outcome.record)
        if missing := lacking(record, run.metrics).families:  # the record was made without this metric
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
    """The pairs of a configuration; optionally only those of one gender, or the named one.

    Raises:
        OptionError: there is no such pair.
    """
    pairs = pairs_of(run.data).pairs
    chosen = tuple(p for p in pairs if gender in (None, p.gender) and name in (None, p.name))
    if not chosen:
        wanted = " and ".join(filter(None, (gender, name)))
        raise OptionError(f"no pair is {wanted}; there are {', '.join(f'{p.name} ({p.gender})' for p in pairs)}")
    return chosen


def search_config(overrides: Sequence[str], metric: str) -> RunConfig:
    """The configuration of a search. It measures only the family of the metric and publishes nothing.

    Args:
        overrides: Hydra overrides, such as "sampler.num_inference_steps=30".

    Raises:
        OptionError: an override or the metric is unknown, or higher values of the metric are not better.
    """
    if base_name(metric) not in DEFINITIONS:
        raise OptionError(
            f"metric {metric} is unknown; for sync give sync_mini_confidence, or another metric of docs/metrics.md"
        )
    if direction_of(metric) != "higher":
        raise OptionError(f"higher values of {metric} are not better; give a metric that is better when it is higher")
    run = read_config(configured([*overrides, "tracker=none"]))
    return replace(run, metrics=MetricsConfig.of([DEFINITIONS[base_name(metric)].family]))
