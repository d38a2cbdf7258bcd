"""Tables in a notebook: whole, never higher than a screen, with long texts in several lines."""

from html import escape
from numbers import Integral, Real

import pandas as pd
from IPython.display import HTML

HEIGHT_PX = 420  # of a table; a longer one scrolls under its head
TEXT_CH = 56  # widest column of text, in letters

STYLE = f"""<style>
.lab-table {{ max-height: {HEIGHT_PX}px; overflow: auto; width: fit-content; max-width: 100%; }}
.lab-table table {{ border-collapse: collapse; font-size: 13px; margin: 0; }}
.lab-table th, .lab-table td {{
  text-align: left; vertical-align: top; padding: 3px 10px; max-width: {TEXT_CH}ch; white-space: normal;
  overflow-wrap: anywhere; border-bottom: 1px solid rgba(128, 128, 128, .25);
}}
.lab-table thead th {{
  position: sticky; top: 0; background: var(--jp-layout-color1, Canvas);
  border-bottom: 1px solid rgba(128, 128, 128, .6);
}}
.lab-table .number {{ text-align: right; white-space: nowrap; }}
</style>"""


def table_view(table: pd.DataFrame, digits: int = 4) -> HTML:
    """A table as the output of a notebook's cell. Levels of its index that have names become columns.

    Args:
        digits: significant ones of decimal numbers.
    """
    named = [name for name in table.index.names if name is not None]
    frame = table.reset_index(named)
    kinds = [' class="number"' if pd.api.types.is_numeric_dtype(frame[name]) else "" for name in frame]
    head = "".join(f"<th{kind}>{escape(str(name))}</th>" for name, kind in zip(frame, kinds, strict=True))
    rows = "".join(
        f"<tr>{''.join(f'<td{kind}>{_text(value, digits)}</td>' for value, kind in zip(row, kinds, strict=True))}</tr>"
        for row in frame.itertuples(index=False, name=None)
    )
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return HTML(f'{STYLE}<div class="lab-table">{body}</div>')


def _text(value: object, digits: int) -> str:
    if pd.isna(value):
        return "-"
    is_decimal = isinstance(value, Real) and not isinstance(value, Integral)
    return f"{value:.{digits}g}" if is_decimal else escape(str(value))
