"""Videos of a page: whole where they are small, else copies of about the width shown, never more than allowed."""

import numpy as np
import pytest

from latentsync import media
from latentsync.errors import MediaError
from latentsync.lab.pages import copies
from latentsync.lab.pages.copies import PAGE_BYTES, embedded, file_showing, fitting
from latentsync.lab.pages.player import Track
from latentsync.lab.widgets.comparison import videos_side_by_side
from latentsync.media.sound import write_wav


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Noise of 640 x 480 px with a sound, some MB."""
    folder, random = tmp_path_factory.mktemp("large"), np.random.default_rng(0)
    write_wav(folder / "voice.wav", (random.standard_normal(16000) * 3000).astype(np.int16))
    with media.VideoWriter(folder / "a.mp4", 640, 480, preset="ultrafast", sound=folder / "voice.wav") as writer:
        for _ in range(25):
            writer.write(random.integers(0, 256, (480, 640, 3)).astype(np.uint8))
    return folder / "a.mp4"


def probe_of(content: bytes, folder) -> media.VideoInfo:
    (folder / "shown.mp4").write_bytes(content)
    return media.probe(folder / "shown.mp4")


def test_a_large_video_becomes_a_copy_of_twice_the_width_shown_with_its_sound(large, tmp_path):
    (shown,) = fitting([file_showing(large)], [128], PAGE_BYTES)
    info = probe_of(shown.content, tmp_path)
    assert shown.is_copy and (info.width, info.height) == (256, 192) and shown.scale == (0.4, 0.4)
    assert (info.num_frames, info.has_sound) == (25, True) and len(shown.content) < large.stat().st_size / 4


def test_a_video_at_most_twice_as_wide_as_shown_stays_whole(large):
    (shown,) = fitting([file_showing(large)], [320], PAGE_BYTES)
    assert not shown.is_copy and shown.content == large.read_bytes()


def test_what_is_too_large_together_is_shown_smaller_and_then_left_out(large, tmp_path):
    showing = file_showing(large)
    double = fitting([showing], [128], PAGE_BYTES)[0].embedded_bytes
    (single,) = fitting([showing], [128], double - 1)
    assert probe_of(single.content, tmp_path).width == 128 and single.embedded_bytes < double
    assert fitting([showing, showing], [128, 128], single.embedded_bytes) == [single, None]
    first, second = embedded([Track("a", ""), Track("b", "")], [showing] * 2, [128] * 2, single.embedded_bytes)
    assert first.source.startswith("data:video/mp4") and first.warning is None
    assert second.address == "" and "not shown: all together would take more than 30 MB" in second.warning


def test_a_mouth_is_drawn_from_the_px_of_the_copy(large):
    matrix = np.array([[2.0, 0.0, 5.0], [0.0, 2.0, 7.0]])
    (track,) = embedded([Track("a", "", mouth=(matrix,))], [file_showing(large)], [128])
    (scaled,) = track.mouth
    in_video, in_copy = np.array([100.0, 50.0, 1.0]), np.array([40.0, 20.0, 1.0])
    assert scaled @ in_copy == pytest.approx(matrix @ in_video)


def test_a_notebook_never_holds_more_than_a_page_may(large, monkeypatch):
    monkeypatch.setattr(copies, "SMALL_BYTES", 0)
    videos = {f"{number}": large for number in range(40)}
    whole = 40 * copies.embedded_bytes(large.stat().st_size)
    assert whole > PAGE_BYTES > len(videos_side_by_side(videos, width_px=128).data)


def test_a_missing_video_is_named(tmp_path):
    with pytest.raises(MediaError, match=r"no.mp4 cannot be read \(No such file or directory\)"):
        videos_side_by_side({"a": tmp_path / "no.mp4"})
