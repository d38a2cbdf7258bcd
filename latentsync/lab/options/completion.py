"""What a word of a command line of Hydra's may become: flags, groups, choices, keys and values."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.plugins.completion_plugin import CompletionPlugin, DefaultCompletionPlugin
from omegaconf import DictConfig, ListConfig, OmegaConf

from latentsync.errors import OptionError
from latentsync.files import entries
from latentsync.lab.options.compose import RUN, Root, composed, composing, leaves, loader
from latentsync.lab.options.literal import PATHS, literal
from latentsync.lab.options.reference import plain
from latentsync.lab.options.schema import KINDS, GeneralOptions
from latentsync.lab.options.sources import ConfigSources, option_names, read_command_line
from latentsync.lab.options.typed import dotted
from latentsync.option import OptionInfo, section_infos

ORIGIN = "from="  # of `latentsync run`, before the id of a record
OF_FOLDERS = ("--config-dir", "-cd", "--config-path", "-cp")  # flags whose value is a folder


def completions(words: Sequence[str], root: Root = RUN) -> list[str]:
    """What the last word may become, sorted.

    Args:
        words: the arguments up to the cursor; the last one may be empty or unfinished.
    """
    *before, word = words
    if before and before[-1] in OF_FOLDERS:
        return sorted(_files(word))
    if root is RUN and word.startswith(ORIGIN):
        return sorted(_records(word.removeprefix(ORIGIN), before))
    if word.startswith("-"):
        return sorted(name for name in option_names() if name.startswith(word))
    overrides, sources = _known(before, root)
    try:
        with composing(sources, root):
            return sorted(set(_of_override(word, _composed(overrides, root), root)))
    except OptionError:  # one of the other words is wrong, and running the command will say how
        return []


def _records(start: str, before: Sequence[str]) -> Iterator[str]:
    """The records of the runs folder whose ids begin so."""
    given = dict(word.partition("=")[::2] for word in before)
    folder = Path(given.get("runs_dir") or GeneralOptions.runs_dir) / "records"
    yield from (f"{ORIGIN}{path.name}" for path in entries(folder) if path.name.startswith(start))


def _known(before: Sequence[str], root: Root) -> tuple[list[str], ConfigSources]:
    try:
        line = read_command_line(literal(before, root.texts), root.config_name)
    except (OptionError, SystemExit):
        return [], ConfigSources(root.config_name)
    return line.overrides, line.sources


def _composed(overrides: Sequence[str], root: Root) -> DictConfig:
    """The configuration of the other words; without them, where they do not fit."""
    required = [f"{group}={loader().choices(group)[0]}" for group in root.required]
    missing = [line for line in required if not any(o.startswith(line.partition("=")[0] + "=") for o in overrides)]
    try:
        return composed([*missing, *overrides])
    except Exception:  # whatever Hydra raises of a wrong word
        return composed(required)


def _of_override(word: str, config: DictConfig, root: Root) -> Iterator[str]:
    sign = word[: len(word) - len(word.lstrip("+~"))]
    word = word.removeprefix(sign)
    key, is_assigned, value = word.partition("=")
    if word.startswith("hydra"):
        candidates = iter(DefaultCompletionPlugin(loader())._query(loader().sources.config_name, word))
    elif is_assigned:
        first, comma, last = value.rpartition(",")
        candidates = (f"{key}={first}{comma}{each}" for each in _values(key, last, config, root))
    else:
        candidates = _names(word, config, root)
    yield from (f"{sign}{candidate}" for candidate in candidates)


def _names(word: str, config: DictConfig, root: Root) -> Iterator[str]:
    """Groups, and keys up to their next dot."""
    for group in loader().groups():
        if group != "hydra" and group.startswith(word):
            yield f"{group}="
    if root is RUN and word and ORIGIN.startswith(word):
        yield ORIGIN
    for key in leaves(config):
        if key.startswith(word):
            end = key.find(".", len(word))
            yield f"{key}=" if end < 0 else key[: end + 1]
    if word and "hydra".startswith(word):
        yield from ("hydra.", "hydra/")


def _values(key: str, word: str, config: DictConfig, root: Root) -> Iterator[str]:
    if loader().is_group(key):
        candidates = loader().choices(key)
    elif key in PATHS:
        candidates = _files(word)
    elif (info := _info(key) if root is RUN else None) is not None and (info.allowed or isinstance(info.default, bool)):
        candidates = [*(info.allowed or ("true", "false")), *(["null"] if info.is_open else [])]
    else:
        value = OmegaConf.select(config, key)
        candidates = [] if value is None else [plain(list(value) if isinstance(value, ListConfig) else value)]
    yield from (candidate for candidate in candidates if candidate.startswith(word))


def _info(key: str) -> OptionInfo | None:
    infos = (info for name, kind in KINDS.items() for info in section_infos(kind) if dotted(name, info.name) == key)
    return next(infos, None)


def _files(word: str) -> list[str]:
    return [f"{path}/" if os.path.isdir(path) else path for path in CompletionPlugin.complete_files(word or "./")]
