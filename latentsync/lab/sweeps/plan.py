"""What a sweep will do, told before any of its jobs starts: which records are there, which are not, and what they cost.

The cells are expanded by Hydra's own parser and sweeper. The ids of their records are kept in the sweep's plan.json,
with a fingerprint of all that they follow from; while it holds, a repeated sweep is answered without loading a network.

runs/sweeps/<name>/plan.json
"""

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from latentsync.errors import LatentSyncError
from latentsync.files import read_json, write_json
from latentsync.lab.options.compose import BASIC_LAUNCHER, CellConfigs, composing
from latentsync.lab.records.store import METRICS_FILE, RecordStore
from latentsync.lab.records.sweeps import failures_of, sweep_cells
from latentsync.lab.sweeps.costs import Work, costs, estimate
from latentsync.lab.sweeps.fingerprint import fingerprint
from latentsync.lab.sweeps.request import PLAN_FILE, RETRY_HINT, Asked, PlannedCell, cell_overrides

if TYPE_CHECKING:
    from latentsync.lab.options.schema import RunConfig


def _tell_plan(asked: Asked) -> int:
    """Prints each record of a sweep with its state, and the cost of those to be made."""
    work: dict[str, Work] = {}
    cells, store = resolved(asked, work), asked.store
    failed = {o["record"]: o for o in failures_of(sweep_cells(asked.sweep_dir)) if o["record"] is not None}
    missing = dict.fromkeys(i for _, i in _missing(cells, store) if i is not None)
    left = [i for i in missing if i in failed and asked.config.retry != "failed"]
    for cell in cells:
        label = ", ".join(cell.overrides) or "(as configured)"
        if cell.reason is not None:
            print(f"unknown   {label}: {cell.reason}")
        for pair, i in cell.records.items():
            state = "cached" if i not in missing else "failed" if i in left else "to make"
            print(f"{state:<9} {i}  {pair:<28} {label}")
    unknown = sum(cell.reason is not None for cell in cells)
    number, to_make = len({i for cell in cells for i in cell.records.values()}), [i for i in missing if i not in left]
    counts = f"{number - len(missing)} found, {len(to_make)} to make, {len(left)} failed in earlier runs"
    counts += (f" ({RETRY_HINT})" if left else "") + (f"; {unknown} cells unknown" if unknown else "")
    print(f"{len(cells)} cells, {number} records: {counts}")
    if to_make:
        print(estimate([work[i] for i in to_make], costs(store)))
    return 0


def answer(asked: Asked) -> int | None:
    """What needs no job: the plan if it was asked for, or that nothing is left to do.

    Returns:
        The exit status; None where Hydra's jobs have to run.

    Raises:
        LatentSyncError: the plan was asked for and cannot be made.
    """
    is_plan = bool(asked.config.plan)
    if not (asked.is_sweep or is_plan):
        return None
    stamp = fingerprint(asked)
    known = read_json(asked.sweep_dir / PLAN_FILE) or {}
    if known.get("fingerprint") == stamp:
        cells = [PlannedCell(**cell) for cell in known["cells"]]
        missing = _missing(cells, asked.store)
        if not missing and (is_plan or (known.get("reported") and _report_is_fresh(asked, cells))):
            return _nothing_to_do(asked, cells, is_plan)
    if is_plan:
        return _tell_plan(asked)
    cells = resolved(asked)
    write_json(
        asked.sweep_dir / PLAN_FILE,
        {"fingerprint": stamp, "reported": False, "cells": [asdict(cell) for cell in cells]},
    )
    if _missing(cells, asked.store):
        return None
    from latentsync.lab.sweeps.sweep import note_cached

    note_cached(asked.config, cells)
    note_reported(asked)
    return _nothing_to_do(asked, cells, is_plan)


def runs_of(asked: Asked) -> list["RunConfig"]:
    """The configuration of each cell; one that cannot be read is left out, and told when it is run."""
    from latentsync.lab.options.schema import read_config

    with composing(sources=asked.sources):
        configs, found = CellConfigs(), []
        for cell in asked.cells:
            with suppress(LatentSyncError):
                found.append(read_config(configs.of(cell)))
    return found


def note_reported(asked: Asked) -> None:
    """Notes that the table and figures of a sweep have been made of all that its plan has."""
    path = asked.sweep_dir / PLAN_FILE
    if asked.is_sweep and (known := read_json(path)) is not None:
        write_json(path, {**known, "reported": True})


def _missing(cells: list[PlannedCell], store: RecordStore) -> list[tuple[PlannedCell, str | None]]:
    """Cells with the ids of their records that are not there; with None where the cell could not be planned."""
    missing = [(cell, None) for cell in cells if not cell.records]
    return missing + [(cell, i) for cell in cells for i in cell.records.values() if store.find(i) is None]


def _report_is_fresh(asked: Asked, cells: list[PlannedCell]) -> bool:
    """Whether the table is younger than all metrics, and nothing is waiting to be published."""
    tracker, table = asked.config.tracker, asked.sweep_dir / "table.csv"
    if tracker.kind != "none" and tracker.mode == "online":
        return False
    metrics = [asked.store.root / i / METRICS_FILE for cell in cells for i in cell.records.values()]
    try:
        return table.stat().st_mtime_ns >= max(path.stat().st_mtime_ns for path in metrics)
    except OSError:
        return False


def _nothing_to_do(asked: Asked, cells: list[PlannedCell], is_plan: bool) -> int:
    number = len({i for cell in cells for i in cell.records.values()})
    print(f"nothing to do: {len(cells)} cells, all {number} records are there")
    if not is_plan:
        print(f"their table, figure and videos: {asked.sweep_dir}")
    return 0


def resolved(asked: Asked, work: dict[str, Work] | None = None) -> list[PlannedCell]:
    """Every cell with the ids of its records; loads the networks, and hashes the inputs.

    Args:
        work: what each record takes, by id, is put in here.
    """
    if asked.config.hydra.launcher._target_ != BASIC_LAUNCHER:
        reason = "it is planned by the process that runs it, whose device may be another"
        return [PlannedCell(cell_overrides(cell), reason=reason) for cell in asked.cells]
    with composing(sources=asked.sources):
        configs = CellConfigs()
        return [_resolved_cell(cell, configs, work) for cell in asked.cells]


def _resolved_cell(overrides: list[str], configs: CellConfigs, work: dict[str, Work] | None) -> PlannedCell:
    from latentsync.lab.cells import cell as cells
    from latentsync.lab.cells import loading
    from latentsync.lab.options import pairs
    from latentsync.lab.options.schema import read_config

    kept = cell_overrides(overrides)
    try:
        run = read_config(configs.of(overrides))
        pipeline = loading.pipeline_of(run)
        records = {}
        for pair in pairs.pairs_of(run.data).pairs:
            parts, outcome = cells.plan(pair, run, pipeline)
            records[pair.name] = outcome.record
            if work is not None:
                place = pipeline.settings.name, str(pipeline.device)
                work[outcome.record] = Work.of(*place, parts, cells.num_frames_of(pair, run.options.video))
        return PlannedCell(kept, records)
    except LatentSyncError as error:
        return PlannedCell(kept, reason=str(error).splitlines()[0])
