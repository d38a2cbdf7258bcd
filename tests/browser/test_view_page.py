"""`latentsync view` in a real browser: pointed at, clicked, brushed, typed, scrolled and sorted as a viewer does."""

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from serving_pages import served
from written_sweep import HOSTILE, write_sweep

from latentsync.files import write_json
from latentsync.lab.analysis.intervals import mean_interval
from latentsync.lab.analysis.units import per_unit
from latentsync.lab.jobs.maker import Answer
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.records.store import CURVES_FILE, METRICS_FILE, RECORD_FILE, RecordStore
from latentsync.lab.serving import server
from latentsync.lab.tables.tidy import collect_wide
from latentsync.metrics.definitions import entry

pytestmark = pytest.mark.browser

WAIT_S = 30
PHONE = {"width": 400, "height": 800}  # px
WORST, BEST = "11542", "0107"  # by mouth LPIPS, see `write_sweep`
MANY = 10_000
MOST_NODES = 4000  # of a page, however many records there are
IN_STEP_S = 0.1
ROW_TIMES = """row => [...document.querySelectorAll(`[data-row="${row}"] video`)]
    .filter(video => !video.paused && !video.ended).map(video => video.currentTime)"""
NODES = "document.querySelectorAll('*').length"


def until(page, condition: str) -> None:
    """Waits for an expression to be true; Playwright's own way is an eval, which the page's policy refuses."""
    ends = time.monotonic() + WAIT_S
    while not page.evaluate(condition):
        assert time.monotonic() < ends, f"not true within {WAIT_S} s: {condition}"
        page.wait_for_timeout(20)


def shown(page) -> str:
    return page.inner_text("#shown")


@pytest.fixture(scope="module")
def link(tmp_path_factory) -> Iterator[str]:
    runs = tmp_path_factory.mktemp("view") / "runs"
    write_sweep(runs, "guidance")
    with served(runs) as address:
        yield address


@pytest.fixture
def opened(page, link):
    """The page of a small sweep, once its records are there."""
    page.goto(link)
    page.locator("#shown").wait_for()
    return page


def gallery_is_there(page) -> None:
    until(page, "document.querySelectorAll('.cell .picture').length > 0")
    until(page, "document.querySelectorAll('.picture:not(.is-there)').length === 0")


# --- the gallery ---


def test_a_pointed_row_plays_in_step_with_its_real_clip(opened, shot):
    gallery_is_there(opened)
    assert opened.locator(".cell").count() == 4 and opened.locator(".side video").count() == 2
    assert [head.strip() for head in opened.locator(".head").all_inner_texts()] == ["guidance 1", "guidance 1.5"]
    opened.locator(".cell").first.hover()
    until(opened, f"({ROW_TIMES})(0).length === 3 && Math.min(...({ROW_TIMES})(0)) > 0.8")
    times = opened.evaluate(ROW_TIMES, 0)
    assert max(times) - min(times) < IN_STEP_S
    assert opened.evaluate(ROW_TIMES, 1) == []
    shot(opened, "view_gallery")
    opened.mouse.move(5, 5)
    until(opened, f"({ROW_TIMES})(0).length === 0")


def test_space_plays_all_and_arrows_move(opened):
    gallery_is_there(opened)
    opened.locator(".cell").first.focus()
    opened.keyboard.press("Space")
    until(opened, f"({ROW_TIMES})(0).length === 3 && ({ROW_TIMES})(1).length === 3")
    assert "Stop" in opened.inner_text(".play-all")
    opened.keyboard.press("Space")
    until(opened, f"({ROW_TIMES})(0).length === 0 && ({ROW_TIMES})(1).length === 0")
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("ArrowRight")
    assert opened.evaluate("document.activeElement.dataset.record") == WORST
    opened.keyboard.press("Enter")
    until(opened, f"location.hash.includes('record={WORST}')")


def test_a_cell_of_several_seeds_steps_through_them(opened):
    cell = opened.locator(".cell").first
    assert "worst of 2" in cell.inner_text() and cell.get_attribute("data-record") == "01042"
    cell.get_by_label("Next record of this cell").click()
    assert "best of 2" in cell.inner_text() and cell.get_attribute("data-record") == BEST
    cell.focus()
    opened.keyboard.press("]")
    assert "worst of 2" in cell.inner_text()
    assert "record" not in opened.url.partition("#")[2]


