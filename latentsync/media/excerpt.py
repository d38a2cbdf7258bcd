"""A short piece of a clip and of its voice."""

from pathlib import Path

import cv2

from latentsync import media
from latentsync.constants import SOUND_RATE_HZ, VIDEO_RATE_HZ
from latentsync.errors import OptionError
from latentsync.media import VideoWriter
from latentsync.media.sound import to_int16, write_wav

CRF = 10  # visually lossless


def excerpt_voice(voice: Path, target: Path, start_s: float, duration_s: float) -> Path:
    """Writes a piece of a voice as a WAV file, 16 kHz mono, and returns `target`.

    Raises:
        OptionError: the voice does not hold the piece.
        MediaError: a file cannot be read or written.
    """
    samples = media.read_sound(voice, SOUND_RATE_HZ)
    first, last = (round(second * SOUND_RATE_HZ) for second in (start_s, start_s + duration_s))
    if not 0 <= first < last <= len(samples):
        raise OptionError(
            f"the piece from {start_s:g} to {start_s + duration_s:g} s does not lie in {voice}, which has "
            f"{len(samples) / SOUND_RATE_HZ:.2f} s; choose another start_s or duration_s"
        )
    write_wav(target, to_int16(samples[first:last]))
    return target


def excerpt(
    clip: Path, folder: Path, start_s: float, duration_s: float, height_px: int | None = None, silent: bool = False
) -> Path:
    """Writes a piece of a clip, NAME.mp4 at 25 Hz, and of the voice beside it, NAME.wav.

    Args:
        clip: its voice lies beside it (.wav).
        folder: where to write; it must exist.
        height_px: height of the piece, an even number; None: the clip's height.
        silent: whether the MP4 has no sound.

    Returns:
        The piece's video.

    Raises:
        OptionError: the clip or the voice does not hold the piece.
        MediaError: a file cannot be read or written.
    """
    target = folder / clip.name
    sound = excerpt_voice(clip.with_suffix(".wav"), target.with_suffix(".wav"), start_s, duration_s)
    info = media.probe(clip, VIDEO_RATE_HZ)
    start, count = (round(second * VIDEO_RATE_HZ) for second in (start_s, duration_s))
    if start + count > info.num_frames:
        raise OptionError(
            f"frames {start} to {start + count} do not lie in {clip}, which has {info.num_frames}; "
            f"choose another start_s or duration_s"
        )
    height = height_px or info.height
    size = round(info.width * height / info.height), height
    heard = {} if silent else {"sound": sound, "sound_coding": "lossless"}
    with VideoWriter(target, *size, crf=CRF, **heard, comment=f"a piece of {clip.name}") as out:
        for frame in media.read_frames(clip, VIDEO_RATE_HZ, start, start + count):
            out.write(frame if size == frame.shape[1::-1] else cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
    return target
