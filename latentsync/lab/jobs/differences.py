"""How two records differ: in what they were made of, and in their metrics, beside the spread between seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from latentsync.config import recorded_infos
from latentsync.lab.records.identity import changes, short_text
from latentsync.lab.records.labels import settings_beside
from latentsync.lab.records.store import Record
from latentsync.lab.tables.tidy import collect_wide

LEAST_SEEDS = 3  # of a setting; fewer say little about a spread
PARTS = ("pair", "model", "options", "preset", "video", "versions")  # of a record's content
INNER = ("networks", "stage_versions")  # of its identity: what no other part shows
PLACES = ("pair.clip.path", "pair.voice.path")  # of files that have a name and a hash


@dataclass(frozen=True)
class Fact:
    """Something that two records were made of, where it differs.

    Attributes:
        name: the option's word, or the dotted name of another value.
        values: of both records, as text.
    """

    name: str
    values: tuple[str, str]


@dataclass(frozen=True)
class MetricDifference:
    """The values of a metric.

    Attributes:
        name: of the metric.
        values: of both records; NaN where one lacks it.
        unit: of the values.
        spread: the standard deviation between seeds of the same clip, voice and settings, pooled over both settings;
            None where neither has records with enough seeds.
        num_seeds: the seeds behind the spread.
        reasons: why a value is missing.
    """

    name: str
    values: tuple[float, float]
    unit: str
    spread: float | None
    num_seeds: int
    reasons: tuple[str | None, str | None]

    @property
    def difference(self) -> float:
        """The second value less the first."""
        return self.values[1] - self.values[0]


@dataclass(frozen=True)
class Differences:
    """How two records differ.

    Attributes:
        ids: of both.
        facts: what they were made of, where it differs.
        metrics: every metric that one of them has.
    """

    ids: tuple[str, str]
    facts: tuple[Fact, ...]
    metrics: tuple[MetricDifference, ...]


def differences(first: Record, second: Record) -> Differences:
    """Compares two records, which may be in different runs folders.

    Raises:
        DamagedFileError, OSError: as for `Record.own_content` and `Record.metrics`.
    """
    both = first, second
    facts = tuple(_facts(first.own_content, second.own_content))
    tables = {runs: collect_wide(runs) for runs in {record.runs_dir for record in both}}
    seeds = [_seeds_of(record, tables[record.runs_dir]) for record in both]
    if seeds[0].equals(seeds[1]):  # both are seeds of one setting
        seeds.pop()
    entries = first.metrics, second.metrics
    metrics = tuple(_metric(name, entries, seeds) for name in sorted({*entries[0], *entries[1]}))
    return Differences((first.id, second.id), facts, metrics)


def _facts(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Fact]:
    contents = [
        {part: content.get(part) for part in PARTS}
        | {part: (content.get("identity") or {}).get(part) for part in INNER}
        for content in (first, second)
    ]
    infos = recorded_infos()
    facts = []
    for name, *values in changes(*contents):
        if name in PLACES:
            continue
        option = name.removeprefix("options.")
        known = infos.get(option) if option != name else None
        words = tuple(short_text(value) if known is None else known.cell(value) for value in values)
        facts.append(Fact(option if known is None else known.word, tuple(map(str, words))))
    return facts


def _metric(
    name: str, entries: tuple[Mapping[str, Mapping[str, Any]], ...], seeds: list[pd.DataFrame]
) -> MetricDifference:
    both = [each.get(name) or {} for each in entries]
    values = tuple(math.nan if one.get("value") is None else float(one["value"]) for one in both)
    reasons = tuple(one.get("reason") if one else "not measured" for one in both)
    known = [part[name].dropna() for part in seeds if name in part]
    known = [part for part in known if len(part) >= LEAST_SEEDS]
    spread = math.sqrt(np.mean([part.var(ddof=1) for part in known])) if known else None
    unit = next(str(one["unit"]) for one in both if one)
    return MetricDifference(name, values, unit, spread, sum(map(len, known)), reasons)


def _seeds_of(record: Record, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a runs folder's table that differ from a record in the seed only, with its own."""
    same = [name for name in ("clip_sha256", "voice_sha256", "model", *_settings()) if name in table]
    words = table[same].map(str)
    own = words[table["record"] == record.id]
    if not len(own):
        return table[:0]
    return table[(words == own.iloc[0]).all(axis=1)].drop_duplicates("seed").reset_index(drop=True)


def _settings() -> tuple[str, ...]:
    return ("guidance_scale", "num_inference_steps", *settings_beside())
