"""What the helper process prepares: a player's markup, and the clip's frames as the result saw them.

The server imports this module, too, so what is large is imported where it is used.
"""

from collections.abc import Sequence
from pathlib import Path

from latentsync.config import recorded_options
from latentsync.errors import MediaError
from latentsync.files import whole_file
from latentsync.lab.records.store import RESULT_FILE, Record, RecordStore

WIDEST_PX = 1280  # of a copy of a clip
WIDTH_PX = 256  # of each video of a player
NO_CLIP = "the clip is not where it was, or was changed"


def record_in(runs: Path, record_id: str) -> Record:
    """A record of a runs folder.

    Raises:
        MediaError: there is none, or it is damaged.
    """
    record = RecordStore(runs).look(record_id)
    if record is None:
        raise MediaError(f"there is no record {record_id} in {runs.resolve()}")
    return record


def player_of(runs: Path, ids: Sequence[str], metrics: Sequence[str], has_mouths: bool) -> str:
    """The markup of a player with records of one pair, their source first, whose videos are addresses of the server.

    Args:
        metrics: names of the metrics below each result; empty takes the usual ones.
        has_mouths: whether mouths are enlarged and held still; where they are not kept yet, it takes seconds.

    Raises:
        MediaError: a record or a video is missing or damaged.
    """
    from latentsync import media
    from latentsync.constants import SOUND_RATE_HZ
    from latentsync.lab.figures.previews import preview_of, preview_of_its_clip
    from latentsync.lab.pages.player import markup
    from latentsync.lab.pages.tracks import SHOWN_METRICS, result_track, source_track
    from latentsync.lab.records.inputs import clip_of

    records = [record_in(runs, each) for each in ids]
    first, clip = records[0], clip_of(records[0])
    tracks = [
        result_track(
            each, metrics or SHOWN_METRICS, f"/media/{each.id}/{RESULT_FILE}",
            preview_of(runs, each).path if has_mouths else None,
        )
        for each in records
    ]  # fmt: skip
    if clip is not None:
        shown = preview_of_its_clip(runs, first, first.num_frames) if has_mouths else None
        path = None if shown is None else shown.path
        tracks.insert(0, source_track(first, f"/media/{first.id}/source.mp4", path))
    sound = media.read_sound(first.video_path, SOUND_RATE_HZ)
    return markup(tracks, sound, 0 if clip is None else 1, WIDTH_PX, f"Videos of {first.content['pair']['name']}")


def mouths_video(runs: Path, record_id: str, is_of_clip: bool) -> Path:
    """The small video of a record's mouth, or of that of its clip; it is made and kept if there is none yet.

    Raises:
        MediaError: the record or its clip is missing or damaged, or shows no face.
    """
    from latentsync.lab.figures.previews import preview_of, preview_of_its_clip

    record = record_in(runs, record_id)
    preview = preview_of_its_clip(runs, record, record.num_frames) if is_of_clip else preview_of(runs, record)
    if preview is None:
        raise MediaError(NO_CLIP)
    if preview.video is None:
        raise MediaError(f"no mouth: {preview.reason}")
    return preview.video


def source_copy(runs: Path, record_id: str, folder: Path) -> Path:
    """An MP4 of the clip's frames that a record was made from, 25 a second, in a folder that keeps it.

    Raises:
        MediaError: the record or its clip is missing, changed or damaged.
    """
    from latentsync.lab.pages.tracks import source_video
    from latentsync.lab.records.inputs import clip_of

    record = record_in(runs, record_id)
    clip = clip_of(record)
    sha256, loop = record.content["pair"]["clip"]["sha256"], recorded_options(record.content["options"])["loop"]
    if clip is None:
        raise MediaError(NO_CLIP)
    path = folder / f"{sha256[:16]}-{record.num_frames}-{loop}.mp4"
    if not path.exists():
        shown = source_video(clip, sha256, record.num_frames, WIDEST_PX, loop)
        with whole_file(path) as part:
            part.write_bytes(shown.content)
    return path


def ready() -> None:
    """The first task: it imports what the others need, before the viewer waits for it."""
    from latentsync.faces import track  # noqa: F401
    from latentsync.lab.pages import tracks  # noqa: F401
