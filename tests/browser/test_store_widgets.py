"""The explorer and the blind rating in a real JupyterLab: videos play in step, a slider and a vote are answered."""

import pytest
from notebook_pages import cell_with, run_all_cells

pytestmark = pytest.mark.browser

TIMES = "all => all.map(video => video.currentTime)"
WHOLE = {"width": 1500, "height": 1500}  # px, so that the explorer fits
IN_STEP_S = 0.02  # half a frame


def test_the_explorer_follows_its_slider_and_a_vote_brings_the_next_pair(lab, page, shot):
    run_all_cells(page, lab, "06_report.ipynb")
    explorer = cell_with(page, "Explorer(runs_dir, sweep)")
    player = explorer.frame_locator("iframe")
    player.locator(".play").click()
    videos = player.locator("video")
    page.wait_for_timeout(1000)
    times = videos.evaluate_all(TIMES)
    assert len(times) == 2 and min(times) > 0 and max(times) - min(times) < IN_STEP_S
    assert player.get_by_text("guidance 1,").count() >= 1
    explorer.locator(".widget-slider .noUi-handle").first.press("ArrowRight")
    player.get_by_text("guidance 2,").first.wait_for()
    page.set_viewport_size(WHOLE)
    explorer.scroll_into_view_if_needed()
    shot(explorer, "explorer")

    rating = cell_with(page, "BlindRating(runs_dir")
    rating.get_by_text("0 of 2").wait_for()
    assert "guidance" not in rating.frame_locator("iframe").locator("body").inner_text()
    rating.scroll_into_view_if_needed()
    shot(rating, "rating")
    rating.get_by_role("button", name="Left").click()
    rating.get_by_text("1 of 2").wait_for()
