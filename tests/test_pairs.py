"""Which clip goes with which voice, and what is left out."""

import pytest

from experiments.pairs import SHIPPED_DIR, find_pairs
from latentsync.errors import MediaError, OptionError


def fill(folder, *names):
    for name in names:
        (folder / name).touch()
    return folder


def names(pairing):
    return [pair.name for pair in pairing.pairs]


def test_every_voice_goes_with_every_clip_of_its_gender_women_first(tmp_path):
    fill(tmp_path, "m-z.mp4", "m-a.wav", "g-b.mov", "g-a.MKV", "G-x.flac", "g-y.mp3", "notes.txt", ".g-hidden.mp4")
    pairing = find_pairs(tmp_path)
    assert names(pairing) == ["g-a__G-x", "g-a__g-y", "g-b__G-x", "g-b__g-y", "m-z__m-a"]
    assert [pair.gender for pair in pairing.pairs] == ["female"] * 4 + ["male"]
    assert pairing.left_out == ()


def test_what_cannot_be_told_apart_is_left_out_with_its_reason(tmp_path):
    fill(tmp_path, "g-a.mp4", "g-a.mov", "g-b.webm", "g-v.wav", "anna.mp4", "m-only.avi", "g-w.ogg")
    pairing = find_pairs(tmp_path)
    assert names(pairing) == ["g-b__g-v"]
    reasons = dict(pairing.left_out)
    assert "neither g- nor m-" in reasons["anna.mp4"]
    assert "one output name" in reasons["g-a.mp4"] and "one output name" in reasons["g-a.mov"]
    assert ".ogg is not among" in reasons["g-w.ogg"]
    assert "no voice" in reasons["m-only.avi"]


def test_pairs_that_would_write_to_one_name_are_left_out(tmp_path):
    fill(tmp_path, "g-a.mp4", "g-a__g-b.mp4", "g-b__g-c.wav", "g-c.wav")
    pairing = find_pairs(tmp_path)
    assert names(pairing) == ["g-a__g-c", "g-a__g-b__g-b__g-c"]
    assert len(pairing.left_out) == 2 and all("g-a__g-b__g-c" in reason for _, reason in pairing.left_out)


def test_own_voices_only(tmp_path):
    assert names(find_pairs(SHIPPED_DIR, "own")) == ["g-clara__g-clara", "m-oskar__m-oskar"]
    assert len(find_pairs(SHIPPED_DIR, "all").pairs) == 4


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(MediaError, match="no folder at"):
        find_pairs(tmp_path / "absent")
    with pytest.raises(MediaError, match=r"gives no pair \(it holds no clips"):
        find_pairs(tmp_path)
    with pytest.raises(MediaError, match=r"gives no pair \(anna.mp4"):
        find_pairs(fill(tmp_path, "anna.mp4"))
    with pytest.raises(OptionError, match="pairing 'some' is unknown"):
        find_pairs(tmp_path, "some")
