"""Speech features of the two SyncNets: MFCC columns for SyncNet v2, the mel of Wav2Lip for StableSyncNet.

Goal: exactly the numbers that the networks were trained on. So every constant here is given, and none is a choice.

Conventions: mono sound at 16 kHz. `mfcc` takes int16 samples, since its first coefficient is a loudness in their scale,
and gives 100 columns a second. `wav2lip_mel` takes -1..1 and gives 80 columns a second. Spectra are computed block by
block, so that memory grows with the sound and not with its overlapping windows.

Sources: `python_speech_features.mfcc` 0.6 with its defaults (Davis & Mermelstein 1980); the mel of Prajwal et al.,
"A Lip Sync Expert Is All You Need for Speech to Lip Generation In the Wild" (ACM MM 2020), which is librosa's.
"""

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
from jaxtyping import Float, Float32, Float64
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import dct
from scipy.signal.windows import hann
from transformers.audio_utils import mel_filter_bank

from latentsync.constants import SOUND_RATE_HZ, VIDEO_RATE_HZ
from latentsync.media.sound import validate_waveform
from latentsync.shapes import Samples, Waveform

PREEMPHASIS = 0.97  # of both features
BLOCK_WINDOWS = 2048  # transformed at once
MFCC_WINDOW = 400  # 25 ms
MFCC_HOP = 160  # 10 ms
MFCC_N_FFT = 512
MFCC_FILTERS = 26
MFCC_COEFFICIENTS = 13
CEPSTRAL_LIFTER = 22
MEL_WINDOW = 800  # 50 ms, also the length of the transform
MEL_HOP = 200  # 12.5 ms
MELS = 80
MEL_RANGE_HZ = (55.0, 7600.0)
MEL_FLOOR = 1e-5  # -100 dB
MEL_REFERENCE_DB = 20.0
MEL_DEPTH_DB = 100.0  # the scale ends this far below the reference
MEL_PEAK = 4.0  # the scale runs from -4 to 4
MEL_HZ = 80  # columns a second
WINDOW_COLUMNS = 52  # ceil(16 frames * 80 / 25)


def mfcc(samples: Samples) -> Float64[np.ndarray, "13 t"]:
    """Mel-frequency cepstral coefficients, liftered, with the log energy in place of the first.

    Args:
        samples: int16, mono at 16 kHz.

    Returns:
        (13, 1 + ceil((n - 400) / 160)), 100 columns a second; zeros complete the last window.

    Raises:
        ValueError: the samples are not int16, have not one dimension, or are empty.
    """
    if samples.ndim != 1 or samples.dtype != np.int16 or not samples.size:
        raise ValueError(
            f"samples have shape {samples.shape} and type {samples.dtype}; (n,) of int16 at {SOUND_RATE_HZ} Hz is "
            f"needed, as `media.sound.to_int16` makes them of -1..1"
        )
    num_windows = 1 + max(0, math.ceil((samples.size - MFCC_WINDOW) / MFCC_HOP))
    blocks = [_cepstra(windows) for windows in _window_blocks(samples, MFCC_WINDOW, MFCC_HOP, num_windows)]
    return np.concatenate(blocks, axis=1)


def _cepstra(windows: Float64[np.ndarray, "t 400"]) -> Float64[np.ndarray, "13 t"]:
    power = np.square(np.abs(np.fft.rfft(windows, MFCC_N_FFT))) / MFCC_N_FFT
    cepstra = dct(np.log(_above_zero(power @ _mfcc_filters().T)), norm="ortho")[:, :MFCC_COEFFICIENTS]
    quefrency = np.arange(MFCC_COEFFICIENTS)
    cepstra *= 1 + CEPSTRAL_LIFTER / 2 * np.sin(np.pi * quefrency / CEPSTRAL_LIFTER)
    cepstra[:, 0] = np.log(_above_zero(power.sum(axis=1)))
    return cepstra.T


def _above_zero(values: np.ndarray) -> np.ndarray:
    """Replaces zeros, which come from digital silence, by the smallest step of a float, which has a logarithm."""
    return np.where(values == 0, np.finfo(np.float64).eps, values)


