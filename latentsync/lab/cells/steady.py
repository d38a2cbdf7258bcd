"""Refuses a pair whose clip or voice changes while the pair is made: its record would name bytes that were not read."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latentsync.errors import ChangedInputError
from latentsync.files import Stamp, stamp_of
from latentsync.generation.stage_cache import StageCache
from latentsync.lab.options.pairs import Pair
from latentsync.weights import file_sha256


@contextmanager
def steady_inputs(pair: Pair, parts: Mapping[str, Any], cache: StageCache | None) -> Iterator[Callable[[], None]]:
    """Watches the files of a pair inside the block, in which they are read.

    What the stage cache got inside the block is removed if a file changed, because it stands under the old file's hash.

    Args:
        parts: the identity of the pair's record, see `lab.records.identity`.
        cache: None if nothing is cached.

    Yields:
        A function that raises the error below if a file has changed; call it before anything is stored. It reads both
        files once more.

    Raises:
        ChangedInputError: a file changed, which may be why the block failed.
    """
    files = {"clip": pair.clip, "voice": pair.voice}
    stamps = {what: _stamp(path) for what, path in files.items()}
    number = 0 if cache is None else len(cache.stored)

    def require() -> None:
        for what, path in files.items():
            is_same = _stamp(path) == stamps[what] and _sha256(path) == parts[f"{what}_sha256"]
            if not is_same:
                if cache is not None:
                    cache.forget(cache.stored[number:])
                raise ChangedInputError(
                    f"{path} changed while its pair was made, so nothing was stored; leave the {what} as it is, and "
                    f"start the command again"
                )

    try:
        yield require
    except ChangedInputError:
        raise
    except Exception as error:
        try:
            require()
        except ChangedInputError as changed:
            raise changed from error
        raise


def _stamp(path: Path) -> Stamp | None:
    """The stamp of a file's content; None if there is no file now. New rights or links of a file change no content."""
    try:
        return stamp_of(os.stat(path))._replace(change_ns=0)
    except OSError:
        return None


def _sha256(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None
