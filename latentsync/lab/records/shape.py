"""The shape of record.json and metrics.json: which fields they must have, and of which kinds.

`records.schema` makes the published JSON schema from these shapes, so that readers and schema agree.
"""

from collections.abc import Mapping
from typing import Any

from latentsync.config import recorded_infos
from latentsync.option import OptionInfo, is_number, is_whole
from latentsync.proof import is_file_name

Shape = Mapping[str, Any]
SCHEMA = 1  # of record.json; raise it when a reader of before would misread a record, not for a new field
SCHEMA_KEY = "schema"  # a record without it is of the first schema
_INPUT = {"name": str, "sha256": str}
RECORD_SHAPE: Shape = {
    "id": str,
    "pair": {"name": str, "gender": str, "clip": _INPUT, "voice": _INPUT},
    "model": {"name": str, "trained": bool},
    "preset": {"name": str, "guidance_from": str},
    "attention": str,
    "options": {"guidance_scale": float, "num_inference_steps": int, "seed": int},
    "video": {"num_frames": int},
    "timings_s": {"total": float},
}
MAYBE_SHAPE: Shape = {  # of fields that a record may have; null counts as none
    SCHEMA_KEY: int,
    "pair": {"group": str, "split": str, "face": str, "clip": {"path": str}, "voice": {"path": str}},
    "model": {"weights_sha256": {}},
    "video": {
        "fps": float,
        "frames_without_face": int,
        "frames_near_reference": int,
        "generated": int,
        "generated_at_25_fps": int,
    },
    "identity": {},
    "versions": {},
    "made": str,
    "together": int,
    "consent": str,
    "model_place": {},
}
KINDS = {dict: "an object", str: "a text", bool: "true or false", float: "a finite number", int: "a whole number"}
CHECKS = {float: is_number, int: is_whole}


def newer_fault(content: Mapping[str, Any]) -> str | None:
    """Why this version cannot read a record: its schema is a newer one. None if it can.

    A schema that is no number is a fault of the shape, see `shape_fault`.
    """
    number = content.get(SCHEMA_KEY)
    if not is_whole(number) or number <= SCHEMA:
        return None
    return f"has schema {number}, and this version reads schemas up to {SCHEMA}; update latentsync to read it"


def shape_fault(content: Mapping[str, Any]) -> str | None:
    """Why an object is not the content of record.json: a field that is missing or of another kind; None if it is."""
    fault = _fault(content, RECORD_SHAPE, "") or _fault(content, MAYBE_SHAPE, "", is_needed=False)
    if fault is not None:
        return fault
    infos = recorded_infos()
    for name, value in content["options"].items():
        if name in infos and not _is_possible(infos[name], value):
            return f"options.{name} is {str(value)[:40]!r}"
    if not are_texts(content.get("notes", [])):
        return "notes is no list of texts"
    return _fault_of_files(content.get("files", {}))


def _fault(content: Mapping[str, Any], shape: Shape, place: str, is_needed: bool = True) -> str | None:
    for name, kind in shape.items():
        value, plain = content.get(name), dict if isinstance(kind, Mapping) else kind
        if value is None:
            if is_needed:
                return f"{place}{name} is missing"
            continue
        if not CHECKS.get(plain, lambda value, plain=plain: isinstance(value, plain))(value):
            return f"{place}{name} is not {KINDS[plain]}"
        if plain is dict and (fault := _fault(value, kind, f"{place}{name}.", is_needed)) is not None:
            return fault
    return None


def _is_possible(info: OptionInfo, value: Any) -> bool:
    """Whether tables can hold a recorded value: a number where the option is one, and nothing nested elsewhere."""
    if value is None:
        return True
    if info.is_text:
        return not isinstance(value, dict)
    return is_whole(value) if info.whole else is_number(value)


def are_texts(value: Any) -> bool:
    """Whether a value of a JSON file is a list of texts."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _fault_of_files(files: Any) -> str | None:
    if not isinstance(files, dict) or not all(isinstance(facts, dict) for facts in files.values()):
        return "files is no object of files"
    outside = [name for name in files if not is_file_name(name)]
    return f"files names {outside[0]!r}" if outside else None


def metrics_fault(content: Mapping[str, Any]) -> str | None:
    """Why an object is not the content of metrics.json; None if it is."""
    for name, entry in content.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("value", ""), int | float | None):
            return f"{str(name)[:40]!r} has no value"
        if entry["value"] is None and not isinstance(entry.get("reason"), str):
            return f"{str(name)[:40]!r} has neither a value nor a reason"
    return None


def curves_fault(content: Mapping[str, Any]) -> str | None:
    """Why an object is not the content of curves.json; None if it is."""
    return next(
        (f"{str(name)[:40]!r} is no list" for name, curve in content.items() if not isinstance(curve, list)), None
    )
