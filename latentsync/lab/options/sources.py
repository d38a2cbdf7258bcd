"""The folders of configurations: conf/, and the folders that a command line adds or uses instead.

Hydra's own flags apply: `--config-name`, `--config-path`, `--config-dir` and `hydra.searchpath`.
"""

import os
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from latentsync.errors import OptionError
from latentsync.lab.console import VERBOSITY_OPTIONS, refuse_unknown_option, take_verbosity
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.literal import literal

CONFIG_NAME = "config"
SEARCHPATH = "hydra.searchpath"
FULL_ERROR = "HYDRA_FULL_ERROR"  # Hydra's variable for errors that it does not shorten


@dataclass(frozen=True)
class ConfigSources:
    """The folders with configurations, in order: `config_path`, `config_dir`, then `hydra.searchpath`.

    Attributes:
        config_name: the first configuration of a composition.
        config_path: the folder used instead of conf/; `pkg://` names a package.
        config_dir: the folder to look in next.
        searchpath: the overrides of `hydra.searchpath`; without any, the first configuration's own value applies.

    Raises:
        OptionError: a folder does not exist, or `config_path` is relative.
    """

    config_name: str = CONFIG_NAME
    config_path: str = str(CONF_DIR)
    config_dir: str | None = None
    searchpath: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        path = self.config_path
        if not path.startswith("pkg://"):
            if not Path(path).is_absolute():
                raise OptionError(
                    f"--config-path {path} is relative, and Hydra looks for it among the program's files; give "
                    f"{Path(path).absolute()}"
                )
            _require_folder("--config-path", path)
        if self.config_dir is not None:
            _require_folder("--config-dir", self.config_dir)

    @classmethod
    def of(cls, overrides: Sequence[str], **flags: str | None) -> "ConfigSources":
        """The sources of a command line.

        Args:
            flags: values by attribute; None keeps the default.

        Raises:
            OptionError: as for the class.
        """
        searchpath = tuple(o for o in overrides if o.lstrip("+").partition("=")[0] == SEARCHPATH)
        return cls(searchpath=searchpath, **{name: value for name, value in flags.items() if value is not None})

    def search_path(self) -> ConfigSearchPath:
        """The search path as Hydra's main function builds it, without `hydra.searchpath`, which the loader adds."""
        path = create_config_search_path(self.config_path)
        if self.config_dir is not None:
            folder = f"file://{Path(self.config_dir).absolute()}"
            path.prepend("command-line", folder, SearchPathQuery(provider="schema"))
        return path


def _require_folder(flag: str, path: str) -> None:
    if not Path(path).is_dir():
        raise OptionError(f"{flag} {path} is not a folder; give a folder of configurations")


