"""What defines a measure, and a family of measures that another package brings.

It imports nothing of the project but names, so that help and tables load no network's library.
"""

from collections.abc import Mapping
from dataclasses import dataclass

DIRECTIONS = ("higher", "lower", "zero", "one", "none")


@dataclass(frozen=True)
class Definition:
    """One measure.

    Attributes:
        word: its name in tables, figures and pages.
        family: the group that is computed together; its name is used in `metrics.NAME=true` and `--metrics`.
        version: of the protocol. It is raised when the same input gives another number.
    """

    word: str
    family: str
    unit: str
    direction: str
    text: str
    source: str
    version: int = 1

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise ValueError(f"direction is {self.direction!r}; choose one of {', '.join(DIRECTIONS)}")


@dataclass(frozen=True)
class InstalledFamily:
    """A family of measures of another package, as an entry point of the group `latentsync.metrics` names it.

    Attributes:
        text: what it measures, as `latentsync run --help` says it.
        definitions: its measures by name; their family is the name of the entry point.
        place: "MODULE:CLASS" of its `latentsync.metrics.families.Family`, which is imported where it is computed.
    """

    text: str
    definitions: Mapping[str, Definition]
    place: str
