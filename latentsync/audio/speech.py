"""Where a sound holds speech, found by Silero's voice-activity detector. Knows no video."""

import math
import warnings
from functools import cache

import torch

from latentsync.constants import SOUND_RATE_HZ
from latentsync.shapes import Waveform

LEAST_SILENCE_S = 0.3  # a shorter pause belongs to the speech around it


@cache
def _detector() -> torch.jit.ScriptModule:
    threads = torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.load")
            from silero_vad import load_silero_vad  # sets torch to one thread

            return load_silero_vad()
    finally:
        torch.set_num_threads(threads)


def silent_stretches(waveform: Waveform) -> list[tuple[float, float]]:
    """The stretches of at least 0.3 s without speech, as (start, stop) in seconds.

    A stretch that reaches the sound's end has no end: its stop is infinite.

    Args:
        waveform: (n,) at 16 kHz, -1..1.
    """
    detector = _detector()
    from silero_vad import get_speech_timestamps

    found = get_speech_timestamps(
        torch.as_tensor(waveform, dtype=torch.float32),
        detector,
        sampling_rate=SOUND_RATE_HZ,
        min_silence_duration_ms=round(1000 * LEAST_SILENCE_S),
        speech_pad_ms=0,
    )
    ends = [0, *(place for span in found for place in (span["start"], span["end"])), len(waveform)]
    stretches = [
        (start / SOUND_RATE_HZ, stop / SOUND_RATE_HZ) for start, stop in zip(ends[::2], ends[1::2], strict=True)
    ]
    least_s = min(LEAST_SILENCE_S, len(waveform) / SOUND_RATE_HZ)  # a sound without speech is silent at any length
    stretches = [(start, stop) for start, stop in stretches if stop - start >= least_s]
    end_s = len(waveform) / SOUND_RATE_HZ
    return [(start, math.inf if stop == end_s else stop) for start, stop in stretches]
