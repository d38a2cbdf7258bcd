"""Isolated decoding: a file that ends the child process is refused, and the next file gets another child."""

import os
import shutil
import signal

import pytest

from latentsync import media
from latentsync.errors import MediaError
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.media import isolation

CRASH = "import os, sys; sys.stdin.buffer.readline(); os.kill(os.getpid(), 11)"


@pytest.fixture
def isolated():
    """Decoding is isolated in the test; its child ends with it."""
    isolation.set_isolated(True)
    yield
    isolation.set_isolated(False)
    isolation._end_child()


def test_a_file_that_crashes_the_decoder_is_refused_and_others_are_read(isolated, tmp_path, monkeypatch):
    bad, good = (shutil.copy(SHIPPED_DIR / "g-clara.wav", tmp_path / name) for name in ("bad.wav", "good.wav"))
    with monkeypatch.context() as patch:
        patch.setattr(isolation, "_SERVE", CRASH)
        with pytest.raises(MediaError, match=r"bad\.wav ends the process that decodes it \(signal 11\)"):
            media.read_sound(bad)
    with pytest.raises(MediaError, match="signal 11"):
        media.probe_sound(bad)  # the answer is kept: the file is not opened here
    assert media.probe_sound(good).channels == 1
    child = isolation._child
    assert media.probe(SHIPPED_DIR / "g-clara.mp4").width and isolation._child is child  # one child serves many
    os.kill(child.pid, signal.SIGKILL)  # not the fault of a file that was tried already
    assert media.read_sound(good).size


def test_a_child_without_an_answer_is_ended(isolated, tmp_path, monkeypatch):
    path = shutil.copy(SHIPPED_DIR / "g-clara.wav", tmp_path / "slow.wav")
    monkeypatch.setattr(isolation, "QUIET_S", 0.1)
    monkeypatch.setattr(isolation, "_SERVE", "import time; time.sleep(60)")
    with pytest.raises(MediaError, match=r"slow\.wav takes more than 0\.1 s"):
        media.read_sound(path)
    assert isolation._child.poll() is not None


def test_files_are_opened_at_once_unless_they_are_isolated(monkeypatch):
    monkeypatch.setattr(isolation, "_started", lambda: pytest.fail("a child was started"))
    assert media.probe_sound(SHIPPED_DIR / "g-clara.wav").channels == 1
