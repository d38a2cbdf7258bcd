"""The log of a run: one JSON object a line, for programs. It never fails a run: where it cannot be written, it ends.

Each line has `time` (UTC, to the millisecond), `event`, `run` (the command's id) and `process`. Events are

start    the first of a process: host, system, cores, and the versions of Python and of packages
cell     overrides of a sweep's cell
stage    a stage of a pair has ended: pair, record, stage, seconds, peak_memory_mb, and on GPUs peak_gpu_memory_mb
pair     a pair has ended: pair, record, status, seconds, and of a failure stage and reason
end      failures, or `error` where an error or a signal ended the run

Memory is the greatest use of the process since its start. Several processes may write to one file.
"""

import json
import os
import platform
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from latentsync import __version__
from latentsync.names import printable

LOG_FILE = "log.jsonl"  # of a sweep, in its folder, and of a folder job, in its output folder
PACKAGES = ("torch", "diffusers", "transformers", "av", "numpy")  # whose versions may change a result
_journals: dict[tuple[Path, str], "Journal"] = {}  # of this process, by file and run
_current: list["Journal"] = []  # the innermost last


class Journal:
    """The log of one run in this process.

    Args:
        path: the file; lines are added at its end.
        run: the id of the command.
    """

    def __init__(self, path: Path, run: str) -> None:
        self.path, self.run = path, run
        self._file: int | None = None
        self._is_ended = False

    def write(self, event: str, facts: dict[str, Any]) -> None:
        """Adds a line. After an error, for example of a full disk, it does nothing any more."""
        if self._is_ended:
            return
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": time, "event": event, "run": self.run, "process": os.getpid(), **facts}
        data = printable(json.dumps(line, default=str) + "\n").encode()
        try:
            if self._file is None:
                self._file = _opened(self.path)
            if os.write(self._file, data) != len(data):
                raise OSError
        except OSError:
            self.close()

    def close(self) -> None:
        """Ends the log."""
        self._is_ended = True
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
        self._file = None


def _opened(path: Path) -> int:
    """The descriptor of a file to add to. A line that a full disk or a killed process cut is ended first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    size = os.fstat(number).st_size
    if size and os.pread(number, 1, size - 1) != b"\n":
        os.write(number, b"\n")
    return number


@contextmanager
def writing(path: Path, run: str) -> Iterator[None]:
    """Within the block, `note` writes to this log. An error that leaves the block is noted as the end.

    Args:
        path: the file.
        run: the id of the command; the first block of a process with this id notes the start.
    """
    if (path, run) not in _journals:
        _journals[path, run] = Journal(path, run)
        _journals[path, run].write("start", start_facts())
    journal = _journals[path, run]
    _current.append(journal)
    try:
        yield
    except BaseException as error:
        journal.write("end", {"error": f"{type(error).__name__}: {error}"})
        raise
    finally:
        _current.remove(journal)


def finish(path: Path, run: str, **facts: Any) -> None:
    """Notes the end of a run, and closes its log in this process."""
    with writing(path, run):
        note("end", **facts)
    _journals.pop((path, run)).close()


def note(event: str, **facts: Any) -> None:
    """Adds a line to the log of the innermost block of `writing`; without one it does nothing."""
    if _current:
        _current[-1].write(event, facts)


def start_facts() -> dict[str, Any]:
    """Where a run takes place, and in which versions."""
    place = {"host": socket.gethostname(), "system": platform.platform(), "cores": os.cpu_count()}
    return {**place, "versions": versions()}


def versions() -> dict[str, str]:
    """The versions of this program, of Python and of the packages that may change a result, as far as they are here."""
    found = {"latentsync": __version__, **commit_of(Path(__file__).parents[1]), "python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@cache
def commit_of(clone: Path) -> dict[str, str]:
    """The git commit of a clone, with -dirty if files that it tracks differ from it; nothing for an installed package.

    git takes no lock for this: a lock that a killed process leaves would stop the user's own git.
    """
    if not (clone / ".git").exists():
        return {}
    command = ["git", "--no-optional-locks", "-C", str(clone), "status", "--porcelain=v2", "--branch", "-uno"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return {}
    heads, changes = [], 0
    for line in answer.stdout.splitlines():
        if line.startswith("# branch.oid "):
            heads.append(line.split()[2])
        changes += not line.startswith("#")
    return {"commit": heads[0] + ("-dirty" if changes else "")} if heads else {}


def memory_facts() -> dict[str, float]:
    """The greatest use of memory of this process until now, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    facts = {"peak_memory_mb": round(peak / 1e6, 1)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        facts["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
    return facts


def read(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a log. Lines that were cut are left out.

    Raises:
        OSError: the file cannot be read.
    """
    lines: Sequence[str] = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    events = []
    for line in lines:
        with suppress(ValueError):
            event = json.loads(line)
            events += [event] if isinstance(event, dict) else []
    return events
