"""One record being made for a widget: its bar, its stage, its end, and a button that stops it."""

import threading
from collections.abc import Callable
from html import escape

import ipywidgets as widgets

from latentsync.lab.jobs.maker import Answer, Job, Maker
from latentsync.lab.widgets.filters import warning_html


class Making:
    """Makes one record at a time in another process, and shows how far it is. The bar names its record.

    Attributes:
        label: of the record that is being made; None if none is.
        stage, progress, cancel_button: of the record that is being made.
        note: how the last one ended, if not well.
        widget: all of it; hidden while there is nothing to say.
    """

    def __init__(self) -> None:
        self._maker, self._work = Maker(), None
        self.label: str | None = None
        self.progress = widgets.IntProgress(layout=widgets.Layout(width="140px"))
        self.stage, self.note = widgets.HTML(), widgets.HTML()
        self.cancel_button = widgets.Button(description="Cancel", icon="stop", layout=widgets.Layout(width="96px"))
        self.cancel_button.on_click(lambda _: self.cancel())
        self._running = widgets.VBox([self.stage, widgets.HBox([self.progress, self.cancel_button])])
        self.widget = widgets.VBox([self._running, self.note])
        self._show()

    def start(self, job: Job, label: str, on_end: Callable[[Answer], None]) -> None:
        """Starts a job.

        Args:
            label: names the record for people.
            on_end: called from a thread when the job has ended in any way, and `label` is None again.
        """
        self.label, self.note.value, self.cancel_button.disabled = label, "", False
        self._on_progress("start", 0, 0)
        self._show()
        self._work = threading.Thread(target=self._make, args=(job, label, on_end), daemon=True)
        self._work.start()

    def cancel(self) -> None:
        """Stops the current job. Its files are removed first, which may take a few seconds."""
        if self.label is not None:
            self.cancel_button.disabled = True
            self.stage.value = f"<b>Stopping:</b> {escape(self.label)}"
        self._maker.cancel()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits for the current job, and returns whether it has ended."""
        if self._work is not None:
            self._work.join(timeout_s)
        return self._work is None or not self._work.is_alive()

    def close(self) -> None:
        """Ends the process that makes records, and frees its memory."""
        self._maker.close()

    def _make(self, job: Job, label: str, on_end: Callable[[Answer], None]) -> None:
        try:
            answer = self._maker.make(job, self._on_progress)
        except OSError as error:
            answer = Answer(reason=f"no process could be started ({error})")
        self.label = None
        if answer.is_cancelled:
            self.note.value = f"<b>Cancelled:</b> {escape(label)}. No files were kept."
        elif answer.reason is not None:
            self.note.value = warning_html(f"{label} failed: {answer.reason}")
        self._show()
        on_end(answer)

    def _on_progress(self, stage: str, done: int, total: int) -> None:
        if self.cancel_button.disabled or self.label is None:
            return
        self.progress.max, self.progress.value = max(1, total), done
        counted = f"{stage}, {done} of {total}" if total else stage
        self.stage.value = f"<b>Making:</b> {escape(self.label)} ({escape(counted)})"

    def _show(self) -> None:
        self._running.layout.display = "none" if self.label is None else None
