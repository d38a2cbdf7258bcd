"""A hash of everything that determines the record ids and the report of a sweep. It needs no weights in memory."""

import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
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
    """A hash of everything that determines the record ids and the report of a sweep, without loading a network.

    It covers the values of options and cells; path, size and time of the inputs, the weights and this program's files;
    and the machine's name, because the machine decides the device and the precision.
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
    """The resolved values of a section, or its text if it refers to a value that only the cells set."""
    if not isinstance(section, DictConfig):
        return section
    try:
        return OmegaConf.to_container(section, resolve=True)
    except OmegaConfBaseException:
        return OmegaConf.to_container(section)


def _stamps(place: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of a file, or of all files below a folder. What cannot be looked at is left out."""
    files = [place] if place.is_file() else place.rglob("*")
    for path in files:
        if path.suffix != ".pyc" and (not suffixes or path.suffix in suffixes):
            with suppress(OSError):
                status = path.stat()
                if S_ISREG(status.st_mode):
                    yield str(path.absolute()), status.st_size, status.st_mtime_ns
