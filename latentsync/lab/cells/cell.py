"""One cell on its pairs: what is done already is found, the rest is generated, measured and stored.

A failure is a result: it is kept with its stage and reason, does not stop the other pairs, and is left alone by the
next run unless that is told to try failures again.
"""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path

from latentsync import media
from latentsync.config import Options, Preset, VideoOptions, resolve_guidance
from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import LatentSyncError, MediaError
from latentsync.files import write_json
from latentsync.generation.references import GAP_FRAMES
from latentsync.generation.results import LipsyncOutput
from latentsync.generation.stage_cache import input_sha256
from latentsync.generation.windows import num_output_frames
from latentsync.lab.cells.loading import pipeline_of
from latentsync.lab.cells.outcome import Outcome
from latentsync.lab.console import PairBar
from latentsync.lab.measuring.result import Result, is_own_voice, labelled, measured, own_sound
from latentsync.lab.options.pairs import Pair
from latentsync.lab.options.schema import RunConfig
from latentsync.lab.records.content import content
from latentsync.lab.records.identity import identity
from latentsync.lab.records.store import (
    CURVES_FILE,
    MASK_FILE,
    METRICS_FILE,
    RECORD_FILE,
    RESULT_FILE,
    RecordStore,
    record_id,
)
from latentsync.metrics.evaluate import Evaluation
from latentsync.pipeline import LipsyncPipeline


def options_for(pair: Pair, config: RunConfig) -> Options:
    """The options of one pair: where none is given, the guidance of its gender's preset, and a reference from elsewhere
    if the voice is the clip's own and the clip long enough for one."""
    options = config.options
    video = options.video
    if video.reference is None:
        hashes = input_sha256(pair.clip), input_sha256(pair.voice)
        video = replace(video, reference="elsewhere" if _shows_the_answer(pair, *hashes) else "same")
    return replace(options, sampler=resolve_guidance(options.sampler, config.preset, pair.gender), video=video)


@lru_cache(maxsize=1024)
def _shows_the_answer(pair: Pair, clip_sha256: str, voice_sha256: str) -> bool:
    """Whether the frames to be filled show the very lips that the voice asks for, and others are far enough away; the
    hashes tell files of one name apart."""
    try:
        if media.probe(pair.clip, media.VIDEO_RATE_HZ).num_frames < 2 * GAP_FRAMES:
            return False
        return is_own_voice(own_sound(pair.clip), media.read_sound(pair.voice, SOUND_RATE_HZ))
    except MediaError:  # which the pair's own run will tell
        return False


def plan(pair: Pair, config: RunConfig, pipeline: LipsyncPipeline) -> tuple[dict, Outcome]:
    """What the id of a pair's record covers, and the pair's outcome if that record is there already."""
    resolved = pipeline.resolve(options_for(pair, config))
    parts = identity(pair, pipeline, resolved)
    return parts, Outcome(pair.name, pair.gender, resolved.sampler.guidance_scale, "cached", record_id(parts))


@lru_cache(maxsize=1024)
def num_frames_of(pair: Pair, video: VideoOptions) -> int:
    """How many frames the video of a pair will have, by its voice.

    Raises:
        MediaError: the voice cannot be read.
    """
    return num_output_frames(len(media.read_sound(pair.voice, SOUND_RATE_HZ)), video.length)


def run_cell(
    config: RunConfig,
    pairs: tuple[Pair, ...],
    report: Callable[[Outcome], None],
    earlier: Iterable[Outcome] = (),
    wait: bool = True,
    others: Sequence[RunConfig] = (),
) -> list[Outcome]:
    """Makes the records of one cell that are not there yet; tells `report` of each pair as it ends.

    Args:
        earlier: failures that are left alone while neither the record's id nor the runtime options have changed.
        wait: for records that another process is making, so that each is there at the end; else they are "taken".
        others: cells of the same sweep; up to `runtime.batch_cells` - 1 of those that differ in seed and guidance only
            are made along with this one, where they are missing and nobody is making them.
    """
    pipeline, store = pipeline_of(config), RecordStore(config.runs_dir)
    known = {failure.record: failure for failure in earlier if failure.runtime == asdict(config.options.runtime)}
    kin = [
        other for other in others if other != config and _but_seed_and_guidance(other) == _but_seed_and_guidance(config)
    ]
    outcomes = {}
    for is_last in (False, True):  # first what nobody is making
        for pair in pairs:
            if pair in outcomes:
                continue
            wait_now = wait and is_last

            def make(bar: PairBar, pair: Pair = pair, wait_now: bool = wait_now) -> Outcome:
                return _make_record(pair, config, pipeline, store, known, wait_now, bar, kin)

            outcome = attempt(pair, config, make)
            if outcome.status != "taken" or is_last:
                report(outcome)
                outcomes[pair] = outcome
    return [outcomes[pair] for pair in pairs]


def _but_seed_and_guidance(config: RunConfig) -> RunConfig:
    return replace(config, preset=Preset(), options=config.options.but_seed_and_guidance())


