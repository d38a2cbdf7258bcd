"""The log of a run: what it holds, and that it never fails the run."""

import errno
import os
import subprocess

import pytest

from latentsync import journal
from latentsync.lab.cells.outcome import Outcome, note_outcome
from latentsync.lab.console import PairBar
from latentsync.verbosity import VERBOSITY_VARIABLE


def test_a_run_is_noted_line_by_line_and_added_to_the_earlier_ones(tmp_path):
    path = tmp_path / "sweeps" / "x" / "log.jsonl"
    for run in ("first", "second"):
        with journal.writing(path, run), PairBar("a__b") as bar:
            bar.record = "0a1b"
            bar.on_progress("align", 1, 2)
            bar.on_progress("align", 2, 2)
            bar.say("store")
        with journal.writing(path, run):
            note_outcome(Outcome("a__b", "female", 1.5, "failed", "0a1b", 1.25, "store", "the disk is full"))
        journal.finish(path, run, failures=1)
    events = journal.read(path)
    assert [event["event"] for event in events] == ["start", "stage", "stage", "stage", "pair", "end"] * 2
    assert [event["run"] for event in events] == ["first"] * 6 + ["second"] * 6
    start, read, align, store, pair, end = events[:6]
    assert {"latentsync", "python", "torch", "av"} <= set(start["versions"]) and start["process"] == os.getpid()
    assert [one["stage"] for one in (read, align, store)] == ["read", "align", "store"]
    assert all(one["seconds"] >= 0 and one["peak_memory_mb"] > 10 and one["pair"] == "a__b" for one in (read, align))
    assert (align["record"], pair["status"], pair["reason"]) == ("0a1b", "failed", "the disk is full")
    assert end["failures"] == 1 and end["time"].endswith("Z")


def test_an_error_that_ends_a_run_is_noted(tmp_path):
    with pytest.raises(KeyboardInterrupt), journal.writing(tmp_path / "log.jsonl", "run"):
        raise KeyboardInterrupt("SIGTERM")
    assert journal.read(tmp_path / "log.jsonl")[-1]["error"] == "KeyboardInterrupt: SIGTERM"


def test_a_line_that_was_cut_costs_no_other(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "start"}\n{"event": "sta')
    with journal.writing(path, "run"):
        journal.note("cell")
    assert [event["event"] for event in journal.read(path)] == ["start", "start", "cell"]


def test_a_full_disk_ends_the_log_and_not_the_run(tmp_path, monkeypatch):
    path, write = tmp_path / "log.jsonl", os.write

    def full(number, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with journal.writing(path, "run"):
        monkeypatch.setattr(os, "write", full)
        journal.note("cell")
        monkeypatch.setattr(os, "write", write)
        journal.note("pair")
    assert [event["event"] for event in journal.read(path)] == ["start"]


@pytest.mark.parametrize("place", ["file/log.jsonl", "link"])
def test_a_log_that_cannot_be_opened_fails_nothing(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with journal.writing(tmp_path / place, "run"):
        journal.note("cell")
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


def test_stages_are_shown_by_verbose_only(tmp_path, monkeypatch, capsys):
    for level in ("normal", "quiet", "verbose"):
        monkeypatch.setenv(VERBOSITY_VARIABLE, level)
        with PairBar("a__b") as bar:
            bar.say("align")
        assert ("a__b: align" in capsys.readouterr().out) == (level == "verbose")


def test_the_commit_of_a_clone_is_named_and_git_is_left_as_it_is(tmp_path):
    clone = tmp_path / "clone"

    def git(*arguments):
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(clone), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    clone.mkdir()
    assert journal.commit_of(clone) == {}  # an installed package
    journal.commit_of.cache_clear()
    git("init", "-q")
    (clone / "a.txt").write_text("one")
    git("add", "a.txt")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD")
    os.utime(clone / "a.txt", (0, 0))  # so that git would refresh its index
    index = (clone / ".git/index").stat().st_mtime_ns
    (clone / ".git/index.lock").touch()  # of another git at work
    assert journal.commit_of(clone) == {"commit": head}
    assert (clone / ".git/index").stat().st_mtime_ns == index
    (clone / "a.txt").write_text("two!")
    journal.commit_of.cache_clear()
    assert journal.commit_of(clone) == {"commit": f"{head}-dirty"}
    journal.commit_of.cache_clear()
