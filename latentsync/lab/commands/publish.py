"""Finished records -> the tracker, each once.

    latentsync publish runs [--sweep quickstart] [--mode online]

What has been published is noted beside the tracker's files with a hash of its content, so publishing again sends only
what is new or has changed, such as a record with added metrics, and that under the same id. A tracker that cannot be
reached costs a notice, never a record, and a sweep waits for it no longer than `tracker.timeout_s`.
"""

import argparse
import sys
from pathlib import Path

from latentsync.errors import LatentSyncError, MediaError
from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.records.sweeps import CELLS_DIR
from latentsync.lab.tables.tidy import sweep_records
from latentsync.lab.tracking.publish import publish


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="latentsync publish", description="Publish records to W&B.")
    parser.add_argument("runs_dir", type=Path, help="the folder given as runs_dir")
    parser.add_argument("--sweep", help="the sweep's name; every sweep where none is given")
    parser.add_argument("--mode", choices=("offline", "online"), default="online")
    parser.add_argument("--project", default=TrackerConfig.project)
    parser.add_argument("--entity", default=None)
    parser.add_argument("--timeout_s", type=float, default=TrackerConfig.timeout_s, help="for a server to answer")
    told = parser.parse_args(arguments)
    try:
        config = TrackerConfig(mode=told.mode, project=told.project, entity=told.entity, timeout_s=told.timeout_s)
        found = {name: sweep_records(told.runs_dir, name) for name in _sweeps(told.runs_dir, told.sweep)}
        if not any(found.values()):
            called = "" if told.sweep is None else f" called {told.sweep!r}"
            raise MediaError(f"{told.runs_dir} has no finished records of a sweep{called}")
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for sweep, records in found.items():
        count, stopped = publish(records, sweep, config, told.runs_dir)
        print(f"{sweep}: published {count} of {len(records)} records ({told.mode})")
        if stopped is not None:
            print(f"error: {stopped}; the records are safe, run the command again", file=sys.stderr)
            return 1
    return 0


def _sweeps(runs_dir: Path, name: str | None) -> list[str]:
    if name is not None:
        return [name]
    return sorted(path.parent.name for path in (runs_dir / "sweeps").glob(f"*/{CELLS_DIR}"))
