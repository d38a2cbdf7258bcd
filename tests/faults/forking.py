"""A process that has imported everything, and starts commands by fork: so a command takes its own time only.

It reads a JSON object a line, and answers each by one:

    {"arguments": ["train", ...], "output": path, "limit_s": seconds until SIGKILL, or null}
    {"status": the exit status, or minus the signal's number, "seconds": 1.5}
"""

import gc
import json
import os
import signal
import sys
import time
import traceback
from importlib import import_module
from unittest import mock

import torch
import wandb  # noqa: F401 - before the fork, since it takes 2 s
from waves import FrequencyTask, Waves

from latentsync.__main__ import main

for name in ("batch", "publish", "report", "run", "train"):
    import_module(f"latentsync.lab.commands.{name}")
for name in ("jobs.folder", "pages.write", "sweeps.plan", "sweeps.sweep", "sweeps.summary", "tracking.publish"):
    import_module(f"latentsync.lab.{name}")
import_module("latentsync.lab.training.job")
import_module("latentsync.faces.landmarks")

POLL_S = 0.002


def begin(request: dict) -> int:
    """Starts the command of a request in a child.

    Returns:
        The number of the child's process. In the child it does not return.
    """
    if child := os.fork():
        return child
    status = 1
    try:
        for number, flags in enumerate((os.O_RDONLY, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_APPEND)):
            os.dup2(os.open(request["output"] if number else os.devnull, flags), number)
        sys.argv = ["latentsync", *request["arguments"]]
        with mock.patch("latentsync.lab.training.job.make_task", lambda config: (FrequencyTask(), Waves(), Waves())):
            status = main(request["arguments"])
    except SystemExit as stop:
        status = stop.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status or 0)  # at once: what is left belongs to the parent


def answer(request: dict) -> dict:
    """Runs the command of a request to its end, or kills it."""
    start, child, ended = time.monotonic(), begin(request), (0, 0)
    while not ended[0]:
        if request["limit_s"] is not None and time.monotonic() - start >= request["limit_s"]:
            os.kill(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
        else:
            time.sleep(POLL_S)
            ended = os.waitpid(child, os.WNOHANG)
    return {"status": os.waitstatus_to_exitcode(ended[1]), "seconds": time.monotonic() - start}


def serve() -> None:
    """Answers requests until there are no more."""
    torch.set_num_threads(1)
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    serve()
