"""Publishes finished records to the tracker, each once.

A file beside the tracker's files lists the published records with a hash of their content. Publishing again sends only
records that are new or have changed (for example, because metrics were added), and keeps their ids. If the tracker
cannot be reached, a notice is printed and no record is lost. `apart` publishes at the end of a sweep.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from latentsync.files import find_json, require_inside, write_json
from latentsync.lab.console import say
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.records.claims import claimed
from latentsync.lab.records.store import CURVES_FILE, METRICS_FILE, RECORD_FILE, TAGS_FILE, Record
from latentsync.lab.tables.tidy import collect_wide, sweep_failures
from latentsync.lab.tracking.choice import make_tracker
from latentsync.lab.tracking.trackers import failure_id, run_id
from latentsync.lab.tracking.trial import Trial

PUBLISHED_FILE = "published.json"
LOCK_FILE = ".publish.lock"  # in the runs folder
SWEEP_FILES = (
    "table.csv", "calibration.csv", "figure.png", "contact_sheet.png",
)  # fmt: skip


def publish(
    records: Sequence[Record], sweep: str, config: TrackerConfig, runs_dir: Path, trial: Trial | None = None
) -> tuple[int, str | None]:
    """Publishes the records and failures of a sweep that were not yet published to the same place, then the sweep's
    existing table and pictures.

    Of several processes that publish one runs folder, one does so at a time; the others wait, and find its records
    published.

    Args:
        config: with one tracker, see `TrackerConfig.only`.
        trial: the agent's run; a tracker that knows such runs gets it first, in the place of the sweep's run.

    Returns:
        How many records were published, and why publishing stopped early (None if it did not).

    Raises:
        MediaError: the tracker's folder is a link that leads out of the runs folder.
    """
    require_inside(runs_dir / config.only_name, runs_dir)
    with _one_publisher(runs_dir):
        return _publish(records, sweep, config, runs_dir, trial)


@contextmanager
def _one_publisher(runs_dir: Path) -> Iterator[None]:
    """Holds the runs folder's lock for publishing. The kernel frees it when the process ends for any reason."""
    path = runs_dir / LOCK_FILE
    with ExitStack() as lock:
        if not lock.enter_context(claimed(path, wait=False)):
            say("another process publishes records of this folder; this one waits for it")
            lock.enter_context(claimed(path))
        yield


def _publish(
    records: Sequence[Record], sweep: str, config: TrackerConfig, runs_dir: Path, trial: Trial | None
) -> tuple[int, str | None]:
    ledger, sweep_dir = Ledger(config, sweep, runs_dir), sweep_folder(runs_dir, sweep)
    stopped, handed_over = None, {}

    def hand_over(identifier: str, digest: str, publish_it: Callable[[], None]) -> None:
        if ledger.has(identifier, digest):
            return
        handed_over[identifier] = digest
        publish_it()
        if not getattr(tracker, "writes_when_closed", False):
            ledger.note({identifier: digest})

    try:
        tracker = make_tracker(config, runs_dir)
        failures = sweep_failures(sweep_dir)
        takes_trial = trial is not None and hasattr(tracker, "publish_trial")
        if takes_trial:
            table = collect_wide(runs_dir, sweep)
            hand_over(trial.run, _digest_of_json(asdict(trial)), partial(tracker.publish_trial, trial, sweep, table))
        for record in records:
            hand_over(record.id, _digest_of(record), partial(tracker.publish, record, sweep))
        for failure in failures:
            failed = partial(tracker.publish_failure, failure, sweep)
            hand_over(failure_id(sweep, failure), _digest_of_failures([failure]), failed)
        files = [path for name in SWEEP_FILES if (path := sweep_dir / name).is_file()]
        if (files or failures) and not takes_trial:
            digest = _digest(files) + (_digest_of_failures(failures) if failures else "")
            table = collect_wide(runs_dir, sweep)
            hand_over(run_id(sweep), digest, partial(tracker.publish_sweep, sweep, table, files, failures))
        if handed_over:
            tracker.close()
            ledger.note(handed_over)
    except Exception as error:  # a tracker may raise anything; the records are safe on disk
        stopped = f"{type(error).__name__}: {error}"
    published = {i for i, digest in handed_over.items() if ledger.has(i, digest)}
    return sum(record.id in published for record in records), stopped


class Ledger:
    """The published records of a sweep at one place: id -> hash of the content. Only the process that holds the runs
    folder's lock writes it."""

    def __init__(self, config: TrackerConfig, sweep: str, runs_dir: Path) -> None:
        self._path = runs_dir / config.only_name / PUBLISHED_FILE
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
    own = [path for path in [record.folder / TAGS_FILE] if path.is_file()]  # a tag may come later
    files = _digest([*(record.folder / name for name in (RECORD_FILE, METRICS_FILE, CURVES_FILE)), *own])
    if record.content == record.own_content:
        return files
    return hashlib.sha256(f"{files} {json.dumps(record.labels, sort_keys=True)}".encode()).hexdigest()


def _digest_of_failures(failures: Sequence[Mapping]) -> str:
    """A hash of failed pairs, without when and by which run they were noted."""
    return _digest_of_json([{k: v for k, v in each.items() if k not in ("noted", "run")} for each in failures])


def _digest_of_json(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _digest(files: list[Path]) -> str:
    """A hash of the files' names and contents; a missing file counts as empty."""
    parts = [f"{path.name}:".encode() + (path.read_bytes() if path.is_file() else b"") for path in files]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
