"""Reads video: frames of a clip at a constant rate, in any order. Memory does not grow with the clip."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, dropwhile
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType

from latentsync.arrays import Frame
from latentsync.constants import VIDEO_RATE_HZ
from latentsync.errors import MediaError, OptionError
from latentsync.files import kept_per_file
from latentsync.media.clock import Clock, Pictures, clock_of
from latentsync.media.colour import PictureConverter, colour_conversions
from latentsync.media.container import (
    decode_packets,
    decoding,
    exact_rate,
    holds_pictures,
    open_input,
    packets_of,
    reads_media,
    video_stream_of,
)
from latentsync.media.conversions import Conversion
from latentsync.media.interlace import INTERLACED, deinterlaced, is_interlaced
from latentsync.media.limits import check_picture_size
from latentsync.media.order import held, monotone_runs, picked
from latentsync.media.sound import has_sound

REVERSED_BLOCK_FRAMES = 32  # decoded together when frames are read backwards
REVERSED_BLOCK_BYTES = 128 << 20  # a block takes at most this much memory

STILL = Conversion("still-1", "shows a single picture, which is held for the length of the voice", changes=False)
STILL_RATE = Fraction(25)  # of a still picture, in frames/s


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    Attributes:
        width, height: in px as displayed, after rotation.
        duration_s: from the first frame to the end of the last.
        source_rate_hz: average rate of the file's own frames.
        num_frames: at the constant rate given to `probe`, or the file's own.
        rotation: clockwise turn that the file asks for, in degrees: 0, 90, 180 or 270. It is applied to `width`,
            `height` and every frame.
        has_sound: whether there is sound that can be decoded; a sound track without samples is none.
        conversions: what a reader changes: HDR, interlaced and transparent pictures; and whether it is a still.
    """

    path: Path
    width: int
    height: int
    duration_s: float
    source_rate_hz: float
    num_frames: int
    rotation: int
    has_sound: bool
    conversions: tuple[Conversion, ...] = ()


@dataclass(frozen=True)
class _Timeline:
    """When each source frame is shown, and how its pixels become a picture.

    Attributes:
        clock: of the file; its pictures are not None.
        size: (width, height) of the coded picture with square pixels, before rotation.
        orientation: 2x2 signs of the display matrix; None if the picture is upright.
        has_sound, conversions: see `VideoInfo`.
    """

    clock: Clock
    pictures: Pictures
    size: tuple[int, int]
    orientation: tuple[int, int, int, int] | None
    has_sound: bool
    conversions: tuple[Conversion, ...]

    def slot(self, pts: int, rate: Fraction | None) -> int:
        """The output frame that first shows a source frame: its time is rounded to the nearest frame, halves up."""
        if rate is None:
            return max(0, int(np.searchsorted(self.pictures.pts, pts, side="right")) - 1)
        return math.floor((pts - int(self.pictures.pts[0])) * self.pictures.time_base * rate + Fraction(1, 2))

    def num_frames(self, rate: Fraction | None) -> int:
        return len(self.pictures.pts) if rate is None else max(1, self.slot(self.pictures.end, rate))

    def last_pts_in(self, slot: int, rate: Fraction | None) -> int:
        """The source frame that output frame `slot` shows."""
        if rate is None:
            return int(self.pictures.pts[slot])
        bound = int(self.pictures.pts[0]) + math.ceil((slot + Fraction(1, 2)) / (rate * self.pictures.time_base))
        return self.pts_before(bound)

    def pts_before(self, pts: int) -> int:
        """The last source frame before a time; the first one if there is none."""
        return int(self.pictures.pts[max(0, np.searchsorted(self.pictures.pts, pts, side="left") - 1)])


@reads_media
def _timeline(path: Path | str) -> _Timeline:
    """The file's timeline; cached while the file's size and time of change stay the same."""
    return _scan(path)


