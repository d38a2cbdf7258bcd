"""Reads every weight file on this machine again and checks that its content matches its name."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from latentsync.weights.catalogue import CATALOGUE, WeightFile
from latentsync.weights.hashes import reread_sha256
from latentsync.weights.store import expected_sha256, locations


class Check(NamedTuple):
    """The result for one file: a sentence, and whether it is damaged."""

    text: str
    is_damaged: bool = False


def checks() -> Iterator[Check]:
    """Checks the files, each once; nothing where there is none."""
    present = [(weight, place) for weight in CATALOGUE.values() for place in locations(weight) if place.path.is_file()]
    for weight, place in present:
        if not place.shared:
            yield _check_own(weight, place.path)
    for path in sorted({place.path for _, place in present if place.shared}):
        yield _check_shared(path)


def _check_own(weight: WeightFile, path: Path) -> Check:
    """Whether a file under a weight's own name is that weight."""
    sha256, expected = reread_sha256(path), expected_sha256(weight)
    if expected is None:
        return Check(f"{weight.name}: cannot be checked, no SHA-256 is recorded; {path} has {sha256}")
    if sha256 == expected:
        return Check(f"{weight.name}: right ({path})")
    return Check(
        f"{path} is damaged or another version (SHA-256 {sha256} instead of {expected}); delete it and fetch it again",
        is_damaged=True,
    )


def _check_shared(path: Path) -> Check:
    """Which version a file is, if its name does not say so."""
    sha256 = reread_sha256(path)
    names = [weight.name for weight in CATALOGUE.values() if expected_sha256(weight) == sha256]
    return Check(f"{path}: {f'right, it is {names[0]}' if names else f'no known version (SHA-256 {sha256})'}")
