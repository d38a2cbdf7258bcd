"""Finds the inputs of a record: its clip and its voice."""

import os
from pathlib import Path

from latentsync.errors import MediaError
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.records.store import Record
from latentsync.names import composed, is_plain, printable

INPUTS_DIR = "inputs"  # of a runs folder: inputs of imported records, each in a folder that its SHA-256 names


def input_file(record: Record, kind: str, inputs: Path | None, remedy: str = "give its folder with --inputs") -> Path:
    """The file of a record's clip or voice, with the recorded hash.

    It is looked for at its recorded path, in the given folder, among the inputs of imported records, and among the
    shipped samples.

    Args:
        inputs: the folder; None: none is given.
        remedy: what a message says to do.

    Raises:
        MediaError: it is in none of these places, or it was changed.
    """
    from latentsync.generation.stage_cache import input_sha256  # imports torch

    facts = record.content["pair"][kind]
    places = [Path(facts["path"])] if "path" in facts else []
    places += [path for path in sorted(inputs.rglob("*")) if _is_called(path, facts["name"])] if inputs else []
    imported = record.runs_dir / INPUTS_DIR / facts["sha256"]
    if imported.is_dir() and is_plain(facts["name"]):
        places.append(imported / facts["name"])
    places.append(SHIPPED_DIR / facts["name"])
    others = []
    for place in places:
        if os.path.isfile(place):  # false too where a folder refuses
            if (digest := input_sha256(place)) == facts["sha256"]:
                return place
            others.append(f"{place} has SHA-256 {digest[:12]}...")
    changed = f" ({'; '.join(others)})" if others else ""
    raise MediaError(
        f"the {kind} {facts['name']} of record {record.id} (SHA-256 {facts['sha256'][:12]}...) is not at "
        f"{', '.join(map(str, places))}{changed}; {remedy}"
    )


def _is_called(path: Path, name: str) -> bool:
    return composed(printable(path.name)) == composed(name)


def clip_of(record: Record) -> Path | None:
    """The file of a record's clip; None if it is missing or was changed."""
    try:
        return input_file(record, "clip", None)
    except MediaError:
        return None
