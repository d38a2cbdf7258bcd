"""One cell, run on its pairs: existing records are reused; the others are generated, measured and stored.

A failure is a result too: it is noted with its stage and reason, and the other pairs go on. The next run skips it,
unless it runs with retry=failed, or the machine was to blame (see `cells.passing`).
"""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from latentsync import media
from latentsync.config import Options, VideoOptions
from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import MediaError, OptionError, sentence_of
from latentsync.files import write_json
from latentsync.generation.references import GAP_FRAMES, answer_shift, reference_order
from latentsync.generation.results import LipsyncOutput
from latentsync.generation.stage_cache import input_sha256
from latentsync.generation.timing import num_output_frames, timing_of
from latentsync.generation.write import Target
from latentsync.lab.cells.loading import pipeline_of
from latentsync.lab.cells.outcome import Outcome
from latentsync.lab.cells.passing import may_pass
from latentsync.lab.cells.steady import steady_inputs
from latentsync.lab.console import PairBar, complain
from latentsync.lab.measuring.result import Result, is_own_voice, labelled, measured, own_sound
from latentsync.lab.options.inputs import require_usable, unusable_first
from latentsync.lab.options.pairs import Pair
from latentsync.lab.options.schema import RunConfig
from latentsync.lab.records.archive import back_from_archive
from latentsync.lab.records.archived import is_archived
from latentsync.lab.records.columns import notes_of
from latentsync.lab.records.content import content, labels_of
from latentsync.lab.records.identity import identity, record_id
from latentsync.lab.records.store import (
    CURVES_FILE,
    MASK_FILE,
    METRICS_FILE,
    PROVEN,
    RECORD_FILE,
    RESULT_FILE,
    Record,
    RecordStore,
)
from latentsync.media.departures import reading_notes
from latentsync.metrics.evaluate import Evaluation
from latentsync.pipeline import LipsyncPipeline
from latentsync.presets import Preset, resolve_guidance
from latentsync.proof import proof_of

OnWhole = Callable[[Record, LipsyncOutput], None]  # called with each new record, and what it was made from


def ignore(record: Record, output: LipsyncOutput) -> None:
    """Does nothing with a new record."""


def options_for(pair: Pair, config: RunConfig) -> Options:
    """The options of one pair. Open ones are set here: the guidance comes from the preset of the pair's gender, and the
    reference is from elsewhere in the clip if the voice is the clip's own and the clip is long enough. A face that the
    pair's list gives, and the pair's sound track, win over the configuration's."""
    options = config.options
    video = options.video if pair.face is None else replace(options.video, face=pair.face)
    video = replace(video, voice_track=_track(pair, video))
    if video.reference is None:
        hashes = input_sha256(pair.clip), input_sha256(pair.voice)
        shows_it = _shows_the_answer(pair, *hashes, video.voice_track)
        video = replace(video, reference="elsewhere" if shows_it else "same")
    return replace(options, sampler=resolve_guidance(options.sampler, config.preset, pair.gender), video=video)


def _track(pair: Pair, video: VideoOptions) -> int | None:
    """The sound track of a pair's voice: the pair's own, or else the configuration's."""
    return video.voice_track if pair.voice_track is None else pair.voice_track


@lru_cache(maxsize=1024)
def _shows_the_answer(pair: Pair, clip_sha256: str, voice_sha256: str, track: int | None) -> bool:
    """Whether the reference frames would already show the lips that fit the voice, and the clip has other frames far
    enough away. The hashes distinguish files of the same name."""
    try:
        num_frames = media.probe(pair.clip, media.VIDEO_RATE_HZ).num_frames
        if num_frames < 2 * GAP_FRAMES:
            return False
        voice = media.read_sound(pair.voice, SOUND_RATE_HZ, track)
        if not is_own_voice(own_sound(pair.clip), voice):
            return False
        shown = range(min(num_frames, num_output_frames(len(voice))))
        reference_order(shown, np.ones(num_frames, bool), "elsewhere", shift=answer_shift(pair.clip, voice))
    except (MediaError, OptionError):  # the pair's own run will report it; no frame is far enough away
        return False
    return True


def plan(pair: Pair, config: RunConfig, pipeline: LipsyncPipeline) -> tuple[dict, Outcome]:
    """The identity of a pair's record, and the pair's outcome: "cached" if the record exists already."""
    resolved = pipeline.resolve(options_for(pair, config))
    parts = identity(pair, pipeline, resolved)
    notes = reading_notes(pair.clip, pair.voice, resolved.video.voice_track)
    outcome = Outcome(
        pair.name,
        pair.gender,
        resolved.sampler.guidance_scale,
        "cached",
        record_id(parts),
        notes=notes,
        labels=labels_of(pair, config),
        num_inference_steps=resolved.sampler.num_inference_steps,
    )
    return parts, outcome


