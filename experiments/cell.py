"""One cell on its pairs: what is done already is found, the rest is generated, measured and stored.

A failure is a result: it is kept with its stage and reason, does not stop the other pairs, and is left alone by the
next run unless that is told to try failures again.
"""

import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from experiments.devices import own_device
from experiments.identity import identity
from experiments.measuring import Made, is_own_voice, measured, own_sound
from experiments.pairs import SHIPPED_DIR, Pair, Pairing, find_pairs, read_pairs
from experiments.progress import PairBar
from experiments.record import (
    CURVES_FILE,
    MASK_FILE,
    METRICS_FILE,
    RECORD_FILE,
    RESULT_FILE,
    RecordStore,
    record_id,
    write_json,
)
from experiments.schema import DataConfig, ModelConfig, RunConfig
from latentsync import __version__, media
from latentsync.audio import RATE_HZ
from latentsync.config import Options, Preset, VideoOptions, resolve_guidance
from latentsync.device import dtype_name
from latentsync.errors import LatentSyncError, MediaError
from latentsync.metrics import Evaluation
from latentsync.metrics.definitions import Entry
from latentsync.pipeline import LipsyncPipeline, num_output_frames
from latentsync.references import GAP_FRAMES
from latentsync.results import LipsyncOutput
from latentsync.stage_cache import StageCache, input_sha256

CACHE_DIR = "cache"  # below runs_dir
PACKAGES = ("torch", "diffusers", "transformers", "av", "numpy")


@dataclass(frozen=True)
class Outcome:
    """What became of one pair in one cell.

    Attributes:
        status: "done" (now), "found" (finished earlier), "failed" (now), "left" (failed earlier, not tried again) or
            "elsewhere" (another process is making it).
        record: id; None where the pair failed before it had one.
        stage: that failed: read, align, denoise, measure or store.
        reason, trace: of a failure; the trace only where the failure was not the input's fault.
        runtime: as told, of a failure: what no id covers and may yet mend it, such as less memory on another device.
    """

    pair: str
    gender: str
    guidance_scale: float
    status: str
    record: str | None = None
    seconds: float = 0.0
    stage: str | None = None
    reason: str | None = None
    trace: str | None = None
    runtime: dict | None = None


def pairs_of(data: DataConfig) -> Pairing:
    """The pairs of the configured list or folder, or of the shipped clips; of each gender as many as wanted."""
    if data.list is not None:
        found = read_pairs(data.list, data.split)
    else:
        found = find_pairs(data.input_dir or SHIPPED_DIR, data.pairing)
    return found.first(data.max_pairs)


@lru_cache(maxsize=1)
def load_pipeline(model: ModelConfig, device: str | None, dtype: str | None, attention: str) -> LipsyncPipeline:
    """The configured model; it stays loaded for the next cell of the same process."""
    place = {"device": device, "dtype": dtype, "attention": attention}
    if model.pretrained is not None:
        return LipsyncPipeline.from_pretrained(model.pretrained, **place)
    return LipsyncPipeline.from_checkpoint(
        model.inference_ckpt_path, model.unet_config_file, vae=model.vae, whisper=model.whisper, **place
    )


def pipeline_of(config: RunConfig) -> LipsyncPipeline:
    """The model of a configuration, which keeps what cells share below its `runs_dir`."""
    runtime, max_bytes = config.options.runtime, int(config.cache.max_gb * 1e9)
    pipeline = load_pipeline(config.model, runtime.device or own_device(), runtime.dtype, config.attention.backend)
    folder = config.runs_dir / CACHE_DIR
    if max_bytes == 0:
        pipeline.cache = None
    elif pipeline.cache is None or (pipeline.cache.folder, pipeline.cache.max_bytes) != (folder, max_bytes):
        pipeline.cache = StageCache(folder, max_bytes)
    return pipeline


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
        return is_own_voice(own_sound(pair.clip), media.read_sound(pair.voice, RATE_HZ))
    except MediaError:  # which the pair's own run will tell
        return False


def plan(pair: Pair, config: RunConfig, pipeline: LipsyncPipeline) -> tuple[dict, Outcome]:
    """What the id of a pair's record covers, and the pair's outcome if that record is there already."""
    resolved = pipeline.resolve(options_for(pair, config))
    parts = identity(pair, pipeline, resolved)
    return parts, Outcome(pair.name, pair.gender, resolved.guidance_scale, "found", record_id(parts))


@lru_cache(maxsize=1024)
def num_frames_of(pair: Pair, video: VideoOptions) -> int:
    """How many frames the video of a pair will have, by its voice.

    Raises:
        MediaError: the voice cannot be read.
    """
    return num_output_frames(len(media.read_sound(pair.voice, RATE_HZ)), video.length)


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
        wait: for records that another process is making, so that each is there at the end; else they are "elsewhere".
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
            if outcome.status != "elsewhere" or is_last:
                report(outcome)
                outcomes[pair] = outcome
    return [outcomes[pair] for pair in pairs]


