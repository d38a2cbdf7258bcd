"""What the server answers at all: requests of this machine's browser, with the token, that may change nothing.

Only where the viewer allowed it does a request write, at an address that is made for it.

A page of another site may send requests to the loopback address, too. It is refused by its `Origin` and by the
browser's `Sec-Fetch-Site`; a name that another site lets lead to this machine (DNS rebinding) by the `Host`; another
user of this machine by the token. A refusal is a short page that says why, and what to do.
"""

import secrets
from collections.abc import Collection, Mapping
from html import escape
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
READING = ("GET", "HEAD")
WRITING = "POST"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' blob: "
    "data:; media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PAGES = ("/", "/rating")
# Without an action it is sent to its own address, whose part after # stays: the view that a copied link leads to.
ENTRY_FORM = (
    '<form><p><label>Token: <input name="token" autocomplete="off" required></label> <button>Open</button></p></form>'
)


class RefusedError(Exception):
    """A request that gets no answer: its status, and a sentence for the reader."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


def refusal_page(status: int, sentence: str, form: str = "") -> HTMLResponse:
    """A page that says in one sentence why there is no other."""
    text = escape(sentence)
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f"<title>{status}</title><h1>{status}</h1><p>{text}</p>{form}</html>",
        status,
    )


class Guard:
    """Passes the requests that may be answered to an app, and adds the headers that confine its pages.

    Args:
        token: the secret of the printed link.
        cookie: the name of the cookie that holds it afterwards; cookies of one host are shared by all its ports.
        writes: the addresses that write, each with the flag that allows it.
        flags: those that were given.
    """

    def __init__(
        self, app: ASGIApp, token: str, cookie: str, writes: Mapping[str, str], flags: Collection[str]
    ) -> None:
        self._app, self._token, self._cookie = app, token, cookie
        self._writes, self._flags = writes, flags

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})

        async def send_confined(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        return await self._answer(scope)(scope, receive, send_confined)

    def _answer(self, scope: Scope) -> ASGIApp:
        headers = Headers(scope=scope)
        try:
            _check_sender(scope, headers)
            self._check_method(scope)
            _check_path(scope)
        except RefusedError as refusal:
            return refusal_page(refusal.status, refusal.sentence)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if given and scope["path"] in PAGES and self._is_token(given):
            return self._enter(scope["path"])
        if not self._is_known(headers):
            sentence = "Open the link that latentsync view printed in the terminal, or give its token here."
            return refusal_page(403, sentence, ENTRY_FORM if scope["path"] in PAGES else "")
        if scope["method"] == WRITING and "origin" not in headers and "authorization" not in headers:
            return refusal_page(403, "A request that writes says which page it comes from; this one has no Origin.")
        return self._app

    def _check_method(self, scope: Scope) -> None:
        """Refuses what would change something, unless its flag was given.

        Raises:
            RefusedError: with status 403.
        """
        if scope["method"] in READING:
            return
        sentence = f"{scope['method']} is refused: this server only reads the runs folder"
        flag = self._writes.get(scope["path"]) if scope["method"] == WRITING else None
        if flag is None:
            raise RefusedError(403, f"{sentence}.")
        if flag not in self._flags:
            raise RefusedError(403, f"{sentence}; start latentsync view with {flag} to allow it.")

    def _enter(self, page: str) -> Response:
        """Moves the token from the address to a cookie, so that it stands in no history and no link that is copied."""
        response = RedirectResponse(page, 303)
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="lax", path="/")
        return response

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        tokens = [bearer] if scheme.lower() == "bearer" else []
        tokens += [value for name, value in _cookies(headers) if name == self._cookie]
        return any(map(self._is_token, tokens))

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self._token.encode())


def _cookies(headers: Headers) -> list[tuple[str, str]]:
    parts = [part.strip().partition("=") for line in headers.getlist("cookie") for part in line.split(";")]
    return [(name, value) for name, _, value in parts]


def _check_sender(scope: Scope, headers: Mapping[str, str]) -> None:
    """Refuses what another site sends.

    Raises:
        RefusedError: with status 403.
    """
    host = headers.get("host", "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name not in OWN_NAMES:
        raise RefusedError(403, f"The server does not answer to the name {name!r}; use http://127.0.0.1 and its port.")
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        raise RefusedError(403, f"A page of {origin} may not read this server; open the printed link itself.")
    is_navigation = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not (is_navigation and scope["path"] in PAGES):
        raise RefusedError(403, "A page of another site may not read this server; open the printed link itself.")


def _check_path(scope: Scope) -> None:
    """Refuses paths that lead up.

    Raises:
        RefusedError: with status 404.
    """
    if ".." in scope["path"] or "\\" in scope["path"] or "\0" in scope["path"]:
        raise RefusedError(404, "There is no such address: a path with .. leads nowhere.")