@cache
def _mfcc_filters() -> Float64[np.ndarray, "26 257"]:
    """Triangles between 28 points that are evenly spaced in mel (2595 log10(1 + f / 700)) and rounded down to bins."""
    top_mel = 2595 * math.log10(1 + SOUND_RATE_HZ / 2 / 700)
    points_hz = 700 * (10 ** (np.linspace(0, top_mel, MFCC_FILTERS + 2) / 2595) - 1)
    points = np.floor((MFCC_N_FFT + 1) * points_hz / SOUND_RATE_HZ)[:, None]
    low, centre, high = points[:-2], points[1:-1], points[2:]
    bins = np.arange(MFCC_N_FFT // 2 + 1)
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    return np.maximum(0, np.minimum(rising, falling))


def wav2lip_mel(waveform: Waveform) -> Float32[np.ndarray, "80 t"]:
    """Mel spectrogram in decibels; 100 dB are scaled to -4..4.

    Args:
        waveform: -1..1, mono at 16 kHz.

    Returns:
        (80, 1 + n // 200), 80 columns a second; column k is centred on sample 200 k, with silence around the sound.

    Raises:
        ValueError: the waveform is not of floats, has not one dimension, or is empty.
    """
    validate_waveform(waveform)
    num_windows = 1 + waveform.size // MEL_HOP
    blocks = _window_blocks(waveform, MEL_WINDOW, MEL_HOP, num_windows, lead=MEL_WINDOW // 2)
    return np.concatenate([_scaled_mel(windows) for windows in blocks], axis=1)


def _scaled_mel(windows: Float64[np.ndarray, "t 800"]) -> Float32[np.ndarray, "80 t"]:
    amplitude = np.abs(np.fft.rfft(windows * hann(MEL_WINDOW, sym=False)))
    decibels = 20 * np.log10(np.maximum(MEL_FLOOR, amplitude @ _wav2lip_filters())) - MEL_REFERENCE_DB
    scaled = 2 * MEL_PEAK * (decibels + MEL_DEPTH_DB) / MEL_DEPTH_DB - MEL_PEAK
    return np.clip(scaled, -MEL_PEAK, MEL_PEAK).astype(np.float32).T


@cache
def _wav2lip_filters() -> Float64[np.ndarray, "401 80"]:
    low_hz, high_hz = MEL_RANGE_HZ
    return mel_filter_bank(
        num_frequency_bins=MEL_WINDOW // 2 + 1,
        num_mel_filters=MELS,
        min_frequency=low_hz,
        max_frequency=high_hz,
        sampling_rate=SOUND_RATE_HZ,
        norm="slaney",
        mel_scale="slaney",
    )


def mel_columns(num_frames: int) -> int:
    """The number of mel columns for `num_frames` = f frames: ceil(80 f / 25), so 52 for SyncNet's 16 frames."""
    return math.ceil(MEL_HZ * num_frames / VIDEO_RATE_HZ)


def mel_start(frame: int) -> int:
    """The first mel column of a video frame."""
    return int(MEL_HZ * frame / VIDEO_RATE_HZ)


def mel_window(mel: Float[np.ndarray, "80 t"], frame: int) -> Float[np.ndarray, "80 52"]:
    """The 52 columns (0.65 s) of the 16 video frames from `frame` on, at 25 frames a second.

    Raises:
        ValueError: the window begins before the sound or ends after it.
    """
    start = mel_start(frame)
    if frame < 0 or start + WINDOW_COLUMNS > mel.shape[1]:
        raise ValueError(
            f"frame {frame} needs mel columns {start} to {start + WINDOW_COLUMNS} and there are {mel.shape[1]}; "
            f"16 frames from it on must have sound"
        )
    return mel[:, start : start + WINDOW_COLUMNS]


def _window_blocks(signal: np.ndarray, length: int, hop: int, num_windows: int, lead: int = 0) -> Iterator[np.ndarray]:
    """Overlapping windows of the preemphasised signal, in blocks; zeros beyond its ends.

    Args:
        lead: samples by which the first window begins before the signal.

    Returns:
        (at most 2048, length) each, float64; views of one piece of the signal.
    """
    for first in range(0, num_windows, BLOCK_WINDOWS):
        start = first * hop - lead
        size = (min(BLOCK_WINDOWS, num_windows - first) - 1) * hop + length
        piece = _preemphasised(signal, max(start, 0), start + size)
        piece = np.pad(piece, (max(-start, 0), size - max(-start, 0) - piece.size))
        yield sliding_window_view(piece, length)[::hop]


def _preemphasised(signal: np.ndarray, start: int, stop: int) -> Float64[np.ndarray, " n"]:
    """x[i] - 0.97 x[i - 1] from start to stop; the first sample stays. This raises the high frequencies of speech."""
    piece = signal[max(start - 1, 0) : stop].astype(np.float64)
    lifted = piece[1:] - PREEMPHASIS * piece[:-1]
    return lifted if start else np.concatenate([piece[:1], lifted])
