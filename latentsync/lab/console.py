"""The progress bar of one pair; silent where the output is not a terminal. Whoever listens is told the same."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

BAR_FORMAT = "{desc:<46} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
Listener = Callable[[str, int, int], None]
_listeners: list[Listener] = []


def say(line: str) -> None:
    """Prints a line without tearing a progress bar."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tells `listener` what bars of this process show in the block: (stage, done, total), total 0 where unknown."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def _tell(stage: str, done: int, total: int) -> None:
    for listener in _listeners:
        listener(stage, done, total)


class PairBar:
    """A bar that shows the stage in hand: frames while aligning, steps while denoising.

    Attributes:
        stage: the one in hand; "read" before the first.
        record: id of the record that is being made, once it is known.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.stage = "read"
        self.record: str | None = None
        self._bar = tqdm(total=1, disable=None, leave=False, bar_format=BAR_FORMAT)

    def __enter__(self) -> "PairBar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def say(self, stage: str) -> None:
        """Shows a stage that has no units to count."""
        self.stage = stage
        self._bar.set_description_str(f"{self._name}: {stage}")
        _tell(stage, 0, 0)

    def on_progress(self, stage: str, done: int, total: int) -> None:
        """The pipeline's progress callback."""
        if stage != self.stage:
            self._bar.reset(total)
            self.say(stage)
        self._bar.update(done - self._bar.n)
        _tell(stage, done, total)
