"""How every command ends: with one message and an exit status, see `command`."""

import os
import select
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from latentsync.errors import LatentSyncError, OptionError, sentence_of
from latentsync.lab.console.arguments import MISUSED
from latentsync.lab.console.lines import complaints, escape_output, warn
from latentsync.processes import Stopped, stoppable
from latentsync.verbosity import VERBOSITY_VARIABLE

FAILED = 1  # exit statuses
BELOW_GATE = 3  # all was made, but a record misses a bound of metrics.gate
INTERRUPTED = 130  # after Ctrl-C
PIPE_CLOSED = 141  # after the reader of the output closed the pipe
CONTINUES = "interrupted; run the same command again to continue"  # for commands that keep the finished work


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
