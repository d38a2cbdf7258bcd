"""The explorer and the rating in a real JupyterLab: sliders, picks, keys, votes, and what stays without a kernel."""

import json
import re

import numpy as np
import pytest
from notebook_pages import cell_with, run_all_cells

pytestmark = pytest.mark.browser

TIMES = "all => all.map(video => video.currentTime)"
HAS_FOCUS = "node => node.contains(node.getRootNode().activeElement)"
IN_STEP_S = 0.02  # half a frame
SCREEN = {"width": 1280, "height": 800}  # px
NARROW = {"width": 1000, "height": 1600}  # px
PHONE = {"width": 400, "height": 3000}  # px
PLAY = """all => all.forEach(video => {
    Object.defineProperty(video, 'played', { value: { length: 1, start: () => 0, end: () => video.duration } });
    video.dispatchEvent(new Event('timeupdate'));
})"""


def end_kernels(page, lab) -> None:
    for session in page.request.get(f"{lab.url}/api/sessions?token={lab.token}").json():
        page.request.delete(f"{lab.url}/api/sessions/{session['id']}?token={lab.token}")


def test_the_explorer_and_the_rating_work_and_leave_a_picture(lab, page, shot):
    run_all_cells(page, lab, "06_report.ipynb")
    page.set_viewport_size(SCREEN)
    rating = cell_with(page, "BlindRating(runs_dir")
    rating.locator("video").nth(1).wait_for()
    assert not rating.locator(".rating").evaluate(HAS_FOCUS)  # what only appears takes the keys from nobody
    explorer = cell_with(page, "Explorer(runs_dir, sweep)")
    player = explorer.locator(".player")
    player.locator(".play").click()
    videos = player.locator("video")
    page.wait_for_timeout(300)
    looks = [videos.evaluate_all(TIMES) for _ in range(20)]
    assert all(len(times) == 2 and min(times) > 0 for times in looks)
    assert np.median([max(times) - min(times) for times in looks]) < IN_STEP_S
    cells = page.locator(".jp-Cell").count()
    for key in ("k", "Home", "b", "a"):  # the player's or nobody's, and not JupyterLab's
        page.keyboard.press(key)
    assert player.locator(".play").inner_text().strip() == "Play" and page.locator(".jp-Cell").count() == cells
    assert player.locator(".time").inner_text().endswith("frame 0")
    explorer.locator(".noUi-handle:visible").first.press("ArrowRight")
    player.get_by_text("guidance 2,").first.wait_for()

    options = explorer.locator("select[multiple] option")
    options.filter(has_text=re.compile(r"guidance\s1(,|$)")).first.click()  # one pick, one video beside its source
    player.get_by_text("guidance 1,").first.wait_for()
    assert player.locator("video").count() == 2
    options.filter(has_text=re.compile(r"guidance\s2(,|$)")).first.click(modifiers=["Control"])
    player.get_by_text("guidance 2,").first.wait_for()
    assert player.locator("video").count() == 3
    options.first.click()
    player.locator("figure").nth(2).wait_for(state="detached")
    explorer.scroll_into_view_if_needed()
    boxes = [one.bounding_box() for one in (explorer.locator("select[multiple]"), player.locator("video").last)]
    top, bottom = min(box["y"] for box in boxes), max(box["y"] + box["height"] for box in boxes)
    assert bottom - top < 600  # the list and the videos share a screen
    shot(page, "explorer_1280")

    explorer.get_by_text("Filter", exact=True).click()
    words = explorer.get_by_placeholder("guidance == 2")
    words.fill("nonsense > 1")
    words.press("Enter")
    message = explorer.get_by_text("nonsense' is not defined")
    message.wait_for()
    assert 0 < message.bounding_box()["y"] - words.bounding_box()["y"] < 60 and len(message.inner_text()) < 300
    words.fill("guidance == 2")
    words.press("Enter")
    message.wait_for(state="detached")
    shot(explorer, "explorer_filter")
    explorer.get_by_role("button", name="Clear").click()

    rating.get_by_text("0 of 4 done").wait_for()
    assert "guidance" not in rating.locator(".rating").inner_text()
    vote = rating.locator(".votes button").first
    assert vote.is_disabled()
    rating.scroll_into_view_if_needed()
    shot(rating, "rating_notebook")
    rating.locator("video").evaluate_all(PLAY)
    page.wait_for_timeout(450)
    vote.dblclick()
    rating.get_by_text("pair 2 · 1 of 4 done").wait_for()
    rating.locator(".player").wait_for()
    assert rating.locator(".rating").evaluate(HAS_FOCUS)  # the keys go on
    rating.get_by_role("button", name="Undo the last vote").click()
    rating.get_by_text("pair 1 · 0 of 4 done").wait_for()
    page.set_viewport_size(NARROW)
    page.wait_for_timeout(300)
    shot(explorer, "explorer_narrow")
    page.keyboard.press("Control+b")  # hides the list of files
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(300)
    output = explorer.locator(".jp-OutputArea-output:has(select)").bounding_box()
    for part in (explorer.locator("select[multiple]"), explorer.get_by_role("button", name="Refresh"), player):
        box = part.bounding_box()
        assert box["x"] + box["width"] <= output["x"] + output["width"], box
    shot(explorer, "explorer_400")

    page.keyboard.press("Control+s")
    page.locator(".jp-NotebookPanel:not(.jp-mod-dirty)").first.wait_for()
    page.wait_for_timeout(1500)
    saved = json.dumps(json.loads((lab.folder / "06_report.ipynb").read_text()))
    assert "data:image/jpeg" in saved
    end_kernels(page, lab)
    reopened = page.context.new_page()  # its console tells that the widgets' models are gone
    reopened.goto(lab.address("06_report.ipynb"))
    explorer = cell_with(reopened, "Explorer(runs_dir, sweep)")
    explorer.get_by_text("Run this cell to start the explorer").wait_for()
    reopened.wait_for_timeout(2000)
    assert explorer.locator("img").count() == 2 and not explorer.get_by_text("model not found").is_visible()
