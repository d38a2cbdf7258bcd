"""Which failures may pass: those of the machine, such as a full disk. The same command tries these again."""

import errno
from collections.abc import Iterable, Iterator
from pathlib import Path

from latentsync.errors import ChangedInputError, MemoryShortageError, is_memory_shortage

OF_THE_MACHINE = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS,  # no space to write
        errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.EBUSY, errno.EINTR,  # too much at once
        errno.ENOENT, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTDIR,  # vanished
        errno.EIO, errno.EACCES, errno.EPERM, errno.ENOLCK, errno.EREMOTEIO, errno.ETIMEDOUT, errno.EHOSTDOWN,
        errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ECONNRESET, errno.ENOTCONN, errno.ESHUTDOWN,
    }
)  # fmt: skip


def may_pass(error: BaseException, inputs: Iterable[Path] = ()) -> bool:
    """Whether a failure was the machine's: no space, no memory, a vanished file, or an error of reading or writing.

    A file that changed while it was read counts as such.

    Args:
        inputs: the files that were read. If one of them cannot be opened now, the failure counts as such, however it
            was worded.
    """
    return any(_is_of_the_machine(each) for each in _chain(error)) or not all(map(_can_be_opened, inputs))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was raised from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_of_the_machine(error: BaseException) -> bool:
    if isinstance(error, MemoryShortageError | ChangedInputError) or is_memory_shortage(error):
        return True
    return isinstance(error, OSError) and error.errno in OF_THE_MACHINE


def _can_be_opened(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError:
        return False
    return True
