"""Waveform -> log-mel -> Whisper encoder states -> one window of states per video frame. Knows nothing of video files.

The states are the input of the first encoder block and the output of every block, all before the final layer norm, as
in LatentSync's training (arXiv 2412.09262 and its reference code; the mel is that of openai/whisper).
"""

import logging
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from latentsync.audio.whisper import N_MELS, SEGMENT_FRAMES, SEGMENT_STATES, WhisperStates
from latentsync.audio.whisper_files import load_whisper
from latentsync.config import MIN_DURATION_S
from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import MediaError, OptionError
from latentsync.media import read_sound
from latentsync.shapes import Waveform, Windows

log = logging.getLogger(__name__)

N_FFT = 400  # 25 ms
HOP_SAMPLES = 160  # 10 ms
MEL_BLOCK = 30_000  # frames of the spectrogram, 5 minutes, that are computed together
STATES_HZ = 50  # encoder states per second of sound
CONTEXT_FRAMES = (2, 2)  # video frames of context to the left and right of a window's centre
SHARED_STATES, EDGE_STATES = 200, 50  # 4 s that overlapping segments share; 1 s at each end is not used of both
SILENCE_PEAK = 1e-4  # -80 dBFS


@cache
def _mel_filters() -> Tensor:
    """Whisper's 80 triangular filters, (80, 201)."""
    filters = mel_filter_bank(
        num_frequency_bins=N_FFT // 2 + 1,
        num_mel_filters=N_MELS,
        min_frequency=0.0,
        max_frequency=SOUND_RATE_HZ / 2,
        sampling_rate=SOUND_RATE_HZ,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters.T).float()


def check_sound(waveform: Waveform, name: str = "the sound") -> None:
    """Refuses sound that is too short for lips to follow. Silent sound is taken, and a warning is logged.

    Raises:
        MediaError: the sound is shorter than 0.2 s.
    """
    duration_s = len(waveform) / SOUND_RATE_HZ
    if duration_s < MIN_DURATION_S:
        raise MediaError(f"{name} holds {duration_s:.2f} s of sound; at least {MIN_DURATION_S} s is needed")
    peak = max(float(waveform.max()), -float(waveform.min()))
    if peak < SILENCE_PEAK:
        log.warning(
            "%s is silent: its peak is %.1e of full scale, below %.0e. silence=rest keeps the mouth shut; if it should "
            "speak, check the recording.",
            *(name, peak, SILENCE_PEAK),
        )


def log_mel(waveform: Waveform) -> Tensor:
    """Whisper's log-mel spectrogram of the whole sound, unpadded.

    Args:
        waveform: (n,) at 16 kHz, -1..1.

    Returns:
        (80, n // 160), about -1..1, 100 frames per second.
    """
    samples = torch.from_numpy(np.asarray(waveform, dtype=np.float32))
    num_frames = len(samples) // HOP_SAMPLES
    log_power = torch.empty(N_MELS, num_frames)
    for start in range(0, num_frames, MEL_BLOCK):  # of a long sound, only one block's spectrum is in memory
        stop = min(start + MEL_BLOCK, num_frames)
        log_power[:, start:stop] = _log_power(samples, start, stop)
    torch.maximum(log_power, log_power.max() - 8.0, out=log_power)
    return log_power.add_(4.0).div_(4.0)


def _log_power(samples: Tensor, start: int, stop: int) -> Tensor:
    """log10 of the power in Whisper's filters for the spectrogram's frames start..stop-1: (80, stop - start)."""
    first, last = start * HOP_SAMPLES - N_FFT // 2, (stop - 1) * HOP_SAMPLES + N_FFT // 2
    beyond = max(0, -first), max(0, last - len(samples))  # the sound is mirrored at its ends
    part = torch.nn.functional.pad(samples[None, max(0, first) : last], beyond, mode="reflect")[0]
    window = torch.hann_window(N_FFT)
    power = torch.stft(part, N_FFT, HOP_SAMPLES, window=window, center=False, return_complex=True).abs() ** 2
    return torch.clamp(_mel_filters() @ power, min=1e-10).log10()


