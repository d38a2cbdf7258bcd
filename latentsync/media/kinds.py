"""What a file of a folder is: a clip, a still picture, a voice, or none of them. Its streams decide, not its ending.

A file that cannot be opened has no streams. If its ending is one of a clip or voice, it counts as such, so that the
pair that it would belong to fails with the reason; otherwise it is named as unusable.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import av

from latentsync.errors import MediaError
from latentsync.files import kept_per_file
from latentsync.media.container import check_file, holds_pictures, open_input, pictures_of

CLIP_SUFFIXES = (
    ".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".vob", ".mxf", ".ogv",
    ".dv", ".flv", ".f4v", ".wmv", ".asf", ".3gp", ".3g2",
)  # fmt: skip
PICTURE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jxl", ".apng",
)  # fmt: skip
VOICE_SUFFIXES = (
    ".wav", ".mp3", ".m4a", ".m4b", ".flac", ".ogg", ".oga", ".opus", ".aac", ".wma", ".aif", ".aiff", ".aifc", ".caf",
    ".mka", ".amr", ".mp2", ".ac3", ".au",
)  # fmt: skip
UNFINISHED_SUFFIXES = (".part", ".partial", ".crdownload", ".download", ".opdownload", ".aria2", ".tmp", ".!ut")
# Endings of texts and tables, which FFmpeg would draw as pictures of text or take for lists of other files.
OTHER_SUFFIXES = (
    ".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".xml", ".html", ".log", ".nfo", ".py",
    ".ipynb", ".sh", ".srt", ".vtt", ".ass", ".lrc", ".textgrid", ".m3u", ".m3u8", ".pls", ".zip", ".tar", ".gz", ".7z",
    ".rar", ".pdf", ".npy", ".npz", ".pt", ".pth", ".pkl", ".safetensors", ".exe", ".ini", ".db", ".url", ".lnk",
)  # fmt: skip
_TEXT_FORMATS = ("tty", "bin", "concat", "hls", "dash")
_USED_AS = "clips (videos and pictures) and voices (sound) are used"


@dataclass(frozen=True)
class Kind:
    """What a file is.

    Attributes:
        name: "clip", "picture" (a still one, which is a clip too), "voice" or None.
        reason: why it is none.
    """

    name: str | None
    reason: str | None = None

    @property
    def is_clip(self) -> bool:
        """Whether it can be the clip of a pair."""
        return self.name in ("clip", "picture")


def kind_of(path: Path) -> Kind:
    """What a file is. The answer is kept while the file's size and time of change stay the same."""
    suffix = path.suffix.lower()
    if suffix in UNFINISHED_SUFFIXES:
        return Kind(None, "it looks like an unfinished download; wait until it is complete, or rename it")
    if suffix in OTHER_SUFFIXES and not os.path.isdir(path):
        return Kind(None, f"it is neither video, picture nor sound; {_USED_AS}")
    if os.path.isdir(path):
        return Kind(None, "it is a folder; files of folders in it are not used")
    try:
        check_file(path)
    except MediaError as error:
        is_file = os.path.isfile(path)
        return by_suffix(path, _reason(path, error)) if is_file else Kind(None, _reason(path, error))
    try:
        return _kind_of(path)
    except OSError as error:  # it vanished in between, or the folder refuses
        return Kind(None, f"it cannot be read ({error.strerror}); check its permissions")


def by_suffix(path: Path, reason: str) -> Kind:
    """What a file is by its ending alone, if it cannot be opened.

    Args:
        reason: why it cannot; it is the answer's if the ending is unknown.
    """
    suffix = path.suffix.lower()
    for name, suffixes in (("clip", CLIP_SUFFIXES), ("picture", PICTURE_SUFFIXES), ("voice", VOICE_SUFFIXES)):
        if suffix in suffixes:
            return Kind(name)
    return Kind(None, reason)


@kept_per_file(65536)
def _kind_of(path: Path) -> Kind:
    try:
        with open_input(path) as container:
            kind = _by_streams(container)
            is_known = path.suffix.lower() in (*CLIP_SUFFIXES, *PICTURE_SUFFIXES, *VOICE_SUFFIXES)
            if kind.name is None or is_known or _gives_something(container, kind):
                return kind
    except MediaError as error:
        return by_suffix(path, _reason(path, error))
    return Kind(None, f"FFmpeg cannot decode it; {_USED_AS}")


def _by_streams(container: av.container.InputContainer) -> Kind:
    name = container.format.name
    if name in _TEXT_FORMATS:
        return Kind(None, f"it is neither video, picture nor sound; {_USED_AS}")
    if pictures_of(container):
        return Kind("picture" if holds_pictures(container) else "clip")
    if container.streams.audio:
        return Kind("voice")
    return Kind(None, "it holds neither pictures nor sound (a cover is no picture)")


def _gives_something(container: av.container.InputContainer, kind: Kind) -> bool:
    """Whether the first frame can be decoded: FFmpeg takes some files of numbers for sound."""
    stream = pictures_of(container)[0] if kind.is_clip else container.streams.audio[0]
    return next(container.decode(stream), None) is not None


def _reason(path: Path, error: MediaError) -> str:
    return str(error).removeprefix(str(path)).removeprefix(os.path.abspath(path)).strip()


def clips_of(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """The clips of a folder, sorted by name, and its other files, each with the reason; hidden files are passed over.

    Raises:
        MediaError: the folder cannot be read.
    """
    kinds = kinds_in(folder)
    clips = [path for path, kind in kinds.items() if kind.name == "clip"]
    others = {"picture": "it is a still picture; videos are needed here", "voice": "it is sound without pictures"}
    return clips, {
        path.name: kind.reason or others[kind.name or ""] for path, kind in kinds.items() if kind.name != "clip"
    }


def kinds_in(folder: Path) -> dict[Path, Kind]:
    """The files of a folder, sorted by name, and what each is; files whose names begin with a dot are passed over.

    Raises:
        MediaError: the folder cannot be read.
    """
    try:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise MediaError(f"{folder} cannot be read ({error.strerror}); check its permissions") from error
    return {path: kind_of(path) for path in files}


def summary_lines(left_out: Iterable[tuple[str, str]], most: int = 20) -> list[str]:
    """A line for each file that is left out; files of one ending and reason share a line if there are many.

    Args:
        left_out: (name, reason) of each.
        most: up to this many of one ending and reason have a line each.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for name, reason in left_out:
        groups.setdefault((Path(name).suffix.lower(), reason), []).append(name)
    lines = []
    for (_, reason), names in groups.items():
        if len(names) <= most:
            lines += [f"{name}: {reason}" for name in names]
        else:
            lines.append(f"{len(names)} files, {names[0]} to {names[-1]}: {reason}")
    return lines
