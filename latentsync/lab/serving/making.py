"""Makes a record from the browser, by the job of a notebook's explorer: one at a time, in a process of its own."""

import asyncio
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from latentsync.errors import LatentSyncError, OptionError, sentence_of
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.records.added import add_record
from latentsync.lab.records.labels import SETTINGS, cell_label, pair_words
from latentsync.lab.records.store import Record
from latentsync.lab.records.sweeps import sweep_in
from latentsync.lab.serving.bodies import body_of
from latentsync.lab.serving.prepared import record_in

if TYPE_CHECKING:
    from latentsync.lab.jobs.maker import Job, Maker

END_S = 10.0  # that a stopped job may take to end with the server


@dataclass
class Work:
    """A record that is being made, or how that ended.

    Attributes:
        number: of the job, from 1 on.
        label: names the record for people.
        like: the record that it is like but for `settings`.
        sweep: whose list gets it; None: no sweep's.
        stage, done, total: how far it is; total is 0 for a stage without a count.
        made: the id of the record, once there is one.
        reason: why the job failed.
    """

    number: int
    label: str
    like: str
    settings: dict[str, float | int]
    sweep: str | None
    stage: str = "start"
    done: int = 0
    total: int = 0
    is_running: bool = True
    is_stopping: bool = False
    is_cancelled: bool = False
    made: str | None = None
    reason: str | None = None


@dataclass
class Making:
    """What stands behind the addresses of making.

    Args:
        runs: the runs folder.
        model: where the model is, see `job_like`; None: the shipped one that a record names.
        inputs: a folder with clips and voices that were moved since; None if none was moved.
    """

    runs: Path
    model: str | None = None
    inputs: Path | None = None
    work: Work | None = None
    _maker: "Maker | None" = None
    _thread: threading.Thread | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def show(self, request: Request) -> Response:
        """How far the current job is, or how the last one ended; empty before the first."""
        return JSONResponse({} if self.work is None else vars(self.work))

    async def start(self, request: Request) -> Response:
        """Begins to make a record like another one with other settings. Only one is made at a time."""
        body = await body_of(request)
        given, sweep = body.get("settings"), body.get("sweep")
        if not isinstance(given, dict) or set(given) != set(SETTINGS):
            raise HTTPException(400, f"settings has to give {', '.join(SETTINGS)}.")
        async with self._lock:
            if self.work is not None and self.work.is_running:
                raise HTTPException(409, f"{self.work.label} is being made; wait for it, or stop it.")
            sweep = None if sweep is None else sweep_in(self.runs, str(sweep))
            record = record_in(self.runs, str(body.get("like")))
            job, settings = await asyncio.to_thread(self._job, record, given)
            number = 1 if self.work is None else self.work.number + 1
            label = f"{pair_words(record.content['pair']['name'])}, {cell_label(settings)}"
            self.work = Work(number, label, record.id, settings, sweep)
            self._thread = threading.Thread(target=self._make, args=(job, self.work), daemon=True)
            self._thread.start()
        return JSONResponse(vars(self.work))

    def _job(self, record: Record, given: dict[str, Any]) -> "tuple[Job, dict[str, float | int]]":
        from latentsync.lab.jobs.maker import Maker, job_like, setting_of, shipped_model

        settings = {name: setting_of(name, given[name]) for name in SETTINGS}
        model = self.model
        if model is None:
            try:
                model = shipped_model(record.content)
            except OptionError as error:
                raise OptionError(f"{error}: start latentsync view with --model") from error
        if self._maker is None:
            self._maker = Maker()
        return job_like(record, **settings, model=model, inputs=self.inputs), settings

    def _make(self, job: "Job", work: Work) -> None:
        def on_progress(stage: str, done: int, total: int) -> None:
            work.stage, work.done, work.total = stage, done, total

        try:
            answer = self._maker.make(job, on_progress)
            if answer.record is not None and work.sweep is not None:
                add_record(sweep_folder(self.runs, work.sweep), answer.record)
            work.made, work.reason, work.is_cancelled = answer.record, answer.reason, answer.is_cancelled
        except (LatentSyncError, OSError) as error:
            work.reason = sentence_of(error)
        finally:
            work.is_running = False

    async def stop(self, request: Request) -> Response:
        """Stops the current job. Its files are removed first, which may take a few seconds."""
        await body_of(request)
        if self.work is not None and self.work.is_running:
            self.work.is_stopping = True
            await asyncio.to_thread(self._maker.cancel)
        return await self.show(request)

    async def close(self) -> None:
        """Ends the process that makes records; a job is stopped first, so that it leaves nothing."""
        if self._maker is not None:
            if self._thread is not None and self._thread.is_alive():
                await asyncio.to_thread(self._maker.cancel)
                await asyncio.to_thread(self._thread.join, END_S)
            self._maker.close()