def attempt(pair: Pair, config: RunConfig, make: Callable[[PairBar], Outcome]) -> Outcome:
    """Calls `make`, which moves the bar; an error becomes a failed outcome, so that the other pairs still finish."""
    scale, runtime = options_for(pair, config).sampler.guidance_scale, asdict(config.options.runtime)
    failed = Outcome(pair.name, pair.gender, scale, "failed", runtime=runtime)
    with PairBar(pair.name) as bar:
        try:
            return make(bar)
        except LatentSyncError as error:
            return replace(failed, record=bar.record, stage=bar.stage, reason=str(error))
        except Exception as error:  # a defect must not cost the pairs that come after it; it is kept with its trace
            reason, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
            return replace(failed, record=bar.record, stage=bar.stage, reason=reason, trace=trace)


def _make_record(
    pair: Pair,
    config: RunConfig,
    pipeline: LipsyncPipeline,
    store: RecordStore,
    known: dict[str | None, Outcome],
    wait: bool,
    bar: PairBar,
    kin: Sequence[RunConfig],
) -> Outcome:
    parts, outcome = plan(pair, config, pipeline)
    bar.record = outcome.record
    if store.find(outcome.record) is not None:
        return outcome
    if outcome.record in known:
        return replace(known[outcome.record], pair=pair.name, status="skipped")
    start = time.perf_counter()
    with store.claim(outcome.record, wait) as is_ours:
        if not is_ours:
            return replace(outcome, status="taken")
        if store.find(outcome.record) is not None:  # meanwhile
            return outcome
        with ExitStack() as claims:
            cells = {outcome.record: (config, parts)}
            for other in kin:
                if len(cells) == config.options.runtime.batch_cells:
                    break
                other_parts, its_outcome = plan(pair, other, pipeline)
                is_open = (
                    its_outcome.record not in cells
                    and its_outcome.record not in known
                    and store.find(its_outcome.record) is None
                )
                if is_open and claims.enter_context(store.claim(its_outcome.record, wait=False)):
                    cells[its_outcome.record] = other, other_parts
            folders = [claims.enter_context(store.new(name)) for name in cells]
            targets = [(folder / RESULT_FILE, folder / MASK_FILE) for folder in folders]
            for folder, (record_content, evaluation) in zip(
                folders, produce_together(pair, list(cells.values()), pipeline, targets, bar), strict=True
            ):
                bar.say("store")
                write_json(folder / METRICS_FILE, evaluation.entries)
                write_json(folder / CURVES_FILE, evaluation.curves)
                write_json(folder / RECORD_FILE, record_content)
    return replace(outcome, status="done", seconds=time.perf_counter() - start)


def produce(
    pair: Pair,
    config: RunConfig,
    pipeline: LipsyncPipeline,
    video_path: Path,
    mask_path: Path,
    parts: dict,
    bar: PairBar,
) -> tuple[dict, Evaluation]:
    """Generates and measures one pair.

    Returns:
        What was run, for a record or a sidecar, and the metrics with their curves.
    """
    return next(produce_together(pair, [(config, parts)], pipeline, [(video_path, mask_path)], bar))


def produce_together(
    pair: Pair,
    cells: Sequence[tuple[RunConfig, dict]],
    pipeline: LipsyncPipeline,
    targets: Sequence[tuple[Path, Path]],
    bar: PairBar,
) -> Iterator[tuple[dict, Evaluation]]:
    """Generates a pair for several cells side by side and measures one result after the other.

    Args:
        cells: configurations that differ in seed and guidance only, and what the ids of their records cover.
        targets: of each cell, where the result and the painted frames go.

    Yields:
        For each cell as `produce` returns it.
    """
    options = [options_for(pair, config) for config, _ in cells]
    outputs = pipeline.run_together(pair.clip, pair.voice, targets, options, bar.on_progress)
    for output, (config, parts) in zip(outputs, cells, strict=True):
        bar.say("measure")
        evaluation = _measured(pair, config, pipeline, output)
        yield (
            content(pair, config, pipeline, output, parts) | ({"together": len(cells)} if cells[1:] else {}),
            evaluation,
        )


def _measured(pair: Pair, config: RunConfig, pipeline: LipsyncPipeline, output: LipsyncOutput) -> Evaluation:
    """The wanted metrics of a result; the time is put among the output's timings."""
    start = time.perf_counter()
    try:
        result = Result.of_output(output, pair.clip, pair.voice)
        evaluation = measured(result, config.metrics, pipeline.detector, stage_cache=pipeline.cache)
        evaluation.entries = labelled(evaluation.entries, pipeline.settings.trained)
    except Exception as error:  # a measure that fails must not cost the video that is finished
        lost = {"value": None, "unit": "", "direction": "none", "protocol": "", "reason": repr(error)}
        evaluation = Evaluation({"measuring": lost})
    output.timings["measure"] = time.perf_counter() - start
    return evaluation
