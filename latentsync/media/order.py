"""The order in which a clip's frames are shown, and how frames are read in an order. Knows no file."""

from collections.abc import Callable, Iterator

import numpy as np

from latentsync.arrays import Frame
from latentsync.errors import OptionError


def ping_pong(num_out: int, num_in: int) -> np.ndarray:
    """The order in which `num_in` frames are shown to fill `num_out`: forward, backward, forward ...

    The frame at each turn is shown twice, as in the original's `loop_video`. If `num_out` is less than `num_in`, the
    order is just the first frames.

    Returns:
        int64 indices, `(num_out,)`.
    """
    if num_in < 1 or num_out < 0:
        raise OptionError(f"num_in is {num_in} and num_out is {num_out}; at least one frame must come in")
    place = np.arange(num_out) % (2 * num_in)
    return np.where(place < num_in, place, 2 * num_in - 1 - place)


def arranged(num_out: int, num_in: int, loop: str = "pingpong") -> np.ndarray:
    """The order in which `num_in` frames are shown to fill `num_out`, int64 `(num_out,)`.

    Args:
        loop: "pingpong": see `ping_pong`; "loop": from the start again; "hold": the last frame stays.

    Raises:
        OptionError: no frame comes in, or `loop` is unknown.
    """
    order = ping_pong(num_out, num_in)
    if loop == "pingpong":
        return order
    if loop == "loop":
        return np.arange(num_out) % num_in
    if loop == "hold":
        return np.minimum(np.arange(num_out), num_in - 1)
    raise OptionError(f"loop {loop!r} is unknown; choose one of pingpong, loop, hold")


def held(read: Callable[[int, int], Iterator[Frame]], order: np.ndarray) -> Iterator[Frame]:
    """Decodes a short descending run as a whole; its memory is freed at the end."""
    low = int(order[-1])
    frames = list(read(low, int(order[0]) + 1))
    for index in order:
        yield frames[index - low].copy()


def monotone_runs(order: np.ndarray) -> Iterator[np.ndarray]:
    """Splits an order into the longest pieces that only rise or only fall; equal neighbours fit both."""
    begin, direction = 0, 0
    for place, step in enumerate(np.sign(np.diff(order)), start=1):
        if direction and step == -direction:
            yield order[begin:place]
            begin, direction = place, 0
        else:
            direction = direction or step
    if order.size:
        yield order[begin:]


def picked(frames: Iterator[Frame], order: np.ndarray) -> Iterator[Frame]:
    """The streamed frames whose numbers are in `order`, which must rise; a number may be repeated."""
    numbers, counts = np.unique(order, return_counts=True)
    wanted = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    for number, frame in enumerate(frames):
        for _ in range(wanted.get(number, 0) - 1):
            yield frame.copy()
        if number in wanted:
            yield frame
