"""Publishes finished records to the tracker, each once.

A file beside the tracker's files lists the published records with a hash of their content. Publishing again sends only
records that are new or have changed (for example, because metrics were added), and keeps their ids. If the tracker
cannot be reached, a notice is printed and no record is lost. A sweep waits for it for at most `tracker.timeout_s`.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from latentsync.files import find_json, require_inside, write_json
from latentsync.lab.console import say
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.records.claims import claimed
from latentsync.lab.records.store import CURVES_FILE, METRICS_FILE, RECORD_FILE, Record
from latentsync.lab.tables.tidy import collect_wide, sweep_failures
from latentsync.lab.tracking.choice import make_tracker
from latentsync.lab.tracking.trackers import failure_id, run_id
from latentsync.processes import child_environment

PUBLISHED_FILE = "published.json"
LOCK_FILE = ".publish.lock"  # in the runs folder
SWEEP_FILES = (
    "table.csv", "calibration.csv", "figure.png", "contact_sheet.png",
)  # fmt: skip


def publish(records: list[Record], sweep: str, config: TrackerConfig, runs_dir: Path) -> tuple[int, str | None]:
    """Publishes the records of a sweep that were not yet published to the same place, then the sweep's existing table
    and pictures.

    Of several processes that publish one runs folder, one does so at a time; the others wait, and find its records
    published.

    Args:
        config: with one tracker, see `TrackerConfig.only`.

    Returns:
        How many records were published, and why publishing stopped early (None if it did not).

    Raises:
        MediaError: the tracker's folder is a link that leads out of the runs folder.
    """
    require_inside(runs_dir / _name_of(config), runs_dir)
    with _one_publisher(runs_dir):
        return _publish(records, sweep, config, runs_dir)


def _name_of(config: TrackerConfig) -> str:
    """The name of the one tracker that is switched on, which names its folder, too."""
    (name,) = config.names
    return name


@contextmanager
def _one_publisher(runs_dir: Path) -> Iterator[None]:
    """Holds the runs folder's lock for publishing. The kernel frees it when the process ends for any reason."""
    path = runs_dir / LOCK_FILE
    with ExitStack() as lock:
        if not lock.enter_context(claimed(path, wait=False)):
            say("another process publishes records of this folder; this one waits for it")
            lock.enter_context(claimed(path))
        yield


def _publish(records: list[Record], sweep: str, config: TrackerConfig, runs_dir: Path) -> tuple[int, str | None]:
    tracker, ledger = make_tracker(config, runs_dir), _Ledger(config, sweep, runs_dir)
    stopped, handed_over = None, {}

    def hand_over(identifier: str, digest: str, publish_it: Callable[[], None]) -> None:
        if ledger.has(identifier, digest):
            return
        handed_over[identifier] = digest
        publish_it()
        if not getattr(tracker, "writes_when_closed", False):
            ledger.note({identifier: digest})

    try:
        for record in records:
            hand_over(record.id, _digest_of(record), partial(tracker.publish, record, sweep))
        for failure in sweep_failures(sweep_folder(runs_dir, sweep)):
            digest = hashlib.sha256(json.dumps(failure, sort_keys=True, default=str).encode()).hexdigest()
            hand_over(failure_id(sweep, failure), digest, partial(tracker.publish_failure, failure, sweep))
        files = [path for name in SWEEP_FILES if (path := sweep_folder(runs_dir, sweep) / name).is_file()]
        if files:
            table = collect_wide(runs_dir, sweep)
            hand_over(run_id(sweep), _digest(files), partial(tracker.publish_sweep, sweep, table, files))
        if handed_over:
            tracker.close()
            ledger.note(handed_over)
    except Exception as error:  # a tracker may raise anything; the records are safe on disk
        stopped = f"{type(error).__name__}: {error}"
    published = {i for i, digest in handed_over.items() if ledger.has(i, digest)}
    return sum(record.id in published for record in records), stopped


class _Ledger:
    """The published records of a sweep at one place: id -> hash of the content. Only the process that holds the runs
    folder's lock writes it."""

    def __init__(self, config: TrackerConfig, sweep: str, runs_dir: Path) -> None:
        self._path = runs_dir / _name_of(config) / PUBLISHED_FILE
        mode = config.wandb_mode if config.wandb else "offline"
        self._place = f"{mode}:{config.entity or ''}/{config.project_name}/{sweep}"
        self._known: dict[str, str] | None = None

    def noted(self) -> dict[str, str]:
        """All entries, as they are now; empty for an old file, which has ids without hashes."""
        entries = (find_json(self._path) or {}).get(self._place)
        return entries if isinstance(entries, dict) else {}

    def has(self, identifier: str, digest: str) -> bool:
        """Whether this content was published. The file is read once."""
        if self._known is None:
            self._known = self.noted()
        return self._known.get(identifier) == digest

    def note(self, published: Mapping[str, str]) -> None:
        """Adds entries to the file, if they are new."""
        if any(not self.has(*entry) for entry in published.items()):
            self._known = {**(self._known or {}), **published}
            content = find_json(self._path) or {}
            write_json(self._path, content | {self._place: self._known})


def _digest_of(record: Record) -> str:
    """A hash of a record's content, and of the sweep's labels where they differ from the record's own."""
    files = _digest([record.folder / name for name in (RECORD_FILE, METRICS_FILE, CURVES_FILE)])
    if record.content == record.own_content:
        return files
    return hashlib.sha256(f"{files} {json.dumps(record.labels, sort_keys=True)}".encode()).hexdigest()


def _digest(files: list[Path]) -> str:
    """A hash of the files' names and contents; a missing file counts as empty."""
    parts = [f"{path.name}:".encode() + (path.read_bytes() if path.is_file() else b"") for path in files]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def publish_in_time(records: list[Record], sweep: str, config: TrackerConfig, runs_dir: Path) -> tuple[int, str | None]:
    """`publish` for the end of a sweep. A tracker that may keep it waiting runs in a separate process, for at most
    `tracker.timeout_s`.

    Returns:
        As for `publish`.
    """
    if not config.is_remote(_name_of(config)):
        return publish(records, sweep, config, runs_dir)
    ledger, ids = _Ledger(config, sweep, runs_dir), {record.id for record in records}
    before = ledger.noted()
    command = [sys.executable, "-m", "latentsync", "publish", str(runs_dir), "--sweep", sweep, "--tracker",
               _name_of(config), "--mode", config.wandb_mode, "--project", config.project_name,
               "--timeout_s", str(config.timeout_s)]  # fmt: skip
    command += [] if config.entity is None else ["--entity", config.entity]
    stopped = None
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(  # noqa: S603 - this program, without a shell
        command, **pipes, text=True, start_new_session=True, env=child_environment()
    ) as process:
        try:
            _, said = process.communicate(timeout=config.timeout_s)
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
