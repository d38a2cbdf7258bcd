"""Names that are long, decomposed or in another encoding."""

import io
import os
import sys
import unicodedata
from pathlib import Path
from unittest.mock import Mock

import pytest

from latentsync.errors import MediaError, OptionError
from latentsync.files import write_json, write_text
from latentsync.lab.console import ArgumentParser, command, paragraph, say, table_text
from latentsync.lab.jobs.folder import Outputs
from latentsync.lab.options.folders import plain_name
from latentsync.lab.options.pairs import Pair
from latentsync.lab.records.labels import pair_label
from latentsync.lab.tracking import wandb_run
from latentsync.lab.training.prepare import find_sources
from latentsync.names import NAME_MAX_BYTES, name_max_bytes, named_path, named_text, printable, shortened, visible
from latentsync.proof import proof_of
from latentsync.training.prepare import Source

GBK = "g-李明".encode("gbk").decode("utf-8", "surrogateescape")
LONG = "口型同步" * 20  # 240 bytes


def test_a_terminal_gets_no_control_characters(capsys):
    text = visible("a\x1b[2Jb\r\x9b1m\u202egpj\x7f\tc\nd\udcc0 李é")
    assert text == "a\\u001b[2Jb\\u000d\\u009b1m\\u202egpj\\u007f\tc\nd%C0 李é"
    say("x\x1b]0;title\x07")
    assert capsys.readouterr().out == "x\\u001b]0;title\\u0007\n"
    assert "\x1b" not in table_text({"na\x1bme": ["a\x1b[1m"]}) + paragraph("a\x1b[1m")


def test_a_long_name_is_shortened_and_distinct_names_stay_distinct():
    assert shortened("short", 20) == "short"
    first, second = (shortened(LONG + end, 100) for end in "ab")
    assert first != second and max(len(name.encode()) for name in (first, second)) <= 100
    assert first.startswith("口型同步") and len(shortened(LONG, 40, in_bytes=False)) == 40
    assert len(os.fsencode(shortened(GBK * 40, 100))) <= 100


def test_the_files_of_a_pair_with_long_names_fit_the_disk(tmp_path):
    assert name_max_bytes(tmp_path / "not" / "yet") == os.pathconf(tmp_path, "PC_NAME_MAX")
    all_files = set()
    for end in "ab":
        files = Outputs.of(Pair(Path(f"{LONG}.mp4"), Path(f"{LONG}{end}.wav"), "neutral"), tmp_path)
        files.video.write_bytes(b"video"), files.mask.write_bytes(b"mask")
        write_json(files.sidecar, {"id": end, "files": proof_of((files.video, files.mask))})
        assert files.are_done(end)
        all_files |= set(vars(files).values())
    assert len(all_files) == 6
    short = Outputs.of(Pair(Path("a.mp4"), Path("b.wav"), "neutral"), tmp_path)
    assert short.video.name == "a__b_out.mp4"


def test_a_sweep_with_a_name_that_no_folder_may_have_is_refused():
    assert plain_name("x" * NAME_MAX_BYTES)
    with pytest.raises(OptionError, match="name has 258 bytes; .* 255"):
        plain_name("口" * 86)


def test_names_and_tags_fit_the_tracker(tmp_path, monkeypatch):
    import wandb

    given = {}
    monkeypatch.setattr(wandb, "init", lambda **facts: given.update(facts) or Mock(dir=str(tmp_path / "files")))
    from latentsync.lab.options.schema import TrackerConfig

    wandb_run.begin_run(TrackerConfig(wandb=True), tmp_path, name="n" * 200, group="g" * 200, tags=["t" * 70, "short"])
    assert (len(given["name"]), len(given["group"]), [len(tag) for tag in given["tags"]]) == (128, 128, [64, 5])


def test_a_path_is_found_in_either_form_of_its_accents(tmp_path, monkeypatch):
    composed, decomposed = (unicodedata.normalize(form, "é/Å.mp4") for form in ("NFC", "NFD"))
    (tmp_path / decomposed).parent.mkdir()
    (tmp_path / decomposed).touch()
    assert named_path(tmp_path / composed) == tmp_path / decomposed
    assert named_path(tmp_path / "é" / "absent") == tmp_path / "é" / "absent"
    monkeypatch.chdir(tmp_path)
    assert named_path(composed) == Path(decomposed)
    assert named_text("./plain/") == "./plain/"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert named_path("~/x") == tmp_path / "x"


def test_paths_of_every_command_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    parser = ArgumentParser("latentsync test")
    parser.add_argument("--input_dir", type=Path)
    assert parser.parse_args(["--input_dir=~/clips"]).input_dir == tmp_path / "clips"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "gbk", "latin-1"])
def test_every_terminal_shows_every_name(encoding, monkeypatch, capsys):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)

    @command()
    def main():
        say(f"left out {GBK} and é")
        raise MediaError(f"{GBK} is empty")

    assert main() == 2
    for stream in (out, err):
        stream.flush()
    assert b"left out g-" in out.buffer.getvalue()
    assert err.buffer.getvalue() == b"error: g-%C0%EE%C3%F7 is empty\n"


def test_text_files_take_undecodable_names(tmp_path):
    write_text(tmp_path / "a.txt", f"{GBK} é")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "g-%C0%EE%C3%F7 é" == printable(f"{GBK} é")


def test_preparing_pairs_videos_and_sounds_across_forms_and_shortens_names(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))
    (tmp_path / f"{composed}.mp4").touch()
    (tmp_path / f"{decomposed}.wav").touch()
    ((source,), left_out) = find_sources(tmp_path)
    assert source.sound == tmp_path / f"{decomposed}.wav" and not left_out
    assert len(Source(Path(f"{LONG}.mp4"), Path("a.wav")).name.encode()) <= 235


def test_a_pair_with_a_name_of_its_own_is_called_by_it():
    pair = Pair(Path("a/1.mp4"), Path("a/1.mp4"), "female", title="a-1")
    assert pair.name == pair_label(pair.name) == "a-1"
    assert pair_label("a__a") == "a, own voice"
