"""Videos of any origin beside their references: from folders or a list to one table, in the form of that of records.

Values are kept beside the table, in a folder named after it, one file for each video; so a stopped run goes on, and
only new or changed videos are measured. They are found by the content of video, reference and voice.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from latentsync import media
from latentsync.constants import VIDEO_RATE_HZ
from latentsync.errors import LatentSyncError, MediaError, closest_name, sentence_of
from latentsync.faces.landmarks import LandmarkDetector
from latentsync.files import find_json, write_json
from latentsync.generation.stage_cache import input_sha256
from latentsync.lab.measuring.result import Result, measured, networks
from latentsync.lab.options.lists import read_table as read_list
from latentsync.lab.options.pairs import gender_of, same_name
from latentsync.lab.options.schema import MetricsConfig
from latentsync.lab.records.labels import word_of
from latentsync.lab.tables.tidy import ENTRY_COLUMNS
from latentsync.media.kinds import kinds_in
from latentsync.metrics.definitions import DEFINITIONS, Entry
from latentsync.metrics.families import Subject, family_of
from latentsync.metrics.judges import failure_notes, is_confidence
from latentsync.metrics.suspects import is_clearly_better
from latentsync.names import named_path, printable

LIST_NEEDS = ("generated", "reference")
LIST_KNOWS = (*LIST_NEEDS, "audio", "group")
OWN_SEED = 0  # tables of records have a seed for each row; these videos are taken as one draw
PAIR_MARK = "__"  # between clip and voice in the names of this project's results
NAMED = 5  # names that a message lists


@dataclass(frozen=True)
class Compared:
    """A video, the reference that it should look like, and the voice that it should follow.

    Attributes:
        audio: None: the video's own sound.
        group: the speaker, where a list names it.
    """

    generated: Path
    reference: Path
    audio: Path | None = None
    group: str | None = None

    @property
    def voice(self) -> Path:
        """The file whose sound is heard."""
        return self.audio or self.generated


def paired_folders(
    generated: Path, reference: Path, audio: Path | None = None
) -> tuple[list[Compared], list[tuple[str, str]]]:
    """The videos of a folder with the references and voices of the same names, whatever their endings.

    A video named `CLIP__VOICE`, as this project names its results, also fits the reference CLIP and the voice VOICE.

    Args:
        audio: a folder of voices; None: each video's own sound.

    Returns:
        The videos that fit, and those left out, each with the reason.

    Raises:
        MediaError: a folder cannot be read or has no such file, or no video fits. The message names what was looked
            for and the closest names.
    """
    videos, references = (_by_stem(folder, ("clip",), "video") for folder in (generated, reference))
    voices = None if audio is None else _by_stem(audio, ("voice", "clip"), "sound")
    pairs: list[Compared] = []
    left_out: list[tuple[str, str]] = []
    for stem, video in videos.items():
        clip, _, voice = stem.partition(PAIR_MARK)
        shown = next((references[name] for name in (stem, clip) if name in references), None)
        heard = None if voices is None else next((voices[name] for name in (stem, voice, clip) if name in voices), None)
        if shown is None:
            left_out.append((video.name, _lacks(stem, references, reference, "reference")))
        elif voices is not None and heard is None:
            left_out.append((video.name, _lacks(stem, voices, audio, "voice")))
        else:
            pairs.append(Compared(video, shown, heard))
    if not pairs:
        named = "; ".join(f"{name}: {reason}" for name, reason in left_out[:NAMED])
        raise MediaError(f"no video of {generated} can be compared ({named}); give files of the same names")
    return pairs, left_out


def _by_stem(folder: Path, kinds: Sequence[str], word: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise MediaError(f"there is no folder at {folder}; give a folder of files with {word}")
    files: dict[str, Path] = {}
    for path, kind in kinds_in(folder).items():
        if kind.name not in kinds:
            continue
        if (other := files.setdefault(same_name(path.stem), path)) != path:
            raise MediaError(f"{folder} has {other.name} and {path.name}, which count as one name; rename one of them")
    if not files:
        raise MediaError(f"{folder} has no {word}; give a folder of files with {word}")
    return files


def _lacks(stem: str, known: dict[str, Path], folder: Path | None, word: str) -> str:
    close = closest_name(stem, known)
    near = "no name there is close" if close is None else f"the closest is {known[close].name}"
    return f"there is no {word} {stem} in {folder}; {near}"


def read_compared(path: Path) -> list[Compared]:
    """The videos of a list: the columns `generated` and `reference`, and optionally `audio` and `group`.

    Paths are relative to the list's folder. A file that is missing costs its row when it is measured.

    Raises:
        MediaError: the list cannot be read, has no row, lacks a column, a row lacks a file, or a video is named twice.
    """
    table = read_list(path, LIST_NEEDS, LIST_KNOWS)
    rows: list[Compared] = []
    lines: dict[tuple[Path, Path], int] = {}
    for line, row in table.rows:
        for name in LIST_NEEDS:
            if row[name] is None:
                raise MediaError(f"{path}, line {line}: {name} is empty; give a file")
        files = {name: row.get(name) and path.parent / named_path(row[name]) for name in LIST_KNOWS[:3]}
        one = Compared(**files, group=row.get("group"))
        key = one.generated, one.voice
        if (before := lines.setdefault(key, line)) != line:
            raise MediaError(f"{path}, line {line}: {row['generated']} stands in line {before} too; remove one of them")
        rows.append(one)
    if not rows:
        raise MediaError(f"{path} has a header but no video; add one row per video")
    return rows


def measured_table(
    videos: Sequence[Compared],
    wanted: MetricsConfig,
    detector: LandmarkDetector,
    kept: Path,
    model: str,
    again: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """The tidy table of videos that may come from anywhere, and the videos that could not be measured.

    Video, reference and voice are compared from the start, at 25 frames/s, as far as the shorter video goes.

    Args:
        kept: the folder of measured values.
        model: what made the videos, for the table's column of this name.
        again: whether to measure again what is kept.
        tell: called with a line for each video.

    Returns:
        One row per video and metric, with the columns of `tables.tidy.collect` as far as they are known. A video that
        could not be measured has its metrics without values, each with the reason. And (name, reason) of those.
    """
    rows: list[dict[str, Any]] = []
    failures: list[tuple[str, str]] = []
    times: dict[str, int] = {}
    weights = networks(wanted).hashes
    for number, one in enumerate(videos, start=1):
        name, facts = printable(one.generated.name), _facts(one, model)
        label = f"[{number}/{len(videos)}] {name}"
        try:
            key, hashes = _key(one, wanted, weights)
            path = kept / f"{key}.json"
            content = None if again else find_json(path)
            is_kept = content is not None
            if content is None:
                content = _content(one, wanted, detector)
                write_json(path, content)
        except (LatentSyncError, OSError) as error:
            reason = sentence_of(error)
            failures.append((name, reason))
            tell(f"{label}: FAILED  {reason}")
            rows += _rows(facts | {"record": _short(name, one), "notes": ""}, _without(wanted, reason))
            continue
        entries = content["metrics"]
        values = sum(entry["value"] is not None for entry in entries.values())
        tell(f"{label}: {values} values, {len(entries) - values} missing" + ", measured before" * is_kept)
        notes = "; ".join(filter(None, [content["notes"], *_doubts(entries)]))
        times[key] = times.get(key, 0) + 1
        record = key if times[key] == 1 else f"{key}-{times[key]}"  # the same content under another name
        facts |= hashes | {"record": record, "video_frames": content["frames"], "notes": notes}
        rows += _rows(facts, entries)
    table = pd.DataFrame(rows)
    return table.astype({name: "Int64" for name in ("video_frames", "used", "left_out", "version")}), failures


def _facts(one: Compared, model: str) -> dict[str, Any]:
    """The columns of a row that follow from names. The order is that of tables."""
    return {
        "record": "", "pair": printable(one.generated.stem), "clip": printable(one.reference.name),
        "voice": printable(one.voice.name), "clip_sha256": None, "voice_sha256": None,
        "gender": gender_of(one.reference), "group": one.group, "model": model, "preset": "measured",
        "seed": OWN_SEED, "video_frames": None, "notes": "",
        "video_file": printable(str(one.generated.absolute())),
        "reference_file": printable(str(one.reference.absolute())),
    }  # fmt: skip


def _short(name: str, one: Compared) -> str:
    return hashlib.sha256(f"{name}\n{one.reference}\n{one.voice}".encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _key(one: Compared, wanted: MetricsConfig, weights: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The name under which values are kept, and the hashes of clip and voice for the table.

    A video's own sound has no hash there: it is another file for each model, and yet the same voice.
    """
    names = {"generated": one.generated, "reference": one.reference, "audio": one.voice}
    hashes = {name: input_sha256(path) for name, path in names.items()}
    versions = {name: known.version for name, known in DEFINITIONS.items() if known.family in wanted.families}
    facts = [hashes, list(wanted.families), wanted.controls, versions, weights]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    heard = {} if one.audio is None else {"voice_sha256": hashes["audio"]}
    return key, {"clip_sha256": hashes["reference"], **heard}


