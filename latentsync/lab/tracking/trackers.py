"""Trackers with one small protocol. They receive finished records; nothing is logged during generation."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from latentsync.lab.records.columns import facts_of_record
from latentsync.lab.records.store import Record
from latentsync.metrics.definitions import Entry
from latentsync.metrics.judges import failure_notes

FPS = 25.0  # of records from before their own was kept


class Tracker(Protocol):
    """Receives the finished records of a sweep, its failed pairs, and the sweep itself.

    It may raise anything: the sweep goes on, and says so in a sentence. What is published again replaces what was
    published under the same id before.

    A tracker may have the attribute `writes_when_closed`: True says that nothing is written before `close` returns, so
    only then it counts as published. It may have a method `publish_trial(trial, sweep, table)` for the run of an agent
    that started the command, see `trial.Trial`; it then gets no `publish_sweep`.
    """

    def publish(self, record: Record, sweep: str) -> None: ...

    def publish_failure(self, failure: Mapping[str, Any], sweep: str) -> None:
        """Takes a failed pair: its pair, gender, stage, reason, and the overrides of its cell."""

    def publish_sweep(
        self, sweep: str, table: pd.DataFrame, files: list[Path], failures: Sequence[Mapping[str, Any]]
    ) -> None:
        """Takes the sweep.

        Args:
            table: one row per record; empty if all pairs failed.
            files: its tables and pictures that exist.
            failures: its failed pairs, as for `publish_failure`.
        """

    def close(self) -> None:
        """Returns when everything has been sent or written."""


def run_id(sweep: str, record_id: str | None = None) -> str:
    """The id of a record's run, or of the sweep's own run. It is the same on every machine and at every time.

    A record that belongs to two sweeps has a run in the group of each.
    """
    digits = hashlib.sha256(sweep.encode()).hexdigest()[:8]
    return f"sweep-{digits}" if record_id is None else f"{record_id}-{digits}"


def failure_id(sweep: str, failure: Mapping[str, Any]) -> str:
    """The id of a failed pair's run."""
    cell = hashlib.sha256(json.dumps([failure["pair"], failure["overrides"]]).encode()).hexdigest()[:12]
    return run_id(sweep, f"failed-{cell}")


def artifact_name(name: str) -> str:
    """The name of an artifact. W&B allows letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:128]


def config_of(content: Mapping[str, Any], metrics: Mapping[str, Entry] | None = None) -> dict[str, Any]:
    """The flat configuration of a record's run: what tables have, and the versions, hashes and commit behind it.

    `preset` is "given" where the guidance was given and no preset had a say. `notes` also says where a judge of sync
    fails on the real clip, if the metrics are given.
    """
    facts = facts_of_record(content)
    if facts["guidance_from"] == "given":
        facts["preset"] = "given"
    failing = failure_notes({name: entry["value"] for name, entry in (metrics or {}).items()})
    facts["notes"] = "; ".join(filter(None, [facts["notes"], *failing]))
    hashes = content["model"].get("weights_sha256", {})
    return (
        facts
        | {f"weights_sha256_{name}": digest for name, digest in hashes.items()}
        | {f"version_{name}": text for name, text in content.get("versions", {}).items()}
        | ({"made": content["made"]} if "made" in content else {})
    )


def values_of(record: Record) -> dict[str, float]:
    """The metrics of a record that have a value, and its `seconds`."""
    values = {name: entry["value"] for name, entry in record.metrics.items() if entry["value"] is not None}
    return {**values, "seconds": record.content["timings_s"]["total"]}


def curves_of(record: Record) -> dict[str, list[tuple[float, float]]]:
    """The curves of a record as points: over seconds (from the first frame of a window), or over shifts in frames.
    Windows without a value are left out."""
    fps, curves = record.content["video"].get("fps") or FPS, {}
    for name, values in record.curves.items():
        if name.endswith("_by_shift"):  # shifts are symmetric
            points = [(float(i - len(values) // 2), value) for i, value in enumerate(values) if value is not None]
        elif name.endswith("_by_window"):
            points = [(i / fps, value) for i, value in enumerate(values) if value is not None]
        else:
            continue
        if points:
            curves[name] = points
    return curves
