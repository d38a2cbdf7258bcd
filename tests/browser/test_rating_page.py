"""The blind rating as one file in a real browser: played, clicked, double-clicked, typed, gone back, saved."""

import csv
from functools import partial

import pytest
import waiting
from serving_pages import served
from written_sweep import CLIPS, write_sweep

from latentsync.lab.analysis.votes import attention, read_votes
from latentsync.lab.pages.rating import FILE_COLUMNS, take_votes, write_rating

pytestmark = pytest.mark.browser

SWEEP = "guidance"
PHONE = {"width": 400, "height": 860}  # px
# As if both videos had been played to their end.
PLAY = """() => document.querySelectorAll('video').forEach(video => {
    Object.defineProperty(video, 'played', { value: { length: 1, start: () => 0, end: () => video.duration } });
    video.dispatchEvent(new Event('timeupdate'));
})"""
wait_for = partial(waiting.wait_for, seconds=20)
READY = (
    """() => (all => all.length === 2 && all.every(video => video.duration))([...document.querySelectorAll('video')])"""
)


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """A runs folder, and the rating of its sweep: two clips and seeds at two guidance scales, and two checks."""
    runs = tmp_path_factory.mktemp("runs")
    write_sweep(runs, SWEEP)
    return runs, write_rating(runs, SWEEP)


@pytest.fixture
def opened(page, sent):
    """The rating, begun by a rater."""
    page.goto(sent[1].as_uri())
    page.get_by_label("Your name or number").fill("Anna M")
    button(page, "Start").click()
    wait_for(page, READY)
    return page


def button(page, name: str):
    """A button of the rating itself; the player's own stand elsewhere."""
    return page.locator(".rating button:not(.player button)").filter(has_text=name)


def play(page) -> None:
    """Shows a pair that may be voted on."""
    wait_for(page, READY)
    page.evaluate(PLAY)
    page.wait_for_timeout(450)  # a vote that comes earlier was meant for the pair before


def count(page) -> str:
    return page.locator(".count").inner_text()


def until_count(page, text: str) -> None:
    """Waits for the next pair, once a vote is stored."""
    page.locator(".count").get_by_text(text, exact=True).wait_for()


def test_a_vote_counts_only_after_both_videos_were_played(opened, shot):
    left = button(opened, "Left")
    assert left.is_disabled() and "Play both videos" in opened.locator(".hint").inner_text()
    opened.keyboard.press("1")
    assert count(opened) == "pair 1 · 0 of 6 done"
    shot(opened, "rating_1280", full_page=True)
    opened.keyboard.press(" ")  # the player has the focus
    opened.wait_for_timeout(600)
    assert left.is_disabled()
    wait_for(opened, "() => !document.querySelector('.votes button').disabled")  # it plays to its end
    assert opened.locator(".hint").inner_text() == "Choose one."
    assert opened.locator("video").evaluate_all("all => all.every(video => video.ended || video.currentTime > 3)")


def test_a_double_click_is_one_vote_and_the_next_pair_wants_to_be_played(opened):
    play(opened)
    button(opened, "Left").dblclick()
    wait_for(opened, READY)
    assert count(opened) == "pair 2 · 1 of 6 done" and button(opened, "Left").is_disabled()
    for _ in range(4):
        opened.mouse.down()
        opened.mouse.up()
    opened.keyboard.press("0")
    opened.keyboard.press("2")
    assert count(opened) == "pair 2 · 1 of 6 done"


def test_keys_vote_wherever_the_focus_is_go_back_and_undo(opened):
    assert opened.locator(".rating > .keys").inner_text().split()[:4] == ["Space", "play", "1", "left"]
    play(opened)
    button(opened, "Right").focus()
    opened.keyboard.press("0")
    play(opened)
    opened.locator("h1").click()  # nothing has the focus
    opened.keyboard.press("2")
    play(opened)
    assert count(opened) == "pair 3 · 2 of 6 done"
    opened.keyboard.press("b")
    wait_for(opened, READY)
    assert count(opened) == "pair 2 · 2 of 6 done"
    assert button(opened, "Right").get_attribute("aria-pressed") == "true"
    opened.wait_for_timeout(450)
    opened.keyboard.press("1")  # replaces the vote
    wait_for(opened, READY)
    assert count(opened) == "pair 3 · 2 of 6 done"
    opened.keyboard.press("u")
    wait_for(opened, READY)
    assert count(opened) == "pair 2 · 1 of 6 done"
    assert [one.get_attribute("aria-pressed") for one in opened.locator(".votes button").all()] == ["false"] * 3


