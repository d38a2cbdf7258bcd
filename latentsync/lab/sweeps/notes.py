"""The notes that a cell leaves: its outcomes, and the failures that the next run leaves alone."""

import os
import time
from dataclasses import fields
from functools import lru_cache
from pathlib import Path

from omegaconf import DictConfig

from latentsync.errors import OptionError
from latentsync.lab.cells.outcome import Outcome
from latentsync.lab.options.schema import sweep_dir
from latentsync.lab.tables.tidy import sweep_failures

RETRIES = (None, "failed")
RUN_VARIABLE = "LATENTSYNC_RUN"  # names the command that a cell is noted by
not_noted: list[dict] = []  # cells of this process whose notes could not be written


def noted() -> dict:
    """When a cell was noted, for people, and in which run: clocks may jump, and workers' may differ."""
    return {"noted": time.time(), "run": os.environ.get(RUN_VARIABLE, "")}


def left_alone(config: DictConfig) -> list[Outcome]:
    """The failures of earlier runs that this one does not try again: those of a record whose id is known.

    What failed before there was an id, for want of weights or by a wrong option, was refused before anything was
    computed, and is tried at each start.

    Raises:
        OptionError: `retry` is something else than null or "failed".
    """
    if config.retry not in RETRIES:
        raise OptionError(f"retry is {config.retry!r}; it is null, or failed to try again what failed in earlier runs")
    return [] if config.retry == "failed" else earlier_failures(sweep_dir(config))


@lru_cache(maxsize=1)
def earlier_failures(folder: Path) -> list[Outcome]:
    """The failures that a sweep's notes held when this run began, of records whose ids are known."""
    known = {field.name for field in fields(Outcome)}
    failures = [failure for failure in sweep_failures(folder) if failure["record"] is not None]
    return [Outcome(**{key: value for key, value in failure.items() if key in known}) for failure in failures]
