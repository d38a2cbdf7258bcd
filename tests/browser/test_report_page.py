"""The page of a sweep in a real browser: opened from disk, one pair at a time, its table filtered, on a phone."""

import re
import time
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from written_sweep import write_sweep

from latentsync.lab.pages.write import write_report

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}  # px
ROWS = "#means tbody tr:visible"
WAIT_S = 30


def until(page, condition: str) -> None:
    """Waits for an expression to be true; Playwright's own way is an eval, which the page's policy refuses."""
    ends = time.monotonic() + WAIT_S
    while not page.evaluate(condition):
        assert time.monotonic() < ends, f"not true within {WAIT_S} s: {condition}"
        page.wait_for_timeout(20)


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    """Where the page of a small sweep lies."""
    runs = tmp_path_factory.mktemp("runs")
    write_sweep(runs, "guidance")
    return write_report(runs, "guidance").as_uri()


@pytest.fixture
def opened(page, address):
    """The page once the videos of its first pair know how long they are."""
    page.goto(address)
    until(page, "[...document.querySelectorAll('.pair:not([hidden]) video')].every(video => video.readyState > 1)")
    return page


def test_another_pair_takes_the_place_of_the_first_with_the_same_choices(opened):
    first, second = opened.locator(".pair").all()
    first.locator(".speed").select_option("0.5")
    first.locator("button.sound").nth(3).click()
    first.get_by_role("checkbox", name="guidance 1, seed 42").uncheck()
    assert first.locator("video:visible").count() == first.locator(".mouths tr:visible").count() == 4
    first.locator(".play").click()
    opened.select_option("#pair", "1")
    assert opened.locator(".pair:visible h3").inner_text().startswith("m-oskar")
    assert opened.evaluate("[...document.querySelectorAll('video')].every(video => video.paused)")
    assert second.locator("video:visible").count() == second.locator(".mouths tr:visible").count() == 4
    assert second.locator(".speed").input_value() == "0.5"
    assert second.locator("button.sound[aria-pressed=true]").get_attribute("aria-label") == "Hear guidance 1.5, seed 7"


def test_a_video_that_is_not_there_says_so_and_the_others_play(browser, address, tmp_path):
    page = browser.new_page()  # one whose console may say that a file is missing
    html = unquote(urlparse(address).path)
    text = re.sub(r'src="data:video/mp4;base64,[^"]*"', 'src="gone.mp4"', Path(html).read_text(), count=1)
    (tmp_path / "report.html").write_text(text)
    page.goto((tmp_path / "report.html").as_uri())
    player = page.locator(".player:visible")
    player.locator(".missing").wait_for()
    assert player.locator("video:visible").count() == 4
    player.locator(".play").click()
    until(page, "document.querySelectorAll('.player video')[1].currentTime > 0.3")
    page.close()


def test_filters_and_order_change_the_rows(opened, shot):
    assert opened.locator(ROWS).count() == 4  # of the headline metrics: mouth LPIPS, and seconds
    opened.select_option("select[name=metric]", "")
    assert opened.locator(ROWS).count() == 6
    opened.select_option("select[name=setting]", "1.5")
    assert opened.locator(ROWS).count() == 3 and "3 of 6 rows" in opened.inner_text("#rows-shown")
    opened.fill("input[name=text]", "lpips")
    assert opened.locator(ROWS).count() == 1
    opened.fill("input[name=text]", "")
    opened.locator("#means thead button", has_text="mean").click()
    values = [float(text) for text in opened.locator(f"{ROWS} td:nth-child(3)").all_inner_texts()]
    assert values == sorted(values) and opened.locator("#means th[aria-sort=ascending]").count() == 1
    shot(opened, "report_light")


def test_a_phone_scrolls_down_only(opened, shot):
    opened.set_viewport_size(PHONE)
    assert opened.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shot(opened, "report_phone", full_page=True)


def test_dark_mode_is_dark(opened, shot):
    opened.emulate_media(color_scheme="dark")
    colours = opened.evaluate("(style => [style.backgroundColor, style.color])(getComputedStyle(document.body))")
    back, text = ([int(part) for part in colour[4:-1].split(",")] for colour in colours)
    assert max(back) < 60 and min(text) > 200
    shot(opened, "report_dark", full_page=True)
