"""Weights from the model hub, or from a plain address: https only, resumed where it broke off, checked before use.

One path of httpx for both. The library huggingface_hub (2.4.0 was read) does not fit: it downloads into a file that is
private to the process and deletes it on failure, so that a broken download of 5 GB begins anew; it follows redirects
to plain http; and it knows no hash but the one that the server tells. It would not help with a plain address either.

The hub's protocol, as far as it is needed: GET {endpoint}/{repository}/resolve/{revision}/{path} answers itself or
redirects to a content network; the hub's own answer tells X-Linked-Size and X-Linked-ETag (the SHA-256 of large
files); Range is answered by 206. A resumed file needs no If-Range: the revision is pinned and the whole is hashed.
"""

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
from filelock import FileLock, Timeout
from httpx import codes

from latentsync.errors import WeightsError
from latentsync.weights.addresses import shown, shown_in_logs
from latentsync.weights.catalogue import HubFile, WebFile, WeightFile, size_text
from latentsync.weights.folders import cache_dir
from latentsync.weights.hashes import file_sha256, remember
from latentsync.weights.progress import Progress
from latentsync.weights.store import expected_sha256, is_right, record_sha256

DEFAULT_ENDPOINT = "https://huggingface.co"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TIMEOUT_S = 30.0  # without a byte
MAX_REDIRECTS = 5
TOKEN = re.compile("[!-~]+")  # what a header takes: printable ASCII without whitespace

log = logging.getLogger(__name__)


