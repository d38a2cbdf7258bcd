"""Runs the reading of many files in a few child processes, and counts how it ended."""

import os
import select
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUTCOMES = ("read", "refused", "bare", "died", "hung")
READING = Path(__file__).with_name("reading.py")


@dataclass
class Tally:
    """How the reading of files ended.

    Attributes:
        counts: of each of `OUTCOMES`; "died" is by a signal.
        faults: (file, what happened) of the last three.
    """

    counts: Counter = field(default_factory=Counter)
    faults: list[tuple[Path, str]] = field(default_factory=list)


def table(counts: dict[str, Counter]) -> str:
    """How the reading of files of each kind ended, as Markdown."""
    lines = [["files", "number", "read", "refused", "other error", "died by a signal", "hung"], ["---", *["---:"] * 6]]
    lines += [[kind, each.total(), *(each[name] for name in OUTCOMES)] for kind, each in counts.items()]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def read_in_children(kind: str, paths: list[Path], limit_s: float = 30.0) -> Tally:
    """Reads files in child processes. One that dies or hangs costs its file; the next child goes on after it.

    Args:
        kind: of `reading.READERS`.
        limit_s: the longest that a file may take.
    """
    tally, left = Tally(), list(paths)
    while left:
        left = left[_one_child(kind, left, limit_s, tally) :]
    return tally


def _one_child(kind: str, paths: list[Path], limit_s: float, tally: Tally) -> int:
    """Reads files in one child until it has read all or dies.

    Returns:
        The number of files that need no further child.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        [sys.executable, str(READING), kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env=environment, text=True, errors="replace", bufsize=1,
    ) as child:  # fmt: skip
        for number, path in enumerate(paths):
            outcome = _ask(child, path, limit_s if number else limit_s + 60)
            word = outcome.partition(" ")[0]
            tally.counts[word.lower()] += 1
            if word in ("BARE", "DIED", "HUNG"):
                tally.faults.append((path, outcome))
            if word in ("DIED", "HUNG"):
                child.kill()
                return number + 1
        child.stdin.close()
    return len(paths)


def _ask(child: subprocess.Popen, path: Path, limit_s: float) -> str:
    try:
        child.stdin.write(f"{path}\n")
        child.stdin.flush()
    except BrokenPipeError:
        return f"DIED {child.wait()}"
    ready, _, _ = select.select([child.stdout], [], [], limit_s)
    if not ready:
        return f"HUNG more than {limit_s:g} s"
    line = child.stdout.readline()
    if not line:
        status = child.wait()
        return f"DIED {f'signal {-status}' if status < 0 else f'status {status}'}"
    return line.rstrip("\n")
