"""What installed packages add to the toolkit, found by Python's entry points.

A package declares it in its `pyproject.toml`:

    [project.entry-points."latentsync.schedulers"]
    heun = "my_package:HeunDiscreteScheduler"
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from latentsync.errors import OptionError

SCHEDULERS_GROUP = "latentsync.schedulers"
TRACKERS_GROUP = "latentsync.trackers"  # called with a TrackerConfig and a folder; see `lab.tracking.trackers.Tracker`


@cache
def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, by name, sorted."""
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}


def load(group: str, name: str) -> Any:
    """The object that an entry point names.

    Raises:
        OptionError: its package cannot be imported.
    """
    point = installed(group)[name]
    try:
        return point.load()
    except Exception as error:  # whatever the code of another package raises
        package = point.dist.name if point.dist is not None else point.value
        raise OptionError(
            f"{name} comes from the package {package}, which cannot be imported ({type(error).__name__}: {error}); "
            f"mend or remove that package"
        ) from error