def _but_seed_and_guidance(config: RunConfig) -> RunConfig:
    sampler = replace(config.options.sampler, seed=0, guidance_scale=None)
    return replace(config, preset=Preset(), options=replace(config.options, sampler=sampler))


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
        return replace(known[outcome.record], pair=pair.name, status="left")
    start = time.perf_counter()
    with store.claim(outcome.record, wait) as is_ours:
        if not is_ours:
            return replace(outcome, status="elsewhere")
        if store.find(outcome.record) is not None:  # meanwhile
            return outcome
        with ExitStack() as claims:
            cells = {outcome.record: (config, parts)}
            for other in kin:
                if len(cells) == config.options.runtime.batch_cells:
                    break
                other_parts, found = plan(pair, other, pipeline)
                is_open = found.record not in cells and found.record not in known and store.find(found.record) is None
                if is_open and claims.enter_context(store.claim(found.record, wait=False)):
                    cells[found.record] = other, other_parts
            folders = [claims.enter_context(store.new(name)) for name in cells]
            targets = [(folder / RESULT_FILE, folder / MASK_FILE) for folder in folders]
            for folder, (content, found) in zip(
                folders, produce_together(pair, list(cells.values()), pipeline, targets, bar), strict=True
            ):
                bar.say("store")
                write_json(folder / METRICS_FILE, found.entries)
                write_json(folder / CURVES_FILE, found.curves)
                write_json(folder / RECORD_FILE, content)
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
        found = _measured(pair, config, pipeline, output)
        yield _content(pair, config, pipeline, output, parts) | ({"together": len(cells)} if cells[1:] else {}), found


def _measured(pair: Pair, config: RunConfig, pipeline: LipsyncPipeline, output: LipsyncOutput) -> Evaluation:
    """The wanted metrics of a result; the time is put among the output's timings."""
    start = time.perf_counter()
    try:
        made = Made.of_output(output, pair.clip, pair.voice)
        found = measured(made, config.metrics, pipeline.detector, kept=pipeline.cache)
        found.entries = labelled(found.entries, pipeline.settings.trained)
    except Exception as error:  # a measure that fails must not cost the video that is finished
        lost = {"value": None, "unit": "", "direction": "none", "protocol": "", "reason": repr(error)}
        found = Evaluation({"measuring": lost})
    output.timings["measure"] = time.perf_counter() - start
    return found


def labelled(entries: dict[str, Entry], trained: bool) -> dict[str, Entry]:
    """The entries, each with a label where the network that made the video was not trained."""
    return entries if trained else {name: {**entry, "model": "untrained"} for name, entry in entries.items()}


def _content(pair: Pair, config: RunConfig, pipeline: LipsyncPipeline, output: LipsyncOutput, parts: dict) -> dict:
    return {
        "id": record_id(parts),
        "pair": {
            "name": pair.name,
            "gender": pair.gender,
            "group": pair.group,
            "split": pair.split,
            "clip": _input_facts(pair.clip),
            "voice": _input_facts(pair.voice),
        },
        "model": pipeline.describe(),
        "preset": {
            "name": config.preset.name,
            "guidance_from": "preset" if config.options.sampler.guidance_scale is None else "given",
        },
        "options": asdict(output.options),
        "attention": pipeline.attention,
        "video": {
            "num_frames": output.num_frames,
            "fps": output.fps,
            "frames_without_face": output.frames_without_face,
        },
        "timings_s": {stage: round(seconds, 3) for stage, seconds in output.timings.items()},
        "identity": parts,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {"latentsync": __version__, "python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
    }


def _input_facts(path: Path) -> dict:
    """What a record says of an input; its place is for `experiments.measure`, and part of no identity."""
    return {"name": path.name, "sha256": input_sha256(path), "path": str(path.resolve())}


def header(config: RunConfig, pairing: Pairing, pipeline: LipsyncPipeline) -> Iterator[str]:
    """What is about to run, line by line: the model, the precision, and which guidance is in effect."""
    settings, runtime = pipeline.settings, config.options.runtime
    label = "" if settings.trained else "  ** UNTRAINED: seeded weights, the videos show the plumbing only **"
    size_px = config.options.video.size_px or settings.size_px
    num_frames = config.options.sampler.num_frames or settings.num_frames
    yield f"model      {settings.name}, crops of {size_px} px, windows of {num_frames} frames{label}"
    dtype = dtype_name(pipeline.unet.dtype)
    yield f"runs on    {pipeline.device} in {dtype}{'' if runtime.dtype else ' (chosen for this machine)'}"
    sampler, preset = config.options.sampler, config.preset
    for gender in sorted({pair.gender for pair in pairing.pairs}):
        scale = resolve_guidance(sampler, preset, gender).guidance_scale
        origin = f"preset {preset.name}" if sampler.guidance_scale is None else "given"
        number = sum(pair.gender == gender for pair in pairing.pairs)
        yield f"{gender:<10} {number} pair{'s' if number > 1 else ''}, guidance_scale {scale:g} ({origin})"
    for name, reason in pairing.left_out:
        yield f"left out   {name}: {reason}"


def say(line: str) -> None:
    """Prints a line without tearing a progress bar."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()
