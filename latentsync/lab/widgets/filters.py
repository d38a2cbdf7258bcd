"""Which records a list has: by check boxes of words, ranges of numbers, and a free expression."""

from collections.abc import Callable, Sequence
from html import escape

import ipywidgets as widgets
import pandas as pd

from latentsync.errors import OptionError
from latentsync.lab.figures.style import WARNING
from latentsync.lab.records.labels import SETTINGS, settings_beside, word_of
from latentsync.lab.tables.filter import filtered
from latentsync.lab.widgets.comparison import distinct, number_text

WORD_COLUMNS = ("gender", "group", "split", "preset", "model", *settings_beside())
MOST_WORDS = 12  # a column with more different words has no check boxes
PLACEHOLDER = 'guidance == 2 and gender == "female"'
STEPS = 100  # of a metric's range


def warning_html(text: str) -> str:
    """A line that must not be overlooked."""
    return f'<span style="color:{WARNING}">{escape(text)}</span>'


class Filters:
    """Check boxes, ranges and an expression over the columns of a table.

    A column without a checked box, and a range of full width, let all records pass. A record without a metric's value
    passes only then.

    Attributes:
        where: the expression. It knows the columns, and settings by the sliders' words.
        error: why the expression cannot be read.
        boxes: column -> word -> check box.
        ranges: column -> slider of two values.
        widget: all of it.
    """

    def __init__(self, metrics: Sequence[str], on_change: Callable[[], None]) -> None:
        """
        Args:
            metrics: columns that get a range, if they have different values.
            on_change: called after a choice has changed.
        """
        self._metrics, self._on_change, self._is_filling = tuple(metrics), on_change, False
        self.boxes: dict[str, dict[str, widgets.Checkbox]] = {}
        self.ranges: dict[str, widgets.SelectionRangeSlider | widgets.FloatRangeSlider] = {}
        self.where = widgets.Text(
            placeholder=PLACEHOLDER, continuous_update=False, layout=widgets.Layout(width="auto"),
            tooltip="an expression over the columns of collect_wide, as of pandas",
        )  # fmt: skip
        self.error, self._panel = widgets.HTML(), widgets.VBox()
        self.where.observe(lambda _: on_change(), "value")
        shown = widgets.Layout(width="72px", display="block")  # JupyterLab hides buttons in an accordion otherwise
        self.clear_button = widgets.Button(description="Clear", layout=shown)
        self.clear_button.on_click(lambda _: self.clear())
        between = widgets.Layout(justify_content="space-between")
        title = widgets.HBox([widgets.HTML("or by an expression"), self.clear_button], layout=between)
        self._inside = widgets.VBox([self._panel, title, self.where, self.error])
        self.widget = widgets.Accordion([self._inside], titles=("Filter",))

    def offer(self, table: pd.DataFrame) -> None:
        """Offers the words and numbers of a table; what was chosen stays chosen where it is still there."""
        checked = {name: {word for word, box in boxes.items() if box.value} for name, boxes in self.boxes.items()}
        chosen = {name: slider.value for name, slider in self.ranges.items() if not _is_full(slider)}
        self._is_filling = True
        self.boxes, self.ranges = {}, {}
        rows: list[widgets.Widget] = []
        for name in dict.fromkeys([*WORD_COLUMNS, *SETTINGS, *self._metrics]):
            if name not in table or table[name].nunique() < 2:
                continue
            if name in WORD_COLUMNS and not pd.api.types.is_float_dtype(table[name]):
                if table[name].nunique() <= MOST_WORDS:
                    rows.append(self._words(name, sorted(map(str, table[name].dropna().unique())), checked))
            elif pd.api.types.is_numeric_dtype(table[name]):
                rows.append(self._range(name, table, chosen.get(name)))
        self._panel.children = rows
        self._is_filling = False
        self._tell()

    def rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows that pass, in the table's order. An expression that cannot be read lets all pass."""
        for name, boxes in self.boxes.items():
            if words := [word for word, box in boxes.items() if box.value]:
                table = table[table[name].astype(str).isin(words)]
        for name, slider in self.ranges.items():
            if not _is_full(slider):
                table = table[table[name].between(*slider.value)]
        words = {word_of(name): table[name] for name in SETTINGS if word_of(name) not in table}
        try:
            passing = filtered(table.assign(**words), self.where.value)
        except OptionError as error:
            self.error.value = warning_html(self._short(error))
            return table
        self.error.value = ""
        return table.loc[passing.index]

    def clear(self) -> None:
        """Lets all records pass."""
        self._is_filling = True
        for boxes in self.boxes.values():
            for box in boxes.values():
                box.value = False
        for slider in self.ranges.values():
            slider.value = _span(slider)
        self.where.value = ""
        self._is_filling = False
        self._changed()

    def _words(self, name: str, words: list[str], checked: dict[str, set[str]]) -> widgets.Widget:
        self.boxes[name] = {
            word: widgets.Checkbox(
                value=word in checked.get(name, ()), description=word, indent=False,
                layout=widgets.Layout(width="auto", margin="0 12px 0 0"),
            )
            for word in words
        }  # fmt: skip
        boxes = [*self.boxes[name].values()]
        for box in boxes:
            box.observe(lambda _: self._changed(), "value")
        line = widgets.Layout(flex_flow="row wrap")
        return widgets.HBox([_label(name), widgets.HBox(boxes, layout=line)])

    def _range(self, name: str, table: pd.DataFrame, chosen: tuple | None) -> widgets.Widget:
        layout = widgets.Layout(width="auto", flex="1 1 0", min_width="0")
        if name in SETTINGS:
            values = distinct(table, name)
            ends = (values[0], values[-1]) if chosen is None else chosen
            ends = tuple(
                value if value in values else end for value, end in zip(ends, (values[0], values[-1]), strict=True)
            )
            slider = widgets.SelectionRangeSlider(
                options=[(number_text(value), value) for value in values], value=ends, continuous_update=False,
                layout=layout,
            )  # fmt: skip
        else:
            low, high = float(table[name].min()), float(table[name].max())
            step = (high - low) / STEPS
            slider = widgets.FloatRangeSlider(
                min=low, max=high, step=step, readout_format=".2g", continuous_update=False, layout=layout,
                value=(low, high) if chosen is None else tuple(min(max(one, low), high) for one in chosen),
            )  # fmt: skip
        self.ranges[name] = slider
        slider.observe(lambda _: self._changed(), "value")
        return widgets.HBox([_label(name), slider])

    def _short(self, error: OptionError) -> str:
        """What an expression lacks, in a line, and some columns instead of all."""
        names = [*map(word_of, SETTINGS), "pair", "gender", *self._metrics]
        return f"{str(error).partition('; ')[0]}. Columns: {', '.join(names)} and others of Explorer(...).table."

    def _changed(self) -> None:
        if not self._is_filling:
            self._tell()
            self._on_change()

    def _tell(self) -> None:
        """Says in the title how many columns choose."""
        count = sum(any(box.value for box in boxes.values()) for boxes in self.boxes.values())
        count += sum(not _is_full(slider) for slider in self.ranges.values())
        self.widget.titles = (
            f"Filter ({count} of {len(self.boxes) + len(self.ranges)} columns chosen)" if count else "Filter",
        )


def _span(slider: widgets.SelectionRangeSlider | widgets.FloatRangeSlider) -> tuple:
    if isinstance(slider, widgets.FloatRangeSlider):
        return slider.min, slider.max
    values = [value for _, value in slider.options]
    return values[0], values[-1]


def _is_full(slider: widgets.SelectionRangeSlider | widgets.FloatRangeSlider) -> bool:
    return tuple(slider.value) == _span(slider)


def _label(name: str) -> widgets.HTML:
    """The word of a column, in as many lines as it needs."""
    text = f'<div style="line-height:1.2;padding-top:6px">{escape(word_of(name))}</div>'
    return widgets.HTML(text, layout=widgets.Layout(width="104px", flex="0 0 auto"))
