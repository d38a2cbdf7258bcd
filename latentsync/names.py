"""Names of files as people give them: both forms of Unicode, names in another encoding, and long names.

macOS stores accents decomposed ("e" and an accent), other systems composed ("é"). A name from a ZIP file of another
system may hold bytes that are no UTF-8; Python reads these as lone surrogates, which most programs refuse to write.
"""

import hashlib
import os
import re
import unicodedata
from pathlib import Path

NAME_MAX_BYTES = 255  # of one name, on most file systems
DIGEST_DIGITS = 8  # at the end of a shortened name
_UNDECODABLE = re.compile("[\ud800-\udfff]")
# those of C0 and C1 but tab and line feed, and those that change the direction or the line: a terminal obeys them
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def composed(text: str) -> str:
    """The text with composed accents. Names that differ only in the form of their accents become equal."""
    return unicodedata.normalize("NFC", text)


def printable(text: str) -> str:
    """The text with undecodable bytes as `%C0`, so that every terminal and every file of text takes it."""
    return _UNDECODABLE.sub(lambda match: _escaped(ord(match.group())), text)


def visible(text: str) -> str:
    """The text for a terminal: `printable`, and control characters as `\\u001b`, so that no name can command it.

    Tabs and line feeds stay.
    """
    return _CONTROLS.sub(lambda match: f"\\u{ord(match.group()):04x}", printable(text))


def _escaped(surrogate: int) -> str:
    is_byte = 0xDC80 <= surrogate <= 0xDCFF  # PEP 383
    return f"%{surrogate - 0xDC00:02X}" if is_byte else f"%u{surrogate:04X}"


def is_plain(name: str) -> bool:
    """Whether a text may name a file in a folder. It has no separator and no dot at its beginning: it leads nowhere
    else.

    Names of others, such as those of a list or in a runs folder, are checked with it before they become paths.
    """
    return bool(name) and not name.startswith(".") and not {os.sep, os.altsep, "\0"} & set(name)


def shortened(text: str, most: int, in_bytes: bool = True) -> str:
    """The text, or its beginning and a hash of all of it if it is too long. Different texts stay different.

    Args:
        most: the greatest length of the result.
        in_bytes: whether it counts bytes of UTF-8, as file systems do; else characters, as trackers do.
    """
    data = text.encode("utf-8", "surrogateescape")
    if (len(data) if in_bytes else len(text)) <= most:
        return text
    end = "~" + hashlib.sha256(data).hexdigest()[:DIGEST_DIGITS]
    room = most - len(end)
    beginning = data[:room].decode("utf-8", "ignore") if in_bytes else text[:room]
    return beginning + end


def name_max_bytes(folder: Path) -> int:
    """The greatest length in bytes of a name in a folder, which need not exist yet."""
    for place in (folder, *folder.absolute().parents):
        try:
            return os.pathconf(place, "PC_NAME_MAX")
        except (OSError, ValueError):  # it does not exist, or the system does not say
            continue
    return NAME_MAX_BYTES


def named_path(path: str | Path) -> Path:
    """The path that a person means: `~` is the home folder, and accents match in both forms.

    A path that exists is taken as it is. If nothing matches, it is returned with `~` replaced only.
    """
    path = Path(os.path.expanduser(path))
    if os.path.lexists(path) or str(path).isascii():
        return path
    there = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0 :]:
        step = there / part
        if not os.path.lexists(step):
            try:
                alike = sorted(name for name in os.listdir(there) if composed(name) == composed(part))
            except OSError:
                return path
            if not alike:
                return path
            step = there / alike[0]
        there = step
    return there


def named_text(path: str) -> str:
    """`named_path` as text. A path that exists, or that matches nothing, stays as it is spelled."""
    if os.path.lexists(path):
        return path
    meant = named_path(path)
    return path if meant == Path(path) else str(meant)
