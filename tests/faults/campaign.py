"""Disturbs each job in each way, and counts what is found afterwards."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from faults.door import ERRORS, FailingSystem, System, installed
from faults.jobs import JOBS, WHOLE
from faults.power import RecordingSystem, write_tree
from latentsync.errors import LatentSyncError
from latentsync.files import remove_abandoned
from latentsync.lab.records.claims import CLAIM_PREFIX

FAULT, FILES, NOTE = "fault", "files", "note"  # properties of a test, which conftest prints: name and counts, or a line
OUTCOMES = ("survived", "lost", "doubled", "half")


@dataclass
class Row:
    """One line of the table.

    Attributes:
        fault: what was done to which job.
        counts: how often there was each outcome.
        bad: the first cases that did not survive, in words.
    """

    fault: str
    counts: Counter = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)

    def add(self, found: str, case: str, wanted: tuple[str, ...] = WHOLE) -> None:
        """Counts a case. What is whole but not what it must be counts as lost."""
        outcome = "survived" if found in wanted else "lost" if found in WHOLE else found
        self.counts[outcome] += 1
        if outcome != "survived":
            self.bad.append(f"{self.fault}, {case}: {found}, not {' or '.join(wanted)}")


def failing_calls(
    name: str,
    folder: Path,
    for_good: bool,
    exchanges: bool = True,
    errors: tuple[str, ...] = tuple(ERRORS),
    is_short: bool = False,
) -> Row:
    """The n-th call at the door fails, n = 1, 2, ... until the job passes; then the job is done again undisturbed.

    Args:
        is_short: whether n grows by the job's `stride`.
    """
    kind = "from the n-th call on" if for_good else "the n-th call"
    row = Row(f"{name}: {kind} fails")
    job, before = JOBS[name], folder / "before"
    before.mkdir()
    with installed(System(exchanges)):
        job.begin(before)
    for error in errors:
        for number in count(1, job.stride if is_short else 1):
            place, case = folder / f"{error}-{number}", f"{error} at call {number}, exchange {exchanges}"
            shutil.copytree(before, place)
            has_passed = False
            with (
                installed(FailingSystem(number, ERRORS[error], for_good, exchanges)) as system,
                suppress(OSError, MemoryError, LatentSyncError, UserWarning),
            ):
                job.work(place)
                has_passed = True
            with installed(System(exchanges)):
                row.add(job.look(place), case, ("new",) if has_passed else WHOLE)
                job.work(place)
                row.add(job.look(place), f"{case}, and then undisturbed", ("new",))
                for path in hidden(place):
                    row.add("doubled", f"{case}: {path.name} stays")
            if system.calls < number:
                break
    return row


def hidden(root: Path) -> Iterator[Path]:
    """What the next writer does not remove, though nobody needs it. A claim's file goes with the next claim."""
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        remove_abandoned(folder)
    return (path for path in root.rglob(".*") if not path.name.startswith(CLAIM_PREFIX))


def power_cuts(name: str, folder: Path, deviations: int, exchanges: bool = True) -> Row:
    """Every state that a power cut during the job or after it may leave, opened by the job's reader."""
    row = Row(f"{name}: power cut")
    job, place = JOBS[name], folder / "watched"
    place.mkdir()
    with installed(System(exchanges)):
        job.begin(place)
    with installed(RecordingSystem(place, exchanges)) as system:
        job.work(place)
    for number, (has_ended, tree) in enumerate(system.states(deviations)):
        state = folder / f"state-{number}"
        write_tree(tree, state)
        with installed(System(exchanges)):
            row.add(job.look(state), f"exchange {exchanges}, state {number}, {tree}", ("new",) if has_ended else WHOLE)
    return row


def sum_of(rows: list[Row]) -> Row:
    """Rows of one fault as one."""
    return Row(rows[0].fault, sum((row.counts for row in rows), Counter()), [case for row in rows for case in row.bad])


def table(rows: list[Row]) -> str:
    """The rows as Markdown: fault, times, survived, lost, doubled, half."""
    lines = [["fault", "times", *OUTCOMES], ["---", *["---:"] * 5]]
    lines += [[row.fault, row.counts.total(), *(row.counts[name] for name in OUTCOMES)] for row in rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
