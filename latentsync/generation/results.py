"""The results of the pipeline: the prepared pair, each generated frame, the finished output, the timings."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from latentsync import media
from latentsync.audio.features import WindowReader
from latentsync.config import Options
from latentsync.constants import VIDEO_RATE_HZ
from latentsync.errors import OptionError
from latentsync.faces.track import AlignedFaces
from latentsync.shapes import Affine, Crop, Frame

# Called as (stage, units done, units in all), first with 0 done. The stages are "read" and "audio", without units (0 in
# all), "align", in frames, and "denoise", in steps. A stage whose result is stored is left out.
ProgressCallback = Callable[[str, int, int], None]
OUTPUT_TYPES = ("path", "np", "pil", "pt")
FrameBatch = Float[np.ndarray, "1 f h w 3"] | Float[Tensor, "1 f 3 h w"] | list[list[Image.Image]]

Item = TypeVar("Item")


@dataclass(frozen=True)
class PreparedPair:
    """A clip and a voice, ready for generation.

    Attributes:
        video_path, audio_path: the clip and the voice.
        info: of the clip.
        order: for each output frame with a new mouth, the number of the clip's frame that it is made from.
        faces: the affines of the clip's frames. With references from elsewhere they are more than `order` needs.
        windows: gives the audio windows of output frames.
        faces_key: the key of the faces in a `StageCache`; None if they have none.
        answer_shift: how many frames after each frame the clip shows the lips of the voice; see `references`.
        rest: numbers of the clip's frames that play on after those of `order` as they are.
        times_s: when each frame of the result begins, and when the last one ends.
        rate_hz: the rate at which the clip's frames are numbered; None: its own frames.
        silence: how silent each frame of `order` is, 0..1, see `silence.silent_shares`; None: the option `silence` was
            "model".
    """

    video_path: Path
    audio_path: Path
    info: media.VideoInfo
    order: list[int]
    faces: AlignedFaces
    windows: WindowReader
    faces_key: str | None = None
    answer_shift: int = 0
    rest: list[int] = field(default_factory=list)
    times_s: list[Fraction] = field(default_factory=list)
    rate_hz: float | None = VIDEO_RATE_HZ
    silence: Float[np.ndarray, " f"] | None = None

    @property
    def num_frames(self) -> int:
        """Frames of the result."""
        return len(self.order) + len(self.rest)

    @property
    def frames_without_face(self) -> int:
        """Frames of the result that do not show the chosen face."""
        return int((~self.faces.has_face[self.order]).sum())


@dataclass(frozen=True)
class GeneratedFrame:
    """One frame of the result, and the frame and crops that it was made from.

    Attributes:
        source: the clip's frame.
        composited: the result, or a future of it.
        crop: the aligned face of the clip's frame, uint8; None after the voice (`length="clip"`).
        reference: the aligned face that shows the model what the person looks like, uint8; see `references`. None if it
            was not read, because the cache has the VAE's posterior of it.
        generated: the aligned face with the new mouth, (3, r, r) in -1..1; None if no face was found, or if
            the frame is the clip's own.
        matrix: the affine of the crop; None without a crop.
    """

    source: Frame
    composited: Frame | Future[Frame]
    crop: Crop | None
    reference: Crop | None
    generated: Float[Tensor, "3 r r"] | None
    matrix: Affine | None

    @property
    def frame(self) -> Frame:
        """The composited result; waits for it."""
        return self.composited.result() if isinstance(self.composited, Future) else self.composited


@dataclass(kw_only=True)
class LipsyncOutput:
    """A finished generation. As with the outputs of diffusers, `output[0]` is the result itself.

    Attributes:
        frames: the generated frames in the form of `output_type`, see `batch_of_frames`; None for "path".
        video_path: the result; None if it was not written.
        mask_path: the frames with the region to be generated painted grey; None if they were not written.
        num_frames, fps: of the result; of a variable rate, the average.
        frames_without_face: how many output frames do not show the chosen face; they are the clip's, unchanged.
        frames_near_reference: with references from elsewhere, how many output frames have theirs less than 1 s away,
            because their shot is too short.
        options: resolved.
        timings: seconds per stage.
        faces: the affines of the clip's frames.
        order: for each output frame with a new mouth, the number of the clip's frame that it is made from.
        times_s: when each output frame begins, and when the last one ends.
    """

    frames: FrameBatch | None = None
    video_path: Path | None
    mask_path: Path | None
    num_frames: int
    fps: float
    frames_without_face: int
    options: Options
    timings: dict[str, float]
    faces: AlignedFaces
    order: list[int]
    frames_near_reference: int = 0
    times_s: list[Fraction]

    def read_frames(self) -> Iterator[Frame]:
        """The result's frames, read from its file one by one.

        Raises:
            OptionError: the result was not written.
        """
        if self.video_path is None:
            raise OptionError("the result was not written; give video_out_path, or use frames")
        return media.read_frames(self.video_path, self.options.video.rate_hz)

    def to_tuple(self) -> tuple[Any, ...]:
        """All values but those that are None: the frames, or the path of the video, come first."""
        values = (getattr(self, one.name) for one in fields(self))
        return tuple(value for value in values if value is not None)

    def __getitem__(self, key: int | slice | str) -> Any:
        """A value by its place in `to_tuple`, or by its name."""
        return getattr(self, key) if isinstance(key, str) else self.to_tuple()[key]


def batch_of_frames(frames: Sequence[Frame], output_type: str) -> FrameBatch | None:
    """Frames as diffusers' video pipelines return them: a batch that holds one video.

    Args:
        output_type: "np": (1, f, h, w, 3) in 0..1, float32; "pt": the same as a tensor (1, f, 3, h, w); "pil": a list
            with one list of images; "path": None.
    """
    if output_type == "path":
        return None
    if output_type == "pil":
        return [[Image.fromarray(frame) for frame in frames]]
    array = np.empty((1, len(frames), *frames[0].shape), np.float32)
    for index, frame in enumerate(frames):
        np.divide(frame, 255, out=array[0, index])
    return array if output_type == "np" else torch.from_numpy(array).permute(0, 1, 4, 2, 3)


class Stopwatch:
    """Measures the seconds of each stage. Stages may run in threads side by side, so their sum may exceed the total.

    Attributes:
        seconds: of each stage, by name.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time that the block takes to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[name] += time.perf_counter() - start

    def timed(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items; the time until each is ready is added to a stage."""
        items = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item
