"""What installed packages add to the toolkit, found by Python's entry points.

A package declares it in its `pyproject.toml`:

    [project.entry-points."latentsync.schedulers"]
    heun = "my_package:HeunDiscreteScheduler"

docs/extension is a whole package that adds a solver, a family of metrics and a tracker.
"""

import logging
from collections.abc import Collection
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from latentsync.errors import OptionError

SCHEDULERS_GROUP = "latentsync.schedulers"  # a scheduler's class, or a function of the model's scheduler
METRICS_GROUP = "latentsync.metrics"  # a `metrics.definition.InstalledFamily`
TRACKERS_GROUP = "latentsync.trackers"  # called with a TrackerConfig and a folder; see `lab.tracking.trackers.Tracker`
GROUPS = {SCHEDULERS_GROUP: "solver", METRICS_GROUP: "family of metrics", TRACKERS_GROUP: "tracker"}

log = logging.getLogger(__name__)
REASONS: dict[tuple[str, str, str], str] = {}  # why something is left out, by group, name and package


@cache
def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, by name, sorted. Of two packages with one name, the first in the alphabet counts."""
    points: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, package_of(point))):
        if (first := points.setdefault(point.name, point)) is not point:
            leave_out(group, point, f"{package_of(first)} brings one of this name; remove one of both packages")
    return points


def beside(group: str, own: Collection[str]) -> list[str]:
    """The names of a group that are not the project's own. One that is taken is left out."""
    names = []
    for name, point in installed(group).items():
        if name in own:
            leave_out(group, point, "this name is taken; ask its author for another one")
        else:
            names.append(name)
    return names


def leave_out(group: str, point: EntryPoint, reason: str) -> None:
    """Says in one line, once, why something that a package adds is not used."""
    REASONS[group, point.name, package_of(point)] = reason
    _say_once(f"left out: the {GROUPS[group]} {point.name} of the package {package_of(point)}: {reason}")


@cache
def _say_once(line: str) -> None:
    log.warning(line)  # without any set-up, logging prints this on stderr


def package_of(point: EntryPoint) -> str:
    """The package that an entry point belongs to; its module where that is unknown."""
    return point.dist.name if point.dist is not None else point.value


def version_of(group: str, name: str) -> dict[str, str]:
    """The package of an installed name, and its version; empty for the project's own, or where it is unknown."""
    dist = point.dist if (point := installed(group).get(name)) is not None else None
    return {} if dist is None else {dist.name: dist.version}


def load(group: str, name: str) -> Any:
    """The object that an entry point names.

    Raises:
        OptionError: its package cannot be imported.
    """
    point = installed(group)[name]
    try:
        return point.load()
    except Exception as error:  # whatever the code of another package raises
        raise OptionError(
            f"{name} comes from the package {package_of(point)}, which cannot be imported ({type(error).__name__}: "
            f"{error}); mend or remove that package"
        ) from error
