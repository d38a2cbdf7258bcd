"""Progress bars of pairs, and who listens to them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from latentsync import journal
from latentsync.lab.console.lines import detail, say
from latentsync.verbosity import bars_off

BAR_FORMAT = "{desc:<46} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
Listener = Callable[[str, int, int], None]
STAGES = {
    "align": "finding the face in each frame",
    "audio": "reading the voice",
    "denoise": "making the mouths",
    "measure": "measuring the result",
}  # that are named, for the first pair, where no bar is shown
_listeners: list[Listener] = []
_named: set[str] = set()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within the block, calls `listener(stage, done, total)` for each step of this process's progress bars.

    `total` is 0 where it is unknown.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def _notify(stage: str, done: int, total: int) -> None:
    for listener in _listeners:
        listener(stage, done, total)


class PairBar:
    """A progress bar of the current stage: it counts frames while aligning, and steps while denoising.

    It also notes each ended stage in the run's log, and prints it with --verbose. Where no bar is shown, a line names
    each stage when it begins for the first time in this process, so that the first pair is not silent for long.

    Attributes:
        stage: the current stage; "read" before the first.
        record: id of the record in progress, once it is known.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.stage = "read"
        self.record: str | None = None
        self._since = time.perf_counter()
        self._bar = tqdm(total=1, disable=bars_off(), leave=False, bar_format=BAR_FORMAT, desc=f"{name}: {self.stage}")

    def __enter__(self) -> "PairBar":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.stage != "read" or kind is not None:  # else nothing was made
            self._end_stage()
        self._bar.close()

    def _end_stage(self) -> None:
        seconds, memory = round(time.perf_counter() - self._since, 3), journal.memory_facts()
        journal.note("stage", pair=self._name, record=self.record, stage=self.stage, seconds=seconds, **memory)
        detail(f"  {self._name}: {self.stage} {seconds:.1f} s, {memory['peak_memory_mb']:.0f} MB at most until now")
        self._since = time.perf_counter()

    def say(self, stage: str) -> None:
        """Shows a stage without a count."""
        if stage != self.stage:
            self._end_stage()
        self.stage = stage
        self._bar.set_description_str(f"{self._name}: {stage}")
        if self._bar.disable and stage in STAGES and stage not in _named:
            _named.add(stage)
            say(f"{self._name}: {STAGES[stage]}")
        _notify(stage, 0, 0)

    def on_progress(self, stage: str, done: int, total: int) -> None:
        """The pipeline's progress callback."""
        if stage != self.stage:
            self._bar.reset(total)
            self.say(stage)
        self._bar.update(done - self._bar.n)
        _notify(stage, done, total)
