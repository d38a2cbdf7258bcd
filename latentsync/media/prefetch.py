"""Stages side by side: a thread reads ahead of the work in the main thread, another writes behind it."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")

AHEAD_FRAMES = 8  # frames that are read before they are needed: 50 MB at 1080x1920 px


def ahead(items: Iterator[Item], count: int = AHEAD_FRAMES) -> Iterator[Item]:
    """The items of an iterator. A thread makes up to `count` of them before they are asked for.

    An error of an item is raised in its place. When the caller stops, the item in the making is finished, and the
    iterator is closed.
    """
    end = object()
    thread = ThreadPoolExecutor(max_workers=1)
    coming: deque[Future[Any]] = deque()
    try:
        while True:
            while len(coming) <= count:
                coming.append(thread.submit(next, items, end))
            item = coming.popleft().result()
            if item is end:
                return
            yield item
    finally:
        thread.shutdown(cancel_futures=True)
        if hasattr(items, "close"):
            items.close()


@contextmanager
def behind(use: Callable[[Item], None], count: int) -> Iterator[Callable[[Item], None]]:
    """Gives a function that hands an item to a thread, which calls `use` with one after the other.

    The function waits while `count` items are handed over and not used. At the end of the block all have been used; if
    it ends by an error, those that wait are left out. An error of `use` is raised by the function, or at the end.
    """
    thread = ThreadPoolExecutor(max_workers=1)
    going: deque[Future[None]] = deque()

    def hand_over(item: Item) -> None:
        while going and (len(going) >= count or going[0].done()):
            going.popleft().result()
        going.append(thread.submit(use, item))

    try:
        yield hand_over
        while going:
            going.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)
