"""What the page of one record says beside its videos: metrics, options, and how it was made."""

import shlex
from pathlib import Path
from typing import Any

from latentsync.config import recorded_infos, recorded_options
from latentsync.lab.pages.reasons import reasons_of
from latentsync.lab.records.columns import notes_of
from latentsync.lab.records.labels import SETTINGS, cell_label, pair_words, word_of
from latentsync.lab.records.store import Record
from latentsync.lab.records.tags import tags_of
from latentsync.metrics.definitions import DEFINITIONS, HEADLINES, base_name

OF_THE_PAIR = ("gender", "group", "split")


def details_of(record: Record, runs: Path) -> dict[str, Any]:
    """All that a reader may ask of a record, as JSON takes it.

    Raises:
        DamagedFileError, OSError: as for `Record.content` and `Record.metrics`.
    """
    content, tags = record.content, tags_of(record)
    pair, model, infos = content["pair"], content["model"], recorded_infos()
    options = recorded_options({"attention": content["attention"], **content["options"]})
    versions = {f"{name} version": version for name, version in content.get("versions", {}).items()}
    weights = {f"weights of {name}": digest for name, digest in model.get("weights_sha256", {}).items()}
    facts = {
        "record": record.id,
        "clip": pair["clip"]["name"],
        "voice": pair["voice"]["name"],
        **{name: pair[name] for name in OF_THE_PAIR if pair.get(name)},
        "model": model["name"],
        "guidance from": content["preset"]["guidance_from"],
        "frames": content["video"]["num_frames"],
        "made": content.get("made"),
        "consent": content.get("consent"),
        "tags": tags.text or None,
        "remark": tags.remark or None,
        **{f"time of {name} (s)": round(value, 2) for name, value in content["timings_s"].items()},
        **versions,
        **weights,
    }
    return {
        "record": record.id,
        "pair": pair_words(pair["name"]),
        "label": cell_label(options, model=model),
        "is_trained": model["trained"],
        "notes": list(notes_of(content)),
        "reasons": [vars(reason) for reason in reasons_of(record)],
        "metrics": [_metric(name, entry) for name, entry in sorted(record.metrics.items(), key=_place)],
        "options": [_option(name, infos[name], value) for name, value in options.items()],
        "facts": {name: value for name, value in facts.items() if value is not None},
        "command": f"latentsync rerun {record.id} --runs {shlex.quote(str(runs))}",
    }


def _place(item: tuple[str, Any]) -> tuple[int, str]:
    """Headlines first, then by family."""
    name = item[0]
    if name in HEADLINES:
        return HEADLINES.index(name), name
    order = list(DEFINITIONS)
    base = base_name(name)
    return len(HEADLINES) + (order.index(base) if base in DEFINITIONS else len(order)), name


def _metric(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    names = ("value", "unit", "direction", "protocol", "reason", "used", "left_out", "network")
    fields = {key: entry[key] for key in names if key in entry}
    return {"name": name, "word": word_of(name), "is_headline": name in HEADLINES, **fields}


def _option(name: str, info: Any, value: Any) -> dict[str, Any]:
    is_shown = name in SETTINGS or info.departs(value)
    return {"word": info.word, "value": info.cell(value), "help": info.help, "is_shown": is_shown}