@lru_cache(maxsize=1024)
def num_frames_of(pair: Pair, video: VideoOptions) -> int:
    """How many frames of the video of a pair will get a new mouth.

    Raises:
        MediaError: the voice, or the clip where its length or rate counts, cannot be read.
    """
    num_samples = len(media.read_sound(pair.voice, SOUND_RATE_HZ, _track(pair, video)))
    if video.rate_hz is not None and video.length in ("sound", "reference"):
        return num_output_frames(num_samples, video.length)
    return len(timing_of(pair.clip, num_samples, video).order)


def run_cell(
    config: RunConfig,
    pairs: tuple[Pair, ...],
    report: Callable[[Outcome], None],
    earlier: Iterable[Outcome] = (),
    wait: bool = True,
    others: Sequence[RunConfig] = (),
    on_whole: OnWhole = ignore,
) -> list[Outcome]:
    """Makes the missing records of one cell, and calls `report` with each outcome.

    Args:
        earlier: failures to skip as long as neither the record's id nor the runtime options change.
        wait: whether to wait for records that another process is making, so that every record exists at the end; else
            their status is "taken".
        others: other cells of the same sweep. Up to `runtime.batch_cells` - 1 of those that differ from this cell only
            in seed and guidance are made together with it, if they are missing and no other process is making them.
        on_whole: called with each record that is made, when its files are whole and just before they take their place.
            So whatever it keeps beside the record is there when the record is, even if the process is killed. An error
            that it raises is printed, and costs no record.
    """
    pipeline, store = pipeline_of(config), RecordStore(config.runs_dir)
    known = {failure.record: failure for failure in earlier if failure.runtime == _beside_the_id(config.options)}
    kin = [
        other for other in others if other != config and _but_seed_and_guidance(other) == _but_seed_and_guidance(config)
    ]
    outcomes = {}
    for is_last in (False, True):  # first the records that no other process is making
        for pair in unusable_first(pairs, config.options.video.voice_track):
            if pair in outcomes:
                continue
            wait_now = wait and is_last

            def make(bar: PairBar, pair: Pair = pair, wait_now: bool = wait_now) -> Outcome:
                return _make_record(pair, config, pipeline, store, known, wait_now, bar, kin, on_whole)

            outcome = attempt(pair, config, make)
            if outcome.status != "taken" or is_last:
                report(outcome)
                outcomes[pair] = outcome
    return [outcomes[pair] for pair in pairs]


def _beside_the_id(options: Options) -> dict:
    """The options that no id covers, but that may decide whether a record can be made."""
    return {**asdict(options.runtime), "min_face_share": options.video.min_face_share}


def _but_seed_and_guidance(config: RunConfig) -> RunConfig:
    return replace(config, preset=Preset(), options=config.options.but_seed_and_guidance())


def _beside_seed_and_guidance(parts: dict) -> dict:
    """The resolved options that an id covers. Some differ only because they are not used without guidance."""
    return {name: value for name, value in parts["options"].items() if name not in ("seed", "guidance_scale")}


def attempt(pair: Pair, config: RunConfig, make: Callable[[PairBar], Outcome]) -> Outcome:
    """Calls `make` with a progress bar. An error becomes a failed outcome, so that the other pairs still finish."""
    scale = resolve_guidance(config.options.sampler, config.preset, pair.gender).guidance_scale
    runtime = _beside_the_id(config.options)
    failed = Outcome(pair.name, pair.gender, scale, "failed", runtime=runtime, labels=labels_of(pair, config))
    with PairBar(pair.name) as bar:
        try:
            return make(bar)
        except Exception as error:  # a defect must not stop the following pairs; it is noted with its trace
            passes = may_pass(error, (pair.clip, pair.voice))
            failed = replace(failed, record=bar.record, stage=bar.stage, passes=passes)
            if (sentence := sentence_of(error)) is not None:
                return replace(failed, reason=sentence)
            reason, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
            return replace(failed, reason=reason, trace=trace)


