"""Starts the server: a free port of the loopback address, the link with its token, and the browser."""

import os
import secrets
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Collection
from pathlib import Path

import uvicorn

from latentsync.errors import OptionError
from latentsync.lab.records.sweeps import sweep_in
from latentsync.lab.serving.server import View

HOST = "127.0.0.1"
FIRST_PORT, PORTS = 8765, 20  # tried one after the other where no port is asked for
TOKEN_BYTES = 24
ENDED_S = 1  # how long the server waits for open answers at its end


def view(
    runs: Path, sweep: str | None = None, port: int | None = None, on_link: Callable[[str], None] = print,
    opens_browser: bool = True, flags: Collection[str] = (), model: str | None = None, inputs: Path | None = None,
) -> None:  # fmt: skip
    """Shows a runs folder in a browser until the process is interrupted.

    Args:
        sweep: shown at first; None shows all records.
        port: None takes the first free one from 8765 on.
        on_link: called with the link once the server answers.
        flags: what the page may write, see `server.WRITES`; by default nothing.
        model: for records that are made: a choice of `conf/model` or a folder; None: a record's own, if shipped.
        inputs: for records that are made: a folder with clips and voices that were moved.

    Raises:
        OptionError: there is no such folder, sweep or free port.
    """
    if runs.is_file():
        raise OptionError(f"{runs} is a file; view shows runs folders, and latentsync report {runs} a table of videos")
    if not runs.is_dir():
        raise OptionError(
            f"there is no folder {runs.resolve()}; give a runs folder, that of runs_dir (by default runs)"
        )
    if sweep is not None:
        sweep_in(runs, sweep)
    with listening_socket(port) as listener, tempfile.TemporaryDirectory(prefix="latentsync-view-") as scratch:
        token, number = secrets.token_urlsafe(TOKEN_BYTES), listener.getsockname()[1]
        shown = View(runs, sweep, Path(scratch), flags, model, inputs)
        link = f"http://{HOST}:{number}/?token={token}"
        config = uvicorn.Config(
            shown.app(token, number),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=ENDED_S,
        )
        server = _Server(config, lambda: _show(link, on_link, opens_browser), shown.helper.refuse_all)
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """A server that says when it begins and ends."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None], on_ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started, self._on_ending = on_started, on_ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets)
        if self.started:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        self._on_ending()
        await super().shutdown(sockets)


def _show(link: str, on_link: Callable[[str], None], opens_browser: bool) -> None:
    on_link(link)
    if opens_browser and has_desktop():
        threading.Thread(target=webbrowser.open, args=(link,), daemon=True).start()


def has_desktop() -> bool:
    """Whether a browser can open a window here; one in the terminal would take it from the server."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def listening_socket(port: int | None) -> socket.socket:
    """A socket that listens on the loopback address.

    Raises:
        OptionError: the port is taken or not allowed; without a port, all those that are tried are.
    """
    ports = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]
    for number in ports:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, number))
            listener.listen()
            return listener
        except OSError as error:
            listener.close()
            reason = error.strerror
    if port is None:
        raise OptionError(f"the ports {ports[0]} to {ports[-1]} are all taken ({reason}); give another with --port")
    raise OptionError(f"--port {port} cannot be used ({reason}); give another, or none for a free one")
