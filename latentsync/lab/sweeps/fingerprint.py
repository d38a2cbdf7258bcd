"""A hash of everything that a sweep's record ids and report follow from; no network is read for it."""

import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import latentsync
from latentsync.lab.options import CONF_DIR
from latentsync.lab.sweeps.request import OF_THE_IDS, OF_THE_REPORT, SweepRequest, cell_overrides
from latentsync.weights.folders import CHECKPOINTS_DIR, cache_dir

PACKAGE_DIR = Path(latentsync.__file__).parent
WEIGHT_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")


def fingerprint(request: SweepRequest) -> str:
    """A hash of all that the ids of a sweep's records and its report follow from, without reading a network.

    Options and cells by value; inputs, weights and this program's files by place, size and time; the machine by name,
    since it chooses device and precision.
    """
    places = [PACKAGE_DIR, CONF_DIR, *map(Path, request.places)]
    parts = {
        "sections": _sections(request.config, (*OF_THE_IDS, *OF_THE_REPORT)),
        "bases": [_sections(base, OF_THE_IDS) for base in request.bases],
        "cells": [cell_overrides(cell) for cell in request.cells],
        "files": sorted(
            {stamp for place in places for stamp in _stamps(place, ())}
            | {stamp for place in (cache_dir(), CHECKPOINTS_DIR) for stamp in _stamps(place, WEIGHT_SUFFIXES)}
        ),
        "machine": [socket.gethostname(), os.environ.get("CUDA_VISIBLE_DEVICES"), os.getcwd(), sys.prefix],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _sections(config: DictConfig, names: Iterable[str]) -> dict[str, Any]:
    return {name: _value(config[name]) for name in names}


def _value(section: Any) -> Any:
    """A section by value; as written, where it refers to what only the cells give."""
    if not isinstance(section, DictConfig):
        return section
    try:
        return OmegaConf.to_container(section, resolve=True)
    except OmegaConfBaseException:
        return OmegaConf.to_container(section)


def _stamps(place: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of a file, or of all files below a folder."""
    files = [place] if place.is_file() else place.rglob("*")
    for path in files:
        if path.suffix != ".pyc" and (not suffixes or path.suffix in suffixes) and path.is_file():
            status = path.stat()
            yield str(path.absolute()), status.st_size, status.st_mtime_ns
