"""Interlaced pictures (broadcast, camcorders): two half pictures of two moments in one. They are made whole here.

FFmpeg's filter bwdif does it (BBC's w3fdif with the motion test of yadif). It gives one picture for each coded one, so
that times stay. It needs the pictures before and after, and leaves pictures alone that are not marked as interlaced.
"""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import TypeVar

import av

from latentsync.media.conversions import Conversion

INTERLACED = Conversion("bwdif-1", "is interlaced; its frames were made whole (bwdif)")
Time = TypeVar("Time")


def is_interlaced(frame: av.VideoFrame) -> bool:
    """Whether a decoded picture is marked as interlaced."""
    return bool(frame.interlaced_frame)


def deinterlaced(frames: Iterator[tuple[Time, av.VideoFrame]]) -> Iterator[tuple[Time, av.VideoFrame]]:
    """(time, picture) in the order of display, made whole. The first and the last picture have one neighbour only."""
    graph, setup, times = None, None, deque()
    for time, frame in frames:
        now = frame.width, frame.height, frame.format.name
        if now != setup:
            if graph is not None:
                yield from _rest(graph, times)
            graph, setup, times = _graph(frame), now, deque()
        times.append(time)
        frame.pts, frame.time_base = None, Fraction(1, 25)
        graph.vpush(frame)
        yield from _ready(graph, times)
    if graph is not None:
        yield from _rest(graph, times)


def _graph(frame: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25))
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
    graph.configure()
    return graph


def _ready(graph: av.filter.Graph, times: deque) -> Iterator[tuple]:
    """The pictures that the filter has finished; it gives them in the order in which they came in."""
    while times:
        try:
            whole = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        yield times.popleft(), whole


def _rest(graph: av.filter.Graph, times: deque) -> Iterator[tuple]:
    graph.vpush(None)
    yield from _ready(graph, times)
