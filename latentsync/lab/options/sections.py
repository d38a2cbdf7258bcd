"""A section of Hydra's composition becomes a dataclass that checks itself."""

from typing import TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from latentsync.errors import OptionError

Section = TypeVar("Section")


def read_section(config: DictConfig, kind: type[Section], name: str = "") -> Section:
    """A composed section as its checked dataclass.

    Args:
        config: the whole composition.
        kind: the dataclass; its fields may be dataclasses, too.
        name: the section's key in the composition; empty for the whole composition.

    Raises:
        OptionError: a key is unknown, or a value is missing, of the wrong type or out of range.
    """
    prefix = f"{name}." if name else ""
    schema = OmegaConf.structured(kind)
    _make_writable(schema)
    try:
        section = config[name] if name else config
        for key in sorted(OmegaConf.missing_keys(section)):
            whole = f"{prefix}{key.removeprefix(prefix)}"  # OmegaConf gives the key whole or without the section
            raise OptionError(f"{whole} is not given; add {whole}=VALUE")
        return OmegaConf.to_object(OmegaConf.merge(schema, section))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise OptionError(f"{prefix}{error.full_key or error.key}: {reason}") from error


def _make_writable(schema: DictConfig) -> None:
    """OmegaConf takes frozen dataclasses for read-only ones, and merges no values into them."""
    OmegaConf.set_readonly(schema, False)
    for key in schema:
        if not OmegaConf.is_missing(schema, key) and isinstance(schema[key], DictConfig):
            _make_writable(schema[key])
