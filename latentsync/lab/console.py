"""The terminal: arguments, help and refused options, tables, progress bars, and how every command ends.

A command ends with one message and an exit status, see `command`.
"""

import argparse
import math
import numbers
import os
import re
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from latentsync import journal
from latentsync.errors import LatentSyncError, OptionError, did_you_mean, sentence_of
from latentsync.names import named_path, visible
from latentsync.processes import Stopped, stoppable
from latentsync.verbosity import VERBOSITY_VARIABLE, bars_off, verbosity

BAR_FORMAT = "{desc:<46} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
FAILED, MISUSED = 1, 2  # exit statuses; the second as argparse has it
INTERRUPTED = 130  # after Ctrl-C
PIPE_CLOSED = 141  # after the reader of the output closed the pipe
CONTINUES = "interrupted; run the same command again to continue"  # for commands that keep the finished work
VERBOSITY_OPTIONS = {"--quiet": "print only results and errors", "--verbose": "print the stages of each pair, too"}
GAP = "  "  # between the columns of a table
LONGEST_WORD = 24  # a column may be narrower than its longest word if that is longer; then the word is broken
NUMBER = re.compile(r"[+-]?[\d.,]+(e[+-]?\d+)?[%*]?( [kMGT]?B)?|[+-]?(inf|nan)|-|")  # whose columns are aligned right
Listener = Callable[[str, int, int], None]
_listeners: list[Listener] = []
_complaints: list[list[str]] = []  # of the blocks that collect them, the outermost first


# --- lines ---


def say(line: str) -> None:
    """Prints a line about the progress, without tearing a progress bar. With --quiet it prints nothing."""
    if verbosity() != "quiet":
        show(line)


def show(line: str) -> None:
    """Prints a line of the answer for which the command was called, however quiet it is."""
    escape_output()
    tqdm.write(visible(line), file=sys.stdout)
    sys.stdout.flush()


def detail(line: str) -> None:
    """Prints a line that only --verbose shows."""
    if verbosity() == "verbose":
        show(line)


def complain(line: str) -> None:
    """Prints on stderr what a command leaves out or cannot do. The command then ends with `FAILED`.

    Within a block of `complaints`, each different line is printed once. Every block collects it.
    """
    is_new = not any(line in lines for lines in _complaints)
    for lines in _complaints:
        lines += [] if line in lines else [line]
    if is_new:
        warn(line)


def warn(line: str) -> None:
    """Prints a line on stderr, such as an error."""
    escape_output()
    sys.stdout.flush()
    tqdm.write(visible(line), file=sys.stderr)
    sys.stderr.flush()


@contextmanager
def complaints() -> Iterator[list[str]]:
    """Collects the lines of `complain` within the block."""
    lines: list[str] = []
    _complaints.append(lines)
    try:
        yield lines
    finally:
        _complaints[:] = [other for other in _complaints if other is not lines]


def take_verbosity(arguments: Sequence[str]) -> list[str]:
    """Obeys --quiet and --verbose among the arguments of one of Hydra's commands, and returns the others.

    Arguments after `--` are values.
    """
    arguments = list(arguments)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    for option in VERBOSITY_OPTIONS:
        if option in arguments[:end]:
            os.environ[VERBOSITY_VARIABLE] = option.lstrip("-")
    return [word for word in arguments[:end] if word not in VERBOSITY_OPTIONS] + arguments[end:]


