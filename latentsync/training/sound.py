"""The sound of a piece: as recorded, or laid where a SyncNet says that it belongs. Knows nothing of options.

A whole source's sound lies in a file of the work folder, not in memory.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from scipy.signal import medfilt

from latentsync.audio.features import SILENCE_PEAK
from latentsync.errors import MediaError, OptionError
from latentsync.faces.geometry import warp_crop
from latentsync.media import VIDEO_RATE_HZ, read_frames
from latentsync.media.container import decode_packets, open_input, packets_of, sound_stream_of
from latentsync.media.sound import SOUND_RATE_HZ, resampled
from latentsync.metrics import sync_mini
from latentsync.metrics.stable_syncnet import StableSyncNet
from latentsync.metrics.sync import lip_energy_correlation, log_energy
from latentsync.metrics.syncnet import FACE_PX, SAMPLES_PER_FRAME, SyncNet, clip_embeddings, scores, window_distances
from latentsync.shapes import Frame, Samples
from latentsync.training.options import LEAST_MINI_CONFIDENCE
from latentsync.training.shots import Track
from latentsync.weights import state_dict_sha256

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
class SyncMini:
    """The SyncNet of a model of this project, and what it must say of a piece that is kept.

    Attributes:
        min_confidence: `sync_mini_confidence`, 0..1.
    """

    network: StableSyncNet
    min_confidence: float = LEAST_MINI_CONFIDENCE

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence < 1:
            raise OptionError(
                f"min_confidence is {self.min_confidence}; it must be from 0 to below 1 ({LEAST_MINI_CONFIDENCE:g} is "
                f"usual; it is not comparable with SyncNet v2's {LEAST_CONFIDENCE:g})"
            )

    @cached_property
    def identity(self) -> list:
        return [state_dict_sha256(self.network.state_dict()), self.min_confidence]


@dataclass(frozen=True)
class Placement:
    """How a piece's sound is laid: frame i of the source goes with the sound of frame i - offset.

    Attributes:
        first, last: the part of the piece, in its own frames, for which the source then has sound.
        told: what SyncNet said, as facts by name; empty where none was asked.
    """

    offset: int
    first: int
    last: int
    told: dict[str, Any] = field(default_factory=dict)


def place_sound(
    video: Path, track: Track, samples: Samples, judge: SyncNet | SyncMini | None, size_px: int
) -> Placement | str:
    """Where the sound belongs by SyncNet, or why the piece is dropped; as recorded where nothing judges.

    Args:
        size_px: of the crops that the track's affines are for.
    """
    start, stop = track.start, track.start + len(track)
    if judge is None:
        return Placement(0, 0, len(track))
    frames = read_frames(video, VIDEO_RATE_HZ, start, stop)
    sound = np.array(samples[start * SAMPLES_PER_FRAME : stop * SAMPLES_PER_FRAME])
    if isinstance(judge, SyncMini):
        offset, told = _asked_mini(judge, frames, track, size_px, sound)
    else:
        offset, told = _asked(judge, frames, track, sound)
    if isinstance(told, str):
        return told
    if abs(offset) > MAX_OFFSET_FRAMES:
        return f"SyncNet's offset is {offset} frames; at most {MAX_OFFSET_FRAMES} either way can be corrected"
    first = max(0, offset - start)
    last = min(len(track), len(samples) // SAMPLES_PER_FRAME + offset - start)
    return Placement(offset, first, last, told)


def _asked(network: SyncNet, frames: Iterable[Frame], track: Track, sound: Samples) -> tuple[int, dict[str, Any] | str]:
    """SyncNet v2's offset and what goes into the facts, or why the piece is dropped."""
    found = scores(window_distances(*clip_embeddings(network, syncnet_crops(frames, track.boxes), sound)))
    if found.lse_c < LEAST_CONFIDENCE:
        return found.offset, f"SyncNet's confidence is {found.lse_c:.2f}; at least {LEAST_CONFIDENCE:g} is needed"
    told = {
        "protocol": "SyncNet v2, faces framed as its pipeline does around MediaPipe's points",
        "offset_frames": found.offset,
        "confidence": round(found.lse_c, 4),
        "distance": round(found.lse_d, 4),
        "is_corrected": True,
    }
    return found.offset, {"syncnet": told}


def _asked_mini(
    mini: SyncMini, frames: Iterable[Frame], track: Track, size_px: int, sound: Samples
) -> tuple[int, dict[str, Any] | str]:
    """The same of a model's own SyncNet, under names of its own."""
    crops = [warp_crop(frame, matrix, size_px) for frame, matrix in zip(frames, track.matrices, strict=True)]
    try:
        found = sync_mini.sync_mini(mini.network, torch.stack(crops), sound.astype(np.float32) / 32768)
    except MediaError as error:  # too short for it
        return 0, f"the model's SyncNet says nothing of it: {error}"
    confidence, offset = found.sync_mini_confidence, found.sync_mini_offset
    if confidence < mini.min_confidence:
        return offset, f"sync_mini_confidence is {confidence:.3f}; at least {mini.min_confidence:g} is needed"
    return offset, {
        "sync_mini_protocol": "the SyncNet of a model of this project on its aligned crops; compares with that model's "
        "only",
        "sync_mini_offset": offset,
        "sync_mini_confidence": round(confidence, 4),
        "sync_mini_distance": round(found.sync_mini_distance, 4),
        "sync_mini_is_corrected": True,
    }


def landmark_sync(gaps: Float[np.ndarray, " f"], sound: Samples) -> dict[str, Any]:
    """The measure of `metrics.sync` on a piece: told, not judged by; short pieces say little."""
    energy = log_energy(sound.astype(np.float32) / 32768, SOUND_RATE_HZ, len(gaps))
    curve = lip_energy_correlation(gaps, energy)
    return {
        "peak": None if curve.peak is None else round(curve.peak, 4),
        "lag_frames": curve.lag,
        "reason": curve.reason,
    }
