"""A folder of anyone's results: which videos are compared with which, and one table that `compare` reads."""

import json
import shutil
from pathlib import Path

import pytest

from latentsync.errors import MediaError, OptionError
from latentsync.lab.commands.measure import main as measure
from latentsync.lab.jobs.videos import paired_folders, read_compared
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.tables.tidy import read_sources, read_table, widen, write_table

CLIP = SHIPPED_DIR / "g-clara.mp4"


def folder_of(root: Path, name: str, *files: str) -> Path:
    """A folder of empty files; their endings say what they are."""
    (root / name).mkdir()
    for file in files:
        (root / name / file).touch()
    return root / name


def test_videos_find_references_and_voices_of_their_names(tmp_path):
    made = folder_of(tmp_path, "made", "anna.mp4", "ben__hello.mp4", "cara.mp4", "notes.txt")
    real = folder_of(tmp_path, "real", "Anna.mov", "ben.mp4", "carla.mp4")
    voices = folder_of(tmp_path, "voices", "hello.wav", "anna.wav")
    pairs, left_out = paired_folders(made, real)
    assert [(one.generated.name, one.reference.name, one.voice.name) for one in pairs] == [
        ("anna.mp4", "Anna.mov", "anna.mp4"),
        ("ben__hello.mp4", "ben.mp4", "ben__hello.mp4"),
    ]
    assert [name for name, _ in left_out] == ["cara.mp4"] and "the closest is carla.mp4" in left_out[0][1]
    pairs, _ = paired_folders(made, real, voices)
    assert [one.voice.name for one in pairs] == ["anna.wav", "hello.wav"]


def test_folders_that_do_not_fit_are_refused_with_the_names_that_were_looked_for(tmp_path):
    made, real = folder_of(tmp_path, "made", "anna.mp4"), folder_of(tmp_path, "real", "hanna.mp4")
    with pytest.raises(MediaError, match=r"no reference anna in .*real; the closest is hanna.mp4"):
        paired_folders(made, real)
    with pytest.raises(MediaError, match="empty has no video"):
        paired_folders(folder_of(tmp_path, "empty"), real)
    with pytest.raises(MediaError, match="count as one name"):
        paired_folders(made, folder_of(tmp_path, "twice", "anna.mp4", "anna.mov"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("generated,audio\na.mp4,a.wav\n", "no column reference among generated, audio"),
        ("generated,reference\na.mp4,\n", "line 2: reference is empty"),
        ("generated,reference\na.mp4,b.mp4\na.mp4,c.mp4\n", "line 3: a.mp4 stands in line 2 too"),
        ("generated,reference\n", "has a header but no video"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_and_nothing_is_written(text, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("list.csv").write_text(text)
    with pytest.raises(MediaError, match=words):
        read_compared(Path("list.csv"))
    assert measure(["--list", "list.csv"]) == 2 and words in capsys.readouterr().err.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["list.csv"]


@pytest.mark.slow
def test_one_bad_video_costs_its_row_and_a_second_run_takes_what_is_measured(tmp_path, capsys):
    real = tmp_path / "real"
    real.mkdir()
    for name in ("anna", "ben", "twin"):
        shutil.copy(CLIP, real / f"{name}.mp4")
    shutil.copy(CLIP, tmp_path / "twin.mp4")
    rows = [
        "generated,reference,audio,group",
        f"{CLIP},real/anna.mp4,,anna",
        f"{tmp_path}/none.mp4,real/ben.mp4,,ben",
        "twin.mp4,real/twin.mp4,,twin",
    ]  # the same content under another name
    (tmp_path / "list.csv").write_text("\n".join(rows))
    output = tmp_path / "first.csv"
    args = ["--list", str(tmp_path / "list.csv"), "--metrics", "mouth,theval"]
    assert measure([*args, "--output", str(output), "--name", "first"]) == 1
    printed = capsys.readouterr().out
    assert "FAILED   none.mp4" in printed and "3 videos, 1 of them without values" in printed
    table = read_table(output).set_index(["clip", "metric"])
    assert table.loc[("anna.mp4", "mouth_landmark_distance"), "value"] == 0
    assert table.loc[("anna.mp4", "lip_dynamics_score"), "value"] == 1
    assert "none.mp4" in table.loc[("ben.mp4", "lip_dynamics"), "reason"]
    assert set(table["group"]) == {"anna", "ben", "twin"} and set(table["model"]) == {"first"}

    (kept,) = (tmp_path / "first.measured").iterdir()
    content = json.loads(kept.read_text())
    content["metrics"]["lip_dynamics"]["value"] += 1
    kept.write_text(json.dumps(content))
    assert measure([*args, "--output", str(output), "--name", "second"]) == 1
    again = read_table(output).set_index(["clip", "metric"])["value"]
    assert again["anna.mp4", "lip_dynamics"] == pytest.approx(table["value"]["anna.mp4", "lip_dynamics"] + 1)


def test_tables_of_several_origins_are_one_table(tmp_path):
    import pandas as pd

    rows = {"clip": ["a.mp4", "b.mp4"], "voice": ["a.wav", "b.wav"], "seed": 0, "metric": "lip_gap_dtw"}
    for name, values, more in (("one", [0.1, 0.2], {}), ("two", [0.3, 0.4], {"guidance_scale": 1.5})):
        table = pd.DataFrame({"record": [f"{name}-a", f"{name}-b"], **rows, "model": name, "value": values, **more})
        write_table(table, tmp_path / f"{name}.csv")
    sources = [tmp_path / "one.csv", tmp_path / "two.csv"]
    whole = read_sources(sources, None)
    assert whole.groupby("model")["lip_gap_dtw"].mean().to_dict() == pytest.approx({"one": 0.15, "two": 0.35})
    assert len(read_sources([*sources, sources[0]], None)) == 4
    assert read_sources(sources[:1], None).equals(widen(read_table(sources[0])))
    with pytest.raises(OptionError, match="needs a runs folder"):
        read_sources(sources, "sweep")
