"""Reads a task's own settings from a mapping into a checked dataclass."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from latentsync.errors import OptionError

Settings = TypeVar("Settings")


def read_settings(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The dataclass with the given values, and its defaults for the rest.

    Raises:
        OptionError: a name is unknown, or a value is of another type than the default, or out of range.
    """
    defaults = {field.name: field.default for field in fields(kind)}
    for name, value in values.items():
        if name not in defaults:
            raise OptionError(f"task.{name} is unknown; known are {', '.join(defaults)}")
        wanted = type(defaults[name])
        fits = isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool)
        if not (fits or (wanted is float and isinstance(value, int) and not isinstance(value, bool))):
            raise OptionError(f"task.{name} is {value!r}; a value like {defaults[name]!r} is needed")
    return kind(**values)


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Refuses a setting that is none of its choices.

    Raises:
        OptionError: it is none of them.
    """
    if value not in (known := list(choices)):
        raise OptionError(f"task.{name} is {value!r}; choose one of {', '.join(known)}")
