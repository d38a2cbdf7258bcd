"""The checked configuration of each cell of a sweep. Thousands of cells take seconds, for they share what they can."""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from latentsync.lab.options.compose import composed, loader, parsed
from latentsync.lab.options.schema import KINDS, RunConfig, all_values, read_config, run_config
from latentsync.lab.options.typed import GENERAL, section_of, typed
from latentsync.option import section_infos

Choices = tuple[str, ...]  # the overrides of a cell that choose groups, or are more than plain values


class CellConfigs:
    """The configuration of each cell, in a `composing` block.

    Cells that make the same choice in each group share one composition. Plain values are then set as Hydra sets them,
    without a new composition.
    """

    def __init__(self) -> None:
        self._overrides: dict[str, Override] = {}
        self._plain: dict[str, bool] = {}
        self._bases: dict[Choices, DictConfig] = {}
        self._sections: dict[Choices, dict[str, dict[str, Any]] | None] = {}
        self._made: dict[tuple, Any] = {}
        self._as_they_are: set[tuple[str, str, type]] = set()  # types of values that an option takes unchanged

    def of(self, overrides: Iterable[str]) -> DictConfig:
        """The configuration that `hydra.compose` returns for these overrides.

        Raises:
            OptionError: a choice or a value does not fit.
        """
        choices, plain = self._split(overrides)
        config = deepcopy(self.base(choices))
        del config._content["hydra"]
        for line in plain:
            override = self._override(line)
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        return config

    def run(self, overrides: Iterable[str]) -> RunConfig:
        """The checked configuration of a cell.

        Raises:
            OptionError: a key is unknown, or a value is missing, of the wrong type or out of range.
        """
        overrides = list(overrides)
        choices, plain = self._split(overrides)
        changes: dict[str, dict[str, Any]] = {name: {} for name in KINDS}
        for line in plain:
            override = self._override(line)
            name, _, key = override.key_or_group.rpartition(".")
            value = override.value()
            if name not in KINDS or "${" in str(value) or key not in _names(KINDS[name]):
                return read_config(self.of(overrides))
            changes[name][key] = value
        values = self._values(choices)
        if values is None:
            return read_config(self.of(overrides))
        return run_config({name: self._section(choices, name, values[name], changes[name]) for name in values})

    def base(self, choices: Choices) -> DictConfig:
        """The configuration of one choice of groups, with Hydra's own section.

        Raises:
            OptionError: the choice does not fit.
        """
        if choices not in self._bases:
            self._bases[choices] = composed(choices)
        return self._bases[choices]

    def bases(self, cells: Iterable[Sequence[str]]) -> list[DictConfig]:
        """One configuration for each different choice of groups among the cells, without their plain values.

        Raises:
            OptionError: a choice does not fit.
        """
        return [self.base(choices) for choices in dict.fromkeys(self._split(cell)[0] for cell in cells)]

    def _section(self, choices: Choices, name: str, values: dict[str, Any], changes: dict[str, Any]) -> Any:
        """A section of a base with other values. Equal changes give the same object."""
        made = (choices, name, repr(changes))
        if made not in self._made:
            kind = KINDS[name]
            changed = {key: self._typed(name, kind, key, value) for key, value in changes.items()}
            self._made[made] = section_of(name, kind, values | changed)
        return self._made[made]

    def _typed(self, name: str, kind: type, key: str, value: Any) -> Any:
        """A value in the type of its option. Values of one type are converted alike, so that one trial is enough."""
        if (name, key, type(value)) in self._as_they_are:
            return value
        result = typed(name, kind, {key: value})[key]
        if type(value) in (int, float, str) and type(result) is type(value):
            self._as_they_are.add((name, key, type(value)))
        return result

    def _values(self, choices: Choices) -> dict[str, dict[str, Any]] | None:
        """The typed values of each section of a base; None if one refers to other values, which a cell may set."""
        if choices not in self._sections:
            base = self.base(choices)
            plain = OmegaConf.to_container(base, resolve=False)
            is_plain = "${" not in str([plain[key] for key in plain if key in KINDS or key in _names(KINDS[GENERAL])])
            self._sections[choices] = all_values(base) if is_plain else None
        return self._sections[choices]

    def _split(self, overrides: Iterable[str]) -> tuple[Choices, list[str]]:
        lines = list(overrides)
        plain = [line for line in lines if self._is_plain(line)]
        return tuple(line for line in lines if not self._is_plain(line)), plain

    def _override(self, line: str) -> Override:
        if line not in self._overrides:
            self._overrides[line] = parsed([line])[0]
        return self._overrides[line]

    def _is_plain(self, line: str) -> bool:
        """Whether an override only sets the value of an existing key, and chooses no configuration of a group."""
        key = line.partition("=")[0]
        if key not in self._plain:
            is_other = key.startswith(("+", "~", "hydra.", "hydra/")) or loader().is_group(key.partition("@")[0])
            self._plain[key] = not is_other
        return self._plain[key]


def _names(kind: type) -> set[str]:
    return {info.name for info in section_infos(kind)}