def _make_record(
    pair: Pair,
    config: RunConfig,
    pipeline: LipsyncPipeline,
    store: RecordStore,
    known: dict[str | None, Outcome],
    wait: bool,
    bar: PairBar,
    kin: Sequence[RunConfig],
    on_whole: OnWhole,
) -> Outcome:
    parts, outcome = plan(pair, config, pipeline)
    bar.record = outcome.record
    if (record := store.find(outcome.record)) is not None:
        return _cached(outcome, record, config)
    if outcome.record in known:
        return replace(known[outcome.record], pair=pair.name, status="skipped", labels=outcome.labels)
    require_usable(pair, config.options.video.voice_track)
    start = time.perf_counter()
    with store.claim(outcome.record, wait) as is_ours:
        if not is_ours:
            return replace(outcome, status="taken")
        if (record := store.find(outcome.record)) is not None:  # another process has made it meanwhile
            return _cached(outcome, record, config)
        if (record := back_from_archive(store, outcome.record)) is not None:
            return _cached(outcome, record, config)
        with ExitStack() as claims:
            cells = {outcome.record: (config, parts)}
            for other in kin:
                if len(cells) == config.options.runtime.batch_cells:
                    break
                other_parts, its_outcome = plan(pair, other, pipeline)
                is_open = (
                    its_outcome.record not in cells
                    and _beside_seed_and_guidance(other_parts) == _beside_seed_and_guidance(parts)
                    and its_outcome.record not in known
                    and store.lacks(its_outcome.record)
                    and not is_archived(config.runs_dir, its_outcome.record)
                )
                if is_open and claims.enter_context(store.claim(its_outcome.record, wait=False)):
                    cells[its_outcome.record] = other, other_parts
            folders = [claims.enter_context(store.new(name)) for name in cells]
            targets = [Target(folder / RESULT_FILE, folder / MASK_FILE) for folder in folders]
            contents: list[dict] = []
            for folder, (record_content, evaluation, output) in zip(
                folders, produce_together(pair, list(cells.values()), pipeline, targets, bar), strict=True
            ):
                bar.say("store")
                write_json(folder / METRICS_FILE, evaluation.entries)
                write_json(folder / CURVES_FILE, evaluation.curves)
                proof = proof_of(folder / name for name in PROVEN)
                write_json(folder / RECORD_FILE, {**record_content, "files": proof})
                _call(on_whole, Record(folder), output)
                contents.append(record_content)
    seconds = time.perf_counter() - start
    return replace(outcome, status="done", seconds=seconds, notes=notes_of(contents[0]))


def _cached(outcome: Outcome, record: Record, config: RunConfig) -> Outcome:
    """The outcome of a record that exists. A note says if it was made with another consent, which no id covers."""
    notes, consent = notes_of(record.content), config.data.consent
    if consent is not None and record.own_content.get("consent") != consent:
        notes += (f"it keeps the consent that it was made with, {record.own_content.get('consent') or 'none'}",)
    return replace(outcome, notes=notes)


def _call(on_whole: OnWhole, record: Record, output: LipsyncOutput) -> None:
    try:
        on_whole(record, output)
    except Exception as error:  # what is kept beside a record must not cost the finished record
        complain(f"{record.id}: what is kept beside the record could not be made ({error!r}); the record is complete")


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
        The content of a record or sidecar, and the metrics with their curves.
    """
    made = next(produce_together(pair, [(config, parts)], pipeline, [Target(video_path, mask_path)], bar))
    return made[:2]


def produce_together(
    pair: Pair,
    cells: Sequence[tuple[RunConfig, dict]],
    pipeline: LipsyncPipeline,
    targets: Sequence[Target],
    bar: PairBar,
) -> Iterator[tuple[dict, Evaluation, LipsyncOutput]]:
    """Generates a pair for several cells in one batch, then measures one result after the other.

    Args:
        cells: configurations that differ only in seed and guidance, each with the identity of its record.
        targets: for each cell, the files of the result and of the painted frames.

    Yields:
        For each cell, what `produce` returns, and the pipeline's output.

    Raises:
        ChangedInputError: the clip or the voice changed meanwhile.
    """
    options = [options_for(pair, config) for config, _ in cells]
    with steady_inputs(pair, cells[0][1], pipeline.cache) as require_steady:
        consent = cells[0][0].data.consent
        outputs = pipeline.run_together(pair.clip, pair.voice, targets, options, bar.on_progress, consent=consent)
        for output, (config, parts) in zip(outputs, cells, strict=True):
            bar.say("measure")
            evaluation = _measured(pair, config, pipeline, output)
            record = content(pair, config, pipeline, output, parts) | ({"together": len(cells)} if cells[1:] else {})
            require_steady()
            yield record, evaluation, output


def _measured(pair: Pair, config: RunConfig, pipeline: LipsyncPipeline, output: LipsyncOutput) -> Evaluation:
    """The wanted metrics of a result. The time that this takes is added to the output's timings."""
    start = time.perf_counter()
    try:
        result = Result.of_output(output, pair.clip, pair.voice)
        evaluation = measured(result, config.metrics, pipeline.detector, stage_cache=pipeline.cache)
        evaluation.entries = labelled(evaluation.entries, pipeline.settings.trained)
    except Exception as error:  # a failed measure must not cost the finished video
        lost = {"value": None, "unit": "", "direction": "none", "protocol": "", "reason": repr(error)}
        evaluation = Evaluation({"measuring": lost})
    output.timings["measure"] = time.perf_counter() - start
    return evaluation
