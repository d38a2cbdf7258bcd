"""The sound of a piece: as recorded, or shifted by the offset that a SyncNet finds.

The sound of a whole source is in a file of the work folder, not in memory.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from latentsync.audio.features import SILENCE_PEAK
from latentsync.constants import SAMPLES_PER_FRAME, SOUND_RATE_HZ, VIDEO_RATE_HZ
from latentsync.errors import MediaError, OptionError
from latentsync.faces.crops import aligned_crops
from latentsync.media import read_frames
from latentsync.media.sound import FULL_SCALE, sound_blocks, to_float
from latentsync.metrics import sync_mini
from latentsync.metrics.face_tracks import framed_faces
from latentsync.metrics.stable_syncnet import StableSyncNet
from latentsync.metrics.sync import lip_energy_correlation, log_energy
from latentsync.metrics.syncnet import SyncNet, clip_embeddings, scores, window_distances
from latentsync.shapes import Frame, Samples
from latentsync.training.options import LEAST_MINI_CONFIDENCE
from latentsync.training.shots import Track
from latentsync.weights import state_dict_sha256

# The data filter of LatentSync (arXiv 2412.09262): bounds for SyncNet v2's scores of a piece
MAX_OFFSET_FRAMES = 6
LEAST_CONFIDENCE = 3.0

# Eye distances: lips of the painted speakers move by 0.0025 in silence, and by 0.010 or more within any 2 s of speech.
MAX_RESTING_MOTION = 0.01


# --- as recorded ---


def spooled_sound(path: Path, work: Path) -> Samples:
    """The sound of a file, int16 mono at 16 kHz, `(n,)`, from a file in the work folder, not in memory.

    The samples are those of `media.read_sound`, times 32768.
    """
    spool = work / "sound.s16"
    size = 0
    with open(spool, "wb") as file:
        for samples in sound_blocks(path, SOUND_RATE_HZ):
            size += samples.size
            file.write(samples.tobytes())
    if size == 0:
        raise MediaError(f"{path} holds no sound (0 samples can be decoded); record or convert it again")
    return np.memmap(spool, np.int16, "r")


def is_silent(samples: Samples) -> bool:
    """Whether no sample reaches `SILENCE_PEAK`."""
    peak = max(int(samples.max()), -int(samples.min())) / FULL_SCALE
    return peak < SILENCE_PEAK


def unlike_silence(gaps: Float[np.ndarray, " f"]) -> str | None:
    """The reason to drop a piece whose sound is silent: its lips move, so they would teach a model to speak unheard.

    None if the mouth rests.

    Args:
        gaps: of the lips, in eye distances; NaN where there is no face.
    """
    motion = float(np.nanstd(gaps))
    if motion <= MAX_RESTING_MOTION:
        return None
    return (
        f"its sound is silent (peak below {SILENCE_PEAK:.0e} of full scale), but the lips move: the lip gap's standard "
        f"deviation is {motion:.3f} eye distances, at most {MAX_RESTING_MOTION:g} is rest"
    )


# --- shifted by SyncNet's offset ---


@dataclass(frozen=True)
class SyncMini:
    """The SyncNet of a model of this project, and the bound for its score of a piece.

    Attributes:
        min_confidence: least `sync_mini_confidence`, 0..1.
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
    """The place of a piece's sound: frame i of the source gets the sound of frame i - offset.

    Attributes:
        first, last: the part of the piece, in its own frames, for which the source then has sound.
        facts: SyncNet's results, as facts by name; empty without a SyncNet.
    """

    offset: int
    first: int
    last: int
    facts: dict[str, Any] = field(default_factory=dict)


def place_sound(
    video: Path, track: Track, samples: Samples, judge: SyncNet | SyncMini | None, size_px: int
) -> Placement | str:
    """The place of the sound according to SyncNet, or the reason to drop the piece. Without a judge: as recorded.

    Args:
        size_px: the crop size of the track's affines.
    """
    start, stop = track.start, track.start + len(track)
    if judge is None:
        return Placement(0, 0, len(track))
    frames = read_frames(video, VIDEO_RATE_HZ, start, stop)
    sound = np.array(samples[start * SAMPLES_PER_FRAME : stop * SAMPLES_PER_FRAME])
    if isinstance(judge, SyncMini):
        offset, facts = _mini_facts(judge, frames, track, size_px, sound)
    else:
        offset, facts = _syncnet_facts(judge, frames, track, sound)
    if isinstance(facts, str):
        return facts
    if abs(offset) > MAX_OFFSET_FRAMES:
        return f"SyncNet's offset is {offset} frames; at most {MAX_OFFSET_FRAMES} either way can be corrected"
    first = max(0, offset - start)
    last = min(len(track), len(samples) // SAMPLES_PER_FRAME + offset - start)
    return Placement(offset, first, last, facts)


def _syncnet_facts(
    network: SyncNet, frames: Iterable[Frame], track: Track, sound: Samples
) -> tuple[int, dict[str, Any] | str]:
    """SyncNet v2's offset, and its results for the facts or the reason to drop the piece."""
    result = scores(window_distances(*clip_embeddings(network, framed_faces(frames, track.boxes), sound)))
    if result.lse_c < LEAST_CONFIDENCE:
        return result.offset, f"SyncNet's confidence is {result.lse_c:.2f}; at least {LEAST_CONFIDENCE:g} is needed"
    facts = {
        "protocol": "SyncNet v2, faces framed as its pipeline does around MediaPipe's points",
        "offset_frames": result.offset,
        "confidence": round(result.lse_c, 4),
        "distance": round(result.lse_d, 4),
        "is_corrected": True,
    }
    return result.offset, {"syncnet": facts}


def _mini_facts(
    mini: SyncMini, frames: Iterable[Frame], track: Track, size_px: int, sound: Samples
) -> tuple[int, dict[str, Any] | str]:
    """The same with a model's own SyncNet, whose results have their own names."""
    crops = aligned_crops(frames, track.matrices, size_px)
    try:
        result = sync_mini.sync_mini(mini.network, crops, to_float(sound))
    except MediaError as error:  # the piece is too short for it
        return 0, f"the model's SyncNet gives no score: {error}"
    confidence, offset = result.sync_mini_confidence, result.sync_mini_offset
    if confidence < mini.min_confidence:
        return offset, f"sync_mini_confidence is {confidence:.3f}; at least {mini.min_confidence:g} is needed"
    return offset, {
        "sync_mini_protocol": "the SyncNet of a model of this project on its aligned crops; compares with that model's "
        "only",
        "sync_mini_offset": offset,
        "sync_mini_confidence": round(confidence, 4),
        "sync_mini_distance": round(result.sync_mini_distance, 4),
        "sync_mini_is_corrected": True,
    }


def landmark_sync(gaps: Float[np.ndarray, " f"], sound: Samples) -> dict[str, Any]:
    """The measure of `metrics.sync` for a piece. It is reported but not used as a filter: short pieces say little."""
    energy = log_energy(to_float(sound), SOUND_RATE_HZ, len(gaps))
    curve = lip_energy_correlation(gaps, energy)
    return {
        "peak": None if curve.peak is None else round(curve.peak, 4),
        "lag_frames": curve.lag,
        "reason": curve.reason,
    }
