"""All measures of one generated video at once, each with its unit, its direction and what made it.

Goal: one flat dict that a record can hold and a table can be made of. A measure that has no meaning for the input is
there too, with `value` None and a `reason`.

Conventions: an entry is `{"value", "unit", "direction", "protocol"}` and, where the value is None, `"reason"`.
`direction` is "higher", "lower", "zero" (nearer to 0) or "one" (nearer to 1), whichever is better.
"""

from collections.abc import Iterable, Iterator
from itertools import islice, zip_longest
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from latentsync.errors import MediaError, WeightsError
from latentsync.metrics import perceptual, sync, sync_mini, temporal
from latentsync.metrics.stable_syncnet import StableSyncNet
from latentsync.shapes import Crop, Waveform
from latentsync.weights import state_dict_sha256

SAME_SPEECH = 0.9  # normalised cross-correlation from which on two sounds are the same recording
SAME_SPEECH_SHIFT_S = 0.1  # apart in time at most
SAME_SPEECH_LENGTH_S = 0.5  # apart in length at most
SAME_SPEECH_HEARD_S = 60.0  # compared at most, from the beginning

Entry = dict[str, Any]


def validate(gaps: np.ndarray | None, waveform: Waveform | None, rate_hz: float) -> None:
    """Refuses arrays of the wrong rank.

    Raises:
        ValueError: gaps not `(f,)`, waveform not `(n,)`, or a rate of 0 or less.
    """
    for name, array in (("gaps", gaps), ("waveform", waveform)):
        if array is not None and array.ndim != 1:
            raise ValueError(f"{name} has shape {array.shape}; it must have one dimension")
    if rate_hz <= 0:
        raise ValueError(f"rate_hz is {rate_hz}; it must be above 0 (16000 is the usual choice)")


def evaluate(
    generated_crops: Iterable[Crop] | None = None,
    source_crops: Iterable[Crop] | None = None,
    gaps: np.ndarray | None = None,
    waveform: Waveform | None = None,
    rate_hz: int = 16000,
    landmarks: temporal.Landmarks | None = None,
    source_landmarks: temporal.Landmarks | None = None,
    differences: Float[np.ndarray, " f"] | None = None,
    window: int | None = None,
    is_own_voice: bool = False,
    video_rate_hz: float = 25.0,
    lips: Iterable[Crop] | None = None,
    found: Bool[np.ndarray, " f"] | None = None,
    syncnet: StableSyncNet | None = None,
    device: str = "cpu",
) -> dict[str, Entry]:
    """Every measure of one generated video; whatever input is None leaves its measures out with a reason.

    Args:
        generated_crops, source_crops: aligned faces of the same frames, `(3, r, r)` each, uint8 or float -1..1; read
            once, in batches.
        gaps: `sync.lip_gap` of the generated video's frames, `(f,)`, NaN without a face.
        waveform: the voice, mono, `(n,)`.
        landmarks, source_landmarks: of the frames of the generated video and of those that they were made from, px,
            `(f, 468, 2)`, NaN without a face.
        differences, window: `temporal.crop_differences` of the generated faces, and the frames of a window.
        lips: aligned faces of all frames of the generated video, from the beginning of the voice on; read once.
        found: in which of them there is a face; windows with another frame do not count. None: in all.
        syncnet: the embedded model's, which judges them.
        is_own_voice: the voice is the clip's own sound (`same_speech`), so that the source is a reference for lips.

    Raises:
        ValueError: arrays of the wrong shape, or crops of different number.
    """
    validate(gaps, waveform, rate_hz)
    entries = {"lpips_alexnet": _lpips(generated_crops, source_crops, is_own_voice, device)}
    entries |= _landmark_sync(gaps, waveform, rate_hz, video_rate_hz)
    entries |= _jitter(landmarks, source_landmarks) | _boundaries(differences, window)
    return entries | _sync_mini(lips, found, waveform, syncnet, rate_hz, video_rate_hz)


def _entry(value: float | None, unit: str, direction: str, protocol: str, reason: str | None = None) -> Entry:
    entry: Entry = {"value": value, "unit": unit, "direction": direction, "protocol": protocol}
    return entry if reason is None else entry | {"reason": reason}


def _lpips(generated: Iterable[Crop] | None, source: Iterable[Crop] | None, is_own_voice: bool, device: str) -> Entry:
    """Mean LPIPS over frames."""
    what = ("distance", "lower", f"{perceptual.lpips_protocol()}, mean over frames of aligned crops")
    if not is_own_voice:
        return _entry(None, *what, reason="the voice is not the clip's own, so the source is no reference for the lips")
    if generated is None or source is None:
        return _entry(None, *what, reason="no crops of both the generated and the source video were given")
    try:
        distances = [perceptual.lpips_distance(a, b, device) for a, b in _paired_batches(generated, source)]
    except WeightsError as error:
        return _entry(None, *what, reason=str(error))
    if not distances:
        return _entry(None, *what, reason="no frame has a face")
    return _entry(float(np.concatenate(distances).mean()), *what)


