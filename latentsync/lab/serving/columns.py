"""The table of records as a browser takes it: columns of numbers and of numbered words, in one message.

The message is a line of JSON that describes the columns, then zeros up to a multiple of 8 bytes, then the values of
each column: float64 for numbers (NaN where there is none), int32 for words (the word's place in the column's list; -1
where there is none), little-endian, each column padded to a multiple of 8 bytes. The line begins with the length of
itself and its zeros, as 16 hexadecimal digits.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from latentsync.config import recorded_infos
from latentsync.lab.records.labels import SETTINGS, word_of
from latentsync.metrics.definitions import DEFINITIONS, HEADLINES, base_name, definition_of, direction_of

ALIGNMENT = 8  # bytes: a browser reads float64 only from such places
DIGITS = 16
REASON = "_reason"
OF_THE_PAIR = ("pair", "clip", "voice", "gender", "group", "split")
OF_THE_MODEL = ("model", "trained", "preset", "guidance_from")
MARKS = ("tags", "gate")  # that people or bounds gave the records
FACTS = {  # word, unit, direction and help of the other columns
    "record": ("record", "", "none", "The record's id."),
    "pair": ("pair", "", "none", "Clip and voice."),
    "clip": ("clip", "", "none", "The input video."),
    "voice": ("voice", "", "none", "The input sound."),
    "gender": ("gender", "", "none", "Of the clip's speaker."),
    "group": ("group", "", "none", "As the list of pairs says."),
    "split": ("split", "", "none", "As the list of pairs says."),
    "model": ("model", "", "none", "The model's name."),
    "trained": ("trained", "", "none", "Whether the model was trained."),
    "preset": ("preset", "", "none", "The preset that guidance comes from."),
    "guidance_from": ("guidance from", "", "none", "Whether guidance was given or comes from the preset."),
    "video_frames": ("frames", "frames", "none", "The number of frames of the result."),
    "frames_without_face": ("frames without a face", "frames", "lower", "Frames in which no face was found."),
    "notes": ("notes", "", "none", "What a reader of the result must know of its files and faces."),
    "consent": ("consent", "", "none", "What data.consent said when the record was made."),
    "tags": ("tags", "", "none", "Words that people gave the record with `latentsync tag`."),
    "remark": ("remark", "", "none", "A text that people gave the record with `latentsync tag`."),
    "gate": ("gate", "", "none", "Whether the record reaches the bounds of metrics.gate."),
    "gate_failures": ("why the gate failed", "", "none", "Each metric that misses its bound, with value and bound."),
    "seconds": ("seconds", "s", "lower", "Of generation, on the machine that made the record."),
}


def message(table: pd.DataFrame, about: Mapping[str, Any]) -> bytes:
    """A wide table, see `collect_wide`, as one message. Hashes and columns without any value are left out.

    Args:
        about: facts of the whole, which the first line gets beside `rows` and `columns`.
    """
    columns, buffers, at = [], [], 0
    for name in table.columns:
        if name.endswith("_sha256") or not table[name].notna().any():
            continue
        kind, values, words = _values(table[name])
        data = values.tobytes()
        columns.append({"name": name, **facts_of(name), "type": kind, "at": at} | ({"words": words} if words else {}))
        buffers.append(data + bytes(-len(data) % ALIGNMENT))
        at += len(buffers[-1])
    head = json.dumps({**about, "rows": len(table), "columns": columns}, default=str).encode()
    length = DIGITS + len(head) + (-(DIGITS + len(head)) % ALIGNMENT)
    return b"".join([f"{length:016x}".encode(), head, bytes(length - DIGITS - len(head)), *buffers])


def _values(column: pd.Series) -> tuple[str, np.ndarray, list[str]]:
    """The type, values and words of a column."""
    if pd.api.types.is_bool_dtype(column):
        column = column.map({True: "yes", False: "no"})
    if pd.api.types.is_numeric_dtype(column):
        return "number", column.to_numpy("<f8", na_value=np.nan), []
    codes, words = pd.factorize(column, sort=True)
    return "words", codes.astype("<i4"), [str(word) for word in words]


def facts_of(name: str) -> dict[str, Any]:
    """What a reader must know of a column: role, word, unit, better direction, help, and the label of its values."""
    if name.endswith(REASON):
        return {"role": "reason", "of": name.removesuffix(REASON)}
    if base_name(name) in DEFINITIONS:
        known = definition_of(name)
        facts = {"role": "metric", "unit": known.unit, "direction": direction_of(name), "help": known.text}
    elif (info := recorded_infos().get(name)) is not None:
        facts = {"role": "setting", "unit": info.unit, "direction": "none", "help": info.help, "label": info.label}
        facts |= {"first": SETTINGS.index(name)} if name in SETTINGS else {}
    else:
        word, unit, direction, text = FACTS.get(name, (name, "", "none", ""))
        role = "pair" if name in OF_THE_PAIR else "setting" if name in OF_THE_MODEL else "fact"
        role = "mark" if name in MARKS else role
        facts = {"role": role, "word": word, "unit": unit, "direction": direction, "help": text}
    headline = HEADLINES.index(name) if name in HEADLINES else None
    return {"word": word_of(name), **facts, "headline": headline}
