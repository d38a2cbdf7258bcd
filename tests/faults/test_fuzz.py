"""Damaged files of every kind, read in child processes: each is read or refused in a sentence, and none ends the child.

`make test-faults` prints the table that docs/reliability.md shows. FUZZ_SEED gives other changes.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from faults import seeds
from faults.campaign import FILES
from faults.children import Tally, read_in_children
from faults.mutation import built_media, media_seeds, mutated, write_all

SEED = int(os.environ.get("FUZZ_SEED", "0"))
pytestmark = pytest.mark.faults


def changed_files(whole: dict[str, bytes], number: int) -> dict[str, bytes]:
    """That many changed files, from each whole one in turn; the part of a name after `__` stays."""
    random, names = np.random.default_rng(SEED), list(whole)
    files = {}
    for i in range(number):
        name = names[i % len(names)]
        stem, _, part = name.rpartition("__")
        files[f"{i:04}__{part}" if stem else f"{i:04}{Path(name).suffix}"] = mutated(whole[name], random)
    return files


def require_none(kind: str, tally: Tally, record_property: Callable[[str, object], None]) -> None:
    """Adds to the table, and fails if anything was neither read nor refused."""
    record_property(FILES, [kind, dict(tally.counts)])
    assert not tally.faults, "\n".join(f"{path}: {what}" for path, what in tally.faults)


@pytest.mark.parametrize("part", range(4))
def test_two_thousand_changed_media_files(tmp_path, part, record_property):
    files = dict(list(changed_files(media_seeds(), 2000).items())[part::4])
    require_none("changed media files", read_in_children("media", write_all(files, tmp_path)), record_property)


def test_a_hundred_built_media_files(tmp_path, record_property):
    files = built_media()
    assert len(files) >= 100
    require_none("built media files", read_in_children("media", write_all(files, tmp_path)), record_property)


@pytest.mark.parametrize(
    ("kind", "whole", "number"),
    [
        ("checkpoint", seeds.checkpoints, 150),
        ("configuration", seeds.configurations, 100),
        ("list", seeds.lists, 125),
        ("record", seeds.records, 125),
    ],
)
def test_five_hundred_changed_files_of_other_kinds(tmp_path, kind, whole, number, record_property):
    files = changed_files(whole(), number)
    require_none(f"changed {kind}s", read_in_children(kind, write_all(files, tmp_path)), record_property)
