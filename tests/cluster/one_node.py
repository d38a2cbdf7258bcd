"""A real SLURM of one node on this machine, for as long as a block lasts: munge, slurmctld and slurmd, run as root.

Everything is under one temporary folder; nothing of a SLURM that the machine has is touched.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo", "scancel", "squeue")
WAIT_S = 60


def missing_programs() -> list[str]:
    """What this machine lacks; Debian's packages slurm-wlm and munge have all of it."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Starts SLURM and ends it with the block.

    Args:
        folder: where its keys, states and logs go.

    Yields:
        The environment in which sbatch and the others find it.

    Raises:
        RuntimeError: the node is not ready within a minute; its logs are in the message.
    """
    with ExitStack() as ends:
        munge_socket = _munge(folder, ends)
        configuration = folder / "slurm.conf"
        configuration.write_text(_configuration(folder, munge_socket))
        environment = {**os.environ, "SLURM_CONF": str(configuration)}
        for name, program in (("slurmctld", ["slurmctld", "-D"]), ("slurmd", ["slurmd", "-D", "-N", _host()])):
            ends.enter_context(_running(program, folder / f"{name}.out", environment))
        _wait_until_idle(environment, folder)
        yield environment


def _host() -> str:
    return socket.gethostname().split(".")[0]


def _munge(folder: Path, ends: ExitStack) -> Path:
    """munged with a key of its own; returns its socket."""
    place = folder / "munge"
    place.mkdir(mode=0o700)
    key, place_socket = place / "key", place / "socket"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    files = {"key-file": key, "socket": place_socket, "pid-file": place / "pid", "log-file": place / "log",
             "seed-file": place / "seed"}  # fmt: skip
    options = [f"--{name}={path}" for name, path in files.items()]
    ends.enter_context(_running(["munged", "--foreground", "--force", *options], folder / "munged.out", os.environ))
    deadline = time.monotonic() + WAIT_S
    while not place_socket.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"munged did not start:\n{(folder / 'munged.out').read_text()}")
        time.sleep(0.1)
    return place_socket


def _configuration(folder: Path, munge_socket: Path) -> str:
    controller_port, node_port = _free_ports(2)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    lines = {
        "ClusterName": "test",
        "SlurmctldHost": f"{_host()}(127.0.0.1)",
        "SlurmUser": "root",
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={munge_socket}",
        "SlurmctldPort": controller_port,
        "SlurmdPort": node_port,
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd.pid",
        "SlurmctldLogFile": folder / "slurmctld.log",
        "SlurmdLogFile": folder / "slurmd.log",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "SchedulerParameters": "sched_interval=2",
        "MpiDefault": "none",
        "ReturnToService": 2,
    }
    cores = os.cpu_count() or 1
    node = f"NodeName={_host()} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN"
    partition = f"PartitionName=main Nodes={_host()} Default=YES MaxTime=INFINITE State=UP"
    settings = [f"{name}={value}" for name, value in lines.items()]
    return "\n".join([*settings, node, partition, ""])


def _free_ports(number: int) -> list[int]:
    with ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(number)]
        for one in bound:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in bound]


@contextmanager
def _running(command: list[str], output: Path, environment) -> Iterator[None]:
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=dict(environment))
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    while True:
        state = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], env=environment, capture_output=True, text=True, timeout=30
        ).stdout.strip()
        if state == "idle":
            return
        if time.monotonic() > deadline:
            logs = "\n".join(path.read_text() for path in folder.glob("slurm*.log"))
            raise RuntimeError(f"the node is {state or 'unknown'}, not idle, after {WAIT_S} s:\n{logs}")
        time.sleep(0.5)
