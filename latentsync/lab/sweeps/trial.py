"""What a command that an agent of `wandb sweep` started reports into the agent's run."""

from collections.abc import Collection
from pathlib import Path

from latentsync.lab.records.sweeps import MADE, failures_of, sweep_cells
from latentsync.lab.tracking.trial import Trial, agents_run


def trial_of(sweep_dir: Path, run: str, cells: Collection[list[str]], objective: str | None) -> Trial | None:
    """The records and failures of the cells of this command; None if no agent started it.

    Args:
        run: the id of this command.
        cells: the overrides of its cells; empty if its sweeper chose them as it ran.
        objective: the metric that it reports.
    """
    if (identifier := agents_run()) is None:
        return None
    notes = [note for note in sweep_cells(sweep_dir) if (note["overrides"] in cells if cells else note["run"] == run)]
    records = {each["record"]: None for note in notes for each in note["outcomes"] if each["status"] in MADE}
    return Trial(identifier, tuple(records), tuple(failures_of(notes)), objective)
