"""The columns that tables, trackers and reports take from a record: its pair, model, preset and every option."""

from collections.abc import Mapping
from typing import Any

from latentsync.config import recorded_infos, recorded_options


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
    }