def _content(one: Compared, wanted: MetricsConfig, detector: LandmarkDetector) -> dict[str, Any]:
    counts = [media.probe(path, VIDEO_RATE_HZ).num_frames for path in (one.generated, one.reference)]
    result = Result.of_files(one.generated, one.reference, one.voice, detector)
    evaluation = measured(result, wanted, detector)
    notes = ""
    if counts[0] != counts[1]:
        notes = f"the video has {counts[0]} frames and its reference {counts[1]}; the first {len(result.order)} count"
    return {"metrics": evaluation.entries, "frames": len(result.order), "notes": notes}


def _without(wanted: MetricsConfig, reason: str) -> dict[str, Entry]:
    subject = Subject(1, relation="own")
    return {name: one for family in wanted.families for name, one in family_of(family).without(subject, reason).items()}


def _doubts(entries: dict[str, Entry]) -> list[str]:
    """Why values of sync do not count: a judge fails on the real clip, or likes the video clearly better than that."""
    values = {name: one["value"] for name, one in entries.items()}
    doubts = failure_notes(values)
    for name in values:
        minus_real, real = values.get(f"{name}_minus_real"), values.get(f"{name}_real")
        is_known = is_confidence(name) and minus_real is not None and real is not None
        if is_known and is_clearly_better(name, minus_real, real):
            doubts.append(f"{word_of(name)} is suspect: clearly better than that of the real clip")
    return doubts


def _rows(facts: dict[str, Any], entries: dict[str, Entry]) -> Iterable[dict[str, Any]]:
    for name, one in entries.items():
        yield facts | {"metric": name} | {column: one.get(column) for column in ENTRY_COLUMNS}
