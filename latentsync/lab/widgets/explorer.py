"""A widget for exploring a record store in a notebook: filter records, compare them in step, and make missing ones.

Without the widget, use `tables.filter.find_records` to filter and `render` to show a cell, also with
`ipywidgets.interact`.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd
from IPython.display import HTML

from latentsync.config import SamplerOptions
from latentsync.errors import LatentSyncError, MediaError, OptionError, sentence_of
from latentsync.lab.console import complaints
from latentsync.lab.figures.style import WARNING
from latentsync.lab.jobs.maker import Answer, Job, Maker, job_like
from latentsync.lab.records.labels import SETTINGS, cell_label, departures, pair_label, varied, word_of
from latentsync.lab.records.store import Record, RecordStore
from latentsync.lab.records.sweeps import sweep_records
from latentsync.lab.tables.filter import SAME_INPUTS, VARIANT, filtered, find_records
from latentsync.lab.tables.tidy import collect_wide
from latentsync.lab.widgets.comparison import SHOWN_METRICS, compare_view
from latentsync.metrics.definitions import DEFINITIONS, base_name, direction_of

MAX_SHOWN = 5  # results side by side
ROWS = 9


def render(
    guidance_scale: float,
    num_inference_steps: int,
    seed: int,
    pair: str | None = None,
    runs_dir: str | Path = "runs",
    sweep: str | None = None,
    mouth: bool = False,
) -> HTML:
    """Shows one cell of a store beside its source clip. If it has no record, a text lists the existing settings.

    `interact(render, guidance_scale=[1.0, 1.5, 2.0], num_inference_steps=[20], seed=[1247], pair=fixed("g-a__g-b"))`

    Args:
        pair: CLIP__VOICE; None takes the first pair with such a record.
    """
    table = collect_wide(runs_dir, sweep)
    of_pair = filtered(table, None, **({} if pair is None else {"pair": pair}))
    values = {"guidance_scale": guidance_scale, "num_inference_steps": num_inference_steps, "seed": seed}
    records = find_records(of_pair, None, runs_dir, **values)
    if records:
        return compare_view(records[:1], mouth)
    label = cell_label(values)
    there = "; ".join(f"{word_of(name)} {_listed(of_pair, name)}" for name in SETTINGS)
    return HTML(f"<p>No record of {escape(pair or 'any pair')} has {escape(label)}. There are {escape(there)}.</p>")


def _listed(table: pd.DataFrame, column: str) -> str:
    return ", ".join(map(_text, _values(table, column))) or "none"


def _text(value: float | str) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _values(table: pd.DataFrame, column: str) -> list:
    """The distinct values of a column as plain numbers or text, ascending."""
    return sorted(table[column].dropna().unique().tolist()) if column in table else []


class Explorer:
    """The records of a store as a widget, which a notebook displays by itself.

    Sliders choose a cell, and its record appears at once. Records picked from the filtered list appear beside it. A
    missing record can be made by another process, and this can be cancelled.

    Attributes:
        table: the wide table of the records, from `collect_wide`.
        record: the record at the sliders; None if it is missing.
        left_out: a line for each record that is damaged or cannot be read now. The widget shows them.
        overrides: of the configuration, for records that are made.
        widget: the whole widget, for use in a larger layout.
    """

    def __init__(
        self,
        runs_dir: str | Path = "runs",
        sweep: str | None = None,
        model: str = "mini",
        overrides: Sequence[str] = (),
        metrics: Sequence[str] = SHOWN_METRICS,
        inputs: str | Path | None = None,
    ) -> None:
        """
        Args:
            sweep: show only the records of this sweep, and those made here; None takes all.
            model: the model that made the records, for making missing ones: a choice of `conf/model`, or a folder.
            overrides: overrides for missing records, such as `runtime.device=cuda`.
            metrics: the metrics shown below each result; the list is sorted by the first.
            inputs: a folder with clips and voices that were moved since; None if none was moved.

        Raises:
            MediaError: there is no record; a new one needs an existing one as a pattern.
        """
        self.runs_dir, self.sweep = Path(runs_dir), sweep
        self._model, self.overrides, self._metrics = model, tuple(overrides), tuple(metrics)
        self._inputs = None if inputs is None else Path(inputs)
        self._store, self._maker = RecordStore(self.runs_dir), Maker()
        self._made: list[str] = []
        self._work: threading.Thread | None = None
        self._is_filling = self._is_making = False
        self._of_sweep: set[str] = set()
        self._labels: dict[str, Mapping[str, Any]] = {}
        self.left_out: list[str] = []
        self.record: Record | None = None
        self._read()
        self._build()
        self._fill(keep=False)
        self._fill_list()

    def _repr_mimebundle_(self, **kwargs: object) -> dict:
        return self.widget._repr_mimebundle_(**kwargs)

    # The records

    def _read(self) -> None:
        """Reads the store: the table of the widget, and all records that the sliders may reach."""
        with complaints() as self.left_out:
            self._all = collect_wide(self.runs_dir)
            if self._all.empty:
                raise MediaError(f"{self.runs_dir} has no finished record; make some with latentsync run")
            self.table = self._all
            if self.sweep is not None:
                self._all = self._with_labels_of_sweep()
                self.table = self._all[self._all["record"].isin(self._of_sweep)]
                if self.table.empty:
                    raise MediaError(f"{self.runs_dir} has no finished record of a sweep called {self.sweep!r}")

    def _with_labels_of_sweep(self) -> pd.DataFrame:
        """All records, those of the sweep as the sweep calls them."""
        ours = collect_wide(self.runs_dir, self.sweep)
        self._labels = {record.id: record.labels for record in sweep_records(self.runs_dir, self.sweep)}
        self._of_sweep = {*ours.get("record", ()), *self._made}
        others = self._all[~self._all["record"].isin(ours.get("record", ()))]
        return others if ours.empty else pd.concat([ours, others], ignore_index=True)

    def filtered_rows(self) -> pd.DataFrame:
        """The rows that pass the filter, sorted by the sorting metric, best first.

        Raises:
            OptionError: the filter cannot be read.
        """
        rows, metric = filtered(self.table, self.where.value), self.sorting.value
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
        style = {"description_width": "72px"}
        self.where = widgets.Text(
            description="filter", placeholder='sync_mini_confidence > 0.4 and gender == "female"', style=style,
            continuous_update=False, layout=_wide(460),
        )  # fmt: skip
        numbers = [
            name for name in self.table.select_dtypes("number") if name not in (*SETTINGS, *VARIANT, "video_frames")
        ]
        first = next((name for name in self._metrics if name in numbers), None)
        self.sorting = widgets.Dropdown(
            options=[("pair and settings", None), *((word_of(name), name) for name in numbers)], value=first,
            description="sort by", style=style, layout=_wide(320),
        )  # fmt: skip
        self.again = widgets.Button(
            description="Refresh", icon="refresh", layout=_wide(96), tooltip="read the store again"
        )
        self.count = widgets.HTML()
        self.picked = widgets.SelectMultiple(rows=ROWS, layout=_wide(540))
        pairs = list(dict.fromkeys(self.table["pair"]))
        self.pair = widgets.Dropdown(
            options=[(_plain(pair), pair) for pair in pairs],
            value=pairs[0],
            description="pair",
            style=style,
            layout=_wide(360),
        )
        self.variant = widgets.Dropdown(description="variant", style=style, layout=_wide(360))
        self.sliders = {
            name: widgets.SelectionSlider(
                options=[0], description=word_of(name), style=style, continuous_update=False, layout=_wide(360)
            )
            for name in SETTINGS
        }
        self.entries = {
            name: widgets.Text(placeholder="other", continuous_update=False, layout=_wide(96)) for name in SETTINGS
        }
        self.mouth = widgets.Checkbox(value=False, description="mouths", indent=False, layout=_wide(90))
        self.make_button = widgets.Button(description="Make this record", icon="play", button_style="primary")
        self.cancel_button = widgets.Button(description="Cancel", icon="stop", layout=_wide(96))
        self.progress = widgets.IntProgress(layout=_wide(220))
        self.stage = widgets.HTML()
        self.status, self.view = widgets.HTML(), widgets.HTML()
        self._making = widgets.HBox([self.progress, self.stage, self.cancel_button])
        left = widgets.VBox([self.where, widgets.HBox([self.sorting, self.again]), self.count, self.picked])
        rows = [widgets.HBox([self.sliders[name], self.entries[name]]) for name in SETTINGS]
        buttons = widgets.HBox([self.mouth, self.make_button])
        right = widgets.VBox([self.pair, self.variant, *rows, buttons, self._making])
        top = widgets.HBox([left, right], layout=widgets.Layout(flex_flow="row wrap", grid_gap="8px 28px"))
        self.widget = widgets.VBox([top, self.status, self.view])
        self.where.observe(lambda _: self._list(), "value")
        self.sorting.observe(lambda _: self._list(), "value")
        for chosen in (self.pair, self.variant):
            chosen.observe(lambda _: None if self._is_filling else self._fill(keep=False), "value")
        for control in (self.picked, self.mouth, *self.sliders.values()):
            control.observe(lambda _: self._show(), "value")
        for name, entry in self.entries.items():
            entry.observe(lambda change, name=name: self._enter(name, change["new"]), "value")
        self.again.on_click(lambda _: self._try(self.refresh))
        self.make_button.on_click(lambda _: self.launch())
        self.cancel_button.on_click(lambda _: self.cancel())

    def _fill(self, keep: bool) -> None:
        """Gives the sliders the values of the current pair and variant.

        Args:
            keep: whether the sliders keep their positions, even if no record is there.
        """
        self._is_filling = True
        variants, before = self._variants(), self.variant.value
        self.variant.options = variants
        self.variant.value = before if before in [value for _, value in variants] else variants[0][1]
        self.variant.layout.display = None if len(variants) > 1 else "none"
        kin = self._kin()
        in_view = kin[kin["record"].isin(self.table["record"])].iloc[0]
        keep = keep or not filtered(kin, None, **self.settings).empty
        for name, slider in self.sliders.items():
            chosen = slider.value if keep else in_view[name].item()
            values = sorted({*_values(kin, name), chosen})
            slider.options, slider.value = [(_text(value), value) for value in values], chosen
        self._is_filling = False
        self._show()

    def _list(self) -> None:
        """Fills the list with the filtered records. Picked records stay picked if they are still in the list."""
        self._try(self._fill_list)

    def _fill_list(self) -> None:
        rows = self.filtered_rows()
        metric = self.sorting.value
        also = varied(self.table)
        options = [(_row_label(row, metric, also), row["record"]) for _, row in rows.iterrows()]
        picked = tuple(record for record in self.picked.value if record in set(rows["record"]))
        self._is_filling = True
        self.picked.options, self.picked.value = options, picked
        self._is_filling = False
        hint = "Pick records (several with Ctrl or Shift) to see them beside the sliders' record."
        left_out = "".join(f"<br>{_warning(line)}" for line in self.left_out)
        self.count.value = f"{len(rows)} of {len(self.table)} records. {hint}{left_out}"
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
            self.status.value = _warning(sentence_of(error))

    # Actions of users and buttons

    def choose(self, pair: str | None = None, **settings: float | str) -> None:
        """Moves the sliders to a cell: guidance_scale, num_inference_steps and seed, also with new values.

        Raises:
            OptionError: a setting is unknown or not allowed, or no record has that pair.
        """
        if unknown := set(settings) - set(SETTINGS):
            raise OptionError(f"{', '.join(unknown)} is not a slider; choose from {', '.join(SETTINGS)}")
        checked = {name: _number(name, value) for name, value in settings.items()}
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
            slider.options = [(_text(known), known) for known in values]
            slider.value = value
        self._is_filling = False
        self._show()

    @property
    def settings(self) -> dict[str, Any]:
        """The values of the sliders."""
        return {name: slider.value for name, slider in self.sliders.items()}

    def refresh(self) -> None:
        """Reads the store again, to show new records."""
        self._read()
        self._fill(keep=True)
        self._fill_list()

    def render(self, guidance_scale: float, num_inference_steps: int, seed: int, pair: str | None = None) -> HTML:
        """Shows a cell's record beside its source clip, without the picked ones; for `interact` and plain calls."""
        return render(guidance_scale, num_inference_steps, seed, pair, self.runs_dir, self.sweep, self.mouth.value)

    def launch(self) -> None:
        """Starts making the record at the sliders; `wait` waits for it."""
        if self._is_making:
            return
        try:
            (like,) = find_records(self._kin().iloc[:1], None, self.runs_dir) or [None]
            if like is None:
                raise MediaError("the record that is the pattern cannot be read now, see the messages; refresh first")
            job = job_like(like, **self.settings, model=self._model, overrides=self.overrides, inputs=self._inputs)
        except LatentSyncError as error:
            self.status.value = _warning(str(error))
            return
        self._set_making(True)
        self._work = threading.Thread(target=self._make, args=(job, self.pair.value, self.settings), daemon=True)
        self._work.start()

    def cancel(self) -> None:
        """Stops the current job. Its files are removed first, which may take a few seconds."""
        self.cancel_button.disabled, self.status.value = self._is_making, "Stopping."
        self._maker.cancel()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits for the current job, and returns whether it has ended."""
        if self._work is not None:
            self._work.join(timeout_s)
        return self._work is None or not self._work.is_alive()

    def close(self) -> None:
        """Ends the process that makes records, and frees its memory."""
        self._maker.close()

    # Making and showing

    def _make(self, job: Job, pair: str, settings: dict[str, Any]) -> None:
        label = f"{_plain(pair)}, {cell_label(settings)}"
        try:
            answer = self._maker.make(job, self._on_progress)
        except OSError as error:
            answer = Answer(reason=f"no process could be started ({error})")
        if answer.record is not None:
            self._made.append(answer.record)
            self._try(self.refresh)
        self._show()
        self._set_making(False)
        self._show_answer(answer, label)

    def _show_answer(self, answer: Answer, label: str) -> None:
        if answer.is_cancelled:
            self.status.value = f"<b>Cancelled:</b> {escape(label)}. No files were kept."
        elif answer.reason is not None:
            self.status.value = _warning(f"{label} failed: {answer.reason}")

    def _on_progress(self, stage: str, done: int, total: int) -> None:
        self.progress.max, self.progress.value = max(1, total), done
        self.stage.value = f"{escape(stage)}, {done} of {total}" if total else escape(stage)

    def _set_making(self, value: bool) -> None:
        self._is_making = value
        self.cancel_button.disabled = False
        self.progress.value, self.stage.value = 0, ""
        self._offer()

    def _offer(self) -> None:
        """Shows the possible action: make the missing record, or cancel the current job."""
        self._making.layout.display = None if self._is_making else "none"
        self.make_button.disabled = self._is_making or self.record is not None

    def _show(self) -> None:
        """Shows the record at the sliders and the picked ones."""
        if self._is_filling:
            return
        rows = filtered(self._kin(), None, **self.settings)
        self.record = None if rows.empty else self._found(rows.iloc[0]["record"])
        self._offer()
        label = f"{_plain(self.pair.value)}, {cell_label(self.settings)}"
        if self.record is None:
            self.status.value = f"<b>Missing:</b> {escape(label)}. No record of the store has these settings."
        else:
            self.status.value = f"<b>{escape(label)}</b> is record <code>{escape(self.record.id)}</code>."
        ids = dict.fromkeys([*([] if self.record is None else [self.record.id]), *self.picked.value])
        if len(ids) > MAX_SHOWN:
            self.status.value += f" {len(ids)} records are picked; the first {MAX_SHOWN} are shown."
        records = [record for i in list(ids)[:MAX_SHOWN] if (record := self._found(i)) is not None]
        try:
            self.view.value = (
                compare_view(records, self.mouth.value, self._metrics, self._inputs).data if records else ""
            )
        except (LatentSyncError, OSError) as error:
            self.view.value, self.status.value = "", _warning(sentence_of(error))

    def _found(self, record_id: str) -> Record | None:
        """A record as the sweep calls it; None, and named, if it is damaged or cannot be read now."""
        return self._store.look_or_complain(record_id, self._labels.get(record_id))


def _wide(width_px: int) -> widgets.Layout:
    """A layout for one widget. Widgets that shared a layout would be hidden together."""
    return widgets.Layout(width=f"{width_px}px")


def _plain(pair: str) -> str:
    return pair_label(pair).replace("\n", ", voice ")


def _row_label(row: pd.Series, metric: str | None, also: Sequence[str]) -> str:
    value = "" if metric is None else ("  none  " if pd.isna(row[metric]) else f"{row[metric]:8.3f}")
    return f"{value}  {_plain(row['pair'])}: {cell_label(row, also)}".strip()


def _number(name: str, text: float | str) -> float | int:
    """A setting as a number of its option's type.

    Raises:
        OptionError: it is not a number, or it is not allowed.
    """
    kind = float if name == "guidance_scale" else int
    try:
        value = kind(text)
    except (ValueError, OverflowError):
        raise OptionError(f"{name} is {text!r}; give a {'number' if kind is float else 'whole number'}") from None
    return getattr(SamplerOptions(**{name: value}), name)


def _warning(text: str) -> str:
    return f'<span style="color:{WARNING}">{escape(text)}</span>'
