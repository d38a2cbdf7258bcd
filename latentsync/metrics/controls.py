"""Voices that must score badly: what a measure of sync says of them shows whether it measures sync.

Goal: controls beside a result's scores. With the voice in wrong order a confidence must fall; with the voice late by a
known number of frames an offset must move by that number.

Conventions: waveforms mono, `(n,)`, as long after as before.
"""

import numpy as np

from latentsync.constants import VIDEO_RATE_HZ
from latentsync.shapes import Waveform

PIECE_S = 0.4  # about a syllable or two: what sounds within it stays as it is
DELAY_FRAMES = 10  # within the shifts that every measure tries
SHUFFLE_SEED = 1247


def shuffled(voice: Waveform, rate_hz: int, seed: int = SHUFFLE_SEED) -> Waveform:
    """The voice cut into pieces of 0.4 s in an order drawn by the seed; what is left at the end stays there."""
    piece = round(PIECE_S * rate_hz)
    count = len(voice) // piece
    order = np.random.default_rng(seed).permutation(count)
    pieces = voice[: count * piece].reshape(count, piece)[order]
    return np.concatenate([pieces.reshape(-1), voice[count * piece :]])


def delayed(
    voice: Waveform, rate_hz: int, frames: int = DELAY_FRAMES, video_rate_hz: float = VIDEO_RATE_HZ
) -> Waveform:
    """The voice so many video frames later, after silence, and cut to its length; lips then come earlier by as many."""
    silence = np.zeros(min(round(frames * rate_hz / video_rate_hz), len(voice)), voice.dtype)
    return np.concatenate([silence, voice])[: len(voice)]
