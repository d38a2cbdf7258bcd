"""The command line: `latentsync NAME ...`, or `python -m latentsync NAME ...`."""

import sys

from latentsync.processes import Stopped, collect_rarely, end_with_starter, stoppable


def main(arguments: list[str] | None = None) -> int:
    """Runs one of the laboratory's commands; without a name it lists them.

    Args:
        arguments: the command's name and its arguments; None takes those of the process.

    Returns:
        The exit status: 0, or what the command says; 2 for an unknown name.
    """
    collect_rarely()
    with stoppable():
        try:
            end_with_starter()
            from latentsync.lab import commands

            return commands.dispatch(sys.argv[1:] if arguments is None else arguments)
        except Stopped as stop:  # before the command began: while its modules were imported
            print("interrupted", file=sys.stderr)
            return stop.status


if __name__ == "__main__":
    sys.exit(main())
