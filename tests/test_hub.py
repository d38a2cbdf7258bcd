"""Downloads over the hub's protocol, from servers on loopback: whole, broken off, cut short, damaged, refused."""

import hashlib
import http.server
import logging
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from latentsync import weights
from latentsync.errors import WeightsError
from latentsync.lab.commands.weights import main
from latentsync.weights import HubFile, WebFile, WeightFile
from latentsync.weights.addresses import without_secrets

REVISION = "0123456789abcdef0123456789abcdef01234567"
CONTENT = bytes(range(256)) * 2000  # 512 000 bytes: several blocks of the network's
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "model/unet.pt"
SOURCE = HubFile("owner/repository", REVISION, "unet.pt")
RESOLVE = f"/owner/repository/resolve/{REVISION}/unet.pt"
COMMAND = f"`latentsync weights fetch {NAME}`"
CUT = 300_000


class Hub:
    """A hub and its content network on loopback: RESOLVE redirects to /cdn, as the hub does with large files.

    The attributes are the ways in which it can fail; `requests` holds path, range, authorization and body bytes sent.
    """

    def __init__(self):
        self.content = CONTENT
        self.tells_hash = True  # X-Linked-ETag
        self.tells_length = True
        self.knows_ranges = True
        self.cuts: list[int] = []  # bytes after which each of the next answers breaks off
        self.status = 200
        self.location = "/cdn/file?signature=1"
        self.may_send = threading.Event()
        self.may_send.set()
        self.requests: list[SimpleNamespace] = []
        self.server = QuietServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def address(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server.server_port}"

    def secret_address(self) -> str:
        return f"http://reader:pa55@127.0.0.1:{self.server.server_port}"

    @property
    def ranges(self) -> list[str | None]:
        """The Range header of every request for the file itself."""
        return [one.range for one in self.requests if one.path.startswith("/cdn")]

    @property
    def sent(self) -> list[int]:
        """The body bytes of every answer with the file itself."""
        return [one.sent for one in self.requests if one.path.startswith("/cdn")]

    def _handler(hub):  # noqa: N805 - the handler's own self is another one
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                headers = self.headers
                self.entry = SimpleNamespace(
                    path=self.path, range=headers["Range"], authorization=headers["Authorization"], sent=0
                )
                hub.requests.append(self.entry)
                if hub.status != 200:
                    self.answer(hub.status, {"Content-Length": "0"})
                elif self.path == RESOLVE:
                    extra = {"X-Linked-ETag": f'"{SHA256}"'} if hub.tells_hash else {}
                    size = {"X-Linked-Size": str(len(CONTENT)), "X-Repo-Commit": REVISION}
                    self.answer(302, {**extra, **size, "Location": hub.location, "Content-Length": "0"})
                elif self.path.startswith("/cdn"):
                    self.file()
                else:
                    self.answer(404, {"Content-Length": "0"})

            def answer(self, status, headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def file(self):
                hub.may_send.wait(60)
                start, total, body = 0, len(hub.content), hub.content
                if hub.knows_ranges and self.headers["Range"]:
                    start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                    if start >= total:
                        self.answer(416, {"Content-Range": f"bytes */{total}", "Content-Length": "7"})
                        self.wfile.write(b"<Error>")
                        return
                    body = body[start:]
                part = {"Content-Range": f"bytes {start}-{total - 1}/{total}"} if start else {}
                length = {"Content-Length": str(len(body))} if hub.tells_length else {"Connection": "close"}
                self.answer(206 if start else 200, {"ETag": '"cdn"', **part, **length})
                body = body[: hub.cuts.pop(0)] if hub.cuts else body
                self.entry.sent = len(body)
                self.wfile.write(body)
                self.close_connection = self.close_connection or len(body) < total - start

        return Handler


class QuietServer(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        pass  # a client that hangs up is what some tests are about


class Bars:
    """Progress bars that record their calls."""

    def __init__(self):
        self.begun: list[tuple] = []
        self.bytes = 0
        self.closed = 0

    def __call__(self, total_bytes, label, bytes_here):
        self.begun.append((total_bytes, label, bytes_here))
        return self

    def update(self, more_bytes):
        self.bytes += more_bytes

    def close(self):
        self.closed += 1


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that the weights come from, and a catalogue of one file on it."""
    hub = Hub()
    for variable in ("HF_TOKEN", "HF_HUB_OFFLINE", "LATENTSYNC_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("HF_ENDPOINT", hub.address())
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    publish(monkeypatch)
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture(autouse=True)
def connected(monkeypatch):
    """The addresses that a test connects to; anywhere but this machine is refused."""
    connect, addresses = socket.create_connection, []

    def guarded(address, *arguments, **options):
        addresses.append(address)
        if address[0] not in ("127.0.0.1", "localhost"):
            raise OSError(f"a test may not connect to {address}")
        return connect(address, *arguments, **options)

    monkeypatch.setattr(socket, "create_connection", guarded)
    return addresses


def publish(monkeypatch, sources=(SOURCE,), **changes):
    """Makes the one file the whole catalogue."""
    facts = {"sha256": SHA256, "licence": "MIT", "size_bytes": len(CONTENT), **changes}
    for name in list(weights.CATALOGUE):
        monkeypatch.delitem(weights.CATALOGUE, name)
    monkeypatch.setitem(weights.CATALOGUE, NAME, WeightFile(NAME, sources=tuple(sources), **facts))


def parts(tmp_path) -> list[int]:
    """The sizes of the partial files in the cache."""
    return [path.stat().st_size for path in (tmp_path / "cache").rglob("*.part")]


def break_off(hub):
    """A fetch that ends after CUT bytes: the first answer breaks off, and so does the next one."""
    hub.cuts = [CUT, 0]
    with pytest.raises(WeightsError) as caught:
        weights.fetch(NAME)
    hub.requests.clear()
    return str(caught.value)


def test_a_file_arrives_whole_with_progress(hub, tmp_path):
    bars = Bars()
    path = weights.fetch(NAME, bars)
    assert path == tmp_path / "cache" / NAME
    assert path.read_bytes() == CONTENT
    assert bars.begun == [(len(CONTENT), NAME, 0)] and bars.bytes == len(CONTENT) and bars.closed == 1
    assert [one.path for one in hub.requests] == [RESOLVE, "/cdn/file?signature=1"]
    assert parts(tmp_path) == []
    assert weights.fetch(NAME) == weights.locate(NAME) == path and len(hub.requests) == 2  # nothing is asked again


def test_a_connection_that_breaks_is_taken_up_at_once(hub):
    hub.cuts = [CUT]
    assert weights.fetch(NAME).read_bytes() == CONTENT
    assert hub.ranges == [None, f"bytes={CUT}-"]
    assert hub.sent == [CUT, len(CONTENT) - CUT]


def test_the_next_attempt_goes_on_where_the_last_one_broke_off(hub, tmp_path):
    message = break_off(hub)
    assert f"{NAME} is truncated: {CUT} of {len(CONTENT)} bytes" in message and f"{hub.address()}{RESOLVE}" in message
    assert message.endswith(f"{COMMAND} goes on from there")
    assert parts(tmp_path) == [CUT] and weights.find(NAME) is None
    bars = Bars()
    assert weights.fetch(NAME, bars).read_bytes() == CONTENT
    assert hub.ranges == [f"bytes={CUT}-"] and hub.sent == [len(CONTENT) - CUT]
    assert bars.begun == [(len(CONTENT), NAME, CUT)] and bars.bytes == len(CONTENT) - CUT
    assert parts(tmp_path) == []


def test_a_server_without_ranges_sends_it_all_again(hub):
    break_off(hub)
    hub.knows_ranges = False
    assert weights.fetch(NAME).read_bytes() == CONTENT
    assert hub.ranges == [f"bytes={CUT}-"] and hub.sent == [len(CONTENT)]


def test_a_server_that_goes_on_elsewhere_is_not_believed(hub, tmp_path, monkeypatch):
    publish(monkeypatch, sha256=None, size_bytes=None)
    hub.tells_hash = False
    break_off(hub)
    hub.content = CONTENT[: CUT - 1]  # shorter than what is here already: "bytes */299999"
    with pytest.raises(WeightsError, match=rf"at byte {CUT}, .* {COMMAND} begins anew"):
        weights.fetch(NAME)
    assert parts(tmp_path) == []


def test_a_complete_partial_file_needs_no_second_download(hub, tmp_path, monkeypatch):
    publish(monkeypatch, sha256=None, size_bytes=None)
    break_off(hub)
    (part,) = (tmp_path / "cache").rglob("*.part")
    part.write_bytes(CONTENT)
    assert weights.fetch(NAME).read_bytes() == CONTENT
    assert hub.sent == [0]


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_file_that_is_short_on_the_server_is_truncated(hub, tmp_path, tells_length):
    hub.content, hub.tells_length = CONTENT[:CUT], tells_length
    with pytest.raises(WeightsError, match=rf"{NAME} is truncated at .*: {CUT} of {len(CONTENT)} bytes"):
        weights.fetch(NAME)
    assert weights.find(NAME) is None
    hub.content = CONTENT
    assert weights.fetch(NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("resumed", [False, True])
def test_a_damaged_file_is_deleted_and_the_next_attempt_begins_anew(hub, tmp_path, resumed):
    if resumed:
        break_off(hub)
    hub.content = CONTENT[:-1] + b"!"
    with pytest.raises(WeightsError, match=rf"damaged .* instead of {SHA256}.* {COMMAND}"):
        weights.fetch(NAME)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.suffix in (".pt", ".part")] == []
    hub.content = CONTENT
    assert weights.fetch(NAME).read_bytes() == CONTENT
    assert hub.ranges[-1] is None


def test_another_file_is_refused_before_it_is_downloaded(hub, monkeypatch):
    publish(monkeypatch, sha256="0" * 64)
    with pytest.raises(WeightsError, match="another file than model/unet.pt"):
        weights.fetch(NAME)
    hub.tells_hash = False
    publish(monkeypatch, size_bytes=7)
    with pytest.raises(WeightsError, match=rf"{NAME} is too long.* {len(CONTENT)} of 7 bytes"):
        weights.fetch(NAME)
    assert parts(weights.cache_dir()) == []


def test_a_file_of_unknown_hash_is_checked_from_the_second_time_on(hub, monkeypatch, caplog):
    publish(monkeypatch, sha256=None, size_bytes=None)
    path = weights.fetch(NAME)
    assert f"taken as {SHA256}" in caplog.text
    assert path.with_name("unet.pt.sha256").read_text() == f"{SHA256}  unet.pt\n"
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(WeightsError, match=f"is damaged or another version .*{SHA256}"):
        weights.locate(NAME)
    path.unlink()
    hub.content, hub.tells_hash = CONTENT[::-1], False
    with pytest.raises(WeightsError, match="arrived damaged"):
        weights.fetch(NAME)


def test_a_server_that_never_ends_is_cut(hub, tmp_path):
    hub.content, hub.tells_length = CONTENT * 20, False
    with pytest.raises(WeightsError, match=f"sends more than {len(CONTENT)} bytes, so another file"):
        weights.fetch(NAME)
    assert sum(parts(tmp_path)) <= len(CONTENT)


def test_a_file_of_which_nothing_is_known_is_not_believed(hub, tmp_path, monkeypatch):
    publish(monkeypatch, sources=[WebFile(f"{hub.address()}/cdn")], sha256=None, size_bytes=None)
    hub.tells_length = False
    with pytest.raises(WeightsError, match="its size and hash are unknown"):
        weights.fetch(NAME)
    assert weights.find(NAME) is None and parts(tmp_path) == []
    hub.tells_length = True
    assert weights.fetch(NAME).read_bytes() == CONTENT


def test_what_the_hub_tells_guards_the_first_download(hub, monkeypatch):
    publish(monkeypatch, sha256=None, size_bytes=None)
    hub.content = CONTENT[:-1] + b"!"
    with pytest.raises(WeightsError, match="arrived damaged"):
        weights.fetch(NAME)


@pytest.mark.parametrize("target", ["http://192.0.2.1/file", "ftp://127.0.0.1/file", "http://127.0.0.1.example/file"])
def test_a_redirect_away_from_https_is_refused_unasked(hub, connected, target):
    hub.location = f"{target}?signature=1"
    with pytest.raises(WeightsError, match=f"{target} is not https, and .* https only"):
        weights.fetch(NAME)
    assert set(connected) == {("127.0.0.1", hub.server.server_port)}


def test_a_mirror_without_https_is_refused_unasked(hub, connected, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example/")
    with pytest.raises(WeightsError, match=f"http://mirror.example{RESOLVE} is not https.* HF_ENDPOINT"):
        weights.fetch(NAME)
    assert connected == []


@pytest.mark.parametrize("endpoint", ["mirror.example", "https://mirror.example:port"])
def test_a_mirror_that_is_no_address_is_one_sentence(hub, connected, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(WeightsError, match="check (the network and )?HF_ENDPOINT"):
        weights.fetch(NAME)
    assert connected == []


def test_redirects_that_never_end_are_an_error(hub):
    hub.location = RESOLVE
    with pytest.raises(WeightsError, match="cannot be fetched .*redirects"):
        weights.fetch(NAME)


def test_the_token_goes_to_the_hub_only(hub, monkeypatch):
    other = Hub()
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("HF_ENDPOINT", hub.address("localhost"))
    for location in (f"{other.address('localhost')}/cdn", f"{hub.address('127.0.0.1')}/cdn"):  # a port, then a host
        hub.location = location
        weights.fetch(NAME).unlink()
    other.server.shutdown()
    other.server.server_close()
    tokens = [(one.path, one.authorization) for one in (*hub.requests, *other.requests)]
    assert sorted(tokens, key=str) == [("/cdn", None)] * 2 + [(RESOLVE, "Bearer secret")] * 2


def test_the_token_does_not_go_to_a_plain_address(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    publish(monkeypatch, sources=[WebFile(f"{hub.address()}/cdn/small.pt")])
    hub.cuts = [CUT]  # the same path, the same resuming
    assert weights.fetch(NAME).read_bytes() == CONTENT
    assert [one.authorization for one in hub.requests] == [None, None] and hub.ranges == [None, f"bytes={CUT}-"]


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "LATENTSYNC_OFFLINE"])
def test_offline_asks_nobody(hub, monkeypatch, tmp_path, variable):
    monkeypatch.setenv(variable, "1")
    message = (
        rf"{NAME} is not on this machine \(looked for checkpoints/{NAME}, .*cache/{NAME}\) .*{variable}.*{COMMAND}"
    )
    with pytest.raises(WeightsError, match=message):
        weights.fetch(NAME)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, r"\(HTTP 401\): .* licence at http://.*/owner/repository and set HF_TOKEN"),
        (403, r"\(HTTP 403\): HF_TOKEN is not set; .* licence"),
        (404, r"\(HTTP 404\): .* check .* HF_ENDPOINT"),
        (503, r"\(HTTP 503\): try again later"),
    ],
)
def test_a_refusal_is_one_useful_sentence(hub, status, message):
    hub.status = status
    with pytest.raises(WeightsError, match=message):
        weights.fetch(NAME)


def test_a_token_that_is_not_accepted_is_said_to_be(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    hub.status = 401
    with pytest.raises(WeightsError, match="HF_TOKEN is not accepted") as caught:
        weights.fetch(NAME)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("token", ["hf_SECRET\nx", "hf_SECRET x", "hf_SECR\u00c9T", "hf_SECRET\x7f", "hf_SECRET\udcff"])
def test_a_token_that_is_none_is_told_without_showing_it(hub, monkeypatch, capsys, token):
    monkeypatch.setenv("HF_TOKEN", token)
    assert main(["fetch", NAME]) == 1
    answer = capsys.readouterr()
    assert "HF_TOKEN holds" in answer.err and "set it to the token" in answer.err
    assert answer.err.count("\n") == 1 and "hf_" not in answer.err + answer.out
    assert hub.requests == []
    publish(monkeypatch, sources=[WebFile(f"{hub.address()}/cdn")])  # which needs none
    assert weights.fetch(NAME).read_bytes() == CONTENT


def test_white_space_around_the_token_does_not_matter(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", " hf_secret\n")
    weights.fetch(NAME)
    assert {one.authorization for one in hub.requests} == {"Bearer hf_secret"}


# Addresses that hold a password


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://reader:pa55@mirror.example:8443/a/b?token=pa55#pa55", "https://mirror.example:8443/a/b"),
        ("https://pa55@mirror.example", "https://mirror.example"),
        ("https://reader:p@55@mirror.example/a", "https://mirror.example/a"),
        ("https://reader:pa/55@mirror.example/a", "https://mirror.example/a"),  # "/" is no part of a password
        ("https://reader:pa#55@mirror.example/a?pa55", "https://mirror.example/a"),
        ("reader:pa55@mirror.example/a", "mirror.example/a"),  # the scheme was forgotten
        ("https://mirror.example:port/a", "https://mirror.example:port/a"),
        ("https://mirror.example/a@b?to=https://pa55@c", "https://mirror.example/a@b"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("https://[::1/a", "https://[::1/a"),
        ("mirror.example", "mirror.example"),
        ("file:///opt/simple", "file:///opt/simple"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_what_is_secret(url, expected):
    assert without_secrets(url) == expected


def test_a_mirror_with_a_password_is_asked_with_it(hub, monkeypatch, caplog):
    monkeypatch.setenv("HF_ENDPOINT", hub.secret_address())
    with caplog.at_level(logging.INFO):
        assert weights.fetch(NAME).read_bytes() == CONTENT
    assert {one.authorization for one in hub.requests} == {"Basic cmVhZGVyOnBhNTU="}  # reader:pa55
    logged = [record.getMessage() for record in caplog.records if record.name == "httpx"]
    assert f'HTTP Request: GET {hub.address()}{RESOLVE} "HTTP/1.1 302 Found"' in logged
    assert "pa55" not in caplog.text and "signature" not in caplog.text


FAULTS = {
    "refused": {"status": 401},
    "absent": {"status": 404},
    "broken off": {"cuts": [CUT, 0]},
    "damaged": {"content": CONTENT[:-1] + b"!"},
    "short": {"content": CONTENT[:CUT]},
    "endless": {"content": CONTENT * 2, "tells_length": False},
    "circular": {"location": RESOLVE},
    "elsewhere": {"location": "http://reader:pa55@192.0.2.1/file?signature=pa55"},
}


@pytest.mark.parametrize("fault", [*FAULTS, "another"])
def test_no_message_shows_the_password_of_a_mirror(hub, monkeypatch, fault):
    monkeypatch.setenv("HF_ENDPOINT", hub.secret_address())
    for name, value in FAULTS.get(fault, {}).items():
        setattr(hub, name, value.copy() if isinstance(value, list) else value)
    if fault == "another":
        publish(monkeypatch, sha256="0" * 64)
    with pytest.raises(WeightsError, match=r"http://(127\.0\.0\.1:|192\.0\.2\.1/)") as caught:
        weights.fetch(NAME)
    assert not any(secret in str(caught.value) for secret in ("pa55", "reader", "signature"))


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://reader:pa55@127.0.0.1:1",  # nobody is there
        "http://reader:pa55@mirror.example",
        "pa55:@mirror.example",
        "https://reader:pa55#word@mirror.example",
        "https://reader:pa55/word@mirror.example",
    ],
)
def test_no_message_shows_the_password_of_a_mirror_that_is_no_mirror(hub, connected, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(WeightsError, match=r"(127\.0\.0\.1:1|mirror\.example)/.*HF_ENDPOINT") as caught:
        weights.fetch(NAME)
    assert not any(secret in str(caught.value) for secret in ("pa55", "reader", "word"))
    assert set(connected) <= {("127.0.0.1", 1)}


def test_neither_locate_nor_list_shows_a_password(hub, monkeypatch, capsys):
    monkeypatch.setenv("HF_ENDPOINT", hub.secret_address())
    with pytest.raises(WeightsError, match=rf"to download {hub.address()}{RESOLVE} \(") as caught:
        weights.locate(NAME)
    publish(monkeypatch, sources=[WebFile("https://reader:pa55@files.example/unet.pt?token=pa55")])
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "web: files.example\n" in listed and "pa55" not in listed + str(caught.value)


def test_a_hub_that_is_not_there_is_one_sentence(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(WeightsError, match=rf"{RESOLVE} cannot be reached \(.*refused\); check the network"):
        weights.fetch(NAME)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_too_little_disk_is_said_before_anything_is_written(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(WeightsError, match=rf"{NAME} needs 512.0 kB .* 1.0 kB free; .*LATENTSYNC_CACHE"):
        weights.fetch(NAME, bars := Bars())
    assert parts(tmp_path) == [] and bars.begun == []


def test_the_next_source_is_asked_when_one_fails(hub, monkeypatch):
    gone = HubFile("owner/gone", REVISION, "unet.pt")
    publish(monkeypatch, sources=[gone, SOURCE])
    assert weights.fetch(NAME).read_bytes() == CONTENT
    assert "/owner/gone/" in hub.requests[0].path


def test_two_that_want_the_same_file_download_it_once(hub, caplog):
    hub.may_send.clear()  # until the second has found the first at work

    class Noticing(logging.Handler):
        def emit(self, record):
            if "waiting for it" in record.getMessage():
                hub.may_send.set()

    log, noticing = logging.getLogger("latentsync.weights.hub"), Noticing()
    log.addHandler(noticing)
    try:
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(weights.fetch, [NAME, NAME])
    finally:
        log.removeHandler(noticing)
    assert first == second and first.read_bytes() == CONTENT
    assert hub.sent == [len(CONTENT)]
    assert "fetched by another process" in caplog.text


def test_locate_does_not_download_from_the_hub_by_surprise(hub):
    with pytest.raises(WeightsError, match=rf"{NAME} .*; run {COMMAND} to download http://.* \(512.0 kB\)"):
        weights.locate(NAME)
    assert hub.requests == []


def test_the_command_fetches_and_reports_in_one_line(hub, capsys):
    hub.status = 404
    assert main(["fetch", NAME]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    hub.status = 200
    assert main(["fetch", NAME]) == 0
    assert capsys.readouterr().out == f"{NAME}: {weights.find(NAME)}\n"
