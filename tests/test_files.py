"""Files and folders appear whole, or what was there stays."""

import pytest

from latentsync.files import whole_file, whole_folder, write_text


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
            part.mkdir()
            (part / content).touch()
        assert names(path) == [content]
    with pytest.raises(RuntimeError, match="full"), whole_folder(path) as part:
        part.mkdir()
        raise RuntimeError("the disk is full")
    assert names(path) == ["second"] and names(path.parent) == ["model"]
