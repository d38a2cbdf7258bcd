"""The content of record.json: pair, model, options, timings and versions."""

import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from latentsync import __version__
from latentsync.config import recorded_infos, recorded_options
from latentsync.generation.results import LipsyncOutput
from latentsync.generation.stage_cache import input_sha256
from latentsync.lab.options.pairs import Pair
from latentsync.lab.options.schema import RunConfig
from latentsync.lab.records.store import record_id
from latentsync.pipeline import LipsyncPipeline

PACKAGES = ("torch", "diffusers", "transformers", "av", "numpy")


def content(pair: Pair, config: RunConfig, pipeline: LipsyncPipeline, output: LipsyncOutput, parts: dict) -> dict:
    """The content of record.json for a finished generation. `facts_of_record` reads it back."""
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
        "options": output.options.flat(),
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


def facts_of_record(content: Mapping[str, Any]) -> dict[str, Any]:
    """The pair, model, preset and all options of a record, as one flat dict with the values that tables use."""
    pair, infos = content["pair"], recorded_infos()
    options = recorded_options({"attention": content["attention"], **content["options"]})
    return {
        "record": content["id"],
        "pair": pair["name"],
        **{name: pair[name]["name"] for name in ("clip", "voice")},
        **{f"{name}_sha256": pair[name]["sha256"] for name in ("clip", "voice")},
        "gender": pair["gender"],
        "group": pair.get("group"),
        "split": pair.get("split"),
        "model": content["model"]["name"],
        "trained": content["model"]["trained"],
        "preset": content["preset"]["name"],
        "guidance_from": content["preset"]["guidance_from"],
        **{name: infos[name].cell(value) if infos[name].is_text else value for name, value in options.items()},
        "video_frames": content["video"]["num_frames"],
    }


def _input_facts(path: Path) -> dict:
    """The entry of an input file. Its path lets `latentsync measure` find it, and is not part of the identity."""
    return {"name": path.name, "sha256": input_sha256(path), "path": str(path.resolve())}
