"""The parts of an evaluation, in the order in which they are measured; each gives a few rows."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from latentsync.errors import OptionError
from latentsync.lab.evaluation import faces, painted
from latentsync.lab.evaluation.measures import Bench
from latentsync.lab.evaluation.rows import Row

PARTS: dict[str, Callable[[Bench], list[Row]]] = {
    "vae": painted.vae,
    "sync": painted.sync,
    "lip": painted.lip,
    "real": painted.real,
    "self": painted.self_reconstruction,
    "silence": painted.silence,
    "sync_confidence": painted.sync_confidence,
    "guidance": painted.guidance,
    "speed": painted.speed,
    faces.PART: faces.faces,
}
JUDGED_BY_SYNCNET = ("sync", "sync_confidence", "guidance")


def parts_of(names: Iterable[str]) -> list[str]:
    """The named parts in the order in which they are measured.

    Raises:
        OptionError: a name is unknown, or there is no name.
    """
    names = list(names)
    if (unknown := sorted(set(names) - set(PARTS))) or not names:
        raise OptionError(f"--rows names {', '.join(unknown) or 'nothing'}; choose some of {', '.join(PARTS)}")
    return [part for part in PARTS if part in names]


def measured(part: str, bench: Bench) -> list[Row]:
    """The rows of a part; void if the judging SyncNet has not been trained."""
    is_void = part in JUDGED_BY_SYNCNET and not bench.is_syncnet_trained
    return [replace(row, is_void=is_void) for row in PARTS[part](bench)]
