"""The evaluation of one model. Rows are measured one by one and written at once."""

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from latentsync.config import STUDENT_STEPS
from latentsync.errors import LatentSyncError, OptionError
from latentsync.lab.console import say, show
from latentsync.lab.evaluation import report
from latentsync.lab.evaluation.material import Material
from latentsync.lab.evaluation.measures import QUICK, Bench, Plan
from latentsync.lab.evaluation.rows import PARTS, measured
from latentsync.metrics.own_syncnet import has_trained_syncnet, load_own_syncnet
from latentsync.pipeline import LipsyncPipeline

SYNCNET_SEED = 0  # seed of a SyncNet without weights


def parts_of(names: Iterable[str]) -> list[str]:
    """The named parts in the order in which they are measured.

    Raises:
        OptionError: a name is unknown, or there is no name.
    """
    names = list(names)
    if (unknown := sorted(set(names) - set(PARTS))) or not names:
        raise OptionError(f"--rows names {', '.join(unknown) or 'nothing'}; choose some of {', '.join(PARTS)}")
    return [part for part in PARTS if part in names]


def bench_of(model: str, folder: Path, quick: bool = False, workers: int = 1) -> Bench:
    """A model with its SyncNet and the held-out clips. A student makes its four steps in place of 20.

    Args:
        model: a shipped model by name, or a model's folder.
        folder: the folder of the clips.
        quick: whether to use one or two cases a row, which checks that it runs, not how good the model is.
        workers: number of processes that render clips.

    Raises:
        OptionError: workers is below 1.
        WeightsError: the model is missing or damaged.
    """
    if workers < 1:
        raise OptionError(f"--workers is {workers}; it must be at least 1")
    plan = QUICK if quick else Plan()
    pipe = LipsyncPipeline.from_pretrained(model)
    if pipe.unet.guidance_limit is not None:  # a student
        plan = replace(plan, **{name: min(getattr(plan, name), STUDENT_STEPS) for name in ("steps", "guidance_steps")})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SYNCNET_SEED)
        syncnet, _ = load_own_syncnet(model)
    material = Material(folder, plan.cases, plan.seconds, plan.real_cases, workers)
    return Bench(pipe, syncnet, has_trained_syncnet(model), material, plan)


def evaluate(
    model: str = "mini",
    output: Path | None = None,
    parts: Iterable[str] | None = None,
    quick: bool = False,
    workers: int = 1,
) -> int:
    """Measures a model and writes evaluation.json and evaluation.md after each part.

    Rows that an earlier call measured on the same weights and clips are kept.

    Args:
        model, quick, workers: as for `bench_of`.
        output: a folder; None: runs/evaluation/MODEL, or MODEL-quick if `quick` is set.
        parts: names of `rows.PARTS`; None: all.

    Returns:
        How many parts could not be measured; their rows say why.

    Raises:
        OptionError, WeightsError: as for `parts_of` and `bench_of`.
    """
    parts = parts_of(PARTS if parts is None else parts)
    folder = output or Path("runs/evaluation") / (Path(model).name + "-quick" * quick)
    folder.mkdir(parents=True, exist_ok=True)
    bench = bench_of(model, folder, quick, workers)
    rows = {part: [] for part in PARTS}
    for row in report.earlier_rows(folder, report.identity(bench)):
        rows[row["part"]].append(row)
    failed, table = 0, ""
    for part in parts:
        start = time.perf_counter()
        try:
            new = measured(part, bench)
        except LatentSyncError as error:
            new, failed = [report.not_measured(part, str(error))], failed + 1
        rows[part] = [report.entry(row, time.perf_counter() - start) for row in new]
        table = report.write(folder, bench, [row for part_rows in rows.values() for row in part_rows])
        say(f"{part}: {time.perf_counter() - start:.0f} s")
    show(f"\n{table}\n{folder / report.JSON_FILE} and {folder / report.TABLE_FILE} have all values")
    return failed
