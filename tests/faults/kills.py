"""Commands that are killed at a random moment and then run again, and what their folders hold at the end."""

import csv
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from offline_runs import wandb_file

from latentsync.training.journal import Journal
from latentsync.weights import file_sha256

ROOT = Path(__file__).resolve().parents[2]
VOLATILE = r"seconds|^timings_s$|^made$|^noted$|^run$|^_|artifact|^folder$"  # keys, at any depth
TIMED = "figure.png"  # of a sweep; shows seconds
EQUAL = (".html", ".mp4", ".png", ".pt", ".safetensors")  # to the bit


class Runner:
    """Runs commands in children of one process that has imported everything."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "output.txt"
        self.output.touch()
        environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("forking.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=ROOT, env=environment | {"TMPDIR": str(folder), "MPLBACKEND": "agg"},
        )  # fmt: skip

    def run(self, arguments: list[str], limit_s: float | None = None) -> tuple[int, float]:
        """Runs a command, and kills it after a time.

        Returns:
            The exit status, or minus the signal's number, and the seconds.
        """
        request = {"arguments": arguments, "output": str(self.output), "limit_s": limit_s}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        return answer["status"], answer["seconds"]

    def end(self) -> None:
        self._server.stdin.close()
        self._server.wait()


def content(folder: Path) -> Counter[tuple[str, str]]:
    """The files of a folder: name, and what must be equal however often the command was killed. Each counts."""
    return Counter((name_of(path, folder), repr(comparable(path))) for path in folder.rglob("*") if not path.is_dir())


def name_of(path: Path, folder: Path) -> str:
    """A file's name without what W&B draws anew in each run."""
    name = re.sub(r"/offline-run-\d+_\d+-(\w+-\w+)(-\d+)?", r"/\1", f"/{path.relative_to(folder)}")
    return re.sub("/staging/.*", "/staging", name)


def comparable(path: Path) -> object:
    """What a file holds, as far as it is the same each time."""
    if path.suffix == ".json":
        return lasting(json.loads(path.read_bytes()))
    if path.suffix == ".jsonl" and "training" in path.parts:
        return lasting(list(Journal(path).rows()))
    if path.suffix == ".csv":
        return lasting(list(csv.DictReader(path.read_text().splitlines())))
    if path.suffix == ".wandb":
        return lasting(wandb_file(path.parents[2], path.stem.removeprefix("run-")))
    return file_sha256(path) if path.suffix in EQUAL and path.name != TIMED else None


def lasting(value: object) -> object:
    """A value without what is another one each time, in a fixed order.

    The note of a cell whose record stood when its command was killed says "cached" in place of "done".
    """
    if value == "cached":
        return "done"
    if isinstance(value, dict):
        return {key: lasting(value[key]) for key in sorted(value) if not re.search(VOLATILE, key)}
    return [lasting(item) for item in value] if isinstance(value, list) else value


def difference(found: Counter[tuple[str, str]], wanted: Counter[tuple[str, str]]) -> str | None:
    """The worst that differs between two contents, "lost", "half" or "doubled", and the files; None if nothing does."""
    names, wanted_names = (Counter(name for name, _ in content.elements()) for content in (found, wanted))
    for outcome, files in (
        ("lost", wanted_names - names),
        ("doubled", names - wanted_names),
        ("half", Counter(name for name, _ in (wanted - found).elements())),
    ):
        if files:
            return f"{outcome} ({', '.join(files)})"
    return None
