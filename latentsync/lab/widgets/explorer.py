"""A widget for exploring a record store in a notebook: filter records, compare them in step, and make missing ones.

Without the widget, use `tables.filter.find_records` to filter and `comparison.render` to show a cell, also with
`ipywidgets.interact`.
"""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd
from IPython.display import HTML, DisplayHandle, display

from latentsync.config import recorded_infos
from latentsync.errors import LatentSyncError, MediaError, OptionError, sentence_of
from latentsync.lab.console import complaints
from latentsync.lab.jobs.maker import Answer, job_like, setting_of
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.pages.player import Track
from latentsync.lab.pages.tracks import SHOWN_METRICS
from latentsync.lab.records.added import add_record, added_records
from latentsync.lab.records.labels import SETTINGS, cell_label, departures, pair_words, varied, word_of
from latentsync.lab.records.store import Record, RecordStore
from latentsync.lab.records.sweeps import sweep_records
from latentsync.lab.tables.filter import SAME_INPUTS, VARIANT, filtered, find_records
from latentsync.lab.tables.tidy import collect_wide
from latentsync.lab.widgets.comparison import distinct, number_text, players_of, render
from latentsync.lab.widgets.filters import Filters, warning_html
from latentsync.lab.widgets.making import Making
from latentsync.lab.widgets.player import PlayerWidget, still_picture
from latentsync.lab.widgets.runs import runs_folder
from latentsync.metrics.definitions import DEFINITIONS, base_name, direction_of

MAX_SHOWN = 5  # results side by side
ROWS = 8
LEFT_PX = 400  # width of the list and the controls; the videos stand beside them
MOST_WIDE = "calc(100% - 4px)"  # a widget has margins of 2 px
NOT_RUNNING = "This is a still picture. Run this cell to start the explorer."


