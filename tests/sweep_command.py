"""A sweep as a user starts it: the command in a process of its own, or in this one."""

import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from latentsync.__main__ import main

ROOT = Path(__file__).resolve().parents[1]


# `latentsync run`, killed at once when it hands the given number of frames to encoders
KILLED_AT_FRAME = """
import os, signal, sys
from latentsync import media
from latentsync.__main__ import main

write, frames = media.VideoWriter.write_converted, []

def write_or_die(self, frame):
    frames.append(self)
    if len(frames) == {number}:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, frame)

media.VideoWriter.write_converted = write_or_die
sys.exit(main(["run", *sys.argv[1:]]))
"""


def sweep(clips, runs, *overrides, model="mini", wait=True, killed_at_frame=None):
    """`latentsync run -m` over two seeds, quick and without tracker by default."""
    run = ["-m", "latentsync", "run"]
    if killed_at_frame is not None:
        run = ["-c", KILLED_AT_FRAME.format(number=killed_at_frame)]
    command = [sys.executable, *run, *_arguments(clips, runs, model, overrides)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if not wait:
        return process
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def sweep_here(clips, runs, *overrides, model="mini"):
    """`sweep` in this process, which has loaded everything."""
    output = StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        try:
            status = main(["run", *_arguments(clips, runs, model, overrides)])
        except SystemExit as stop:
            status = stop.code
    return status or 0, output.getvalue()


def _arguments(clips, runs, model, overrides):
    return [
        "-m", "data=folder", f"data.input_dir={clips}", f"runs_dir={runs}", f"model.pretrained={model}", "name=test",
        "sampler.num_inference_steps=1", "sampler.seed=1,2", "metrics=none", "tracker=none", *overrides,
    ]  # fmt: skip