def test_rows_columns_and_order_are_chosen(opened):
    opened.get_by_label("Rows").select_option("gender")
    opened.get_by_label("Columns", exact=True).select_option("seed")
    opened.get_by_label("Order").focus()
    opened.get_by_label("Order").select_option("worst")
    assert opened.evaluate("document.activeElement.getAttribute('aria-label')") == "Order"
    until(opened, "document.querySelector('.side .name').textContent === 'male'")
    assert opened.locator(".head").all_inner_texts() == ["seed 7", "seed 42"]
    opened.get_by_role("button", name="Faces").click()
    gallery_is_there(opened)
    assert opened.locator(".cell video").first.get_attribute("src").endswith("/result.mp4")
    for part in ("rows=gender", "columns=seed", "order=worst", "show=faces"):
        assert part in opened.url
    opened.reload()
    until(opened, "document.querySelector('.side .name')?.textContent === 'male'")


# --- filters ---


def test_a_word_is_filtered_by_a_click(opened):
    assert shown(opened) == "8 records"
    box = opened.locator('[data-column="gender"]').get_by_role("checkbox")
    box.first.check()
    assert shown(opened) == "4 of 8 records" and "is.gender=female" in opened.url
    assert opened.locator(".side").count() == 1
    opened.locator('[data-column="guidance_scale"]').get_by_label("guidance 1.5").check()
    assert shown(opened) == "2 of 8 records"
    opened.get_by_role("button", name="Clear all").click()
    assert shown(opened) == "8 records" and not box.first.is_checked()


def test_a_histogram_is_brushed_dragged_typed_and_moved_by_keys(opened):
    part = opened.locator('[data-column="psnr"]')
    if part.count() == 0:
        opened.get_by_label("Another metric").select_option("psnr")
    part.locator(".brush").scroll_into_view_if_needed()
    box = part.locator(".brush").bounding_box()
    x = lambda share: box["x"] + share * box["width"]  # noqa: E731
    y = box["y"] + box["height"] / 2
    opened.mouse.move(x(0.02), y)
    opened.mouse.down()
    opened.mouse.move(x(0.4), y, steps=5)
    opened.mouse.up()
    brushed = int(shown(opened).split()[0])
    assert 0 < brushed < 8 and "in.psnr=" in opened.url
    least, most = (part.get_by_role("slider").nth(i) for i in (0, 1))
    before = float(most.get_attribute("aria-valuenow"))
    most.focus()
    opened.keyboard.press("ArrowLeft")
    assert float(most.get_attribute("aria-valuenow")) < before
    opened.keyboard.press("End")
    assert int(shown(opened).split()[0]) >= brushed
    least.focus()
    opened.keyboard.press("Home")
    assert shown(opened) == "8 records" and "psnr" not in opened.url
    handle = most.bounding_box()
    opened.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + 10)
    opened.mouse.down()
    opened.mouse.move(x(0.5), y, steps=5)
    opened.mouse.up()
    assert 0 < int(shown(opened).split()[0]) < 8
    field = part.locator("input").nth(1)
    field.fill("31")
    field.press("Enter")
    assert shown(opened) == "8 records"


def test_an_expression_takes_the_words_of_the_page_and_shows_its_error_below(opened, page):
    opened.locator(".expression > summary").click()
    field = opened.locator("#where")
    field.fill('guidance == 1.5 and gender == "male"')
    until(opened, "document.querySelector('#shown').textContent === '2 of 8 records'")
    error = opened.locator("#where-error")
    assert error.is_hidden()
    field.fill("guidance === 2")
    error.wait_for()
    assert "cannot be read" in error.inner_text() and len(error.inner_text()) < 200
    assert shown(opened) == "8 records"
    near = error.bounding_box()["y"] - field.bounding_box()["y"] - field.bounding_box()["height"]
    assert 0 <= near < 40
    field.fill("")
    error.wait_for(state="hidden")


