"""All weights as a table: size, licence, source, and where each is on this machine."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from latentsync.errors import LatentSyncError, OptionError
from latentsync.weights.catalogue import CATALOGUE, GROUPS, Member, WeightFile
from latentsync.weights.folders import cache_dir
from latentsync.weights.store import find

if TYPE_CHECKING:
    import pandas as pd


class Row(NamedTuple):
    """A weight as a row of text.

    Attributes:
        size: with its unit.
        where: "cache", "checkpoints", "not here" or "DAMAGED".
        source: the preferred source.
    """

    name: str
    size: str
    where: str
    licence: str
    source: str


def rows() -> list[Row]:
    """Every known weight."""
    return [Row(w.name, w.size, _where(w), w.licence, str(w.sources[0])) for w in CATALOGUE.values()]


def known_weights() -> "pd.DataFrame":
    """Every known weight as a table, by name: size, where it is (or "not here"), licence, source."""
    import pandas as pd  # the commands do not need it

    return pd.DataFrame(rows(), columns=list(Row._fields)).set_index("name")


def _where(weight: WeightFile) -> str:
    try:
        path = find(weight.name)
    except LatentSyncError:
        return "DAMAGED"
    if path is None:
        return "not here"
    return "cache" if path.is_relative_to(cache_dir()) else "checkpoints"


def expanded(names: Iterable[str]) -> list[str]:
    """The weights that the given names of weights and versions stand for, each once.

    Raises:
        OptionError: a name is unknown.
    """
    weights = []
    for name in names:
        if name not in CATALOGUE and name not in GROUPS:
            raise OptionError(
                f"neither a weight nor a version is called {name!r}; known are {', '.join([*GROUPS, *CATALOGUE])}"
            )
        weights += GROUPS.get(name, [name])
    return list(dict.fromkeys(weights))


def carried() -> list[str]:
    """The weights in archives of the package index, without the optional ones."""
    return [
        weight.name
        for weight in CATALOGUE.values()
        if any(isinstance(source, Member) for source in weight.sources) and not weight.is_optional
    ]
