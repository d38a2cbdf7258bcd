"""The errors a user can cause. Each message is one sentence with the value, the bound and the remedy.

Every error derived from `LatentSyncError` comes from the input or the set-up: commands print its message without a
traceback, and a folder or sweep goes on with the next pair. Any other exception is a bug of this program.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import overload

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


class NewerVersionError(MediaError):
    """A file was written by a newer version of this program. It is whole, so it stays as it is."""


class ChangedInputError(MediaError):
    """A clip or voice changed while it was being read."""


class FaceNotFoundError(LatentSyncError):
    """No face was found, but one is needed."""


class WeightsError(LatentSyncError):
    """A weight file is missing, damaged, or does not fit the network it is meant for."""


class MemoryShortageError(LatentSyncError):
    """The device has too little memory for the chosen sizes."""


# Errors of other packages about a file that is damaged or of another kind, by module and name. They are not imported.
OF_DAMAGED_FILES = frozenset(
    {
        "PIL.UnidentifiedImageError", "_csv.Error", "_pickle.UnpicklingError", "builtins.UnicodeDecodeError",
        "hydra.errors.CompactHydraException", "hydra.errors.HydraException",
        "json.decoder.JSONDecodeError", "omegaconf.errors.OmegaConfBaseException", "pandas.errors.EmptyDataError",
        "pandas.errors.ParserError", "pyarrow.lib.ArrowException", "safetensors._safetensors_rust.SafetensorError",
        "tarfile.TarError", "tomllib.TOMLDecodeError", "yaml.error.YAMLError", "zipfile.BadZipFile", "zlib.error",
    }
)  # fmt: skip
OF_MEMORY = frozenset({"builtins.MemoryError", "torch.OutOfMemoryError"})
SHORTAGE_WORDS = ("allocate memory", "std::bad_alloc")  # in a RuntimeError of torch for CPUs, oneDNN and C++


@overload
def sentence_of(error: LatentSyncError | OSError) -> str: ...
@overload
def sentence_of(error: BaseException) -> str | None: ...
def sentence_of(error: BaseException) -> str | None:
    """An error that a user can mend in one sentence; None for a defect of this program, which needs its trace.

    Such are all errors of this module, those of the system (a full disk, a missing right), a lack of memory, and those
    of the packages that read files (a damaged table).
    """
    if isinstance(error, LatentSyncError):
        return str(error)
    kinds = _kinds_of(error)
    if kinds & OF_MEMORY:
        return f"the memory does not suffice ({_first_line(error)}); close other programs, or choose smaller sizes"
    if kinds & OF_DAMAGED_FILES:
        return f"a file is damaged or of another kind ({_first_line(error)}); correct or replace it"
    if not isinstance(error, OSError):
        return None
    if error.filename is None or error.strerror is None:
        return printable(str(error))
    return printable(
        f"{error.filename} cannot be read or written ({error.strerror}); check the path, its permissions and the disk"
    )


def is_memory_shortage(error: BaseException) -> bool:
    """Whether an error of torch or Python says that the memory does not suffice."""
    if _kinds_of(error) & OF_MEMORY or "OutOfMemory" in type(error).__name__:  # torch has moved its own before
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SHORTAGE_WORDS)


def _kinds_of(error: BaseException) -> set[str]:
    """The classes of an error by module and name."""
    return {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}


def _first_line(error: BaseException) -> str:
    lines = printable(str(error)).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def closest_name(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that is most like a mistaken one; None where none is at least as close as the cutoff (0 to 1)."""
    close = get_close_matches(name, [str(each) for each in known], 1, cutoff)
    return close[0] if close else None


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """How a message about a mistaken name goes on: "did you mean crf?", or all known names where none is close."""
    names = [str(each) for each in known]
    close = closest_name(name, names, cutoff)
    return f"did you mean {close}?" if close else f"choose one of {', '.join(names)}"
