"""The page of a sweep in a real browser: opened from disk, its videos in step, its table filtered, on a phone."""

import time

import pytest
from written_sweep import write_sweep

from latentsync.lab.pages.write import write_report

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}  # px
IN_STEP_S = 0.12  # two frames of drift, and what reading the clocks takes
TIMES = "[...document.querySelectorAll('.pair:not([hidden]) video')].map(video => video.currentTime)"
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


def test_one_button_plays_all_videos_in_step(opened):
    opened.click("#play")
    until(opened, f"Math.min(...{TIMES}) > 0.5")
    times = opened.evaluate(TIMES)
    assert len(times) == 5 and max(times) - min(times) < IN_STEP_S
    opened.locator(".pair:visible .stage").focus()
    opened.keyboard.press("k")
    assert opened.inner_text("#play") == "Play"
    opened.keyboard.press("Home")
    opened.keyboard.press("ArrowRight")
    until(opened, f"{TIMES}.every(time => Math.abs(time - 0.04) < 0.001)")
    heard = "[...document.querySelectorAll('.pair:not([hidden]) video')].filter(video => !video.muted).length"
    assert opened.evaluate(heard) == 1


def test_another_pair_takes_the_place_of_the_first(opened):
    opened.select_option("#pair", "1")
    assert opened.locator(".pair:visible h3").inner_text().startswith("m-oskar")
    opened.locator("#cells input").nth(1).uncheck()
    assert opened.locator(".pair:visible video:visible").count() == 4


def test_filters_and_order_change_the_rows(opened, shot):
    assert opened.locator(ROWS).count() == 4  # of the headline metrics: LPIPS of mouths, and seconds
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
