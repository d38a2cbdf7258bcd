"""The state of a sweep that runs, from its plan, its notes, its log and the claims on its records: cheap to ask for."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from latentsync import journal
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.records.added import ADDED_FILE
from latentsync.lab.records.claims import CLAIM_PREFIX
from latentsync.lab.records.store import RecordStore
from latentsync.lab.records.sweeps import FAILED, PLAN_FILE, failures_of, planned_cells, sweep_cells, sweep_names

RECENT = 32  # pairs whose times tell the pace
STAGES = ("read", "align", "denoise", "measure", "store")  # the usual ones, until a log has a whole pair
QUIET_S = 120.0  # a run whose log is silent for longer, and that makes no record, is taken for ended


def stamp_of(runs: Path, sweep: str | None = None) -> str:
    """A text that changes whenever a record, a note or a plan of the folder, or of a sweep, is added or replaced."""
    places = [runs / "records"]
    for name in sweep_names(runs) if sweep is None else [sweep]:
        folder = sweep_folder(runs, name)
        places += [folder / "cells", folder / PLAN_FILE, folder / journal.LOG_FILE, folder / ADDED_FILE]
    return "-".join(f"{_changed(place):x}" for place in places)


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def states(runs: Path) -> list[dict[str, Any]]:
    """For each sweep of a runs folder: how many of its records are in each state, what runs, and what failed.

    Returns:
        name; counts `done`, `failed`, `missing` and `running`; `runs`, the records in progress, each with its pair,
        stage and seconds since the stage began; `is_active`, also between two records; `left_s`, an estimate by the
        pace of the last pairs, None where nothing runs or no pair has ended; `failures`, with pair, stage, reason,
        settings and the time of the note.
    """
    made = {path.name for path in _entries(runs / "records")}
    return [_state(runs, name, made) for name in sweep_names(runs)]


def _entries(folder: Path) -> list[Path]:
    return [*folder.iterdir()] if folder.is_dir() else []


def _state(runs: Path, name: str, made: set[str]) -> dict[str, Any]:
    folder, store = sweep_folder(runs, name), RecordStore(runs)
    cells = sweep_cells(folder)
    planned = {tuple(cell["overrides"]): cell["records"] for cell in planned_cells(folder)}
    wanted = {outcome["record"]: outcome["pair"] for cell in cells for outcome in cell["outcomes"]}
    wanted |= {record: pair for records in planned.values() for pair, record in records.items()}
    wanted.pop(None, None)
    failures = []
    for each in failures_of(cells):
        record = each["record"] or planned.get(tuple(each["overrides"]), {}).get(each["pair"])
        failures += [] if record in made else [{**each, "record": record}]
    failed = {each["record"] for each in failures} - {None}
    claimed = {record for record in wanted if record not in made and f"{CLAIM_PREFIX}{record}" in made}
    running = {record: claim for record in claimed if (claim := store.claimant(record)) is not None}
    counts = Counter(_state_of(record, made, running, failed) for record in wanted)
    counts["failed"] += sum(each["record"] is None for each in failures)
    events = _events(folder / journal.LOG_FILE)
    left, is_active = counts["missing"] + counts["running"], bool(running) or _is_active(events)
    return {
        "name": name,
        **{state: counts[state] for state in ("done", "failed", "missing", "running")},
        "is_active": is_active,
        "runs": [_in_progress(record, wanted[record], claim, events) for record, claim in running.items()],
        "left_s": _left_s(events, left, max(len(running), is_active)),
        "failures": [_failure(each) for each in failures],
    }


def _state_of(record: str, made: set[str], running: Mapping, failed: set[str]) -> str:
    return "done" if record in made else "running" if record in running else "failed" if record in failed else "missing"


def _failure(failure: Mapping[str, Any]) -> dict[str, Any]:
    names = ("pair", "stage", "reason", "trace", "overrides", "noted")
    return {name: failure[name] for name in names} | {"settings": settings_of(failure["overrides"])}


def settings_of(overrides: Sequence[str]) -> dict[str, str]:
    """The options that a cell's overrides give, by the names of the table's columns."""
    given = [each.lstrip("+").partition("=") for each in overrides]
    return {key.rpartition(".")[2]: value for key, _, value in given if "." in key}


def _events(path: Path) -> list[dict[str, Any]]:
    """The events of a log, with the time of each in seconds; those that somebody edited are left out."""
    events = []
    with suppress(OSError):
        for event in journal.read(path):
            with suppress(KeyError, TypeError, ValueError):
                moment = datetime.fromisoformat(event["time"]).timestamp()
                known = {"event": str(event["event"]), "stage": str(event.get("stage")), "moment": moment}
                events.append({**event, **known, "process": str(event.get("process"))})
    return events


def _in_progress(record: str, pair: str, claim: Mapping, events: Sequence[Mapping]) -> dict[str, Any]:
    """A record that is being made. The log names ended stages; the next one is that of earlier pairs."""
    ended = [each for each in events if each["event"] == "stage" and each.get("record") == record]
    stage, since = STAGES[0], claim.get("since", time.time())
    if ended and (begun := ended[-1]["moment"]) >= since:
        stage, since = _stage_after(ended[-1]["stage"], events), begun
    place = {"host": claim.get("host", ""), "process": claim.get("pid")}
    return {"record": record, "pair": pair, "stage": stage, "since_s": max(0.0, time.time() - since), **place}


def _stage_after(stage: str, events: Sequence[Mapping]) -> str:
    """The stage that mostly follows another one in the log."""
    following: Counter[str] = Counter()
    before: dict[Any, str] = {}
    for event in events:
        if event["event"] == "stage":
            if before.get(event["process"]) == stage:
                following[event["stage"]] += 1
            before[event["process"]] = event["stage"]
        elif event["event"] == "pair":
            before.pop(event["process"], None)
    if following:
        return following.most_common(1)[0][0]
    return STAGES[STAGES.index(stage) + 1] if stage in STAGES[:-1] else f"after {stage}"


def _is_active(events: Sequence[Mapping]) -> bool:
    """Whether a run has not ended: it may load a model, or be between two records."""
    return bool(events) and events[-1]["event"] != "end" and time.time() - events[-1]["moment"] < QUIET_S


def _is_made(event: Mapping) -> bool:
    is_timed = isinstance(event.get("seconds"), int | float)
    return event["event"] == "pair" and event.get("status") not in FAILED and is_timed


def _left_s(events: Sequence[Mapping], left: int, processes: int) -> float | None:
    """How long the remaining records take, by the median of the last pairs."""
    seconds = [each["seconds"] for each in events if _is_made(each)]
    return median(seconds[-RECENT:]) * left / processes if seconds and left and processes else None
