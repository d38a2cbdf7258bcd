"""Lines that a command prints: progress, answers, errors, and what it leaves out."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

from latentsync.names import visible
from latentsync.verbosity import VERBOSITY_VARIABLE, verbosity

VERBOSITY_OPTIONS = {"--quiet": "print only results and errors", "--verbose": "print the stages of each pair, too"}
_complaints: list[list[str]] = []  # of the blocks that collect them, the outermost first


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
