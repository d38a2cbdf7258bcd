"""The player's page: everything embedded, each curve under its own title, frames of the source as results see them."""

import json
import re
from html import unescape
from xml.etree import ElementTree

import numpy as np
import pytest

from latentsync import media
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.pages.player import LEFT, RIGHT, WIDTH, Track, player
from latentsync.lab.widgets.comparison import by_frame, source_video, videos_side_by_side


def page_of(shown) -> str:
    """The page within the frame."""
    return unescape(re.search('srcdoc="(.*?)" style', shown.data, re.DOTALL).group(1))


def facts_of(page: str) -> dict:
    return json.loads(re.search(r"const facts = (.*);", page).group(1))


def test_the_page_holds_videos_and_labels_and_asks_for_nothing():
    page = page_of(videos_side_by_side({"<a> & b": SHIPPED_DIR / "g-clara.mp4", "second": SHIPPED_DIR / "g-clara.mp4"}))
    assert page.count("data:video/mp4;base64,") == 2 and "&lt;a&gt; &amp; b" in page
    assert not re.search(r'(src|href)="(?!data:)', page) and "<svg" not in page and "{{" not in page
    assert facts_of(page)["mouths"] == [None, None]


def test_curves_are_drawn_to_scale_with_gaps_where_nothing_is_known():
    curve = [0.0, 1.0, None, 0.5, 0.5]
    tracks = [Track("source", b"x", is_source=True), Track("result", b"y", curves={"lips (px)": curve})]
    page = page_of(player(tracks, np.ones(3200, np.float32)))
    svg = ElementTree.fromstring(re.search("<svg.*</svg>", page, re.DOTALL).group(0))
    runs = [
        [tuple(map(float, point.split(","))) for point in line.get("points").split()] for line in svg.iter("polyline")
    ]
    assert [len(run) for run in runs] == [2, 2]
    frame = (WIDTH - LEFT - RIGHT) / len(curve)
    assert [x for run in runs for x, _ in run] == pytest.approx(
        [LEFT + frame * (i + 0.5) for i in (0, 1, 3, 4)], abs=0.1
    )
    bottom, top, middle = runs[0][0][1], runs[0][1][1], runs[1][0][1]
    assert bottom > top and middle == pytest.approx((bottom + top) / 2, abs=0.1)
    assert facts_of(page)["curves"] == [curve] and facts_of(page)["length_s"] == pytest.approx(0.2)
    assert [text.text for text in svg.iter("text")].count("lips (px)") == 1


def test_windows_stand_at_their_middle_frames():
    assert by_frame([0.1, 0.2, 0.3], 7) == [None, None, 0.1, 0.2, 0.3, None, None]
    assert by_frame([0.1, 0.2], 2) == [0.1, 0.2] and by_frame(None, 5) is None


def test_the_source_goes_forward_and_back_like_its_results(tmp_path):
    clip = tmp_path / "clip.mp4"
    with media.VideoWriter(clip, 16, 16, crf=0) as writer:
        for level in (20, 90, 160):
            writer.write(np.full((16, 16, 3), level, np.uint8))
    (tmp_path / "shown.mp4").write_bytes(source_video(clip, "a", 7))
    levels = [float(frame.mean()) for frame in media.read_frames(tmp_path / "shown.mp4")]
    assert levels == pytest.approx([20, 90, 160, 160, 90, 20, 20], abs=4)
