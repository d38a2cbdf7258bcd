"""Processes: how a command is stopped, and how its workers end with it.

Ctrl-C, SIGTERM and SIGHUP raise `Stopped` in the main thread, after the workers have ended. So with-blocks remove their
unfinished files. A second signal ends the process at once.

A worker ignores Ctrl-C, which a terminal sends to all processes, since its parent ends it by SIGTERM. It also looks
once a second whether its parent still runs: a killed parent cannot end it.

Commands and workers also search for garbage less often than Python does by itself.
"""

import atexit
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, TypeVar

Answer = TypeVar("Answer")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PARENT_VARIABLE = "LATENTSYNC_PARENT"  # the process with which a command ends
GRACE_S = 5.0  # time for a process to clean up before it is killed
TOGETHER_S = 1.0  # signals within this time count as one, for example those to a process and to its group
WATCH_S = 1.0  # time between two looks at the parent
NEW_OBJECTS = 10_000  # between two looks for garbage; Python's own 700 makes imports of large libraries slow
_stopped_at: float | None = None  # since when this process is being stopped
_is_worker = False


class Stopped(KeyboardInterrupt):
    """A signal stops this process. Like Python's own interrupt it passes by `except Exception`."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status, as shells show it: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.number


@contextmanager
def stoppable() -> Iterator[None]:
    """Within the block, signals stop this process as this module says. Ignored signals stay so, as under nohup.

    It does nothing within another such block, in a worker, and outside the main thread, which alone may do this.
    """
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    if threading.current_thread() is not threading.main_thread() or _is_worker or _stop in before.values():
        yield
        return
    changed = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in changed:
        signal.signal(number, _stop)
    excepthook = threading.excepthook
    try:
        yield
    finally:
        global _stopped_at
        _stopped_at = None
        threading.excepthook = excepthook
        for number, handler in changed.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    global _stopped_at
    now = time.monotonic()
    if _stopped_at is not None:
        if now - _stopped_at > TOGETHER_S:
            end_workers(grace_s=0)
            os._exit(Stopped(number).status)
        return
    _stopped_at = now
    threading.excepthook = _without_late_answers(threading.excepthook)
    with suppress(Exception):  # another handler may raise meanwhile
        end_workers()
    raise Stopped(number)


def _without_late_answers(hook: Callable[..., Any]) -> Callable[..., Any]:
    """A hook that says nothing where a pool of ended workers answers a task that was cancelled meanwhile.

    Before Python 3.12 the thread of `ProcessPoolExecutor` raises `InvalidStateError` then.
    """

    def say(fault: threading.ExceptHookArgs) -> None:
        from concurrent.futures import InvalidStateError

        if not issubclass(fault.exc_type, InvalidStateError):
            hook(fault)

    return say


def end_workers(grace_s: float = GRACE_S) -> None:
    """Ends this process's workers: they get SIGTERM, and are killed after some seconds.

    Daemonic processes, such as those that read data for a training, are left to their owners.
    """
    if "multiprocessing" not in sys.modules:
        return
    import multiprocessing
    from multiprocessing.connection import wait

    workers = [process for process in multiprocessing.active_children() if not process.daemon]
    for worker in workers:
        worker.terminate()
    until = time.monotonic() + grace_s
    for worker in workers:
        if not wait([worker.sentinel], max(0.0, until - time.monotonic())):
            worker.kill()


# --- garbage ---


def collect_rarely() -> None:
    """Makes a process of large libraries start and end sooner: it looks for unreachable cycles less often.

    At the end it leaves all objects to the system, after the functions of `atexit` have run.
    """
    gc.set_threshold(NEW_OBJECTS)
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


# --- in a worker ---


def begin_worker(parent: int) -> None:
    """Makes this process a worker: it ends with its parent, ignores Ctrl-C, and cleans up after SIGTERM.

    Args:
        parent: the parent's process number.
    """
    global _is_worker
    if _is_worker:
        return
    _is_worker = True
    collect_rarely()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    end_with(parent)


def end_with(parent: int) -> None:
    """Stops this process soon after its parent has ended, for whatever reason.

    Args:
        parent: the parent's process number. If another process has become the parent already, the first one has ended.
    """

    def watch() -> NoReturn:
        while os.getppid() == parent:
            time.sleep(WATCH_S)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
        time.sleep(GRACE_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def run_task(function: Callable[..., Answer], *args: Any, **options: Any) -> Answer:
    """Calls a function. If a signal stops it in a worker, the worker ends, instead of going on with its next task."""
    try:
        return function(*args, **options)
    except Stopped as stop:
        if _is_worker:
            with suppress(Exception):
                sys.stdout.flush()
                atexit._run_exitfuncs()  # they remove temporary folders
            os._exit(stop.status)
        raise


# --- a command in its own process ---


def child_environment() -> dict[str, str]:
    """The environment for a command that this process starts, and that is to end with it."""
    return {**os.environ, PARENT_VARIABLE: str(os.getpid())}


def end_with_starter() -> None:
    """Makes a command end with the process that started it by `child_environment`; without that it does nothing."""
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if parent.isdecimal():
        end_with(int(parent))
