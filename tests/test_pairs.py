"""Which clip goes with which voice, and what is left out."""

import os
import sys
import unicodedata

import pytest

from latentsync.errors import MediaError, OptionError
from latentsync.lab.options.pairs import SHIPPED_DIR, find_pairs, pairs_of, read_pairs
from latentsync.lab.options.schema import DataConfig
from latentsync.media import read_sound


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
    ((name, reason),) = pairing.left_out
    assert name == "notes.txt" and "neither video, picture nor sound" in reason


def test_what_cannot_be_told_apart_is_left_out_with_its_reason(tmp_path):
    fill(tmp_path, "g-a.mp4", "g-a.mov", "g-b.webm", "g-v.wav", "anna.mp4", "m-only.avi", "g-w.xyz")
    pairing = find_pairs(tmp_path)
    assert names(pairing) == ["g-b__g-v"]
    reasons = dict(pairing.left_out)
    assert "neither g- nor m-" in reasons["anna.mp4"]
    assert "same output name" in reasons["g-a.mp4"] and "same output name" in reasons["g-a.mov"]
    assert "is empty" in reasons["g-w.xyz"]
    assert "no voice" in reasons["m-only.avi"]


def test_pairs_that_would_write_to_one_name_are_left_out(tmp_path):
    fill(tmp_path, "g-a.mp4", "g-a__g-b.mp4", "g-b__g-c.wav", "g-c.wav")
    pairing = find_pairs(tmp_path)
    assert names(pairing) == ["g-a__g-c", "g-a__g-b__g-b__g-c"]
    assert len(pairing.left_out) == 2 and all("g-a__g-b__g-c" in reason for _, reason in pairing.left_out)


def test_own_voices_only(tmp_path):
    assert names(find_pairs(SHIPPED_DIR, "own")) == ["g-clara__g-clara", "m-oskar__m-oskar"]
    assert len(find_pairs(SHIPPED_DIR, "all").pairs) == 4


def test_every_clip_gets_a_voice_that_is_not_its_own_and_one_of_its_gender_where_there_is_one(tmp_path):
    fill(tmp_path, "g-a.mp4", "g-b.mp4", "g-c.mp4", "m-x.mp4", "g-a.wav", "g-b.wav", "g-d.wav", "m-x.wav")
    pairing = find_pairs(tmp_path, "other")
    assert names(pairing) == ["g-a__g-b", "g-b__g-d", "g-c__g-d", "m-x__g-a"]
    assert pairing.left_out == ()
    assert names(find_pairs(SHIPPED_DIR, "other")) == ["g-clara__g-clara-weather", "m-oskar__m-oskar-weather"]
    (tmp_path / "alone").mkdir()
    with pytest.raises(MediaError, match=r"gives no pair \(g-a.mp4: there is no voice"):
        find_pairs(fill(tmp_path / "alone", "g-a.mp4", "g-a.wav"), "other")


def test_every_clip_can_be_paired_with_silence(tmp_path):
    pairing = find_pairs(fill(tmp_path, "g-a.mp4", "b.mp4", "g-a.wav", "m-x.wav"), "silent")
    assert names(pairing) == ["g-a__silence", "b__silence"] and pairing.left_out == ()
    samples = read_sound(pairing.pairs[0].voice, 16000)
    assert len(samples) == 60 * 16000 and not samples.any()


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(MediaError, match="no folder at"):
        find_pairs(tmp_path / "absent")
    with pytest.raises(MediaError, match=r"no pair \(it holds no clips"):
        find_pairs(tmp_path)
    with pytest.raises(MediaError, match=r"gives no pair \(anna.mp4"):
        find_pairs(fill(tmp_path, "anna.mp4"))
    with pytest.raises(OptionError, match="pairing 'some' is unknown"):
        find_pairs(tmp_path, "some")


