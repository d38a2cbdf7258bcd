"""The terminal: arguments and help, progress bars, and the one way to end with a message and a status."""

import argparse
import os
import select
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import wraps
from typing import Any, NoReturn

from tqdm import tqdm

from latentsync.errors import LatentSyncError

BAR_FORMAT = "{desc:<46} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
FAILED, MISUSED = 1, 2  # exit statuses; the second as argparse has it
INTERRUPTED = 130  # of a program that Ctrl-C ended
PIPE_CLOSED = 141  # of a program whose reader went away
CONTINUES = "interrupted; run the same command again to continue"  # where what was done is kept
Listener = Callable[[str, int, int], None]
_listeners: list[Listener] = []


def say(line: str) -> None:
    """Prints a line without tearing a progress bar."""
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


# --- arguments ---


class ArgumentParser(argparse.ArgumentParser):
    """The arguments of one command. A mistake is one line on stderr with the closest name, and status 2.

    Its own arguments are those of argparse: `ArgumentParser("latentsync NAME", description=__doc__)`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._option_names: list[str] = []  # before the parent's __init__, which adds --help
        self._actions_of_command: argparse.Action | None = None
        super().__init__(*args, **{"formatter_class": argparse.RawDescriptionHelpFormatter} | options)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """As argparse does; keeps the names of options, for the closest one."""
        self._option_names += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **options)

    def add_actions(self, **actions: str) -> list["ArgumentParser"]:
        """A parser for each action of a command, in this order; which one is called is the argument `action`.

        Args:
            actions: what each does, by name.
        """
        group = self.add_subparsers(dest="action", required=True, metavar=f"{{{','.join(actions)}}}")
        self._actions_of_command = group
        return [group.add_parser(name, help=text, description=text) for name, text in actions.items()]

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """As argparse does, but an unknown option is refused before anything else is found to be missing."""
        self._refuse_unknown(args)
        return super().parse_known_args(args, namespace)

    def parse_known_intermixed_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """As argparse does, but an unknown option is refused before anything else is found to be missing."""
        self._refuse_unknown(args)
        return super().parse_known_intermixed_args(args, namespace)

    def _refuse_unknown(self, arguments: Sequence[str] | None) -> None:
        if self._actions_of_command is None:  # an action's options are refused by the action's parser
            arguments = sys.argv[1:] if arguments is None else arguments
            if (message := unknown_option(arguments, self._option_names)) is not None:
                self.error(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuses what is not among an argument's choices, with the closest one."""
        if action.choices is not None and value not in action.choices:
            name = "/".join(action.option_strings) or action.dest
            raise argparse.ArgumentError(None, f"{name} is {value!r}{alternatives(str(value), action.choices)}")

    def error(self, message: str) -> NoReturn:
        """Ends the program with one line and status 2."""
        self.exit(MISUSED, f"error: {message} ({self.prog} --help tells more)\n")


def number(minimum: float, maximum: float, kind: type = int) -> Callable[[str], float]:
    """The type of an argument that is a number; one out of bounds is refused with the bounds in the message."""

    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no number; give one from {minimum} to {maximum}") from error
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(f"{text} is out of range; give a number from {minimum} to {maximum}")
        return value

    return convert


def few_workers() -> int:
    """The usual number of processes for short work: two where there are two cores."""
    return min(2, os.cpu_count() or 1)


def unknown_option(arguments: Iterable[str], known: Sequence[str]) -> str | None:
    """What is wrong with the first argument that begins with `--` and is no known option, nor the beginning of one."""
    for argument in arguments:
        name = argument.split("=")[0]
        if name == "--":
            break
        if name.startswith("--") and " " not in name and not any(option.startswith(name) for option in known):
            return f"there is no option {name}{alternatives(name, known)}"
    return None


def alternatives(name: str, known: Iterable[str]) -> str:
    """How a message about a mistaken name goes on: with the closest known one, or with all of them."""
    known = [str(each) for each in known]
    close = get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; choose one of {', '.join(known)}"


def refuse_unknown_option(arguments: Iterable[str], known: Sequence[str]) -> None:
    """Ends the program as `ArgumentParser` does where an argument is an unknown option; for commands of Hydra's.

    Raises:
        SystemExit: with status 2, after one line on stderr.
    """
    if (message := unknown_option(arguments, known)) is not None:
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(MISUSED)


# --- the end ---


def command(
    error_status: int = FAILED, interrupted: str = "interrupted"
) -> Callable[[Callable[..., int | None]], Callable[..., int]]:
    """Makes a function a command: it ends with an exit status, and with one line on stderr where something is wrong.

    Args:
        error_status: after a `LatentSyncError`.
        interrupted: what is printed after Ctrl-C; `CONTINUES` where what was done is kept.

    Returns:
        A decorator. The function's own status is kept (None is 0); the others are `error_status`, `FAILED` for a file
        that cannot be read or written, `INTERRUPTED`, and `PIPE_CLOSED`, without a message, where nobody reads what
        is printed. Other exceptions are defects and go through.
    """

    def decorated(function: Callable[..., int | None]) -> Callable[..., int]:
        @wraps(function)
        def main(*args: Any, **options: Any) -> int:
            try:
                status = function(*args, **options) or 0
                sys.stdout.flush()
                return status
            except LatentSyncError as error:
                return _ended(f"error: {error}", error_status)
            except KeyboardInterrupt:
                return _ended(interrupted, INTERRUPTED)
            except OSError as error:
                if isinstance(error, BrokenPipeError) and _is_stdout_closed():
                    return PIPE_CLOSED
                return _ended(f"error: {_sentence(error)}", FAILED)

        return main

    return decorated


def _ended(line: str, status: int) -> int:
    print(line, file=sys.stderr)
    return status


def _sentence(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename} cannot be read or written ({error.strerror}); check the path, its rights and the disk"


def _is_stdout_closed() -> bool:
    """Whether the reader of the standard output went away; if so, what is still to be printed goes nowhere."""
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # it is no file, as in a notebook
        return False
    poll = select.poll()
    poll.register(descriptor, 0)  # errors are reported whatever is asked
    if not poll.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return True


# --- progress ---


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tells `listener` what bars of this process show in the block: (stage, done, total), total 0 where unknown."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def _tell(stage: str, done: int, total: int) -> None:
    for listener in _listeners:
        listener(stage, done, total)


class PairBar:
    """A bar that shows the stage in hand: frames while aligning, steps while denoising.

    Attributes:
        stage: the one in hand; "read" before the first.
        record: id of the record that is being made, once it is known.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.stage = "read"
        self.record: str | None = None
        self._bar = tqdm(total=1, disable=None, leave=False, bar_format=BAR_FORMAT)

    def __enter__(self) -> "PairBar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def say(self, stage: str) -> None:
        """Shows a stage that has no units to count."""
        self.stage = stage
        self._bar.set_description_str(f"{self._name}: {stage}")
        _tell(stage, 0, 0)

    def on_progress(self, stage: str, done: int, total: int) -> None:
        """The pipeline's progress callback."""
        if stage != self.stage:
            self._bar.reset(total)
            self.say(stage)
        self._bar.update(done - self._bar.n)
        _tell(stage, done, total)
