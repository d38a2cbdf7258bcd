"""The columns that tables, trackers and reports take from a record: its pair, model, preset and every option."""

from collections.abc import Mapping
from typing import Any

from latentsync.config import recorded_infos, recorded_options

KINDS = {"trained": "flag", "video_frames": "whole", "frames_without_face": "whole", "seconds": "number"}  # not text


def notes_of(content: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader of a result must know of its files and faces, in sentences, from its record or sidecar."""
    return tuple(content.get("notes", ()))


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
        "frames_without_face": content["video"].get("frames_without_face"),
        "notes": "; ".join(notes_of(content)),
        "consent": content.get("consent"),
    }


def facts_of_labels(labels: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The columns in which a sweep's labels of a record replace the record's own, see `records.content.labels_of`."""
    pair, preset = labels.get("pair", {}), labels.get("preset", {})
    facts = {name: pair[name] for name in ("gender", "group", "split") if name in pair}
    facts |= {"pair": pair["name"]} if "name" in pair else {}
    facts |= {name: pair[name]["name"] for name in ("clip", "voice") if name in pair}
    facts |= {"preset": preset["name"]} if "name" in preset else {}
    return facts | {name: preset[name] for name in ("guidance_from",) if name in preset}


def kind_of_fact(column: str) -> str:
    """What a column of `facts_of_record`, or `seconds`, holds: "text", "flag", "whole" or "number"."""
    if column in KINDS:
        return KINDS[column]
    info = recorded_infos().get(column)
    if info is None or info.is_text:
        return "text"
    return "whole" if info.whole else "number"
