"""Measures how good the embedded model is, on people, sentences and voices that no training saw.

    latentsync evaluate [--model mini] [--output FOLDER] [--rows vae,sync,lip] [--quick]

FOLDER/evaluation.json  evaluation.md  evaluation.parquet  clips-XXXXXXXX/

Rows are written as they come; rows that an earlier run measured on the same weights and clips are kept. docs/mini.md
says what each row is.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

from latentsync.errors import LatentSyncError, OptionError
from latentsync.lab.console import say
from latentsync.lab.evaluation import report
from latentsync.lab.evaluation.material import Material, default_workers
from latentsync.lab.evaluation.measures import QUICK, Bench, Plan
from latentsync.lab.evaluation.rows import PARTS, measured
from latentsync.metrics.own_syncnet import has_trained_syncnet, load_own_syncnet
from latentsync.pipeline import LipsyncPipeline

SYNCNET_SEED = 0  # of a SyncNet that has no weights yet


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="latentsync evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini", help="a shipped model by name, or a model's folder")
    parser.add_argument("--output", type=Path, help="default runs/evaluation/MODEL, with -quick where it is quick")
    parser.add_argument("--rows", default=",".join(PARTS), help=f"some of {','.join(PARTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="a case or two a row: shows that it runs, not how good")
    parser.add_argument("--workers", type=int, default=default_workers(), help="processes that render clips")
    return parser.parse_args(arguments)


def parts_of(told: str) -> list[str]:
    """The asked parts in the order in which they are measured.

    Raises:
        OptionError: one is unknown.
    """
    asked = [part.strip() for part in told.split(",") if part.strip()]
    if (unknown := sorted(set(asked) - set(PARTS))) or not asked:
        raise OptionError(f"--rows names {', '.join(unknown) or 'nothing'}; choose some of {', '.join(PARTS)}")
    return [part for part in PARTS if part in asked]


def bench_of(told: argparse.Namespace, folder: Path) -> Bench:
    """The model with its SyncNet and the held-out clips.

    Raises:
        OptionError, WeightsError: a count is out of range, or the model is not to be had.
    """
    if told.workers < 1:
        raise OptionError(f"--workers is {told.workers}; it must be at least 1")
    plan = QUICK if told.quick else Plan()
    pipe = LipsyncPipeline.from_pretrained(told.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SYNCNET_SEED)
        syncnet, _ = load_own_syncnet(told.model)
    material = Material(folder, plan.cases, plan.seconds, plan.real_cases, told.workers)
    return Bench(pipe, syncnet, has_trained_syncnet(told.model), material, plan)


def evaluate(told: argparse.Namespace) -> int:
    """Measures the asked parts and writes after each; returns how many could not be measured."""
    parts = parts_of(told.rows)
    folder = told.output or Path("runs/evaluation") / (Path(told.model).name + "-quick" * told.quick)
    folder.mkdir(parents=True, exist_ok=True)
    bench = bench_of(told, folder)
    rows = {part: [] for part in PARTS}
    for row in report.earlier_rows(folder, report.identity(bench)):
        rows[row["part"]].append(row)
    failed, table = 0, ""
    for part in parts:
        start = time.perf_counter()
        try:
            found = measured(part, bench)
        except LatentSyncError as error:
            found, failed = [report.not_measured(part, str(error))], failed + 1
        rows[part] = [report.entry(row, time.perf_counter() - start) for row in found]
        table = report.write(folder, bench, [row for part_rows in rows.values() for row in part_rows])
        say(f"{part}: {time.perf_counter() - start:.0f} s")
    say(f"\n{table}\n{folder / report.JSON_FILE} and {folder / report.TABLE_FILE} hold it all")
    return failed


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 0 if every asked row was measured, whatever its value."""
    try:
        return 1 if evaluate(parse(arguments)) else 0
    except (LatentSyncError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
