"""Files and folders appear whole, or what was there stays."""

import socket

import pytest

from latentsync.files import PART_PREFIX, private_folder, remove_abandoned, whole_file, whole_folder, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "ä")
    assert path.read_bytes() == "ä".encode() and names(path.parent) == ["a.txt"]
    with pytest.raises(RuntimeError, match="full"), whole_file(path) as part:
        part.write_text("half")
        assert path.read_text(encoding="utf-8") == "ä"
        raise RuntimeError("the disk is full")
    assert path.read_text(encoding="utf-8") == "ä" and names(path.parent) == ["a.txt"]


def test_a_folder_takes_the_place_of_another_when_it_is_whole(tmp_path):
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


def test_abandoned_folders_of_this_machine_are_removed_and_in_a_locked_folder_those_of_all(tmp_path):
    ours, theirs = (f"{PART_PREFIX}0123456789ab-{host}-4194305" for host in (socket.gethostname(), "elsewhere"))
    for name in (ours, theirs):
        (tmp_path / name).mkdir()
    with private_folder(tmp_path) as part:
        assert names(tmp_path) == sorted([theirs, part.name])
        remove_abandoned(tmp_path, is_locked=True)
        assert names(tmp_path) == [part.name]
    assert names(tmp_path) == []
