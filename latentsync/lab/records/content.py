"""The content of record.json: pair, model, options, timings and versions."""

import time
from pathlib import Path

from latentsync import plugins
from latentsync.generation.results import LipsyncOutput
from latentsync.generation.stage_cache import input_sha256
from latentsync.generation.timing import at_rate
from latentsync.journal import versions
from latentsync.lab.options.pairs import Pair
from latentsync.lab.options.schema import ModelConfig, RunConfig
from latentsync.lab.records.identity import record_id
from latentsync.lab.records.shape import SCHEMA, SCHEMA_KEY
from latentsync.media.departures import reading_notes
from latentsync.names import printable
from latentsync.pipeline import LipsyncPipeline


def content(pair: Pair, config: RunConfig, pipeline: LipsyncPipeline, output: LipsyncOutput, parts: dict) -> dict:
    """The content of record.json for a finished generation. `facts_of_record` reads it back."""
    labels = labels_of(pair, config)
    return {
        SCHEMA_KEY: SCHEMA,
        "id": record_id(parts),
        "pair": {
            **labels["pair"],
            "clip": _input_facts(pair.clip),
            "voice": _input_facts(pair.voice),
        },
        "model": pipeline.describe(),
        "model_place": _model_place(config.model),
        "preset": labels["preset"],
        "options": output.options.flat(),
        "attention": pipeline.attention,
        "video": {
            "num_frames": output.num_frames,
            "fps": output.fps,
            "frames_without_face": output.frames_without_face,
            "frames_near_reference": output.frames_near_reference,
        }
        | _cost_of_own_rate(output),
        "timings_s": {stage: round(seconds, 3) for stage, seconds in output.timings.items()},
        **({"notes": list(notes)} if (notes := _notes(pair, output)) else {}),
        **({} if config.data.consent is None else {"consent": config.data.consent}),
        "identity": parts,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": versions() | plugins.version_of(plugins.SCHEDULERS_GROUP, output.options.sampler.scheduler or ""),
    }


def _model_place(model: ModelConfig) -> dict[str, str]:
    """The options that name the model; files and folders with their whole paths, so that a later run finds them."""
    from latentsync.checkpoints.model import MODELS_DIR

    named = {name: value for name, value in vars(model).items() if value is not None}
    is_path = {name: not (MODELS_DIR / value).is_dir() and Path(value).exists() for name, value in named.items()}
    return {name: printable(str(Path(value).resolve())) if is_path[name] else value for name, value in named.items()}


def labels_of(pair: Pair, config: RunConfig) -> dict[str, dict]:
    """How a sweep calls a pair and the origin of its guidance, in the form of record.json. No id covers these.

    Another sweep may call the same record otherwise. So notes and plans of sweeps keep them too, and a sweep's tables
    take them from there.
    """
    return {
        "pair": {
            "name": pair.name,
            "gender": pair.gender,
            "group": pair.group,
            "split": pair.split,
            "face": pair.face,
            "clip": {"name": printable(pair.clip.name)},
            "voice": {"name": printable(pair.voice.name)},
        },
        "preset": {
            "name": config.preset.name,
            "guidance_from": "preset" if config.options.sampler.guidance_scale is None else "given",
        },
    }


def _cost_of_own_rate(output: LipsyncOutput) -> dict[str, int]:
    """With the clip's own frames, how many would have got a new mouth at 25 frames/s; their ratio is the cost."""
    if output.options.video.rate_hz is not None:
        return {}
    made = len(output.order)
    return {"generated": made, "generated_at_25_fps": len(at_rate(output.times_s, made))}


def _notes(pair: Pair, output: LipsyncOutput) -> tuple[str, ...]:
    return (*reading_notes(pair.clip, pair.voice, output.options.video.voice_track), *face_notes(output))


def face_notes(output: LipsyncOutput) -> tuple[str, ...]:
    """What a reader of the result must know of its faces, in sentences; none where every frame shows the face."""
    notes, frames = [], output.num_frames
    if output.frames_without_face:
        notes.append(f"{output.frames_without_face} of {frames} frames have no face and are the clip's own")
    if output.frames_near_reference:
        notes.append(f"{output.frames_near_reference} of {frames} frames have a reference less than 1 s away")
    return tuple(notes)


def _input_facts(path: Path) -> dict:
    """The entry of an input file. Its path lets `latentsync measure` find it, and is not part of the identity."""
    return {"name": printable(path.name), "sha256": input_sha256(path), "path": str(path.resolve())}