def test_votes_are_kept_by_rater_saved_as_a_file_and_read(opened, sent, tmp_path, shot):
    runs, _ = sent
    for _ in range(6):
        play(opened)
        opened.keyboard.press("0")
    opened.get_by_text("All pairs are done").wait_for()
    shot(opened, "rating_end_1280", full_page=True)
    with opened.expect_download() as download:
        button(opened, "Save my votes").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name.endswith("-Anna_M.csv")
    rows = [*csv.DictReader(path.read_text().splitlines())]
    assert len(rows) == 6 and set(rows[0]) == set(FILE_COLUMNS) and {row["vote"] for row in rows} == {"neither"}
    votes = read_votes(take_votes(runs, SWEEP, [path]))
    assert sorted(votes["kind"].str.partition(" ")[0]) == ["damaged", "equal", *["pair"] * 4]
    assert set(votes["rater"]) == {"Anna M"} and set(votes["clip"]) <= {f"{clip}.mp4" for clip in CLIPS}
    assert attention(votes)[["checks", "passed"]].to_numpy().tolist() == [[2, 1]]

    opened.reload()  # the browser has kept them
    opened.get_by_label("Your name or number").fill("Anna M")
    button(opened, "Start").click()
    opened.get_by_text("All pairs are done").wait_for()
    opened.reload()  # another rater begins anew
    opened.get_by_label("Your name or number").fill("Bob")
    opened.keyboard.press("Enter")
    wait_for(opened, READY)
    assert count(opened) == "pair 1 · 0 of 6 done"


def test_on_a_phone_everything_is_within_reach_and_nothing_is_fetched(page, sent, shot):
    fetched = []
    page.on("request", lambda request: fetched.append(request.url))
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark")
    page.goto(sent[1].as_uri())
    shot(page, "rating_start_400")
    page.get_by_label("Your name or number").fill("Cleo")
    button(page, "Start").click()
    play(page)
    shot(page, "rating_400", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert button(page, "Right").bounding_box()["y"] < PHONE["height"]
    assert [url for url in fetched if not url.startswith(("blob:", "data:"))] == [sent[1].as_uri()]


def test_a_served_rating_stores_each_vote_at_once_and_goes_on_where_it_stopped(page, tmp_path, shot):
    runs = tmp_path / "runs"
    write_sweep(runs, SWEEP)
    votes = runs / "sweeps" / SWEEP / "votes.csv"

    def begin():
        page.get_by_label("Your name or number").fill("Anna")
        page.keyboard.press("Enter")
        wait_for(page, READY)

    with served(runs, "--allow-rating") as link:
        page.goto(link)
        page.get_by_role("link", name="Rating").click()
        page.get_by_label("Setting that differs").select_option(label="guidance")
        shot(page, "rating_served_start")
        begin()
        assert count(page) == "pair 1 · 0 of 6 done" and not page.get_by_label("Setting that differs").is_visible()
        assert page.url.endswith(f"/rating#sweep={SWEEP}&by=guidance_scale")
        assert button(page, "Left").is_disabled()
        play(page)
        button(page, "Left").dblclick()
        until_count(page, "pair 2 · 1 of 6 done")
        assert read_votes(votes)["vote"].tolist() == ["left"]
        play(page)
        page.keyboard.press("0")
        until_count(page, "pair 3 · 2 of 6 done")
        assert read_votes(votes)["vote"].tolist() == ["left", "neither"]
        page.keyboard.press("u")
        until_count(page, "pair 2 · 1 of 6 done")
        page.reload()
        begin()
        assert count(page) == "pair 2 · 1 of 6 done"
        shot(page, "rating_served", full_page=True)
        for number in range(2, 7):
            play(page)
            page.keyboard.press("2")
            if number < 6:
                until_count(page, f"pair {number + 1} · {number} of 6 done")
        page.get_by_text("All pairs are done").wait_for()
    given = read_votes(votes)
    assert len(given) == 6 and set(given["rater"]) == {"Anna"} and attention(given)["checks"].tolist() == [2]