# --- the table ---


def test_the_table_sorts_and_opens_a_record(opened, shot):
    opened.get_by_role("button", name="Table").click()
    opened.locator(".tabulator-row").first.wait_for()
    rows = lambda: opened.locator(".tabulator-row").all_inner_texts()  # noqa: E731
    assert len(rows()) == 8
    heading = opened.locator(".tabulator-col", has_text="mouth LPIPS")
    assert "distance ↓" in heading.inner_text()
    heading.click()
    cells = opened.locator('.tabulator-row [tabulator-field="lpips_alex_mouth"]')
    values = [float(text) for text in cells.all_inner_texts()]
    assert values == sorted(values)
    heading.click()
    values = [float(text) for text in cells.all_inner_texts()]
    assert values == sorted(values, reverse=True) and "sort=-lpips_alex_mouth" in opened.url
    shot(opened, "view_table")
    opened.get_by_label("Metric", exact=True).select_option("psnr")
    until(opened, "document.querySelector('.of-metric').textContent === 'PSNR:'")
    heading = opened.locator(".tabulator-col", has_text="PSNR")
    heading.hover()
    until(opened, "document.querySelector('.table-tab .one-line').textContent.includes('higher is better')")
    assert opened.locator(".tabulator-tooltip").count() == 0
    opened.locator(".tabulator-col", has_text="mouth LPIPS").click()
    until(opened, "document.querySelector('.of-metric').textContent === 'mouth LPIPS:'")
    opened.locator('[data-column="gender"]').get_by_role("checkbox").first.check()
    until(opened, "document.querySelectorAll('.tabulator-row').length === 4")
    opened.locator(".tabulator-row").first.click()
    until(opened, f"location.hash.includes('record={BEST}')")


def test_means_of_few_clips_have_no_interval(opened):
    opened.get_by_role("button", name="Table").click()
    opened.get_by_label("Rows").select_option("setting")
    until(opened, "document.querySelectorAll('.tabulator-row').length === 2")
    texts = opened.locator(".tabulator-row").all_inner_texts()
    assert all("2 clips" in text and ".." not in text for text in texts)
    opened.locator(".tabulator-row").first.click()
    until(opened, "document.querySelector('#shown').textContent === '4 of 8 records'")


# --- one record ---


def test_a_record_shows_its_videos_mouths_metrics_and_command_and_its_link_opens_it_again(opened, browser, shot):
    opened.locator(".extreme", has_text="worst").click()
    opened.locator(".player video").first.wait_for()
    assert opened.locator(".player figure").count() == 2
    assert opened.locator(".record h1").inner_text() == "m-oskar"
    until(opened, "document.querySelectorAll('.player canvas').length === 2")
    until(opened, "[...document.querySelectorAll('.player video')].every(video => video.readyState > 1)")
    text = opened.inner_text(".record")
    assert "mouth LPIPS" in text and "lower is better" in text and f"latentsync rerun {WORST}" in text
    opened.get_by_text(re.compile(r"All \d+ options")).click()
    assert opened.get_by_role("row", name="guidance 1.5").last.is_visible()
    assert opened.get_by_role("row", name="seed 42").first.is_visible()
    shot(opened, "view_record")
    other = opened.context.new_page()
    other.goto(opened.url)
    other.locator(".player video").first.wait_for()
    assert other.locator(".record h1").inner_text() == "m-oskar"
    other.close()
    opened.keyboard.press("Escape")
    until(opened, "document.querySelector('.gallery') !== null && !location.hash.includes('record')")
    opened.go_back()
    until(opened, f"location.hash.includes('record={WORST}') && document.querySelector('.record') !== null")


