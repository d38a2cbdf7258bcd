"""Configurations that Hydra composes from conf/ and overrides: a single one, or one for each cell of a sweep.

If Hydra or OmegaConf refuses something, an `OptionError` is raised. For an unknown key or choice it gives the closest.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from latentsync.errors import OptionError, closest_name
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.literal import literal, text_keys
from latentsync.lab.options.schema import KINDS
from latentsync.lab.options.sources import CONFIG_NAME, ConfigSources, SourcesLoader
from latentsync.lab.options.typed import dotted
from latentsync.option import section_infos

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
CUSTOM = "custom"  # the section for values of one's own
EXTRA = "pip install 'latentsync-lab[cluster]'"
INSTALLED = ("hydra/launcher", "hydra/sweeper")  # groups whose choices packages bring
LAUNCHERS = {  # what installs them
    "joblib": EXTRA, "submitit_local": EXTRA, "submitit_slurm": EXTRA, "ray": "pip install hydra-ray-launcher",
    "rq": "pip install hydra-rq-launcher", "optuna": "pip install 'latentsync-lab[optuna]'",
}  # fmt: skip
SEARCHES = ("ax", "nevergrad", "optuna")  # sweepers that need a number from each cell, see `objective`


@dataclass(frozen=True)
class Root:
    """The first configuration of a command, in conf/, and the keys that the command reads.

    Attributes:
        command: the command's name.
        keys: those that the command knows; a file may lack some.
        texts: those that hold a text.
        free: sections that take any key.
        required: groups that have no default.
    """

    command: str
    config_name: str
    keys: frozenset[str]
    texts: frozenset[str]
    free: tuple[str, ...]
    required: tuple[str, ...] = ()

    @cached_property
    def groups(self) -> frozenset[str]:
        """The groups of its defaults."""
        defaults = yaml.safe_load((CONF_DIR / f"{self.config_name}.yaml").read_text(encoding="utf-8"))["defaults"]
        names = (key for entry in defaults if isinstance(entry, dict) for key in entry)
        return frozenset(name.removeprefix("optional ") for name in names if not name.startswith("override "))

    @cached_property
    def hidden(self) -> frozenset[str]:
        """The groups of conf/ that belong to other commands."""
        return frozenset(path.name for path in CONF_DIR.iterdir() if path.is_dir()) - self.groups


RUN = Root(
    "run",
    CONFIG_NAME,
    frozenset(dotted(name, info.name) for name, kind in KINDS.items() for info in section_infos(kind)),
    text_keys(KINDS.items()),
    (CUSTOM, "sweep", "hydra"),
)


@contextmanager
def composing(sources: ConfigSources | None = None, root: Root = RUN) -> Iterator[None]:
    """Lets configurations be composed in the block.

    Args:
        sources: the folders to look in; None: conf/ alone.
        root: the command's first configuration.

    Raises:
        OptionError: a folder of the sources does not exist, or Hydra or OmegaConf refused something in the block.
    """
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"), _refusals(root):
        loader = SourcesLoader(sources or ConfigSources(root.config_name), root.hidden)
        loader.require_folders()
        GlobalHydra.instance().hydra.config_loader = loader
        yield


def loader() -> SourcesLoader:
    """The loader of the `composing` block."""
    return GlobalHydra.instance().config_loader()


@contextmanager
def _refusals(root: Root) -> Iterator[None]:
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise OptionError(_sentence(error, root)) from error
    except YAMLError as error:
        reason = " ".join(str(error).split())  # it names the file and the line
        raise OptionError(f"a configuration is no YAML ({reason}); correct it") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"a configuration is no text in UTF-8 ({error}); save it as UTF-8") from error


def _sentence(error: Exception, root: Root) -> str:
    """The message of Hydra or OmegaConf in one line, with what to install for a launcher or sweeper."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    missing = getattr(error, "missing_cfg_file", None)  # of MissingConfigException
    group, _, name = (missing or "").rpartition("/")
    if group in INSTALLED:
        return f"{group}={name} is not installed; {_how_to_install(group, name)}"
    return f"{lines[0].rstrip('.')} (`latentsync {root.command} --help` lists groups, choices and keys)"


