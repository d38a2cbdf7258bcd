"""Whether a voice is taken from a clip's own sound, and from which moment of it.

The own sound may have been trimmed, moved, encoded again, resampled, made louder or quieter, inverted, or mixed with
something else. Seconds of the voice are searched in the sound by normalised cross-correlation, in the band that every
codec and telephone keeps. A change of speed or pitch is not recognised. This module knows samples, but no files.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float
from scipy.signal import butter, resample_poly, sosfiltfilt

from latentsync.constants import SOUND_RATE_HZ
from latentsync.shapes import Waveform

SEARCH_RATE_HZ = 8000
BAND_HZ = (300, 1800)
EXCERPT_S = 1.0
MOST_EXCERPTS = 24
QUIET = 0.05  # of the loudest excerpt's level; a quieter one is not searched
# Normalised cross-correlation from which on an excerpt is found. Of ten sounds (four synthetic voices, six real ones),
# the seconds of one reach at most 0.45 in another. A shorter excerpt may be one vowel, which many sounds have.
FOUND, FOUND_SHORT = 0.7, 0.9
SAME_SHIFT_S = 0.05  # excerpts at these distances from the usual shift belong to the same recording
BLOCK = 1 << 16  # samples that are searched at once


@dataclass(frozen=True)
class OwnSound:
    """Where a voice is in a clip's own sound.

    Attributes:
        shift_s: the time in the sound at which the voice's beginning is heard, in s; negative if it begins earlier.
        share: of the voice's loud excerpts that are found at this shift, 0..1.
    """

    shift_s: float
    share: float


def find_voice(sound: Waveform, voice: Waveform) -> OwnSound | None:
    """Searches a voice in a clip's own sound; None if no excerpt of it is there.

    Args:
        sound, voice: mono, 16 kHz.
    """
    haystack, needle = _prepared(sound), _prepared(voice)
    size = min(round(EXCERPT_S * SEARCH_RATE_HZ), haystack.size, needle.size)
    if size == 0:
        return None
    starts = _loud_starts(needle, size)
    if not starts.size:
        return None
    peaks, places = _search(haystack, np.stack([needle[start : start + size] for start in starts]))
    is_found = peaks >= (FOUND if size >= EXCERPT_S * SEARCH_RATE_HZ else FOUND_SHORT)
    if not is_found.any():
        return None
    shifts = (places - starts)[is_found] / SEARCH_RATE_HZ
    agreeing = (np.abs(shifts[:, None] - shifts) <= SAME_SHIFT_S).sum(1)
    best = shifts[int(agreeing.argmax())]
    return OwnSound(float(best), float(agreeing.max() / len(starts)))


@cache
def _band() -> Float[np.ndarray, "s 6"]:
    return butter(2, BAND_HZ, "bandpass", fs=SEARCH_RATE_HZ, output="sos")


def _prepared(samples: Waveform) -> Float[np.ndarray, " n"]:
    """The band that is compared, at the rate of the search; empty for a sound of a few samples."""
    slow = resample_poly(np.asarray(samples, np.float64), 1, SOUND_RATE_HZ // SEARCH_RATE_HZ)
    return sosfiltfilt(_band(), slow) if slow.size > SEARCH_RATE_HZ // 100 else np.zeros(0)


def _loud_starts(samples: Float[np.ndarray, " n"], size: int) -> np.ndarray:
    """Where excerpts of this size begin that are not quiet; at most `MOST_EXCERPTS`, evenly chosen."""
    starts = np.arange(0, samples.size - size + 1, max(1, size // 2))
    levels = np.sqrt([np.square(samples[start : start + size]).mean() for start in starts])
    loud = starts[(levels > QUIET * levels.max()) & (levels > 1e-6)]
    return loud[np.unique(np.linspace(0, loud.size - 1, min(loud.size, MOST_EXCERPTS)).round().astype(int))]


def _search(sound: Float[np.ndarray, " n"], excerpts: Float[np.ndarray, "k m"]) -> tuple[np.ndarray, np.ndarray]:
    """For each excerpt, the largest absolute normalised cross-correlation with a part of the sound, and its start."""
    size = excerpts.shape[1]
    length = max(BLOCK, 1 << (2 * size - 1).bit_length())
    spectra = np.conj(np.fft.rfft(excerpts, length))
    norms = np.sqrt(np.square(excerpts).sum(1))[:, None]
    peaks, places = np.zeros(len(excerpts)), np.zeros(len(excerpts), np.int64)
    for first in range(0, sound.size - size + 1, length - size + 1):
        block = sound[first : first + length]
        count = block.size - size + 1
        products = np.fft.irfft(np.fft.rfft(block, length) * spectra, length)[:, :count]
        sums = np.concatenate([[0.0], np.cumsum(np.square(block))])
        energies = np.maximum(sums[size:] - sums[:-size], 1e-12 * size)
        likeness = np.abs(products) / (norms * np.sqrt(energies))
        at = likeness.argmax(1)
        values = likeness[np.arange(len(at)), at]
        is_better = values > peaks
        peaks[is_better], places[is_better] = values[is_better], first + at[is_better]
    return peaks, places