@kept_per_file(16)
def _scan(path: Path) -> _Timeline:
    """Reads the file's clock and the first frame."""
    (frame, is_picture), clock = _first_frame(path), clock_of(path)
    pictures = clock.pictures
    assert pictures is not None  # noqa: S101 - for type checkers; a frame was decoded
    still = (STILL,) if len(pictures.pts) == 1 else ()
    if still and is_picture:  # whatever a GIF or the reader of pictures says
        length = max(1, round(1 / (STILL_RATE * pictures.time_base)))
        pictures = replace(pictures, end=int(pictures.pts[0]) + length, rate=STILL_RATE)
    with decoding(path):
        conversions = (*still, *((INTERLACED,) if is_interlaced(frame) else ()), *colour_conversions(frame))
    looks = _square_size(frame, pictures.aspect), _orientation(frame)
    check_picture_size(path, *looks[0])
    return _Timeline(clock, pictures, *looks, has_sound(path), conversions)


def _first_frame(path: Path) -> tuple[av.VideoFrame, bool]:
    """The first frame that can be decoded, and whether the file's format is one of pictures."""
    with open_input(path) as container:
        is_picture, is_webp = holds_pictures(container), container.format.name == "webp_pipe"
        frame = next(decode_packets(packets_of(container, video_stream_of(container, path))), None)
    if frame is None:
        remedy = "save an animated WebP as GIF or MP4" if is_webp else "check that it is complete and plays"
        raise MediaError(f"no frame of {path} can be decoded; {remedy}")
    return frame, is_picture


def _square_size(frame: av.VideoFrame, aspect: Fraction) -> tuple[int, int]:
    """(width, height) with the pixels made square by widening or narrowing the picture."""
    return max(2, round(frame.width * aspect)), frame.height


