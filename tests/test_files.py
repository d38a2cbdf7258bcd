"""Files, sets of files and folders appear whole, or what was there stays, whatever ends their writer."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from unittest.mock import Mock

import pytest

from latentsync import disk, places, scratch
from latentsync.disk import kernel
from latentsync.errors import MediaError
from latentsync.files import (
    PART_PREFIX,
    move,
    place,
    place_link,
    private_folder,
    recover,
    remove,
    remove_abandoned,
    set_durable,
    whole_file,
    whole_files,
    whole_folder,
    write_json,
    write_text,
)


class KilledError(BaseException):
    """Stands for the end of the process: nothing is cleaned up by the code under test that a kill would not clean."""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def write(folder, **texts):
    for name, text in texts.items():
        (folder / name).write_text(text)


@pytest.fixture
def no_exchange(monkeypatch):
    """A file system that cannot exchange two folders."""

    def refuse(one, other):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(other))

    monkeypatch.setattr(disk.system, "exchange", refuse)


@pytest.fixture(params=["exchange", "no exchange"])
def any_system(request):
    if request.param == "no exchange":
        request.getfixturevalue("no_exchange")


def test_a_file_takes_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "ä")
    assert path.read_bytes() == "ä".encode() and names(path.parent) == ["a.txt"]
    with pytest.raises(RuntimeError, match="full"), whole_file(path) as part:
        part.write_text("half")
        assert path.read_text(encoding="utf-8") == "ä"
        raise RuntimeError("the disk is full")
    assert path.read_text(encoding="utf-8") == "ä" and names(path.parent) == ["a.txt"]


def test_a_folder_takes_the_place_of_another_when_it_is_whole(tmp_path, any_system):
    path = tmp_path / "new" / "model"
    for content in ("first", "second"):
        with whole_folder(path) as part:
            (part / content).touch()
        assert names(path) == [content]
    with pytest.raises(RuntimeError, match="full"), whole_folder(path) as part:
        (part / "third").touch()
        raise RuntimeError("the disk is full")
    assert names(path) == ["second"] and names(path.parent) == ["model"]


def test_a_folder_that_is_kept_stays_and_the_new_one_goes(tmp_path):
    path = tmp_path / "model"
    for content in ("first", "second"):
        with whole_folder(path, is_kept=lambda folder: folder.exists()) as part:
            (part / content).touch()
    assert names(path) == ["first"] and names(tmp_path) == ["model"]


def test_an_exchanged_folder_is_old_or_new_between_any_two_operations(tmp_path, monkeypatch):
    path = tmp_path / "weights"
    with whole_folder(path) as part:
        write(part, a="old")
    seen = Counter()
    for name in ("exchange", "rename", "sync", "remove_tree"):
        real = getattr(disk.system, name)

        def watched(*paths, real=real):
            seen[contents(path)["a"]] += 1
            real(*paths)
            seen[contents(path)["a"]] += 1

        monkeypatch.setattr(disk.system, name, watched)
    with whole_folder(path) as part:
        write(part, a="new")
    assert set(seen) == {"old", "new"} and contents(path) == {"a": "new"}


@pytest.mark.parametrize("killed_at", range(1, 9))
def test_a_replaced_folder_is_found_after_a_kill_even_where_folders_cannot_be_exchanged(
    tmp_path, monkeypatch, no_exchange, killed_at
):
    path = tmp_path / "weights"
    with whole_folder(path) as part:
        write(part, a="old")
    with monkeypatch.context() as patch:
        die_at_call(patch, killed_at)
        with pytest.raises(KilledError), whole_folder(path) as part:
            write(part, a="new")
    recover(tmp_path)
    assert contents(path)["a"] in ("old", "new")
    with whole_folder(path) as part:
        write(part, a="newest")
    assert contents(path) == {"a": "newest"} and names(tmp_path) == ["weights"]


def die_at_call(patch, number):
    """From the n-th operation on none works, so that nothing is tidied up either."""
    calls = iter(range(1, 1000))
    for name in ("write", "make_folder", "rename", "replace", "exchange", "link", "unlink", "remove_tree", "sync"):
        real = getattr(disk.system, name)

        def dying(*arguments, real=real):
            if next(calls) >= number:
                raise KilledError
            real(*arguments)

        patch.setattr(disk.system, name, dying)


@pytest.mark.parametrize("killed_at", range(1, 20))
def test_files_that_belong_together_are_all_old_or_all_new_after_a_kill(tmp_path, monkeypatch, killed_at):
    def make(text, **more):
        with whole_files(tmp_path, ("a", "b", "c", "proof"), proof="proof") as part:
            write(part, a=text, b=text, proof=text, **more)

    make("old", c="old")
    old = dict.fromkeys(("a", "b", "c", "proof"), "old")
    with monkeypatch.context() as patch:
        die_at_call(patch, killed_at)
        try:
            make("new")
        except KilledError:
            now = contents(tmp_path)
            assert "proof" not in now or len({now[name] for name in ("a", "b", "proof")}) == 1
    recover(tmp_path)
    assert contents(tmp_path) in (old, dict.fromkeys(("a", "b", "proof"), "new"))
    make("newest")
    assert contents(tmp_path) == dict.fromkeys(("a", "b", "proof"), "newest")
    assert names(tmp_path) == ["a", "b", "proof"]


def test_content_is_on_the_disk_before_it_has_its_name_and_the_name_at_the_end(tmp_path, monkeypatch):
    log = []
    for name in ("sync", "rename", "replace"):
        real = getattr(disk.system, name)

        def logged(*paths, name=name, real=real):
            log.append((name, paths[-1].name))
            real(*paths)

        monkeypatch.setattr(disk.system, name, logged)
    write_json(tmp_path / "plan.json", {})
    assert log == [("sync", "plan.json.tmp"), ("replace", "plan.json"), ("sync", tmp_path.name)]
    log.clear()
    with whole_folder(tmp_path / "record") as part:
        (part / "deep").mkdir()
        write_json(part / "deep" / "record.json", {})
        write(part, mask="m")
    first, *_, last = log
    assert first == ("replace", "record.json") and last == ("sync", tmp_path.name)  # the inner file waits for the whole
    before = log[: log.index(("rename", "record"))]
    assert {name for kind, name in before if kind == "sync"} == {"record.json", "mask", "deep", "record"}
    log.clear()
    set_durable(False)
    try:
        write_json(tmp_path / "plan.json", {})
    finally:
        set_durable(True)
    assert log == [("replace", "plan.json")]


def test_a_folder_that_cannot_be_synced_is_no_error_and_a_file_is(tmp_path, monkeypatch):
    def sync(path):
        raise OSError(errno.EINVAL if path.is_dir() else errno.EIO, "no")

    monkeypatch.setattr(disk.system, "sync", sync)
    with pytest.raises(OSError, match="no"):
        write_text(tmp_path / "a.txt", "a")
    assert names(tmp_path) == []
    remove(tmp_path / "a.txt")


def test_of_folders_that_are_abandoned_those_of_living_processes_stay(tmp_path):
    ours, theirs = (f"{PART_PREFIX}0123456789ab-{machine}" for machine in (kernel(), "elsewhere"))
    for name in (ours, theirs):
        (tmp_path / name).mkdir()
    code = "import sys; from pathlib import Path; from latentsync.files import private_folder\n" + (
        "with private_folder(Path(sys.argv[1])) as part: print(part.name, flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], **pipes) as child:
        living = child.stdout.readline().strip()
        with private_folder(tmp_path) as part:
            assert names(tmp_path) == sorted([theirs, living, part.name])
        child.send_signal(signal.SIGKILL)
    remove_abandoned(tmp_path)
    assert names(tmp_path) == [theirs]
    day_ago = os.stat(tmp_path / theirs).st_mtime - scratch.ABANDONED_S - 1
    os.utime(tmp_path / theirs, (day_ago, day_ago))
    remove_abandoned(tmp_path)
    assert names(tmp_path) == []
    (tmp_path / theirs).mkdir()
    with private_folder(tmp_path) as part:
        remove_abandoned(tmp_path, is_locked=True)
        assert names(tmp_path) == [part.name]


def test_a_folder_whose_file_system_takes_no_files_is_told_so(tmp_path, monkeypatch):
    def make_folder(path):  # as in /proc
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    monkeypatch.setattr(disk.system, "make_folder", make_folder)
    with pytest.raises(MediaError, match=r"cannot be written \(its file system takes no new files\); choose another"):
        private_folder(tmp_path).__enter__()
    with pytest.raises(PermissionError, match=f"its file system takes no new files: '{tmp_path}'"):
        write_text(tmp_path / "a.txt", "a")


def test_without_locks_the_age_decides(tmp_path, monkeypatch):
    def flock(number, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(scratch.fcntl, "flock", flock)
    young, old = tmp_path / f"{PART_PREFIX}1-{kernel()}", tmp_path / f"{PART_PREFIX}2-{kernel()}"
    for folder in (young, old):
        folder.mkdir()
        write(folder, **{scratch.LOCK_FILE: ""})
    for path in (old, old / scratch.LOCK_FILE):
        os.utime(path, (1e9, 1e9))
    write_text(tmp_path / "a.txt", "a")
    assert names(tmp_path) == [young.name, "a.txt"]


def test_several_writers_of_one_folder_leave_one_whole(tmp_path, any_system):
    path = tmp_path / "model"
    errors = []

    def fill(number):
        try:
            for _ in range(5):
                with whole_folder(path) as part:
                    write(part, a=str(number), b=str(number))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = contents(path)
    assert errors == [] and now["a"] == now["b"] and names(tmp_path) == ["model"]


def test_removed_and_moved_things_lose_their_names_at_once(tmp_path, monkeypatch):
    folder = tmp_path / "record"
    folder.mkdir()
    write(folder, a="1")
    with monkeypatch.context() as patch:
        patch.setattr(disk.system, "remove_tree", lambda path: (_ for _ in ()).throw(OSError(errno.EIO, "no")))
        remove(folder)
    assert not folder.exists()
    remove_abandoned(tmp_path)
    assert names(tmp_path) == []
    remove(folder)  # there need be none
    folder.mkdir()
    move(folder, tmp_path / "set_aside" / "record")
    assert names(tmp_path) == ["set_aside"]
    folder.mkdir()
    with pytest.raises(FileExistsError):
        move(folder, tmp_path / "set_aside" / "record")
    place(folder, tmp_path / "set_aside" / "record")
    assert names(tmp_path) == ["set_aside"]


def test_a_link_takes_the_place_of_a_dead_one_and_is_a_copy_where_there_are_no_links(tmp_path, monkeypatch):
    (tmp_path / "records").mkdir()
    video, link = tmp_path / "records" / "a.mp4", tmp_path / "videos" / "a.mp4"
    video.write_text("video")
    link.parent.mkdir()
    link.symlink_to("../records/gone.mp4")
    place_link(video, link)
    assert link.is_symlink() and link.read_text() == "video" and names(video.parent) == ["a.mp4"]
    monkeypatch.setattr(disk.system, "link", lambda source, path: (_ for _ in ()).throw(OSError(errno.EPERM, "no")))
    place_link(video, link)
    assert not link.is_symlink() and link.read_text() == "video" and names(link.parent) == ["a.mp4"]


def test_a_folder_in_order_is_not_listed_again(tmp_path, monkeypatch):
    os.utime(tmp_path, (1e9, 1e9))
    recover(tmp_path)
    monkeypatch.setattr(places, "_settle", lambda folder: pytest.fail("listed again"))
    recover(tmp_path)


def test_the_runtime_option_reaches_the_door_in_every_process(monkeypatch):
    from latentsync.config import Options
    from latentsync.errors import OptionError
    from latentsync.files import is_durable
    from latentsync.lab.cells import loading
    from latentsync.lab.options.compose import configured
    from latentsync.lab.options.schema import read_config

    monkeypatch.setattr(loading, "load_pipeline", Mock())
    try:
        for value in (False, True):
            loading.pipeline_of(read_config(configured([f"runtime.durable={str(value).lower()}"])))
            assert is_durable() is value
    finally:
        set_durable(True)
    with pytest.raises(OptionError, match="durable is 'no'; it must be true or false"):
        Options.of(durable="no")