def test_another_record_of_the_pair_stands_beside_it(opened):
    opened.locator(".extreme", has_text="best").click()
    box = opened.locator(".beside").get_by_role("checkbox").last
    before = box.bounding_box()
    box.check()
    until(opened, "document.querySelectorAll('.player figure').length === 3")
    assert box.bounding_box() == before
    table = opened.locator(".record-side table")
    assert table.locator("thead .number").count() == 2
    row = table.get_by_role("row", name="mouth LPIPS")
    assert [float(text) for text in row.locator("td.number").all_inner_texts()] == [0.017, 0.022]
    narrow = "[...document.querySelectorAll('.record-side td')].some(cell => cell.clientWidth < 40)"
    assert not opened.evaluate(narrow)
    opened.keyboard.press("Escape")
    opened.locator(".extreme", has_text="best").click()
    until(opened, "document.querySelectorAll('.player figure').length === 2")
    opened.locator(".around").get_by_role("button", name="Worse").click()
    until(opened, f"document.querySelector('.record') !== null && !location.hash.includes('record={BEST}')")


# --- why it is low ---


WINDOW = 40  # the worst one; a window is 9 of 95 frames
FRAME = WINDOW + 4


@pytest.fixture(scope="module")
def reasoned(tmp_path_factory) -> Iterator[str]:
    """The link to a sweep with scores of sync, in which the worst record has a worst window and frames without face."""
    runs = tmp_path_factory.mktemp("reasons") / "runs"
    write_sweep(runs, "guidance")
    for folder in (runs / "records").iterdir():
        record = RecordStore(runs).look(folder.name)
        psnr = record.metrics["psnr"]["value"] - 30
        values = {"": 0.5 + psnr, "_real": 0.25, "_minus_real": 0.25 + psnr}
        sync = {f"sync_mini_confidence{end}": entry(f"sync_mini_confidence{end}", one) for end, one in values.items()}
        sync |= {"sync_mini_distance_real": entry("sync_mini_distance_real", 0.3)}
        sync |= {"silent_lip_motion": entry("silent_lip_motion", None, "the voice is never silent")}
        write_json(folder / METRICS_FILE, record.metrics | sync)
        windows = [0.2] * 87
        windows[WINDOW] = 0.9
        write_json(folder / CURVES_FILE, {"sync_mini_by_window": windows})
        lost = {"num_frames": 95, "frames_without_face": 19 if folder.name == "0107" else 0}
        write_json(folder / RECORD_FILE, record.own_content | {"video": lost})
    with served(runs) as address:
        yield address


def test_the_worst_pair_and_its_reasons_are_said_and_a_copied_link_leads_there(page, browser, reasoned, shot):
    page.goto(reasoned)
    page.locator("#shown").wait_for()
    summary = page.inner_text(".summary")
    assert "mini SyncNet confidence:" in summary and "(real clip 0.250) g-clara" in summary
    assert "All results score better than their real clips." in summary
    assert "no face in 19 frames" in page.locator('.cell[data-record="0107"] .why-short').inner_text()
    page.locator(".extreme", has_text="worst").click()
    page.get_by_role("heading", name="Why it is low").wait_for()
    why = page.inner_text(".why")
    assert "worst of 8" in why and "No face was found in 19 of 95 frames (20%)." in why
    assert "from 1.60 to 1.96 s: distance 0.90 there, 0.21 on average; the real clip has 0.30 on average" in why
    assert "This is suspect: no lips are more in sync than the real ones." in why
    page.locator(".why summary", has_text="1 more").click()
    assert "lip motion in silence has no value: the voice is never silent." in page.inner_text(".why")
    assert "source, mean 0.30" in page.inner_text(".plot")
    until(page, "document.querySelectorAll('.player canvas').length === 2")
    page.locator(".show-place").click()
    at_frame = f"document.querySelector('.player .time').textContent.endsWith('frame {FRAME}')"
    until(page, at_frame)
    page.locator(".player").press("Home")
    until(page, "document.querySelector('.player .time').textContent.endsWith('frame 0')")
    page.locator(".mark").click()
    until(page, f"location.hash.includes('at={FRAME}') && {at_frame}")
    shot(page, "view_why")
    assert page.get_by_role("button", name="Copy link").count() == 1
    other = browser.new_page()  # one that has never seen the token
    other.goto(page.url)
    other.locator("input").fill(reasoned.partition("?token=")[2])
    other.get_by_role("button").click()
    other.locator(".player").wait_for()
    until(other, at_frame)
    other.close()


