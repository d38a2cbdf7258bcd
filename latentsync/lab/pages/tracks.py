"""Records as tracks of a player: the source's frames, results with their metrics, mouths held still, and curves."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from latentsync import media
from latentsync.arrays import Affine
from latentsync.lab.figures.style import UNTRAINED
from latentsync.lab.pages.copies import Shown, copy_of
from latentsync.lab.pages.player import Track
from latentsync.lab.pages.reasons import worst_of
from latentsync.lab.records.labels import cell_label, pair_words, word_of
from latentsync.lab.records.store import Record
from latentsync.metrics.definitions import WORDS

SHOWN_METRICS = ("sync_mini_confidence", "lpips_alex", "landmark_jitter_ratio")
LIP_GAP = "lip gap (eye distances)"
SYNC_BY_WINDOW = f"{WORDS['sync_mini_distance']} by window (lower is better)"
AIMS = {"higher": " ↑", "lower": " ↓", "zero": " → 0", "one": " → 1"}


def source_track(record: Record, address: str = "", mouth: Sequence[Affine] | None = None) -> Track:
    """The track of the clip's frames that a result was made from, see `source_video`.

    Args:
        mouth: the path of the mouth in them, see `Track`.
    """
    by_window = by_frame(record.curves.get("sync_mini_real_by_window"), record.num_frames)
    curves = present({LIP_GAP: record.curves.get("lip_gap_source"), SYNC_BY_WINDOW: by_window})
    notes = (pair_words(record.content["pair"]["name"]),)
    mean = record.metrics.get("sync_mini_distance_real", {}).get("value")
    levels = {} if mean is None or SYNC_BY_WINDOW in curves else {SYNC_BY_WINDOW: mean}
    return Track("source", address, notes, curves=curves, levels=levels, mouth=mouth, is_source=True, is_silent=True)


def result_track(
    record: Record, metrics: Sequence[str] = SHOWN_METRICS, address: str = "", mouth: Sequence[Affine] | None = None
) -> Track:
    """The track of a record's result, with its metrics below it and the curves behind them.

    Args:
        metrics: names of the metrics below it.
        mouth: the path of the mouth in the result, see `Track`.
    """
    content, entries, curves = record.content, record.metrics, record.curves
    lanes = {
        LIP_GAP: curves.get("lip_gap"),
        SYNC_BY_WINDOW: by_frame(curves.get("sync_mini_by_window"), record.num_frames),
    }
    worst = worst_of(curves.get("sync_mini_by_window"), record.num_frames)
    return Track(
        label=cell_label(content["options"], model=content["model"]),
        address=address,
        notes=(*(metric_note(name, entries[name]) for name in metrics if name in entries), f"record {record.id}"),
        warning=None if content["model"]["trained"] else UNTRAINED,
        curves=present(lanes),
        marks={} if worst is None else {SYNC_BY_WINDOW: (worst.frame, f"the worst window, {worst.time_text}")},
        mouth=mouth,
    )


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


def present(curves: dict[str, Sequence[float | None] | None]) -> dict[str, Sequence[float | None]]:
    """The curves that have values."""
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
