"""The SHA-256 of files and of state dicts.

Hashes of files are remembered across processes, so that a run does not have to read 5 GB before it starts.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from latentsync.files import write_text
from latentsync.weights.folders import cache_dir

MEMORY_FILE = "hashes.json"  # in the cache: {path: [size in bytes, time of change in ns, SHA-256]}

_read_in_this_process: dict[str, list] = {}  # the same, for a cache folder that cannot be written


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path) -> str:
    """The same; the file is read only if it is new, or if its size or time of change is not the remembered one."""
    sha256 = _remembered(path)
    return reread_sha256(path) if sha256 is None else sha256


def is_remembered(path: Path) -> bool:
    """Whether `remembered_sha256` need not read the file."""
    return _remembered(path) is not None


def _remembered(path: Path) -> str | None:
    key, stamp = _key_and_stamp(path)
    for memory in (_read_in_this_process, _memory()):
        match memory.get(key):
            case [*of_then, str(sha256)] if of_then == stamp:
                return sha256
    return None


def reread_sha256(path: Path) -> str:
    """The same; the file is always read, and its hash is remembered."""
    before = _key_and_stamp(path)
    sha256 = file_sha256(path)
    if _key_and_stamp(path) == before:  # else the file changed while it was read
        remember(path, sha256)
    return sha256


def remember(path: Path, sha256: str) -> None:
    """Stores the hash of a file, with its present size and time of change."""
    key, stamp = _key_and_stamp(path)
    _read_in_this_process[key] = [*stamp, sha256]
    with suppress(OSError):  # a cache that cannot be written only makes the next start slower
        # If two processes write at once, one entry may be lost; then that file is read once more.
        write_text(cache_dir() / MEMORY_FILE, json.dumps({**_memory(), key: [*stamp, sha256]}, indent=1))


def _key_and_stamp(path: Path) -> tuple[str, list[int]]:
    status = path.stat()
    return str(path.resolve()), [status.st_size, status.st_mtime_ns]


def _memory() -> dict:
    """The remembered hashes; none if the file is absent, unreadable or damaged. Then weight files are read again."""
    try:
        content = json.loads((cache_dir() / MEMORY_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def state_dict_sha256(state_dict) -> str:
    """One hash of the names, types, shapes and bytes of a state dict; it does not depend on the file.

    The identity of records uses it, so a converted or re-saved checkpoint counts as the same checkpoint.
    """
    import torch

    digest = hashlib.sha256()
    for name in sorted(state_dict):
        tensor = state_dict[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
