"""Voices that must score badly. They show whether a measure of sync really measures sync.

Goal: controls beside a result's scores. With the parts of the voice in a wrong order, a confidence must fall. With a
voice that is late by a known number of frames, an offset must change by that number.

Conventions: waveforms are mono, `(n,)`; their length does not change.
"""

import numpy as np

from latentsync.constants import VIDEO_RATE_HZ
from latentsync.shapes import Waveform

PIECE_S = 0.4  # about one or two syllables, which stay as they are
DELAY_FRAMES = 10  # within the shifts that every measure tries
SHUFFLE_SEED = 1247


def shuffled(voice: Waveform, rate_hz: int, seed: int = SHUFFLE_SEED) -> Waveform:
    """The voice cut into pieces of 0.4 s, in a random order given by the seed; a shorter rest stays at the end."""
    piece = round(PIECE_S * rate_hz)
    count = len(voice) // piece
    order = np.random.default_rng(seed).permutation(count)
    pieces = voice[: count * piece].reshape(count, piece)[order]
    return np.concatenate([pieces.reshape(-1), voice[count * piece :]])


def delayed(
    voice: Waveform, rate_hz: int, frames: int = DELAY_FRAMES, video_rate_hz: float = VIDEO_RATE_HZ
) -> Waveform:
    """The voice delayed by `frames` video frames: silence comes first, and the end is cut off.

    Compared with this voice, the lips come earlier by `frames`.
    """
    silence = np.zeros(min(round(frames * rate_hz / video_rate_hz), len(voice)), voice.dtype)
    return np.concatenate([silence, voice])[: len(voice)]
