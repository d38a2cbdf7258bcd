"""The progress bar of a download: any object that counts bytes."""

from collections.abc import Callable
from typing import Protocol

from latentsync.verbosity import verbosity


class Bar(Protocol):
    """The methods of a progress bar that a download uses."""

    def update(self, more_bytes: int) -> object: ...

    def close(self) -> object: ...


# Makes a bar from the total size (None if unknown), a label, and the number of bytes that are here already.
Progress = Callable[[int | None, str, int], Bar]


def terminal_bar(total_bytes: int | None, label: str, bytes_here: int) -> Bar:
    """A tqdm bar on the terminal."""
    from tqdm import tqdm

    is_off = verbosity() == "quiet"
    return tqdm(total=total_bytes, desc=label, initial=bytes_here, unit="B", unit_scale=True, disable=is_off)
