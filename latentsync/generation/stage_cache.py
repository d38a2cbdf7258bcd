"""Stores tensors of a stage on disk, under a hash of their inputs; several processes may share one folder.

There is one safetensors file per key, and it appears only when it is whole. Two processes that compute one key write
the same file. A file that is cut short or altered counts as missing. On a full disk the run goes on without saving.
"""

import contextlib
import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from latentsync.files import kept_per_file, remove, whole_file
from latentsync.media.container import check_file, decoding
from latentsync.weights import file_sha256, state_dict_sha256

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)
SUFFIX = ".safetensors"
LOOKS = 50  # the folder's size is checked after each 1/50 of the bound that was written

# Raise a stage's number when a change of its code changes its output.
STAGE_VERSIONS = {
    "media": 1, "faces": 3, "masks": 1, "audio": 1, "latents": 1, "denoise": 1, "composite": 2, "encode": 1,
}  # fmt: skip


@kept_per_file(None)
def _sha256_of(path: Path) -> str:
    return file_sha256(path)


def input_sha256(path: Path) -> str:
    """The SHA-256 of an input file, in hex; computed again only when its size or time changes.

    Raises:
        MediaError: the file is missing or cannot be read.
    """
    check_file(path)
    with decoding(path):
        return _sha256_of(path)


def stage_key(stage: str, depends_on: Mapping[str, object], *versions: str) -> str:
    """The SHA-256, in hex, of a stage's name and of everything that its output depends on.

    Args:
        depends_on: inputs, options and weights, as JSON values.
        versions: the stages of `STAGE_VERSIONS` whose code the output depends on.
    """
    content = {"stage": stage, "versions": {name: STAGE_VERSIONS[name] for name in versions}, "depends_on": depends_on}
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


@dataclass
class StageCache:
    """A folder of at most `max_bytes`; the files that were unused for longest are removed first."""

    folder: Path
    max_bytes: int
    stored: list[str] = field(default_factory=list, init=False, repr=False)  # keys that this process wrote, in order
    _written: float = field(default=math.inf, init=False, repr=False)  # bytes since the last check
    _write_failed: bool = field(default=False, init=False, repr=False)

    def get(self, key: str, compute: "Callable[[], dict[str, Tensor]]") -> "dict[str, Tensor]":
        """The tensors under a key, on the CPU as read from the file. If there is no file, `compute` makes them, and
        they are stored.

        A file that cannot be read or written is not an error: a warning is logged, and the tensors are computed.
        """
        tensors = self.find(key)
        if tensors is None:
            tensors = compute()
            self.keep(key, tensors)
        return tensors

    def __contains__(self, key: str) -> bool:
        """Whether there is a file under a key; it may still turn out to be damaged."""
        return self._path(key).is_file()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{SUFFIX}"

    def find(self, key: str) -> "dict[str, Tensor] | None":
        """The tensors under a key; None if there is no file, or it is damaged."""
        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as file:
                digest = (file.metadata() or {}).get("sha256")
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            log.warning("%s cannot be read (%s); it is computed again.", path, error)
            return None
        if digest != state_dict_sha256(tensors):
            log.warning("%s was altered; it is computed again.", path)
            return None
        with contextlib.suppress(OSError):  # evicted by another process, or not ours to touch
            os.utime(path)
        return tensors

    def keep(self, key: str, tensors: "dict[str, Tensor]") -> None:
        """Writes tensors under a key, whole or not at all; a failure to write costs a warning only."""
        from safetensors.torch import save  # imports torch, which those who only hash inputs do not need

        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        try:
            with whole_file(self._path(key)) as part:
                part.write_bytes(save(tensors, {"sha256": state_dict_sha256(tensors)}))
            self.stored.append(key)
            self._written += sum(tensor.nbytes for tensor in tensors.values())
            if self._written >= self.max_bytes / LOOKS:
                self._evict()
                self._written = 0
        except (OSError, SafetensorError) as error:
            if not self._write_failed:
                log.warning("%s cannot be written (%s); the run goes on without the cache.", self.folder, error)
            self._write_failed = True

    def forget(self, keys: Sequence[str]) -> None:
        """Removes what stands under keys: a file that it was made from changed while it was read."""
        for key in keys:
            with contextlib.suppress(OSError):
                remove(self._path(key))

    def _evict(self) -> None:
        files = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            try:
                files.append(((status := path.stat()).st_mtime_ns, status.st_size, path))
            except FileNotFoundError:  # evicted by another process
                continue
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.max_bytes:
                return
            remove(path)
            total -= size
