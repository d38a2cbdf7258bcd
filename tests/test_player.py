"""The player's markup: everything embedded, each curve in its own lane, frames of the source as results see them."""

import json
import re
from html import unescape
from xml.etree import ElementTree

import numpy as np
import pytest

from latentsync import media
from latentsync.faces.landmarks import MediaPipeLandmarks
from latentsync.lab.figures.previews import mouth_path
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.pages import bundle
from latentsync.lab.pages.player import MOUTH_SIZE_PX, Track, data_uri, markup, player
from latentsync.lab.pages.timeline import LANE_HEIGHT, num_frames, timeline
from latentsync.lab.pages.tracks import by_frame, source_video
from latentsync.lab.widgets.comparison import videos_side_by_side

CLIP = SHIPPED_DIR / "g-clara.mp4"
LIP_CORNERS = [61, 291]  # of the face mesh


def page_of(view) -> str:
    """The page within the frame."""
    return unescape(re.search('srcdoc="(.*?)" style', view.data, re.DOTALL).group(1))


def facts_of(html: str) -> dict:
    return json.loads(unescape(re.search('data-facts="(.*?)"', html).group(1)))


def svgs_of(html: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(text) for text in re.findall("<svg.*?</svg>", html, re.DOTALL)]  # noqa: S314 - of this program


def points_of(shape: ElementTree.Element) -> list[tuple[float, float]]:
    return [tuple(map(float, point.split(","))) for point in shape.get("points").split()]


def test_the_page_holds_videos_and_labels_and_asks_for_nothing():
    page = page_of(videos_side_by_side({"<a> & {{b}}": CLIP, "second": CLIP}))
    assert page.count(f'src="{data_uri(CLIP.read_bytes())}"') == 2
    assert "&lt;a&gt; &amp; {{b}}" in page and page.count("{{") == page.count("{{b}}")
    assert not re.search(r'(src|href)="(?!data:)|url\(|@import|https?://', page) and 'class="plot"' not in page
    assert facts_of(page)["mouths"] == [None, None] and facts_of(page)["heard"] == 0


def test_without_a_script_the_browser_plays_the_videos_itself():
    html = markup([Track("source", "clip.mp4", is_silent=True), Track("result", "result.mp4")], heard=1)
    assert re.findall(r'<video controls [^>]*src="(.*?)"', html) == ["clip.mp4", "result.mp4"]
    assert "<button" not in html and html.count(" data-silent") == 1


def test_an_address_and_a_warning_stay_text():
    html = markup([Track("a", 'x" onerror="alert(1)', warning="<b>untrained</b>")])
    assert 'src="x&quot; onerror=&quot;alert(1)"' in html and "&lt;b&gt;untrained" in html


def test_curves_are_drawn_to_scale_with_gaps_where_nothing_is_known():
    curve = [0.0, 1.0, None, 0.5, 0.5]
    tracks = [Track("source", "x", is_source=True), Track("result", "y", curves={"lips (px)": curve})]
    page = page_of(player(tracks, np.ones(3200, np.float32)))
    lane = next(svg for svg in svgs_of(page) if svg.find("polyline") is not None)
    assert lane.get("viewBox") == f"0 0 {len(curve)} {LANE_HEIGHT}"
    stretches = [points_of(line) for line in lane.iter("polyline")]
    assert [[x for x, _ in stretch] for stretch in stretches] == [[0.5, 1.5], [3.5, 4.5]]
    bottom, top, middle = stretches[0][0][1], stretches[0][1][1], stretches[1][0][1]
    assert LANE_HEIGHT > bottom > top > 0 and middle == pytest.approx((bottom + top) / 2, abs=0.01)
    assert facts_of(page)["curves"] == [curve] and facts_of(page)["frames"] == 5
    assert page.count('class="title">lips (px)<') == 1 and page.count('data-curve="0"') == 1


