"""Command lines of `latentsync`, one after the other in one process of their own, which loads everything once."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TIME_LIMIT_S = 500

SCRIPT = """
import contextlib, io, json, sys
from pathlib import Path
from latentsync.__main__ import main

for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["latentsync", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code
    files = sorted(str(path) for path in Path("runs").rglob("*") if path.is_file())
    print(json.dumps([status or 0, out.getvalue(), err.getvalue(), files]), file=sys.__stdout__, flush=True)
"""


class Answer(NamedTuple):
    """What a command line gave: its status, output and errors, and the files of runs/ after it."""

    status: int
    out: str
    err: str
    files: list[str]


def answers_of(lines: Sequence[Sequence[str]], folder: Path, packages: Path) -> list[Answer]:
    """Runs the command lines in a folder, with a folder of packages before those of the environment."""
    env = {**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{ROOT}", "HYDRA_FULL_ERROR": "1"}
    command = [sys.executable, "-c", SCRIPT, json.dumps(list(lines))]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=TIME_LIMIT_S)
    answers = [Answer(*json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(answers) == len(lines), done.stderr
    return answers
