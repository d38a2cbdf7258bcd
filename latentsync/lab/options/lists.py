"""Reads tables that people write or save from a spreadsheet: CSV in any common form, and words for genders.

Commas, semicolons, tabs or bars separate the columns; the header decides. The text is UTF-8 or UTF-16, with or without
a mark at its beginning. Names of columns may be in any case.
"""

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latentsync.config import GENDERS
from latentsync.errors import MediaError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
GENDER_WORDS = {
    "female": ("female", "f", "w", "woman", "weiblich", "femme", "mujer", "女", "女性", "여", "여성"),
    "male": ("male", "m", "man", "männlich", "homme", "hombre", "男", "男性", "남", "남성"),
    "neutral": ("neutral", "n", "unknown", "u", "other", "x", "中性", "未知"),
}
_BLANK_LINES = re.compile(r"(?:[ \t,;|]*\n)*")
_GENDER_OF = {word: gender for gender, words in GENDER_WORDS.items() for word in words}


@dataclass(frozen=True)
class Table:
    """The rows of a list.

    Attributes:
        header: the names of the columns, in lower case.
        rows: the number of each row's line, and its values by column; None for an empty cell. Rows without any value
            are left out.
        is_utf: whether the text is UTF-8 or UTF-16; if not, its undecodable bytes are kept as Python keeps them in
            names of files.
    """

    header: list[str]
    rows: list[tuple[int, dict[str, str | None]]]
    is_utf: bool


def gender_word(text: str) -> str | None:
    """The gender that a word stands for, such as "F", "Female" or "女"; None if it is unknown."""
    return _GENDER_OF.get(text.strip().casefold())


def known_gender_words() -> str:
    """For messages: the genders, each with its short word."""
    return ", ".join(f"{gender} ({GENDER_WORDS[gender][1]})" for gender in GENDERS)


def read_table(path: Path, needs: Sequence[str] = (), knows: Sequence[str] = ()) -> Table:
    """The rows of a list.

    Args:
        needs: columns that it must have.
        knows: the columns that a message names.

    Raises:
        MediaError: it is missing or unreadable, a column is missing, or a row has more values than the header.
    """
    if not path.is_file():
        raise MediaError(f"there is no list at {path}; give a CSV file with the columns {', '.join(knows or needs)}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MediaError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    text, is_utf = _decoded(path, data)
    start, separator = _layout(text, needs)
    try:
        return Table(*_rows(path, text[start:], text[:start].count("\n"), separator, needs, knows), is_utf)
    except csv.Error as error:
        raise MediaError(f"{path} cannot be read as CSV ({error}); save it as CSV in UTF-8") from error


def _decoded(path: Path, data: bytes) -> tuple[str, bool]:
    """The text of a list, with "\\n" at the end of each line, and whether it is UTF-8 or UTF-16."""
    encoding, errors = "utf-8-sig", "strict"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\0" in data[:200]:  # every other byte of Latin text
        encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise MediaError(f"{path} cannot be read as text in UTF-16 ({error.reason}); save it in UTF-8") from error
        text, errors = data.decode("utf-8-sig", "surrogateescape"), "surrogateescape"
    return text.replace("\r\n", "\n").replace("\r", "\n"), errors == "strict"


def _layout(text: str, needs: Sequence[str]) -> tuple[int, str]:
    """Where the header begins, and what separates its columns. Excel may write the separator as a line `sep=;`."""
    start = _BLANK_LINES.match(text).end()
    first = text[start:].partition("\n")[0]
    if first.lower().startswith("sep=") and first[4:5] in SEPARATORS and len(first.strip()) <= 5:
        return start + len(first) + 1, first[4]
    found = {separator: _names(first, separator) for separator in SEPARATORS}
    fits = [separator for separator, names in found.items() if needs and set(needs) <= set(names)]
    return start, fits[0] if fits else max(found, key=lambda separator: len(found[separator]))


def _names(line: str, separator: str) -> list[str]:
    """The names of the columns in a header."""
    return _header(next(csv.reader([line], delimiter=separator, skipinitialspace=True), []))


def _header(cells: Sequence[str]) -> list[str]:
    return [" ".join(cell.split()).casefold() for cell in cells]


def _rows(
    path: Path, text: str, skipped: int, separator: str, needs: Sequence[str], knows: Sequence[str]
) -> tuple[list[str], list[tuple[int, dict[str, str | None]]]]:
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    header = _header(next(lines, []))
    for name in needs:
        if name not in header:
            raise MediaError(
                f"{path}, line {skipped + 1}: there is no column {name} among {', '.join(header) or 'none'}; "
                f"the first line names the columns: {', '.join(knows or needs)}"
            )
    rows = []
    for cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        line = skipped + lines.line_num
        if extra := [cell for cell in cells[len(header) :] if cell.strip()]:
            raise MediaError(
                f"{path}, line {line}: {separator.join(extra)!r} is beyond the last column {header[-1]}; put quotes "
                f"around values with {SEPARATORS[separator]}"
            )
        values = [cell.strip() or None for cell in cells]
        rows.append((line, dict.fromkeys(header) | dict(zip(header, values, strict=False))))
    return header, rows
