"""Tables and paragraphs that fit the terminal."""

import math
import numbers
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from latentsync.names import visible

WIDTH = 80  # in columns, where there is no terminal: a pipe, a file, a notebook
GAP = "  "  # between the columns of a table
LONGEST_WORD = 24  # a column may be narrower than its longest word if that is longer; then the word is broken
NUMBER = re.compile(r"[+-]?[\d.,]+(e[+-]?\d+)?[%*]?( [kMGT]?B)?|[+-]?(inf|nan)|-|")  # whose columns are aligned right


def terminal_width() -> int:
    """The width for tables, in columns: that of COLUMNS if it is set, else the terminal's, else `WIDTH`."""
    return shutil.get_terminal_size((WIDTH, 0)).columns or WIDTH


def table_text(columns: Mapping[Any, Iterable[Any]], width: int | None = None) -> str:
    """A table that fits the terminal. Every command prints its tables with this function.

    Headings and cells are wrapped between words. If the columns do not fit even then, the table goes on below with the
    remaining columns; its first column is repeated. Columns of numbers are aligned right.

    Args:
        columns: the cells of each column by its heading; `dict(frame)` gives those of a pandas table. Floats get four
            significant digits; a missing value is shown as "-".
        width: in columns; None takes that of the terminal, see `terminal_width`.
    """
    from wcwidth import width as columns_of  # a Chinese character takes two

    cells = {visible(str(heading)): [_cell_text(value) for value in values] for heading, values in columns.items()}
    texts = {heading: [heading, *values] for heading, values in cells.items()}
    most = {heading: max(map(columns_of, of)) for heading, of in texts.items()}
    longest = {heading: max(columns_of(word) for text in of for word in text.split()) for heading, of in texts.items()}
    least = {heading: min(longest[heading], LONGEST_WORD) for heading in texts}
    width = width or terminal_width()
    return "\n\n".join(
        _part_text({name: cells[name] for name in part}, _widths(part, least, most, width))
        for part in _parts(list(cells), least, width)
    )


def paragraph(text: str, width: int | None = None, indent: str = "") -> str:
    """A text wrapped between words to the terminal's width.

    Args:
        width: as for `table_text`.
        indent: the beginning of all lines but the first.
    """
    width = width or terminal_width()
    return "\n".join(_wrapped(visible(text), width - len(indent), indent))


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    from wcwidth import wrap

    first, *others = wrap(text, width, break_on_hyphens=False) or [""]
    return [first, *(indent + line for line in others)]


def _cell_text(value: Any) -> str:
    if value is None or str(value) in ("nan", "<NA>", "NaT"):
        return "-"
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral) and math.isfinite(value):
        return f"{value:.4g}"
    return visible(" ".join(str(value).split()))


def _parts(names: Sequence[str], least: Mapping[str, int], width: int) -> list[list[str]]:
    """The columns of each part of a table: the first, and as many of the others as fit with their least widths."""
    parts = [[names[0]]]
    for name in names[1:]:
        if len(parts[-1]) > 1 and sum(least[each] + len(GAP) for each in [*parts[-1], name]) - len(GAP) > width:
            parts.append([names[0]])
        parts[-1].append(name)
    return parts


def _widths(names: Sequence[str], least: Mapping[str, int], most: Mapping[str, int], width: int) -> dict[str, int]:
    """Widths whose sum fits: the widest columns are narrowed first, down to their longest words."""
    widths = {name: most[name] for name in names}
    excess = sum(widths.values()) + len(GAP) * (len(names) - 1) - width
    for floor in (least, dict.fromkeys(names, 1)):  # words are broken only where nothing else helps
        while excess > 0 and (wide := [name for name in names if widths[name] > floor[name]]):
            widths[max(wide, key=widths.__getitem__)] -= 1
            excess -= 1
    return widths


def _part_text(cells: Mapping[str, list[str]], widths: Mapping[str, int]) -> str:
    """The table of these columns. Rows are set apart by an empty line if many of them have several lines."""
    from wcwidth import ljust, rjust

    pads = [rjust if all(NUMBER.fullmatch(value) for value in values) else ljust for values in cells.values()]
    rows = []
    for row in zip(*([name, *values] for name, values in cells.items()), strict=True):
        wrapped = [_wrapped(cell, width) for cell, width in zip(row, widths.values(), strict=True)]
        lines = [
            GAP.join(pad(text, width) for pad, text, width in zip(pads, line, widths.values(), strict=True))
            for line in zip_longest(*wrapped, fillvalue="")
        ]
        rows.append("\n".join(line.rstrip() for line in lines))
    return ("\n\n" if sum(row.count("\n") for row in rows) > len(rows) else "\n").join(rows)
