"""The plan of a sweep, before any job starts: which records exist, which will be made, and their estimated cost.

Hydra's own parser and sweeper expand the cells. The sweep's plan.json stores the ids of their records, with a
fingerprint of everything that determines them. As long as the fingerprint stays the same, repeating the sweep loads no
network.

runs/sweeps/<name>/plan.json
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import cache

from latentsync.errors import MediaError, NewerVersionError
from latentsync.files import find_json, write_json
from latentsync.lab.console import BELOW_GATE, complaints, show
from latentsync.lab.options.pairs import Pair, pairs_of
from latentsync.lab.options.schema import RunConfig
from latentsync.lab.records.archived import is_archived
from latentsync.lab.records.index import RecordIndex
from latentsync.lab.records.store import METRICS_FILE, RecordStore
from latentsync.lab.records.sweeps import PLAN_FILE, RETRY_HINT, failures_of, plan_fault, sweep_cells
from latentsync.lab.sweeps.costs import Work, costs, estimate
from latentsync.lab.sweeps.fingerprint import fingerprint
from latentsync.lab.sweeps.notes import note_path, sticks
from latentsync.lab.sweeps.request import PlannedCell, SweepRequest, cell_overrides
from latentsync.lab.tables.gate import below_gate, gate_in
from latentsync.lab.tables.tidy import collect_wide
from latentsync.lab.tracking.trial import agents_run

HERE = ("basic", "joblib", "submitit_local")  # launchers whose cells run on this machine


def _print_plan(request: SweepRequest) -> int:
    """Prints each record of a sweep with its state, and the estimated cost of the records to make."""
    work: dict[str, Work] = {}
    cells, store = resolved(request, work), request.store
    failed = {o["record"]: o for o in failures_of(sweep_cells(request.sweep_dir)) if sticks(o)}
    missing = dict.fromkeys(i for _, i in _missing(cells, store) if i is not None)
    archived = {i for i in missing if is_archived(store.root.parent, i)}
    left = [i for i in missing if i in failed and i not in archived and request.general.retry != "failed"]
    for cell in cells:
        label = ", ".join(cell.overrides) or "(as configured)"
        if cell.reason is not None:
            show(f"unknown   {label}: {cell.reason}")
        for pair, i in cell.records.items():
            is_cached = i not in missing
            state = "cached" if is_cached else "archived" if i in archived else "failed" if i in left else "to make"
            show(f"{state:<9} {i}  {pair:<28} {label}")
    unknown = sum(cell.reason is not None for cell in cells)
    number = len({i for cell in cells for i in cell.records.values()})
    to_make = [i for i in missing if i not in left and i not in archived]
    counts = f"{number - len(missing)} cached, {len(to_make)} to make, {len(left)} failed in earlier runs"
    counts += (f" ({RETRY_HINT})" if left else "") + (f"; {unknown} cells unknown" if unknown else "")
    counts += f"; {len(archived)} archived, which the run restores" if archived else ""
    show(f"{len(cells)} cells, {number} records: {counts}")
    is_here = request.launcher in HERE
    if to_make:
        show(estimate([work[i] for i in to_make], costs(store), is_here))
    if not is_here:
        show(_about_elsewhere(request))
    return 0


def _about_elsewhere(request: SweepRequest) -> str:
    launcher = request.config.hydra.runtime.choices.get("launch", request.launcher)
    line = f"planned on this machine, but the workers of {launcher} may run on others"
    if any(run.options.runtime.dtype is None for run in request.runs):
        line += "; if they choose another precision, the ids differ (fix it with runtime.dtype=float16)"
    return line


def _silence() -> None:
    """Announces nothing."""


def answer(request: SweepRequest, before_loading: Callable[[], None] = _silence) -> int | None:
    """Answers a request that needs no job: prints the plan if requested, or says that nothing is left to do.

    Args:
        before_loading: called before networks are loaded, after all that can be refused without them. Not for a plan.

    Returns:
        The exit status; None if Hydra's jobs have to run.

    Raises:
        LatentSyncError: the plan was requested and cannot be made.
    """
    is_plan = request.general.plan
    if not request.is_listed:
        before_loading()
        return None
    if not (request.is_sweep or is_plan):
        resolved(request, before_loading=before_loading)  # so that a wrong set-up is refused before anything is stored
        return None
    stamp = fingerprint(request)
    known = _known_plan(request)
    if known.get("fingerprint") == stamp:
        cells = [PlannedCell.read(cell) for cell in known["cells"]]
        is_reported = known.get("reported") and _report_is_fresh(request, cells) and _are_noted(request, cells)
        if (is_plan or is_reported) and not _missing(cells, request.store):
            below = [] if is_plan else _below_gate(request)
            for line in below:
                show(line)
            return _nothing_to_do(request, cells, is_plan) or (BELOW_GATE if below else 0)
    if is_plan:
        return _print_plan(request)
    cells = resolved(request, before_loading=before_loading)
    write_json(
        request.sweep_dir / PLAN_FILE,
        {"fingerprint": stamp, "reported": False, "cells": [asdict(cell) for cell in cells]},
    )
    if _missing(cells, request.store):
        return None
    from latentsync.lab.sweeps.sweep import note_cached

    with complaints() as left_out:
        below = note_cached(request.config, cells)
    if not left_out:
        note_reported(request)
    return _nothing_to_do(request, cells, is_plan) or (BELOW_GATE if below else 0)


def note_reported(request: SweepRequest) -> None:
    """Notes that the table and figures of a sweep now cover its whole plan, unless another command planned anew."""
    known = _known_plan(request)
    own = [cell_overrides(cell) for cell in request.cells]
    if request.is_sweep and known and [cell["overrides"] for cell in known["cells"]] == own:
        write_json(request.sweep_dir / PLAN_FILE, {**known, "reported": True})


def _known_plan(request: SweepRequest) -> dict:
    """The content of plan.json; empty if there is none, or a damaged one, which the next plan replaces.

    Raises:
        OSError: it cannot be read now.
    """
    return find_json(request.sweep_dir / PLAN_FILE, plan_fault) or {}


def _are_noted(request: SweepRequest, cells: list[PlannedCell]) -> bool:
    """Whether each cell has its note, with the plan's records and labels."""
    sweep_dir = request.sweep_dir
    return all(cell.is_noted(find_json(note_path(sweep_dir, cell.overrides))) for cell in cells)


