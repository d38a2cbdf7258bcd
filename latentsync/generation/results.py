"""What a run of the pipeline hands over: the prepared pair, each generated frame, the finished output, the timings."""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from latentsync import media
from latentsync.audio.features import WindowReader
from latentsync.config import Options
from latentsync.faces.track import AlignedFaces
from latentsync.shapes import Affine, Crop, Frame

# Called with (stage, units done, units in all); stages are "align" (frames) and "denoise" (steps).
ProgressCallback = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PreparedPair:
    """A clip and a voice, ready to be generated.

    Attributes:
        order: for each output frame the clip's frame (forward, backward, forward ... where the voice is longer).
        faces: the affines of the clip's frames; of more than `order` has where references lie elsewhere.
        windows: gives the audio windows of output frames.
        faces_key: of the faces in a `StageCache`; None where they are not to be told again.
    """

    video_path: Path
    audio_path: Path
    info: media.VideoInfo
    order: list[int]
    faces: AlignedFaces
    windows: WindowReader
    faces_key: str | None = None

    @property
    def num_frames(self) -> int:
        return len(self.order)


@dataclass(frozen=True)
class GeneratedFrame:
    """One frame of the result beside what it was made from.

    Attributes:
        source, frame: the clip's frame and the composited result.
        crop: the aligned face as it came in, uint8.
        reference: the aligned face that showed the model what it looks like, uint8; see `references`. None where it was
            not read, since what the VAE makes of it was kept.
        generated: the aligned face as it went out, (3, r, r) in -1..1; None where no face was found.
        matrix: the affine of the crop.
    """

    source: Frame
    frame: Frame
    crop: Crop
    reference: Crop | None
    generated: Float[Tensor, "3 r r"] | None
    matrix: Affine


@dataclass
class LipsyncOutput:
    """A finished generation.

    Attributes:
        video_path, mask_path: the result, and the frames with the region to be generated painted grey (None unless
            asked for).
        num_frames, fps: of the result.
        frames_without_face: output frames that were passed through untouched.
        options: as resolved.
        timings: seconds per stage.
        faces, order: the clip's affines, and which of its frames each output frame shows.
    """

    video_path: Path
    mask_path: Path | None
    num_frames: int
    fps: float
    frames_without_face: int
    options: Options
    timings: dict[str, float]
    faces: AlignedFaces
    order: list[int]
    _scratch: tempfile.TemporaryDirectory | None = field(default=None, repr=False)

    @property
    def frames(self) -> Iterator[Frame]:
        """The result's frames, read from its file one by one."""
        return media.read_frames(self.video_path, self.fps)


class Stopwatch:
    """Seconds per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start
