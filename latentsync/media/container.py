"""Opens local media files with FFmpeg's libraries and decodes their packets, for reading and for writing."""

import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from latentsync.errors import MediaError, OptionError

_LOCAL_ONLY = {"protocol_whitelist": "file"}  # a playlist in place of a clip must not reach the network


def check_file(path: Path) -> None:
    """Refuses a path without a file, and an empty file."""
    if not path.exists():
        raise MediaError(f"{path} does not exist; check the path")
    if path.is_dir():
        raise MediaError(f"{path} is a folder; give a video or sound file")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes); copy or download it again")


def open_input(path: Path | str) -> av.container.InputContainer:
    """Opens a file of any known format.

    Raises:
        MediaError: the file is missing, empty or unreadable.
    """
    check_file(Path(path))
    try:
        # An absolute path cannot be mistaken for an option or a protocol ("-a.mp4", "http:a.mp4").
        return av.open(os.path.abspath(path), options=_LOCAL_ONLY, metadata_errors="ignore")
    except (av.FFmpegError, OSError) as error:
        raise MediaError(
            f"{path} cannot be read as a video or sound file ({error.strerror}); "
            f"check that it is complete and plays, or convert it to MP4 or WAV"
        ) from error


def find_video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The video stream; None if there is none but, at most, a cover picture."""
    stream = container.streams.best("video")
    return None if stream is None or stream.disposition & av.stream.Disposition.attached_pic else stream


def video_stream_of(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    stream = find_video_stream(container)
    if stream is None:
        raise MediaError(f"{path} has no video stream; give a file with moving pictures as the clip")
    stream.thread_type = "AUTO"
    return stream


def sound_stream_of(container: av.container.InputContainer, path: Path) -> av.AudioStream:
    stream = container.streams.best("audio")
    if stream is None:
        raise MediaError(f"{path} has no sound stream; give a file with sound as the voice")
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
