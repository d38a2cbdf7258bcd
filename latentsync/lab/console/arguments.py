"""The arguments of a command, its help, and options that it refuses."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from latentsync.errors import did_you_mean
from latentsync.lab.console.lines import VERBOSITY_OPTIONS, warn
from latentsync.names import named_path, visible
from latentsync.verbosity import VERBOSITY_VARIABLE

MISUSED = 2  # the exit status after a mistake in the command line, as argparse has it


class ArgumentParser(argparse.ArgumentParser):
    """The arguments of one command. A mistake ends the program with status 2 and one line that gives the closest name.

    It takes the arguments of argparse's parser: `ArgumentParser("latentsync NAME", description=__doc__)`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._option_names: list[str] = []  # before the parent's __init__, which adds --help
        self._actions_of_command: argparse.Action | None = None
        super().__init__(*args, **{"formatter_class": argparse.RawDescriptionHelpFormatter} | options)
        for name, text in VERBOSITY_OPTIONS.items():
            self.add_argument(name, action=_Verbosity, nargs=0, default=argparse.SUPPRESS, help=text)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """As argparse does. It also stores the names of options, to suggest the closest one."""
        self._option_names += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **options)

    def add_actions(self, **actions: str) -> list["ArgumentParser"]:
        """A parser for each action of a command, in this order. The argument `action` holds the name that was given.

        Args:
            actions: a description of each action, by name.
        """
        group = self.add_subparsers(dest="action", required=True, metavar=f"{{{','.join(actions)}}}")
        self._actions_of_command = group
        return [group.add_parser(name, help=text, description=text) for name, text in actions.items()]

    def takes(self, name: str) -> bool:
        """Whether it has an argument of this name."""
        return any(action.dest == name for action in self._actions)

    def completions(self, words: Sequence[str]) -> list[str]:
        """What the last of a command line's words may become, sorted; empty where it may be anything."""
        *before, word = words
        if (group := self._actions_of_command) is not None:
            for number, name in enumerate(before):
                if name in group.choices:
                    return group.choices[name].completions(words[number + 1 :])
            candidates = [*group.choices, "--help"]
        else:
            options = {name: action for action in self._actions for name in action.option_strings}
            owner = options.get(before[-1]) if before else None
            if owner is not None and owner.nargs != 0:
                candidates = map(str, owner.choices or ())
            elif word.startswith("-"):
                candidates = [name for name in options if name.startswith("--")]
            else:
                candidates = [
                    str(choice) for action in self._get_positional_actions() for choice in action.choices or ()
                ]
        return sorted(candidate for candidate in candidates if candidate.startswith(word))

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """As argparse does, but refuses unknown options before it checks for missing arguments."""
        self._refuse_unknown(args)
        return super().parse_known_args(args, namespace)

    def parse_known_intermixed_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """As argparse does, but refuses unknown options before it checks for missing arguments."""
        self._refuse_unknown(args)
        return super().parse_known_intermixed_args(args, namespace)

    def _refuse_unknown(self, arguments: Sequence[str] | None) -> None:
        if self._actions_of_command is None:  # the action's own parser refuses its options
            arguments = sys.argv[1:] if arguments is None else arguments
            if (message := unknown_option(arguments, self._option_names)) is not None:
                self.error(message)

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """As argparse does. A path may begin with `~`, and its accents may have another form than on the disk."""
        value = super()._get_value(action, arg_string)
        return named_path(value) if isinstance(value, Path) else value

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuses a value that is not among the argument's choices, and gives the closest choice."""
        if action.choices is not None and value not in action.choices:
            name = "/".join(action.option_strings) or action.dest
            raise argparse.ArgumentError(None, f"{name} is {value!r}; {did_you_mean(str(value), action.choices)}")

    def error(self, message: str) -> NoReturn:
        """Ends the program with one line and status 2."""
        self.exit(MISUSED, visible(f"error: {message} (for help: {self.prog} --help)\n"))


class _Verbosity(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        os.environ[VERBOSITY_VARIABLE] = self.option_strings[0].lstrip("-")


def number(minimum: float, maximum: float, kind: type = int) -> Callable[[str], float]:
    """An argparse type: a number from `minimum` to `maximum`. A refusal gives these bounds."""

    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a number; give one from {minimum} to {maximum}"
            ) from error
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(f"{text} is out of range; give a number from {minimum} to {maximum}")
        return value

    return convert


def few_workers() -> int:
    """The default number of processes for short work: two on a machine with at least two cores, else one."""
    return min(2, os.cpu_count() or 1)


def unknown_option(arguments: Iterable[str], known: Sequence[str]) -> str | None:
    """The message about the first unknown option, or None. The beginning of a known option counts as known."""
    for argument in arguments:
        name = argument.split("=")[0]
        if name == "--":
            break
        if name.startswith("--") and " " not in name and not any(option.startswith(name) for option in known):
            return f"there is no option {name}; {did_you_mean(name, known)}"
    return None


def refuse_unknown_option(arguments: Iterable[str], known: Sequence[str]) -> None:
    """Ends the program if an argument is an unknown option, as `ArgumentParser` does. For Hydra's commands.

    Raises:
        SystemExit: with status 2, after one line on stderr.
    """
    if (message := unknown_option(arguments, known)) is not None:
        warn(f"error: {message}")
        raise SystemExit(MISUSED)


def asks_help(arguments: Iterable[str]) -> bool:
    """Whether the arguments of one of Hydra's commands ask for help."""
    return any(argument in ("-h", "--help") for argument in arguments)
