"""JSON schemas (draft 2020-12) of the files of a record, for readers outside of this project.

They are made from what readers check (`records.shape`), from the dataclasses of options and model, and from the
definitions of metrics, so that no list of fields stands twice. A schema names every field that this version writes,
and allows others: a new field does not raise `shape.SCHEMA`, and readers are to ignore what they do not know.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from latentsync.config import SECTIONS, recorded_infos
from latentsync.lab.records.shape import MAYBE_SHAPE, RECORD_SHAPE, SCHEMA, SCHEMA_KEY, Shape
from latentsync.lab.records.store import CURVES_FILE, METRICS_FILE, RECORD_FILE, TAGS_FILE
from latentsync.metrics.definition import DIRECTIONS
from latentsync.option import OptionInfo

DRAFT = "https://json-schema.org/draft/2020-12/schema"
TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", tuple: "array", list: "array", dict: "object",
         NoneType: "null"}  # fmt: skip
TEXTS = {
    SCHEMA_KEY: "The version of this schema; a record without it is of version 1.",
    "id": "The first 16 hexadecimal digits of the SHA-256 of `identity` as canonical JSON.",
    "pair": "The clip and the voice, and how the list or folder of the first sweep called them.",
    "pair.name": "The pair's name: CLIP__VOICE, or a name of its own.",
    "pair.gender": "female, male or neutral: which preset of guidance applies.",
    "pair.group": "As the list of pairs says, such as the speaker.",
    "pair.split": "As the list of pairs says, such as train or test.",
    "pair.face": "Which face of the clip the list of pairs chooses.",
    "pair.clip": "The input video.",
    "pair.clip.name": "The file's name.",
    "pair.clip.sha256": "Of the file's bytes.",
    "pair.clip.path": "Where the file was.",
    "pair.voice": "The input sound.",
    "pair.voice.name": "The file's name.",
    "pair.voice.sha256": "Of the file's bytes.",
    "pair.voice.path": "Where the file was.",
    "model": "The model's settings, and the hashes of its weights.",
    "model.name": "The model's name.",
    "model.trained": "False for seeded random weights, whose result is no lip sync.",
    "model.size_px": "Side of the aligned crop that it was trained on, in px.",
    "model.num_frames": "Frames in a window.",
    "model.num_inference_steps": "How many steps are enough for it.",
    "model.mask": "Its mask of the mouth.",
    "model.whisper": "Its Whisper, or own for one in the model's folder.",
    "model.untrained_seed": "Seed of random weights that are not stored.",
    "model.weights_sha256": "The hash of each network's tensors.",
    "model_place": "The options model.* that named the model: a shipped name, a folder or files.",
    "preset": "Where the guidance comes from.",
    "preset.name": "The preset's name.",
    "preset.guidance_from": "preset, or given where sampler.guidance_scale was given.",
    "attention": "The backend of attention.",
    "options": "Every option with its resolved value; docs/options.md explains them.",
    "video": "Facts about the result.",
    "video.num_frames": "Its frames.",
    "video.fps": "Its rate in frames/s.",
    "video.frames_without_face": "Frames without a face, which are the clip's own.",
    "video.frames_near_reference": "Frames whose reference is less than 1 s away.",
    "video.generated": "With the clip's own frames: how many got a new mouth.",
    "video.generated_at_25_fps": "How many would have got one at 25 frames/s.",
    "timings_s": "Seconds of each stage.",
    "timings_s.total": "Seconds of the whole generation.",
    "identity": "All that determines the pixels; `id` is its hash.",
    "versions": "Of this program, Python and packages.",
    "made": "When it was made, UTC.",
    "together": "How many settings were denoised together with it.",
    "consent": "What data.consent said when it was made.",
    "notes": "What a reader of the result must know of its files and faces, in sentences.",
    "files": "The proof of the record's files, by name.",
}


def record_schema() -> dict[str, Any]:
    """The schema of record.json."""
    schema = _object(RECORD_SHAPE, MAYBE_SHAPE, "")
    parts = schema["properties"]
    parts[SCHEMA_KEY] |= {"minimum": 1, "maximum": SCHEMA}
    parts["id"] |= {"pattern": "^[0-9a-f]{16}$"}
    parts["model"]["properties"] |= _model_fields(parts["model"]["properties"])
    parts["options"]["properties"] = {name: _option(info) for name, info in recorded_infos().items()}
    parts["timings_s"]["additionalProperties"] = {"type": "number", "minimum": 0}
    parts["versions"]["additionalProperties"] = {"type": "string"}
    parts["notes"] = {"description": TEXTS["notes"], "type": "array", "items": {"type": "string"}}
    hexadecimal = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    proof = {"bytes": {"type": "integer", "minimum": 1}, "sha256": hexadecimal, "sample_sha256": hexadecimal}
    parts["files"] = {
        "description": TEXTS["files"],
        "type": "object",
        "additionalProperties": {"type": "object", "properties": proof, "required": list(proof)},
    }
    return _document(RECORD_FILE, "All that is known about how a record was made. It never changes.", schema)


def metrics_schema() -> dict[str, Any]:
    """The schema of metrics.json."""
    entry = {
        "value": {"type": ["number", "boolean", "null"], "description": "Null where there is a reason."},
        "unit": {"type": "string"},
        "direction": {"enum": list(DIRECTIONS), "description": "Which direction is better."},
        "protocol": {"type": "string", "description": "What is computed, in words."},
        "version": {"type": "integer", "description": "Raised whenever the same input gives another number."},
        "network": {"type": "string", "description": "The network that the number comes from."},
        "weights": {"type": "string", "description": "The first digits of the SHA-256 of its weights."},
        "used": {"type": "integer", "description": "Frames or windows that counted."},
        "left_out": {"type": "integer", "description": "Frames or windows that did not."},
        "model": {"type": "string", "description": "untrained, where the record's model is."},
        "reason": {"type": "string", "description": "Why there is no value."},
    }
    one = {
        "type": "object",
        "properties": entry,
        "required": ["value"],
        "if": {"properties": {"value": {"type": "null"}}},
        "then": {"required": ["reason"]},
    }
    text = "The metrics of a record by name; docs/metrics.md defines them. `latentsync measure` adds more."
    return _document(METRICS_FILE, text, {"type": "object", "additionalProperties": one})


def curves_schema() -> dict[str, Any]:
    """The schema of curves.json."""
    curve = {"type": "array"}
    text = "The values for each frame, window or shift from which metrics are computed, by name."
    return _document(CURVES_FILE, text, {"type": "object", "additionalProperties": curve})


def tags_schema() -> dict[str, Any]:
    """The schema of tags.json."""
    words = {"type": "array", "items": {"type": "string"}, "description": "Words of people, sorted."}
    parts = {"tags": words, "remark": {"type": "string", "description": "A text of people."}}
    text = "What people say about a record. It is no part of the record's id, and may change."
    return _document(TAGS_FILE, text, {"type": "object", "properties": parts, "required": list(parts)})


SCHEMAS: Mapping[str, Callable[[], dict[str, Any]]] = MappingProxyType({
    RECORD_FILE: record_schema, METRICS_FILE: metrics_schema, CURVES_FILE: curves_schema, TAGS_FILE: tags_schema,
})  # fmt: skip


def _document(file: str, text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": DRAFT, "$id": f"urn:latentsync:{file}:{SCHEMA}", "title": file, "description": text, **schema}


def _object(needed: Shape, maybe: Shape, place: str) -> dict[str, Any]:
    """The schema of an object from the fields that it must have, and those that it may have."""
    fields = {}
    for name in dict.fromkeys((*needed, *maybe)):
        kinds = needed.get(name), maybe.get(name)
        parts = [kind if isinstance(kind, Mapping) else {} for kind in kinds]
        kind = dict if any(isinstance(one, Mapping) for one in kinds) else kinds[0] or kinds[1]
        types = TYPES[kind] if name in needed else [TYPES[kind], "null"]
        inner = _object(*parts, f"{place}{name}.") if any(parts) else {}
        text = {"description": TEXTS[f"{place}{name}"]} if place != "options." else {}
        fields[name] = text | inner | {"type": types}
    return {"type": "object", "properties": fields} | ({"required": list(needed)} if needed else {})


def _model_fields(known: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the model's settings that no reader checks."""
    from latentsync.checkpoints.model import ModelSettings  # with torch

    hints = get_type_hints(ModelSettings)
    return {
        name: {"description": TEXTS[f"model.{name}"], "type": _types(hint)}
        for name, hint in hints.items()
        if name not in known
    }


def _option(info: OptionInfo) -> dict[str, Any]:
    """The schema of an option's resolved value; null where the other options make it meaningless."""
    schema: dict[str, Any] = {"description": info.help}
    if info.choices and not info.plugins:
        return schema | {"enum": [*info.choices, None]}
    types = _types(_hints()[info.name])
    schema["type"] = [*([types] if isinstance(types, str) else types)]
    schema["type"] += [] if "null" in schema["type"] else ["null"]
    bounds = {"minimum": info.least, "maximum": info.most, "multipleOf": info.multiple if info.multiple > 1 else None}
    return schema | {name: bound for name, bound in bounds.items() if bound is not None}


def _hints() -> dict[str, Any]:
    hints = {name: hint for kind in SECTIONS.values() for name, hint in get_type_hints(kind).items()}
    return hints | {"size_px": hints["width"]}


def _types(hint: Any) -> str | list[str]:
    """The JSON types of an annotation such as `int | None`; of `Any`, those of single values."""
    if hint is Any:
        return ["string", "number", "boolean", "array"]
    if get_origin(hint) in (UnionType, Union):
        return sorted({TYPES[get_origin(one) or one] for one in get_args(hint)})
    return TYPES[get_origin(hint) or hint]
