"""The mouth where the voice is silent: which frames are silent, and what shows the model a resting mouth."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from latentsync.audio.features import silent_window
from latentsync.config import Options
from latentsync.faces.crops import FramesOnDemand, aligned_crops, warping_of
from latentsync.faces.masks import crops_to_pixels
from latentsync.generation.latents import Posterior, posterior
from latentsync.generation.networks import LipsyncNetworks
from latentsync.generation.results import PreparedPair
from latentsync.metrics.sync import lip_gap

BLEND_FRAMES = 3  # in which a mouth goes from speech to silence and back

Shares = Float[np.ndarray, " f"]


def silent_shares(stretches: Sequence[tuple[float, float]], times_s: Sequence[Fraction]) -> Shares:
    """How silent each frame is: 0 in speech, 1 in silence, and 1/4, 1/2, 3/4 in the first and last frames of silence.

    So frames with speech are not touched. Where a video begins or ends in silence, there is nothing to blend with.

    Args:
        stretches: (start, stop) in seconds without speech, see `audio.speech.silent_stretches`.
        times_s: when each frame begins, and when the last one ends.
    """
    begins, ends = (np.array([float(time) for time in part]) for part in (times_s[:-1], times_s[1:]))
    shares = np.zeros(len(begins))
    for start, stop in stretches:
        inside = np.flatnonzero((begins >= start - 1e-6) & (ends <= stop + 1e-6))
        if not inside.size:
            continue
        first, last = inside[0], inside[-1]
        since = np.inf if first == 0 else inside - first + 1
        until = np.inf if last == len(shares) - 1 else last - inside + 1
        shares[inside] = np.minimum(1, np.minimum(since, until) / (BLEND_FRAMES + 1))
    return shares


class RestingMouth:
    """What makes the model rest a mouth: the states of silence, and the frame of a track with the smallest lip gap.

    Attributes:
        audio: one window of Whisper states of digital silence, (t, d).
    """

    def __init__(self, networks: LipsyncNetworks, pair: PreparedPair, options: Options) -> None:
        self._vae, self._pair, self._options = networks.vae, pair, options
        self.audio = silent_window(networks.audio.whisper)
        gaps = np.where(pair.faces.has_face, lip_gap(pair.faces.landmarks), np.inf)
        tracks = pair.faces.tracks
        smallest = {int(track): np.where(tracks == track, gaps, np.inf) for track in np.unique(tracks)}
        self._frames = {track: int(gap.argmin()) for track, gap in smallest.items()}
        self._posteriors: dict[int, Posterior] = {}

    def posterior(self, frames: Sequence[int]) -> Posterior:
        """The VAE's posterior of the resting reference of each of the clip's frames.

        Raises:
            MediaError: the clip cannot be read.
        """
        of_each = [self._posterior_of(int(self._pair.faces.tracks[frame])) for frame in frames]
        return Posterior(torch.cat([one.mean for one in of_each]), torch.cat([one.std for one in of_each]))

    def _posterior_of(self, track: int) -> Posterior:
        if track not in self._posteriors:
            self._posteriors[track] = posterior(self._vae, crops_to_pixels(self.reference(track)))
        return self._posteriors[track]

    def reference(self, track: int) -> Tensor:
        """The aligned face with the smallest lip gap of a track, (1, 3, r, r) uint8."""
        pair, frame = self._pair, self._frames[track]
        frames = FramesOnDemand(pair.video_path, [frame], pair.rate_hz).read(0, 1)
        size_px, warping = self._options.video.size_px, warping_of(self._options)
        return aligned_crops(frames, pair.faces.matrices[[frame]], size_px, warping)
