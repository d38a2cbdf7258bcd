"""The frames, crops and audio of a video, read batch by batch: consecutive windows of one length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from latentsync import media
from latentsync.config import Options
from latentsync.errors import OptionError
from latentsync.faces.crops import aligned_crops, warping_of
from latentsync.generation.kept import PairCache
from latentsync.generation.networks import LipsyncNetworks
from latentsync.generation.overlap import Span, new_spans
from latentsync.generation.references import References, references_of
from latentsync.generation.results import PreparedPair
from latentsync.media.prefetch import ahead
from latentsync.shapes import Affine, Crops, Frame, Windows


@dataclass(frozen=True)
class WindowBatch:
    """Consecutive windows of one length with their new frames and crops, and their audio, in the video's order.

    Attributes:
        windows: (start, stop) of each.
        spans: the frames that are new in each; if windows share frames, the others come from the windows before.
        num_shared: how many of the last frames are shared with the next batch.
        frames: of the clip; new ones only, as `matrices`, `crops` and `references`.
        matrices: the affine of each frame.
        crops: the aligned faces.
        references: gives the crops that show the model the face.
        shown: the number of the clip's frame for each new frame.
        audio: one window of Whisper states for each frame of the windows.
        silence: how silent each frame of the windows is, see `silence.silent_shares`; all 0 without a detector.
        keys: of each span's posteriors, see `PairCache.posterior_keys`.
    """

    windows: list[Span]
    spans: list[Span]
    num_shared: int
    frames: list[Frame]
    matrices: list[Affine]
    crops: Crops
    references: References
    shown: list[int]
    audio: Windows
    silence: np.ndarray
    keys: list[str | None]

    @property
    def span(self) -> Span:
        """(start, stop) of all its windows."""
        return self.windows[0][0], self.windows[-1][1]


def read_batches(
    networks: LipsyncNetworks,
    cache: PairCache,
    pair: PreparedPair,
    options: Options,
    batches: Sequence[list[Span]],
) -> Iterator[WindowBatch]:
    """Reads and crops the frames of one batch of windows after the other, each frame once.

    Raises:
        MediaError: the clip cannot be read.
        OptionError: the clip is too short for references from elsewhere.
    """
    size_px, warping = options.video.size_px, warping_of(options)
    stream = ahead(media.read_frames_in_order(pair.video_path, pair.order, pair.rate_hz))
    order = references_of(pair, options)
    references = References(pair, order, options)
    start, shares = 0, silence_of(pair, options)
    for windows in batches:
        spans, stop = new_spans(windows, start), windows[-1][1]
        frames = list(islice(stream, stop - start))
        matrices = [pair.faces.matrices[i] for i in pair.order[start:stop]]
        crops = aligned_crops(frames, matrices, size_px, warping)
        references.move_to(start, stop, crops)
        keys = cache.posterior_keys(networks, pair, options, order, spans)
        if not cache.has_all(keys):
            references.read()
        num_shared = options.sampler.window_overlap if stop < len(pair.order) else 0
        shown, audio, silence = pair.order[start:stop], pair.windows(windows[0][0], stop), shares[windows[0][0] : stop]
        yield WindowBatch(windows, spans, num_shared, frames, matrices, crops, references, shown, audio, silence, keys)
        start = stop


def silence_of(pair: PreparedPair, options: Options) -> np.ndarray:
    """How silent each frame with a new mouth is, 0..1; all 0 if the model makes the mouth in silence, too.

    Raises:
        OptionError: the pair was prepared without looking for silence.
    """
    if options.video.silence == "model":
        return np.zeros(len(pair.order))
    if pair.silence is None:
        raise OptionError(
            f"silence is {options.video.silence}, but the pair was prepared with silence=model; prepare it again"
        )
    return pair.silence
