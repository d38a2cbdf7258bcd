"""Takes the texts of a command line as they are: paths and names with any characters, and names like numbers.

Hydra's grammar refuses many characters without quotes, reads 3.10 as the number 3.1, and a comma as a sweep. Here the
values of options that hold a text get quotes before Hydra reads them. Values that Hydra reads unchanged, and those that
have quotes already, stay as they are, so that the keys of earlier cells stay, too.

What other packages add is in no file of conf/, so that `metrics.NAME=true` of one becomes `++metrics.NAME=true`.
"""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from functools import cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from latentsync.metrics.definitions import INSTALLED
from latentsync.names import named_text

PATHS = frozenset((
    "data.input_dir", "data.list", "model.pretrained", "model.inference_ckpt_path", "model.unet_config_path",
    "model.vae", "model.whisper", "runs_dir", "data_dir", "model_dir",
))  # fmt: skip
WRITTEN = frozenset(("runs_dir", "data.consent"))  # one for a command, so that a comma is part of the text
ADDED = frozenset(("tracker.plugin", *(f"metrics.{name}" for name in INSTALLED)))  # keys that no file has
KEPT = ("", "null", "???")  # no text, and values that are not given
FUNCTION = re.compile(r"(choice|glob|sort|shuffle|tag|range|interval|extend_list|str|int|float|bool)\(.*\)$")
SWEEPING = ("-m", "--multirun")
_INTERPOLATION = re.compile(r"(\\*)\$\{")


def literal(arguments: Sequence[str], texts: Collection[str]) -> list[str]:
    """The arguments of one of Hydra's commands, with quotes around the values of options that hold a text.

    In a sweep (`-m`) commas separate values, except where a file or folder of the whole name exists.

    Args:
        arguments: of the command line: overrides, and flags, which stay as they are.
        texts: the keys of the options that hold a text, see `text_keys`.
    """
    is_sweep = any(argument in SWEEPING for argument in arguments)
    return [_literal(argument, texts, is_sweep) for argument in arguments]


def text_keys(sections: Iterable[tuple[str, type]]) -> frozenset[str]:
    """The keys of all options that hold a text, from the dataclasses of the sections by name; "" for no section."""
    return frozenset(
        f"{name}.{key}" if name else key
        for name, kind in sections
        for key, one in kind.__dataclass_fields__.items()
        if "str" in str(one.type) and "dict" not in str(one.type)
    )


def _literal(argument: str, texts: Collection[str], is_sweep: bool) -> str:
    key, is_assigned, value = argument.partition("=")
    bare = key.lstrip("+")
    if key in ADDED:
        return f"++{argument}"
    if not is_assigned or bare not in texts:
        return argument
    return f"{key}={','.join(_parts(bare, value, is_sweep))}"


def _parts(key: str, value: str, is_sweep: bool) -> list[str]:
    """The values of a sweep, or the only value, each in Hydra's spelling."""
    if _exists(key, value):
        return [_spelled(key, value, exists=True)]
    if value in KEPT or FUNCTION.match(value) or "," not in value or key in WRITTEN:
        return [_spelled(key, value)]
    pieces = _split(value)
    if len(pieces) == 1:
        return [_spelled(key, value)]
    parts = []
    while pieces:  # the longest name with commas that exists
        last = next((n for n in range(len(pieces), 1, -1) if _exists(key, ",".join(pieces[:n]))), 1)
        parts.append(",".join(pieces[:last]))
        del pieces[:last]
    if not is_sweep and key in PATHS and not any(_exists(key, part) for part in parts):
        return [_spelled(key, value)]  # one path that does not exist
    return [_spelled(key, part, exists=_exists(key, part)) for part in parts]


def _split(value: str) -> list[str]:
    """A value at its commas, but not at those between quotes."""
    return re.findall(r"""(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^,])+""", value) or [value]


def _exists(key: str, value: str) -> bool:
    return key in PATHS and value != "" and os.path.lexists(named_text(value))


def _spelled(key: str, value: str, exists: bool = False) -> str:
    """One value in the spelling that Hydra reads as this text."""
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" and isinstance(_read(value), str)
    if not exists and (value in KEPT or is_quoted or "${" in value or FUNCTION.match(value)):
        return value
    text = named_text(value) if key in PATHS else value
    if exists:
        text = _INTERPOLATION.sub(lambda match: f"{match[1] * 2}\\${{", text)
    if _read(text) == text:
        return text
    return QuotedString(text, Quote.single).with_quotes()


def _read(text: str) -> object:
    """What Hydra reads; None for what it refuses, and for several values."""
    try:
        override = _parser().parse_override(f"key={text}")
    except HydraException:
        return None
    return None if override.is_sweep_override() else override.value()


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()
