"""The clock of a file: when its pictures and its sound are played, from the time stamps of all its packets.

Pictures and sound have one clock. Where it jumps, as in transport streams that were joined, time goes on: see `Clock`.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.format import Flags

from latentsync.files import kept_per_file
from latentsync.media.container import find_video_stream, open_input, packets_of, reads_media
from latentsync.media.limits import check_picture_times

BACK_S = 0.1  # a stream whose time stamps go back by more has begun a new clock; less is rounding
LONGEST_HOLE_S = 600.0  # a longer step forward, of all streams together, is a jump of the clock
LONGEST_HOLE_IN_STREAMS_S = 10.0  # likewise in formats whose clock may jump, such as MPEG-TS (ffmpeg's bound)


@dataclass(frozen=True)
class Pictures:
    """When each frame of a video stream is shown.

    Attributes:
        pts: of all shown frames, sorted and distinct, in units of `time_base`.
        end: when the last frame ends.
        keys: pts of all keyframes.
        is_counted: the file does not say when a frame is shown, so the k-th decoded frame is at `pts[k]`.
        rate: average, in frames/s.
        aspect: width of a pixel by its height.
    """

    pts: np.ndarray
    end: int
    keys: frozenset
    time_base: Fraction
    is_counted: bool
    rate: Fraction
    aspect: Fraction

    @property
    def start_s(self) -> Fraction:
        return int(self.pts[0]) * self.time_base


@dataclass(frozen=True)
class Clock:
    """The clock of a file.

    A jump is a step of a stream's time stamps back by more than 0.1 s. It is also a step forward over a time in which
    no stream of the file has anything, of more than 10 s in formats whose clock may jump (MPEG-TS, MPEG-PS, Ogg, FLV),
    and of more than 10 minutes in others. What follows a jump is played when all that lies before it has ended, with
    its pictures and sound as far apart as their time stamps say. Shorter steps forward are holes: the picture stays,
    and there is silence.

    Attributes:
        pictures: of the video stream; None for a file with sound only.
        shifts: by index of a stream, (number of a packet, units): from this packet on, that many units of the stream's
            time base are added to its time stamps. Empty for a file whose clock does not jump.
        has_sound: whether there is a sound stream.
    """

    pictures: Pictures | None
    shifts: dict[int, tuple[tuple[int, int], ...]] = field(hash=False)
    has_sound: bool

    def continued(self, packets: Iterator[av.Packet], stream: av.stream.Stream) -> Iterator[av.Packet]:
        """All packets of a stream from its first on, with time stamps that do not jump."""
        shifts, shift = list(self.shifts.get(stream.index, ())), 0
        for number, packet in enumerate(packets):
            if shifts and shifts[0][0] == number:
                _, shift = shifts.pop(0)
            if shift:
                packet.pts = None if packet.pts is None else packet.pts + shift
                packet.dts = None if packet.dts is None else packet.dts + shift
            yield packet


@reads_media
def clock_of(path: Path | str) -> Clock:
    """The clock of a file; cached while the file's size and time of change stay the same.

    Raises:
        MediaError: the file is missing, empty or unreadable, or its pictures leave the limits of time.
    """
    return _scan(path)


@kept_per_file(32)
def _scan(path: Path) -> Clock:
    """Reads all packets without decoding them."""
    with open_input(path) as container:
        video = find_video_stream(container)
        streams = [*([] if video is None else [video]), *container.streams.audio]
        may_jump = bool(Flags(container.format.flags) & Flags.ts_discont) or container.format.name == "flv"
        segments = _Segments(LONGEST_HOLE_IN_STREAMS_S if may_jump else LONGEST_HOLE_S)
        shown, keys = [], []
        for packet in packets_of(container, streams) if streams else ():
            segment = segments.add(packet)
            if video is not None and packet.stream_index == video.index:
                if packet.is_keyframe and packet.pts is not None:
                    keys.append((packet.pts, segment))
                if packet.size and not packet.is_discard:
                    shown.append((packet.pts, packet.dts, packet.duration, segment))
        has_sound = container.streams.best("audio") is not None
        bases = {stream.index: stream.time_base for stream in streams}
        shifts_s = segments.shifts()
        shifts = {
            index: tuple((number, round(shifts_s[segment] / bases[index])) for number, segment in starts)
            for index, starts in segments.starts.items()
            if len(shifts_s) > 1
        }
        if video is None or not shown:
            return Clock(None, shifts, has_sound)
        rate = video.average_rate or video.guessed_rate or Fraction(25)
        time_base = video.time_base or 1 / rate
        units = [round(shift_s / time_base) for shift_s in shifts_s]
        times = [
            (None if pts is None else pts + units[n], None if dts is None else dts + units[n], duration)
            for pts, dts, duration, n in shown
        ]
        # AVI does not store the order of display: with B-frames its times are guesses, so frames are counted.
        is_unordered = container.format.name == "avi" and bool(getattr(video.codec_context, "has_b_frames", 0))
        pts, end, is_counted = _shown_times(times, max(1, round(1 / (rate * time_base))), is_unordered)
        keys_pts = frozenset(pts + units[n] for pts, n in keys)
        check_picture_times(path, len(pts), float((end - int(pts[0])) * time_base))
        aspect = video.sample_aspect_ratio or Fraction(1)
        return Clock(Pictures(pts, end, keys_pts, time_base, is_counted, rate, aspect), shifts, has_sound)


class _Segments:
    """Sorts packets into stretches of time without a jump.

    Each stream moves on to the next stretch at its own packet, since a file may hold the last packets of one stretch
    behind the first of the next.

    Attributes:
        starts: by stream, (number of the first packet, stretch).
    """

    def __init__(self, longest_hole_s: float) -> None:
        self._longest_hole_s = longest_hole_s
        self._guesses = [0.0]  # s to add in each stretch, from what has been read so far
        self._spans: list[list[Fraction]] = [[]]  # [start, end] of each stretch by its own time stamps
        self._end: float | None = None  # of everything read so far
        self._last: dict[int, float] = {}
        self._current: dict[int, int] = {}
        self._numbers: dict[int, int] = defaultdict(int)
        self.starts: dict[int, list[tuple[int, int]]] = defaultdict(list)

    def add(self, packet: av.Packet) -> int:
        """The number of the packet's stretch."""
        index, number = packet.stream_index, self._numbers[packet.stream_index]
        self._numbers[index] += 1
        if packet.dts is None or not packet.size:  # without a place in the order of decoding
            return self._current.get(index, 0)
        raw_s = float(packet.dts * packet.time_base)
        segment = self._segment(index, raw_s)
        if self._current.get(index) != segment:
            self._current[index] = segment
            self.starts[index].append((number, segment))
        self._last[index] = raw_s + self._guesses[segment]
        length_s = float((packet.duration or 0) * packet.time_base)
        self._end = max(self._last[index] + length_s, self._end if self._end is not None else self._last[index])
        self._widen(segment, packet)
        return segment

    def _segment(self, index: int, raw_s: float) -> int:
        """The current stretch if the time fits it; else the one into which it fits best, or a new one."""
        current = self._current.get(index)
        if current is not None and self._fits(index, raw_s + self._guesses[current]):
            return current
        if self._end is None:
            return 0
        later = range(0 if current is None else current + 1, len(self._guesses))
        fitting = [n for n in later if current is None or self._fits(index, raw_s + self._guesses[n])]
        if fitting:
            return min(fitting, key=lambda n: abs(raw_s + self._guesses[n] - self._end))
        self._guesses.append(self._end - raw_s)
        self._spans.append([])
        return len(self._guesses) - 1

    def _fits(self, index: int, time_s: float) -> bool:
        return self._last[index] - BACK_S <= time_s <= self._end + self._longest_hole_s

    def _widen(self, segment: int, packet: av.Packet) -> None:
        start = (packet.pts if packet.pts is not None else packet.dts) * packet.time_base
        end, span = start + (packet.duration or 0) * packet.time_base, self._spans[segment]
        self._spans[segment] = [min(start, span[0]), max(end, span[1])] if span else [start, end]

    def shifts(self) -> list[Fraction]:
        """Seconds to add to the time stamps of each stretch, so that it begins where the one before ends."""
        shifts, end = [Fraction(0)], self._spans[0][1] if self._spans[0] else Fraction(0)
        for start, stop in self._spans[1:]:
            shifts.append(end - start)
            end += stop - start
        return shifts


def _shown_times(times: list[tuple], frame_length: int, is_unordered: bool) -> tuple[np.ndarray, int, bool]:
    """(sorted distinct pts, end, is_counted) from packets' (pts, dts, duration); counts frames if pts are useless."""
    is_counted = is_unordered or any(pts is None for pts, _, _ in times)
    if not is_counted:
        end = max(pts + (duration or frame_length) for pts, _, duration in times)
        return np.unique(np.array([pts for pts, _, _ in times], dtype=np.int64)), end, False
    if all(dts is not None for _, dts, _ in times):
        pts = np.array(sorted(dts for _, dts, _ in times), dtype=np.int64)
    else:
        pts = np.arange(len(times), dtype=np.int64) * frame_length
    return pts, int(pts[-1]) + frame_length, True
