"""Writes a list of pairs from a folder with subfolders, as data sets come. This module opens no clip and no voice.

A pattern says where the clips are: `{split}/{group}/{clip}.mp4`. A name in braces stands for a part of the path without
slashes, `*` for anything without slashes, `**/` for any folders. The names `group`, `gender` and `split` become columns
of the list; all names may stand in the pattern of the voices: `audio/{group}/{clip}.wav`.
"""

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from latentsync.errors import MediaError, OptionError, did_you_mean
from latentsync.files import write_bytes
from latentsync.lab.options.lists import gender_word, known_gender_words, read_table
from latentsync.lab.options.pairs import same_name
from latentsync.media.kinds import CLIP_SUFFIXES, VOICE_SUFFIXES
from latentsync.names import composed, named_path

VOICES = ("any", "own", "beside")
GENDER_COLUMNS = ("gender", "sex")
COLUMNS = ("clip", "voice", "gender", "group", "split", "name")
OPTIONAL = COLUMNS[2:]  # columns that a list has only where one of its pairs has a value
_PIECES = re.compile(r"(\{[^{}]*\}|\*\*/|\*|\?)")


@dataclass(frozen=True)
class ListedPair:
    """A row of the list; paths are relative to the tree."""

    clip: str
    voice: str
    gender: str | None = None
    group: str | None = None
    split: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class TreePairs:
    """The pairs of a tree.

    Attributes:
        root: the tree.
        left_out: files that gave no pair, each with the reason.
        without_gender: groups that the table of genders does not have.
    """

    root: Path
    pairs: tuple[ListedPair, ...]
    left_out: tuple[tuple[str, str], ...]
    without_gender: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """Writes the list as CSV. Paths are relative to the list if the tree lies below its folder, else absolute."""
        folder, root = path.absolute().parent.resolve(), self.root.resolve()
        base = Path(os.path.relpath(root, folder)) if folder in (root, *root.parents) else root
        used = [name for name in COLUMNS if name not in OPTIONAL or any(getattr(pair, name) for pair in self.pairs)]
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(used)
        for pair in self.pairs:
            cells = {**vars(pair), "clip": base / pair.clip, "voice": base / pair.voice}
            rows.writerow([cells[name] or "" for name in used])
        write_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"))


def pairs_in_tree(
    folder: str | Path,
    clips: str | None = None,
    voices: str = "any",
    *,
    gender: str | None = None,
    genders: Path | None = None,
) -> TreePairs:
    """The pairs of a folder and its subfolders, one for each clip.

    Args:
        clips: the pattern of the clips' paths, relative to the folder; None takes every video.
        voices: "own" is the clip's own sound; "beside" is a sound file of the same name in the clip's folder; "any" is
            the file beside where there is one, else the own sound. Else the pattern of the voices' paths, with the
            names of `clips`, `{folder}` and `{stem}`.
        gender: of all people.
        genders: a table with a column gender or sex, and a column with the values of `{group}`.

    Raises:
        MediaError: the folder or the table is missing or has no pair.
        OptionError: a pattern or a gender is wrong.
    """
    root = named_path(folder)
    if not root.is_dir():
        raise MediaError(f"there is no folder at {root}; give the folder of a data set")
    pattern, names = _pattern(clips) if clips is not None else (None, ())
    _check_voices(voices, names)
    if gender is not None and gender_word(gender) is None:
        raise OptionError(f"gender is {gender!r}; choose one of {known_gender_words()}")
    known = _known_genders(genders, names)
    left_out: list[tuple[str, str]] = []
    files = {composed(path): path for path in _files(root, left_out)}
    paths, found, without_gender, pairs = set(files.values()), 0, {}, []
    for key, path in files.items():
        match = pattern.fullmatch(key) if pattern is not None else None
        if match is None and (pattern is not None or Path(path).suffix.lower() not in CLIP_SUFFIXES):
            continue
        found += 1
        parts = match.groupdict() if match is not None else {}
        voice = _voice_of(path, key, voices, parts, files)
        if voice is None or voice not in paths:
            wanted = f"at {voice}" if voice else "beside it"
            left_out.append((path, f"there is no voice {wanted}"))
            continue
        word = parts.get("gender") or gender or known.get(same_name(parts.get("group", "")))
        if word is not None and gender_word(word) is None:
            left_out.append((path, f"its gender is {word!r}; the pattern or table must give {known_gender_words()}"))
            continue
        if known and word is None:
            without_gender[parts["group"]] = None
        its_gender = None if word is None else gender_word(word)
        pairs.append(ListedPair(path, voice, its_gender, parts.get("group"), parts.get("split")))
    if not pairs:
        raise MediaError(_none(root, clips, found, files, left_out))
    return TreePairs(root, tuple(_named(pairs)), tuple(left_out), tuple(without_gender))


