"""A clip dubbed with its own voice, so that the clip itself shows the right result, beside two models that do nothing.

These are the mouth of the reference in every frame, and the mouth of the first frame in every frame. References are
from elsewhere, so that no model sees the answer. The clip's own mouth after the autoencoder's round trip shows what no
UNet can improve. The frames are read once and not kept; crops and landmarks are.

Measures, each for "generated", "reference" (the copied one), "frozen" and "decoded" (the round trip):
- of the model's crops: `psnr` (dB, in the mask's hole) and `lpips` (whole).
- of aligned crops of 256 px of the finished frames, whatever the model's crops, so that models compare: `mouth_psnr`
  (dB, in the hole), `mouth_lpips` (of the box around the hole), `seam_colour` (levels), `seam_gradient` (levels/px).
- of landmarks: `jaw` (eye distances), `lip` (correlation of the lip gap with the clip's own), `jitter` (of the clip's).
- with a judge: `sync` (sync_mini_confidence, also of the clip: "true"); with a recogniser: `identity` (cosine).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Bool, Float
from torch import Tensor

from latentsync.config import Options
from latentsync.constants import MESH_POINTS, SOUND_RATE_HZ
from latentsync.errors import FaceNotFoundError
from latentsync.faces.composite import paste_kept, restore
from latentsync.faces.geometry import apply_affine, crop_box_size, warp_crop
from latentsync.faces.masks import crops_to_pixels, mouth_mask, pixels_to_crops
from latentsync.generation.latents import round_trip
from latentsync.generation.results import GeneratedFrame, PreparedPair
from latentsync.lab.analysis.intervals import LEVEL, Interval
from latentsync.media import read_sound
from latentsync.metrics import identity
from latentsync.metrics.articulation import gap_correlation, jaw_distances
from latentsync.metrics.blending import seam_colours, seam_gradients
from latentsync.metrics.families.lips import IDENTITY_EVERY
from latentsync.metrics.families.pictures import bounding_box
from latentsync.metrics.perceptual import SMALLEST_PX, lpips_distance
from latentsync.metrics.reconstruction import psnr_db
from latentsync.metrics.stable_syncnet import StableSyncNet
from latentsync.metrics.sync import LEAST_FRAMES, lip_gap
from latentsync.metrics.sync_mini import embed_lips, embed_speech, scores, shift_distances
from latentsync.metrics.temporal import landmark_jitter_ratio
from latentsync.pipeline import LipsyncPipeline
from latentsync.shapes import Affine, Crop, Crops, Frame, Landmarks, Mask

TRUE, GENERATED, COPIED, STILL, DECODED = "true", "generated", "reference", "frozen", "decoded"
OUTCOMES = (GENERATED, COPIED, STILL, DECODED)
VIEW_PX = 256  # side of the crops of finished frames
LPIPS_EVERY = 2  # frames, because neighbouring frames are similar
SHEET_FRAMES = 8
THREADS = 2  # that find landmarks
FRAMES_AT_ONCE = 8  # of the autoencoder's round trip
BLOCK_FRAMES, BLOCK_DRAWS = 10, 2000  # of the bootstrap within a clip: neighbouring frames are no independent draws

FindFaces = Callable[[Frame], Sequence[Landmarks]]
Faces = Float[np.ndarray, "f 468 2"]
Values = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Reconstruction:
    """What was measured of one clip; see the module.

    Attributes:
        values: by measure, then by video.
        within: 95 % intervals of some values over blocks of 0.4 s of the clip: "lip", and "mouth_lpips_reference"
            and "mouth_lpips_frozen" (the LPIPS of the generated mouth less that of the other).
        num_frames: frames with a face.
        views: some crops of 256 px of the clip and of each video but the round trip, (k, 3, 256, 256), at equal times.
    """

    values: Values
    within: dict[str, Interval]
    num_frames: int
    views: dict[str, Crops]


@dataclass
class _Video:
    """What is kept of a video."""

    crops: list[Crop] = field(default_factory=list)
    views: list[Crop] = field(default_factory=list)
    landmarks: list[np.ndarray] = field(default_factory=list)
    likeness: list[float] = field(default_factory=list)

    @property
    def faces(self) -> Faces:
        return np.stack(self.landmarks)


def reconstructed(
    pipe: LipsyncPipeline,
    pair: PreparedPair,
    options: Options,
    find_faces: FindFaces,
    judge: StableSyncNet | None = None,
    recogniser: Any | None = None,
) -> Reconstruction:
    """Generates a clip with its own voice and measures it.

    Args:
        pair: of the clip and its own voice.
        options: resolved, with references from elsewhere.
        find_faces: called by several threads at once.
        judge: a SyncNet in evaluation mode; None: no `sync`.
        recogniser: dlib's; None: no `identity`.

    Raises:
        FaceNotFoundError: fewer than 25 frames show a face.
        LatentSyncError: the clip cannot be used.
    """
    mask = mouth_mask(pipe.settings.mask, pipe.settings.size_px)
    videos = {name: _Video() for name in (TRUE, *OUTCOMES)}
    seen: list[bool] = []
    first: Crop | None = None  # whose mouth is frozen
    with ThreadPoolExecutor(THREADS) as threads:
        for number, (frame, decoded) in enumerate(_with_round_trips(pipe.vae, pipe.generate(pair, options))):
            seen.append(frame.generated is not None)
            if first is None and frame.generated is not None:
                first = frame.crop
            pictures = _pictures(frame, first, decoded, mask)
            view = scaled_affine(frame.matrix, mask.shape[-1], VIEW_PX)
            found = threads.map(find_faces, _frames_of(pictures))
            faces = [_face(each, view) for each in found]
            for video, (crop, picture), face in zip(videos.values(), pictures.values(), faces, strict=True):
                video.crops.append(crop)
                video.views.append(warp_crop(picture, view, VIEW_PX))
                video.landmarks.append(face if seen[-1] else np.full_like(face, np.nan))
            if recogniser is not None and number % IDENTITY_EVERY == 0:
                _recognise(recogniser, videos, _frames_of(pictures))
    return _measured(videos, np.array(seen, bool), mask, pipe.settings.mask, pair, judge)


def _frames_of(pictures: Mapping[str, tuple[Crop, Frame]]) -> list[Frame]:
    return [frame for _, frame in pictures.values()]


def _with_round_trips(
    vae: AutoencoderKL, frames: Iterator[GeneratedFrame]
) -> Iterator[tuple[GeneratedFrame, Float[Tensor, "1 3 r r"]]]:
    """Each frame with its crop after the autoencoder's round trip, which is faster for several at once."""
    while group := list(islice(frames, FRAMES_AT_ONCE)):
        decoded = round_trip(vae, crops_to_pixels(torch.stack([frame.crop for frame in group])))
        yield from zip(group, decoded.split(1), strict=True)


