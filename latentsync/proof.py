"""How a record, the sidecar of a folder job, or a checkpoint proves its files: their sizes and hashes in a JSON file.

    "files": {"result.mp4": {"bytes": 81234, "sha256": "...", "sample_sha256": "..."}, "mask.mp4": {...}}

Sizes and samples are compared whenever a record is found; whole hashes by `latentsync check`, and whenever a checkpoint
is loaded. A sample is the whole file up to 64 KiB, else four stretches of 16 KiB from its start to its end: a power cut
leaves files that are cut or hold zeros. metrics.json and curves.json are not among the files, because they grow after
the record was made. They are written whole, and a cut one is no JSON.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from latentsync.files import kept_per_file
from latentsync.weights import file_sha256

STRETCH_BYTES = 16 * 1024
STRETCHES = 4


def proof_of(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """The proof of files, by their names.

    Raises:
        OSError: one of them is missing or cannot be read.
    """
    return {path.name: _facts(path) for path in paths}


def _facts(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path), "sample_sha256": _sample_sha256(path)}


@kept_per_file(16_384)
def _sample_sha256(path: Path) -> str:
    size, digest = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        if size <= STRETCHES * STRETCH_BYTES:
            digest.update(file.read())
        else:
            for number in range(STRETCHES):
                file.seek((size - STRETCH_BYTES) * number // (STRETCHES - 1))
                digest.update(file.read(STRETCH_BYTES))
    return digest.hexdigest()


def proof_in(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The proof in such a JSON file's content; empty if it has none, as those of older versions."""
    files = content.get("files")
    if not isinstance(files, dict):
        return {}
    is_proof = all(isinstance(facts, dict) and is_file_name(name) for name, facts in files.items())
    return files if is_proof else {}


def is_file_name(name: str) -> bool:
    """Whether a name in a proof can be that of a file in its folder."""
    return name not in ("", ".", "..") and not {"/", "\0"} & set(name)


def disagreement(folder: Path, files: Mapping[str, Mapping[str, Any]], is_deep: bool = False) -> str | None:
    """What does not agree between the files of a folder and their proof; None if all agree.

    Args:
        files: the proof. A name without facts stands for a file of an older version: it must exist and not be empty.
        is_deep: whether to compare the hashes of the whole files too.

    Raises:
        OSError: a file cannot be read now.
    """
    for name, facts in files.items():
        path = folder / name
        try:
            size = path.stat().st_size
            if not size:
                return f"{name} is missing or empty"
            if "bytes" in facts and size != facts["bytes"]:
                return f"{name} has {size} bytes and was made with {facts['bytes']}"
            if "sample_sha256" in facts and _sample_sha256(path) != facts["sample_sha256"]:
                return f"{name} has other contents than it was made with"
            if is_deep and "sha256" in facts and file_sha256(path) != facts["sha256"]:
                return f"{name} has other contents than it was made with"
        except (FileNotFoundError, NotADirectoryError):
            return f"{name} is missing or empty"
    return None
