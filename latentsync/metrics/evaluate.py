"""All measures of one generated video in one pass, each with its unit, its direction and its network.

Goal: one flat dict for records and tables. It also has the measures that have no meaning for the input, with `value`
None and a `reason`. If a family fails, the others still give their values.

Conventions: `definitions` explains entries and names, `families.base` the inputs.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from latentsync.errors import LatentSyncError
from latentsync.metrics.definitions import FAMILIES, Entry
from latentsync.metrics.families import Batch, Family, Subject, family_of


@dataclass
class Evaluation:
    """The values of all measures.

    Attributes:
        entries: by the measure's name.
        curves: numbers for each frame, window or shift, by name, for plots; None where a number is missing.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    curves: dict[str, list[float | None]] = field(default_factory=dict)


def needed_parts(wanted: Collection[str]) -> frozenset[str]:
    """Which parts of a batch the wanted families read.

    Raises:
        ValueError: as `validate`.
    """
    validate(wanted)
    return frozenset().union(*(family_of(name).needs for name in wanted))


def validate(wanted: Collection[str]) -> None:
    """Refuses unknown families.

    Raises:
        ValueError: a name is unknown.
    """
    if unknown := sorted(set(wanted) - set(FAMILIES)):
        raise ValueError(f"there is no measure {', '.join(unknown)}; choose some of {', '.join(FAMILIES)}")


def evaluate(subject: Subject, batches: Iterable[Batch], wanted: Collection[str]) -> Evaluation:
    """Every measure of the wanted families.

    Args:
        batches: consecutive frames from the first on, each with the parts that `needed_parts` names; read once.
        wanted: names of families, see `definitions.FAMILIES`.

    Raises:
        ValueError: as `validate`.
        LatentSyncError: the frames cannot be read.
    """
    validate(wanted)
    running: dict[str, Family] = {}
    evaluation = Evaluation()

    def attempt(name: str, step, *args):
        """Runs a step of a family. If it fails, the family's measures get the reason, and the family is dropped."""
        try:
            return step(*args)
        except LatentSyncError as error:
            reason = str(error)
        except Exception as error:  # a bug in one measure must not affect the others
            reason = f"{type(error).__name__}: {error}"
        running.pop(name, None)
        evaluation.entries |= family_of(name).without(subject, reason)
        return None

    for name in FAMILIES:
        if name in wanted and (family := attempt(name, family_of(name), subject)) is not None:
            running[name] = family
    for batch in batches:
        for name, family in list(running.items()):
            attempt(name, family.add, batch)
    for name, family in list(running.items()):
        entries, curves = attempt(name, family.entries), attempt(name, family.curves)
        if entries is not None and curves is not None:
            evaluation.entries |= entries
            evaluation.curves |= curves
    return evaluation