def endpoint() -> str:
    """The hub's address: `HF_ENDPOINT` for a mirror, possibly with a password in it (`shown` goes into messages)."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def address(source: HubFile | WebFile) -> str:
    """Where a file is downloaded; as asked for, not as shown."""
    if isinstance(source, WebFile):
        return source.url
    return f"{endpoint()}/{source.repository}/resolve/{source.revision}/{quote(source.path)}"


def download(weight: WeightFile, source: HubFile | WebFile, progress: Progress) -> None:
    """Brings a weight into the cache, where it appears under its name when it is complete and right.

    A broken download leaves a partial file, from which the next attempt goes on. Of several processes that want the
    same file, one downloads it and the others wait. The token of `HF_TOKEN` goes to the hub's own address only.

    Raises:
        WeightsError: not reachable, refused, truncated, damaged, or too little disk space.
    """
    target = cache_dir() / weight.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        if target.is_file() and is_right(target, weight):
            return  # another process has brought it meanwhile
        transfer = _Transfer(weight, source, progress)
        try:
            transfer.run()
        except httpx.HTTPError as error:
            raise WeightsError(f"{transfer.shown_url} cannot be fetched ({error}); {transfer.remedy}") from error
        except httpx.InvalidURL:  # its words may hold a piece of a password
            raise WeightsError(f"{transfer.shown_url} is not an address that can be asked; {transfer.remedy}") from None
        sha256 = transfer.checked_sha256()
        if expected_sha256(weight) is None:
            record_sha256(weight, sha256)
            log.warning("%s: no SHA-256 was recorded; taken as %s, and checked from now on", weight.name, sha256)
        os.replace(transfer.part, target)
        remember(target, sha256)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keeps other processes and threads from fetching the same file at the same time."""
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.warning("%s is being fetched by another process; waiting for it", target.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class _Transfer:
    """One file on its way from an address into a partial file beside its final place.

    Attributes:
        url: the address to ask, with everything in it.
        shown_url: the same for messages.
        part: the partial file; its name holds the hash or the address, so that versions do not mix.
        remedy: what a user can look after when the server is to blame.
        total: the size of the whole in bytes; None until somebody tells.
        told_sha256: what the hub says of the file; None where it says nothing.
    """

    def __init__(self, weight: WeightFile, source: HubFile | WebFile, progress: Progress):
        self.weight, self.source, self.progress = weight, source, progress
        self.url = address(source)
        self.shown_url = shown(self.url)
        self.remedy = "check the network" + (" and HF_ENDPOINT" if isinstance(source, HubFile) else "")
        key = expected_sha256(weight) or hashlib.sha256(self.url.encode()).hexdigest()
        target = cache_dir() / weight.name
        self.part = target.with_name(f".{target.name}.{key[:12]}.part")
        self.total = weight.size_bytes
        self.told_sha256: str | None = None

    def run(self) -> None:
        """Brings the whole file, going on after a broken connection for as long as every attempt brings more."""
        hooks = {"request": [_refuse_plain_http]}  # called before every request, so for every redirect too
        with (
            shown_in_logs(),
            httpx.Client(
                follow_redirects=True, max_redirects=MAX_REDIRECTS, timeout=TIMEOUT_S, event_hooks=hooks
            ) as client,
        ):
            while (before := self._bytes_here()) != self.total:
                reason = "the server ended it early"
                try:
                    self._attempt(client, before)
                    if self.total is None:  # nobody says how long it is, and it ended in order
                        return
                except httpx.TransportError as error:
                    reason = str(error) or type(error).__name__
                if before >= self._bytes_here() != self.total:
                    raise self._broken_off(reason)

    def _bytes_here(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _attempt(self, client: httpx.Client, bytes_here: int) -> None:
        """Asks for what is missing and appends it; begins anew where the server sends no parts."""
        headers = {"Accept-Encoding": "identity", **_token_header(self.source)}
        if bytes_here:
            headers["Range"] = f"bytes={bytes_here}-"
        with client.stream("GET", self.url, headers=headers) as response:
            self._refuse_status(response.status_code)
            self._hear_hash(response)
            start = 0 if response.status_code == codes.OK else bytes_here
            self._hear_size(response, start)
            if start != self.total:  # else everything is here: an earlier process ended just before the check
                self._check_space(bytes_here)
                self._append(response, start)

    def _refuse_status(self, status: int) -> None:
        if status in (codes.OK, codes.PARTIAL_CONTENT, codes.REQUESTED_RANGE_NOT_SATISFIABLE):
            return
        remedy = "try again later"
        if status in (codes.UNAUTHORIZED, codes.FORBIDDEN) and isinstance(self.source, HubFile):
            page = f"{shown(endpoint())}/{self.source.repository}"
            token = "the token in HF_TOKEN is not accepted" if _token_header(self.source) else "HF_TOKEN is not set"
            remedy = f"{token}; accept the licence at {page} and set HF_TOKEN to a token that may read it"
        elif status == codes.NOT_FOUND:
            remedy = f"there is no such file; {self.remedy}"
        raise WeightsError(f"{self.weight.name} cannot be fetched from {self.shown_url} (HTTP {status}): {remedy}")

    def _hear_hash(self, response: httpx.Response) -> None:
        """Notes the SHA-256 that the hub tells of large files, and refuses another file before downloading it."""
        for answer in (*response.history, response):
            if match := re.fullmatch(r'(?:W/)?"?([0-9a-f]{64})"?', answer.headers.get("X-Linked-ETag", "")):
                self.told_sha256 = match[1]
        expected = expected_sha256(self.weight)
        if expected and self.told_sha256 not in (None, expected):
            raise WeightsError(
                f"{self.shown_url} is another file than {self.weight.name} (SHA-256 {self.told_sha256} instead of "
                f"{expected}), so it is not downloaded; {self.remedy}"
            )

    def _hear_size(self, response: httpx.Response, start: int) -> None:
        """Notes the size of the whole; refuses a file of another size, and a part that does not fit, unread."""
        if response.status_code == codes.OK:
            size = next(filter(None, map(_told_size, (response, *response.history))), None)
        else:  # "bytes START-END/TOTAL", or "bytes */TOTAL" where nothing is missing
            part = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", response.headers.get("Content-Range", ""))
            if not part or int(part[1] or part[2]) != start:
                self.part.unlink(missing_ok=True)
                raise WeightsError(
                    f"{self.shown_url} does not go on at byte {start}, where {self.weight.name} broke off; "
                    f"what was here is deleted, so {self._command()} begins anew"
                )
            size = int(part[2])
        if None not in (size, self.total) and size != self.total:
            fault = "truncated" if size < self.total else "too long, so another file,"
            raise WeightsError(
                f"{self.weight.name} is {fault} at {self.shown_url}: {size} of {self.total} bytes; "
                f"try again later, or {self.remedy}"
            )
        self.total = size or self.total

    def _check_space(self, bytes_here: int) -> None:
        folder = self.part.parent
        free = shutil.disk_usage(folder).free
        missing = (self.total or self.weight.about_bytes or 0) - bytes_here
        if missing > free:
            raise WeightsError(
                f"{self.weight.name} needs {size_text(missing)} more and {folder} has {size_text(free)} free; "
                f"free some, or set LATENTSYNC_CACHE to a folder on another disk"
            )

    def _append(self, response: httpx.Response, start: int) -> None:
        """Writes the body behind the bytes that are here, or as the whole file where it starts at 0."""
        with (
            closing(self.progress(self.total, self.weight.name, start)) as bar,
            open(self.part, "ab" if start else "wb") as file,
        ):
            for block in response.iter_bytes():
                if self.total is not None and file.tell() + len(block) > self.total:
                    raise WeightsError(
                        f"{self.shown_url} sends more than {self.total} bytes, so another file; {self.remedy}"
                    )
                file.write(block)
                bar.update(len(block))
            file.flush()
            os.fsync(file.fileno())  # the file must not get its name before its bytes are on the disk

    def _broken_off(self, reason: str) -> WeightsError:
        here, total = self._bytes_here(), "an unknown number of" if self.total is None else self.total
        if not here:
            return WeightsError(f"{self.shown_url} cannot be reached ({reason}); {self.remedy}")
        return WeightsError(
            f"{self.weight.name} is truncated: {here} of {total} bytes have come from {self.shown_url} ({reason}); "
            f"{self._command()} goes on from there"
        )

    def checked_sha256(self) -> str:
        """The hash of what has come.

        Raises:
            WeightsError: it is not the one recorded, or told by the hub where none is, or nothing tells whether the
                file is whole. The file is deleted then.
        """
        sha256 = file_sha256(self.part)
        expected = expected_sha256(self.weight) or self.told_sha256
        if expected == sha256 or (expected is None and self.total is not None):
            return sha256
        self.part.unlink()
        fault = f"its SHA-256 is {sha256} instead of {expected}" if expected else "nothing tells its size or hash"
        raise WeightsError(
            f"{self.weight.name} arrived damaged from {self.shown_url} ({fault}) and is deleted; "
            f"{self._command()} begins anew"
        )

    def _command(self) -> str:
        return f"`latentsync weights fetch {self.weight.name}`"


def _refuse_plain_http(request: httpx.Request) -> None:
    """Lets https through, and http to this very machine."""
    url = request.url
    if url.scheme != "https" and not (url.scheme == "http" and url.host in LOOPBACK):
        raise WeightsError(
            f"{shown(str(url))} is not https, and weights are fetched over https only; "
            f"check HF_ENDPOINT, or the server that redirects there"
        )


def _token_header(source: HubFile | WebFile) -> dict[str, str]:
    """The user's token, for the hub only; httpx takes it off when a redirect leaves that address.

    Raises:
        WeightsError: it cannot go into a header. Does not show it.
    """
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token or not isinstance(source, HubFile):
        return {}
    if not TOKEN.fullmatch(token):
        raise WeightsError(
            "HF_TOKEN holds something besides printable ASCII, or a space or line break amid it, so it is not sent; "
            "set it to the token alone, or unset it where none is needed"
        )
    return {"Authorization": f"Bearer {token}"}


def _told_size(answer: httpx.Response) -> int | None:
    """The size in bytes that an answer tells of the file that it is, or redirects to."""
    size = answer.headers.get("X-Linked-Size" if answer.is_redirect else "Content-Length", "")
    return int(size) if size.isdecimal() else None
