"""Publishing at the end of a sweep. A tracker that may keep it waiting runs in a process of its own, for a time."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from latentsync.errors import sentence_of
from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.records.store import Record
from latentsync.lab.records.sweeps import sweep_records
from latentsync.lab.tracking.publish import Ledger, publish
from latentsync.lab.tracking.trial import Trial
from latentsync.processes import child_environment, end_with_starter


def publish_in_time(
    records: Sequence[Record], sweep: str, config: TrackerConfig, runs_dir: Path, trial: Trial | None = None
) -> tuple[int, str | None]:
    """`publish` for the end of a sweep. A server, a database or the code of another package gets a process of its own,
    which is ended after `tracker.timeout_s`. A tracker that fails never raises.

    Args:
        config: with one tracker, see `TrackerConfig.only`.

    Returns:
        As for `publish`.
    """
    try:
        if config.is_apart(config.only_name):
            return _publish_apart(records, sweep, config, runs_dir, trial)
        return publish(records, sweep, config, runs_dir, trial)
    except Exception as error:  # the records are safe on disk
        return 0, sentence_of(error) or f"{type(error).__name__}: {error}"


def _publish_apart(
    records: Sequence[Record], sweep: str, config: TrackerConfig, runs_dir: Path, trial: Trial | None
) -> tuple[int, str | None]:
    ledger, ids = Ledger(config, sweep, runs_dir), {record.id for record in records}
    before = ledger.noted()
    task = {"runs_dir": str(runs_dir), "sweep": sweep, "tracker": asdict(config)}
    task["trial"] = None if trial is None else asdict(trial)
    stopped = None
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(  # noqa: S603 - this program, without a shell
        [sys.executable, "-m", __name__], **pipes, text=True, start_new_session=True, env=child_environment()
    ) as process:
        try:
            _, said = process.communicate(json.dumps(task), timeout=config.timeout_s)
            if process.returncode != 0:
                lines = [line for line in said.splitlines() if line.startswith("error: ")] or said.splitlines()[-1:]
                stopped = lines[-1].removeprefix("error: ") if lines else f"exit status {process.returncode}"
        except subprocess.TimeoutExpired:
            stopped = f"not finished after {config.timeout_s:g} s (tracker.timeout_s); `latentsync publish` goes on"
        finally:
            _end_with_children(process)
    changed = ledger.noted().items() - before.items()
    return sum(identifier in ids for identifier, _ in changed), stopped


def _end_with_children(process: subprocess.Popen) -> None:
    """Kills a process and the rest of its session, because wandb's service would keep trying."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def main() -> int:
    """The process of its own: the task as JSON on the standard input; the status 1 and a last line if it stopped."""
    end_with_starter()
    task = json.load(sys.stdin)
    runs_dir, sweep = Path(task["runs_dir"]), task["sweep"]
    trial = None if task["trial"] is None else Trial(**task["trial"])
    try:
        records = sweep_records(runs_dir, sweep)
        _, stopped = publish(records, sweep, TrackerConfig(**task["tracker"]), runs_dir, trial)
    except Exception as error:
        stopped = sentence_of(error) or f"{type(error).__name__}: {error}"
    if stopped is not None:
        print(f"error: {stopped}", file=sys.stderr, flush=True)
    return 0 if stopped is None else 1


if __name__ == "__main__":
    sys.exit(main())
