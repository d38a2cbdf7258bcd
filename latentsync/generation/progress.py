"""The progress bar of a call: frames while faces are found, steps while the network denoises."""

from typing import Any, Self

from tqdm.auto import tqdm


class ProgressBar:
    """One bar of tqdm for each stage; a `results.ProgressCallback`, and a context that closes the last bar.

    Args:
        options: of `tqdm.tqdm`, such as `disable=True`.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._stage: str | None = None
        self._bar: tqdm | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Shows that `done` of `total` are done."""
        if stage != self._stage:
            self.__exit__()
            self._stage, self._bar = stage, tqdm(**{"total": total, "desc": stage} | self._options)
        self._bar.update(done - self._bar.n)
