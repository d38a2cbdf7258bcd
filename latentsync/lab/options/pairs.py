"""Pairs of clips and voices, from a folder or a CSV list. The files of a folder are opened to see what they are.

In a folder, files named `g-*` show or sound like a woman, `m-*` a man; other names count as neutral. Every voice is
paired with every clip of its gender. Files that would give the same output name are left out and reported; nothing is
guessed. A list names its pairs itself. An error in a list refuses the whole list.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path

import latentsync
from latentsync.config import GENDERS, face_text
from latentsync.constants import SILENCE_NAME
from latentsync.errors import MediaError, OptionError
from latentsync.lab.options.lists import gender_word, known_gender_words, read_table
from latentsync.lab.options.schema import PAIRINGS, DataConfig
from latentsync.media.kinds import Kind, kinds_in
from latentsync.names import composed, is_plain, named_path, printable

GENDER_OF_PREFIX = {"g-": "female", "m-": "male"}
NEUTRAL = "neutral"  # of a file without such a prefix
OF_GENDER = {"female": "its name would begin with g-", "male": "its name would begin with m-"} | {
    NEUTRAL: "its name would begin with neither g- nor m-, as this one's"
}
LIST_NEEDS, LIST_KNOWS = ("clip", "voice"), ("clip", "voice", "gender", "group", "split", "name", "face")
SHIPPED_DIR = Path(latentsync.__file__).parent / "speakers" / "samples"
SILENCE = SHIPPED_DIR.parent / SILENCE_NAME  # a minute of digital silence


@dataclass(frozen=True)
class Pair:
    """One clip with one voice, and the gender whose preset applies.

    Attributes:
        group, split: columns of a list, for example the speaker, and train or test; not part of a record's identity.
        title: the pair's own name in a list whose files have equal names in several folders.
        face: a column of a list: which face of the clip, see `config.VideoOptions`; None: the configuration decides.
        voice_track: which sound track of the voice's file, see `config.VideoOptions`; None: the configuration decides.
    """

    clip: Path
    voice: Path
    gender: str
    group: str | None = None
    split: str | None = None
    title: str | None = None
    face: str | None = None
    voice_track: int | None = None

    @property
    def name(self) -> str:
        """The name of the pair's outputs: its own, or `{clip}__{voice}`, with `__{face}` where the list chooses a face.
        Undecodable bytes are written as `%C0`."""
        face = "" if self.face is None else f"__{self.face.replace(',', 'x')}"
        return printable(self.title or f"{self.clip.stem}__{self.voice.stem}{face}")


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
    if data.voice_track is not None:
        pairs = tuple(replace(pair, voice_track=data.voice_track) for pair in pairing.pairs)
        pairing = replace(pairing, pairs=pairs)
    return pairing.first(data.max_pairs)


def gender_of(path: Path) -> str:
    """The gender that a file name begins with; neutral if it begins with none."""
    return GENDER_OF_PREFIX.get(path.name[:2].lower(), NEUTRAL)


def same_name(text: str) -> str:
    """The key of names that count as equal: those that differ only in case or in the form of their accents."""
    return composed(text).casefold()


def find_pairs(input_dir: str | Path, pairing: str = "all") -> Pairing:
    """The pairs of a folder (not of its subfolders).

    Args:
        pairing: "all" pairs every voice with every clip of its gender; "own" pairs only files of the same name. "other"
            pairs each clip with the voice that comes after its own by name, of its gender if it has another voice.
            "silent" pairs each clip with `SILENCE`.

    Raises:
        MediaError: the folder is missing or has no pair.
        OptionError: `pairing` is unknown.
    """
    folder = named_path(input_dir)
    if pairing not in PAIRINGS:
        raise OptionError(f"pairing {pairing!r} is unknown; choose one of {', '.join(PAIRINGS)}")
    if not folder.is_dir():
        raise MediaError(f"there is no folder at {folder}; give a folder of clips and voices")
    kinds = kinds_in(folder)
    stills, left_stills = _without_thumbnails(kinds)
    clips, left_clips = _by_gender(path for path, kind in kinds.items() if kind.name == "clip" or path in stills)
    voices, left_voices = _by_gender(path for path, kind in kinds.items() if kind.name == "voice")
    pairs = [
        Pair(clip, voice, gender)
        for gender in GENDERS
        for clip in clips[gender]
        for voice in _voices_for(clip, gender, voices, pairing)
    ]
    pairs, collisions = _without_collisions(pairs)
    unmatched = _unmatched(clips, voices, pairs, collisions, pairing)
    foreign = [(path.name, kind.reason) for path, kind in kinds.items() if kind.reason is not None]
    left_out = (*left_clips, *left_voices, *left_stills, *foreign, *collisions, *unmatched)
    if not pairs:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out[:5]) or "it holds no clips and voices"
        raise MediaError(
            f"{folder} gives no pair ({reasons}); put clips (videos or pictures) and voices (sound) there whose names "
            f"begin alike: with g-, with m-, or with neither"
        )
    return Pairing(tuple(pairs), left_out)


def _voices_for(clip: Path, gender: str, voices: dict[str, list[Path]], pairing: str) -> list[Path]:
    """The voices that a clip is paired with; see `find_pairs`."""
    if pairing == "all":
        return voices[gender]
    if pairing == "silent":
        return [SILENCE]
    own = composed(clip.stem)
    if pairing == "own":
        return [voice for voice in voices[gender] if composed(voice.stem) == own]
    for known in (voices[gender], [voice for of_gender in GENDERS for voice in voices[of_gender]]):
        others = sorted(
            (voice for voice in known if composed(voice.stem) != own), key=lambda voice: composed(voice.stem)
        )
        if others:
            return [next((voice for voice in others if composed(voice.stem) > own), others[0])]
    return []


def _without_thumbnails(kinds: dict[Path, Kind]) -> tuple[set[Path], list[tuple[str, str]]]:
    """The still pictures that are clips, and those left out: a picture called as a video is its thumbnail."""
    videos = {same_name(path.stem): path for path, kind in kinds.items() if kind.name == "clip"}
    pictures = {path for path, kind in kinds.items() if kind.name == "picture"}
    thumbnails = sorted(path for path in pictures if same_name(path.stem) in videos)
    reasons = [
        (path.name, f"it counts as the thumbnail of {videos[same_name(path.stem)].name}; rename it to use it as a clip")
        for path in thumbnails
    ]
    return pictures - set(thumbnails), reasons


def _by_gender(paths: Iterable[Path]) -> tuple[dict[str, list[Path]], list[tuple[str, str]]]:
    """Files of one kind grouped by gender, and the files left out because their names differ only in the suffix."""
    stems: dict[str, list[Path]] = defaultdict(list)
    left_out = []
    for path in paths:
        stems[same_name(path.stem)].append(path)
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
        by_name[same_name(pair.name)].append(pair)
    unique = [pair for pair in pairs if len(by_name[same_name(pair.name)]) == 1]
    lost = [
        (f"{pair.clip.name} with {pair.voice.name}", f"another pair would be called {pair.name} too; rename a file")
        for pair in pairs
        if len(by_name[same_name(pair.name)]) > 1
    ]
    return unique, lost


def _unmatched(
    clips: dict[str, list[Path]],
    voices: dict[str, list[Path]],
    pairs: list[Pair],
    collisions: list[tuple[str, str]],
    pairing: str,
) -> list[tuple[str, str]]:
    if collisions or pairing == "silent":
        return []
    used = {path for pair in pairs for path in (pair.clip, pair.voice)}
    return [
        (path.name, f"there is no {wanted} to pair it with: its name would be {path.stem}")
        if pairing == "own"
        else (path.name, f"there is no {wanted} to pair it with: {OF_GENDER[gender_of(path)]}")
        for files, wanted in ((clips, "voice"), (voices, "clip"))[: 1 if pairing == "other" else 2]
        for paths in files.values()
        for path in paths
        if path not in used
    ]


def read_pairs(path: str | Path, split: str | None = None) -> Pairing:
    """The pairs of a list, in its order: a header and a row per pair, see `latentsync.lab.options.lists`.

    The columns are `clip` and `voice` (files, relative to the list's folder) and optionally `gender`, `group`, `split`
    `name` and `face`. `gender` is female, male or neutral, or another word for it; where it is empty, the clip's prefix
    decides. `name` is for pairs whose files have the same names in different folders. `face` is as `video.face`, and
    wins over it. Other columns are ignored.

    Args:
        split: only pairs of this split; None takes all.

    Raises:
        MediaError: the list is missing or is not such a table, one of its files is missing, or two pairs are equal or
            would get the same name. The message gives line, column and value.
        OptionError: no pair has this split.
    """
    pairs = []
    for pair in listed_pairs(path, split):
        if isinstance(pair, MediaError):
            raise pair
        pairs.append(pair)
    return Pairing(tuple(pairs), ())


def listed_pairs(path: str | Path, split: str | None = None) -> Iterator[Pair | MediaError]:
    """The pair of each row of a list, or what is wrong with the row; as `read_pairs`, which raises the first error."""
    path = named_path(path)
    table = read_table(path, LIST_NEEDS, LIST_KNOWS)
    rows = [(line, {name: row.get(name) for name in LIST_KNOWS}) for line, row in table.rows]
    rows = [(line, row) for line, row in rows if any(row.values())]
    if split is not None:
        splits = sorted({row["split"] for _, row in rows} - {None})
        rows = [(line, row) for line, row in rows if row["split"] == split]
        if not rows:
            known = ", ".join(splits) or "none; add a column split"
            raise OptionError(f"data.split is {split!r}, but no pair of {path} has it; its splits: {known}")
    if not rows:
        raise MediaError(f"{path} has a header but no pair; add one row per pair")
    lines: dict[str, tuple[int, Pair]] = {}
    for line, row in rows:
        try:
            pair = _listed_pair(path, line, row, table.is_utf)
        except MediaError as error:
            yield error
            continue
        before, other = lines.setdefault(same_name(pair.name), (line, pair))
        if other is not pair:
            is_same = (other.clip, other.voice, other.face) == (pair.clip, pair.voice, pair.face)
            reason = "is also the pair of" if is_same else "has other files but would get the same name as the pair of"
            remedy = "remove one" if is_same else "rename a clip or voice, or give each its own name in a column name"
            yield MediaError(f"{path}, line {line}: {pair.name} {reason} line {before}; {remedy}")
            continue
        yield pair


def _listed_pair(path: Path, line: int, row: dict[str, str | None], is_utf: bool) -> Pair:
    files = {column: _listed_file(path, line, column, row[column], is_utf) for column in LIST_NEEDS}
    title = row["name"]
    if title is not None and (not is_plain(title)):
        raise MediaError(f"{path}, line {line}: name is {title!r}; give a plain name, without slashes and leading dots")
    gender = gender_of(files["clip"]) if row["gender"] is None else gender_word(row["gender"])
    if gender is None:
        raise MediaError(f"{path}, line {line}: gender is {row['gender']!r}; choose one of {known_gender_words()}")
    try:
        face = None if row["face"] is None else face_text(row["face"])
    except OptionError as error:
        raise MediaError(f"{path}, line {line}: {error}") from error
    return Pair(files["clip"], files["voice"], gender, row["group"], row["split"], title, face)


def _listed_file(path: Path, line: int, column: str, value: str | None, is_utf: bool) -> Path:
    """A file of a list, relative to it. Backslashes, as Windows writes them, may stand for slashes."""
    if value is None:
        raise MediaError(f"{path}, line {line}: {column} is empty; give a file, relative to {path.parent}")
    first = path.parent / os.path.expanduser(value)
    if first.is_file():
        return first
    for spelling in (value, value.replace("\\", "/")):
        if (file := named_path(path.parent / os.path.expanduser(spelling))).is_file():
            return file
    remedy = "paths are relative to the list" if is_utf else "the list is not in UTF-8, so save it as CSV in UTF-8"
    raise MediaError(f"{path}, line {line}: {column} is {value}, and there is no file at {first}; {remedy}")
