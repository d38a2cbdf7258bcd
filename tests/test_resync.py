"""A video whose sound is late or early: measured, mended by copying packets, or refused."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from latentsync import media
from latentsync.errors import MediaError, OptionError
from latentsync.lab.commands import resync as command
from latentsync.lab.jobs.resync import LEAST_SYNC_MINI, SyncMeasure, checked, default_output, of_entries, resync
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.media.moved import copy_with_sound_moved

CLIP = SHIPPED_DIR / "g-clara.mp4"


def delayed(path: Path, seconds: str) -> Path:
    copy_with_sound_moved(CLIP, path, Fraction(seconds))
    return path


def packets(path: Path) -> dict[str, list[bytes]]:
    with av.open(str(path)) as file:
        kinds = {stream.type: [] for stream in file.streams}
        for packet in file.demux():
            if packet.size:
                kinds[packet.stream.type].append(bytes(packet))
    return kinds


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("seconds", ["0.16", "-0.16"])
def test_the_sound_moves_and_nothing_is_encoded_again(tmp_path, suffix, seconds):
    copy = delayed(tmp_path / f"copy{suffix}", seconds)
    assert packets(copy) == packets(CLIP)
    given, moved, count = media.read_sound(CLIP), media.read_sound(copy), round(abs(float(seconds)) * 16000)
    late, early = (moved, given) if float(seconds) > 0 else (given, moved)
    size = min(late.size - count, early.size) - 100
    off = 16 if suffix == ".mkv" else 1  # Matroska's milliseconds
    errors = [np.abs(late[count + i : count + i + size] - early[:size])[100:].mean() for i in range(-off, off + 1)]
    assert min(errors) < 0.05 * np.abs(early[:size]).mean()
    assert media.probe(copy).num_frames == media.probe(CLIP).num_frames


def test_the_turn_of_a_phone_and_the_title_stay(tmp_path):
    clip = tmp_path / "turned.mov"
    with av.open(str(clip), "w") as output:
        output.metadata["title"] = "a title"
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height = 96, 64
        stream.set_display_rotation(90)
        sound = output.add_stream("aac", rate=16000, layout="mono")
        for level in range(10):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 96, 3), level, np.uint8), format="rgb24")))
        output.mux(stream.encode())
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 6400), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        output.mux(sound.encode(frame))
        output.mux(sound.encode())
    copy_with_sound_moved(clip, tmp_path / "copy.mov", Fraction(1, 25))
    assert media.probe(tmp_path / "copy.mov").rotation == media.probe(clip).rotation != 0
    with av.open(str(tmp_path / "copy.mov")) as file:
        assert file.metadata["title"] == "a title"


@pytest.mark.slow
def test_a_sound_160_ms_late_is_mended(tmp_path, capsys):
    late = delayed(tmp_path / "late.mp4", "0.16")
    done = resync(late)
    assert done.before.offset == -4 and abs(done.after.offset) <= 1 and done.after.confidence >= LEAST_SYNC_MINI
    assert done.output == tmp_path / "late_resynced.mp4" and packets(done.output) == packets(late)
    assert command.main([str(CLIP), "--output", str(tmp_path / "b.mp4")]) == 0
    assert "nothing is to be done" in capsys.readouterr().out and not (tmp_path / "b.mp4").exists()


def test_a_measure_that_is_not_certain_is_refused():
    def measure(**facts) -> SyncMeasure:
        return SyncMeasure(**{"network": "embedded SyncNet", "offset": 3, "confidence": 0.3, "least": 0.2,
                              "lag": None, "peak": None} | facts)  # fmt: skip

    assert checked(Path("a.mp4"), measure()).offset == 3
    with pytest.raises(MediaError, match=r"is 0\.06, and at least 0\.2 is needed; .*weights fetch auxiliary/syncnet"):
        checked(Path("a.mp4"), measure(confidence=0.06))
    with pytest.raises(MediaError, match=r"is 2\.00, and at least 3 is needed; give a longer piece"):
        checked(Path("a.mp4"), measure(network="SyncNet v2", confidence=2.0, least=3.0))
    with pytest.raises(MediaError, match=r"the offset is \+15 frames or more, and only offsets below 15"):
        checked(Path("a.mp4"), measure(offset=15))


def test_the_standard_network_measures_where_it_is():
    values = {"sync_mini_offset": 2, "sync_mini_confidence": 0.3, "landmark_sync_lag": 1, "landmark_sync_peak": 0.4}
    entries = {name: {"value": value, "reason": None} for name, value in values.items()}
    none = {name: {"value": None, "reason": "no weights"} for name in ("lse_offset", "lse_c")}
    assert of_entries(entries | none) == SyncMeasure("embedded SyncNet", 2, 0.3, 0.2, 1, 0.4)
    boxes = {"lse_offset_mediapipe_crop": {"value": -1}, "lse_c_mediapipe_crop": {"value": 5.0}}
    assert of_entries(entries | boxes) == SyncMeasure("SyncNet v2", -1, 5.0, 3.0, 1, 0.4)
    with pytest.raises(MediaError, match="cannot be measured: no weights"):
        of_entries(entries | none | {"sync_mini_offset": none["lse_c"]})


def test_a_target_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path):
    def detector(frame):
        raise AssertionError("a face was sought")

    assert default_output(Path("a/b.AVI")) == Path("a/b_resynced.mkv")
    for output, error, message in (
        (tmp_path / "a.avi", OptionError, r"a\.avi ends in \.avi; give a name with one of \.mp4"),
        (CLIP, OptionError, "is the video itself; give another name"),
        (tmp_path / "no" / "a.mp4", MediaError, "the folder .*no does not exist"),
    ):
        with pytest.raises(error, match=message):
            resync(CLIP, output, detector)
