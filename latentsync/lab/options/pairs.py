"""Pairs of clips and voices, from a folder or a CSV list. The files of a folder are opened to see what they are.

In a folder, files named `g-*` show or sound like a woman, `m-*` a man. Every voice is paired with every clip of its
gender. Files without a gender, and files that would give the same output name, are left out and reported; nothing is
guessed. A list names its pairs itself. An error in a list refuses the whole list.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path

import latentsync
from latentsync.config import GENDERS
from latentsync.errors import MediaError, OptionError
from latentsync.lab.options.schema import PAIRINGS, DataConfig
from latentsync.media.kinds import Kind, kinds_in

GENDER_OF_PREFIX = {"g-": "female", "m-": "male"}
LIST_NEEDS, LIST_KNOWS = ("clip", "voice"), ("clip", "voice", "gender", "group", "split")
SHIPPED_DIR = Path(latentsync.__file__).parent / "speakers" / "samples"


@dataclass(frozen=True)
class Pair:
    """One clip with one voice, and the gender whose preset applies.

    Attributes:
        group, split: columns of a list, for example the speaker, and train or test; not part of a record's identity.
    """

    clip: Path
    voice: Path
    gender: str
    group: str | None = None
    split: str | None = None

    @property
    def name(self) -> str:
        """The name of the pair's outputs: `{clip}__{voice}`."""
        return f"{self.clip.stem}__{self.voice.stem}"


@dataclass(frozen=True)
class Pairing:
    """The pairs of a folder, sorted by gender, and the files that were left out, each with the reason."""

    pairs: tuple[Pair, ...]
    left_out: tuple[tuple[str, str], ...]

    def first(self, number: int | None) -> "Pairing":
        """At most `number` pairs of each gender, the first ones; None takes all."""
        by_gender = groupby(sorted(self.pairs, key=lambda pair: pair.gender), lambda pair: pair.gender)
        return replace(self, pairs=tuple(pair for _, pairs in by_gender for pair in islice(pairs, number)))


def pairs_of(data: DataConfig) -> Pairing:
    """The pairs of the configured list or folder, or of the shipped clips; at most `max_pairs` of each gender."""
    if data.list is not None:
        pairing = read_pairs(data.list, data.split)
    else:
        pairing = find_pairs(data.input_dir or SHIPPED_DIR, data.pairing)
    if data.list is None and data.input_dir is None:
        pairing = replace(pairing, left_out=())  # the other voices of the shipped clips
    return pairing.first(data.max_pairs)


def gender_of(path: Path) -> str | None:
    """The gender that a file name begins with, or None."""
    return GENDER_OF_PREFIX.get(path.name[:2].lower())


def find_pairs(input_dir: str | Path, pairing: str = "all") -> Pairing:
    """The pairs of a folder (not of its subfolders).

    Args:
        pairing: "all" pairs every voice with every clip of its gender; "own" pairs only files of the same name.

    Raises:
        MediaError: the folder is missing or has no pair.
        OptionError: `pairing` is unknown.
    """
    folder = Path(input_dir)
    if pairing not in PAIRINGS:
        raise OptionError(f"pairing {pairing!r} is unknown; choose one of {', '.join(PAIRINGS)}")
    if not folder.is_dir():
        raise MediaError(f"there is no folder at {folder}; give a folder of g-* and m-* clips and voices")
    kinds = kinds_in(folder)
    stills, left_stills = _without_thumbnails(kinds)
    clips, left_clips = _by_gender(path for path, kind in kinds.items() if kind.name == "clip" or path in stills)
    voices, left_voices = _by_gender(path for path, kind in kinds.items() if kind.name == "voice")
    pairs = [
        Pair(clip, voice, gender)
        for gender in GENDER_OF_PREFIX.values()
        for clip in clips[gender]
        for voice in voices[gender]
        if pairing == "all" or clip.stem == voice.stem
    ]
    pairs, collisions = _without_collisions(pairs)
    unmatched = _unmatched(clips, voices, pairs, collisions, pairing)
    foreign = [(path.name, kind.reason) for path, kind in kinds.items() if kind.reason is not None]
    left_out = (*left_clips, *left_voices, *left_stills, *foreign, *collisions, *unmatched)
    if not pairs:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out[:5]) or "it holds no clips and voices"
        raise MediaError(
            f"{folder} gives no pair ({reasons}); put clips (videos or pictures) and voices (sound) there whose names "
            f"begin with g- or m-"
        )
    return Pairing(tuple(pairs), left_out)


def _without_thumbnails(kinds: dict[Path, Kind]) -> tuple[set[Path], list[tuple[str, str]]]:
    """The still pictures that are clips, and those left out: a picture called as a video is its thumbnail."""
    videos = {path.stem.casefold(): path for path, kind in kinds.items() if kind.name == "clip"}
    pictures = {path for path, kind in kinds.items() if kind.name == "picture"}
    thumbnails = sorted(path for path in pictures if path.stem.casefold() in videos)
    reasons = [
        (path.name, f"it counts as the thumbnail of {videos[path.stem.casefold()].name}; rename it to use it as a clip")
        for path in thumbnails
    ]
    return pictures - set(thumbnails), reasons


