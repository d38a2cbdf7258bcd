"""Copies a video with its sound moved in time. Nothing is encoded again."""

from fractions import Fraction
from pathlib import Path

import av

from latentsync.errors import MediaError, OptionError
from latentsync.files import whole_file
from latentsync.media.container import check_file, open_input, packets_of, sound_stream_of, video_stream_of

# Containers that store a time for each packet, and their names in FFmpeg.
FORMATS = {
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".3gp": "3gp", ".mkv": "matroska", ".webm": "webm", ".ts": "mpegts",
}  # fmt: skip


def copy_with_sound_moved(video: Path, target: Path, seconds: Fraction) -> None:
    """Writes a copy of a video whose sound comes later, or earlier if `seconds` is negative.

    The packets of pictures, sound and subtitles are copied; only the times of the sound change. Sound that would come
    before the first picture is not played (MP4 stores an edit list for it).

    Args:
        target: its suffix chooses the container, one of `FORMATS`. The file appears only when it is complete.

    Raises:
        OptionError: the target's container is unknown, or the target is the video itself.
        MediaError: the video cannot be read, has no sound, or cannot be copied into the target's container.
    """
    check_target(video, target)
    with open_input(video) as source:
        video_stream_of(source, video)
        sound_stream_of(source, video)
        try:
            with whole_file(target) as part:
                _copy(source, part, FORMATS[target.suffix.lower()], seconds)
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise MediaError(
                f"{video} cannot be copied to {target} ({reason}); give --output a name with .mkv, or another folder"
            ) from error


def check_target(video: Path, target: Path) -> None:
    """Refuses a target that `copy_with_sound_moved` cannot write.

    Raises:
        OptionError: as there.
        MediaError: the video or the target's folder does not exist.
    """
    check_file(video)
    if target.suffix.lower() not in FORMATS:
        raise OptionError(
            f"{target} ends in {target.suffix or 'no suffix'}; give a name with one of {', '.join(FORMATS)}"
        )
    if target.exists() and target.samefile(video):
        raise OptionError(f"{target} is the video itself; give another name")
    if not target.parent.is_dir():
        raise MediaError(f"the folder {target.parent} does not exist; create it first")


def _copy(source: av.container.InputContainer, part: Path, format_name: str, seconds: Fraction) -> None:
    options = {"movflags": "+faststart"} if format_name in ("mp4", "mov", "3gp") else {}
    with av.open(str(part), "w", format=format_name, options=options) as output:
        output.metadata.update(source.metadata)
        streams = {
            stream.index: output.add_stream_from_template(stream)
            for stream in source.streams
            if stream.type in ("video", "audio", "subtitle")
        }
        for packet in packets_of(source, [source.streams[index] for index in streams]):
            if not packet.size:  # the end of a stream
                continue
            stream = packet.stream
            if stream.type == "audio" and packet.pts is not None:
                moved = round(seconds / packet.time_base)
                packet.pts += moved
                packet.dts = packet.pts if packet.dts is None else packet.dts + moved
            packet.stream = streams[stream.index]
            output.mux(packet)
