"""The values of a composed configuration in the types of a section's options. A section is a dataclass of options."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import fields
from functools import cache
from typing import Any

from omegaconf import MISSING as NOT_GIVEN
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from latentsync.errors import OptionError, did_you_mean
from latentsync.option import section_infos

GENERAL = ""  # the name of the options that stand outside of sections


def values_of(config: DictConfig, name: str, kind: type) -> dict[str, Any]:
    """The values of a section of the composed configuration, in the types of its options; NOT_GIVEN for `???`.

    Raises:
        OptionError: the section or one of its keys is unknown, or a value is of the wrong type.
    """
    infos = {info.name: info for info in section_infos(kind)}
    try:
        values = OmegaConf.to_container(_section(config, name, kind), resolve=True)
    except OmegaConfBaseException as error:
        raise OptionError(f"{error.full_key or error.key}: {str(error).splitlines()[0]}") from error
    for key in values:
        if key not in infos:
            close = did_you_mean(dotted(name, str(key)), [dotted(name, known) for known in infos])
            raise OptionError(f"the key {dotted(name, str(key))} is unknown; {close}")
    return {key: info.default for key, info in infos.items()} | typed(name, kind, values)


def _section(config: DictConfig, name: str, kind: type) -> DictConfig:
    if name == GENERAL:
        keys = [info.name for info in section_infos(kind)]
        return OmegaConf.create({key: config[key] for key in keys if key in config})
    section = config.get(name)
    if not isinstance(section, DictConfig) or section._is_none():
        first = section_infos(kind)[0].name
        raise OptionError(
            f"{name} is {'missing' if section is None else section}, but a run needs its options; remove the override "
            f"or file that replaces them, and set them by name, such as {name}.{first}=VALUE"
        )
    return section


def typed(name: str, kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a section in the types of its options; NOT_GIVEN stays.

    Raises:
        OptionError: a value is of another type.
    """
    schema = deepcopy(_schema(kind))
    given = [key for key, value in values.items() if value != NOT_GIVEN]
    for key in given:
        try:
            schema[key] = values[key]
        except OmegaConfBaseException as error:
            raise _wrong_type(name, kind, key, values[key]) from error
    plain = OmegaConf.to_container(schema)
    return {key: plain[key] if key in given else value for key, value in values.items()}


@cache
def _schema(kind: type) -> DictConfig:
    schema = OmegaConf.structured(kind)
    OmegaConf.set_readonly(schema, False)
    return schema


def _wrong_type(section: str, kind: type, key: str, value: Any) -> OptionError:
    info = next(info for info in section_infos(kind) if info.name == key)
    annotation = str(next(one.type for one in fields(kind) if one.name == key))
    words = {"tuple": "a list of numbers", "int": "a whole number", "float": "a number"}
    wanted = info.wanted or next((text for word, text in words.items() if word in annotation), "a text")
    or_open = ", or null to leave it open" if "None" in annotation else ""
    hint = f" ({info.hint})" if info.hint else ""
    return OptionError(f"{dotted(section, key)} is {shown(value)}; it must be {wanted}{or_open}{hint}")


def shown(value: Any) -> str:
    """A value as messages show it: in the spelling of YAML, with quotes around a text."""
    return spelled(value, repr, ", ")


def spelled(value: Any, text_of: Callable[[Any], str] = str, comma: str = ",") -> str:
    """A value in the spelling of YAML.

    Args:
        text_of: spells texts and numbers.
        comma: between the values of a list.
    """
    if isinstance(value, list | tuple):
        return f"[{comma.join(spelled(one, text_of, comma) for one in value)}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return text_of(value)


def dotted(section: str, key: str) -> str:
    """The key of an option on the command line: "sampler.seed"."""
    return f"{section}.{key}" if section else key


def section_of(name: str, kind: type, values: Mapping[str, Any]) -> Any:
    """A section from its typed values, checked.

    Raises:
        OptionError: a value is missing or out of range.
    """
    for key, value in values.items():
        if value == NOT_GIVEN:
            raise OptionError(f"{dotted(name, key)} is not given; add {dotted(name, key)}=VALUE")
    return kind(**values)
