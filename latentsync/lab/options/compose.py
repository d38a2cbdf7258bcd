"""Configurations that Hydra composes from conf/ and overrides: a single one, or one for each cell of a sweep.

If Hydra or OmegaConf refuses something, an `OptionError` is raised. For an unknown key or choice it gives the closest.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from difflib import get_close_matches

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from latentsync.errors import OptionError
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.sources import ConfigSources, SourcesLoader

KNOWN_KEYS = "config.yaml and its groups"
BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


@contextmanager
def composing(known_keys: str = KNOWN_KEYS, sources: ConfigSources | None = None) -> Iterator[None]:
    """Lets configurations be composed in the block.

    Args:
        known_keys: the files of conf/ that list the known keys; refusals name them.
        sources: the folders to look in; None: conf/ alone.

    Raises:
        OptionError: a folder of the sources does not exist, or Hydra or OmegaConf refused something in the block.
    """
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"), _refusals_told(known_keys):
        loader = SourcesLoader(sources or ConfigSources())
        loader.require_folders()
        GlobalHydra.instance().hydra.config_loader = loader
        yield


def _loader() -> SourcesLoader:
    return GlobalHydra.instance().config_loader()


@contextmanager
def _refusals_told(known_keys: str = KNOWN_KEYS) -> Iterator[None]:
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(f"{reason} (known keys: {CONF_DIR.name}/{known_keys})") from error


def configured(overrides: list[str]) -> DictConfig:
    """The configuration of one cell.

    Raises:
        OptionError: a key, a group's choice or a value is unknown, or an override has several values, as in a sweep.
    """
    with composing(sources=ConfigSources.of(overrides)):
        check_names(overrides)
        for override in _parsed(overrides):
            if override.is_sweep_override():
                raise OptionError(
                    f"{override.input_line} has several values, but only one is allowed here; give one "
                    f"(`latentsync run -m` sweeps over several)"
                )
        return compose("config", overrides)


def option_names() -> list[str]:
    """The options of Hydra's command lines, such as --multirun."""
    return [name for action in get_args_parser()._actions for name in action.option_strings]


def asks_help(arguments: Iterable[str]) -> bool:
    """Whether the arguments of one of Hydra's commands ask for help."""
    return any(argument in ("-h", "--help") for argument in arguments)


def composed(overrides: list[str]) -> DictConfig:
    """The configuration with Hydra's own section, without the values of a sweep."""
    return GlobalHydra.instance().hydra.compose_config(
        _loader().sources.config_name, overrides, RunMode.MULTIRUN, validate_sweep_overrides=False
    )


def _parsed(overrides: list[str]) -> list[Override]:
    return OverridesParser.create(_loader()).parse_overrides(overrides)


def cells_of(config: DictConfig, is_sweep: bool) -> Iterator[list[str]]:
    """The overrides of each job, as Hydra's basic sweeper makes them; else one job."""
    task = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    if not is_sweep or config.hydra.sweeper._target_ != BASIC_SWEEPER:
        yield task
        return
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    yield from (list(job) for job in BasicSweeper.split_arguments(_parsed([*params, *task]), None)[0])


def check_names(overrides: list[str]) -> None:
    """Refuses keys, choices and a first configuration that do not exist, and gives the closest ones.

    Raises:
        OptionError: naming the key, choice or configuration, and the closest ones.
    """
    loader, parsed = _loader(), _parsed(overrides)
    first = loader.sources.config_name
    if not loader.has(first):
        raise OptionError(f"--config-name {first} is unknown{_alike(first, loader.choices(''))}")
    ours = [o for o in parsed if not (o.is_add() or o.is_force_add() or o.is_delete()) and _head(o) != "hydra"]
    groups = [o for o in ours if loader.is_group(o.key_or_group)]
    for override in groups:
        group = override.key_or_group
        for choice in _choices(override):
            if choice != "null" and not loader.has(f"{group}/{choice}"):
                raise OptionError(f"{group}={choice} is unknown{_alike(choice, loader.choices(group))}")
    known = composed([o.input_line for o in groups])
    for override in ours:
        if override in groups or _exists(known, override.key_or_group):
            continue
        keys = [*_leaves(known), *loader.groups()]
        raise OptionError(f"the key {override.key_or_group} is unknown{_alike(override.key_or_group, keys)}")


def _head(override: Override) -> str:
    return override.key_or_group.replace("/", ".").split(".")[0]


def _choices(override: Override) -> list[str]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator()) if override.is_discrete_sweep() else []
    value = override.value()
    return [str(part) for part in value] if isinstance(value, list) else ["null" if value is None else str(value)]


def _exists(config: DictConfig, key: str) -> bool:
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and last in node.keys()  # noqa: SIM118  (`in` is False for ???)


def _leaves(config: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in config:
        if prefix or key != "hydra":
            node = config._get_node(key)
            if isinstance(node, DictConfig) and not node._is_none():
                yield from _leaves(node, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}"


def _alike(name: str, known: Iterable[str]) -> str:
    """The end of a message: the names closest to an unknown one. The last part of a name is compared too, so that
    `seed` leads to `sampler.seed`."""
    known = list(known)
    ends = {key.rpartition(".")[2]: key for key in known}
    close = get_close_matches(name, known, 3, 0.6)
    close += [ends[end] for end in get_close_matches(name.rpartition(".")[2], list(ends), 2, 0.75)]
    close = list(dict.fromkeys(close))
    return f"; did you mean {' or '.join(close)}?" if close else f"; known are {', '.join(sorted(known))}"


class CellConfigs:
    """The configuration of each cell. Cells that make the same choice in each group share one composition.

    Plain values are then set as Hydra sets them, without a new composition.
    """

    def __init__(self) -> None:
        self._bases: dict[tuple, DictConfig] = {}

    def of(self, overrides: list[str]) -> DictConfig:
        """The configuration that `hydra.compose` returns for these overrides.

        Raises:
            OptionError: a key, a choice or a value does not fit.
        """
        with _refusals_told():
            return self._composed(_parsed(overrides))

    def bases(self, cells: Iterable[list[str]]) -> list[DictConfig]:
        """One configuration for each different choice of groups among the cells, without their plain values.

        Raises:
            OptionError: a choice does not fit.
        """
        with _refusals_told():
            choices = dict.fromkeys(tuple(o for o in cell if not _is_plain(o)) for cell in cells)
            return [self._base(others) for others in choices]

    def _composed(self, parsed: list[Override]) -> DictConfig:
        config = deepcopy(self._base(tuple(o.input_line for o in parsed if not _is_plain(o.input_line))))
        for override in parsed:
            if _is_plain(override.input_line):
                OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        return config

    def _base(self, others: tuple[str, ...]) -> DictConfig:
        if others not in self._bases:
            base = composed(list(others))
            del base._content["hydra"]
            self._bases[others] = base
        return self._bases[others]


def _is_plain(line: str) -> bool:
    """Whether an override only sets the value of an existing key, and chooses no configuration of a group."""
    key = line.partition("=")[0]
    if key.startswith(("+", "~", "hydra.", "hydra/")):
        return False
    return not _loader().is_group(key.partition("@")[0])