def _paired_batches(a: Iterable[Crop], b: Iterable[Crop]) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of crops from two streams of equal length."""
    pairs = zip_longest(a, b)
    while batch := list(islice(pairs, perceptual.BATCH_FRAMES)):
        if any(crop is None for crop in batch[-1]):
            raise ValueError("generated_crops and source_crops differ in number; give the same frames of both")
        yield tuple(torch.stack([torch.as_tensor(crop) for crop in side]) for side in zip(*batch, strict=True))


def _landmark_sync(
    gaps: np.ndarray | None, waveform: Waveform | None, rate_hz: int, video_rate_hz: float
) -> dict[str, Entry]:
    units = {"peak": ("correlation", "higher"), "lag": ("frames", "zero"), "margin": ("correlation", "higher")}
    protocol = (
        f"lip gap (MediaPipe 13, 14) against log energy, Pearson, lags within {sync.MAX_LAG} frames "
        f"of 1/{video_rate_hz:g} s"
    )
    if gaps is None or waveform is None:
        reason = "no lip gaps and voice were given"
        return {f"landmark_sync_{name}": _entry(None, *unit, protocol, reason) for name, unit in units.items()}
    energy = sync.log_energy(waveform, rate_hz, gaps.size, video_rate_hz)
    curve = sync.lip_energy_correlation(gaps, energy)
    protocol += f"; {curve.num_used} frames with a face, {curve.num_left_out} without"
    return {
        f"landmark_sync_{name}": _entry(getattr(curve, name), *unit, protocol, curve.reason)
        for name, unit in units.items()
    }


def _jitter(generated: temporal.Landmarks | None, source: temporal.Landmarks | None) -> dict[str, Entry]:
    """How much chin and jaw tremble against those of the source."""
    what = (
        "ratio",
        "lower",
        "second difference of MediaPipe's chin and jaw, rms over consecutive frames with a face, generated over source",
    )
    ratio, reason = None, "no landmarks of both the generated and the source video were given"
    if generated is not None and source is not None:
        ratio = temporal.landmark_jitter_ratio(generated, source)
        reason = None if ratio is not None else "too few consecutive frames show a face, or the source stands still"
    return {"landmark_jitter_ratio": _entry(ratio, *what, reason)}


def _boundaries(differences: Float[np.ndarray, " f"] | None, window: int | None) -> dict[str, Entry]:
    """How much larger the step from frame to frame is where two windows meet."""
    protocol, ratio = "mean absolute difference of aligned faces to the frame before, at seams over elsewhere", None
    reason = "no differences and length of a window were given"
    if window == 1:
        reason = "a window of one frame has a seam at every frame"
    elif differences is not None and window is not None:
        protocol += f"; a window has {window} frames"
        ratio = temporal.boundary_ratio(differences, window)
        reason = None if ratio is not None else "there is no seam between frames with a face, or nothing moves"
    return {"window_boundary_ratio": _entry(ratio, "ratio", "one", protocol, reason)}


def _sync_mini(
    lips: Iterable[Crop] | None,
    found: Bool[np.ndarray, " f"] | None,
    waveform: Waveform | None,
    syncnet: StableSyncNet | None,
    rate_hz: int,
    video_rate_hz: float,
) -> dict[str, Entry]:
    """The embedded SyncNet's scores, over the windows with a face in every frame."""
    units = {"confidence": ("distance", "higher"), "distance": ("distance", "lower"), "offset": ("frames", "zero")}
    protocol, scores, reason = "StableSyncNet of the embedded model", None, None
    if syncnet is None or lips is None or waveform is None:
        reason = "no crops, voice and SyncNet were given"
    elif (rate_hz, video_rate_hz) != (16_000, sync_mini.VIDEO_HZ):
        reason = f"sound of {rate_hz} Hz and {video_rate_hz:g} frames/s were given; it hears 16000 Hz and sees 25"
    else:
        protocol += (
            f", weights {state_dict_sha256(syncnet.state_dict())[:12]}, shifts within {sync_mini.MAX_SHIFT} frames"
        )
        try:
            vision, speech = sync_mini.embed_lips(syncnet, lips), sync_mini.embed_speech(syncnet, waveform)
            seen = np.ones(len(vision), bool)
            if found is not None:
                seen = sync_mini.whole_windows(found, sync_mini.num_frames(syncnet))
            protocol += f"; {seen.sum()} windows of lips, {(~seen).sum()} left out for want of a face"
            scores = sync_mini.scores(sync_mini.shift_distances(vision, speech, seen=seen))
        except MediaError as error:
            reason = str(error)
    values = {name: getattr(scores, f"sync_mini_{name}", None) for name in units}
    return {f"sync_mini_{name}": _entry(values[name], *unit, protocol, reason) for name, unit in units.items()}


def same_speech(a: Waveform, b: Waveform, rate_hz: int) -> bool:
    """Whether two sounds are one recording, perhaps coded anew, shifted or cut a little.

    True where the normalised cross-correlation reaches 0.9 at a shift of at most 0.1 s. Lengths may differ by 0.5 s; of
    long sounds the first minute is compared. Silence is the same as nothing.

    Args:
        a, b: mono waveforms of one rate, `(n,)` and `(m,)`.
    """
    if abs(a.size - b.size) > SAME_SPEECH_LENGTH_S * rate_hz:
        return False
    size = min(a.size, b.size, round(SAME_SPEECH_HEARD_S * rate_hz))
    shift = min(round(SAME_SPEECH_SHIFT_S * rate_hz), size - 1)
    if size == 0:
        return False
    a, b = a[:size].astype(np.float64), b[:size].astype(np.float64)
    length = 1 << (2 * size - 1).bit_length()
    product = np.fft.irfft(np.fft.rfft(a, length) * np.conj(np.fft.rfft(b, length)), length)
    shifts = np.arange(-shift, shift + 1)
    energy_a, energy_b = (np.concatenate([[0.0], np.cumsum(np.square(x))]) for x in (a, b))
    late, early = np.maximum(shifts, 0), np.maximum(-shifts, 0)  # a[late:] lies over b[early:] at each shift
    overlap_a = energy_a[size - early] - energy_a[late]
    overlap_b = energy_b[size - late] - energy_b[early]
    scale = np.sqrt(np.maximum(overlap_a * overlap_b, 0))
    heard = scale > 1e-9 * size
    return bool(np.any(product[shifts][heard] >= SAME_SPEECH * scale[heard]))
