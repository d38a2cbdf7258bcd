"""The blind study: balanced order, nothing that reveals the settings, votes that are never lost, a rating as a file."""

import json
import os
import re
import shutil
from collections import Counter

import numpy as np
import pytest
from record_content import content

from latentsync import media
from latentsync.errors import OptionError
from latentsync.files import write_json
from latentsync.lab.analysis.preferences import LEFT, NEITHER, RIGHT, fit
from latentsync.lab.analysis.votes import COLUMNS, attention, read_votes, trials_of
from latentsync.lab.commands import rate
from latentsync.lab.pages.rating import FILE_COLUMNS, write_rating
from latentsync.lab.records.store import METRICS_FILE, RECORD_FILE, RESULT_FILE, RecordStore
from latentsync.lab.tables.tidy import collect_wide
from latentsync.lab.widgets.rating import BlindRating

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
    trials = trials_of(table, seed=3, checks=0)
    assert len(trials) == len({one.key for one in trials}) == 12
    assert Counter((one.pair, frozenset((one.left, one.right))) for one in trials).most_common(1)[0][1] == 1
    for first, second in ((1.0, 1.5), (1.0, 2.0), (1.5, 2.0)):
        assert sum((one.left, one.right) == (first, second) for one in trials) == 2
    for start in range(0, 12, 3):  # any beginning is balanced
        assert len({frozenset((one.left, one.right)) for one in trials[start : start + 3]}) == 3
    assert trials_of(table, seed=3, checks=0) == trials != trials_of(table, seed=4, checks=0)
    with pytest.raises(OptionError, match="differ only in seed"):
        trials_of(table, by="seed")
    with pytest.raises(OptionError, match="no column guidance"):
        trials_of(table, by="guidance")


def test_attention_checks_stand_among_the_pairs(runs):
    trials = trials_of(collect_wide(runs, "study"), seed=3, checks=3)
    checks = [one for one in trials if one.kind != "pair"]
    assert len(trials) == 15 and [one.kind.split()[0] for one in checks] == ["damaged", "equal", "damaged"]
    assert all(one.left_record == one.right_record for one in checks)
    assert [one for one in trials if one.kind == "pair"] == trials_of(collect_wide(runs, "study"), seed=3, checks=0)


def test_only_records_that_differ_in_nothing_else_are_compared(runs):
    table = collect_wide(runs, "study")
    table.loc[table["guidance_scale"] == 2.0, "num_inference_steps"] = 40
    assert {frozenset((one.left, one.right)) for one in trials_of(table, checks=0)} == {frozenset((1.0, 1.5))}


def sent_by(rating, monkeypatch, **message) -> tuple[dict, list[bytes]]:
    """What the kernel answers to a message of the front end."""
    answers = []
    monkeypatch.setattr(rating, "send", lambda answer, buffers: answers.append((answer, buffers)))
    rating._answer({"number": 1, **message})
    return answers[0]


def test_nothing_that_is_shown_tells_which_record_is_which(runs, monkeypatch):
    rating = BlindRating(runs, "study", rater="ann")
    begun = sent_by(rating, monkeypatch, do="begin", rater="ann")
    shown, videos = sent_by(rating, monkeypatch, do="show", trial=0)
    page = f"{rating.study} {begun} {shown}"
    words = (*rating.current.key[1], rating.current.pair, *CLIPS, "guidance", "seed", "feed", "1247")
    assert [word for word in words if word in page] == []
    assert len(videos) == 2 and all(len(video) > 500 for video in videos)