def _files(root: Path, left_out: list[tuple[str, str]]) -> Iterator[str]:
    """The files of a tree, sorted, relative to it. Hidden ones, and what macOS adds to ZIP files, are skipped."""

    def refused(error: OSError) -> None:
        left_out.append((os.path.relpath(error.filename, root), f"it cannot be read ({error.strerror})"))

    seen = set()
    for folder, folders, names in os.walk(root, onerror=refused, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = [] if real in seen else sorted(f for f in folders if f[0] != "." and f != "__MACOSX")
        if real not in seen:
            yield from (os.path.relpath(os.path.join(folder, name), root) for name in sorted(names) if name[0] != ".")
        seen.add(real)


def _pattern(text: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """A pattern of paths as a regular expression, and the names in its braces."""
    expression, names = "", []
    for piece in _PIECES.split(composed(text).removeprefix("./")):
        if piece.startswith("{") and piece.endswith("}"):
            name = piece[1:-1]
            if not name.isidentifier():
                raise OptionError(f"{piece} in the pattern {text} is no name; write {{group}} or {{clip}}, for example")
            expression += f"(?P={name})" if name in names else f"(?P<{name}>[^/]+?)"
            names.append(name)
        else:
            expression += {"**/": "(?:.*/)?", "*": "[^/]*?", "?": "[^/]"}.get(piece, re.escape(piece))
    return re.compile(expression, re.IGNORECASE), tuple(dict.fromkeys(names))


def _check_voices(voices: str, names: tuple[str, ...]) -> None:
    if voices in VOICES:
        return
    if "{" not in voices or "*" in voices:
        raise OptionError(
            f"voices is {voices!r}; choose one of {', '.join(VOICES)}, or give a pattern with names in braces and "
            f"without *, such as audio/{{group}}/{{clip}}.wav"
        )
    known = (*names, "folder", "stem")
    for name in re.findall(r"\{([^{}]*)\}", voices):
        if name not in known:
            raise OptionError(f"{{{name}}} in the pattern {voices} is unknown; {did_you_mean(name, known)}")


def _known_genders(path: Path | None, names: tuple[str, ...]) -> dict[str, str]:
    """The word for the gender by each value of a table's other columns."""
    if path is None:
        return {}
    if "group" not in names:
        raise OptionError(f"{path} gives genders by group; name the group in the pattern of the clips: {{group}}")
    table = read_table(path)
    column = next((name for name in GENDER_COLUMNS if name in table.header), None)
    if column is None:
        raise MediaError(f"{path} has no column gender or sex among {', '.join(table.header) or 'none'}; add one")
    return {
        same_name(value): row[column]
        for _, row in table.rows
        for name, value in row.items()
        if name != column and value is not None and row[column] is not None
    }


def _voice_of(path: str, key: str, voices: str, parts: Mapping[str, str], files: Mapping[str, str]) -> str | None:
    """The voice of a clip, which need not exist; None if none is beside it."""
    if voices == "own":
        return path
    folder, stem = os.path.split(os.path.splitext(key)[0])
    if voices not in VOICES:
        values = {**parts, "folder": folder, "stem": stem}
        filled = re.sub(r"\{([^{}]*)\}", lambda match: values[match[1]], composed(voices)).removeprefix("./")
        wanted = os.path.normpath(filled)
        return files.get(wanted, wanted)
    candidates = (os.path.join(folder, f"{stem}{end}") for suffix in VOICE_SUFFIXES for end in (suffix, suffix.upper()))
    beside = next((files[name] for name in candidates if name in files), None)
    return path if beside is None and voices == "any" else beside


def _named(pairs: list[ListedPair]) -> list[ListedPair]:
    """The pairs with names made of their folders, if files of different folders have the same names."""
    plain = Counter(same_name(f"{Path(pair.clip).stem}__{Path(pair.voice).stem}") for pair in pairs)
    if max(plain.values()) == 1:
        return pairs
    folders = [os.path.dirname(pair.clip) for pair in pairs]
    shared = os.path.commonpath(folders) if all(folders) else ""
    taken: set[str] = set()
    named = []
    for pair in pairs:
        base = os.path.splitext(os.path.relpath(pair.clip, shared or "."))[0].replace("/", "-").lstrip(".")
        name, number = base, 1
        while same_name(name) in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(same_name(name))
        named.append(replace(pair, name=name))
    return named


def _none(root: Path, clips: str | None, found: int, files: Mapping[str, str], left_out: list[tuple[str, str]]) -> str:
    if found:
        return f"{root} has {found} clips, but none gives a pair; {left_out[-1][0]}: {left_out[-1][1]}"
    if clips is None:
        return f"{root} and its folders have no clip; a clip ends in {', '.join(CLIP_SUFFIXES)}"
    example = next((path for path in files.values() if Path(path).suffix.lower() in CLIP_SUFFIXES), None)
    remedy = f"write a pattern for paths such as {example}" if example else "it has no video, so check the folder"
    return f"no file of {root} fits the pattern {clips}; {remedy}"