class SourcesLoader(ConfigLoaderImpl):
    """Hydra's loader. It looks in all folders of its sources, for compositions and for single configurations.

    Args:
        hidden: groups that it does not list, since they belong to other commands.
    """

    def __init__(self, sources: ConfigSources, hidden: Collection[str] = ()) -> None:
        super().__init__(sources.search_path())
        self.sources, self.hidden = sources, hidden
        self.compositions: dict[tuple[str, ...], DictConfig] = {}  # by overrides

    def require_folders(self) -> None:
        """Refuses a `hydra.searchpath` with a folder that does not exist; Hydra itself only warns.

        Raises:
            OptionError: naming the folder.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folders = self._folders.get_sources()
        if missing := [f"{folder.scheme()}://{folder.path}" for folder in folders if not folder.available()]:
            raise OptionError(
                f"{SEARCHPATH} names {', '.join(missing)}, which is not a folder; give file:///FOLDER or pkg://PACKAGE"
            )

    def has(self, config: str) -> bool:
        """Whether a configuration exists, given its group and name: `experiment/quickstart`."""
        return self._folders.config_exists(config)

    def choices(self, group: str) -> list[str]:
        """The configurations of a group, sorted."""
        return sorted(self._folders.get_group_options(group, ObjectType.CONFIG))

    def keys_of(self, group: str, choice: str) -> list[str]:
        """The keys that the file of a choice sets itself, without those of the files that it begins with."""
        found = self._folders.load_config(f"{group}/{choice}")
        if found is None or not isinstance(found.config, DictConfig):
            return []
        package = (found.header or {}).get("package") or group
        plain = OmegaConf.to_container(found.config, resolve=False)
        prefix = "" if package == "_global_" else f"{package}."
        return [f"{prefix}{key}" for key in plain if key != "defaults"]

    def is_group(self, key: str) -> bool:
        """Whether an override of the key chooses a configuration of a group."""
        return key not in self.hidden and self._folders.group_exists(key)

    def groups(self) -> list[str]:
        """The groups, without groups inside other groups."""
        return [group for group in self._folders.get_group_options("", ObjectType.GROUP) if group not in self.hidden]

    @cached_property
    def parser(self) -> OverridesParser:
        """Reads overrides."""
        return OverridesParser.create(self)

    @cached_property
    def _folders(self) -> CachingConfigRepository:
        return self._parse_overrides_and_create_caching_repo(self.sources.config_name, [])[1]

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        if config_name is not None:  # None comes from Hydra's glob(), which ignores hydra.searchpath
            others = [override for override in overrides if override not in self.sources.searchpath]
            overrides = [*self.sources.searchpath, *others]
        return super()._parse_overrides_and_create_caching_repo(config_name, overrides)


@dataclass(frozen=True)
class CommandLine:
    """The part of a command line that Hydra reads.

    Attributes:
        is_multirun: whether `--multirun` is given.
        only_shows: whether it asks for the configuration, with `--cfg` or `--info`, and runs nothing.
    """

    overrides: list[str]
    is_multirun: bool
    only_shows: bool
    sources: ConfigSources


def option_names() -> list[str]:
    """The options of Hydra's command lines, such as --multirun."""
    names = [name for action in get_args_parser()._actions for name in action.option_strings]
    return [*names, *VERBOSITY_OPTIONS]


def begin(command: str, arguments: list[str] | None, texts: Collection[str] = ()) -> list[str]:
    """Makes the arguments of a command those that Hydra reads, and refuses unknown options.

    Args:
        command: "run" or "train".
        arguments: None takes those of the process.
        texts: the keys of options that hold a text; their values are taken as they are.

    Raises:
        SystemExit: an option is unknown.
    """
    arguments = literal(take_verbosity(sys.argv[1:] if arguments is None else arguments), texts)
    sys.argv = [f"latentsync {command}", *arguments]
    refuse_unknown_option(arguments, option_names())
    return arguments


def read_command_line(arguments: list[str], config_name: str = CONFIG_NAME) -> CommandLine:
    """The overrides and sources of a command line.

    Args:
        config_name: of the command's first configuration, if no flag names another one.

    Raises:
        OptionError: as for `ConfigSources`, or flags have no such value or exclude each other.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    flags = parser.parse_args(arguments)
    if flags.shell_completion:
        raise OptionError(
            "--shell-completion is for programs of one command; write source <(latentsync completion bash)"
        )
    if flags.experimental_rerun:
        raise OptionError("--experimental-rerun needs a file that no run writes; start the same command again instead")
    modes = {"--run": flags.run, "--multirun": flags.multirun, "--cfg": flags.cfg, "--info": flags.info}
    if len(given := [name for name, value in modes.items() if value]) > 1:
        raise OptionError(f"{' and '.join(given)} exclude each other; give one of them")
    if flags.resolve and not flags.cfg:
        raise OptionError("--resolve needs --cfg; give --cfg job --resolve")
    sources = ConfigSources.of(
        flags.overrides,
        config_name=flags.config_name or config_name,
        config_path=flags.config_path,
        config_dir=flags.config_dir,
    )
    only_shows = bool(flags.cfg or flags.info or flags.hydra_help)
    return CommandLine(flags.overrides, bool(flags.multirun), only_shows, sources)


def _refuse(message: str) -> NoReturn:
    raise OptionError(message)


@contextmanager
def raising() -> Iterator[None]:
    """Within the block, Hydra raises the errors of a job as they are; else it prints a trace and exits."""
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = before
