"""The addresses of the server, and what stands behind each of them.

A file is found by the id of a record, which is checked, and a name of a fixed list; no part of an address becomes a
path.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from latentsync.errors import LatentSyncError, MediaError, OptionError, sentence_of
from latentsync.lab.console import complaints
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.pages.bundle import FRONT_DIR
from latentsync.lab.records.added import added_records
from latentsync.lab.records.store import RESULT_FILE, Record
from latentsync.lab.records.sweeps import sweep_in, sweep_names
from latentsync.lab.serving import live
from latentsync.lab.serving.columns import message
from latentsync.lab.serving.details import details_of
from latentsync.lab.serving.guard import Guard, refusal_page
from latentsync.lab.serving.helper import LATER, NOW, SOON, Helper
from latentsync.lab.serving.making import Making
from latentsync.lab.serving.prepared import mouths_video, player_of, ready, record_in, source_copy
from latentsync.lab.serving.rating import ServedRating
from latentsync.lab.tables.filter import filtered
from latentsync.lab.tables.tidy import collect_wide, with_distinct_names

PAGE, RATING_PAGE = "view.html", "rating_served.html"
RATES, MAKES = "--allow-rating", "--allow-make"  # the flags of what writes
WRITES = {"/data/rating/vote": RATES, "/data/make": MAKES, "/data/make/stop": MAKES}
ALL_SWEEPS = "*"  # in place of a sweep's name, as in state.js
FRONT_FILES = (
    "theme.css", "player.css", "view.css", "player.js", "app.js", "table_data.js", "state.js", "parts.js", "means.js",
    "reasons.js", "filters.js", "gallery.js", "table.js", "figures.js", "record.js", "live.js", "making.js",
    "rating.css", "rating.js", "rating_served.js", "vendor/echarts.js", "vendor/tabulator.js", "vendor/tabulator.css",
)  # fmt: skip
KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
MOST_SIDE_BY_SIDE = 6
LEAST_PACKED = 2000  # bytes: shorter answers are sent as they are


@dataclass
class _Loaded:
    """The table of a sweep, or of all records, as it was last read."""

    stamp: str
    table: pd.DataFrame
    message: bytes


class View:
    """One runs folder as a server shows it.

    Args:
        runs: the folder.
        sweep: the sweep that is shown at first; None shows all records.
        scratch: a folder for copies of clips, which are made once.
        flags: what may be written: `RATES`, `MAKES`.
        model, inputs: for records that are made, see `Making`.
    """

    def __init__(
        self,
        runs: Path,
        sweep: str | None,
        scratch: Path,
        flags: Collection[str] = (),
        model: str | None = None,
        inputs: Path | None = None,
    ) -> None:
        self.runs, self.sweep, self.scratch, self.flags = runs, sweep, scratch, frozenset(flags)
        self.helper = Helper()
        self.rating, self.making = ServedRating(runs, sweep, self.helper), Making(runs, model, inputs)
        self._loaded: dict[str | None, _Loaded] = {}
        self._loading: dict[str | None, asyncio.Task] = {}
        self._states: tuple[str, str] | None = None

    def app(self, token: str, port: int) -> ASGIApp:
        """The ASGI app, guarded by a token."""
        routes = [
            Route("/", _page(PAGE)),
            Route("/rating", self._with(RATES, _page(RATING_PAGE))),
            Route("/front/{name:path}", _front),
            Route("/data/table", self._table),
            Route("/data/rows", self._rows),
            Route("/data/live", self._live),
            Route("/data/record/{record}", self._record),
            Route("/data/player", self._player),
            Route("/data/rating", self._with(RATES, self.rating.study)),
            Route("/data/rating/trials", self._with(RATES, self.rating.trials)),
            Route("/data/rating/video", self._with(RATES, self.rating.video)),
            Route("/data/rating/vote", self.rating.vote, methods=["POST"]),
            Route("/data/making", self.making.show),
            Route("/data/make", self.making.start, methods=["POST"]),
            Route("/data/make/stop", self.making.stop, methods=["POST"]),
            Route("/media/{record}/{name}", self._media),
        ]
        app = Starlette(routes=routes, lifespan=self._life, exception_handlers={
            HTTPException: _http_error, LatentSyncError: _error, OSError: _error,
        })  # fmt: skip
        return Guard(app, token, f"latentsync-view-{port}", WRITES, self.flags)

    def _with(self, flag: str, answer: Callable[[Request], Awaitable[Response]]) -> Callable:
        """An answer that is given only where a flag allows it."""

        async def answer_if_allowed(request: Request) -> Response:
            if flag not in self.flags:
                raise HTTPException(403, f"This needs {flag}: start latentsync view with it.")
            return await answer(request)

        return answer_if_allowed

    @asynccontextmanager
    async def _life(self, app: Starlette) -> AsyncIterator[None]:
        first = asyncio.create_task(self._table_of(self.sweep))
        first.add_done_callback(self._begin_helper)
        yield
        await self.making.close()
        self.helper.close()

    def _begin_helper(self, first: asyncio.Task) -> None:
        """After the first table was read, so that nothing delays that."""
        if not first.cancelled():
            first.exception()  # a request reports it
            self._beginning = asyncio.create_task(self._warm())

    async def _warm(self) -> None:
        with suppress(MediaError):  # the server ends already; or the first task that is needed says so
            await self.helper.call(LATER, ready)

    # --- the table ---

    async def _table_of(self, sweep: str | None, is_fresh: bool = False) -> _Loaded:
        """The table, read anew where the folder has changed. Requests at the same time wait for one reading."""
        task = self._loading.get(sweep)
        if task is None or task.done():
            task = asyncio.create_task(asyncio.to_thread(self._load, sweep, is_fresh))
            self._loading[sweep] = task
        return await asyncio.shield(task)

    def _load(self, sweep: str | None, is_fresh: bool) -> _Loaded:
        stamp, known = live.stamp_of(self.runs, sweep), self._loaded.get(sweep)
        if known is not None and known.stamp == stamp and not is_fresh:
            return known
        if sweep is not None:
            sweep_in(self.runs, sweep)
        with complaints() as left_out:
            table = self._rows_of(sweep)
            table = table if table.empty else with_distinct_names(table)
        about = {
            "runs": str(self.runs.resolve()),
            "sweep": sweep,
            "first": self.sweep,
            "sweeps": sweep_names(self.runs),
            "stamp": stamp,
            "allows": sorted(self.flags),
            "left_out": [line.removeprefix("left out: ") for line in left_out],
        }
        self._loaded[sweep] = _Loaded(stamp, table, message(table, about))
        return self._loaded[sweep]

    def _rows_of(self, sweep: str | None) -> pd.DataFrame:
        """The records of a sweep, and those that were made beside it."""
        table = collect_wide(self.runs, sweep)
        added = (
            set() if sweep is None else {*added_records(sweep_folder(self.runs, sweep))} - {*table.get("record", ())}
        )
        if not added:
            return table
        rest = collect_wide(self.runs)
        return pd.concat([table, rest[rest["record"].isin(added)]], ignore_index=True)

    def _sweep_of(self, request: Request) -> str | None:
        """The sweep that a request asks for; None for all records."""
        sweep = request.query_params.get("sweep", self.sweep)
        return None if sweep == ALL_SWEEPS else sweep

    async def _table(self, request: Request) -> Response:
        loaded = await self._table_of(self._sweep_of(request), "fresh" in request.query_params)
        return await _packed(request, loaded.message, "application/octet-stream")

    async def _rows(self, request: Request) -> Response:
        """The places of the rows that meet an expression, in the table that the page has; or `error`, in a sentence."""
        loaded = await self._table_of(self._sweep_of(request))
        try:
            rows = await asyncio.to_thread(filtered, loaded.table, request.query_params.get("where", ""))
        except OptionError as error:
            return JSONResponse({"error": str(error)})
        places = loaded.table.index.get_indexer(rows.index).tolist()
        return await _packed(request, json.dumps({"stamp": loaded.stamp, "rows": places}).encode(), "application/json")

    # --- a sweep that runs ---

    async def _live(self, request: Request) -> Response:
        """The states of all sweeps; nothing but the stamp where the page has them already, and no record is made."""
        stamp = live.stamp_of(self.runs)
        if self._states is None or self._states[0] != stamp:
            states = await asyncio.to_thread(live.states, self.runs)
            running = any(state["is_active"] for state in states)
            self._states = (stamp, states) if not running else None
        else:
            states = self._states[1]
        if request.query_params.get("stamp") == stamp and self._states is not None:
            return JSONResponse({"stamp": stamp})
        return JSONResponse({"stamp": stamp, "sweeps": states})

    # --- one record ---

    async def _record(self, request: Request) -> Response:
        record = record_in(self.runs, request.path_params["record"])
        return JSONResponse(await asyncio.to_thread(details_of, record, self.runs.resolve()))

    async def _player(self, request: Request) -> Response:
        query = request.query_params
        ids = tuple(record_in(self.runs, each).id for each in query.get("records", "").split(",")[:MOST_SIDE_BY_SIDE])
        metrics = tuple(filter(None, query.get("metrics", "").split(",")))
        html = await self.helper.call(NOW, player_of, self.runs, ids, metrics, "mouths" in query)
        return Response(html, media_type="text/html")

    async def _media(self, request: Request) -> Response:
        record = record_in(self.runs, request.path_params["record"])
        name = request.path_params["name"]
        if name not in FILES:
            raise HTTPException(404, f"A record has no file {name!r}; it has {', '.join(FILES)}.")
        path = await FILES[name](self, record, request)
        if not path.is_file():
            raise MediaError(f"{path.name} of record {record.id} is missing; run its sweep again to make it anew")
        return FileResponse(path, headers={"Cache-Control": "private, max-age=300"})

    async def result(self, record: Record, request: Request) -> Path:
        """The video of a record."""
        return record.video_path

    async def source(self, record: Record, request: Request) -> Path:
        """The clip's frames that it was made from; the first time it takes a second or more."""
        arguments = (source_copy, self.runs, record.id, self.scratch)
        return await self.helper.call(SOON, *arguments, is_gone=request.is_disconnected)

    async def mouths(self, record: Record, request: Request) -> Path:
        """The small video of its mouth."""
        return await self.helper.call(SOON, mouths_video, self.runs, record.id, False, is_gone=request.is_disconnected)

    async def clip_mouths(self, record: Record, request: Request) -> Path:
        """The small video of the mouth in its clip."""
        return await self.helper.call(SOON, mouths_video, self.runs, record.id, True, is_gone=request.is_disconnected)


