"""How commands are stopped, and how workers end with their parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import InvalidStateError
from pathlib import Path

import pytest

from latentsync.lab.console import INTERRUPTED, command
from latentsync.processes import PARENT_VARIABLE, Stopped, child_environment, stoppable

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
POOL = """
import os, sys, time
from pathlib import Path
from latentsync.lab.console import command
from latentsync.workers import Workers

def work(folder, number):
    place = Path(folder, f"part-{number}")
    place.touch()
    try:
        time.sleep(60)
    finally:
        place.unlink()

@command(interrupted="interrupted; go on")
def main():
    with Workers(2) as pool:
        list(pool.map(work, [sys.argv[1]] * 8, range(8)))

if __name__ == "__main__":
    sys.exit(main())
"""


def _heed_interrupts() -> None:
    """In a child, before its program: a job in the background, from which tests may be run, ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def started(tmp_path: Path) -> subprocess.Popen:
    """A command with a pool of two workers, each in the middle of a task."""
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, script, tmp_path], env=environment, start_new_session=True, preexec_fn=_heed_interrupts,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("part-*"))) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    return process


def outlives(session: int, limit_s: float = 20.0) -> bool:
    """Whether a process of the session still runs after some time."""
    until = time.monotonic() + limit_s
    while is_alive(session) and time.monotonic() < until:
        time.sleep(0.1)
    return is_alive(session)


def is_alive(session: int) -> bool:
    """Whether a process of the session runs."""
    lines = subprocess.run(["ps", "-eo", "sid,stat"], capture_output=True, text=True, check=True).stdout.splitlines()
    return any(int(sid) == session and not stat.startswith("Z") for sid, stat in (line.split() for line in lines[1:]))


@pytest.mark.parametrize(
    ("number", "to_group", "line", "status"),
    [
        (signal.SIGINT, False, "interrupted; go on", INTERRUPTED),
        (signal.SIGINT, True, "interrupted; go on", INTERRUPTED),  # as a terminal does
        (signal.SIGTERM, True, "ended by SIGTERM; go on", 143),
    ],
)
def test_a_signal_ends_a_command_its_workers_and_their_unfinished_files(tmp_path, number, to_group, line, status):
    process = started(tmp_path)
    (os.killpg if to_group else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (status, line + "\n")
    assert not list(tmp_path.glob("part-*"))
    assert not outlives(process.pid)


def test_workers_end_with_a_killed_parent_and_remove_their_unfinished_files(tmp_path):
    process = started(tmp_path)
    process.kill()
    process.communicate(timeout=60)
    assert not outlives(process.pid)
    assert not list(tmp_path.glob("part-*"))


def test_a_command_ends_with_the_process_that_started_it():
    code = "import latentsync.processes as p, time; p.end_with_starter(); time.sleep(60)"
    environment = {**child_environment(), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        process.kill()
    environment[PARENT_VARIABLE] = "1"  # another process than its parent: the parent has ended
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=30, check=False)
    assert done.returncode == -signal.SIGTERM


def test_a_signal_while_modules_are_imported_ends_in_a_line(tmp_path):
    (tmp_path / "hydra").mkdir()
    (tmp_path / "hydra" / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-m", "latentsync", "run", "--help"], env=environment, capture_output=True, text=True,
        check=False, preexec_fn=_heed_interrupts,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (INTERRUPTED, "interrupted\n")


def test_a_stopped_pool_says_nothing_of_tasks_that_were_cancelled(monkeypatch):
    """As the thread of a pool does before Python 3.12, if a task is cancelled before the pool has noticed its end."""
    said = []
    before = said.append
    monkeypatch.setattr(threading, "excepthook", before)
    with pytest.raises(Stopped), stoppable():
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
        for error in (InvalidStateError("CANCELLED"), ValueError("something else")):
            threading.excepthook(threading.ExceptHookArgs((type(error), error, None, None)))
        raise Stopped(signal.SIGTERM)
    assert threading.excepthook == before
    assert [fault.exc_type for fault in said] == [ValueError]


def test_handlers_are_put_back_and_ignored_signals_stay_ignored():
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(Stopped) as stop, stoppable():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.value.status == 143
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_a_command_stopped_by_a_signal_says_which(capsys):
    def main():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    assert command(interrupted="interrupted; go on")(main)() == 143
    assert capsys.readouterr().err == "ended by SIGTERM; go on\n"
