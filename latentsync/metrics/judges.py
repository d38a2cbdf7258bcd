"""Where a judge of sync fails on the real clip: what it says of results there does not count.

Goal: one rule for tables, prints, pages and trackers. The lips of a real clip are in sync with its own sound. A judge
that finds them elsewhere, or is not sure, either does not know such faces, or the sound of the clip is not its own. In
both cases its scores of results say nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from latentsync.metrics.definitions import DEFINITIONS, OTHER_CROP

FAR_FRAMES = 2  # 80 ms: a judge's step is a frame, and it is good to one either way


@dataclass(frozen=True)
class Judge:
    """A measure of sync that can fail.

    Attributes:
        word: its name for readers.
        confidence, offset: its metrics, see `definitions`.
        least: below this confidence it is not sure; None: no bound tells right from wrong sound.
    """

    word: str
    confidence: str
    offset: str
    least: float | None

    @property
    def family(self) -> str:
        """The family of its metrics."""
        return DEFINITIONS[self.offset].family

    @property
    def rule(self) -> str:
        """When it fails, in words."""
        bound = "" if self.least is None else f" or its confidence below {self.least:g}"
        return f"its offset is beyond {FAR_FRAMES} frames{bound}"

    def fails(self, confidence: ArrayLike, offset: ArrayLike) -> np.ndarray:
        """Whether it fails on real clips, from its values for these. NaN, where it gave none, is no failure."""
        is_far = np.abs(np.asarray(offset, np.float64)) > FAR_FRAMES
        return is_far if self.least is None else is_far | (np.asarray(confidence, np.float64) < self.least)


JUDGES = (
    Judge("SyncNet", "lse_c", "lse_offset", 3.0),  # the bound of LatentSync's data filter, arXiv 2412.09262
    # 5 undamaged drawn clips have 0.34 or more, with a wrong voice 0.21 or less (experiments/measures)
    Judge("mini SyncNet", "sync_mini_confidence", "sync_mini_offset", 0.25),
    Judge("lip-loudness correlation", "landmark_sync_peak", "landmark_sync_lag", None),
)


def is_confidence(metric: str) -> bool:
    """Whether a metric is how sure a judge is that lips and sound belong together."""
    return metric.removesuffix(OTHER_CROP) in {judge.confidence for judge in JUDGES}


def judges_of(values: Mapping[str, ArrayLike]) -> Iterator[tuple[Judge, np.ndarray]]:
    """Each judge that gave values of real clips, with whether it fails on each of them.

    Args:
        values: NAME_real -> values, one for each record; more names may be there.
    """
    for judge in JUDGES:
        for crop in ("", OTHER_CROP):
            names = [f"{name}{crop}_real" for name in (judge.confidence, judge.offset)]
            if all(name in values for name in names):
                yield judge, judge.fails(*(values[name] for name in names))


def failure_notes(values: Mapping[str, float | None]) -> list[str]:
    """What a reader of one record must know: a sentence for each judge that fails on its real clip."""
    known = {name: [np.nan if value is None else value] for name, value in values.items() if name.endswith("_real")}
    return [failure_note(judge) for judge, fails in judges_of(known) if fails[0]]


def failure_note(judge: Judge) -> str:
    """The sentence of a record on whose real clip a judge fails."""
    return f"{judge.word} fails on the real clip ({judge.rule}), so its scores do not count here"