def test_the_order_by_the_difference_from_the_real_clip_is_explained(page, reasoned):
    page.goto(reasoned)
    page.get_by_label("Metric", exact=True).select_option("sync_mini_confidence_minus_real")
    until(page, "document.querySelector('.meaning').textContent.includes('is best at 0')")
    assert "(real clip 0.250) m-oskar" in page.locator(".extreme", has_text="worst").inner_text()


# --- figures ---


def point_of(page, chart: int, series: int, place: int) -> dict[str, float]:
    """Where a point of a figure is on the screen."""
    return page.evaluate(
        """async ([chart, series, place]) => {
            const { getInstanceByDom } = await import(new URL('front/vendor/echarts.js', location.origin).href);
            const dom = document.querySelectorAll('.chart')[chart];
            dom.scrollIntoView({ block: 'center' });
            const drawn = getInstanceByDom(dom), box = dom.getBoundingClientRect();
            const value = drawn.getOption().series[series].data[place].value;
            const [x, y] = drawn.convertToPixel({ seriesIndex: series }, value);
            return { x: box.x + x, y: box.y + y };
        }""",
        [chart, series, place],
    )


def test_a_click_on_a_point_opens_its_videos(opened, shot):
    opened.get_by_role("button", name="Figures").click()
    until(opened, "document.querySelector('.chart')?.dataset.points === '8'")
    shot(opened, "view_figures")
    point = point_of(opened, 0, 0, 0)
    opened.mouse.click(point["x"], point["y"])
    until(opened, "location.hash.includes('record=')")
    opened.keyboard.press("Escape")
    until(opened, "document.querySelector('.chart')?.dataset.points === '8'")
    point = point_of(opened, 1, 0, 1)
    opened.mouse.click(point["x"], point["y"])
    until(opened, "document.querySelector('.gallery') !== null")
    assert "in.guidance_scale=1.5..1.5" in opened.url.replace("%2E", ".")
    opened.get_by_role("button", name="Clear all").click()
    opened.get_by_role("button", name="Figures").click()
    until(opened, "document.querySelector('.chart')?.dataset.points === '8'")
    point = point_of(opened, 1, 1, 0)  # of one clip: the mean of its two seeds
    opened.mouse.click(point["x"], point["y"])
    until(opened, "document.querySelector('#shown').textContent === '2 of 8 records'")


# --- sweeps ---


def test_a_failed_pair_has_its_stage_and_its_reason_as_text(opened):
    assert "align" in opened.locator(".summary .notice").inner_text()
    opened.get_by_role("button", name="Sweeps").click()
    row = opened.locator(".failures tbody tr")
    assert row.locator("th").inner_text() == "g-x__g-x"
    assert row.locator("td").first.inner_text() == "align" and row.locator("td").nth(1).inner_text() == HOSTILE


def test_a_record_that_is_made_meanwhile_arrives_without_a_reload(page, tmp_path):
    runs = tmp_path / "runs"
    write_sweep(runs, "guidance")
    with served(runs) as address:
        page.goto(address)
        page.locator("#shown").wait_for()
        page.evaluate("window.isSame = true")
        page.get_by_role("button", name="Sweeps").click()
        page.locator(".sweep").wait_for()
        template = RecordStore(runs).look(BEST)
        with RecordStore(runs).new("9999") as folder:
            (folder / "result.mp4").write_bytes(template.video_path.read_bytes())
            facts = {**template.own_content, "id": "9999"}
            facts["options"] = {**facts["options"], "seed": 9}
            write_json(folder / RECORD_FILE, facts)
            write_json(folder / METRICS_FILE, {"psnr": entry("psnr", 99.0)})
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.locator(".arrived").wait_for()
        assert "seed 9" in page.locator(".arrived").inner_text()
        assert shown(page) == "9 records" and page.evaluate("window.isSame")


# --- what is missing ---


class SlowMaker:
    """Makes a record when it may, or is stopped."""

    def __init__(self, runs):
        self.runs, self.may_end, self.jobs = runs, threading.Event(), []

    def make(self, job, on_progress):
        self.jobs.append(job)
        on_progress("denoise", 3, 20)
        self.may_end.wait(WAIT_S)
        with RecordStore(self.runs).new("made") as folder:
            shutil.copytree(self.runs / "records" / "0107", folder, dirs_exist_ok=True)
            facts = json.loads((folder / RECORD_FILE).read_text())
            facts["options"]["guidance_scale"] = job["guidance_scale"]
            write_json(folder / RECORD_FILE, facts | {"id": "made"})
        return Answer("made")

    def cancel(self):
        self.may_end.set()

    close = cancel