def test_curves_of_one_title_share_a_lane_and_are_numbered_in_order():
    lanes = {"a": [("red", [1.0]), ("blue", [2.0])], "b": [("red", [3.0])]}
    html = timeline(lanes)
    assert html.count('class="lane"') == 2
    assert re.findall(r'data-curve="(\d)" style="color:(\w+)"', html) == [("0", "red"), ("1", "blue"), ("2", "red")]


def test_the_waveform_reaches_as_far_as_the_sound():
    sound = np.zeros(16_000, np.float32)
    sound[8000:] = 0.5
    assert num_frames({}, sound) == 25 and timeline({}) == ""
    (wave,) = svgs_of(timeline({}, sound))
    points = points_of(wave.find("polygon"))
    assert max(x for x, _ in points) == pytest.approx(25, abs=0.25)
    assert {y for x, y in points if x > 12.6} == {0.0} and {y for x, y in points if x < 12.4} == {LANE_HEIGHT / 2}


@pytest.mark.parametrize("name", ["g-clara", "m-oskar"])
def test_the_enlarged_mouth_is_centred_and_keeps_its_proportions(name):
    clip = SHIPPED_DIR / f"{name}.mp4"
    matrix = mouth_path(clip, name, 1)[0]
    frame = next(iter(media.read_frames(clip)))
    corners = MediaPipeLandmarks()(frame)[0][LIP_CORNERS, :2] @ matrix[:, :2].T + matrix[:, 2]
    size = np.array(MOUTH_SIZE_PX)
    assert corners.mean(axis=0) / size == pytest.approx([0.5, 0.5], abs=0.06)
    assert 0.3 < (corners[1] - corners[0])[0] / size[0] < 0.7
    first, second = matrix[:, :2].T
    assert first @ first == pytest.approx(second @ second) and first @ second == pytest.approx(0, abs=1e-6)


def test_windows_stand_at_their_middle_frames():
    assert by_frame([0.1, 0.2, 0.3], 7) == [None, None, 0.1, 0.2, 0.3, None, None]
    assert by_frame([0.1, 0.2], 2) == [0.1, 0.2] and by_frame(None, 5) is None


def test_the_source_goes_forward_and_back_like_its_results(tmp_path):
    clip = tmp_path / "clip.mp4"
    with media.VideoWriter(clip, 16, 16, crf=0) as writer:
        for level in (20, 90, 160):
            writer.write(np.full((16, 16, 3), level, np.uint8))
    (tmp_path / "shown.mp4").write_bytes(source_video(clip, "a", 7, 16).content)
    levels = [float(frame.mean()) for frame in media.read_frames(tmp_path / "shown.mp4")]
    assert levels == pytest.approx([20, 90, 160, 160, 90, 20, 20], abs=4)


def test_modules_of_the_front_end_are_joined_each_once_before_those_that_need_it(tmp_path, monkeypatch):
    modules = {
        "leaf": "export const leaf = 1;\n",
        "branch": 'import { leaf } from "./leaf.js";\nexport function branch() { return leaf; }\n',
        "tree": 'import { leaf } from "./leaf.js";\nimport { branch } from "./branch.js";\nexport default leaf;\n',
    }
    for name, text in modules.items():
        (tmp_path / f"{name}.js").write_text(text)
    monkeypatch.setattr(bundle, "FRONT_DIR", tmp_path)
    joined = bundle.script("tree.js")
    places = [joined.index(part) for part in ("leaf = 1", "return { leaf };", "return { branch };", "export default")]
    assert places == sorted(places) and joined.count("leaf = 1") == 1 and "import" not in joined
    (tmp_path / "leaf.js").write_text('import { branch } from "./branch.js";\n')
    with pytest.raises(ValueError, match="leaf -> branch"):
        bundle.script("tree.js")
    (tmp_path / "leaf.js").write_text('import * as all from "./branch.js";\n')
    with pytest.raises(ValueError, match=r"leaf\.js has .*import \* as all"):
        bundle.script("tree.js")
