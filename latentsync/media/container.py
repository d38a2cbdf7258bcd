"""Opens local media files with FFmpeg's libraries and decodes their packets, for reading and for writing."""

import math
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import av

from latentsync.errors import LatentSyncError, MediaError, OptionError
from latentsync.media.isolation import require_survived
from latentsync.media.limits import MAX_PIXELS, check_picture_size, check_sound

Answer = TypeVar("Answer")

# A playlist in place of a clip must not reach the network, and a name such as "who?.png" is no pattern of pictures.
_LOCAL_ONLY = {"protocol_whitelist": "file", "pattern_type": "none"}
_UNSPECIFIED = 2  # transfer of the colours
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")


def check_file(path: Path) -> None:
    """Refuses a path without a file, what is no ordinary file (opening a pipe would wait for ever), and an empty file.

    Raises:
        MediaError: the message says which it is.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        if path.is_symlink():
            raise MediaError(f"{path} is a link to a file that does not exist; check the link") from error
        raise MediaError(f"{path} does not exist; check the path") from error
    except OSError as error:
        raise MediaError(f"{path} cannot be read ({error.strerror}); check its path and permissions") from error
    if stat.S_ISDIR(status.st_mode):
        raise MediaError(f"{path} is a folder; give a video or sound file")
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(f"{path} is no ordinary file (a pipe, socket or device); give a video or sound file")
    if status.st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes); copy or download it again")


def open_container(path: Path | str) -> av.container.InputContainer:
    """Opens a file of any known format. The caller closes it; prefer `open_input`.

    Raises:
        MediaError: the file is missing, empty or unreadable, or ends the process that tries it, see `isolation`.
    """
    check_file(Path(path))
    try:
        require_survived(path)
        # An absolute path cannot be mistaken for an option or a protocol ("-a.mp4", "http:a.mp4").
        return av.open(os.path.abspath(path), options=_LOCAL_ONLY, metadata_errors="ignore")
    except MediaError:
        raise
    except (av.FFmpegError, *_UNDECODABLE) as error:
        raise MediaError(
            f"{path} cannot be read as a video or sound file ({_reason(error)}); "
            f"check that it is complete and plays, or convert it to MP4 or WAV"
        ) from error


@contextmanager
def open_input(path: Path | str) -> Iterator[av.container.InputContainer]:
    """An open file of any known format. What FFmpeg cannot do with it inside the block is a MediaError too.

    Raises:
        MediaError: the file is missing, empty or unreadable, or its streams cannot be decoded.
    """
    with decoding(path), open_container(path) as container:
        yield container


# What FFmpeg, PyAV, numpy and the system raise for files that they cannot decode, beside av.FFmpegError: IndexError for
# a packet of a stream that appears later, UnicodeDecodeError (a ValueError) for names, OverflowError and
# ZeroDivisionError for times, MemoryError for sizes, NotImplementedError for formats that numpy cannot hold.
_UNDECODABLE = (OSError, ValueError, ArithmeticError, LookupError, MemoryError, NotImplementedError)


@contextmanager
def decoding(path: Path | str) -> Iterator[None]:
    """Turns every error of decoding inside the block into a MediaError that names the file: the one place for it."""
    try:
        yield
    except LatentSyncError:
        raise
    except av.DecoderNotFoundError as error:
        raise MediaError(
            f"{path} has a codec that FFmpeg cannot decode; convert it to H.264 (video) or WAV (sound)"
        ) from error
    except (av.FFmpegError, *_UNDECODABLE) as error:
        raise MediaError(
            f"{path} cannot be decoded ({_reason(error)}); check that it is complete and plays, or convert it"
        ) from error


def reads_media(function: Callable[..., Answer]) -> Callable[..., Answer]:
    """Decorates a function of a media file, its first argument: what goes wrong with the file is a MediaError."""

    @wraps(function)
    def reading(path: Path | str, *args: Any, **options: Any) -> Answer:
        check_file(Path(path))
        with decoding(path):
            return function(path, *args, **options)

    return reading


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def pictures_of(container: av.container.InputContainer) -> list[av.VideoStream]:
    """The streams with pictures, the best one first. The cover of a song and the thumbnails of a film are none."""
    streams = [one for one in container.streams.video if not one.disposition & av.stream.Disposition.attached_pic]
    best = container.streams.best("video")
    return sorted(streams, key=lambda one: (one.codec_context is None, one is not best and one.index != best.index))


def find_video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The stream with the clip's pictures; None if there is none but, at most, a cover picture."""
    streams = pictures_of(container)
    return streams[0] if streams else None