def _orientation(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """Signs (a, b, c, d) of the display matrix, rounded to quarter turns: x' = a x + c y, y' = b x + d y."""
    try:
        data = frame.side_data.get(SideDataType.DISPLAYMATRIX)
    except ValueError:  # PyAV does not know the kind of another entry, such as a photo's EXIF
        turns = round(frame.rotation / 90) % 4  # counterclockwise
        return (None, (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))[turns]
    if data is None:
        return None
    a, b, _, c, d, *_ = (int(value) for value in np.frombuffer(bytes(data), dtype="<i4"))
    turned = abs(b) > abs(a)
    signs = (0, _sign(b), _sign(c), 0) if turned else (_sign(a), 0, 0, _sign(d))
    return None if signs == (1, 0, 0, 1) else signs


def _sign(value: int) -> int:
    return -1 if value < 0 else 1


def _upright(picture: Frame, orientation: tuple[int, int, int, int] | None) -> Frame:
    """Turns and mirrors a coded picture by quarter turns so that it stands as a player shows it."""
    if orientation is None:
        return picture
    a, b, c, d = orientation
    if a == 0:
        picture = picture.transpose(1, 0, 2)
    return np.ascontiguousarray(picture[:: b or d, :: a or c])


def _rotation(orientation: tuple[int, int, int, int] | None) -> int:
    """The clockwise turn of an orientation in degrees; mirroring is ignored."""
    a, b, _, _ = orientation or (1, 0, 0, 1)
    return {(1, 0): 0, (0, 1): 90, (-1, 0): 180, (0, -1): 270}[a, b]


def _exact_or_own(rate_hz: float | None) -> Fraction | None:
    return None if rate_hz is None else exact_rate(rate_hz)


def frame_times(path: Path | str, rate_hz: float | None = VIDEO_RATE_HZ) -> list[Fraction]:
    """When each frame of a clip begins, and when the last one ends, in s from the first: one number more than frames.

    Args:
        rate_hz: the constant rate at which the clip is read; None: its own frames, as in `read_frames`.

    Raises:
        MediaError, OptionError: as `probe`.
    """
    timeline, rate = _timeline(path), _exact_or_own(rate_hz)
    if rate is not None:
        return [number / rate for number in range(timeline.num_frames(rate) + 1)]
    pictures = timeline.pictures
    units = [*pictures.pts.tolist(), max(pictures.end, int(pictures.pts[-1]) + 1)]
    return [(unit - units[0]) * pictures.time_base for unit in units]


def probe(path: Path | str, rate_hz: float | None = VIDEO_RATE_HZ) -> VideoInfo:
    """What a video file holds; reads its packets and decodes its first frame.

    Args:
        rate_hz: the rate for which `num_frames` is counted; None: the file's own frames.

    Raises:
        MediaError: the file is missing, unreadable or empty, has no video stream, or no decodable frame.
    """
    timeline = _timeline(path)
    pictures = timeline.pictures
    rotation = _rotation(timeline.orientation)
    width, height = timeline.size if rotation % 180 == 0 else timeline.size[::-1]
    return VideoInfo(
        path=Path(path),
        width=width,
        height=height,
        duration_s=float(pictures.end * pictures.time_base - pictures.start_s),
        source_rate_hz=float(pictures.rate),
        num_frames=timeline.num_frames(_exact_or_own(rate_hz)),
        rotation=rotation,
        has_sound=timeline.has_sound,
        conversions=timeline.conversions,
    )


def read_frames(
    path: Path | str, rate_hz: float | None = VIDEO_RATE_HZ, start: int = 0, stop: int | None = None
) -> Iterator[Frame]:
    """Streams frames `start` .. `stop` - 1 of a clip at a constant rate, uint8 RGB `(h, w, 3)`.

    Output frame i is the last source frame shown before (i + 1/2) / rate, where times count from the first frame. This
    is ffmpeg's rule `fps=rate:round=near`. There are `probe(path, rate_hz).num_frames` output frames, and `stop` is
    clipped to that number, as in slicing. A `start` in the middle seeks to the keyframe before it; this gives the same
    pixels as reading from the beginning.

    With `rate_hz=None` the output frames are the file's own, each once, at the times of `frame_times(path, None)`.

    Raises:
        MediaError: as `probe`.
        OptionError: a rate of 0 or less, or a negative `start` or `stop`.
    """
    rate = _exact_or_own(rate_hz)
    if start < 0 or (stop is not None and stop < 0):
        raise OptionError(f"start is {start} and stop is {stop}; frames are counted from 0")
    timeline = _timeline(path)
    total = timeline.num_frames(rate)
    return _stream_frames(Path(path), timeline, rate, start, total if stop is None else min(stop, total))


def _stream_frames(
    path: Path,
    timeline: _Timeline,
    rate: Fraction | None,
    start: int,
    stop: int,
    converter: PictureConverter | None = None,
) -> Iterator[Frame]:
    """Repeats each source frame until the next one's slot; only frames that are shown are converted."""
    if start >= stop:
        return
    with decoding(path):
        held, cursor, converter = None, start, converter or PictureConverter()
        for pts, frame in _timed_frames(path, timeline, timeline.last_pts_in(start, rate)):
            if held is not None:
                upto = min(timeline.slot(pts, rate), stop)
                yield from _repeated(held, upto - cursor, timeline, converter)
                cursor = max(cursor, upto)
            if cursor >= stop:
                return
            held = frame
        if held is None:
            raise MediaError(f"frame {start} of {path} cannot be decoded; check that the file is complete and plays")
        yield from _repeated(held, stop - cursor, timeline, converter)


def _repeated(frame: av.VideoFrame, count: int, timeline: _Timeline, converter: PictureConverter) -> Iterator[Frame]:
    """One frame `count` times. Each is a separate array, so a caller may write into it."""
    if count <= 0:
        return
    picture = _upright(converter(frame, timeline.size), timeline.orientation)
    for _ in range(count - 1):
        yield picture.copy()
    yield picture


def _timed_frames(path: Path, timeline: _Timeline, first_pts: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """(pts, frame) in the order of display, from the source frame at `first_pts` or an earlier one."""
    if INTERLACED in timeline.conversions:
        yield from deinterlaced(_coded_frames(path, timeline, timeline.pts_before(first_pts)))
    else:
        yield from _coded_frames(path, timeline, first_pts)


def _coded_frames(path: Path, timeline: _Timeline, first_pts: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """The same with the pictures as they are coded."""
    pictures, clock = timeline.pictures, timeline.clock
    can_seek = not pictures.is_counted and not clock.shifts and first_pts > pictures.pts[0]
    for is_sought in (True, False) if can_seek else (False,):
        with open_input(path) as container:
            stream = video_stream_of(container, path)
            packets = (
                _packets_from(container, stream, first_pts, pictures.keys)
                if is_sought
                else clock.continued(packets_of(container, stream), stream)
            )
            if packets is None:
                continue
            frames = decode_packets(packets)
            if pictures.is_counted:
                yield from zip(pictures.pts.tolist(), frames, strict=False)
            else:
                yield from ((frame.pts, frame) for frame in frames if frame.pts is not None)
            return


def _packets_from(
    container: av.container.InputContainer, stream: av.VideoStream, pts: int, keys: frozenset
) -> Iterator[av.Packet] | None:
    """Packets from a keyframe shown at or before `pts`, so that the frame at `pts` decodes exactly.

    A container may seek by decoding time and land on a keyframe that is shown later. Then an earlier point is tried. A
    container that gives a keyframe another time after a seek (as MPEG-PS does) is not trusted.

    Returns:
        None if there is no such keyframe.
    """
    for back_s in (0, 2, 10, 60):
        try:
            container.seek(pts - int(back_s / stream.time_base), stream=stream)
        except av.FFmpegError:
            return None
        packets = dropwhile(lambda packet: not packet.is_keyframe, packets_of(container, stream))
        first = next(packets, None)
        if first is not None and first.pts in keys and first.pts <= pts:
            return chain([first], packets)
    return None


def read_frames_in_order(
    path: Path | str, order: Sequence[int], rate_hz: float | None = VIDEO_RATE_HZ
) -> Iterator[Frame]:
    """Streams the frames `order` of a clip at a constant rate, as `[all_frames[i] for i in order]` would give them.

    Ascending runs are streamed. Descending runs are decoded in blocks of at most 32 frames (fewer for large pictures),
    each after a seek. So memory does not depend on the length.

    Args:
        order: frame numbers, each 0 .. `probe(path, rate_hz).num_frames` - 1, for example from `ping_pong`.

    Raises:
        MediaError: as `probe`.
        OptionError: a number out of range.
    """
    order = np.asarray(order, dtype=np.int64)
    info = probe(path, rate_hz)
    if order.size and not (order.min() >= 0 and order.max() < info.num_frames):
        wrong = order.min() if order.min() < 0 else order.max()
        at = "" if rate_hz is None else f" at {rate_hz} Hz"
        raise OptionError(f"there is no frame {wrong}; {path} has frames 0 to {info.num_frames - 1}{at}")
    fitting = REVERSED_BLOCK_BYTES // (info.width * info.height * 3)
    block = max(1, min(REVERSED_BLOCK_FRAMES, fitting))
    return _stream_in_order(path, order, rate_hz, block)


def _stream_in_order(path: Path | str, order: np.ndarray, rate_hz: float | None, block: int) -> Iterator[Frame]:
    timeline, rate, converter = _timeline(path), _exact_or_own(rate_hz), PictureConverter()

    def read(start: int, stop: int) -> Iterator[Frame]:
        return _stream_frames(Path(path), timeline, rate, start, stop, converter)

    for run in monotone_runs(order):
        if run[0] <= run[-1]:
            yield from picked(read(int(run[0]), int(run[-1]) + 1), run - run[0])
            continue
        while run.size:
            part = run[run > run[0] - block]
            yield from held(read, part)
            run = run[part.size :]
