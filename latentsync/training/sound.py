"""The sound of a piece: as recorded, or laid where SyncNet v2 says that it belongs. Knows nothing of crops or options.

A whole source's sound lies in a file of the work folder, not in memory.
"""

import wave
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float
from scipy.signal import medfilt

from latentsync.audio import SILENCE_PEAK
from latentsync.errors import MediaError
from latentsync.media import VIDEO_RATE_HZ, read_frames
from latentsync.media.container import decode_packets, open_input, packets_of, sound_stream_of
from latentsync.media.sound import SOUND_RATE_HZ, resampled
from latentsync.metrics.speech_features import Samples
from latentsync.metrics.sync import lip_energy_correlation, log_energy
from latentsync.metrics.syncnet import (
    FACE_PX,
    SAMPLES_PER_FRAME,
    SyncNet,
    clip_embeddings,
    scores,
    window_distances,
)
from latentsync.shapes import Frame
from latentsync.training.shots import Track

# The data filter of LatentSync (arXiv 2412.09262): what SyncNet v2 must say of a piece that is kept
MAX_OFFSET_FRAMES = 6
LEAST_CONFIDENCE = 3.0
# SyncNet's own framing of a face (its run_pipeline.py), in half sides of the face's box: the crop reaches 1 above the
# middle, 1.8 below, 1.4 to either side; grey beyond the picture; middle and size smoothed by a median
SYNCNET_ABOVE, SYNCNET_BELOW, SYNCNET_BESIDE = 1.0, 1.8, 1.4
SYNCNET_GREY = 110
SYNCNET_MEDIAN_FRAMES = 13


# --- as recorded ---


def spooled_sound(path: Path, work: Path) -> Samples:
    """The sound of a file, int16 mono at 16 kHz, `(n,)`; it lies in the work folder, not in memory.

    The same samples as `media.read_sound` gives, times 32768.
    """
    spool = work / "sound.s16"
    size = 0
    with open_input(path) as container, open(spool, "wb") as file:
        frames = decode_packets(packets_of(container, sound_stream_of(container, path)))
        for frame in resampled(frames, "s16", "mono", SOUND_RATE_HZ):
            samples = frame.to_ndarray()[0]
            size += samples.size
            file.write(samples.tobytes())
    if size == 0:
        raise MediaError(f"{path} holds no sound (0 samples can be decoded); record or convert it again")
    return np.memmap(spool, np.int16, "r")


def is_silent(samples: Samples) -> bool:
    peak = max(int(samples.max()), -int(samples.min())) / 32768
    return peak < SILENCE_PEAK


def write_wav(path: Path, samples: Samples) -> None:
    """Mono int16 samples at 16 kHz as a WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())


# --- where SyncNet says that it belongs ---


def syncnet_crops(frames: Iterable[Frame], boxes: Float[np.ndarray, "f 4"]) -> Iterator[Frame]:
    """Faces of 224 px in SyncNet's own framing, wider and lower than the aligned crops."""
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    places = [np.maximum(widths, heights) / 2, boxes[:, [0, 2]].mean(1), boxes[:, [1, 3]].mean(1)]
    size = min(SYNCNET_MEDIAN_FRAMES, len(boxes) - 1 + len(boxes) % 2)
    half = size // 2  # the ends are held, where scipy's median would see zeros
    smooth = [medfilt(np.pad(place, half, mode="edge"), size)[half : half + len(boxes)] for place in places]
    for frame, reach, x, y in zip(frames, *smooth, strict=True):
        scale = FACE_PX / (2 * SYNCNET_BESIDE * reach)
        left, top = x - SYNCNET_BESIDE * reach, y - SYNCNET_ABOVE * reach
        to_crop = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
        yield cv2.warpAffine(frame, to_crop, (FACE_PX, FACE_PX), borderValue=(SYNCNET_GREY,) * 3)


@dataclass(frozen=True)
class Placement:
    """How a piece's sound is laid: frame i of the source goes with the sound of frame i - offset.

    Attributes:
        first, last: the part of the piece, in its own frames, for which the source then has sound.
        syncnet: what SyncNet said; None where it was not asked.
    """

    offset: int
    first: int
    last: int
    syncnet: dict[str, Any] | None = None


def place_sound(video: Path, track: Track, samples: Samples, network: SyncNet | None) -> Placement | str:
    """Where the sound belongs by SyncNet, or why the piece is dropped; as recorded where there is no network."""
    start, stop = track.start, track.start + len(track)
    if network is None:
        return Placement(0, 0, len(track))
    crops = syncnet_crops(read_frames(video, VIDEO_RATE_HZ, start, stop), track.boxes)
    sound = np.array(samples[start * SAMPLES_PER_FRAME : stop * SAMPLES_PER_FRAME])
    found = scores(window_distances(*clip_embeddings(network, crops, sound)))
    if found.lse_c < LEAST_CONFIDENCE:
        return f"SyncNet's confidence is {found.lse_c:.2f}; at least {LEAST_CONFIDENCE:g} is needed"
    if abs(found.offset) > MAX_OFFSET_FRAMES:
        return f"SyncNet's offset is {found.offset} frames; at most {MAX_OFFSET_FRAMES} either way can be corrected"
    first = max(0, found.offset - start)
    last = min(len(track), len(samples) // SAMPLES_PER_FRAME + found.offset - start)
    told = {
        "protocol": "SyncNet v2, faces framed as its pipeline does around MediaPipe's points",
        "offset_frames": found.offset,
        "confidence": round(found.lse_c, 4),
        "distance": round(found.lse_d, 4),
        "is_corrected": True,
    }
    return Placement(found.offset, first, last, told)


def landmark_sync(gaps: Float[np.ndarray, " f"], sound: Samples) -> dict[str, Any]:
    """The measure of `metrics.sync` on a piece: told, not judged by; short pieces say little."""
    energy = log_energy(sound.astype(np.float32) / 32768, SOUND_RATE_HZ, len(gaps))
    curve = lip_energy_correlation(gaps, energy)
    return {
        "peak": None if curve.peak is None else round(curve.peak, 4),
        "lag_frames": curve.lag,
        "margin": None if curve.margin is None else round(curve.margin, 4),
        "reason": curve.reason,
    }