def escape_output() -> None:
    """Lets this process print characters that the terminal's encoding lacks, and undecodable names: as `\\u674e`."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) in ("strict", "surrogateescape") and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


# --- arguments ---


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


# --- tables ---


def terminal_width() -> int | None:
    """The width for tables, in columns: that of COLUMNS if it is set, else the terminal's.

    None, without COLUMNS and a terminal (a pipe, a file, a notebook): then each row of a table is one line, so that
    grep and other programs find it whole.
    """
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return None
    return shutil.get_terminal_size((0, 0)).columns or None


def table_text(columns: Mapping[Any, Iterable[Any]], width: int | None = None) -> str:
    """A table that fits the terminal. Every command prints its tables with this function.

    Headings and cells are wrapped between words. If the columns do not fit even then, the table goes on below with the
    remaining columns; its first column is repeated. Columns of numbers are aligned right.

    Args:
        columns: the cells of each column by its heading; `dict(frame)` gives those of a pandas table. Floats get four
            significant digits; a missing value is shown as "-".
        width: in columns; None takes that of the terminal, see `terminal_width`.
    """
    from wcwidth import width as columns_of  # a Chinese character takes two

    cells = {visible(str(heading)): [_cell_text(value) for value in values] for heading, values in columns.items()}
    texts = {heading: [heading, *values] for heading, values in cells.items()}
    most = {heading: max(map(columns_of, of)) for heading, of in texts.items()}
    longest = {heading: max(columns_of(word) for text in of for word in text.split()) for heading, of in texts.items()}
    least = {heading: min(longest[heading], LONGEST_WORD) for heading in texts}
    width = width or terminal_width()
    parts = _parts(list(cells), least, width) if width else [list(cells)]
    return "\n\n".join(
        _part_text({name: cells[name] for name in part}, _widths(part, least, most, width)) for part in parts
    )


def paragraph(text: str, width: int | None = None, indent: str = "") -> str:
    """A text wrapped between words to the terminal's width.

    Args:
        width: as for `table_text`.
        indent: the beginning of all lines but the first.
    """
    width = width or terminal_width()
    text = visible(text)
    return "\n".join(_wrapped(text, width - len(indent), indent) if width else [text])


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    from wcwidth import wrap

    first, *others = wrap(text, width, break_on_hyphens=False) or [""]
    return [first, *(indent + line for line in others)]


def _cell_text(value: Any) -> str:
    if value is None or str(value) in ("nan", "<NA>", "NaT"):
        return "-"
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral) and math.isfinite(value):
        return f"{value:.4g}"
    return visible(" ".join(str(value).split()))


def _parts(names: Sequence[str], least: Mapping[str, int], width: int) -> list[list[str]]:
    """The columns of each part of a table: the first, and as many of the others as fit with their least widths."""
    parts = [[names[0]]]
    for name in names[1:]:
        if len(parts[-1]) > 1 and sum(least[each] + len(GAP) for each in [*parts[-1], name]) - len(GAP) > width:
            parts.append([names[0]])
        parts[-1].append(name)
    return parts


def _widths(
    names: Sequence[str], least: Mapping[str, int], most: Mapping[str, int], width: int | None
) -> dict[str, int]:
    """Widths whose sum fits: the widest columns are narrowed first, down to their longest words."""
    widths = {name: most[name] for name in names}
    excess = 0 if width is None else sum(widths.values()) + len(GAP) * (len(names) - 1) - width
    for floor in (least, dict.fromkeys(names, 1)):  # words are broken only where nothing else helps
        while excess > 0 and (wide := [name for name in names if widths[name] > floor[name]]):
            widths[max(wide, key=widths.__getitem__)] -= 1
            excess -= 1
    return widths


def _part_text(cells: Mapping[str, list[str]], widths: Mapping[str, int]) -> str:
    """The table of these columns. Rows are set apart by an empty line if many of them have several lines."""
    from wcwidth import ljust, rjust

    pads = [rjust if all(NUMBER.fullmatch(value) for value in values) else ljust for values in cells.values()]
    rows = []
    for row in zip(*([name, *values] for name, values in cells.items()), strict=True):
        wrapped = [_wrapped(cell, width) for cell, width in zip(row, widths.values(), strict=True)]
        lines = [
            GAP.join(pad(text, width) for pad, text, width in zip(pads, line, widths.values(), strict=True))
            for line in zip_longest(*wrapped, fillvalue="")
        ]
        rows.append("\n".join(line.rstrip() for line in lines))
    return ("\n\n" if sum(row.count("\n") for row in rows) > len(rows) else "\n").join(rows)


# --- the end ---


def command(
    error_status: int = MISUSED, interrupted: str = "interrupted"
) -> Callable[[Callable[..., int | None]], Callable[..., int]]:
    """Makes a function a command: it returns an exit status, and prints one line on stderr if something is wrong.

    Args:
        error_status: the status after a `LatentSyncError`; that of an `OptionError` is always `MISUSED`.
        interrupted: the line printed after Ctrl-C; `CONTINUES` for a command that keeps the finished work.

    Returns:
        A decorator. The command returns the function's own status (None counts as 0), or one of these: `error_status`;
        `FAILED` after another error that a user can mend, see `sentence_of`, or if something was left out (see
        `complain`); `INTERRUPTED` after Ctrl-C, and 128 plus its number after another signal; `PIPE_CLOSED`, without a
        message, if the reader of the output closed the pipe. Other exceptions are defects and are not caught.
    """

    def decorated(function: Callable[..., int | None]) -> Callable[..., int]:
        @wraps(function)
        def main(*args: Any, **options: Any) -> int:
            escape_output()
            before = os.environ.get(VERBOSITY_VARIABLE)
            try:
                with stoppable(), complaints() as lines:
                    status = function(*args, **options) or 0
                    sys.stdout.flush()
                return status or (FAILED if lines else 0)
            except LatentSyncError as error:
                return _ended(f"error: {error}", MISUSED if isinstance(error, OptionError) else error_status)
            except KeyboardInterrupt as stop:
                return _ended(*_interruption(stop, interrupted))
            except Exception as error:
                if isinstance(error, BrokenPipeError) and _is_stdout_closed():
                    return PIPE_CLOSED
                if (sentence := sentence_of(error)) is None:
                    raise
                return _ended(f"error: {sentence}", FAILED)
            finally:  # in a notebook this process calls other commands
                os.environ.pop(VERBOSITY_VARIABLE, None)
                os.environ.update({} if before is None else {VERBOSITY_VARIABLE: before})

        return main

    return decorated


def _ended(line: str, status: int) -> int:
    warn(line)
    return status


def _interruption(stop: KeyboardInterrupt, line: str) -> tuple[str, int]:
    """The last line and the exit status of a command that was stopped."""
    if not isinstance(stop, Stopped) or stop.number == signal.SIGINT:
        return line, INTERRUPTED
    return line.replace("interrupted", f"ended by {stop}", 1), stop.status


def _is_stdout_closed() -> bool:
    """Whether the reader of the standard output closed the pipe. If so, further output is discarded."""
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # it is not a file, for example in a notebook
        return False
    poll = select.poll()
    poll.register(descriptor, 0)  # with an empty mask, errors are still reported
    if not poll.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return True


# --- progress ---


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within the block, calls `listener(stage, done, total)` for each step of this process's progress bars.

    `total` is 0 where it is unknown.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def _notify(stage: str, done: int, total: int) -> None:
    for listener in _listeners:
        listener(stage, done, total)


class PairBar:
    """A progress bar of the current stage: it counts frames while aligning, and steps while denoising.

    It also notes each ended stage in the run's log, and prints it with --verbose.

    Attributes:
        stage: the current stage; "read" before the first.
        record: id of the record in progress, once it is known.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.stage = "read"
        self.record: str | None = None
        self._since = time.perf_counter()
        self._bar = tqdm(total=1, disable=bars_off(), leave=False, bar_format=BAR_FORMAT)

    def __enter__(self) -> "PairBar":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.stage != "read" or kind is not None:  # else nothing was made
            self._end_stage()
        self._bar.close()

    def _end_stage(self) -> None:
        seconds, memory = round(time.perf_counter() - self._since, 3), journal.memory_facts()
        journal.note("stage", pair=self._name, record=self.record, stage=self.stage, seconds=seconds, **memory)
        detail(f"  {self._name}: {self.stage} {seconds:.1f} s, {memory['peak_memory_mb']:.0f} MB at most until now")
        self._since = time.perf_counter()

    def say(self, stage: str) -> None:
        """Shows a stage without a count."""
        if stage != self.stage:
            self._end_stage()
        self.stage = stage
        self._bar.set_description_str(f"{self._name}: {stage}")
        _notify(stage, 0, 0)

    def on_progress(self, stage: str, done: int, total: int) -> None:
        """The pipeline's progress callback."""
        if stage != self.stage:
            self._bar.reset(total)
            self.say(stage)
        self._bar.update(done - self._bar.n)
        _notify(stage, done, total)
