"""`latentsync check`, and the cheap checks before a job: known answers on small files."""

import json
import shutil

import av
import numpy as np
import pytest
from short_clips import cut

from latentsync.__main__ import main
from latentsync.config import MIN_DURATION_S
from latentsync.lab.commands.batch import main as batch
from latentsync.lab.options.inputs import refusal, unusable_first
from latentsync.lab.options.pairs import SHIPPED_DIR, Pair
from latentsync.media import read_frames
from latentsync.media.sound import write_wav

CLARA, OSKAR = SHIPPED_DIR / "g-clara.mp4", SHIPPED_DIR / "m-oskar.mp4"


def write_clip(path, frames, sound_after_s=None):
    """Frames at 25 Hz, and, if wanted, a tone that begins so long after them."""
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.height, video.width, video.pix_fmt = *frames[0].shape[:2], "yuv420p"
        sound = file.add_stream("pcm_s16le", rate=16000, layout="mono") if sound_after_s is not None else None
        for frame in frames:
            file.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        file.mux(video.encode())
        if sound is not None:
            tone = (8000 * np.sin(np.arange(8000) * 0.2)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, round(sound_after_s * 16000)
            file.mux(sound.encode(frame))
            file.mux(sound.encode())
    return path


def checked(capsys, source, status=0):
    """The files of `latentsync check --json` by name, and the whole answer."""
    assert main(["check", str(source), "--json"]) == status
    answer = json.loads(capsys.readouterr().out)
    return {one["path"]: one for one in answer["files"]}, answer


def test_a_folder_with_every_kind_of_fault(tmp_path, capsys):
    clara, oskar = (list(read_frames(path, stop=12)) for path in (CLARA, OSKAR))
    shutil.copy(CLARA, tmp_path / "g-good.mp4")
    write_clip(tmp_path / "g-cut.mp4", clara + oskar, sound_after_s=0.4)
    write_clip(tmp_path / "m-half.mp4", oskar + [np.full_like(oskar[0], 90)] * 12)
    write_clip(
        tmp_path / "m-small.mp4", [np.pad(one[::2, ::2][::2, ::2], ((0, 128), (0, 128), (0, 0))) for one in oskar]
    )
    write_clip(tmp_path / "n-nobody.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 3)
    write_clip(tmp_path / "two.mp4", [np.concatenate([clara[0], oskar[0]], axis=1)] * 3)
    (tmp_path / "m-broken.mp4").write_bytes(b"no film")
    (tmp_path / "m-empty.wav").touch()
    (tmp_path / "notes.txt").write_text("buy milk")
    tone = np.sin(np.arange(16000) * 0.2)
    for name, samples in {
        "g-tone": tone / 2, "g-loud": np.clip(3 * tone, -1, 1), "g-quiet": tone / 100, "g-silent": 0 * tone,
        "g-short": tone[:1600],
    }.items():  # fmt: skip
        write_wav(tmp_path / f"{name}.wav", (samples * 32767).astype(np.int16))
    files, answer = checked(capsys, tmp_path, status=1)
    verdicts = {name: (one["verdict"], " ".join(one["remarks"])) for name, one in files.items()}
    for name, verdict, words in (
        ("g-good.mp4", "ok", ""), ("g-tone.wav", "ok", ""),
        ("g-cut.mp4", "note", "a cut, where another face"), ("g-cut.mp4", "note", "begins 0.40 s after its pictures"),
        ("m-half.mp4", "note", "6 of 12 frames show no face"), ("m-small.mp4", "note", "px wide; below 96 px"),
        ("n-nobody.mp4", "refused", "no face in any of 3 frames"), ("two.mp4", "note", "up to 2 faces"),
        ("m-broken.mp4", "refused", "cannot be read as a video"), ("m-empty.wav", "refused", "is empty (0 bytes)"),
        ("g-loud.wav", "note", "of its sound is clipped"), ("g-quiet.wav", "note", "quiet (peak -40 dB)"),
        ("g-silent.wav", "note", "is silent"), ("notes.txt", "note", "neither video, picture nor sound"),
        ("g-short.wav", "refused", "holds 0.10 s of sound; at least 0.2 s"),
    ):  # fmt: skip
        assert verdicts[name][0] == verdict and words in verdicts[name][1], (name, verdicts[name])
    good, tone = files["g-good.mp4"], files["g-tone.wav"]["sound"]
    assert (good["gender"], good["use"], good["picture"]["cuts"]) == ("female", "clip", 0)
    assert (good["picture"]["width"], good["picture"]["rate_hz"]) == (512, 25) and good["picture"]["faces"] == 12
    assert 150 < good["picture"]["face_px"] < 220 and abs(good["sound"]["starts_s"]) < 0.04
    assert (tone["peak_db"], tone["level_db"], tone["rate_hz"], tone["channels"]) == (-6.0, -9.0, 16000, 1)
    assert files["two.mp4"]["gender"] == "neutral" and not answer["usable"]


def test_a_list_is_checked_row_by_row(tmp_path, capsys):
    shutil.copy(CLARA, tmp_path / "clara.mp4")
    rows = ["clip;voice;gender", "clara.mp4;clara.mp4;F", "absent.mp4;clara.mp4;F", "clara.mp4;v.wav;lady"]
    (tmp_path / "v.wav").touch()
    (tmp_path / "list.csv").write_text("\n".join(rows))
    files, answer = checked(capsys, tmp_path / "list.csv", status=1)
    assert list(files) == ["clara.mp4"] and answer["pairs"] == 1
    assert (files["clara.mp4"]["use"], files["clara.mp4"]["gender"]) == ("clip and voice", "female")
    assert ["line 3" in answer["problems"][0], "line 4" in answer["problems"][1]] == [True, True]


def test_the_table_names_each_file_with_its_verdict(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copy(OSKAR, tmp_path / "m-oskar.mp4")
    cut(tmp_path / "m-v.wav", SHIPPED_DIR / "m-oskar.wav", 1.0, 0.5)
    assert main(["check", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["file", "use", "gender"]
    assert (
        "m-oskar.mp4" in lines[1] and "512x512, 25 fps" in lines[1] and "in 12 of 12" in lines[1] and "ok" in lines[1]
    )
    assert lines[-1] == "2 files (2 ok), 1 pair"
    assert main(["check", str(tmp_path / "m-v.wav")]) == 0  # one file
    assert main(["check", str(tmp_path / "absent")]) == 2
    assert "there is nothing at" in capsys.readouterr().err


def test_the_cheap_check_answers_as_the_job_would(tmp_path):
    short = cut(tmp_path / "short.wav", SHIPPED_DIR / "m-oskar.wav", 1.0, MIN_DURATION_S - 0.05)
    enough = cut(tmp_path / "enough.wav", SHIPPED_DIR / "m-oskar.wav", 1.0, MIN_DURATION_S)
    assert "0.15 s of sound; at least 0.2 s" in refusal(short, False) and refusal(enough, False) is None
    assert "no video stream" in refusal(enough, True) and refusal(CLARA, True) is refusal(CLARA, False) is None
    assert "does not exist" in refusal(tmp_path / "absent.mp4", True)
    pairs = [Pair(CLARA, enough, "female"), Pair(CLARA, short, "female"), Pair(OSKAR, enough, "male")]
    assert unusable_first(pairs) == [pairs[1], pairs[0], pairs[2]]
    short.write_bytes(enough.read_bytes())  # mended meanwhile
    assert refusal(short, False) is None


def test_a_pair_that_will_fail_is_reported_before_anything_is_computed(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(CLARA, folder / "g-a.mp4")
    shutil.copy(SHIPPED_DIR / "g-clara.wav", folder / "g-v.wav")
    (folder / "g-z.mp4").write_bytes(b"no film")

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("latentsync.lab.jobs.folder.produce", stop)  # the first pair that would be computed
    arguments = ["--input_dir", str(folder), "--output_dir", str(tmp_path / "out"), "metrics=none"]
    assert batch(arguments) == 130
    printed = capsys.readouterr().out
    assert "[1/2]" in printed and "g-z__g-v" in printed and "FAILED (read)" in printed


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_a_list_that_is_no_list_is_refused_in_a_sentence(tmp_path, text, capsys):
    (tmp_path / "list.csv").write_text(text)
    assert main(["check", str(tmp_path / "list.csv")]) == 2
    assert "there is no column clip" in capsys.readouterr().err
