"""Records as a player shows them: the source beside its results, mouths, and the curves behind the metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import HTML

from latentsync import media
from latentsync.config import recorded_options
from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import MediaError, OptionError
from latentsync.lab.figures.previews import mouth_path
from latentsync.lab.pages.copies import PAGE_BYTES, Showing, embedded, file_showing
from latentsync.lab.pages.player import Track, player
from latentsync.lab.pages.tracks import SHOWN_METRICS, result_track, source_track, source_video
from latentsync.lab.records.inputs import input_file
from latentsync.lab.records.labels import SETTINGS, cell_label, word_of
from latentsync.lab.records.store import Record
from latentsync.lab.tables.filter import filtered, find_records
from latentsync.lab.tables.tidy import collect_wide


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
    views = players_of(records, mouth, metrics, inputs, width_px)
    return HTML("".join(player(one.tracks, one.sound, one.heard, width_px).data for one in views))


@dataclass(frozen=True)
class PairView:
    """What a player shows of a pair.

    Attributes:
        tracks: the source, if its clip is there, then the results; each has its content.
        sound: mono samples of 16 kHz.
        heard: the index of the track that is heard at first.
        width_px: of each video.
    """

    tracks: list[Track]
    sound: np.ndarray
    heard: int
    width_px: int


def players_of(
    records: Sequence[Record],
    mouth: bool = False,
    metrics: Sequence[str] = SHOWN_METRICS,
    inputs: Path | None = None,
    width_px: int = 256,
) -> list[PairView]:
    """What `compare_view` shows, one for each pair; arguments and errors are the same."""
    if not records:
        raise OptionError("there is no record to show; choose at least one")
    by_pair: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        pair = record.content["pair"]
        by_pair.setdefault((pair["clip"]["sha256"], pair["voice"]["sha256"]), []).append(record)
    max_bytes = PAGE_BYTES // len(by_pair)
    return [_pair_view(same, mouth, metrics, inputs, width_px, max_bytes) for same in by_pair.values()]


def _pair_view(
    records: list[Record], mouth: bool, metrics: Sequence[str], inputs: Path | None, width_px: int, max_bytes: int
) -> PairView:
    videos = [_result_video(record, mouth, metrics) for record in records]
    source = _source_video(records[0], mouth, inputs)
    sound = media.read_sound(records[0].video_path, SOUND_RATE_HZ)
    heard = 0 if source is None else 1  # the voice sounds in the results
    tracks, showings = zip(*([] if source is None else [source]), *videos, strict=True)
    full_width_px = media.probe(records[0].video_path).width
    widths_px = [max(width_px, _px_of_mouth(track, full_width_px)) for track in tracks]
    return PairView(embedded(tracks, showings, widths_px, max_bytes), sound, heard, width_px)


def _px_of_mouth(track: Track, full_width_px: int) -> int:
    """The width of a copy that, at double density, has a px for each px of the mouth's canvas; 0 without a mouth."""
    if track.mouth is None:
        return 0
    canvas_px = max(np.sqrt(abs(np.linalg.det(matrix[:, :2]))) for matrix in track.mouth)  # for each px of a frame
    return int(np.ceil(full_width_px * min(1.0, canvas_px) / 2))


def _result_video(record: Record, mouth: bool, metrics: Sequence[str]) -> tuple[Track, Showing]:
    face = recorded_options(record.content["options"])["face"]
    path = mouth_path(record.video_path, record.id, record.num_frames, face=face) if mouth else None
    return result_track(record, metrics, mouth=path), file_showing(record.video_path)


def _source_video(record: Record, mouth: bool, inputs: Path | None) -> tuple[Track, Showing] | None:
    """The clip's frames that the result was made from, one by one; None if the clip is missing."""
    try:
        clip = input_file(record, "clip", inputs)
    except MediaError:
        return None
    options = recorded_options(record.content["options"])
    sha256, num_frames = record.content["pair"]["clip"]["sha256"], record.num_frames
    path = mouth_path(clip, sha256, num_frames, options["loop"], options["face"]) if mouth else None
    return source_track(record, mouth=path), partial(source_video, clip, sha256, num_frames, loop=options["loop"])


def render(
    guidance_scale: float,
    num_inference_steps: int,
    seed: int,
    pair: str | None = None,
    runs_dir: str | Path = "runs",
    sweep: str | None = None,
    mouth: bool = False,
) -> HTML:
    """Shows one cell of a store beside its source clip. If it has no record, a text lists the existing settings.

    `interact(render, guidance_scale=[1.0, 1.5, 2.0], num_inference_steps=[20], seed=[1247], pair=fixed("g-a__g-b"))`

    Args:
        pair: CLIP__VOICE; None takes the first pair with such a record.
    """
    table = collect_wide(runs_dir, sweep)
    of_pair = filtered(table, None, **({} if pair is None else {"pair": pair}))
    values = {"guidance_scale": guidance_scale, "num_inference_steps": num_inference_steps, "seed": seed}
    records = find_records(of_pair, None, runs_dir, **values)
    if records:
        return compare_view(records[:1], mouth)
    label = cell_label(values)
    there = "; ".join(f"{word_of(name)} {_listed(of_pair, name)}" for name in SETTINGS)
    return HTML(f"<p>No record of {escape(pair or 'any pair')} has {escape(label)}. There are {escape(there)}.</p>")


def _listed(table: pd.DataFrame, column: str) -> str:
    return ", ".join(map(number_text, distinct(table, column))) or "none"


def number_text(value: float | str) -> str:
    """A value of a setting in words."""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def distinct(table: pd.DataFrame, column: str) -> list:
    """The distinct values of a column as plain numbers or text, ascending."""
    return sorted(table[column].dropna().unique().tolist()) if column in table else []
