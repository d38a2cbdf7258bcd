"""The folder job: names, presets, skipping, failures, exit status."""

import json
import shutil

import pytest
from short_clips import clip_folder, cut

from latentsync import media
from latentsync.lab.commands.batch import main
from latentsync.lab.jobs.folder import folder_config
from latentsync.lab.options import CONF_DIR
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.options.schema import ModelConfig

QUICK = ("sampler.num_inference_steps=1", "metrics=none")


@pytest.fixture
def folder(tmp_path):
    """One clip and a short voice per gender, in a folder with a space in its name."""
    return clip_folder(tmp_path / "my clips", 0.5, ("g-clara", "m-oskar"))


def run(folder, out, *more):
    return main(["--input_dir", str(folder), "--output_dir", str(out), *more, *QUICK])


def sidecars(out):
    return {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}


@pytest.mark.slow
def test_outputs_skipping_and_changed_settings(folder, untrained, tmp_path, capsys):
    out, model = tmp_path / "out", f"model.pretrained={untrained}"
    assert run(folder, out, model) == 0
    assert sorted(path.name for path in out.glob("[!.]*")) == [
        "g-clara__g-voice.json", "g-clara__g-voice_mask.mp4", "g-clara__g-voice_out.mp4", "log.jsonl",
        "m-oskar__m-voice.json", "m-oskar__m-voice_mask.mp4", "m-oskar__m-voice_out.mp4",
    ]  # fmt: skip
    printed = capsys.readouterr().out
    assert "guidance_scale 1.8 (preset by_gender)" in printed and "guidance_scale 1.3 (preset by_gender)" in printed
    assert "UNTRAINED" in printed and "2 of 2 pairs" in printed
    first = sidecars(out)
    assert first["g-clara__g-voice"]["options"]["guidance_scale"] == 1.8
    assert first["m-oskar__m-voice"]["options"]["guidance_scale"] == 1.3
    times = {path: path.stat().st_mtime_ns for path in out.glob("*__*")}

    assert run(folder, out, model) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("*__*")} == times
    assert capsys.readouterr().out.count("cached, nothing to do") == 2

    assert run(folder, out, "--guidance_scale", "2.5", "--seed", "7", model) == 0
    assert "guidance_scale 2.5 (given)" in capsys.readouterr().out
    for name, sidecar in sidecars(out).items():
        assert (sidecar["options"]["guidance_scale"], sidecar["options"]["seed"]) == (2.5, 7)
        assert sidecar["id"] != first[name]["id"]


def test_a_measure_that_fails_does_not_cost_the_video(folder, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no such luck")

    monkeypatch.setattr("latentsync.lab.cells.cell.measured", broken)
    (folder / "m-oskar.mp4").unlink()
    assert run(folder, tmp_path / "out") == 0
    assert "no such luck" in sidecars(tmp_path / "out")["g-clara__g-voice"]["metrics"]["measuring"]["reason"]
    assert (tmp_path / "out" / "g-clara__g-voice_out.mp4").is_file()


@pytest.mark.slow
def test_odd_characters_in_paths_are_taken_as_they_are(folder, tmp_path):
    odd = folder.rename(tmp_path / "a,b=${c} 'd'\\e")
    assert run(odd, tmp_path / "out") == 0
    assert len(sidecars(tmp_path / "out")) == 2


def test_the_mask_video_shows_the_hole_in_grey(folder, tmp_path):
    (folder / "m-oskar.mp4").unlink()
    assert run(folder, tmp_path / "out") == 0
    painted = next(media.read_frames(tmp_path / "out" / "g-clara__g-voice_mask.mp4"))
    source = next(media.read_frames(folder / "g-clara.mp4"))
    grey = (abs(painted.astype(int) - 127) <= 6).all(axis=-1) & (abs(painted.astype(int) - source) > 12).any(axis=-1)
    rows, columns = grey.nonzero()
    assert 0.03 < grey.mean() < 0.3
    assert rows.mean() > 230 and 200 < columns.mean() < 312  # the lower face


@pytest.mark.slow
def test_one_bad_pair_fails_alone_with_its_reason(folder, tmp_path, capsys):
    (folder / "g-broken.mov").write_bytes(b"nothing")
    cut(folder / "m-tiny.wav", SHIPPED_DIR / "m-oskar.wav", 1.0, 0.1)
    shutil.copy(folder / "g-voice.wav", folder / "anna.wav")
    assert run(folder, tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert "2 of 4 pairs" in printed.out
    assert "g-broken" in printed.err and "0.10 s of sound; at least 0.2 s" in printed.err
    assert "left out   anna.wav: there is no clip to pair it with" in printed.out
    assert sorted(sidecars(tmp_path / "out")) == ["g-clara__g-voice", "m-oskar__m-voice"]
    assert not [path for path in (tmp_path / "out").iterdir() if "tmp" in path.name]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--guidance_scale", "-1"], "guidance_scale is -1.0"),
        (["--inference_ckpt_path", "absent.pt"], "absent.pt"),
        (["--unet_config_path", "x.yaml"], "unet_config_path is x.yaml"),
        (["sampler.sed=1"], "sed"),
    ],
)
def test_wrong_options_end_with_one_sentence(folder, tmp_path, capsys, more, message):
    assert run(folder, tmp_path / "out", *more) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed and printed.count("\n") == 1


def test_a_checkpoint_goes_together_with_overrides_and_odd_paths():
    odd = "${it's}, a=b.pt"
    checkpoint = {"inference_ckpt_path": odd, "unet_config_path": "stage2_512"}
    model = folder_config("in", **checkpoint, overrides=["model.vae=v.safetensors", "model.whisper=w.pt"]).model
    assert model == ModelConfig(None, odd, "stage2_512", "v.safetensors", "w.pt")
    assert model.unet_config_file == CONF_DIR / "unet" / "stage2_512.yaml"
    assert folder_config("in").model == ModelConfig("mini")


def test_missing_folders_and_results_among_clips_are_refused(folder, tmp_path, capsys):
    assert run(tmp_path / "absent", tmp_path / "out") == 2
    assert "no folder at" in capsys.readouterr().err
    assert run(folder, folder) == 2
    assert "is the input folder" in capsys.readouterr().err


def test_help_says_which_guidance_holds(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "g- 1.8, m- 1.3 (preset=neutral: 1.5)" in printed
