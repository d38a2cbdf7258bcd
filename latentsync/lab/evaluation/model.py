"""The evaluation of a model, or of several side by side. Rows are measured one by one and written at once."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import torch

from latentsync.config import Options
from latentsync.errors import LatentSyncError, OptionError
from latentsync.lab.console import say, show
from latentsync.lab.evaluation import comparison, report
from latentsync.lab.evaluation.faces import PART as FACES
from latentsync.lab.evaluation.kept import CASES_FILE, KeptCases
from latentsync.lab.evaluation.material import Material
from latentsync.lab.evaluation.measures import GUIDANCE_SCALE, QUICK, Bench, Plan
from latentsync.lab.evaluation.parts import PARTS, measured, parts_of
from latentsync.lab.evaluation.recordings import Recordings
from latentsync.lab.evaluation.rows import not_measured
from latentsync.metrics.own_syncnet import has_trained_syncnet, load_own_syncnet
from latentsync.pipeline import LipsyncPipeline

SYNCNET_SEED = 0  # seed of a SyncNet without weights
EVALUATIONS = Path("runs/evaluation")
SHEETS = "sheets"  # of real people; they stay in the folder of the evaluation
PX_PER_CROP_PX = 2  # of painted clips, so that no crop is enlarged


def recordings_of(
    real: Path | None, in_sync: Sequence[str] | None = None, quick: bool = False, parts: Sequence[str] | None = None
) -> Recordings | None:
    """The recordings of real people, which several models may share; None if no folder is given.

    Args:
        real: a folder of videos.
        in_sync: those that speak in sync with their own sound, by name; None: the embedded model's SyncNet decides.
        parts: that will be measured; None: all that can be.

    Raises:
        OptionError: there is no folder, but clips are named, or a part needs it.
    """
    if real is None and in_sync is not None:
        raise OptionError("--in-sync names recordings of real people; give their folder with --real")
    if real is None and FACES in (parts or ()):
        raise OptionError(f"the row {FACES} needs recordings of real people; give their folder with --real")
    return None if real is None else Recordings(real, in_sync, (QUICK if quick else Plan()).real_frames)


def bench_of(
    model: str,
    folder: Path,
    quick: bool = False,
    workers: int = 1,
    recordings: Recordings | None = None,
    sheets: Path | None = None,
) -> Bench:
    """A model with its SyncNet and the held-out clips.

    Args:
        model: a shipped model by name, or a model's folder.
        folder: the folder of the clips.
        quick: whether to use one or two cases a row, which checks that it runs, not how good the model is.
        workers: number of processes that render clips.
        recordings: of real people; None: there are none.
        sheets: the folder for pictures of them; None: in `folder`.

    Raises:
        OptionError: workers is below 1.
        WeightsError: the model is missing or damaged.
    """
    if workers < 1:
        raise OptionError(f"--workers is {workers}; it must be at least 1")
    plan = QUICK if quick else Plan()
    pipe = LipsyncPipeline.from_pretrained(model)
    own_steps = pipe.resolve(Options.of(guidance_scale=GUIDANCE_SCALE)).sampler.num_inference_steps
    plan = replace(plan, steps=plan.steps or own_steps, guidance_steps=min(plan.guidance_steps, own_steps))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SYNCNET_SEED)
        syncnet, _ = load_own_syncnet(model)
    size_px = PX_PER_CROP_PX * pipe.settings.size_px
    material = Material(folder, plan.cases, plan.seconds, plan.real_cases, workers, size_px)
    return Bench(pipe, syncnet, has_trained_syncnet(model), material, plan, recordings, sheets or folder / SHEETS)


def evaluate(
    model: str = "mini",
    output: Path | None = None,
    parts: Iterable[str] | None = None,
    quick: bool = False,
    workers: int = 1,
    real: Path | None = None,
    in_sync: Sequence[str] | None = None,
) -> int:
    """Measures a model and writes evaluation.json, evaluation.md and evaluation.parquet after each part.

    Rows that an earlier call measured on the same weights and clips are kept, and so are the cases of rows that it
    did not finish.

    Args:
        model, quick, workers: as for `bench_of`.
        real, in_sync: as for `recordings_of`.
        output: a folder; None: runs/evaluation/MODEL, or MODEL-quick if `quick` is set.
        parts: names of `parts.PARTS`, which are measured in any case. None: all that are not measured yet; `faces` only
            with `real`.

    Returns:
        How many parts could not be measured; their rows say why.

    Raises:
        OptionError, WeightsError: as for `parts_of`, `recordings_of` and `bench_of`.
    """
    wanted = None if parts is None else parts_of(parts)
    folder = output or EVALUATIONS / (Path(model).name + "-quick" * quick)
    recordings = recordings_of(real, in_sync, quick, wanted)
    content, failed = _evaluated(model, folder, folder, wanted, quick, workers, recordings)
    show(f"\n{report.text(content)}\n{folder / report.JSON_FILE} and {folder / report.TABLE_FILE} have all values")
    return failed


def evaluate_models(
    models: Sequence[str],
    output: Path | None = None,
    parts: Iterable[str] | None = None,
    quick: bool = False,
    workers: int = 1,
    real: Path | None = None,
    in_sync: Sequence[str] | None = None,
) -> int:
    """Measures several models on the same clips as `evaluate`, and writes comparison.json, .md and .parquet.

    Args:
        models: two or more, by name or folder. The first is the one that the others are compared with.
        output: a folder, with a folder in it for each model. None: runs/evaluation, and runs/evaluation/A+B for the
            comparison.
        parts, quick, workers, real, in_sync: as for `evaluate`.

    Returns:
        How many parts could not be measured.

    Raises:
        OptionError: there is one model only, or two have one name; and as for `evaluate`.
    """
    labels = [Path(model).name for model in models]
    if len(models) < 2 or len(set(labels)) < len(labels):
        raise OptionError(
            f"--models names {', '.join(models) or 'nothing'}; give two or more models whose names or folders differ"
        )
    wanted = None if parts is None else parts_of(parts)
    recordings, ending = recordings_of(real, in_sync, quick, wanted), "-quick" * quick
    root, target = (output, output) if output else (EVALUATIONS, EVALUATIONS / ("+".join(labels) + ending))
    contents, failed = {}, 0
    for label, model in zip(labels, models, strict=True):
        say(f"{label}:")
        folders = root / (label + ending), root / (labels[0] + ending)  # clips of one size are rendered once
        contents[label], failures = _evaluated(model, *folders, wanted, quick, workers, recordings)
        failed += failures
    show(f"\n{comparison.write(target, contents)}\n{target / comparison.TABLE_FILE} has all values side by side")
    return failed


def _evaluated(
    model: str,
    folder: Path,
    clips: Path,
    wanted: Sequence[str] | None,
    quick: bool,
    workers: int,
    recordings: Recordings | None,
) -> tuple[dict, int]:
    """Measures the wanted parts of one model; gives the content of its evaluation.json, and how many parts failed."""
    folder.mkdir(parents=True, exist_ok=True)
    bench = bench_of(model, clips, quick, workers, recordings, folder / SHEETS)
    identity = report.identity(bench)
    bench.kept = KeptCases(folder / CASES_FILE, identity)
    earlier = report.earlier(folder, identity)
    facts = earlier.get("recordings")
    rows: dict[str, list[dict]] = {part: [] for part in PARTS}
    for row in earlier.get("rows", []):
        rows[row["part"]].append(row)
    if recordings is not None and (facts or {}).get("digest") != recordings.digest:
        rows[FACES], facts = [], None
    content, failed = report.content_of(bench, chain(*rows.values()), facts), 0
    for part in wanted or _missing(rows, recordings is not None):
        bench.kept.anew = any(row["n"] for row in rows[part])
        start = time.perf_counter()
        try:
            new = measured(part, bench)
        except LatentSyncError as error:
            new, failed = [not_measured(part, part, str(error))], failed + 1
        else:
            facts = recordings.facts(bench.failures) if part == FACES and recordings is not None else facts
        rows[part] = [report.entry(row, time.perf_counter() - start) for row in new]
        content = report.content_of(bench, chain(*rows.values()), facts)
        report.write(folder, content)
        say(f"{part}: {time.perf_counter() - start:.0f} s")
    return content, failed


def _missing(rows: Mapping[str, Sequence[dict]], has_real: bool) -> list[str]:
    """The parts without a measured row."""
    parts = [part for part in PARTS if part != FACES or has_real]
    kept = [part for part in parts if any(row["n"] for row in rows[part])]
    if kept:
        say(f"kept from before: {', '.join(kept)}; `--rows` measures them again")
    return [part for part in parts if part not in kept]
