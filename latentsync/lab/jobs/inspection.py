"""What a clip shows and what a sound holds, found without a model.

A clip is sampled. Faces are looked for in a few frames of its whole length, cuts in its first seconds and between the
keyframes of the rest. A sound is decoded whole.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from latentsync.arrays import Frame
from latentsync.constants import VIDEO_RATE_HZ
from latentsync.faces.landmarks import LandmarkDetector, bounds
from latentsync.media import VideoInfo, probe, read_frames
from latentsync.media.channels import waveform_of
from latentsync.media.clock import clock_of
from latentsync.media.container import decode_packets, open_input, packets_of, sound_stream_of, video_stream_of
from latentsync.media.limits import sound_within_limits

SAMPLED_FRAMES = 12  # so that a stretch of a tenth of the clip has one of them
SCANNED_S = 10  # in which every cut is seen
MAX_KEYFRAMES = 400  # beyond them
SOUGHT_ABOVE_FRAMES = 60 * VIDEO_RATE_HZ  # of a clip's length
THUMBNAIL_PX = 64
CUT_CHANGE = 27.0  # mean change of hue, saturation and brightness, 0..255, as scenedetect's default
FULL_SCALE = 0.999


@dataclass
class Picture:
    """What a clip shows.

    Attributes:
        rate_hz: of the file's own frames, on average.
        faces: in how many of the `sampled` frames there is a face.
        people: most faces in one of them.
        face_px: median width of the largest face, in px; None without any.
        face_share: the same as a share of the picture's longer side.
        cuts: changes of scene that were seen.
    """

    width: int
    height: int
    rate_hz: float
    duration_s: float
    sampled: int = 0
    faces: int = 0
    people: int = 0
    face_px: float | None = None
    face_share: float | None = None
    cuts: int = 0

    @property
    def size_text(self) -> str:
        """Width, height, rate and duration."""
        return f"{self.width}x{self.height}, {self.rate_hz:.4g} fps, {self.duration_s:.1f} s"

    @property
    def face_text(self) -> str | None:
        """The face's size, and in how many of the frames it is; None if no frame was looked at."""
        if not self.sampled:
            return None
        size = "" if self.face_px is None else f"{self.face_px:.0f} px ({self.face_share:.0%}), "
        return f"{size}in {self.faces} of {self.sampled}"


@dataclass
class Sound:
    """What a voice, or a clip's own sound, holds.

    Attributes:
        peak_db, level_db: of the largest sample and of the mean square, in dB of full scale; None for digital silence.
        clipped: share of the samples that are at full scale.
        starts_s: of a clip's sound: how long after the first picture it begins, in s; before it if negative.
    """

    codec: str
    rate_hz: int
    channels: int
    duration_s: float
    peak_db: float | None
    level_db: float | None
    clipped: float
    starts_s: float | None = None

    @property
    def kind_text(self) -> str:
        """Codec, rate, channels and duration."""
        channels = {1: "mono", 2: "stereo"}.get(self.channels, f"{self.channels} channels")
        return f"{self.codec}, {self.rate_hz / 1000:g} kHz {channels}, {self.duration_s:.1f} s"

    @property
    def peak_text(self) -> str:
        """The largest sample."""
        return "silent" if self.peak_db is None else f"{self.peak_db:.1f} dB"


def picture_of(path: Path, detector: LandmarkDetector) -> Picture:
    """What a clip shows.

    Raises:
        MediaError: it has no picture that can be decoded.
    """
    info = probe(path)
    picture = Picture(info.width, info.height, round(info.source_rate_hz, 3), round(info.duration_s, 3))
    picture.cuts = _cuts(path)
    widths: list[float] = []
    for frame in _samples(path, info):
        boxes = [bounds(face) for face in detector(frame)]
        picture.sampled += 1
        picture.faces += bool(boxes)
        picture.people = max(picture.people, len(boxes))
        widths += [max(box[2] - box[0] for box in boxes)] if boxes else []
    if widths:
        picture.face_px = round(float(np.median(widths)), 1)
        picture.face_share = round(picture.face_px / max(info.width, info.height), 3)
    return picture


