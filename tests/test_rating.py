"""The blind study: balanced order, pages that do not reveal the settings, and votes that are never lost."""

import os
from collections import Counter
from html import unescape

import numpy as np
import pytest
from record_content import content

from latentsync import media
from latentsync.errors import OptionError
from latentsync.files import write_json
from latentsync.lab.analysis.preferences import LEFT, NEITHER, RIGHT, fit
from latentsync.lab.records.store import METRICS_FILE, RECORD_FILE, RESULT_FILE, RecordStore
from latentsync.lab.tables.tidy import collect_wide
from latentsync.lab.widgets.rating import COLUMNS, BlindRating, comparisons_of, read_votes

GUIDANCE = (1.0, 1.5, 2.0)
CLIPS = tuple(f"g-clip{i}" for i in range(4))


@pytest.fixture
def runs(tmp_path):
    """A sweep of three guidances on four clips, each video a tiny one of its own."""
    outcomes = []
    for i, clip in enumerate(CLIPS):
        for j, guidance in enumerate(GUIDANCE):
            name = f"feed{i}{j}"
            facts = content(name, name=f"{clip}__{clip}", guidance_scale=guidance)
            facts["pair"]["clip"]["sha256"] = facts["pair"]["voice"]["sha256"] = f"{i}"
            with RecordStore(tmp_path).new(name) as folder:
                with media.VideoWriter(folder / RESULT_FILE, 16, 16) as writer:
                    writer.write(np.full((16, 16, 3), 40 * i + 5 * j, np.uint8))
                write_json(folder / METRICS_FILE, {})
                write_json(folder / RECORD_FILE, facts)
            outcomes.append({"record": name, "status": "done"})
    write_json(tmp_path / "sweeps/study/cells/1.json", {"overrides": [], "noted": 0.0, "outcomes": outcomes})
    return tmp_path


def votes_path(runs):
    return runs / "sweeps" / "study" / "votes.csv"


def test_each_two_settings_meet_on_each_clip_with_sides_in_balance(runs):
    table = collect_wide(runs, "study")
    comparisons = comparisons_of(table, seed=3)
    assert len(comparisons) == len({one.records for one in comparisons}) == 12
    assert Counter((one.pair, frozenset((one.left, one.right))) for one in comparisons).most_common(1)[0][1] == 1
    for first, second in ((1.0, 1.5), (1.0, 2.0), (1.5, 2.0)):
        assert sum((one.left, one.right) == (first, second) for one in comparisons) == 2
    for start in range(0, 12, 3):  # any beginning is balanced
        assert len({frozenset((one.left, one.right)) for one in comparisons[start : start + 3]}) == 3
    assert comparisons_of(table, seed=3) == comparisons != comparisons_of(table, seed=4)
    with pytest.raises(OptionError, match="differ only in seed"):
        comparisons_of(table, by="seed")
    with pytest.raises(OptionError, match="no column guidance"):
        comparisons_of(table, by="guidance")


def test_only_records_that_differ_in_nothing_else_are_compared(runs):
    table = collect_wide(runs, "study")
    table.loc[table["guidance_scale"] == 2.0, "num_inference_steps"] = 40
    assert {frozenset((one.left, one.right)) for one in comparisons_of(table)} == {frozenset((1.0, 1.5))}


def test_nothing_that_is_shown_tells_which_record_is_which(runs):
    rating = BlindRating(runs, "study", rater="ann")
    page = unescape(rating.view.value)
    for widget in (rating.title, rating.status, *rating.buttons.values()):
        page += str(widget.get_state())
    current = rating.current
    words = (*current.records, current.pair, *CLIPS, "guidance", "seed", "feed", "1247")
    assert [word for word in words if word in page] == []
    assert page.count("data:video/mp4;base64,") == 2


def test_votes_are_stored_at_once_and_a_rater_goes_on_where_they_stopped(runs):
    rating = BlindRating(runs, "study", rater="ann")
    assert rating.status.value == "0 of 12"
    first = rating.current
    rating.buttons[LEFT].click()
    rating.vote(NEITHER)
    votes = read_votes(votes_path(runs))
    assert list(votes.columns) == list(COLUMNS) and list(votes["vote"]) == [LEFT, NEITHER]
    stored = votes.iloc[0]
    assert (stored["rater"], stored["left"], stored["right"]) == ("ann", first.left, first.right)
    assert {stored["left_record"], stored["right_record"]} == first.records and stored["pair"] == first.pair
    again = BlindRating(runs, "study", rater="ann")
    assert again.status.value == "2 of 12" and again.current == rating.current
    assert BlindRating(runs, "study", rater="bob").status.value == "0 of 12"
    with pytest.raises(OptionError, match="vote is 'both'"):
        again.vote("both")
    for _ in range(10):
        again.vote(RIGHT)
    assert again.current is None and "Thank you" in again.view.value and again.buttons[LEFT].disabled
    assert len(fit(read_votes(votes_path(runs)), prior=1)) == 3


def test_a_line_that_was_cut_costs_its_own_vote_only(runs):
    rating = BlindRating(runs, "study", rater="ann")
    rating.vote(LEFT)
    rating.vote(RIGHT)
    whole = votes_path(runs).read_bytes()
    os.truncate(votes_path(runs), len(whole) - 4)
    with pytest.warns(UserWarning, match="line 3 is not a complete vote"):
        again = BlindRating(runs, "study", rater="ann")
    assert again.status.value == "1 of 12"
    again.vote(NEITHER)
    with pytest.warns(UserWarning, match="line 3"):
        votes = read_votes(votes_path(runs))
    assert list(votes["vote"]) == [LEFT, NEITHER]


def test_a_vote_that_cannot_be_stored_is_told_and_asked_again(runs):
    rating = BlindRating(runs, "study", rater="ann")
    votes_path(runs).mkdir()
    before = rating.current
    rating.vote(LEFT)
    assert "the vote was not stored" in rating.status.value and rating.current == before
