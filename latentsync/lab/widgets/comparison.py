"""Records as a player shows them: the source beside its results, mouths, and the curves behind the metrics."""

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from IPython.display import HTML

from latentsync import media
from latentsync.config import DEFAULT_FACE, recorded_options
from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import FaceNotFoundError, MediaError, OptionError
from latentsync.faces.landmarks import MediaPipeLandmarks
from latentsync.faces.track import align
from latentsync.lab.figures.previews import FACE_PX, MOUTH_STEP, steady_path
from latentsync.lab.figures.style import UNTRAINED
from latentsync.lab.pages.copies import PAGE_BYTES, Showing, Shown, copy_of, embedded, file_showing
from latentsync.lab.pages.player import Track, player
from latentsync.lab.records.inputs import input_file
from latentsync.lab.records.labels import cell_label, pair_label, word_of
from latentsync.lab.records.store import Record
from latentsync.metrics.definitions import WORDS
from latentsync.shapes import Affine

SHOWN_METRICS = ("sync_mini_confidence", "lpips_alex", "landmark_jitter_ratio")
LIP_GAP = "lip gap (eye distances)"
SYNC_BY_WINDOW = f"{WORDS['sync_mini_distance']} by window (lower is better)"
AIMS = {"higher": " ↑", "lower": " ↓", "zero": " → 0", "one": " → 1"}


def videos_side_by_side(videos: dict[str, str | Path], width_px: int = 320) -> HTML:
    """Videos with their labels in one row, in step under one play button, embedded in the notebook; the first is heard.

    Large videos are embedded as copies of about the width shown. All together take at most 30 MB.

    Args:
        videos: label -> MP4 file.

    Raises:
        MediaError: a video cannot be read.
    """
    tracks, showings = [Track(label, "") for label in videos], [file_showing(Path(path)) for path in videos.values()]
    return player(embedded(tracks, showings, [width_px] * len(tracks)), width_px=width_px)


def compare_view(
    records: Sequence[Record],
    mouth: bool = False,
    metrics: Sequence[str] = SHOWN_METRICS,
    inputs: Path | None = None,
    width_px: int = 256,
) -> HTML:
    """Results beside their source, all in step under one play button; a player for each pair.

    Videos much wider than shown are embedded as copies. All together take at most 30 MB.

    Args:
        mouth: also shows the mouths, enlarged and held still.
        metrics: names of the metrics below each result.
        inputs: where clips are that have been moved since; without its clip a record is shown alone.

    Raises:
        OptionError: there is no record.
        MediaError: a video cannot be read.
    """
    if not records:
        raise OptionError("there is no record to show; choose at least one")
    by_pair: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        pair = record.content["pair"]
        by_pair.setdefault((pair["clip"]["sha256"], pair["voice"]["sha256"]), []).append(record)
    views, max_bytes = [], PAGE_BYTES // len(by_pair)
    for same in by_pair.values():
        views.append(_pair_view(same, mouth, metrics, inputs, width_px, max_bytes))
    return HTML("".join(views))


def _pair_view(
    records: list[Record], mouth: bool, metrics: Sequence[str], inputs: Path | None, width_px: int, max_bytes: int
) -> str:
    videos = [_result_video(record, mouth, metrics) for record in records]
    source = _source_video(records[0], mouth, inputs)
    sound = media.read_sound(records[0].video_path, SOUND_RATE_HZ)
    heard = 0 if source is None else 1  # the voice sounds in the results
    tracks, showings = zip(*([] if source is None else [source]), *videos, strict=True)
    full_width_px = media.probe(records[0].video_path).width
    widths_px = [max(width_px, _px_of_mouth(track, full_width_px)) for track in tracks]
    return player(embedded(tracks, showings, widths_px, max_bytes), sound, heard, width_px).data


def _px_of_mouth(track: Track, full_width_px: int) -> int:
    """The width of a copy that, at double density, has a px for each px of the mouth's canvas; 0 without a mouth."""
    if track.mouth is None:
        return 0
    canvas_px = max(np.sqrt(abs(np.linalg.det(matrix[:, :2]))) for matrix in track.mouth)  # for each px of a frame
    return int(np.ceil(full_width_px * min(1.0, canvas_px) / 2))


