"""Finds a weight on this machine, and checks whether a file is the right one. Uses no network."""

import re
from pathlib import Path
from typing import NamedTuple

from latentsync.errors import WeightsError
from latentsync.files import write_text
from latentsync.weights.catalogue import CATALOGUE, WeightFile, known
from latentsync.weights.folders import CHECKPOINTS_DIR, cache_dir
from latentsync.weights.hashes import remembered_sha256

_SHA256 = re.compile(r"[0-9a-f]{64}\b")


class Location(NamedTuple):
    """A path where a weight may be; `shared` where other versions have the same name, so that the hash decides."""

    path: Path
    shared: bool


def locations(weight: WeightFile) -> list[Location]:
    """Where a weight is looked for, in order."""
    candidates = [Location(CHECKPOINTS_DIR / weight.name, shared=False)]
    if weight.original_name:
        candidates.append(Location(CHECKPOINTS_DIR / weight.original_name, shared=True))
    return [*candidates, Location(cache_dir() / weight.name, shared=False)]


def _record_path(weight: WeightFile) -> Path:
    return cache_dir() / f"{weight.name}.sha256"


def expected_sha256(weight: WeightFile) -> str | None:
    """The hash that the weight must have: the catalogue's, or that of its first download; None if there is none."""
    if weight.sha256 is not None:
        return weight.sha256
    try:
        match = _SHA256.match(_record_path(weight).read_text())
    except (OSError, UnicodeDecodeError):
        return None
    return match[0] if match else None


def record_sha256(weight: WeightFile, sha256: str) -> None:
    """Writes a hash that the catalogue lacks beside the file in the cache, in the format of `sha256sum`."""
    write_text(_record_path(weight), f"{sha256}  {Path(weight.name).name}\n")


def is_right(path: Path, weight: WeightFile) -> bool:
    """Whether the file has the weight's hash; True for every file if no hash is known.

    Raises:
        WeightsError: it cannot be read.
    """
    expected = expected_sha256(weight)
    if expected is None:
        return True
    try:
        if weight.size_bytes not in (None, path.stat().st_size):
            return False
        return remembered_sha256(path) == expected
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); check its permissions") from error


def find(name: str) -> Path | None:
    """The weight's file on this machine, checked; None if it is not here.

    In the original's layout several versions share a name (`checkpoints/latentsync_unet.pt`). A file of such a name is
    this weight if it has its hash; otherwise it is ignored.

    Raises:
        WeightsError: a file under the weight's own name has another hash.
    """
    weight = known(name)
    for path, shared in locations(weight):
        if not path.is_file() or (shared and expected_sha256(weight) is None):
            continue
        if is_right(path, weight):
            return path
        if not shared:
            raise WeightsError(
                f"{path} is damaged or another version (its SHA-256 is not {expected_sha256(weight)}); "
                f"delete it and fetch it again"
            )
    return None


def known_as(path: Path) -> WeightFile | None:
    """Which of the versions that share its name a file is; None if it is none of them.

    Raises:
        WeightsError: it cannot be read.
    """
    of_this_name = [one for one in CATALOGUE.values() if Location(path, shared=True) in locations(one)]
    return next((one for one in of_this_name if expected_sha256(one) is not None and is_right(path, one)), None)
