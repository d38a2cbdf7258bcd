"""`latentsync pairs`: lists from the trees of data sets."""

import unicodedata

import pytest

from latentsync.__main__ import main
from latentsync.lab.options.pairs import read_pairs


def tree(folder, *files):
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def listed(folder, *options, output="pairs.csv"):
    """(clip, voice, gender, group, split, name) of each pair; files relative to the folder."""
    assert main(["pairs", str(folder), "--output", str(folder.parent / output), *map(str, options)]) == 0
    return [
        (*(str(path.relative_to(folder)) for path in (p.clip, p.voice)), p.gender, p.group, p.split, p.name)
        for p in read_pairs(folder.parent / output).pairs
    ]


def test_own_sound_and_voices_beside(tmp_path, capsys):
    root = tree(tmp_path / "d", "a.mp4", "b/c.MOV", "b/c.wav", "b/.hidden.mp4", "__MACOSX/a.mp4", "notes.txt")
    assert [row[:2] for row in listed(root)] == [("a.mp4", "a.mp4"), ("b/c.MOV", "b/c.wav")]
    assert "has 2 pairs\n" in capsys.readouterr().out
    assert [row[:2] for row in listed(root, "--voices", "own")] == [("a.mp4", "a.mp4"), ("b/c.MOV", "b/c.MOV")]
    assert [row[:2] for row in listed(root, "--voices", "beside")] == [("b/c.MOV", "b/c.wav")]
    assert "left out   a.mp4: there is no voice beside it" in capsys.readouterr().out


def test_hdtf(tmp_path):
    root = tree(tmp_path / "HDTF", "WDA_KatieHill_000.mp4", "RD_Radio1_000.mp4")
    assert [row[2:5] for row in listed(root, "--clips", "{source}_{group}_{part}.mp4", "--gender", "F")] == [
        ("female", "Radio1", None), ("female", "KatieHill", None)
    ]  # fmt: skip


def test_voxceleb2_with_its_table_of_genders(tmp_path, capsys):
    root = tree(
        tmp_path / "vox2",
        *(f"{kind}/{who}/{video}/00001.{end}" for kind, end in (("mp4", "mp4"), ("aac", "m4a"))
          for who, video in (("id00012", "21U"), ("id00012", "2DL"), ("id00015", "0fi"), ("id00016", "x"))),
    )  # fmt: skip
    (root / "vox2_meta.csv").write_text(
        "VoxCeleb2 ID \tVGGFace2 ID \tGender \tSet \nid00012 \tn000012 \tm \tdev \nid00015\tn000015\tf\ttest\n"
    )
    rows = listed(
        root, "--clips", "mp4/{group}/{video}/{clip}.mp4", "--voices", "aac/{group}/{video}/{clip}.m4a",
        "--genders", root / "vox2_meta.csv",
    )  # fmt: skip
    assert rows[0] == (
        "mp4/id00012/21U/00001.mp4", "aac/id00012/21U/00001.m4a", "male", "id00012", None, "id00012-21U-00001"
    )  # fmt: skip
    assert [row[2] for row in rows] == ["male", "male", "female", "neutral"]
    assert "no gender of 1 groups: id00016" in capsys.readouterr().out


def test_lrs_with_splits(tmp_path):
    root = tree(tmp_path / "lrs", "trainval/0Af/50001.mp4", "test/0Af/50001.mp4", "trainval/0Af/50001.txt")
    rows = listed(root, "--clips", "{split}/{group}/{clip}.mp4")
    assert [row[3:] for row in rows] == [("0Af", "test", "test-0Af-50001"), ("0Af", "trainval", "trainval-0Af-50001")]


def test_grid_and_crema_d(tmp_path):
    root = tree(
        tmp_path / "grid", "s1/video/mpg_6000/bbaf2n.mpg", "s1/audio/bbaf2n.wav", "s2/video/mpg_6000/lbax4n.mpg"
    )
    rows = listed(root, "--clips", "{group}/video/*/{clip}.mpg", "--voices", "{group}/audio/{clip}.wav")
    assert rows == [("s1/video/mpg_6000/bbaf2n.mpg", "s1/audio/bbaf2n.wav", "neutral", "s1", None, "bbaf2n__bbaf2n")]
    root = tree(tmp_path / "crema", "VideoFlash/1001_DFA_ANG_XX.flv", "AudioWAV/1001_DFA_ANG_XX.wav")
    (root / "VideoDemographics.csv").write_text("ActorID,Age,Sex,Race\n1001,51,Male,Caucasian\n")
    rows = listed(
        root, "--clips", "VideoFlash/{group}_{rest}.flv", "--voices", "AudioWAV/{stem}.wav",
        "--genders", root / "VideoDemographics.csv",
    )  # fmt: skip
    assert rows[0][1:4] == ("AudioWAV/1001_DFA_ANG_XX.wav", "male", "1001")


def test_odd_names_come_back_from_the_list(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))
    gbk = "李".encode("gbk").decode("utf-8", "surrogateescape")
    root = tree(tmp_path / "d", f'{composed}/a, "b".mp4', f"{decomposed}.mp4", f"{composed}.wav", f"{gbk}.mp4")
    assert {row[:2] for row in listed(root)} == {
        (f"{composed}/a, \"b\".mp4",) * 2, (f"{decomposed}.mp4", f"{composed}.wav"), (f"{gbk}.mp4",) * 2
    }  # fmt: skip
    elsewhere = tmp_path / "lists"
    elsewhere.mkdir()
    assert main(["pairs", str(root), "--output", str(elsewhere / "p.csv")]) == 0
    assert len(read_pairs(elsewhere / "p.csv").pairs) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--clips", "video/{clip}.mkv"], "fits the pattern video/{clip}.mkv; write a pattern for paths such as a.mp4"),
        (["--clips", "{group"], "no file of"),
        (["--clips", "{a b}.mp4"], "{a b} in the pattern"),
        (["--clips", "{clip}.mp4", "--voices", "{klip}.wav"], "{klip}.wav is unknown; did you mean clip"),
        (["--voices", "audio/*.wav"], "voices is 'audio/*.wav'; choose one of any, own, beside"),
        (["--voices", "{stem}.wav"], "1 clips, but none gives a pair; a.mp4: there is no voice at a.wav"),
        (["--gender", "lady"], "gender is 'lady'; choose one of female (f)"),
        (["--genders", "people.csv"], "name the group in the pattern"),
        (["--clips", "{group}.mp4", "--genders", "absent.csv"], "there is no list at absent.csv"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_a_remedy(tmp_path, options, message, capsys):
    root = tree(tmp_path / "d", "a.mp4")
    assert main(["pairs", str(root), "--output", str(tmp_path / "p.csv"), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "p.csv").exists()


def test_a_link_to_a_folder_above_ends(tmp_path):
    root = tree(tmp_path / "d", "a/b.mp4")
    (root / "a" / "loop").symlink_to(root)
    assert len(listed(root)) == 1