def _missing(cells: list[PlannedCell], store: RecordStore) -> list[tuple[PlannedCell, str | None]]:
    """(cell, id) for each record that does not exist yet; (cell, None) for each cell with a pair without a plan."""
    missing = [(cell, None) for cell in cells if not cell.records or cell.reason is not None]
    planned = [(cell, i) for cell in cells for i in cell.records.values()]
    index = RecordIndex(store)
    index.look(i for _, i in planned)
    return missing + [(cell, i) for cell, i in planned if not index.holds(i) and not _is_whole(store, i)]


def _is_whole(store: RecordStore, record_id: str) -> bool:
    """Whether a record exists and can be read now. Of one that cannot, its pair's own attempt reports why."""
    try:
        return store.find(record_id) is not None
    except (OSError, NewerVersionError):
        return False


def _report_is_fresh(request: SweepRequest, cells: list[PlannedCell]) -> bool:
    """Whether the table is newer than all metrics, and no record is waiting to be published."""
    tracker, table = request.runs[0].tracker, request.sweep_dir / "table.csv"
    if any(map(tracker.is_remote, tracker.names)) or agents_run() is not None:
        return False
    root = str(request.store.root)
    metrics = [os.path.join(root, i, METRICS_FILE) for cell in cells for i in cell.records.values()]
    try:
        return table.stat().st_mtime_ns >= max(os.stat(path).st_mtime_ns for path in metrics)
    except OSError:
        return False


def _below_gate(request: SweepRequest) -> list[str]:
    """A line for each record of the sweep that misses a bound of its gate."""
    if not gate_in(request.sweep_dir):
        return []
    return below_gate(collect_wide(request.general.runs_dir, request.general.name))


def _nothing_to_do(request: SweepRequest, cells: list[PlannedCell], is_plan: bool) -> int:
    number = len({i for cell in cells for i in cell.records.values()})
    show(f"nothing to do: {len(cells)} cells, all {number} records exist")
    if not is_plan:
        show(f"their table, figure and videos: {request.sweep_dir}")
    return 0


def resolved(
    request: SweepRequest, work: dict[str, Work] | None = None, before_loading: Callable[[], None] = _silence
) -> list[PlannedCell]:
    """Every cell with the ids of its records. This loads the networks and hashes the inputs.

    The workers of another launcher load the networks themselves, so that this process does so for a plan only.

    Args:
        work: the function adds the work of each record here, by id.
        before_loading: called before the networks are loaded, here or by workers.

    Raises:
        LatentSyncError: the model, the device or an option that depends on them is wrong.
    """
    overrides = map(cell_overrides, request.cells)
    is_elsewhere = request.launcher != "basic" and not request.general.plan
    pairs = cache(lambda data: pairs_of(data).pairs)
    given = [] if is_elsewhere else [pairs(run.data) for run in request.runs]  # refused before anything is loaded
    before_loading()
    if is_elsewhere:
        return [PlannedCell(each, reason="its worker plans it") for each in overrides]
    cells = zip(overrides, request.runs, given, strict=True)
    return [_resolved_cell(each, run, of_run, work) for each, run, of_run in cells]


def _resolved_cell(
    overrides: list[str], run: RunConfig, pairs: Iterable[Pair], work: dict[str, Work] | None
) -> PlannedCell:
    from latentsync.lab.cells import cell as cells
    from latentsync.lab.cells import loading

    pipeline = loading.pipeline_of(run)
    records, labels, reason = {}, {}, None
    for pair in pairs:
        try:
            parts, outcome = cells.plan(pair, run, pipeline)
            if work is not None:
                place = pipeline.settings.name, str(pipeline.device)
                work[outcome.record] = Work.of(*place, parts, cells.num_frames_of(pair, run.options.video))
            records[pair.name], labels[pair.name] = outcome.record, outcome.labels
        except (MediaError, OSError) as error:  # of this pair: the run notes it as a failure
            reason = reason or f"{pair.name}: {str(error).splitlines()[0]}"
    return PlannedCell(overrides, records, reason, labels)
