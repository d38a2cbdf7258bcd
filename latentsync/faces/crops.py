"""Aligned crops of a clip's faces, and access to a clip's frames that decodes only those that are used."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from latentsync import media
from latentsync.config import Options
from latentsync.constants import VIDEO_RATE_HZ
from latentsync.faces.geometry import DEFAULT_WARPING, Warping, warp_crop
from latentsync.shapes import Affine, Crops, Frame


def warping_of(options: Options) -> Warping:
    """How crops are read from frames and put back with these options."""
    return Warping(options.video.geometry, options.video.rounding)


def aligned_crops(
    frames: Iterable[Frame], matrices: Iterable[Affine], size_px: int, warping: Warping = DEFAULT_WARPING
) -> Crops:
    """The aligned faces of frames by their affines, (f, 3, size_px, size_px) uint8; frames are read one by one.

    Raises:
        ValueError: the numbers of frames and affines differ.
    """
    pairs = zip(frames, matrices, strict=True)
    return torch.stack([warp_crop(frame, matrix, size_px, warping) for frame, matrix in pairs])


def aligned_pictures(frames: Iterable[Frame], matrices: Iterable[Affine], size_px: int) -> Iterator[Frame]:
    """The aligned faces of frames one by one, each as a picture: uint8 RGB `(size_px, size_px, 3)`.

    Raises:
        ValueError: the numbers of frames and affines differ.
    """
    for frame, matrix in zip(frames, matrices, strict=True):
        yield np.ascontiguousarray(warp_crop(frame, matrix, size_px).permute(1, 2, 0).numpy())


class FramesOnDemand:
    """The frames `order` of a clip, in parts; only the parts that are read are decoded.

    Args:
        order: numbers of frames in the clip.
        rate_hz: the rate at which the clip is read; None: its own frames.
    """

    def __init__(self, path: Path, order: Sequence[int], rate_hz: float | None = VIDEO_RATE_HZ) -> None:
        self._path, self._order, self._rate_hz = path, order, rate_hz
        self._next = -1
        self._stream: Iterator[Frame] = iter(())

    def read(self, start: int, stop: int) -> Iterator[Frame]:
        """The frames `order[start:stop]`. Consecutive parts are streamed; after a skipped part, reading starts again.

        Raises:
            MediaError: the clip cannot be read.
            OptionError: it has no such frame.
        """
        if start != self._next:
            self._stream = media.read_frames_in_order(self._path, self._order[start:], self._rate_hz)
            self._next = start
        for frame in islice(self._stream, stop - start):
            self._next += 1
            yield frame