def _samples(path: Path, info: VideoInfo) -> Iterator[Frame]:
    """A few frames, spread over the clip. A short clip is decoded once; in a long one each is sought."""
    if info.num_frames <= SAMPLED_FRAMES:
        yield from read_frames(path)
    elif info.num_frames <= SOUGHT_ABOVE_FRAMES:
        yield from read_frames(path, rate_hz=SAMPLED_FRAMES / info.duration_s)
    else:
        for middle in (np.arange(SAMPLED_FRAMES) + 0.5) * info.num_frames / SAMPLED_FRAMES:
            yield from read_frames(path, start=int(middle), stop=int(middle) + 1)


def _cuts(path: Path) -> int:
    """Changes of scene: all in the clip's first seconds, and those between keyframes of the rest. Encoders put a
    keyframe at most cuts, and reading only these takes little time."""
    pictures = clock_of(path).pictures
    scanned = pictures.start_s + SCANNED_S
    keys = sorted(pts for pts in pictures.keys if pts is not None and pts * pictures.time_base >= scanned)
    keys = set(keys[:: max(1, math.ceil(len(keys) / MAX_KEYFRAMES))])
    cuts, before = 0, None
    with open_input(path) as container:
        stream = video_stream_of(container, path)
        wanted = (
            packet
            for packet in packets_of(container, stream)
            if packet.pts is None or packet.pts in keys or packet.pts * pictures.time_base < scanned
        )
        for frame in decode_packets(wanted):
            thumbnail = _thumbnail(frame)
            cuts += before is not None and before.shape == thumbnail.shape and _differs(before, thumbnail)
            before = thumbnail
    return cuts


def _thumbnail(frame: av.VideoFrame) -> Frame:
    """A small copy in hue, saturation and brightness."""
    scale = min(1.0, THUMBNAIL_PX / max(frame.width, frame.height))
    width, height = (max(2, round(side * scale)) for side in (frame.width, frame.height))
    return cv2.cvtColor(frame.reformat(width, height, "rgb24").to_ndarray(), cv2.COLOR_RGB2HSV_FULL)


def _differs(before: Frame, after: Frame) -> bool:
    """Whether a cut lies between two thumbnails. Hue is a circle, so its change is at most half of it."""
    change = np.abs(before.astype(np.int16) - after)
    change[..., 0] = np.minimum(change[..., 0], 256 - change[..., 0])
    return bool(change.mean() > CUT_CHANGE)


def sound_of(path: Path) -> Sound | None:
    """The sound of a file; None if a clip's sound track is empty.

    Raises:
        MediaError: it has no sound that can be decoded.
    """
    clock = clock_of(path)
    count, square, clipped, peak = 0, 0.0, 0, 0.0
    first_s: Fraction | None = None
    rate_hz = channels = seconds = 0
    with open_input(path) as container:
        stream = sound_stream_of(container, path)
        packets = clock.continued(packets_of(container, stream), stream)
        for frame in sound_within_limits(path, decode_packets(packets)):
            if first_s is None and frame.pts is not None:
                first_s = frame.pts * frame.time_base
            samples = np.abs(np.nan_to_num(waveform_of(frame).astype(np.float64)))
            count, square = count + samples.size, square + float(np.square(samples).sum())
            peak, clipped = max(peak, float(samples.max(initial=0.0))), clipped + int((samples >= FULL_SCALE).sum())
            rate_hz, channels = frame.sample_rate, frame.layout.nb_channels
            seconds += frame.samples / frame.sample_rate
        codec = stream.codec_context.codec.canonical_name
    if not count:
        return None
    starts = None if clock.pictures is None or first_s is None else float(first_s - clock.pictures.start_s)
    return Sound(
        codec, rate_hz, channels, round(seconds, 3), _decibels(peak), _decibels(math.sqrt(square / count)),
        round(clipped / count, 6), None if starts is None else round(starts, 3),
    )  # fmt: skip


def _decibels(amplitude: float) -> float | None:
    return round(20 * math.log10(amplitude), 1) if amplitude > 0 else None
