"""A folder of clips and voices -> pairs, by the gender that file names begin with. Opens no file.

`g-*` is a woman, `m-*` a man. Every voice goes with every clip of its gender. What cannot be told apart or belongs to
no gender is left out and reported, never guessed.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from latentsync.errors import MediaError, OptionError

CLIP_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")
VOICE_SUFFIXES = (".wav", ".mp3", ".m4a", ".flac")
GENDER_OF_PREFIX = {"g-": "female", "m-": "male"}
OTHER_MEDIA_SUFFIXES = (".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp", ".ogg", ".oga", ".opus", ".aac", ".wma")
PAIRINGS = ("all", "own")
SHIPPED_DIR = Path(__file__).resolve().parents[1] / "latentsync" / "speakers" / "samples"


@dataclass(frozen=True)
class Pair:
    """One clip with one voice of the same gender."""

    clip: Path
    voice: Path
    gender: str

    @property
    def name(self) -> str:
        """What the pair's outputs are called: `{clip}__{voice}`."""
        return f"{self.clip.stem}__{self.voice.stem}"


@dataclass(frozen=True)
class Pairing:
    """The pairs of a folder, gender by gender, and what was left out, with the reason."""

    pairs: tuple[Pair, ...]
    left_out: tuple[tuple[str, str], ...]


def gender_of(path: Path) -> str | None:
    """The gender that a file name begins with, or None."""
    return GENDER_OF_PREFIX.get(path.name[:2].lower())


def find_pairs(input_dir: str | Path, pairing: str = "all") -> Pairing:
    """The pairs of a folder (not of its subfolders).

    Args:
        pairing: "all" matches every voice with every clip of its gender, "own" only clips and voices of one name.

    Raises:
        MediaError: the folder is missing, or holds no pair.
        OptionError: no such pairing.
    """
    folder = Path(input_dir)
    if pairing not in PAIRINGS:
        raise OptionError(f"pairing {pairing!r} is unknown; choose one of {', '.join(PAIRINGS)}")
    if not folder.is_dir():
        raise MediaError(f"there is no folder at {folder}; give a folder of g-* and m-* clips and voices")
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise MediaError(f"{folder} cannot be read ({error.strerror}); check its permissions") from error
    clips, left_clips = _by_gender(path for path in files if path.suffix.lower() in CLIP_SUFFIXES)
    voices, left_voices = _by_gender(path for path in files if path.suffix.lower() in VOICE_SUFFIXES)
    pairs = [
        Pair(clip, voice, gender)
        for gender in GENDER_OF_PREFIX.values()
        for clip in clips[gender]
        for voice in voices[gender]
        if pairing == "all" or clip.stem == voice.stem
    ]
    pairs, collisions = _without_collisions(pairs)
    unmatched = _unmatched(clips, voices, pairs, collisions) if pairing == "all" or not pairs else []
    foreign = [
        (path.name, f"{path.suffix} is not among {', '.join(CLIP_SUFFIXES + VOICE_SUFFIXES)}; convert it")
        for path in files
        if path.suffix.lower() in OTHER_MEDIA_SUFFIXES
    ]
    left_out = (*left_clips, *left_voices, *foreign, *collisions, *unmatched)
    if not pairs:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out[:5]) or "it holds no clips and voices"
        raise MediaError(
            f"{folder} gives no pair ({reasons}); put clips ({', '.join(CLIP_SUFFIXES)}) and voices "
            f"({', '.join(VOICE_SUFFIXES)}) there whose names begin with g- or m-"
        )
    return Pairing(tuple(pairs), left_out)


def _by_gender(paths: Iterable[Path]) -> tuple[dict[str, list[Path]], list[tuple[str, str]]]:
    """Files of one kind grouped by gender; files of no gender, or of one name but for the ending, are left out."""
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
            left_out += [(path.name, f"{names} would give one output name; rename all but one") for path in same]
    return grouped, left_out


def _without_collisions(pairs: list[Pair]) -> tuple[list[Pair], list[tuple[str, str]]]:
    """Takes out pairs that would write to one name, as `g-a__b` with `g-c` and `g-a` with `b__g-c` do."""
    by_name: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_name[pair.name.casefold()].append(pair)
    kept = [pair for pair in pairs if len(by_name[pair.name.casefold()]) == 1]
    lost = [
        (f"{pair.clip.name} with {pair.voice.name}", f"another pair would be called {pair.name} too; rename a file")
        for pair in pairs
        if len(by_name[pair.name.casefold()]) > 1
    ]
    return kept, lost


def _unmatched(clips, voices, pairs: list[Pair], collisions: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if collisions:
        return []
    used = {path for pair in pairs for path in (pair.clip, pair.voice)}
    return [
        (path.name, f"there is no {wanted} to go with it")
        for files, wanted in ((clips, "voice"), (voices, "clip"))
        for paths in files.values()
        for path in paths
        if path not in used
    ]
