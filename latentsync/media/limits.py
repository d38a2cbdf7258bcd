"""What a media file may hold at most. What a header says beyond it is refused in a sentence, before memory is taken.

The limits are far above what cameras and recorders make, and far below what damaged headers say. docs/inputs.md has the
same numbers as a table.
"""

from collections.abc import Iterator
from pathlib import Path

import av

from latentsync.errors import MediaError

MAX_PIXELS = 1 << 26  # of a picture as shown, 67 million: 8192 x 8192 px
MAX_SIDE_PX = 32_768
MAX_RATE_HZ = 1000  # of pictures, on average
SOUND_RATES_HZ = (1000, 768_000)
MAX_CHANNELS = 64
MAX_HOURS = 12
MAX_DURATION_S = MAX_HOURS * 3600
MAX_SILENT_HOURS = 1  # that are put in before a sound that starts late, and into its holes


def check_picture_size(path: Path | str, width: int, height: int) -> None:
    """Refuses pictures that are too large.

    Args:
        width, height: in px; 0 where the file does not say.

    Raises:
        MediaError: a side or the number of pixels is above its limit.
    """
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE_PX:
        raise MediaError(
            f"{path} has pictures of {width} x {height} px; at most {MAX_PIXELS // 10**6} million pixels and "
            f"{MAX_SIDE_PX} px a side can be read; make them smaller, or convert the file again if it is damaged"
        )


def check_picture_times(path: Path | str, count: int, duration_s: float) -> None:
    """Refuses a clip that is too long or has too many pictures a second.

    Args:
        count: of pictures.
        duration_s: from the first picture to the end of the last.

    Raises:
        MediaError: a value is above its limit.
    """
    check_duration(path, duration_s)
    if count > 1 and count > MAX_RATE_HZ * duration_s:
        rate_hz = count / duration_s if duration_s > 0 else float("inf")
        raise MediaError(
            f"{path} says that it shows {rate_hz:.6g} pictures a second; at most {MAX_RATE_HZ} can be read; its times "
            f"are wrong, convert it again"
        )


def check_duration(path: Path | str, duration_s: float) -> None:
    """Refuses what lasts too long.

    Raises:
        MediaError: it is longer than the limit.
    """
    if duration_s > MAX_DURATION_S:
        raise MediaError(
            f"{path} lasts {duration_s / 3600:.6g} hours by its time stamps; at most {MAX_HOURS} can be read; cut it, "
            f"or convert it again if it is shorter"
        )


def check_silence(path: Path | str, silent_s: float) -> None:
    """Refuses a sound with so long a start or such holes that a file of a few KB would give hours of silence.

    Raises:
        MediaError: they are longer than the limit.
    """
    if silent_s > MAX_SILENT_HOURS * 3600:
        raise MediaError(
            f"the sound of {path} starts late or has holes, of {silent_s / 3600:.6g} hours by its time stamps; at most "
            f"{MAX_SILENT_HOURS} hour can be filled with silence; convert it again"
        )


def check_sound(path: Path | str, rate_hz: int, channels: int) -> None:
    """Refuses a rate that no recorder has, and too many channels.

    Raises:
        MediaError: a value is out of its limits.
    """
    least, most = SOUND_RATES_HZ
    if not least <= rate_hz <= most:
        raise MediaError(
            f"{path} says that its rate is {rate_hz} Hz; {least} to {most} Hz are possible; its header is wrong, "
            f"convert it again"
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise MediaError(
            f"{path} has {channels} channels; 1 to {MAX_CHANNELS} can be read; mix it down (mono is best), or convert "
            f"it again if its header is wrong"
        )


def sound_within_limits(path: Path | str, frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """The frames of a sound, refused where they leave the limits of rate, channels or duration.

    Raises:
        MediaError: as `check_sound` and `check_duration`.
    """
    seconds = 0.0
    for frame in frames:
        check_sound(path, frame.sample_rate, frame.layout.nb_channels)
        seconds += frame.samples / frame.sample_rate
        check_duration(path, seconds)
        yield frame