def num_states(num_samples: int) -> int:
    """The number of encoder states for this number of samples of 16 kHz sound."""
    segments, rest = divmod(num_samples // HOP_SAMPLES, SEGMENT_FRAMES)
    return segments * (SEGMENT_FRAMES // 2) + rest // 2


def window_indices(frame: int, rate_hz: float, num_states: int) -> list[int]:
    """The numbers of the encoder states around one video frame; the first and last states repeat at the ends."""
    return indices_around(int(frame * STATES_HZ / rate_hz), num_states)


def indices_around(centre: int, num_states: int) -> list[int]:
    """The numbers of the encoder states around one of them; the first and last states repeat at the ends."""
    left, right = CONTEXT_FRAMES
    return [min(max(i, 0), num_states - 1) for i in range(centre - 2 * left, centre + 2 * (right + 1))]


def num_reference_windows(num_states: int, rate_hz: float) -> int:
    """The number of windows that the original makes of these states: one or two more than the sound's video frames."""
    return math.floor(num_states * rate_hz / STATES_HZ) + 2


def silent_window(whisper: WhisperStates) -> Windows:
    """One window of Whisper states, (10 * (layers + 1), width): the middle of a second of digital silence.

    Of the silences that were tried (docs/windows.md), models close the mouth best with this one: sounds of a few
    seconds are what they were trained with.
    """
    left, right = CONTEXT_FRAMES
    middle = STATES_HZ // 2
    states = whisper.segment(log_mel(np.zeros(SOUND_RATE_HZ, np.float32))).float().cpu()
    return rearrange(states[middle - 2 * left : middle + 2 * (right + 1)], "t s d -> (t s) d")


class Audio2Feature:
    """From a sound to the audio windows that condition the UNet.

    Args:
        whisper: the encoder; its width must be the UNet's `cross_attention_dim`.
    """

    def __init__(self, whisper: WhisperStates) -> None:
        self.whisper = whisper

    @classmethod
    def from_pretrained(cls, whisper: str | Path = "tiny.en", device: str = "cpu") -> "Audio2Feature":
        """Loads the named Whisper ("tiny.en", "tiny", "small"), or one from a file."""
        return cls(load_whisper(whisper).to(device))

    def features(self, waveform: Waveform, name: str = "the sound") -> Tensor:
        """Encoder states of a 16 kHz mono waveform: (50 a second, layers + 1, width), float32 on the CPU.

        Raises:
            MediaError: the sound is too short.
        """
        check_sound(waveform, name)
        return self.whisper(log_mel(waveform)).float().cpu()

    def audio2feat(self, audio_path: str | Path) -> Tensor:
        """Encoder states of a sound file, or of a video's sound; see `features`."""
        return self.features(read_sound(audio_path, SOUND_RATE_HZ), Path(audio_path).name)

    def feature2chunks(self, feature_array: Tensor, fps: float, num_frames: int | None = None) -> Windows:
        """One window of states per video frame.

        Args:
            feature_array: (n, layers + 1, width).
            fps: video frames per second.
            num_frames: how many windows; by default the original's number (one or two more than the sound has frames).

        Returns:
            (frames, 10 * (layers + 1), width): time outer, layer inner; states at the ends repeat.
        """
        if fps <= 0:
            raise OptionError(f"fps is {fps}; it must be above 0 (the model knows 25)")
        if num_frames is None:
            num_frames = num_reference_windows(len(feature_array), fps)
        indices = torch.tensor([window_indices(i, fps, len(feature_array)) for i in range(num_frames)])
        return rearrange(feature_array[indices], "f t s d -> f (t s) d")


class WindowReader:
    """The windows of one sound, computed segment by segment when they are needed.

    Only the states of two segments (60 s) are held at a time, so memory does not depend on the length of the sound.

    Args:
        whisper: the encoder.
        waveform: (n,) at 16 kHz, -1..1.
        fps: video frames per second.
        name: of the sound, for messages.
        cached: called with a segment's first state and a function that computes its states; gives stored states or
            calls it.
        segments: "reference" or "overlap", see `config.VideoOptions.audio_segments`.
        times_s: when each video frame begins, for frames that have no constant rate; `fps` is then not used.

    Raises:
        MediaError: the sound is too short.
    """

    def __init__(
        self,
        whisper: WhisperStates,
        waveform: Waveform,
        fps: float,
        name: str = "the sound",
        cached: Callable[[int, Callable[[], Tensor]], Tensor] = lambda index, compute: compute(),
        times_s: Sequence[Fraction] | None = None,
        segments: str = "reference",
    ) -> None:
        check_sound(waveform, name)
        self.fps, self._times_s = fps, times_s
        self._kept = cached
        self._whisper = whisper
        self._mel = log_mel(waveform)
        self.num_states = num_states(len(waveform))
        self._shared = SHARED_STATES if segments == "overlap" else 0
        self._segment = lru_cache(maxsize=2)(self._compute_segment)

    def _compute_segment(self, start: int) -> Tensor:
        """The states of the segment that begins with a state."""
        first = start * SEGMENT_FRAMES // SEGMENT_STATES
        mel = self._mel[:, first : first + SEGMENT_FRAMES]
        return self._kept(start, lambda: self._whisper.segment(mel).float().cpu())

    def _state(self, index: int) -> Tensor:
        """One state, (layers + 1, width). Where two segments share sound, it goes from the earlier to the later one's.

        Near its ends a segment lacks the sound around a state, so 1 s at each end of the shared 4 s is not used.
        """
        hop = SEGMENT_STATES - self._shared
        last = max(0, math.ceil((self.num_states - SEGMENT_STATES) / hop))
        start = min(index // hop, last) * hop
        place = index - start
        if not start or place >= self._shared - EDGE_STATES:
            return self._segment(start)[place]
        before = self._segment(start - hop)[place + hop]
        if place < EDGE_STATES:
            return before
        share = (place - EDGE_STATES + 0.5) / (self._shared - 2 * EDGE_STATES)
        return torch.lerp(before, self._segment(start)[place], share)

    def __call__(self, start: int, stop: int) -> Windows:
        """The windows of video frames start..stop-1: (stop - start, 10 * (layers + 1), width)."""
        return torch.stack([self._window(frame) for frame in range(start, stop)])

    def _window(self, frame: int) -> Tensor:
        if self._times_s is None:
            indices = window_indices(frame, self.fps, self.num_states)
        else:
            indices = indices_around(int(self._times_s[frame] * STATES_HZ), self.num_states)
        states = torch.stack([self._state(i) for i in indices])
        return rearrange(states, "t s d -> (t s) d")
