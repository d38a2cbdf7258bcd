"""The run for which an agent of `wandb sweep` started this command, see docs/trackers.md."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

RUN_VARIABLE, SWEEP_VARIABLE = "WANDB_RUN_ID", "WANDB_SWEEP_ID"
VARIABLES = (RUN_VARIABLE, SWEEP_VARIABLE, "WANDB_SWEEP_PARAM_PATH")  # an agent sets them for the command


@dataclass(frozen=True)
class Trial:
    """What a command reports into the run of its agent.

    Attributes:
        run: the id of that run.
        records: the ids of the command's records.
        failures: its failed pairs, as for `Tracker.publish_failure`.
        objective: the metric that the command reports, besides those that every sweep reports.
    """

    run: str
    records: tuple[str, ...]
    failures: tuple[Mapping[str, Any], ...] = ()
    objective: str | None = None


def agents_run() -> str | None:
    """The id of the agent's run; None if no agent started this command."""
    return os.environ.get(RUN_VARIABLE) or None if os.environ.get(SWEEP_VARIABLE) else None


@contextmanager
def apart_from_the_agent() -> Iterator[None]:
    """Within the block, runs of W&B do not join the agent's run or its sweep."""
    before = {name: os.environ.pop(name) for name in VARIABLES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