def test_votes_are_stored_at_once_and_a_rater_goes_on_where_they_stopped(runs):
    rating = BlindRating(runs, "study", rater="ann", checks=0)
    first, second = rating.trials[:2]
    rating.vote(LEFT)
    rating.vote(NEITHER)
    votes = read_votes(votes_path(runs))
    assert list(votes.columns) == list(COLUMNS) and list(votes["vote"]) == [LEFT, NEITHER]
    stored = votes.iloc[0]
    assert (stored["rater"], stored["left"], stored["right"]) == ("ann", first.left, first.right)
    assert {stored["left_record"], stored["right_record"]} == first.key[1] and stored["pair"] == first.pair
    again = BlindRating(runs, "study", rater="ann", checks=0)
    assert again.votes == {0: LEFT, 1: NEITHER} and again.current == rating.current == again.trials[2]
    other = BlindRating(runs, "study", rater="ann", checks=0, seed=99)  # sides may be turned: the votes follow them
    for trial in (first, second):
        (place,) = [i for i, one in enumerate(other.trials) if one.key == trial.key]
        is_turned = other.trials[place].left != trial.left
        assert other.votes[place] == (NEITHER if trial is second else RIGHT if is_turned else LEFT)
    assert BlindRating(runs, "study", rater="bob").votes == {}
    with pytest.raises(OptionError, match="vote is 'both'"):
        again.vote("both")
    for _ in range(10):
        again.vote(RIGHT)
    assert again.current is None and len(fit(read_votes(votes_path(runs)), prior=1)) == 3
    with pytest.raises(OptionError, match="all pairs are done"):
        again.vote(LEFT)


def test_a_vote_is_replaced_and_taken_back(runs):
    rating = BlindRating(runs, "study", rater="ann", checks=0)
    for vote in (LEFT, LEFT, RIGHT):  # the second says nothing new
        rating.vote(vote, 0)
    rating.vote(NEITHER, 1)
    assert list(read_votes(votes_path(runs))["vote"]) == [RIGHT, NEITHER]
    assert len(votes_path(runs).read_text().splitlines()) == 4
    rating.vote(None, 1)
    assert list(read_votes(votes_path(runs))["vote"]) == [RIGHT] and rating.current == rating.trials[1]
    assert BlindRating(runs, "study", rater="ann", checks=0).votes == {0: RIGHT}


def test_attention_is_reported_and_does_not_count_as_a_preference(runs):
    answers = {"equal": NEITHER, "damaged left": RIGHT, "damaged right": LEFT}
    for rater, is_attentive in (("ann", True), ("bob", False)):
        rating = BlindRating(runs, "study", rater=rater)
        for place, trial in enumerate(rating.trials):
            wrong = LEFT if answers.get(trial.kind) == RIGHT else RIGHT
            rating.vote(answers.get(trial.kind, LEFT) if is_attentive else wrong, place)
    votes = read_votes(votes_path(runs))
    assert attention(votes).to_dict("list") == {
        "rater": ["ann", "bob"], "votes": [12, 12], "checks": [2, 2], "passed": [2, 0], "left": [1.0, 0.0],
    }  # fmt: skip
    assert fit(votes, prior=1)["votes"].sum() == 2 * 24
    with pytest.raises(OptionError, match="all votes are on attention checks"):
        fit(votes[votes["kind"] != "pair"])


def test_votes_of_another_sweep_are_refused(runs):
    rating = BlindRating(runs, "study", rater="ann", checks=0)
    rating.vote(LEFT)
    gone = next(iter(rating.trials[0].key[1]))
    votes_path(runs).write_text(votes_path(runs).read_text().replace(gone, "abcd0000"))
    with pytest.raises(OptionError, match=r"on record abcd0000, which sweep study does not have: .* another sweep"):
        BlindRating(runs, "study", rater="ann")


def test_a_line_that_was_cut_costs_its_own_vote_only(runs):
    rating = BlindRating(runs, "study", rater="ann")
    rating.vote(LEFT)
    rating.vote(RIGHT)
    whole = votes_path(runs).read_bytes()
    os.truncate(votes_path(runs), len(whole) - 4)
    with pytest.warns(UserWarning, match="line 3 is not a complete vote"):
        again = BlindRating(runs, "study", rater="ann")
    assert list(again.votes) == [0]
    again.vote(NEITHER)
    with pytest.warns(UserWarning, match="line 3"):
        votes = read_votes(votes_path(runs))
    assert list(votes["vote"]) == [LEFT, NEITHER]


def test_a_vote_that_cannot_be_stored_is_told_and_asked_again(runs, monkeypatch):
    rating = BlindRating(runs, "study", rater="ann")
    votes_path(runs).mkdir()
    before = rating.current
    answer, _ = sent_by(rating, monkeypatch, do="vote", trial=0, vote=LEFT)
    assert "the vote was not stored" in answer["refusal"] and rating.current == before


# --- the rating as a file ---


def study_of(page) -> dict:
    return json.loads(re.search('id="study">(.*?)</script>', page.read_text(), re.DOTALL)[1])


