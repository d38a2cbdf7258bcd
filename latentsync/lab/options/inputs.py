"""The cheap checks of a clip and a voice before a job computes anything: each file opens and gives its first frames."""

from collections.abc import Iterable
from pathlib import Path

from latentsync.config import MIN_DURATION_S
from latentsync.errors import LatentSyncError, MediaError
from latentsync.files import kept_per_file
from latentsync.lab.options.pairs import Pair
from latentsync.media.container import (
    check_file,
    decode_packets,
    open_input,
    packets_of,
    sound_stream_of,
    video_stream_of,
)
from latentsync.media.limits import check_picture_size, sound_within_limits


def require_usable(pair: Pair, track: int | None = None) -> None:
    """Refuses a pair whose clip gives no picture, or whose voice is too short or gives no sound.

    Args:
        track: the sound track of the voice, if the pair names none; see `config.VideoOptions`.

    Raises:
        MediaError: naming the file and the remedy.
    """
    track = track if pair.voice_track is None else pair.voice_track
    for reason in (refusal(pair.clip, True), refusal(pair.voice, False, track)):
        if reason is not None:
            raise MediaError(reason)


def unusable_first(pairs: Iterable[Pair], track: int | None = None) -> list[Pair]:
    """The pairs in their order, but first those that will fail. So a job reports them before it computes anything.

    Args:
        track: as of `require_usable`.
    """

    def is_usable(pair: Pair) -> bool:
        try:
            require_usable(pair, track)
        except Exception:  # the pair's own run reports it, also if a decoder fails in an unknown way
            return False
        return True

    return sorted(pairs, key=is_usable)


def refusal(path: Path, is_clip: bool, track: int | None = None) -> str | None:
    """Why a file is no clip, or no voice; None if it is one. Kept while its size and time of change stay the same."""
    try:
        check_file(path)
        _require(path, is_clip, track)
    except LatentSyncError as error:
        return str(error)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror}); check its permissions"
    return None


@kept_per_file(8192)
def _require(path: Path, is_clip: bool, track: int | None) -> None:
    with open_input(path) as container:
        stream = video_stream_of(container, path) if is_clip else sound_stream_of(container, path, track)
        frames = decode_packets(packets_of(container, stream))
        if is_clip:
            frame = next(frames, None)
            if frame is None:
                raise MediaError(f"no frame of {path} can be decoded; check that it is complete and plays")
            check_picture_size(path, frame.width, frame.height)
            return
        seconds = 0.0
        for frame in sound_within_limits(path, frames):
            seconds += frame.samples / frame.sample_rate
            if seconds >= MIN_DURATION_S:
                return
    if seconds == 0:
        raise MediaError(f"{path} holds no sound (0 samples can be decoded); record or convert it again")
    raise MediaError(f"{path.name} holds {seconds:.2f} s of sound; at least {MIN_DURATION_S} s is needed")