def listed(folder, *lines, header="clip,voice,gender,group,split"):
    (folder / "pairs.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder / "pairs.csv"


def test_a_list_says_its_pairs_with_gender_group_and_split(tmp_path):
    (tmp_path / "b").mkdir()
    fill(tmp_path, "g-a.mp4", "x.mov", "b/v.wav", "b/w, loud.wav")
    path = listed(
        tmp_path, "g-a.mp4,b/v.wav,,anna,test", "", "x.mov,b/v.wav,,,train", 'x.mov,"b/w, loud.wav",male,oskar,test'
    )
    assert [(p.name, p.gender, p.group, p.split) for p in read_pairs(path).pairs] == [
        ("g-a__v", "female", "anna", "test"),
        ("x__v", "neutral", None, "train"),
        ("x__w, loud", "male", "oskar", "test"),
    ]
    assert read_pairs(path).pairs[0].voice == tmp_path / "b" / "v.wav"
    assert names(pairs_of(DataConfig(list=str(path), split="test"))) == ["g-a__v", "x__w, loud"]


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        (["g-a.mp4,v.wav"], "clip,sound", "line 1: .* column voice .* clip, sound; .*clip, voice, gender"),
        (["g-a.mp4,v.wav,,,", "g-b.mp4,v.wav,,,"], None, "line 3: clip is g-b.mp4, .*relative"),
        (["g-a.mp4,,,,"], None, "line 2: voice is empty; give a file"),
        (["g-a.mp4,v.wav,lady,,"], None, r"line 2: gender is 'lady'; .* female \(f\), male \(m\), neutral"),
        (["g-a.mp4,v.wav,,,", "", "g-a.mp4,v.wav,,,"], None, "line 4: g-a__v .* line 2; remove"),
        (["g-a.mp4,v.wav,,,", "b/g-a.mp4,v.wav,,,"], None, "line 3: g-a__v .* line 2; rename"),
        (["g-a.mp4,v.wav,,,,loud"], None, "line 2: 'loud' .* column split; .*commas"),
        ([], None, "add one row per pair"),
    ],
)
def test_a_list_that_is_wrong_is_refused_with_line_and_value(tmp_path, lines, header, message):
    (tmp_path / "b").mkdir()
    fill(tmp_path, "g-a.mp4", "b/g-a.mp4", "v.wav")
    with pytest.raises(MediaError, match=message):
        read_pairs(listed(tmp_path, *lines, **({"header": header} if header else {})))


def test_a_split_that_no_pair_has_and_a_missing_list_are_refused(tmp_path):
    fill(tmp_path, "g-a.mp4", "v.wav")
    with pytest.raises(OptionError, match="data.split is 'val', .*; its splits: test"):
        read_pairs(listed(tmp_path, "g-a.mp4,v.wav,,,test"), "val")
    with pytest.raises(MediaError, match="there is no list at"):
        read_pairs(tmp_path / "absent.csv")
    with pytest.raises(OptionError, match="give one of them"):
        DataConfig(input_dir="in", list="pairs.csv")
    with pytest.raises(OptionError, match="data.split is test .* data.list"):
        DataConfig(split="test")


def test_every_pair_of_a_long_list_takes_the_same_work(tmp_path):
    fill(tmp_path, *(f"c{i}.mp4" for i in range(100)), *(f"v{i}.wav" for i in range(30)))
    calls = []
    for rows in (1000, 2000, 3000):
        path = listed(tmp_path, *(f"c{i % 100}.mp4,v{i // 100}.wav,,,test" for i in range(rows)))
        counted = []
        sys.setprofile(lambda frame, event, _, counted=counted: counted.append(event))
        try:
            pairing = read_pairs(path)
        finally:
            sys.setprofile(None)
        assert len(pairing.pairs) == rows
        calls.append(len(counted))
    assert calls[2] - calls[1] <= 1.01 * (calls[1] - calls[0])  # no row is compared with all rows before it


# --- names ---

COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "José"), unicodedata.normalize("NFD", "José")


def test_names_without_a_prefix_are_neutral(tmp_path):
    fill(tmp_path, "anna.mp4", "voice.wav", "g-a.mp4", "g-v.wav", "m-only.mp4")
    pairing = find_pairs(tmp_path)
    assert [(pair.name, pair.gender) for pair in pairing.pairs] == [("g-a__g-v", "female"), ("anna__voice", "neutral")]
    assert dict(pairing.left_out) == {"m-only.mp4": "there is no voice to pair it with: its name would begin with m-"}