# What a record has for a browser, by name: the way to its file.
FILES: dict[str, Callable[[View, Record, Request], Awaitable[Path]]] = {
    RESULT_FILE: View.result,
    "source.mp4": View.source,
    "mouths.mp4": View.mouths,
    "clip-mouths.mp4": View.clip_mouths,
}


# --- answers ---


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return Response(_front_bytes(name), media_type="text/html")

    return answer


async def _front(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in FRONT_FILES:
        raise HTTPException(404, f"The page has no file {name!r}.")
    return await _packed(request, _front_bytes(name), KINDS[Path(name).suffix])


def _front_bytes(name: str) -> bytes:
    return (FRONT_DIR / name).read_bytes()


async def _packed(request: Request, body: bytes, kind: str) -> Response:
    """An answer, compressed where the browser takes that; the page may stand at the other end of an SSH tunnel."""
    if len(body) < LEAST_PACKED or "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(body, media_type=kind)
    packed = await asyncio.to_thread(_zipped, body)
    return Response(packed, media_type=kind, headers={"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})


@lru_cache(24)
def _zipped(body: bytes) -> bytes:
    return gzip.compress(body, 1)


async def _http_error(request: Request, error: Any) -> Response:
    sentence = error.detail if error.detail != "Not Found" else "There is no such address; begin at the first page."
    return _refused(request, error.status_code, sentence)


async def _error(request: Request, error: Any) -> Response:
    return _refused(request, 404 if isinstance(error, LatentSyncError) else 503, sentence_of(error))


def _refused(request: Request, status: int, sentence: str) -> Response:
    if "text/html" in request.headers.get("accept", ""):
        return refusal_page(status, sentence)
    return PlainTextResponse(sentence, status)
