"""A blind rating as one HTML file that opens from disk, fetches nothing, and hands the votes back as a file.

The file holds the videos under names that say nothing. What stands behind a name is kept in the sweep's folder, so that
votes can be read when they come back.
"""

import base64
import csv
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from latentsync import media
from latentsync.errors import MediaError, OptionError
from latentsync.files import read_json, write_json, write_text
from latentsync.lab.analysis.preferences import LEFT, RIGHT, TURNED
from latentsync.lab.analysis.votes import (
    CHECKS,
    DAMAGED_LEFT,
    DAMAGED_RIGHT,
    QUESTION,
    VOTES_FILE,
    Trial,
    append_vote,
    read_votes,
    trials_of,
)
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.pages.bundle import page_file, script
from latentsync.lab.pages.copies import PAGE_BYTES, Showing, Shown, copy_of, file_showing, fitting
from latentsync.lab.pages.player import STYLES, Track, markup
from latentsync.lab.records.store import RecordStore
from latentsync.lab.records.sweeps import sweep_in, sweep_names
from latentsync.lab.tables.tidy import collect_wide

RATING_FILE = "rating.html"
STUDIES_DIR = "ratings"  # in the sweep's folder: what stands behind the names of each file
FILE_COLUMNS = ("study", "rater", "time", "trial", "turned", "vote")
RATING_STYLES = (*STYLES, "rating.css")
NOTE = (
    "You see two videos at a time. Play both to their end, then choose the one in which the lips follow the voice "
    "better. There is no right answer to know; look at the mouth and listen."
)
LATE_S = 0.4  # how much later the pictures of a damaged video are
WIDTH_PX = 384  # of each video
TURNED_KINDS = {DAMAGED_LEFT: DAMAGED_RIGHT, DAMAGED_RIGHT: DAMAGED_LEFT}


def study_facts(question: str = QUESTION) -> dict[str, Any]:
    """What the front end's rating needs besides its pairs."""
    sides = [Track(side, "") for side in (LEFT, RIGHT)]
    return {"question": question, "note": NOTE, "markup": markup(sides, width_px=WIDTH_PX, label="Two videos in step")}


def late_showing(path: Path) -> Showing:
    """A video whose pictures are `LATE_S` late, with its own sound in time."""

    def showing(width_px: int) -> Shown:
        info = media.probe(path, media.VIDEO_RATE_HZ)
        late = round(LATE_S * media.VIDEO_RATE_HZ)
        order = np.maximum(np.arange(info.num_frames) - late, 0)
        frames = media.read_frames_in_order(path, order, media.VIDEO_RATE_HZ)
        return copy_of(frames, info, width_px, media.VIDEO_RATE_HZ, path if info.has_sound else None)

    return showing


Side = tuple[str, bool]  # the id of a record, and whether its pictures are late


def sides_of(trial: Trial) -> tuple[Side, Side]:
    """What a trial shows, left and right."""
    return (trial.left_record, trial.kind == DAMAGED_LEFT), (trial.right_record, trial.kind == DAMAGED_RIGHT)


def showing_of(side: Side, videos: Mapping[str, Path]) -> Showing:
    """The video of a side.

    Args:
        videos: the file of each record.
    """
    record, is_late = side
    return (late_showing if is_late else file_showing)(videos[record])


def videos_of(store: RecordStore, trials: Iterable[Trial]) -> dict[str, Path]:
    """The file of each record that trials show.

    Raises:
        MediaError: a record is gone.
    """
    videos = {}
    for record_id in {record for trial in trials for record in (trial.left_record, trial.right_record)}:
        if (record := store.look(record_id)) is None:
            raise MediaError(f"record {record_id} is gone; run its sweep again, or rate another one")
        videos[record_id] = record.video_path
    return videos