def _how_to_install(group: str, name: str) -> str:
    known = ", ".join(loader().choices(group))
    install = LAUNCHERS.get(name, "install the package that brings it")
    return f"{install}, or choose one of {known}"


def configured(overrides: list[str]) -> DictConfig:
    """The configuration of one cell.

    Raises:
        OptionError: a key, a group's choice or a value is unknown, or an override has several values, as in a sweep.
    """
    overrides = literal(overrides, RUN.texts)
    with composing(ConfigSources.of(overrides)):
        check_names(overrides)
        refuse_several_values(overrides, "only one is allowed here; give one (`latentsync run -m` sweeps over several)")
        return compose(CONFIG_NAME, overrides)


def refuse_several_values(overrides: list[str], remedy: str) -> None:
    """Refuses an override with several values, as in a sweep.

    Raises:
        OptionError: naming the override.
    """
    for override in parsed(overrides):
        if override.is_sweep_override():
            raise OptionError(f"{override.input_line} has several values, but {remedy}")


def composed(overrides: Sequence[str]) -> DictConfig:
    """The configuration with Hydra's own section, without the values of a sweep. For reading only."""
    known = loader().compositions
    if (key := tuple(overrides)) not in known:
        known[key] = GlobalHydra.instance().hydra.compose_config(
            loader().sources.config_name, list(overrides), RunMode.MULTIRUN, validate_sweep_overrides=False
        )
    return known[key]


def parsed(overrides: Iterable[str]) -> list[Override]:
    """The overrides as Hydra reads them.

    Raises:
        OptionError: naming the override that is none.
    """
    return [_parsed(line) for line in overrides]


def _parsed(line: str) -> Override:
    try:
        return loader().parser.parse_override(line)
    except HydraException as error:
        key, is_assigned, value = line.partition("=")
        if not is_assigned:
            raise OptionError(f"{line!r} is no override; write KEY=VALUE") from error
        reason = str(error).splitlines()[0]
        raise OptionError(
            f"{line} cannot be read ({reason}); put a value with special characters into quotes: "
            f"""'{key}="{value}"'"""
        ) from error


def is_listed(config: DictConfig) -> bool:
    """Whether the cells of a sweep are known before it starts. Sweepers other than Hydra's own choose them later."""
    return config.hydra.sweeper._target_ == BASIC_SWEEPER


def cells_of(config: DictConfig, is_sweep: bool) -> list[list[str]]:
    """The overrides of each job, as Hydra's basic sweeper makes them; one job without a sweep.

    With another sweeper, jobs that show each listed value once: nobody knows yet which ones it will combine.
    """
    task = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    if not is_sweep:
        return [task]
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    overrides = parsed([*params, *task])
    if is_listed(config):
        return [list(job) for job in BasicSweeper.split_arguments(overrides, None)[0]]
    values = {o.key_or_group: _lines_of(o) for o in overrides if o.is_sweep_override()}
    plain = [o.input_line for o in overrides if not o.is_sweep_override()]
    first = {key: lines[0] for key, lines in values.items() if lines}
    jobs = [first, *(first | {key: line} for key, lines in values.items() for line in lines[1:])]
    return [[*plain, *job.values()] for job in jobs]


def _lines_of(override: Override) -> list[str]:
    """An override of several values as one for each value; none for an interval of numbers."""
    if not override.is_discrete_sweep():
        return []
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def check_names(overrides: list[str], root: Root = RUN) -> None:
    """Refuses keys, choices and a first configuration that do not exist, and gives the closest ones.

    Raises:
        OptionError: naming the key, choice or configuration, and the closest ones.
    """
    first = loader().sources.config_name
    if not loader().has(first):
        raise OptionError(f"--config-name {first} is unknown{alike(first, loader().choices(''))}")
    lines = parsed(overrides)
    groups = [o for o in lines if loader().is_group(o.key_or_group)]
    for override in groups:
        if not override.is_delete():
            _check_choice(override)
    for override in lines:
        _refuse_group_as_key(override)
    for group in root.required:
        if not any(o.key_or_group == group for o in groups):
            raise OptionError(f"{group} is not given; add {group}=CHOICE, one of {', '.join(loader().choices(group))}")
    known = composed([o.input_line for o in groups])
    for override in lines:
        if override not in groups and not override.is_delete():
            _check_key(override, known, root)