class Explorer:
    """The records of a store as a widget, which a notebook displays by itself.

    A record picked from the filtered list appears beside its source; several appear side by side. Sliders choose a
    cell, and its record appears at once. A missing record can be made by another process, and this can be cancelled. A
    notebook that is opened without its kernel shows the middle frames instead.

    Attributes:
        table: the wide table of the records, from `collect_wide`.
        record: the record at the sliders; None if it is missing.
        left_out: a line for each record that is damaged or cannot be read now. The widget shows them.
        overrides: of the configuration, for records that are made.
        filters: what the list has.
        making: the record that is being made.
        widget: the whole widget, for use in a larger layout.
    """

    def __init__(
        self,
        runs_dir: str | Path = "runs",
        sweep: str | None = None,
        model: str | None = None,
        overrides: Sequence[str] = (),
        metrics: Sequence[str] = SHOWN_METRICS,
        inputs: str | Path | None = None,
    ) -> None:
        """
        Args:
            sweep: show only the records of this sweep, and those made here; None takes all.
            model: the model that made the records, for making missing ones: a choice of `conf/model`, or a folder. None
                takes the shipped model that the record at the sliders names.
            overrides: overrides for missing records, such as `runtime.device=cuda`.
            metrics: the metrics shown below each result; the list is sorted by the first.
            inputs: a folder with clips and voices that were moved since; None if none was moved.

        Raises:
            MediaError: there is no such folder, or no record; a new one needs an existing one as a pattern.
        """
        self.runs_dir, self.sweep = runs_folder(runs_dir), sweep
        self._model, self.overrides, self._metrics = model, tuple(overrides), tuple(metrics)
        self._inputs = None if inputs is None else Path(inputs)
        self._store, self.making = RecordStore(self.runs_dir), Making()
        self._is_filling = False
        self._of_sweep: set[str] = set()
        self._labels: dict[str, Mapping[str, Any]] = {}
        self._tracks: list[Track] = []
        self._still: DisplayHandle | None = None
        self.left_out: list[str] = []
        self.record: Record | None = None
        self._read()
        self._build()
        self._fill(keep=False)
        self._fill_list()

    def _ipython_display_(self) -> None:
        self._still = display(self._still_picture(), display_id=True)
        display(self.widget)

    # The records

    def _read(self) -> None:
        """Reads the store: the table of the widget, and all records that the sliders may reach."""
        with complaints() as self.left_out:
            self._all = collect_wide(self.runs_dir)
            if self._all.empty:
                raise MediaError(f"{self.runs_dir.absolute()} has no finished record; make some with latentsync run")
            self.table = self._all
            if self.sweep is not None:
                self._all = self._with_labels_of_sweep()
                self.table = self._all[self._all["record"].isin(self._of_sweep)]
                if self.table.empty:
                    where = self.runs_dir.absolute()
                    raise MediaError(f"{where} has no finished record of a sweep called {self.sweep!r}")

    def _with_labels_of_sweep(self) -> pd.DataFrame:
        """All records, those of the sweep as the sweep calls them."""
        ours = collect_wide(self.runs_dir, self.sweep)
        self._labels = {record.id: record.labels for record in sweep_records(self.runs_dir, self.sweep)}
        self._of_sweep = {*ours.get("record", ()), *self._added()}
        others = self._all[~self._all["record"].isin(ours.get("record", ()))]
        return others if ours.empty else pd.concat([ours, others], ignore_index=True)

    def _added(self) -> list[str]:
        """The records that were made here for the sweep; a list of them that cannot be read is named."""
        try:
            return added_records(sweep_folder(self.runs_dir, self.sweep))
        except (LatentSyncError, OSError) as error:
            self.left_out.append(f"left out: records made in the explorer; {sentence_of(error)}")
            return []

    def filtered_rows(self) -> pd.DataFrame:
        """The rows that pass the filters, sorted by the sorting metric, best first."""
        rows, metric = self.filters.rows(self.table), self.sorting.value
        if metric is None:
            return rows
        is_lower_better = base_name(metric) in DEFINITIONS and direction_of(metric) == "lower"
        return rows.sort_values(metric, ascending=is_lower_better, kind="stable")

    def _variants(self) -> list[tuple[str, tuple]]:
        """The other settings in which the pair's records differ, besides those of the sliders: label and values."""
        of_pair = self.table[self.table["pair"] == self.pair.value]
        rows = of_pair[list(VARIANT)].drop_duplicates()
        differing = [column for column in VARIANT if rows[column].nunique() > 1]
        return [
            (", ".join(departures(row._asdict(), differing)) or "as usual", tuple(row))
            for row in rows.itertuples(index=False)
        ]

    def _kin(self) -> pd.DataFrame:
        """All records of the current pair and variant, also those of other sweeps."""
        first = self.table[self.table["pair"] == self.pair.value].iloc[0]
        inputs = {name: first[name] for name in SAME_INPUTS}
        return filtered(self._all, None, **inputs, **dict(zip(VARIANT, self.variant.value, strict=True)))

    # Widgets

    def _build(self) -> None:
        style = {"description_width": "64px"}
        numbers = [
            name for name in self.table.select_dtypes("number") if name not in (*SETTINGS, *VARIANT, "video_frames")
        ]
        first = next((name for name in self._metrics if name in numbers), None)
        self.filters = Filters([name for name in self._metrics if name in numbers], self._fill_list)
        self.filters.widget.layout = _wide(LEFT_PX)
        self.sorting = widgets.Dropdown(
            options=[("pair and settings", None), *((word_of(name), name) for name in numbers)], value=first,
            description="sort by", style=style, layout=_wide(LEFT_PX - 108),
        )  # fmt: skip
        self.again = widgets.Button(
            description="Refresh",
            icon="refresh",
            tooltip="read the store again",
            layout=widgets.Layout(width="100px", flex="0 0 auto"),
        )
        self.count = widgets.HTML(layout=_wide(LEFT_PX))
        self.picked = widgets.SelectMultiple(rows=ROWS, layout=_wide(LEFT_PX))
        pairs = list(dict.fromkeys(self.table["pair"]))
        options = [(pair_words(pair), pair) for pair in pairs]
        self.pair = widgets.Dropdown(
            options=options, value=pairs[0], description="pair", style=style, layout=_wide(LEFT_PX)
        )
        self.variant = widgets.Dropdown(description="variant", style=style, layout=_wide(LEFT_PX))
        self.sliders = {
            name: widgets.SelectionSlider(
                options=[0], description=word_of(name), style=style, continuous_update=False, layout=_wide(LEFT_PX - 84)
            )
            for name in SETTINGS
        }
        self.entries = {
            name: widgets.Text(placeholder="other", continuous_update=False, layout=_wide(76)) for name in SETTINGS
        }
        self.mouth = widgets.Checkbox(value=False, description="mouths", indent=False, layout=_wide(90))
        self.make_button = widgets.Button(description="Make this record", icon="play", button_style="primary")
        self.status, self.view = widgets.HTML(), PlayerWidget()
        self.making.widget.layout = _wide(LEFT_PX)
        rows = [widgets.HBox([self.sliders[name], self.entries[name]]) for name in SETTINGS]
        left = widgets.VBox(
            [
                self.filters.widget, widgets.HBox([self.sorting, self.again]), self.picked, self.count, self.pair,
                self.variant, *rows, widgets.HBox([self.make_button, self.mouth]), self.making.widget,
            ],
            layout=widgets.Layout(flex="0 1 auto", min_width="0", max_width="100%"),
        )  # fmt: skip
        right = widgets.VBox([self.status, self.view], layout=widgets.Layout(flex="1 1 340px", min_width="0"))
        self.widget = widgets.HBox([left, right], layout=widgets.Layout(flex_flow="row wrap", grid_gap="8px 20px"))
        self.sorting.observe(lambda _: self._fill_list(), "value")
        self.picked.observe(lambda _: self._pick(), "value")
        for chosen in (self.pair, self.variant):
            chosen.observe(lambda _: None if self._is_filling else self._fill(keep=False), "value")
        for slider in self.sliders.values():
            slider.observe(lambda _: self._choose_at_sliders(), "value")
        self.mouth.observe(lambda _: self._show(), "value")
        for name, entry in self.entries.items():
            entry.observe(lambda change, name=name: self._enter(name, change["new"]), "value")
        self.again.on_click(lambda _: self._try(self.refresh))
        self.make_button.on_click(lambda _: self.launch())

    def _fill(self, keep: bool) -> None:
        """Gives the sliders the values of the current pair and variant.

        Args:
            keep: whether the sliders keep their positions, even if no record is there.
        """
        self._is_filling = True
        self._fill_variants(self.variant.value)
        kin = self._kin()
        in_view = kin[kin["record"].isin(self.table["record"])].iloc[0]
        keep = keep or not filtered(kin, None, **self.settings).empty
        self._fill_sliders({name: self.sliders[name].value if keep else in_view[name].item() for name in SETTINGS}, kin)
        self._is_filling = False
        self._choose_at_sliders()

    def _fill_variants(self, wanted: tuple | None) -> None:
        variants = self._variants()
        self.variant.options = variants
        self.variant.value = wanted if wanted in [value for _, value in variants] else variants[0][1]
        self.variant.layout.display = None if len(variants) > 1 else "none"

    def _fill_sliders(self, values: Mapping[str, Any], kin: pd.DataFrame) -> None:
        for name, slider in self.sliders.items():
            known = sorted({*distinct(kin, name), values[name]})
            slider.options, slider.value = [(number_text(value), value) for value in known], values[name]

    def _fill_list(self) -> None:
        """Fills the list with the filtered records. Picked records stay picked if they are still in the list."""
        rows, metric, also = self.filtered_rows(), self.sorting.value, varied(self.table)
        settings = [name for name in SETTINGS if self.table[name].nunique() > 1]
        options = [(_row_label(row, metric, settings, also), row["record"]) for _, row in rows.iterrows()]
        there, before = set(rows["record"]), self.picked.value
        self._is_filling = True
        self.filters.offer(self.table)
        self.picked.options = options
        self.picked.value = tuple(record for record in before if record in there)
        self._is_filling = False
        left_out = "".join(
            f"<div style='line-height:1.3;margin-top:4px'>{warning_html(line)}</div>" for line in self.left_out
        )
        self.count.value = f"{len(rows)} of {len(self.table)} records. Ctrl or Shift picks several.{left_out}"
        self._show()

    def _pick(self) -> None:
        """Shows what was picked; the sliders go to a record that is picked alone."""
        if self._is_filling:
            return
        if len(self.picked.value) == 1:
            row = self.table[self.table["record"] == self.picked.value[0]].iloc[0]
            self._is_filling = True
            self.pair.value = row["pair"]
            self._fill_variants(tuple(row[list(VARIANT)]))
            self._fill_sliders({name: row[name].item() for name in SETTINGS}, self._kin())
            self._is_filling = False
        self._show()

    def _choose_at_sliders(self) -> None:
        """Shows the record at the sliders, which is then the picked one, if the list has it."""
        if self._is_filling:
            return
        rows = filtered(self._kin(), None, **self.settings)
        listed = {record for _, record in self.picked.options}
        self._is_filling = True
        self.picked.value = tuple(record for record in rows["record"][:1] if record in listed)
        self._is_filling = False
        self._show()

    def _enter(self, name: str, text: str) -> None:
        """Adds a value that no record has to a slider."""
        if text.strip():
            self._try(self.choose, **{name: text})
            self.entries[name].value = ""

    def _try(self, action: Callable[..., None], **arguments: object) -> None:
        """Runs the action of a control. An error is shown, and the widget stays usable."""
        try:
            action(**arguments)
        except (LatentSyncError, OSError) as error:
            self.status.value = warning_html(sentence_of(error))

    # Actions of users and buttons

    def choose(self, pair: str | None = None, **settings: float | str) -> None:
        """Moves the sliders to a cell: guidance_scale, num_inference_steps and seed, also with new values.

        Raises:
            OptionError: a setting is unknown or not allowed, or no record has that pair.
        """
        if unknown := set(settings) - set(SETTINGS):
            raise OptionError(f"{', '.join(unknown)} is not a slider; choose from {', '.join(SETTINGS)}")
        checked = {name: setting_of(name, value) for name, value in settings.items()}
        if pair is not None:
            if pair not in set(self.table["pair"]):
                raise OptionError(
                    f"no record has the pair {pair}; choose from {', '.join(dict.fromkeys(self.table['pair']))}"
                )
            self.pair.value = pair
        self._is_filling = True
        for name, value in checked.items():
            slider = self.sliders[name]
            values = sorted({*(known for _, known in slider.options), value})
            slider.options = [(number_text(known), known) for known in values]
            slider.value = value
        self._is_filling = False
        self._choose_at_sliders()

    @property
    def settings(self) -> dict[str, Any]:
        """The values of the sliders."""
        return {name: slider.value for name, slider in self.sliders.items()}

    def refresh(self) -> None:
        """Reads the store again, to show new records."""
        self._read()
        self._fill_list()
        self._fill(keep=True)

    def render(self, guidance_scale: float, num_inference_steps: int, seed: int, pair: str | None = None) -> HTML:
        """Shows a cell's record beside its source clip, without the picked ones; for `interact` and plain calls."""
        return render(guidance_scale, num_inference_steps, seed, pair, self.runs_dir, self.sweep, self.mouth.value)

    def launch(self) -> None:
        """Starts making the record at the sliders; `wait` waits for it."""
        if self.making.label is not None:
            return
        try:
            (like,) = find_records(self._kin().iloc[:1], None, self.runs_dir) or [None]
            if like is None:
                raise MediaError("the record that is the pattern cannot be read now, see the messages; refresh first")
            job = job_like(like, **self.settings, model=self._model, overrides=self.overrides, inputs=self._inputs)
        except LatentSyncError as error:
            self.status.value = warning_html(str(error))
            return
        self.making.start(job, self._label, self._on_made)
        self._show()

    def cancel(self) -> None:
        """Stops the current job. Its files are removed first, which may take a few seconds."""
        self.making.cancel()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits for the current job, and returns whether it has ended."""
        return self.making.wait(timeout_s)

    def close(self) -> None:
        """Ends the process that makes records, and frees its memory."""
        self.making.close()

    # Making and showing

    def _on_made(self, answer: Answer) -> None:
        """Takes a record that was made into the list; it is shown if the sliders are still there."""
        if answer.record is None:
            self._show()
            return
        if self.sweep is not None:
            try:
                add_record(sweep_folder(self.runs_dir, self.sweep), answer.record)
            except (LatentSyncError, OSError) as error:
                self.making.note.value = warning_html(f"record {answer.record} is made; {sentence_of(error)}")
        self._try(self.refresh)

    @property
    def _label(self) -> str:
        """Of the cell at the sliders."""
        return f"{pair_words(self.pair.value)}, {cell_label(self.settings)}"

    def _show(self) -> None:
        """Shows the picked records, or the record at the sliders."""
        if self._is_filling:
            return
        rows = filtered(self._kin(), None, **self.settings)
        self.record = None if rows.empty else self._found(rows.iloc[0]["record"])
        self.make_button.disabled = self.making.label is not None or self.record is not None
        own = [] if self.record is None else [self.record.id]
        ids = self.picked.value if len(self.picked.value) > 1 else own
        self.status.value = self._status(len(ids))
        records = [record for i in ids[:MAX_SHOWN] if (record := self._found(i)) is not None]
        try:
            views = players_of(records, self.mouth.value, self._metrics, self._inputs) if records else []
        except (LatentSyncError, OSError) as error:
            views, self.status.value = [], warning_html(sentence_of(error))
        self.view.show(views)
        self._tracks = [track for one in views for track in one.tracks]
        if self._still is not None:
            self._still.update(self._still_picture())

    def _status(self, count: int) -> str:
        """What is shown, or why nothing is."""
        label = escape(self._label)
        if count > 1:
            also = f"; the first {MAX_SHOWN} are shown" if count > MAX_SHOWN else ""
            return f"<b>{count} records</b> are picked{also}."
        if self.record is not None:
            return f"<b>{label}</b> is record <code>{escape(self.record.id)}</code>."
        if self.making.label == self._label:
            return f"<b>Being made:</b> {label}. It appears here when it is done."
        return f"<b>Missing:</b> {label}. No record of the store has these settings."

    def _still_picture(self) -> HTML:
        return HTML(still_picture(self._tracks, self.view.still, NOT_RUNNING))

    def _found(self, record_id: str) -> Record | None:
        """A record as the sweep calls it; None, and named, if it is damaged or cannot be read now."""
        return self._store.look_or_complain(record_id, self._labels.get(record_id))


def _wide(width_px: int) -> widgets.Layout:
    """A layout for one widget, narrower where there is less room. Widgets that shared one would be hidden together."""
    return widgets.Layout(width=f"{width_px}px", max_width=MOST_WIDE, min_width="0", flex="0 1 auto")


def _row_label(row: pd.Series, metric: str | None, settings: Sequence[str], also: Sequence[str]) -> str:
    """A line of the list: the metric, the pair, and the settings in which the records differ."""
    infos = recorded_infos()
    value = "" if metric is None else ("  none  " if pd.isna(row[metric]) else f"{row[metric]:8.3f}")
    words = [*(infos[name].text(row[name]) for name in settings), *departures({name: row[name] for name in also}, also)]
    return f"{value}  {pair_words(row['pair'])}: {', '.join(words)}".strip().removesuffix(":")
