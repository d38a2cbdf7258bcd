"""The short form of the fuzz: what it found before, and a few dozen changed files. `make test-faults` has the whole."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from faults.children import read_in_children
from faults.mutation import built_media, media_seeds, mutated, odd_wave, write_all

from latentsync import media
from latentsync.errors import MediaError
from latentsync.media.limits import MAX_CHANNELS, MAX_HOURS, MAX_PIXELS, check_picture_times, check_silence

FINDS = Path(__file__).parent / "faults/finds"


@pytest.mark.slow
def test_what_was_found_and_a_few_dozen_changed_files_are_read_or_refused(tmp_path):
    random, seeds = np.random.default_rng(11), media_seeds()
    files = {f"{n}{Path(name).suffix}": mutated(data, random) for n, (name, data) in enumerate(seeds.items())}
    built = {name: data for n, (name, data) in enumerate(built_media().items()) if n % 8 == 0}
    paths = [*write_all(files | built, tmp_path), *(shutil.copy(find, tmp_path) for find in sorted(FINDS.iterdir()))]
    tally = read_in_children("media", paths)
    assert not tally.faults, "\n".join(f"{path}: {what}" for path, what in tally.faults)
    assert tally.counts["read"] and tally.counts["refused"] and len(paths) > 30


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("size5.y4m", f"8193 x 8193 px; at most {MAX_PIXELS // 10**6} million pixels"),
        ("size7.y4m", "70000 x 900 px; .*32768 px a side"),
        ("aspect3.y4m", "px; at most"),
        ("rate2.y4m", "pictures a second; at most 1000"),
        ("channels.wav", f"65 channels; 1 to {MAX_CHANNELS}"),
        ("rate.wav", "rate is 800000 Hz; 1000 to 768000 Hz"),
    ],
)
def test_what_a_header_says_beyond_the_limits_is_refused_with_value_and_bound(tmp_path, name, limit):
    waves = {"channels.wav": odd_wave(65, 16, 16000, 1, 4000), "rate.wav": odd_wave(1, 16, 800_000, 1, 4000)}
    (path,) = write_all({name: (built_media() | waves)[name]}, tmp_path)
    with pytest.raises(MediaError, match=limit):
        media.probe_sound(path) if name.endswith(".wav") else list(media.read_frames(path, stop=3))


def test_a_clip_of_days_and_a_sound_with_hours_of_holes_are_refused(tmp_path):
    with pytest.raises(MediaError, match=f"lasts 13 hours .*at most {MAX_HOURS}"):
        check_picture_times("a.mp4", 9, 13 * 3600)
    check_silence("a.mp4", 3600)
    with pytest.raises(MediaError, match="2 hours .*at most 1 hour"):
        check_silence("a.mp4", 7200)
