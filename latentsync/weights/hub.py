"""Downloads weights from the model hub or from a plain address: https only, with resume, checked before use.

Both use httpx. The library huggingface_hub (version 2.4.0) does not fit, for three reasons. It downloads into a file of
the process and deletes that file on failure, so a broken download of 5 GB starts from the beginning. It follows
redirects to plain http. And it checks only the hash that the server sends. It does not download from plain addresses
either.

The part of the hub's protocol that is used: GET {endpoint}/{repository}/resolve/{revision}/{path} sends the file or
redirects to a content network. The hub's own answer has the headers X-Linked-Size and X-Linked-ETag (the SHA-256 of
large files). The answer to Range is 206. A resumed file needs no If-Range, since the revision is pinned and the whole
file is hashed.
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
from latentsync.files import place, remove
from latentsync.weights.addresses import without_secrets, without_secrets_in_logs
from latentsync.weights.catalogue import HubFile, WebFile, WeightFile, size_text
from latentsync.weights.folders import cache_dir
from latentsync.weights.hashes import file_sha256, remember
from latentsync.weights.progress import Progress
from latentsync.weights.store import expected_sha256, is_right, record_sha256

DEFAULT_ENDPOINT = "https://huggingface.co"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TIMEOUT_S = 30.0  # without a byte
MAX_REDIRECTS = 5
TOKEN = re.compile("[!-~]+")  # allowed in a header: printable ASCII without whitespace

log = logging.getLogger(__name__)


def endpoint() -> str:
    """The hub's address, or the mirror's in `HF_ENDPOINT`. It may hold a password; messages use `shown` of it."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def address(source: HubFile | WebFile) -> str:
    """The full address of a file; messages use `shown` of it."""
    if isinstance(source, WebFile):
        return source.url
    return f"{endpoint()}/{source.repository}/resolve/{source.revision}/{quote(source.path)}"


