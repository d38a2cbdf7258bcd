"""The notes that cells leave: the outcome of each pair, and the failures that a later run skips."""

import time
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from latentsync.errors import OptionError
from latentsync.lab.cells.outcome import Outcome
from latentsync.lab.records.sweeps import CELLS_DIR
from latentsync.lab.sweeps.request import cell_key
from latentsync.lab.tables.tidy import sweep_failures

RETRIES = (None, "failed")


def note_of(overrides: list[str], outcomes: Iterable[Outcome], run: str) -> dict[str, Any]:
    """The note of one cell.

    Args:
        overrides: the overrides that make the cell what it is.
        run: the command that the outcomes belong to; clocks may jump, and those of workers may differ.
    """
    return {
        "overrides": overrides,
        "noted": time.time(),
        "run": run,
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }


def note_path(sweep_dir: Path, overrides: list[str]) -> Path:
    """The file of a cell's note."""
    return sweep_dir / CELLS_DIR / f"{cell_key(overrides)}.json"


def check_retry(config: DictConfig) -> None:
    """Refuses a `retry` that is neither null nor "failed".

    Raises:
        OptionError: naming the value and what is allowed.
    """
    if config.retry not in RETRIES:
        raise OptionError(f"retry is {config.retry!r}; it is null, or failed to try again what failed in earlier runs")


def earlier_failures(sweep_dir: Path) -> list[Outcome]:
    """The failures in a sweep's notes, of records whose ids are known.

    A failure without an id was refused before anything was computed, for want of weights or by a wrong option. It is
    tried at each start.
    """
    known = {field.name for field in fields(Outcome)}
    failures = [failure for failure in sweep_failures(sweep_dir) if failure["record"] is not None]
    return [Outcome(**{key: value for key, value in failure.items() if key in known}) for failure in failures]
