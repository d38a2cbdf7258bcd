"""The cheap checks of a clip and a voice before a job computes anything: each file opens and gives its first frames."""

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from latentsync.config import MIN_DURATION_S
from latentsync.errors import LatentSyncError, MediaError
from latentsync.lab.options.pairs import Pair
from latentsync.media.container import (
    check_file,
    decode_packets,
    open_input,
    packets_of,
    sound_stream_of,
    video_stream_of,
)


def require_usable(clip: Path, voice: Path) -> None:
    """Refuses a clip that gives no picture, and a voice that is too short or gives no sound.

    Raises:
        MediaError: naming the file and the remedy.
    """
    for path, is_clip in ((clip, True), (voice, False)):
        if (reason := refusal(path, is_clip)) is not None:
            raise MediaError(reason)


def are_usable(clip: Path, voice: Path) -> bool:
    """Whether `require_usable` takes both. A file on which a decoder fails in an unknown way is not usable."""
    try:
        require_usable(clip, voice)
    except Exception:  # the pair's own run names it
        return False
    return True


def unusable_first(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs in their order, but first those that will fail. So a job reports them before it computes anything."""
    return sorted(pairs, key=lambda pair: are_usable(pair.clip, pair.voice))


def refusal(path: Path, is_clip: bool) -> str | None:
    """Why a file is no clip, or no voice; None if it is one. Kept while its size and time of change stay the same."""
    try:
        check_file(path)
        status = os.stat(path)
        _require(Path(os.path.abspath(path)), is_clip, status.st_size, status.st_mtime_ns)
    except LatentSyncError as error:
        return str(error)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror}); check its permissions"
    return None


@lru_cache(maxsize=8192)
def _require(path: Path, is_clip: bool, size: int, changed_ns: int) -> None:
    with open_input(path) as container:
        stream = (video_stream_of if is_clip else sound_stream_of)(container, path)
        frames = decode_packets(packets_of(container, stream))
        if is_clip:
            if next(frames, None) is None:
                raise MediaError(f"no frame of {path} can be decoded; check that it is complete and plays")
            return
        seconds = 0.0
        for frame in frames:
            seconds += frame.samples / frame.sample_rate
            if seconds >= MIN_DURATION_S:
                return
    if seconds == 0:
        raise MediaError(f"{path} holds no sound (0 samples can be decoded); record or convert it again")
    raise MediaError(f"{path.name} holds {seconds:.2f} s of sound; at least {MIN_DURATION_S} s is needed")