def write_rating(
    runs_dir: str | Path,
    sweep: str | None = None,
    output: str | Path | None = None,
    by: str = "guidance_scale",
    seed: int = 0,
    number: int | None = None,
    checks: int = CHECKS,
    question: str = QUESTION,
    max_bytes: int = PAGE_BYTES,
) -> Path:
    """Writes a rating of a sweep as one HTML file, and keeps in the sweep's folder what stands behind its names.

    Args:
        sweep: its name; None takes the only one of the runs folder.
        output: the file; None: rating.html in the sweep's folder.
        by: the setting that is judged; all other settings are equal within a pair.
        seed: of the order, the sides and the checks; each rater has an order of their own.
        number: how many pairs; None takes all.
        checks: how many pairs that check attention, see `votes.trials_of`.
        question: what raters are asked.
        max_bytes: what all videos may take.

    Returns:
        The file.

    Raises:
        OptionError: there is no such sweep, no two records can be compared, or the videos do not fit into a file.
        MediaError: a video cannot be read.
    """
    runs_dir = Path(runs_dir)
    sweep = sweep_in(runs_dir, sweep)
    table = collect_wide(runs_dir, sweep)
    if table.empty:
        raise OptionError(f"{runs_dir} has no finished record of sweep {sweep}")
    trials = trials_of(table, by, seed, number, checks)
    study = _study_id(sweep, by, seed, trials)
    names = [_digest(study, i) for i in range(len(trials))]
    videos, sides = videos_of(RecordStore(runs_dir), trials), [*map(sides_of, trials)]
    showings = {side: showing_of(side, videos) for both in sides for side in both}
    shown = fitting([*showings.values()], [WIDTH_PX] * len(showings), max_bytes)
    if None in shown:
        fits = shown.count(None)
        raise OptionError(
            f"the videos of {len(trials)} pairs take more than {max_bytes / 1e6:.0f} MB, {fits} of {len(shown)} do not "
            f"fit; give fewer pairs with --number"
        )
    keys = {key: _digest(study, *map(str, key)) for key in showings}
    group = len({frozenset((trial.left, trial.right)) for trial in trials if trial.left != trial.right})
    page = {
        **study_facts(question),
        "id": study,
        "columns": FILE_COLUMNS,
        "trials": [
            {"id": name, "left": keys[left], "right": keys[right], "group": place // group}
            for place, (name, (left, right)) in enumerate(zip(names, sides, strict=True))
        ],
        "videos": {keys[key]: base64.b64encode(one.content).decode() for key, one in zip(showings, shown, strict=True)},
    }
    folder = sweep_folder(runs_dir, sweep)
    known = {"study": study, "by": by, "trials": {name: vars(one) for name, one in zip(names, trials, strict=True)}}
    write_json(folder / STUDIES_DIR / f"{study}.json", known)
    path = folder / RATING_FILE if output is None else Path(output)
    write_text(path, _rendered(page))
    return path


def _rendered(page: dict[str, Any]) -> str:
    text = script("rating_page.js")
    filled = {
        "style": "\n".join(map(page_file, RATING_STYLES)),
        "study": json.dumps(page).replace("<", "\\u003c"),
        "script": text,
        "script_sha256": base64.b64encode(hashlib.sha256(text.encode()).digest()).decode(),
    }
    return re.sub(r"{{(\w+)}}", lambda slot: filled[slot[1]], page_file("rating.html"))


def _study_id(sweep: str, by: str, seed: int, trials: Sequence[Trial]) -> str:
    return _digest(sweep, by, seed, *(f"{vars(trial)}" for trial in trials))


def _digest(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:10]


def take_votes(runs_dir: str | Path, sweep: str | None, files: Iterable[str | Path], votes: str = VOTES_FILE) -> Path:
    """Adds the votes of files that raters sent back to those of a sweep, which a notebook's rating writes too.

    A file can be given again: what is known is left out.

    Returns:
        The file of all votes of the sweep, for `votes.read_votes`.

    Raises:
        OptionError: a file is of another sweep, or holds no votes of a rating.
        MediaError: a file cannot be read or written.
    """
    runs_dir = Path(runs_dir)
    sweep = sweep_in(runs_dir, sweep)
    path = sweep_folder(runs_dir, sweep) / votes
    taken = [one for file in files for one in _votes_of_file(runs_dir, sweep, Path(file))]
    have = read_votes(path) if path.is_file() else None
    known = (
        set()
        if have is None
        else {*zip(have["rater"], have["time"], have["left_record"], have["right_record"], have["vote"], strict=True)}
    )
    for trial, by, rater, at, vote in taken:
        if (rater, at, trial.left_record, trial.right_record, vote) not in known:
            append_vote(path, trial, by, rater, vote, at)
    return path


def _votes_of_file(runs_dir: Path, sweep: str, path: Path) -> list[tuple[Trial, str, str, str, str]]:
    """The trial, setting, rater, time and vote of each row of a file."""
    try:
        rows = [*csv.DictReader(path.read_text(encoding="utf-8").splitlines())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MediaError(f"{path} cannot be read ({error}); give the file that the rating saved") from error
    result = []
    for number, row in enumerate(rows, start=2):
        if set(row) != set(FILE_COLUMNS) or row["vote"] not in TURNED or row["turned"] not in ("0", "1"):
            raise OptionError(f"{path}, line {number} is no vote of a rating; give the file that the rating saved")
        study = _study(runs_dir, sweep, row["study"], path)
        if row["trial"] not in study["trials"]:
            raise OptionError(f"{path}, line {number} is on a pair that the rating does not have; the file was changed")
        trial = Trial(**study["trials"][row["trial"]])
        is_turned = row["turned"] == "1"
        if is_turned:
            trial = replace(
                trial, left=trial.right, right=trial.left, left_record=trial.right_record,
                right_record=trial.left_record, kind=TURNED_KINDS.get(trial.kind, trial.kind),
            )  # fmt: skip
        result.append(
            (trial, study["by"], row["rater"], row["time"], TURNED[row["vote"]] if is_turned else row["vote"])
        )
    if not result:
        raise OptionError(f"{path} holds no votes; give the file that the rating saved")
    return result


def _study(runs_dir: Path, sweep: str, study: str, path: Path) -> dict[str, Any]:
    """What stands behind the names of a rating of a sweep."""
    if not re.fullmatch("[0-9a-f]{10}", study):
        raise OptionError(f"{path} is of a rating called {study!r}, which is no rating's name; the file was changed")
    if (known := _known(runs_dir, sweep, study)) is not None:
        return known
    others = [name for name in sweep_names(runs_dir) if name != sweep and _known(runs_dir, name, study) is not None]
    where = f"they are of sweep {others[0]}; give --sweep {others[0]}" if others else "no sweep of this folder has it"
    raise OptionError(f"{path} has votes of rating {study}, which is not of sweep {sweep}: {where}")


def _known(runs_dir: Path, sweep: str, study: str) -> dict[str, Any] | None:
    return read_json(sweep_folder(runs_dir, sweep) / STUDIES_DIR / f"{study}.json", _fault)


def _fault(content: dict[str, Any]) -> str | None:
    return None if isinstance(content.get("trials"), dict) and "by" in content else "it has no pairs"