def download(weight: WeightFile, source: HubFile | WebFile, progress: Progress) -> None:
    """Downloads a weight into the cache. The file gets its name only when it is complete and checked.

    A broken download leaves a partial file, and the next attempt continues it. If several processes want the same file,
    one downloads it and the others wait. The token in `HF_TOKEN` is sent to the hub's own address only.

    Raises:
        WeightsError: the file is not reachable, refused, truncated or damaged, or there is too little disk space.
    """
    target = cache_dir() / weight.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        if target.is_file() and is_right(target, weight):
            return  # another process has downloaded it meanwhile
        transfer = _Transfer(weight, source, progress)
        try:
            transfer.run()
        except httpx.HTTPError as error:
            raise WeightsError(f"{transfer.public_url} cannot be fetched ({error}); {transfer.remedy}") from error
        except httpx.InvalidURL:  # its message may hold part of a password
            raise WeightsError(f"{transfer.public_url} is not a valid address; {transfer.remedy}") from None
        sha256 = transfer.checked_sha256()
        if expected_sha256(weight) is None:
            record_sha256(weight, sha256)
            log.warning("%s: no SHA-256 was recorded; taken as %s, and checked from now on", weight.name, sha256)
        place(transfer.part, target)
        remember(target, sha256)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Ensures that no other process or thread downloads the same file at the same time."""
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
    """The download of one file from an address into a partial file beside its final place.

    Attributes:
        url: the full address.
        public_url: the same for messages.
        part: the partial file; its name holds the hash, or a hash of the address, so that versions do not mix.
        remedy: what a user can check if the server is the problem.
        total: size of the whole file in bytes; None while it is unknown.
        hub_sha256: the SHA-256 that the hub sends; None if it sends none.
    """

    def __init__(self, weight: WeightFile, source: HubFile | WebFile, progress: Progress):
        self.weight, self.source, self.progress = weight, source, progress
        self.url = address(source)
        self.public_url = without_secrets(self.url)
        self.remedy = "check the network" + (" and HF_ENDPOINT" if isinstance(source, HubFile) else "")
        key = expected_sha256(weight) or hashlib.sha256(self.url.encode()).hexdigest()
        target = cache_dir() / weight.name
        self.part = target.with_name(f".{target.name}.{key[:12]}.part")
        self.total = weight.size_bytes
        self.hub_sha256: str | None = None

    def run(self) -> None:
        """Downloads the whole file. Tries again after a broken connection if the attempt brought more bytes."""
        hooks = {"request": [_refuse_plain_http]}  # called before every request, so for every redirect too
        with (
            without_secrets_in_logs(),
            httpx.Client(
                follow_redirects=True, max_redirects=MAX_REDIRECTS, timeout=TIMEOUT_S, event_hooks=hooks
            ) as client,
        ):
            while (before := self._bytes_here()) != self.total:
                reason = "the server ended it early"
                try:
                    self._attempt(client, before)
                    if self.total is None:  # the size is unknown, and the answer ended in order
                        return
                except httpx.TransportError as error:
                    reason = str(error) or type(error).__name__
                if before >= self._bytes_here() != self.total:
                    raise self._broken_off(reason)

    def _bytes_here(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _attempt(self, client: httpx.Client, bytes_here: int) -> None:
        """Requests the missing bytes and appends them; starts from the beginning if the server sends no parts."""
        headers = {"Accept-Encoding": "identity", **_token_header(self.source)}
        if bytes_here:
            headers["Range"] = f"bytes={bytes_here}-"
        with client.stream("GET", self.url, headers=headers) as response:
            self._refuse_status(response.status_code)
            self._hear_hash(response)
            start = 0 if response.status_code == codes.OK else bytes_here
            self._hear_size(response, start)
            if start != self.total:  # else the file is complete: an earlier process ended just before the check
                self._check_space(bytes_here)
                self._append(response, start)

    def _refuse_status(self, status: int) -> None:
        if status in (codes.OK, codes.PARTIAL_CONTENT, codes.REQUESTED_RANGE_NOT_SATISFIABLE):
            return
        remedy = "try again later"
        if status in (codes.UNAUTHORIZED, codes.FORBIDDEN) and isinstance(self.source, HubFile):
            page = f"{without_secrets(endpoint())}/{self.source.repository}"
            token = "the token in HF_TOKEN is not accepted" if _token_header(self.source) else "HF_TOKEN is not set"
            remedy = f"{token}; accept the licence at {page} and set HF_TOKEN to a token that may read it"
        elif status == codes.NOT_FOUND:
            remedy = f"there is no such file; {self.remedy}"
        raise WeightsError(f"{self.weight.name} cannot be fetched from {self.public_url} (HTTP {status}): {remedy}")

    def _hear_hash(self, response: httpx.Response) -> None:
        """Stores the SHA-256 that the hub sends for large files; refuses a different file before downloading it."""
        for answer in (*response.history, response):
            if match := re.fullmatch(r'(?:W/)?"?([0-9a-f]{64})"?', answer.headers.get("X-Linked-ETag", "")):
                self.hub_sha256 = match[1]
        expected = expected_sha256(self.weight)
        if expected and self.hub_sha256 not in (None, expected):
            raise WeightsError(
                f"{self.public_url} is another file than {self.weight.name} (SHA-256 {self.hub_sha256} instead of "
                f"{expected}), so it is not downloaded; {self.remedy}"
            )

    def _hear_size(self, response: httpx.Response, start: int) -> None:
        """Stores the size of the whole file; refuses another size or a part that does not fit, before reading it."""
        if response.status_code == codes.OK:
            size = next(filter(None, map(_size_in_headers, (response, *response.history))), None)
        else:  # "bytes START-END/TOTAL", or "bytes */TOTAL" if nothing is missing
            part = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", response.headers.get("Content-Range", ""))
            if not part or int(part[1] or part[2]) != start:
                remove(self.part)
                raise WeightsError(
                    f"{self.public_url} does not go on at byte {start}, where {self.weight.name} broke off; "
                    f"the partial file is deleted, so {self._command()} begins anew"
                )
            size = int(part[2])
        if None not in (size, self.total) and size != self.total:
            fault = "truncated" if size < self.total else "too long, so another file,"
            raise WeightsError(
                f"{self.weight.name} is {fault} at {self.public_url}: {size} of {self.total} bytes; "
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
        """Appends the body to the partial file, or replaces the file if the body starts at 0."""
        with (
            closing(self.progress(self.total, self.weight.name, start)) as bar,
            open(self.part, "ab" if start else "wb") as file,
        ):
            for block in response.iter_bytes():
                if self.total is not None and file.tell() + len(block) > self.total:
                    raise WeightsError(
                        f"{self.public_url} sends more than {self.total} bytes, so another file; {self.remedy}"
                    )
                file.write(block)
                bar.update(len(block))

    def _broken_off(self, reason: str) -> WeightsError:
        here, total = self._bytes_here(), "an unknown number of" if self.total is None else self.total
        if not here:
            return WeightsError(f"{self.public_url} cannot be reached ({reason}); {self.remedy}")
        return WeightsError(
            f"{self.weight.name} is truncated: {here} of {total} bytes have come from {self.public_url} ({reason}); "
            f"{self._command()} goes on from there"
        )

    def checked_sha256(self) -> str:
        """The hash of the downloaded file.

        Raises:
            WeightsError: it is not the recorded one, or the hub's if none is recorded; or there is neither a hash nor a
                size to check the file by. The file is deleted then.
        """
        sha256 = file_sha256(self.part)
        expected = expected_sha256(self.weight) or self.hub_sha256
        if expected == sha256 or (expected is None and self.total is not None):
            return sha256
        remove(self.part)
        fault = f"its SHA-256 is {sha256} instead of {expected}" if expected else "its size and hash are unknown"
        raise WeightsError(
            f"{self.weight.name} arrived damaged from {self.public_url} ({fault}) and is deleted; "
            f"{self._command()} begins anew"
        )

    def _command(self) -> str:
        return f"`latentsync weights fetch {self.weight.name}`"


def _refuse_plain_http(request: httpx.Request) -> None:
    """Allows https, and http to this machine only."""
    url = request.url
    if url.scheme != "https" and not (url.scheme == "http" and url.host in LOOPBACK):
        raise WeightsError(
            f"{without_secrets(str(url))} is not https, and weights are fetched over https only; "
            f"check HF_ENDPOINT, or the server that redirects there"
        )


def _token_header(source: HubFile | WebFile) -> dict[str, str]:
    """The user's token, for the hub only; httpx removes it when a redirect leaves that address.

    Raises:
        WeightsError: a header cannot hold the token. The message does not show it.
    """
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token or not isinstance(source, HubFile):
        return {}
    if not TOKEN.fullmatch(token):
        raise WeightsError(
            "HF_TOKEN holds something besides printable ASCII, or a space or line break inside it, so it is not sent; "
            "set it to the token alone, or unset it if none is needed"
        )
    return {"Authorization": f"Bearer {token}"}


def _size_in_headers(answer: httpx.Response) -> int | None:
    """The size in bytes of the file that an answer holds or redirects to; None if the answer does not say."""
    size = answer.headers.get("X-Linked-Size" if answer.is_redirect else "Content-Length", "")
    return int(size) if size.isdecimal() else None