def check_sections(config: DictConfig, root: Root = RUN) -> None:
    """Refuses a section or key at the top of a composed configuration that is a known one misspelt, as a file may
    hold it. Other keys of one's own are for interpolation.

    Raises:
        OptionError: naming the key and the closest ones.
    """
    known = {key.partition(".")[0] for key in root.keys} | {*root.free, *root.groups}
    for key in map(str, config):
        if key not in known and (close := closest_name(key, known, 0.75)):
            own = f", or put values of your own below {CUSTOM}" if CUSTOM in root.free else ""
            raise OptionError(f"the configuration has an unknown key {key}; did you mean {close}?{own}")


def _check_choice(override: Override) -> None:
    group = override.key_or_group
    for choice in _choices(override):
        if not loader().has(f"{group}/{choice}"):
            if group in INSTALLED:
                raise OptionError(f"{group}={choice} is not installed; {_how_to_install(group, choice)}")
            raise OptionError(f"{group}={choice} is unknown{alike(choice, loader().choices(group))}")


def refuse_search(sweeper: str, objective: str | None) -> None:
    """Refuses a sweeper that searches for the best cell where nothing says which one is best.

    Raises:
        OptionError: it is such a sweeper, and no objective is given.
    """
    if sweeper in SEARCHES and objective is None:
        raise OptionError(
            f"hydra/sweeper={sweeper} searches by a number that each cell returns; name a metric, such as "
            f"objective=sync_mini_confidence_minus_real, or list values with -m"
        )


def _refuse_group_as_key(override: Override) -> None:
    """Refuses `hydra.launcher=joblib`, which would put a word in the place of the launcher's options."""
    key = override.key_or_group
    group = key.replace(".", "/")
    if "." in key and loader().is_group(group) and not override.is_delete():
        line = f"{group}={override.get_value_element_as_str()}"
        beside = " or launch=local" if group == "hydra/launcher" else ""
        raise OptionError(f"{override.input_line} sets a key, but {group} is a group; write {line}{beside}")


def _check_key(override: Override, known: DictConfig, root: Root) -> None:
    key = override.key_or_group
    section = _head(override)
    exists = _exists(known, key)
    if override.is_add():
        if exists:
            raise OptionError(f"{override.input_line} adds a key that exists; leave out the +")
        if section in root.free or key in root.keys:
            return
    elif exists or (override.is_force_add() and (section in root.free or key in root.keys)):
        return
    if key in root.keys:
        choice = known.hydra.runtime.choices.get(section)
        raise OptionError(
            f"{key} is no key of {section}={choice}; choose another {section} ({', '.join(loader().choices(section))})"
            if choice is not None
            else f"the files of this configuration do not have {key}; add it with +{key}"
        )
    if section == "hydra":
        keys = [f"hydra.{leaf}" for leaf in leaves(known.hydra)]
    else:
        keys = [*leaves(known), *loader().groups()]
    message = f"the key {key} is unknown{alike(key, keys, f'; `latentsync {root.command} --help` lists the keys')}"
    if override.input_line.startswith("+") and CUSTOM in root.free:
        message += f"{'' if message.endswith('?') else ';'} values of your own, for interpolation, go below {CUSTOM}: "
        message += f"+{CUSTOM}.{key}"
    raise OptionError(message)


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


def leaves(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """The keys of all values, without those of Hydra."""
    for key in config:
        if prefix or key != "hydra":
            node = config._get_node(key)
            if isinstance(node, DictConfig) and not node._is_none():
                yield from leaves(node, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}"


def alike(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """The end of a message: the names closest to an unknown one. The last part of a name is compared too, so that
    `seed` leads to `sampler.seed`. Where none is close it is `otherwise`; None stands for all known names."""
    known = list(known)
    ends = {key.rpartition(".")[2]: key for key in known}
    close = get_close_matches(name, known, 3, 0.6)
    close += [ends[end] for end in get_close_matches(name.rpartition(".")[2], list(ends), 2, 0.75)]
    close = list(dict.fromkeys(close))
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; known are {', '.join(sorted(known))}" if otherwise is None else otherwise