def test_a_missing_record_is_made_from_its_place_in_the_gallery_with_its_stage(page, tmp_path, monkeypatch, shot):
    runs = tmp_path / "runs"
    write_sweep(runs, "guidance")
    gone = collect_wide(runs)
    gone = gone[(gone["clip"] == "g-clara.mp4") & (gone["guidance_scale"] == 1.5)]
    for record in gone["record"]:
        shutil.rmtree(runs / "records" / record)
    making = SlowMaker(runs)
    monkeypatch.setattr("latentsync.lab.jobs.maker.Maker", lambda: making)
    monkeypatch.setattr("latentsync.lab.jobs.maker.job_like", lambda record, **given: {"like": record.id, **given})
    with served(runs, "--allow-make") as address:
        page.goto(address)
        page.get_by_role("button", name="Make it").click()
        form = page.locator(".make-another")
        assert "A record with guidance 1.5 is missing" in form.locator("summary").inner_text()
        assert form.get_by_label("guidance").input_value() == "1.5"
        form.get_by_label("guidance").fill("1")  # is there
        form.get_by_role("button", name="Open it").wait_for()
        form.get_by_label("guidance").fill("1.25")
        form.get_by_role("button", name="Make it").dblclick()
        line = page.locator(".making")
        line.get_by_text("denoise, 3 of 20").wait_for()
        assert "g-clara, own voice, guidance 1.25" in line.inner_text() and form.get_by_role("button").is_disabled()
        shot(page, "view_making")
        page.reload()  # it goes on
        line.get_by_text("denoise, 3 of 20").wait_for()
        page.get_by_role("button", name="Gallery").click()
        assert line.is_visible()
        making.may_end.set()
        line.get_by_role("button", name="Open it").click()
        page.get_by_role("heading", name="g-clara").wait_for()
        assert "guidance 1.25" in page.locator(".subtitle").inner_text() and len(making.jobs) == 1
        line.get_by_role("button", name="Close").click()
        assert line.count() == 0
        page.goto("about:blank")  # else the page would ask a server that has ended


def test_an_empty_folder_says_how_to_fill_it(page, tmp_path):
    with served(tmp_path) as address:
        page.goto(address)
        page.locator(".gallery .empty").wait_for()
        text = page.inner_text(".gallery .empty")
        assert str(tmp_path) in text and "latentsync run" in text
        for tab in ("Table", "Figures", "Sweeps", "Gallery"):
            page.get_by_role("button", name=tab).click()


def test_a_damaged_record_and_a_missing_clip_are_named_and_the_rest_works(browser, tmp_path):
    runs = tmp_path / "runs"
    write_sweep(runs, "guidance")
    (runs / "records/0107" / RECORD_FILE).write_text("{")
    moved = RecordStore(runs).look("01042")
    facts = moved.own_content
    facts["pair"]["clip"] |= {"sha256": "0" * 64, "path": "/nowhere.mp4", "name": "nowhere.mp4"}
    write_json(moved.folder / RECORD_FILE, facts)
    page = browser.new_page()  # one whose console may say that a file is missing
    with served(runs) as address:
        page.goto(address)
        page.locator("#shown").wait_for()
        assert shown(page) == "7 records"
        page.locator(".summary details.notice summary").click()
        assert "0107" in page.locator(".summary details.notice").inner_text()
        said = (
            "[...document.querySelectorAll('.side .picture.none')].some(one => one.textContent.includes('not where'))"
        )
        until(page, said)
        until(page, "document.querySelectorAll('.cell .picture.is-there').length > 2")
    page.close()