def _by_gender(paths: Iterable[Path]) -> tuple[dict[str, list[Path]], list[tuple[str, str]]]:
    """Files of one kind grouped by gender, and the files left out: those without a gender, and those whose names
    differ only in the suffix."""
    stems: dict[str, list[Path]] = defaultdict(list)
    left_out = []
    for path in paths:
        if gender_of(path) is None:
            left_out.append((path.name, "its name begins with neither g- nor m-"))
        else:
            stems[path.stem.casefold()].append(path)
    grouped: dict[str, list[Path]] = defaultdict(list)
    for same in stems.values():
        if len(same) == 1:
            grouped[gender_of(same[0])].append(same[0])
        else:
            names = ", ".join(path.name for path in same)
            left_out += [(path.name, f"{names} would give the same output name; rename all but one") for path in same]
    return grouped, left_out


def _without_collisions(pairs: list[Pair]) -> tuple[list[Pair], list[tuple[str, str]]]:
    """Removes pairs that would get the same output name: `g-a__b` with `g-c`, and `g-a` with `b__g-c`."""
    by_name: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_name[pair.name.casefold()].append(pair)
    unique = [pair for pair in pairs if len(by_name[pair.name.casefold()]) == 1]
    lost = [
        (f"{pair.clip.name} with {pair.voice.name}", f"another pair would be called {pair.name} too; rename a file")
        for pair in pairs
        if len(by_name[pair.name.casefold()]) > 1
    ]
    return unique, lost


def _unmatched(
    clips: dict[str, list[Path]],
    voices: dict[str, list[Path]],
    pairs: list[Pair],
    collisions: list[tuple[str, str]],
    pairing: str,
) -> list[tuple[str, str]]:
    if collisions:
        return []
    used = {path for pair in pairs for path in (pair.clip, pair.voice)}
    whose = " of its name" if pairing == "own" else ""
    return [
        (path.name, f"there is no {wanted}{whose} to pair it with")
        for files, wanted in ((clips, "voice"), (voices, "clip"))
        for paths in files.values()
        for path in paths
        if path not in used
    ]


def read_pairs(path: str | Path, split: str | None = None) -> Pairing:
    """The pairs of a CSV list, in its order: a header and a row per pair.

    The columns are `clip` and `voice` (files, relative to the list's folder) and optionally `gender`, `group` and
    `split`. `gender` is female, male or neutral; where it is empty, the clip's prefix decides, and a clip without a
    prefix counts as neutral. Other columns are ignored.

    Args:
        split: only pairs of this split; None takes all.

    Raises:
        MediaError: the list is missing or is not such a table, one of its files is missing, or two pairs are equal or
            would get the same name. The message gives line, column and value.
        OptionError: no pair has this split.
    """
    path = Path(path)
    rows = _rows(path)
    if split is not None:
        splits = sorted({row["split"] for _, row in rows} - {None})
        rows = [(line, row) for line, row in rows if row["split"] == split]
        if not rows:
            known = ", ".join(splits) or "none; add a column split"
            raise OptionError(f"data.split is {split!r}, but no pair of {path} has it; its splits: {known}")
    if not rows:
        raise MediaError(f"{path} has a header but no pair; add one row per pair")
    pairs: list[Pair] = []
    lines: dict[str, tuple[int, Pair]] = {}
    for line, row in rows:
        pair = _listed_pair(path, line, row)
        before, other = lines.setdefault(pair.name.casefold(), (line, pair))
        if other is not pair:
            is_same = (other.clip, other.voice) == (pair.clip, pair.voice)
            reason = "is also the pair of" if is_same else "has other files but would get the same name as the pair of"
            remedy = "remove one" if is_same else "rename a clip or voice"
            raise MediaError(f"{path}, line {line}: {pair.name} {reason} line {before}; {remedy}")
        pairs.append(pair)
    return Pairing(tuple(pairs), ())


def _rows(path: Path) -> list[tuple[int, dict[str, str | None]]]:
    """Line number and known columns of each row, with None for empty cells; lines without any value are skipped."""
    if not path.is_file():
        raise MediaError(f"there is no list at {path}; give a CSV file with the columns {', '.join(LIST_KNOWS)}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True, restkey="(beyond the header)")
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            for name in LIST_NEEDS:
                if name not in header:
                    raise MediaError(
                        f"{path}, line 1: there is no column {name} among {', '.join(header) or 'none'}; "
                        f"the first line names the columns: {', '.join(LIST_KNOWS)}"
                    )
            rows = []
            for row in reader:
                if (extra := row.pop("(beyond the header)", None)) is not None:
                    raise MediaError(
                        f"{path}, line {reader.line_num}: {','.join(extra)!r} is beyond the last column "
                        f"{header[-1]}; put quotes around values with commas"
                    )
                cells = {name: (row.get(name) or "").strip() or None for name in LIST_KNOWS}
                if any(cells.values()):
                    rows.append((reader.line_num, cells))
            return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MediaError(f"{path} cannot be read as CSV in UTF-8 ({error}); save it as such") from error


def _listed_pair(path: Path, line: int, row: dict[str, str | None]) -> Pair:
    files = {}
    for column in LIST_NEEDS:
        if row[column] is None:
            raise MediaError(f"{path}, line {line}: {column} is empty; give a file, relative to {path.parent}")
        files[column] = path.parent / row[column]
        if not files[column].is_file():
            raise MediaError(
                f"{path}, line {line}: {column} is {row[column]}, and there is no file at {files[column]}; "
                f"paths are relative to the list"
            )
    gender = row["gender"] or gender_of(files["clip"]) or "neutral"
    if gender not in GENDERS:
        raise MediaError(f"{path}, line {line}: gender is {gender!r}; choose one of {', '.join(GENDERS)}")
    return Pair(files["clip"], files["voice"], gender, row["group"], row["split"])
