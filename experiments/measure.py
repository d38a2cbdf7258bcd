"""Measures a generated video file against the clip and the voice it was made from."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

from experiments.pairs import Pair
from experiments.schema import MetricsConfig
from latentsync import media
from latentsync.audio import RATE_HZ
from latentsync.geometry import apply_affine, crop_box_size, warp_crop
from latentsync.landmarks import LandmarkDetector
from latentsync.metrics import evaluate, same_speech
from latentsync.metrics.stable_syncnet import StableSyncNet
from latentsync.metrics.sync import lip_gap
from latentsync.metrics.temporal import crop_differences
from latentsync.pipeline import LipsyncPipeline
from latentsync.results import LipsyncOutput
from latentsync.shapes import Crop, Frame, Landmarks
from latentsync.syncnet_files import has_trained_syncnet, load_trained_syncnet

SYNC_MINI_MODEL = "mini"


def measure(output: LipsyncOutput, pair: Pair, pipeline: LipsyncPipeline, wanted: MetricsConfig) -> dict:
    """Every metric that is asked for, from the files as they were written.

    Returns:
        name -> {value, unit, direction, protocol} with a reason where the value is None, and `model: untrained` where
        the network that made the result was not trained.
    """
    waveform = media.read_sound(pair.voice, RATE_HZ)
    common = {"waveform": waveform, "rate_hz": RATE_HZ, "video_rate_hz": output.fps}
    with ThreadPoolExecutor(max_workers=1) as beside:  # landmarks keep one core busy, LPIPS the others
        is_seen = wanted.landmark_sync or wanted.jitter
        made = beside.submit(_landmarks, output.frames, output, pipeline.detector) if is_seen else None
        given = beside.submit(_landmarks, _source(output, pair), output, pipeline.detector) if wanted.jitter else None
        entries = {}
        if wanted.lpips:
            entries |= _named("lpips", evaluate(**_crops_of_both(output, pair, waveform), **common))
        if wanted.sync_mini and has_trained_syncnet(SYNC_MINI_MODEL):
            entries |= _named("sync_mini", evaluate(**_lips(output), syncnet=embedded_syncnet(), **common))
        if wanted.window_boundary:
            lips, found = _lips(output).values()
            seen = (crop if is_found else None for crop, is_found in zip(lips, found, strict=True))
            told = {"differences": crop_differences(seen), "window": output.options.num_frames}
            entries |= _named("window_boundary", evaluate(**told))
        if wanted.landmark_sync:
            entries |= _named("landmark_sync", evaluate(gaps=lip_gap(made.result()), **common))
        if wanted.jitter:
            both = {"landmarks": made.result(), "source_landmarks": given.result()}
            entries |= _named("landmark_jitter", evaluate(**both))
    label = {} if pipeline.settings.trained else {"model": "untrained"}
    return {name: {**entry, **label} for name, entry in entries.items()}


@cache
def embedded_syncnet() -> StableSyncNet:
    """The SyncNet of the model that comes with the project, which judges every model's lips under its own name."""
    return load_trained_syncnet(SYNC_MINI_MODEL)


def _named(prefix: str, entries: dict) -> dict:
    return {name: entry for name, entry in entries.items() if name.startswith(prefix)}


def _crops_of_both(output: LipsyncOutput, pair: Pair, waveform: np.ndarray) -> dict:
    """The aligned faces of result and clip, where the voice is the clip's own and the clip so a reference."""
    if not _is_own_voice(pair, waveform):
        return {"is_own_voice": False}
    return {
        "is_own_voice": True,
        "generated_crops": _crops(output.frames, output),
        "source_crops": _crops(_source(output, pair), output),
    }


def _source(output: LipsyncOutput, pair: Pair) -> Iterator[Frame]:
    """The clip's frames, one for each of the result."""
    return media.read_frames_in_order(pair.clip, output.order, output.fps)


def _is_own_voice(pair: Pair, waveform: np.ndarray) -> bool:
    """Whether the voice is the sound of the clip itself."""
    if not media.probe(pair.clip).has_sound:
        return False
    return same_speech(media.read_sound(pair.clip, RATE_HZ), waveform, RATE_HZ)


def _crops(frames: Iterator[Frame], output: LipsyncOutput) -> Iterator[Crop]:
    """Aligned faces of the frames that have one, by the clip's own affines."""
    for frame, index in zip(frames, output.order, strict=True):
        if output.faces.found[index]:
            yield warp_crop(frame, output.faces.matrices[index], output.options.size_px)


def _lips(output: LipsyncOutput) -> dict:
    """Aligned faces of all frames of the result, those without a face by the affines of their neighbours."""
    affines = output.faces.matrices[output.order]
    crops = (warp_crop(*pair, output.options.size_px) for pair in zip(output.frames, affines, strict=True))
    return {"lips": crops, "found": output.faces.found[output.order]}


def _landmarks(frames: Iterator[Frame], output: LipsyncOutput, detector: LandmarkDetector) -> Landmarks:
    """Of the face that is the result's in each frame, px, (f, 468, 2); NaN where it is not found."""
    landmarks = np.full((output.num_frames, 468, 2), np.nan)
    for i, (frame, index) in enumerate(zip(frames, output.order, strict=True)):
        if output.faces.found[index]:
            face = _face_at(detector(frame), output.faces.matrices[index], output.options.size_px)
            if face is not None:
                landmarks[i] = face[:468, :2]
    return landmarks


def _face_at(faces: list[Landmarks], matrix: np.ndarray, size_px: int) -> Landmarks | None:
    """Of several faces the one whose middle is nearest to that of the crop."""
    if not faces:
        return None
    middles = np.array([face[:, :2].mean(axis=0) for face in faces])
    in_box = apply_affine(matrix, middles[:, 0], middles[:, 1])
    box_middle = np.array(crop_box_size(size_px))[:, None] / 2
    return faces[int(np.argmin(np.linalg.norm(in_box - box_middle, axis=0)))]