def votes_file(path, study: dict, rater: str, votes: list[str], turned: int = 0):
    """What the page saves after votes on its first pairs."""
    rows = [
        (study["id"], rater, "2026-11-28T12:00:00Z", trial["id"], str(turned), vote)
        for trial, vote in zip(study["trials"], votes, strict=False)
    ]
    path.write_text("\n".join(map(",".join, [FILE_COLUMNS, *rows])) + "\n")
    return path


def test_the_file_holds_each_video_once_under_a_name_that_says_nothing(runs):
    page = write_rating(runs, "study", number=6)
    study, text = study_of(page), page.read_text()
    assert len(study["trials"]) == 8 and set(study["videos"]) == {
        name for one in study["trials"] for name in (one["left"], one["right"])
    }
    assert [word for word in (*CLIPS, "feed", "guidance", "study/") if word in text] == []
    assert not re.search("damaged|equal|late", json.dumps(study | {"videos": None}))
    policy = re.search('Content-Security-Policy" content="(.*?)"', text)[1]
    assert policy.startswith("default-src 'none'") and "unsafe-inline" not in policy.split("script-src")[1]
    assert not re.search(r'(src|href)="(?!data:)|@import|https?://(?!www\.w3\.org)', text)
    with pytest.raises(OptionError, match="give fewer pairs with --number"):
        write_rating(runs, "study", max_bytes=1000)


def test_votes_come_back_from_several_raters_beside_those_of_a_notebook(runs, tmp_path, capsys):
    assert rate.main([str(runs), "--sweep", "study", "--output", str(tmp_path / "sent.html")]) == 0
    study = study_of(tmp_path / "sent.html")
    ann = votes_file(tmp_path / "ann.csv", study, "ann", [LEFT] * 14)
    bob = votes_file(tmp_path / "bob.csv", study, "bob", [LEFT, RIGHT] * 7, turned=1)
    BlindRating(runs, "study", rater="cleo", checks=0).vote(NEITHER)
    for _ in range(2):  # what is known is left out
        assert rate.main([str(runs), "--sweep", "study", "--votes", str(ann), str(bob)]) == 0
    printed = capsys.readouterr().out
    assert "29 votes" in printed and "Bradley-Terry" in printed and "passed" in printed
    votes = read_votes(votes_path(runs))
    assert Counter(votes["rater"]) == {"ann": 14, "bob": 14, "cleo": 1}
    assert len(votes_path(runs).read_text().splitlines()) == 1 + 29
    own, turned = (votes[votes["rater"] == rater].iloc[0] for rater in ("ann", "bob"))
    assert (own["left"], own["right"], own["vote"]) == (turned["right"], turned["left"], LEFT)
    assert turned["vote"] == RIGHT  # bob's file keeps votes by the pair's own sides; he chose what stood on his right
    assert len(fit(votes, prior=1)) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("STUDY", "0123456789"), "rating 0123456789, which is not of sweep study: no sweep of this folder has it"),
        (("STUDY", "../../x"), "is no rating's name"),
        (("left\n", "maybe\n"), "line 2 is no vote of a rating"),
        (("TRIAL", "ffffffffff"), "line 2 is on a pair that the rating does not have"),
        (("study,", "other,"), "line 2 is no vote"),
    ],
)
def test_a_file_that_is_not_of_the_sweep_is_refused_by_a_sentence(runs, tmp_path, capsys, change, words):
    study = study_of(write_rating(runs, "study", number=3))
    path = votes_file(tmp_path / "votes.csv", study, "ann", [LEFT])
    old = {"STUDY": study["id"], "TRIAL": study["trials"][0]["id"]}.get(change[0], change[0])
    path.write_text(path.read_text().replace(old, change[1]))
    assert rate.main([str(runs), "--sweep", "study", "--votes", str(path)]) == 2
    assert words in capsys.readouterr().err and not votes_path(runs).exists()


def test_votes_for_another_sweep_name_it(runs, tmp_path, capsys):
    shutil.copytree(runs / "sweeps" / "study", runs / "sweeps" / "second")
    study = study_of(write_rating(runs, "second"))
    path = votes_file(tmp_path / "votes.csv", study, "ann", [LEFT])
    assert rate.main([str(runs), "--sweep", "study", "--votes", str(path)]) == 2
    assert "they are of sweep second; give --sweep second" in capsys.readouterr().err