def test_without_the_token_the_page_asks_for_it(browser, link):
    page = browser.new_page()
    address, _, token = link.partition("?token=")
    page.goto(f"{address}#tab=table")
    assert "Open the link that latentsync view printed" in page.inner_text("body")
    page.locator("input").fill(token)
    page.get_by_role("button").click()
    page.locator(".tabulator-row, .cell").first.wait_for()
    assert token not in page.url
    page.close()


# --- many records, and small screens ---


@pytest.fixture
def many(monkeypatch, tmp_path):
    """A store whose table has 10,000 records: 50 clips, 20 guidance scales, 10 seeds."""
    write_sweep(tmp_path / "runs", "guidance")
    row = collect_wide(tmp_path / "runs").iloc[:1]
    table = pd.concat([row] * MANY, ignore_index=True)
    place = np.arange(MANY)
    clips = pd.Series(place // 200).map("clip-{:02d}.mp4".format)
    noise = np.random.default_rng(0).normal(size=MANY)
    table = table.assign(
        record=pd.Series(place).map("{:05d}".format), clip=clips, pair=clips.str.removesuffix(".mp4"),
        clip_sha256=clips, guidance_scale=1 + place // 10 % 20 / 10, seed=place % 10, psnr=30 + noise,
    )  # fmt: skip
    monkeypatch.setattr(server, "collect_wide", lambda runs, sweep: table)
    return tmp_path / "runs"


def test_ten_thousand_records_are_scrolled_filtered_and_sorted_with_few_nodes(page, many, shot):
    video = SHIPPED_DIR / "g-clara.mp4"
    page.route("**/media/**", lambda route: route.fulfill(path=video, content_type="video/mp4"))
    with served(many) as address:
        page.goto(address)
        page.locator(".cell").first.wait_for()
        assert shown(page) == "10,000 records" and page.evaluate(NODES) < MOST_NODES
        assert float(page.locator("#shown").get_attribute("data-filter-ms")) >= 0
        for share in (0.3, 0.7, 1):
            page.evaluate(f"(grid => grid.scrollTo(0, grid.scrollHeight * {share}))(document.querySelector('.grid'))")
            page.wait_for_timeout(50)
            assert 0 < page.locator(".cell").count() < 150 and page.evaluate(NODES) < MOST_NODES
        assert page.locator(".side .name").last.inner_text() == "clip-49.mp4"
        page.evaluate("(grid => grid.scrollTo(grid.scrollWidth, 0))(document.querySelector('.grid'))")
        until(page, "[...document.querySelectorAll('.head')].some(head => head.textContent === 'guidance 2.9')")
        page.locator('[data-column="clip"]').locator("summary").click()
        page.get_by_placeholder("find clip").fill("-07")
        page.locator('[data-column="clip"] label:visible').get_by_role("checkbox").check()
        assert shown(page) == "200 of 10,000 records" and page.locator(".side").count() == 1
        page.get_by_role("button", name="Table").click()
        page.locator(".tabulator-row").first.wait_for()
        page.get_by_role("button", name="Clear all").click()
        until(page, "document.querySelectorAll('.tabulator-row').length > 10")
        assert shown(page) == "10,000 records" and page.evaluate(NODES) < MOST_NODES
        page.evaluate("document.querySelector('.tabulator-tableholder').scrollTop = 150000")
        page.wait_for_timeout(100)
        assert page.evaluate(NODES) < MOST_NODES
        page.unroute_all(behavior="ignoreErrors")


def test_a_phone_scrolls_down_only_and_opens_the_filters(opened, shot):
    opened.set_viewport_size(PHONE)
    for tab in ("Gallery", "Table", "Figures", "Sweeps"):
        opened.get_by_role("button", name=tab).click()
        assert opened.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    opened.get_by_role("button", name="Gallery").click()
    assert opened.locator("#filters").is_hidden()
    opened.get_by_role("button", name="Filters").click()
    opened.locator('[data-column="gender"]').get_by_role("checkbox").first.check()
    assert "Filters (1)" in opened.inner_text(".open-filters")
    opened.get_by_role("button", name="Filters").click()
    assert opened.locator("#filters").is_hidden() and shown(opened) == "4 of 8 records"
    gallery_is_there(opened)
    shot(opened, "view_phone")


def test_dark_mode_is_dark(opened, shot):
    opened.emulate_media(color_scheme="dark")
    opened.get_by_role("button", name="Table").click()
    opened.locator(".tabulator-row").first.wait_for()
    for place in ("body", ".tabulator-row", ".tabulator-header", ".top"):
        colours = opened.evaluate(
            "place => (style => [style.backgroundColor, style.color])(getComputedStyle(document.querySelector(place)))",
            place,
        )
        back, text = ([float(part) for part in colour[4:-1].split(",")] for colour in colours)
        assert max(back) < 60 and min(text) > 200
    shot(opened, "view_dark")


@pytest.mark.parametrize("number", [4, 6])
def test_the_best_setting_is_told_with_its_lead_on_the_same_clips(opened, number):
    """Lower is better; the better setting has a clip more, an easy one, which counts for neither."""
    rng = np.random.default_rng(2)
    values = np.stack([rng.normal(3, 0.5, number), rng.normal(2, 0.5, number)])
    rows = [(setting, clip, value) for setting, own in enumerate(values) for clip, value in enumerate(own)]
    rows.append((1, number, 0.0))
    found = opened.evaluate(
        """async rows => {
            const { bestSetting } = await import(new URL('front/means.js', location.origin).href);
            const [settings, clips, values] = [0, 1, 2].map(place => rows.map(row => row[place]));
            const columns = { clip: { values: clips } }, all = [...rows.keys()];
            const varied = [{ name: 'steps', values: settings }];
            const table = { all, shown: all, varied, column: name => columns[name] };
            return bestSetting(table, { badness: row => values[row] });
        }""",
        rows,
    )
    gain = values[0] - values[1]
    assert (
        found["best"][0] == number and found["units"] == number and found["word"] == "clip" and found["settings"] == 2
    )
    assert found["level"] == pytest.approx(values[1].mean()) and found["gain"] == pytest.approx(gain.mean())
    assert found["interval"] == (None if number < 5 else pytest.approx(mean_interval(gain), rel=1e-3))


def test_clips_of_a_speaker_count_as_one(opened):
    rng = np.random.default_rng(3)
    clip, voice = rng.integers(0, 12, 80), rng.integers(0, 3, 80)
    table = pd.DataFrame({"clip": clip, "voice": voice, "group": clip // 2, "value": rng.normal(3, 0.5, 80) + clip})
    table.loc[table["clip"] >= 10, "group"] = np.nan  # nobody is known there: each of these clips is one by itself
    found = opened.evaluate(
        """async table => {
            const { meanOver } = await import(new URL('front/means.js', location.origin).href);
            const columns = Object.fromEntries(Object.entries(table).map(([name, values]) =>
                [name, { values, isMissing: row => values[row] === null }]));
            const rows = [...table.clip.keys()];
            return meanOver({ all: rows, column: name => columns[name] }, rows, columns.value);
        }""",
        {name: [None if value != value else value for value in column.tolist()] for name, column in table.items()},
    )
    expected = per_unit(table.astype({"clip": str, "voice": str}), ["value"])["value"]
    assert found["word"] == "speaker" and found["units"] == len(expected) == 7
    assert found["mean"] == pytest.approx(expected.mean())
    assert found["interval"] == pytest.approx(mean_interval(expected.to_numpy()), rel=1e-3)


def test_intervals_are_those_of_the_laboratory(opened):
    values = np.random.default_rng(1).normal(3, 0.5, 12)
    for number in (4, 5, 6, 9, 12):
        rows = f"[{', '.join(map(str, range(number)))}]"
        found = opened.evaluate(
            f"""async values => {{
                const {{ meanOver }} = await import(new URL('front/means.js', location.origin).href);
                const clips = {{ values: [...values.keys()] }}, column = {{ values, isMissing: () => false }};
                return meanOver({{ column: name => (name === "clip" ? clips : undefined) }}, {rows}, column);
            }}""",
            values.tolist(),
        )
        assert found["mean"] == pytest.approx(values[:number].mean()) and found["units"] == number
        wanted = mean_interval(values[:number]) if number >= 5 else None
        assert found["interval"] == (None if wanted is None else pytest.approx(wanted, rel=1e-3))