def _pictures(
    frame: GeneratedFrame, first: Crop | None, decoded: Float[Tensor, "1 3 r r"], mask: Mask
) -> dict[str, tuple[Crop, Frame]]:
    """The model's crop and the whole frame of the clip and of each video; without a face all are the clip's."""
    own = frame.crop, frame.source
    if frame.generated is None:
        return dict.fromkeys((TRUE, *OUTCOMES), own)
    pictures = {TRUE: own, GENERATED: (pixels_to_crops(frame.generated), frame.frame)}
    pixels = crops_to_pixels(frame.crop[None])
    mouths = {name: crops_to_pixels(crop[None]) for name, crop in ((COPIED, frame.reference), (STILL, first))}
    for name, mouth in (mouths | {DECODED: decoded}).items():
        face = paste_kept(mouth, pixels, mask)[0]
        pictures[name] = pixels_to_crops(face), restore(frame.source, face, frame.matrix)
    return pictures


def scaled_affine(matrix: Affine, size_px: int, other_px: int) -> Affine:
    """The affine of a crop of other_px from that of a crop of size_px; (0, 0) is the centre of a pixel."""
    scale = other_px / size_px
    return scale * matrix + np.array([[0, 0, (scale - 1) / 2]])


def _face(faces: Sequence[Landmarks], view: Affine) -> Float[np.ndarray, "468 2"]:
    """The face whose middle is nearest to that of the crop box; NaN if no face has its middle in the box."""
    middle = np.array(crop_box_size(VIEW_PX)) / 2
    places = [apply_affine(view, *face[:, :2].mean(axis=0)) - middle for face in faces]
    inside = [number for number, place in enumerate(places) if (np.abs(place) <= middle).all()]
    if not inside:
        return np.full((MESH_POINTS, 2), np.nan, np.float32)
    nearest = min(inside, key=lambda number: np.hypot(*places[number]))
    return faces[nearest][:MESH_POINTS, :2].astype(np.float32)


def _recognise(recogniser: Any, videos: Mapping[str, _Video], frames: Sequence[Frame]) -> None:
    """Adds the cosine of each video's last face and the clip's, if all of them show a face."""
    faces = [video.landmarks[-1] for video in videos.values()]
    if not all(np.isfinite(face).all() for face in faces):
        return
    own, *others = (identity.embedding(recogniser, frame, face) for frame, face in zip(frames, faces, strict=True))
    for name, other in zip(OUTCOMES, others, strict=True):
        videos[name].likeness.append(identity.cosine(other, own))


# --- values ---


