"""Small clips to try things on, and what is said where their sweep fails."""

import subprocess
from types import SimpleNamespace

import pytest

from latentsync.errors import OptionError
from latentsync.lab.jobs.sample import sample_clips, sample_sweep
from latentsync.lab.options.pairs import find_pairs
from latentsync.media import probe, probe_sound


def test_sample_clips_are_a_woman_and_a_man_with_their_voices(tmp_path):
    clips = sample_clips(tmp_path / "clips", duration_s=0.4, height_px=64)
    assert [pair.gender for pair in find_pairs(tmp_path / "clips").pairs] == ["female", "male"]
    for clip in clips:
        video = probe(clip)
        assert (video.num_frames, video.height) == (10, 64)
        assert probe_sound(clip.with_suffix(".wav")).duration_s == pytest.approx(0.4)


def test_a_small_sweep_that_fails_is_told(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(
        subprocess, "run", lambda command, check, **_: commands.append(command) or SimpleNamespace(returncode=1)
    )
    with pytest.raises(OptionError, match="status 1"):
        sample_sweep(tmp_path)
    assert f"runs_dir={tmp_path / 'runs'}" in commands[0] and "name=small" in commands[0]