def _source_video(record: Record, mouth: bool, inputs: Path | None) -> tuple[Track, Showing] | None:
    """The clip's frames that the result was made from, one by one; None if the clip is missing."""
    pair, num_frames = record.content["pair"], _num_frames(record)
    options = recorded_options(record.content["options"])
    loop = options["loop"]
    try:
        clip = input_file(record, "clip", inputs)
    except MediaError:
        return None
    curves = _present({LIP_GAP: record.curves.get("lip_gap_source")})
    path = mouth_path(clip, pair["clip"]["sha256"], num_frames, loop, options["face"]) if mouth else None
    notes = (pair_label(pair["name"]).replace("\n", ", voice "),)
    track = Track("source", "", notes, curves=curves, mouth=path, is_source=True, is_silent=True)
    return track, partial(source_video, clip, pair["clip"]["sha256"], num_frames, loop=loop)


def _num_frames(record: Record) -> int:
    """The frames of a record's video at 25 frames/s, the rate of the player and of the curves."""
    video = record.content["video"]
    return round(video["num_frames"] * media.VIDEO_RATE_HZ / video.get("fps", media.VIDEO_RATE_HZ))


def _result_video(record: Record, mouth: bool, metrics: Sequence[str]) -> tuple[Track, Showing]:
    content, num_frames = record.content, _num_frames(record)
    options, entries, curves = content["options"], record.metrics, record.curves
    face = recorded_options(options)["face"]
    lanes = {
        LIP_GAP: curves.get("lip_gap"),
        SYNC_BY_WINDOW: by_frame(curves.get("sync_mini_by_window"), num_frames),
    }
    track = Track(
        label=cell_label(options, model=content["model"]),
        address="",
        notes=(*(metric_note(name, entries[name]) for name in metrics if name in entries), f"record {record.id}"),
        warning=None if content["model"]["trained"] else UNTRAINED,
        curves=_present(lanes),
        mouth=mouth_path(record.video_path, record.id, num_frames, face=face) if mouth else None,
    )
    return track, file_showing(record.video_path)


def metric_note(name: str, entry: dict) -> str:
    """`mini SyncNet confidence ↑ 0.463 distance`, the arrow where higher is better, or why there is no value."""
    if entry["value"] is None:
        return f"{word_of(name)}: none, {entry['reason']}"
    return f"{word_of(name)}{AIMS.get(entry['direction'], '')} {entry['value']:.3f} {entry['unit']}"


def by_frame(windows: Sequence[float | None] | None, num_frames: int) -> list[float | None] | None:
    """Values of windows that begin at frames 0, 1, 2 ..., each at its window's middle frame; None elsewhere."""
    if not windows:
        return None
    before = max(0, num_frames - len(windows)) // 2
    return ([None] * before + list(windows) + [None] * num_frames)[:num_frames]


def _present(curves: dict[str, Sequence[float | None] | None]) -> dict[str, Sequence[float | None]]:
    return {title: curve for title, curve in curves.items() if curve}


@lru_cache(maxsize=32)
def source_video(clip: Path, clip_sha256: str, num_frames: int, width_px: int, loop: str = "pingpong") -> Shown:
    """The first `num_frames` frames of a clip as results see them, 25 a second, silent.

    Args:
        clip_sha256: tells files of one name apart.
        width_px: how wide it may be.
        loop: how a shorter clip goes on, see `media.arranged`.

    Raises:
        MediaError: the clip cannot be read.
    """
    info = media.probe(clip, media.VIDEO_RATE_HZ)
    order = media.arranged(num_frames, info.num_frames, loop)
    return copy_of(media.read_frames_in_order(clip, order, media.VIDEO_RATE_HZ), info, width_px)


@lru_cache(maxsize=1)
def _detector() -> MediaPipeLandmarks:
    return MediaPipeLandmarks()


@lru_cache(maxsize=128)
def mouth_path(
    video: Path, key: str, num_frames: int, loop: str = "pingpong", face: str = DEFAULT_FACE
) -> tuple[Affine, ...] | None:
    """Affines (frame px -> canvas px) that hold the mouth still, for every `MOUTH_STEP`-th frame; None without a face.

    They are similarities: the mouth keeps its proportions, unlike in the square face that the model sees.

    Args:
        key: tells files of one name apart.
        loop: how a shorter video goes on, see `media.arranged`.
        face: whose mouth, see `config.VideoOptions`.
    """
    there = media.probe(video, media.VIDEO_RATE_HZ).num_frames
    looked_at = media.arranged(num_frames, there, loop)[::MOUTH_STEP]
    frames = media.read_frames_in_order(video, looked_at, media.VIDEO_RATE_HZ)
    try:
        matrices = align(frames, _detector(), FACE_PX, face=face).matrices
    except FaceNotFoundError:
        return None
    return steady_path(matrices, FACE_PX)