def _measured(
    videos: Mapping[str, _Video],
    seen: Bool[np.ndarray, " f"],
    mask: Mask,
    mask_name: str,
    pair: PreparedPair,
    judge: StableSyncNet | None,
) -> Reconstruction:
    if (num_frames := int(seen.sum())) < LEAST_FRAMES:
        raise FaceNotFoundError(
            f"{pair.video_path.name} shows a face in {num_frames} frames; at least {LEAST_FRAMES} are needed"
        )
    true, where = videos[TRUE], torch.from_numpy(seen)
    crops, views = (
        {name: torch.stack(getattr(video, part)) for name, video in videos.items()} for part in ("crops", "views")
    )
    view_mask = mouth_mask(mask_name, VIEW_PX)
    hole, view_hole = (each[0] < 0.5 for each in (mask, view_mask))
    mouth = (..., *bounding_box(view_hole, SMALLEST_PX))
    values: Values = defaultdict(dict)
    series = {}
    for name in OUTCOMES:
        video = videos[name]
        own, given = crops[name][where], crops[TRUE][where]
        view, true_view = views[name][where], views[TRUE][where]
        series[name] = lpips_distance(view[::LPIPS_EVERY][mouth], true_view[::LPIPS_EVERY][mouth])
        jitter = landmark_jitter_ratio(video.faces, true.faces)
        measured = {
            "psnr": psnr_db(own, given, hole),
            "lpips": float(lpips_distance(own[::LPIPS_EVERY], given[::LPIPS_EVERY]).mean()),
            "mouth_psnr": psnr_db(view, true_view, view_hole),
            "mouth_lpips": float(series[name].mean()),
            "seam_colour": float(seam_colours(view, true_view, view_mask).mean()),
            "seam_gradient": float(seam_gradients(view, true_view, view_mask).mean()),
            "jaw": _mean(jaw_distances(video.faces, true.faces)),
            "lip": follows(lip_gap(video.faces), lip_gap(true.faces)),
            "jitter": np.nan if jitter is None else jitter,
            "identity": _mean(np.array(video.likeness)),
        }
        for measure, value in measured.items():
            values[measure][name] = value
    if judge is not None:
        values["sync"] = _sync(judge, views, pair)
    return Reconstruction(dict(values), _within(series, videos), num_frames, _sample(views, where))


def follows(gap: Float[np.ndarray, " f"], truth: Float[np.ndarray, " f"]) -> float:
    """`gap_correlation`; 0 for a result in which almost no face is detected, since no lips follow the voice. NaN if
    almost no frame shows the true lips."""
    if np.isfinite(gap).sum() < LEAST_FRAMES:
        return 0.0
    return gap_correlation(gap, truth) if np.isfinite(gap + truth).sum() >= LEAST_FRAMES else np.nan


def _mean(values: np.ndarray) -> float:
    """The mean of the finite values; NaN if there is none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _sync(judge: StableSyncNet, views: Mapping[str, Crops], pair: PreparedPair) -> dict[str, float]:
    speech = embed_speech(judge, read_sound(pair.audio_path, SOUND_RATE_HZ))
    return {
        name: scores(shift_distances(embed_lips(judge, crops), speech)).sync_mini_confidence
        for name, crops in views.items()
    }


def _sample(views: Mapping[str, Crops], where: Bool[Tensor, " f"]) -> dict[str, Crops]:
    places = torch.nonzero(where)[:, 0]
    chosen = places[torch.linspace(0, len(places) - 1, SHEET_FRAMES + 2)[1:-1].long()]
    return {name: crops[chosen] for name, crops in views.items() if name != DECODED}


def _within(series: Mapping[str, np.ndarray], videos: Mapping[str, _Video]) -> dict[str, Interval]:
    generated = series[GENERATED]
    intervals = {
        f"mouth_lpips_{name}": block_interval((generated - series[name])[None], BLOCK_FRAMES // LPIPS_EVERY)
        for name in (COPIED, STILL)
    }
    gaps = np.stack([lip_gap(videos[name].faces) for name in (GENERATED, TRUE)])
    gaps = gaps[:, np.isfinite(gaps).all(axis=0)]
    if gaps.shape[1] >= LEAST_FRAMES:
        intervals["lip"] = block_interval(gaps, BLOCK_FRAMES)
    return intervals


def block_interval(series: Float[np.ndarray, "k n"], block: int) -> Interval:
    """The 95 % interval of the mean of one series, or of the correlation of two, by a moving block bootstrap.

    Kuensch, Annals of Statistics 17, 1989. It says how much the value would vary with other seconds of the same clip,
    not with other people.
    """
    number, generator = series.shape[1], np.random.default_rng(0)
    block = min(block, number)
    starts = generator.integers(number - block + 1, size=(BLOCK_DRAWS, -(-number // block)))
    drawn = series[:, (starts[..., None] + np.arange(block)).reshape(BLOCK_DRAWS, -1)[:, :number]]
    statistics = drawn[0].mean(axis=-1) if len(series) == 1 else _correlations(*drawn)
    low, high = np.quantile(statistics, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _correlations(a: Float[np.ndarray, "d n"], b: Float[np.ndarray, "d n"]) -> Float[np.ndarray, " d"]:
    a, b = (part - part.mean(axis=1, keepdims=True) for part in (a, b))
    spread = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
    return np.divide((a * b).sum(axis=1), spread, out=np.zeros(len(a)), where=spread > 0)  # still lips follow nothing
