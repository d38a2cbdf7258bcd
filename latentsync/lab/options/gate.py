"""The gate of a run: bounds that metrics must reach, as `metrics.gate={sync_mini_confidence: 0.3}`."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from latentsync.errors import OptionError, did_you_mean
from latentsync.metrics.definitions import DEFINITIONS, SUFFIXES, definition_of, direction_of, word_of_metric

BOUND_TEXTS = {  # by the metric's better direction
    "higher": "at least {:g}",
    "lower": "at most {:g}",
    "zero": "at most {:g} away from 0",
    "one": "at most {:g} away from 1",
}


@dataclass(frozen=True)
class Gate:
    """Bounds of metrics; none: every record passes.

    A bound is the least value of a metric for which higher is better, the greatest of one for which lower is better,
    and the greatest distance from the best value of one that is best at 0 or at 1.

    Attributes:
        bounds: (metric, bound), sorted.
    """

    bounds: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, bounds: Mapping[str, float] | None) -> "Gate":
        """The gate of an option's value.

        Raises:
            OptionError: a metric is unknown or has no better direction, or a bound is not finite.
        """
        for name, bound in (bounds or {}).items():
            if name not in (known := _known()):
                close = did_you_mean(str(name), known) if len(str(name)) > 2 else "docs/metrics.md lists them"
                raise OptionError(f"metrics.gate names {name}, which is no metric; {close}")
            if direction_of(name) not in BOUND_TEXTS:
                raise OptionError(
                    f"metrics.gate names {name}, of which neither more nor less is better; choose another metric"
                )
            if bound is None or not math.isfinite(bound):
                raise OptionError(f"metrics.gate has {bound} for {name}; give a finite number")
        return cls(tuple(sorted((bounds or {}).items())))

    def __bool__(self) -> bool:
        return bool(self.bounds)

    def require_measured(self, families: Collection[str]) -> None:
        """Refuses a gate for what is not measured.

        Raises:
            OptionError: naming the metric and the option that measures it.
        """
        for name, _ in self.bounds:
            if (family := definition_of(name).family) not in families:
                raise OptionError(f"metrics.gate names {name}, which is not measured; add metrics.{family}=true")

    def failures(self, metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """What keeps a record from passing, a text for each metric: "mini SyncNet offset is 4, not at most 2".

        Args:
            metrics: of the record: name -> {value, reason}.
        """
        return [text for name, bound in self.bounds if (text := _failure(name, bound, metrics.get(name))) is not None]

    @property
    def text(self) -> str:
        """All bounds in words."""
        return ", ".join(f"{word_of_metric(name)} {_bound_text(name, bound)}" for name, bound in self.bounds)


def _known() -> list[str]:
    return [*DEFINITIONS, *(f"{name}{suffix}" for name in DEFINITIONS for suffix in SUFFIXES)]


def _bound_text(name: str, bound: float) -> str:
    return BOUND_TEXTS[direction_of(name)].format(bound)


def _failure(name: str, bound: float, entry: Mapping[str, Any] | None) -> str | None:
    word, value = word_of_metric(name), None if entry is None else entry.get("value")
    if value is None or math.isnan(value):
        reason = (entry or {}).get("reason") or "it was not measured"
        return f"{word} has no value ({reason}), and must be {_bound_text(name, bound)}"
    misses = {
        "higher": value < bound,
        "lower": value > bound,
        "zero": abs(value) > bound,
        "one": abs(value - 1) > bound,
    }
    return f"{word} is {value:.4g}, not {_bound_text(name, bound)}" if misses[direction_of(name)] else None
