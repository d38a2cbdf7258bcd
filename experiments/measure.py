"""Measures a generated video file against the clip and the voice it was made from."""

from collections.abc import Iterator

import numpy as np

from experiments.pairs import Pair
from experiments.schema import MetricsConfig
from latentsync import media
from latentsync.audio import RATE_HZ
from latentsync.faces import LandmarkDetector, apply_affine, crop_box_size, warp_crop
from latentsync.metrics import evaluate, same_speech
from latentsync.metrics.sync import lip_gap
from latentsync.pipeline import LipsyncOutput, LipsyncPipeline
from latentsync.shapes import Crop, Frame, Landmarks

NUM_LANDMARKS = 468


def measure(output: LipsyncOutput, pair: Pair, pipeline: LipsyncPipeline, wanted: MetricsConfig) -> dict:
    """Every metric that is asked for, from the files as they were written.

    Returns:
        name -> {value, unit, direction, protocol} with a reason where the value is None, and `model: untrained` where
        the network that made the result was not trained.
    """
    waveform = media.read_sound(pair.voice, RATE_HZ)
    is_own = wanted.lpips and _is_own_voice(pair, waveform)
    crops = {}
    if is_own:
        crops = {
            "generated_crops": _crops(output.frames, output),
            "source_crops": _crops(_source(output, pair), output),
        }
    gaps = lip_gap(_landmarks(output, pipeline.detector)) if wanted.landmark_sync else None
    entries = evaluate(
        **crops, gaps=gaps, waveform=waveform, rate_hz=RATE_HZ, is_own_voice=is_own, video_rate_hz=output.fps
    )
    kept = {"lpips": wanted.lpips, "landmark_sync": wanted.landmark_sync}
    label = {} if pipeline.settings.trained else {"model": "untrained"}
    return {
        n: {**entry, **label} for n, entry in entries.items() if any(n.startswith(k) for k, on in kept.items() if on)
    }


def _is_own_voice(pair: Pair, waveform: np.ndarray) -> bool:
    """Whether the voice is the sound of the clip itself."""
    if not media.probe(pair.clip).has_sound:
        return False
    return same_speech(media.read_sound(pair.clip, RATE_HZ), waveform, RATE_HZ)


def _source(output: LipsyncOutput, pair: Pair) -> Iterator[Frame]:
    return media.read_frames_in_order(pair.clip, output.order, output.fps)


def _crops(frames: Iterator[Frame], output: LipsyncOutput) -> Iterator[Crop]:
    """Aligned faces of the frames that have one, by the clip's own affines."""
    for frame, index in zip(frames, output.order, strict=True):
        if output.faces.found[index]:
            yield warp_crop(frame, output.faces.matrices[index], output.options.size_px)


def _landmarks(output: LipsyncOutput, detector: LandmarkDetector) -> np.ndarray:
    """Landmarks of the result's own frames, (f, 468, 3); NaN where the face is not found."""
    landmarks = np.full((output.num_frames, NUM_LANDMARKS, 3), np.nan)
    for i, frame in enumerate(output.frames):
        index = output.order[i]
        if output.faces.found[index]:
            face = _face_at(detector(frame), output.faces.matrices[index], output.options.size_px)
            if face is not None:
                landmarks[i] = face
    return landmarks


def _face_at(faces: list[Landmarks], matrix: np.ndarray, size_px: int) -> Landmarks | None:
    """Of several faces the one whose middle is nearest to that of the crop."""
    if not faces:
        return None
    middles = np.array([face[:, :2].mean(axis=0) for face in faces])
    in_box = apply_affine(matrix, middles[:, 0], middles[:, 1])
    box_middle = np.array(crop_box_size(size_px))[:, None] / 2
    return faces[int(np.argmin(np.linalg.norm(in_box - box_middle, axis=0)))]
