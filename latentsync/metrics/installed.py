"""The families of measures that installed packages bring, each checked. One that is wrong is left out with a line."""

from collections.abc import Collection, Mapping, Sequence

from latentsync import plugins
from latentsync.errors import OptionError
from latentsync.metrics.definition import Definition, InstalledFamily

RESERVED = ("controls", "gate", "seconds")  # other keys of `metrics`, and a column of tables


def installed_families(
    measures: Collection[str], families: Collection[str], affixes: Sequence[tuple[str, ...]]
) -> dict[str, InstalledFamily]:
    """The families of other packages, by name.

    Args:
        measures, families: the names that are taken.
        affixes: the prefixes and the suffixes that change the meaning of a measure's name.
    """
    found: dict[str, InstalledFamily] = {}
    for name in plugins.beside(plugins.METRICS_GROUP, families):
        point = plugins.installed(plugins.METRICS_GROUP)[name]
        try:
            family = plugins.load(plugins.METRICS_GROUP, name)
            fault = _fault(name, family, {*measures, *definitions_of(found)}, affixes)
        except OptionError as error:
            family, fault = None, str(error)
        if fault is not None:
            plugins.leave_out(plugins.METRICS_GROUP, point, fault)
        else:
            found[name] = family
    return found


def definitions_of(families: Mapping[str, InstalledFamily]) -> dict[str, Definition]:
    """All measures of families, by name."""
    return {name: known for family in families.values() for name, known in family.definitions.items()}


def _fault(name: str, family: object, measures: Collection[str], affixes: Sequence[tuple[str, ...]]) -> str | None:
    """Why a family cannot be used; None if it can."""
    if not isinstance(family, InstalledFamily):
        return f"it is {type(family).__name__}; give a latentsync.metrics.definition.InstalledFamily"
    for each in (name, *family.definitions):
        if not each.isidentifier() or each in RESERVED:
            return f"{each} is no name that a column can have; choose a word of letters, digits and underscores"
    prefixes, suffixes = affixes
    for each, known in family.definitions.items():
        if each in measures:
            return f"the measure {each} is known already; choose another name"
        if each.startswith(prefixes) or each.endswith(suffixes):
            return f"the name {each} has a part that changes a measure's meaning ({', '.join((*prefixes, *suffixes))})"
        if not isinstance(known, Definition) or known.family != name:
            return f"the measure {each} has no Definition of the family {name}; give it one"
    return None if family.definitions else "it has no measures; give definitions"
