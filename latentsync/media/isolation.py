"""Tries files in a child process before this one opens them, so that a crash of a decoder costs the file's pairs only.

With `runtime.isolate_decoding=true` each new file is read once as a whole by a child with limits on its memory and its
processor time. Only a file that the child survives is opened here, by the same functions. The answer is kept while the
file stays the same. One child (see `trial`) serves many files; it ends with this process, even if this one is
killed in the middle of a file.
"""

import atexit
import os
import select
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from latentsync.errors import MediaError
from latentsync.files import kept_per_file
from latentsync.processes import child_environment

MEMORY_GB = 8  # of data, for one file
LIMIT_S = 600  # of processor time, for one file
QUIET_S = 1800  # of waiting for an answer: a child may also hang without computing
SURVIVED, TOO_LARGE = "survived", "memory"
_SERVE = (
    "from latentsync.processes import end_with_starter; end_with_starter(); "
    "from latentsync.media.trial import serve; serve()"
)

_is_isolated = False
_lock = threading.Lock()
_child: subprocess.Popen | None = None


def set_isolated(is_isolated: bool) -> None:
    """Chooses for this process whether new files are tried in a child first (`runtime.isolate_decoding`)."""
    global _is_isolated
    _is_isolated = is_isolated


def require_survived(path: Path | str) -> None:
    """Refuses a file that ends the child; does nothing unless files are isolated.

    Raises:
        MediaError: the child died, needed too much memory, or took too long.
        OSError: there is no such file.
    """
    if _is_isolated and (fault := _fault(path)) is not None:
        raise MediaError(f"{path} {fault}; it is damaged or made to do harm, so convert it elsewhere or leave it out")


@kept_per_file(None)
def _fault(path: Path) -> str | None:
    """What reading the file did to a child; None if nothing."""
    global _child
    with _lock:
        if _child is None or _child.poll() is not None:
            _child = _started()
        answer = _answer(_child, path)
        if answer == SURVIVED:
            return None
        _end(_child)
        if answer == TOO_LARGE:
            return f"needs more than {MEMORY_GB} GB of memory to be decoded"
        if answer is not None:
            return f"takes more than {QUIET_S} s to be decoded"
        status = _child.returncode
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return f"ends the process that decodes it ({how}), or takes more than {LIMIT_S} s of processor time"


def _started() -> subprocess.Popen:
    return subprocess.Popen(  # noqa: S603 - this program, without a shell
        [sys.executable, "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=child_environment(),
    )


def _answer(child: subprocess.Popen, path: Path) -> str | None:
    """The child's word about a file; None if it ended, "quiet" if it gives none."""
    try:
        child.stdin.write(os.fsencode(path).hex().encode() + b"\n")
        child.stdin.flush()
    except OSError:
        return None
    if not select.select([child.stdout], [], [], QUIET_S)[0]:
        return "quiet"
    return child.stdout.readline().decode().strip() or None


def _end(child: subprocess.Popen) -> None:
    with suppress(OSError):
        child.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        child.wait(0.2)
    child.kill()
    child.wait()
    child.stdout.close()


@atexit.register
def _end_child() -> None:
    if _child is not None and _child.poll() is None:
        _end(_child)