def video_stream_of(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The stream with the clip's pictures.

    Raises:
        MediaError: there is none, FFmpeg cannot decode it, or its pictures are too large.
    """
    stream = find_video_stream(container)
    if stream is None:
        raise MediaError(f"{path} has no video stream; give a file with moving pictures as the clip")
    if stream.codec_context is None:
        raise MediaError(f"{path} has a video codec that FFmpeg does not know; convert it to H.264")
    if is_heic(path):
        raise MediaError(f"{path} is a HEIC picture, stored as tiles that FFmpeg does not join; save it as JPEG or PNG")
    if _is_bare_dolby_vision(stream):
        raise MediaError(
            f"{path} is Dolby Vision without a base layer that other players show (profile 5); export it as HDR10, HLG "
            f"or SDR"
        )
    context = stream.codec_context
    check_picture_size(path, context.width or 0, context.height or 0)
    if not context.is_open:
        context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}  # also where the stream says otherwise
        stream.thread_type = "AUTO"
    return stream


def _is_bare_dolby_vision(stream: av.VideoStream) -> bool:
    """Whether the colours are Dolby's own (IPT). A base layer in HLG, PQ or SDR says so in its flags."""
    is_marked = stream.codec_context.codec_tag.lower() in ("dvh1", "dvhe")
    return is_marked and stream.codec_context.color_trc == _UNSPECIFIED


def holds_pictures(container: av.container.InputContainer) -> bool:
    """Whether the file's format is one of still or animated pictures, such as PNG and GIF."""
    name = container.format.name
    is_avif = container.metadata.get("major_brand") in ("avif", "avis")
    return name.endswith("_pipe") or name in ("image2", "gif", "apng") or is_avif


def is_heic(path: Path | str) -> bool:
    """Whether a file is a picture in HEIC, as phones of Apple take them."""
    with open(path, "rb") as file:
        head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS


def sound_stream_of(container: av.container.InputContainer, path: Path, track: int | None = None) -> av.AudioStream:
    """A sound track.

    Args:
        track: its number among the file's sound tracks, from 0. None takes the track that is marked as the default, or
            else the one with most channels and the highest bit rate, as players do; among those FFmpeg can decode.

    Raises:
        MediaError: there is none, FFmpeg cannot decode it, or its rate or channels are out of the limits.
    """
    streams = list(container.streams.audio)
    if not streams:
        raise MediaError(f"{path} has no sound stream; give a file with sound as the voice")
    if track is not None:
        if not 0 <= track < len(streams):
            raise MediaError(f"{path} has no sound track {track}; it has {len(streams)}, counted from 0")
        stream = streams[track]
    else:
        best = container.streams.best("audio")
        stream = min(streams, key=lambda one: (one.codec_context is None, best is None or one.index != best.index))
    if stream.codec_context is None:
        raise MediaError(f"{path} has a sound codec that FFmpeg does not know; convert it to WAV")
    context = stream.codec_context
    if context.sample_rate and context.layout.nb_channels:  # known before the first packet
        check_sound(path, context.sample_rate, context.layout.nb_channels)
    return stream


def packets_of(
    container: av.container.InputContainer, stream: av.stream.Stream | list[av.stream.Stream]
) -> Iterator[av.Packet]:
    """The packets of a stream, or of several in the file's order. They end at a read error in the file, as ffmpeg's."""
    try:
        yield from container.demux(stream)
    except av.FFmpegError:
        return


def decode_packets(packets: Iterator[av.Packet]) -> Iterator[Any]:
    """The packets' frames. A broken packet is left out and decoding goes on, as with ffmpeg."""
    for packet in packets:
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            continue
        yield from frames


def exact_rate(rate_hz: float) -> Fraction:
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise OptionError(f"rate_hz is {rate_hz}; it must be a finite number above 0 (25 is the usual choice)")
    return Fraction(rate_hz).limit_denominator(100_000)
