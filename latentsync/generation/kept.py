"""What the stage cache keeps of a pair: faces, states of the voice, posteriors of the VAE."""

from collections.abc import Iterator

from latentsync.generation.results import ProgressCallback
from latentsync.shapes import Frame

ALIGNMENTS_KEPT = 16  # clips


def counted(frames: Iterator[Frame], stage: str, total: int, on_progress: ProgressCallback | None) -> Iterator[Frame]:
    for done, frame in enumerate(frames, start=1):
        yield frame
        if on_progress is not None:
            on_progress(stage, done, total)
