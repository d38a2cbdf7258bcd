"""Finished records -> the tracker, each once.

    python -m experiments.publish runs --sweep quickstart --mode online

What has been published is noted beside the tracker's files, so publishing again sends only what is new. A tracker that
cannot be reached costs a notice, never a record.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from experiments.collect import sweep_records
from experiments.record import Record, read_json, write_json
from experiments.schema import TrackerConfig
from experiments.trackers import make_tracker
from latentsync.errors import LatentSyncError, MediaError

PUBLISHED_FILE = "published.json"


def publish(records: list[Record], sweep: str, config: TrackerConfig, runs_dir: Path) -> tuple[int, str | None]:
    """Publishes the records of a sweep that were not published to the same place before.

    Returns:
        How many were published now, and why it stopped early (None if it did not).
    """
    if config.kind == "none":
        return 0, None
    noted = runs_dir / config.kind / PUBLISHED_FILE
    place = f"{config.mode}:{config.entity or ''}/{config.project}/{sweep}"
    content = read_json(noted) or {}
    published = content.setdefault(place, [])
    new = [record for record in records if record.id not in published]
    if not new:
        return 0, None
    tracker, sent, stopped = make_tracker(config, runs_dir), [], None
    try:
        for record in new:
            tracker.publish(record, sweep)
            sent.append(record.id)
        tracker.close()
    except Exception as error:  # whatever a tracker raises, the records are safe on disk
        stopped = f"{type(error).__name__}: {error}"
    finally:
        published += sent
        write_json(noted, content)
    return len(sent), stopped


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.publish", description="Publish a sweep's records to W&B."
    )
    parser.add_argument("runs_dir", type=Path, help="the folder given as runs_dir")
    parser.add_argument("--sweep", required=True, help="the sweep's name")
    parser.add_argument("--mode", choices=("offline", "online"), default="online")
    parser.add_argument("--project", default=TrackerConfig.project)
    parser.add_argument("--entity", default=None)
    told = parser.parse_args(arguments)
    try:
        records = sweep_records(told.runs_dir, told.sweep)
        if not records:
            raise MediaError(f"{told.runs_dir} has no finished records of a sweep called {told.sweep!r}")
        config = replace(TrackerConfig(), mode=told.mode, project=told.project, entity=told.entity)
        count, stopped = publish(records, told.sweep, config, told.runs_dir)
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"published {count} of {len(records)} records ({told.mode})")
    if stopped is not None:
        print(f"error: stopped early, {stopped}; the records are safe, run the command again", file=sys.stderr)
    return 0 if stopped is None else 1


if __name__ == "__main__":
    sys.exit(main())
