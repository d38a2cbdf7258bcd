"""The errors a user can cause. Each message is one sentence with the value, the bound and the remedy.

Every error derived from `LatentSyncError` comes from the input or the set-up: commands print its message without a
traceback, and a folder or sweep goes on with the next pair. Any other exception is a bug of this program.
"""

from collections.abc import Iterable
from difflib import get_close_matches

from latentsync.names import printable


class LatentSyncError(Exception):
    """Base of all errors that the user can fix by changing the input, the options or the set-up."""

    def __str__(self) -> str:
        return printable(super().__str__())  # names of files may hold bytes that no text may


class OptionError(LatentSyncError, ValueError):
    """An option has a value out of its range, or two options contradict each other."""


class MediaError(LatentSyncError):
    """A video or sound file is missing, unreadable, empty or too short."""


class DamagedFileError(MediaError):
    """A file of this program is cut or edited: it does not hold what it should. An error of the disk is an OSError."""


class FaceNotFoundError(LatentSyncError):
    """No face was found, but one is needed."""


class WeightsError(LatentSyncError):
    """A weight file is missing, damaged, or does not fit the network it is meant for."""


class MemoryShortageError(LatentSyncError):
    """The device has too little memory for the chosen sizes."""


def closest_name(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that is most like a mistaken one; None where none is at least as close as the cutoff (0 to 1)."""
    close = get_close_matches(name, [str(each) for each in known], 1, cutoff)
    return close[0] if close else None


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """How a message about a mistaken name goes on: "did you mean crf?", or all known names where none is close."""
    names = [str(each) for each in known]
    close = closest_name(name, names, cutoff)
    return f"did you mean {close}?" if close else f"choose one of {', '.join(names)}"
