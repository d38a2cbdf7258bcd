"""The page of a sweep in a real browser: opened from disk, one pair at a time, its table filtered, on a phone."""

import re
import time
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from written_sweep import write_many, write_sweep

from latentsync import media
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.pages.write import write_report

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}  # px
ROWS = "#means tbody tr:visible"
WAIT_S = 30
A4_PX = {False: (703, 1032), True: (1032, 703)}  # width and height inside the margins, upright and on the side


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


def test_a_filter_without_matches_says_so_and_gives_all_back(opened):
    opened.fill("input[name=text]", "nothing like it")
    assert opened.locator(ROWS).count() == 0 and opened.locator("#no-rows").is_visible()
    assert not opened.locator("#means").is_visible()
    opened.click("#clear")
    assert opened.locator(ROWS).count() == 6 and not opened.locator("#no-rows").is_visible()


def test_wide_tables_on_a_phone_say_that_they_scroll(opened):
    hint = "getComputedStyle(document.querySelector('#results .box'), '::before').content"
    assert opened.evaluate(hint) == "none"
    opened.set_viewport_size(PHONE)
    until(opened, f"{hint}.includes('scroll sideways')")


def test_on_paper_every_column_is_there_and_no_filter_is(opened, shot):
    """The page is laid out as wide as A4 inside its margins; sections that lie on the side are as wide as these."""
    opened.emulate_media(media="print")
    opened.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    for is_wide, (width, height) in A4_PX.items():
        opened.set_viewport_size({"width": width, "height": height})
        inside = "#records, #made" if is_wide else "#results, #comparison, #front, #failures"
        lost = opened.evaluate(
            f"""[...document.querySelectorAll('{inside}')].flatMap(part => [...part.querySelectorAll('th, td')])
            .filter(cell => cell.getClientRects().length && cell.getBoundingClientRect().right > {width} + 1)
            .map(cell => cell.textContent)"""
        )
        assert lost == []
    assert opened.locator("form:visible, select:visible, .player:visible, nav:visible, thead button").count() == 0
    assert opened.locator("#made td.text:visible").count() == 2  # what was closed on the screen is open
    assert opened.locator(".pair:visible .mouths img:visible").count() == 10  # of both pairs
    shot(opened, "report_a4", full_page=True)
    opened.evaluate("window.dispatchEvent(new Event('afterprint'))")
    opened.emulate_media(media="screen")
    opened.locator("#means thead button", has_text="mean").click()
    assert opened.locator("#means th[aria-sort=ascending]").count() == 1


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> str:
    """Where the page of a sweep lies that is too large to be shown whole."""
    runs = tmp_path_factory.mktemp("many")
    with media.VideoWriter(runs / "short.mp4", 512, 512) as writer:
        for frame in media.read_frames_in_order(SHIPPED_DIR / "g-clara.mp4", range(6)):
            writer.write(frame)
    write_many(runs, "big", runs / "short.mp4", clips=21, settings=10)
    return write_report(runs, "big").as_uri()


def test_many_records_are_paged_sorted_and_found(page, large):
    page.goto(large)
    page.click("#records summary")
    rows = page.locator("#all-records tbody tr")
    assert rows.count() == 50 and page.inner_text("#records-shown") == "1 to 50 of 210"
    page.click("button[name=on]")
    assert page.inner_text("#records-shown") == "51 to 100 of 210"
    page.locator("#all-records thead button", has_text="mouth LPIPS").click()
    assert page.inner_text("#records-shown") == "1 to 50 of 210"
    first = rows.nth(0).locator("td")
    assert first.nth(1).inner_text() == "guidance 1" and first.nth(-2).inner_text() == "12.3"
    page.fill("#records-form input", "c-20__c-20")
    assert rows.count() == 10 and rows.nth(9).locator("th").inner_text() == "c-20__c-20"
    assert rows.nth(0).locator("a").get_attribute("href").startswith("../../records/")
    page.fill("#records-form input", "no such pair")
    assert rows.count() == 0 and page.locator("#no-records").is_visible()


def test_a_pair_of_the_overview_opens_its_videos(page, large, shot):
    page.goto(large)
    assert page.locator(".choices tbody tr").count() == 10 and page.locator(".pair:visible").count() == 1
    page.locator(".choices tbody tr", has_text="guidance 1.3").locator("a").nth(2).click()
    until(page, "document.querySelector('.pair:not([hidden]) h3').textContent.startsWith('c-0__c-0')")
    assert "Best of guidance" in page.locator(".pair:visible .note").nth(1).inner_text()
    shot(page, "report_large", full_page=True)