def test_composed_and_decomposed_accents_are_one_name(tmp_path):
    folder = tmp_path / DECOMPOSED
    folder.mkdir()
    fill(folder, f"g-{COMPOSED}.mp4", f"g-{DECOMPOSED}.wav")
    assert len(find_pairs(tmp_path / COMPOSED, "own").pairs) == 1  # the folder is found, and the pair
    fill(folder, f"g-{DECOMPOSED}.mov")
    with pytest.raises(MediaError, match="same output name"):
        find_pairs(folder)
    path = listed(tmp_path, f"{COMPOSED}/g-{DECOMPOSED}.mp4,{DECOMPOSED}/g-{COMPOSED}.wav", header="clip,voice")
    assert read_pairs(path).pairs[0].voice == folder / f"g-{DECOMPOSED}.wav"


def test_undecodable_names_are_shown_escaped(tmp_path):
    raw = os.path.join(os.fsencode(tmp_path), "g-李明.mp4".encode("gbk"))
    with open(raw, "wb"):
        pass
    (pair,) = find_pairs(fill(tmp_path, "g-v.wav")).pairs
    assert pair.name == "g-%C0%EE%C3%F7__g-v" and pair.clip.is_file()
    error = str(MediaError(f"{pair.clip} is empty"))
    assert "%C0%EE" in error and error.encode()


# --- lists as people save them ---


@pytest.mark.parametrize(
    "text",
    [
        "clip;voice;gender\ng-a.mp4;v.wav;F\n",
        "clip\tvoice\tgender\ng-a.mp4\tv.wav\tFemale\n",
        " Clip , VOICE ,Gender\n g-a.mp4 , v.wav , 女 \n",
        "sep=;\r\nclip;voice;gender\r\ng-a.mp4;v.wav;woman\r\n",
        '\n;;\nClip;Voice;Gender;\n"g-a.mp4";v.wav;;\n;;;\n',
        'note,voice,clip,gender\n"a, b",v.wav,g-a.mp4,f\n',
        "clip|voice\rg-a.mp4|v.wav\r",
        "clip;voice\ng-a.mp4;.\\v.wav\n",
        "clip;voice;gender\ng-a.mp4;b/../v.wav;\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_list_is_read_as_spreadsheets_and_people_write_it(tmp_path, text, encoding):
    (tmp_path / "b").mkdir()
    fill(tmp_path, "g-a.mp4", "v.wav")
    (tmp_path / "list.csv").write_bytes(text.encode(encoding))
    (pair,) = read_pairs(tmp_path / "list.csv").pairs
    assert (pair.name, pair.gender) == ("g-a__v", "female")


def test_a_list_gives_names_to_files_that_are_called_alike(tmp_path):
    for folder in ("id1", "id2"):
        (tmp_path / folder).mkdir()
        fill(tmp_path / folder, "00001.mp4")
    path = listed(
        tmp_path, *(f"{i}/00001.mp4,{i}/00001.mp4,M,{i},{i}-00001" for i in ("id1", "id2")),
        header="clip,voice,gender,group,name",
    )  # fmt: skip
    assert names(read_pairs(path)) == ["id1-00001", "id2-00001"]
    with pytest.raises(MediaError, match=r"line 2: name is '\.\./x'"):
        read_pairs(listed(tmp_path, "id1/00001.mp4,id1/00001.mp4,../x", header="clip,voice,name"))


def test_a_list_in_another_encoding_is_refused_with_the_remedy(tmp_path):
    fill(tmp_path, "g-李明.mp4", "v.wav")
    (tmp_path / "list.csv").write_bytes("clip,voice\ng-李明.mp4,v.wav\n".encode("gbk"))
    with pytest.raises(MediaError, match="line 2: .* not in UTF-8"):
        read_pairs(tmp_path / "list.csv")
