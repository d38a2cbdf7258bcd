"""The server of `latentsync view`: whom it answers, what it sends, and what it says where something is missing."""

import asyncio
import json
import os
import re
import shutil
import socket
import threading
import time

import httpx
import numpy as np
import pytest
from record_content import METRICS, content
from starlette.testclient import TestClient
from written_sweep import HOSTILE, write_sweep

from latentsync.__main__ import main
from latentsync.errors import MediaError, OptionError
from latentsync.files import write_json
from latentsync.journal import LOG_FILE
from latentsync.lab.analysis.votes import read_votes
from latentsync.lab.console import MISUSED
from latentsync.lab.jobs.maker import Answer
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.pages.ballot import BallotBox
from latentsync.lab.pages.bundle import FRONT_DIR
from latentsync.lab.pages.reasons import reasons_of
from latentsync.lab.records.store import CURVES_FILE, METRICS_FILE, RECORD_FILE, RESULT_FILE, RecordStore
from latentsync.lab.serving import start
from latentsync.lab.serving.columns import DIGITS
from latentsync.lab.serving.helper import LATER, NOW, Helper
from latentsync.lab.serving.live import states
from latentsync.lab.serving.rating import name_of, side_video
from latentsync.lab.serving.server import FRONT_FILES, View
from latentsync.lab.tables.tidy import collect_wide
from latentsync.metrics.definitions import entry

TOKEN, PORT = "the-token", 8765
OWN = f"http://127.0.0.1:{PORT}"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "runs"
    write_sweep(folder, "guidance")
    return folder


@pytest.fixture
def opened(runs, tmp_path):
    """Opens a runs folder as a client that has the token; the helper process begins only if it is needed."""

    def open_client(folder=runs, sweep=None, headers=BEARER, flags=()):
        view = View(folder, sweep, tmp_path, flags)
        return TestClient(view.app(TOKEN, PORT), base_url=OWN, headers=headers, raise_server_exceptions=False)

    return open_client


def write_record(runs, record, metrics=None, **facts):
    with RecordStore(runs).new(record) as folder:
        (folder / RESULT_FILE).write_bytes(bytes(range(100)))
        write_json(folder / METRICS_FILE, METRICS if metrics is None else metrics)
        write_json(folder / RECORD_FILE, content(record, **facts))


def table_of(answer):
    """The first line of a table's message, and its columns as arrays by name."""
    body = answer.content
    length = int(body[:DIGITS], 16)
    about = json.loads(body[DIGITS:length].rstrip(b"\0"))
    kinds = {"number": "<f8", "words": "<i4"}
    columns = {
        each["name"]: np.frombuffer(body, kinds[each["type"]], about["rows"], length + each["at"])
        for each in about["columns"]
    }
    return about, columns


# --- whom it answers ---


def test_the_link_moves_its_token_to_a_cookie_and_opens_the_page(opened):
    client = opened(headers={})
    entered = client.get(f"/?token={TOKEN}", follow_redirects=False)
    assert entered.status_code == 303 and entered.headers["location"] == "/"
    cookie = entered.headers["set-cookie"]
    assert f"latentsync-view-{PORT}={TOKEN}" in cookie and "HttpOnly" in cookie and "SameSite=lax" in cookie
    page = client.get("/")
    assert page.status_code == 200 and "front/app.js" in page.text and TOKEN not in page.text
    assert client.get(f"/rating?token={TOKEN}", follow_redirects=False).headers["location"] == "/rating"


@pytest.mark.parametrize("path", ["/", "/?token=wrong", "/data/table", "/front/app.js", "/media/0107/result.mp4"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Cookie": f"latentsync-view-{PORT}=no"}])
def test_without_the_token_nothing_is_answered(opened, path, headers):
    answer = opened(headers=headers).get(path)
    assert answer.status_code == 403
    assert "Open the link that latentsync view printed" in answer.text
    assert ("<form" in answer.text) == (path.partition("?")[0] == "/")


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({"Origin": "http://evil.example"}, "evil.example"),
        ({"Origin": "null"}, "null"),
        ({"Origin": "http://127.0.0.1:9999"}, "9999"),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, "another site"),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, "another site"),
        ({"Host": "evil.example:8765"}, "evil.example"),
        ({"Host": "127.0.0.1.evil.example"}, "evil.example"),
        ({"Host": ""}, "does not answer"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_pages_of_others_are_refused_even_with_the_token(opened, headers, word):
    for path in ("/data/table", "/media/0107/result.mp4"):
        answer = opened().get(path, headers=headers)
        assert answer.status_code == 403 and word in answer.text
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": OWN}, {"Host": "localhost:9000"}, {"Sec-Fetch-Site": "same-origin"}]
)
def test_the_own_page_is_answered_also_through_a_forwarded_port(opened, headers):
    assert opened().get("/data/table", headers=headers).status_code == 200


def test_a_link_in_a_page_of_another_site_may_open_the_first_page_only(opened):
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert opened().get("/", headers=followed).status_code == 200
    assert opened().get("/data/table", headers=followed).status_code == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_is_written(opened, method):
    answer = opened().request(method, "/data/record/0107")
    assert answer.status_code == 403 and "only reads" in answer.text


WRITES = [("/data/rating/vote", "--allow-rating"), ("/data/make", "--allow-make"), ("/data/make/stop", "--allow-make")]


@pytest.mark.parametrize(("path", "flag"), WRITES)
def test_an_address_that_writes_is_refused_without_its_flag_and_by_all_other_checks(opened, path, flag):
    other = next(each for _, each in WRITES if each != flag)
    for flags in ((), (other,)):
        answer = opened(flags=flags).post(path, json={})
        assert answer.status_code == 403 and f"start latentsync view with {flag}" in answer.text
    allowed = opened(flags=(flag,))
    cookie = {"Authorization": "", "Cookie": f"latentsync-view-{PORT}={TOKEN}"}
    for headers, word in [
        ({"Authorization": ""}, "Open the link"),
        ({"Origin": "http://evil.example"}, "evil.example"),
        ({"Origin": "http://127.0.0.1:9999", **cookie}, "9999"),
        ({"Host": "evil.example"}, "evil.example"),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, "another site"),
    ]:
        answer = allowed.post(path, json={}, headers=headers)
        assert answer.status_code == 403 and word in answer.text
    without_origin = TestClient(allowed.app, base_url=OWN, headers={"Cookie": cookie["Cookie"]})
    assert "no Origin" in without_origin.post(path, json={}).text
    assert without_origin.post(path, content="{}", headers={"Origin": OWN}).status_code == 415
    for body in ("{", "[]", '"x"'):
        headers = {"Content-Type": "application/json"}
        assert allowed.post(path, content=body, headers=headers).status_code == 400
    assert allowed.post(path, json={"vote": "x" * 5000}).status_code == 413
    assert allowed.get(path).status_code == 405 and allowed.delete(path).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/media/../../etc/passwd", "/media/%2e%2e/result.mp4", "/media/0107/..%2f..%2frecord.json",
        "/front/../view.py", "/front/..%2f..%2fplayer.py", "/media/0107/..\\record.json", "/front/%00app.js",
    ],
)  # fmt: skip
def test_a_path_that_leads_up_is_not_found(opened, path):
    answer = opened().get(path)
    assert answer.status_code == 404 and answer.text and "root:" not in answer.text


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/media/nothere/result.mp4", "there is no record nothere"),
        ("/media/.hidden/result.mp4", "there is no record .hidden"),
        ("/media/0107/record.json", "has no file"),
        ("/front/player.py", "has no file"),
        ("/front/view.html", "has no file"),
        ("/data/record/nothere", "there is no record nothere"),
        ("/data/player?records=nothere", "there is no record nothere"),
        ("/data/table?sweep=nothere", "has no sweep nothere"),
        ("/else", "no such address"),
    ],
)
def test_what_is_not_there_is_said(opened, path, word):
    answer = opened().get(path)
    assert answer.status_code == 404 and word in answer.text and answer.headers["content-type"].startswith("text/plain")
    page = opened().get(path, headers={"Accept": "text/html"})
    assert "<h1>404</h1>" in page.text


def test_a_link_out_of_the_folder_is_not_followed(tmp_path, opened):
    write_record(tmp_path / "elsewhere", "1234")
    runs = tmp_path / "runs"
    (runs / "records").mkdir(parents=True)
    os.symlink(tmp_path / "elsewhere/records/1234", runs / "records/1234")
    answer = opened(runs).get("/media/1234/result.mp4")
    assert answer.status_code == 404 and "link out of" in answer.text


def test_pages_may_load_from_the_server_alone(opened):
    headers = opened().get("/").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy and "frame-ancestors 'none'" in policy
    assert headers["cross-origin-resource-policy"] == "same-origin" and headers["referrer-policy"] == "no-referrer"
    assert "http" not in policy and "unsafe-eval" not in policy


def test_the_list_of_files_is_what_the_page_needs(opened):
    client, wanted = opened(), set()
    wanted |= {name for page in FRONT_DIR.glob("*.html") for name in re.findall(r'"front/([^"]+)"', page.read_text())}
    for name in FRONT_FILES:
        answer = client.get(f"/front/{name}")
        assert answer.status_code == 200 and answer.content == (FRONT_DIR / name).read_bytes()
        if name.endswith(".js") and "vendor" not in name:
            wanted |= set(re.findall(r'"\./([\w/]+\.js)"', answer.text))
    assert wanted == set(FRONT_FILES)


# --- what it sends ---


def test_a_part_of_a_video_is_sent_alone(opened, runs):
    client, whole = opened(), (runs / "records/0107/result.mp4").read_bytes()
    answer = client.get("/media/0107/result.mp4", headers={"Range": "bytes=10-29"})
    assert answer.status_code == 206 and answer.content == whole[10:30]
    assert answer.headers["content-range"] == f"bytes 10-29/{len(whole)}"
    assert client.get("/media/0107/result.mp4").content == whole
    assert client.get("/media/0107/result.mp4", headers={"Range": f"bytes={len(whole)}-"}).status_code == 416


def test_the_table_is_that_of_the_laboratory(opened, runs):
    about, columns = table_of(opened().get("/data/table"))
    wide = collect_wide(runs)
    facts = {each["name"]: each for each in about["columns"]}
    assert about["rows"] == len(wide) == 8 and about["sweeps"] == ["guidance"] and about["left_out"] == []
    np.testing.assert_array_equal(columns["psnr"], wide["psnr"])
    words = facts["clip"]["words"]
    assert [words[code] for code in columns["clip"]] == [*wide["clip"]]
    assert facts["psnr"]["word"] == "PSNR" and facts["psnr"]["unit"] == "dB" and facts["psnr"]["direction"] == "higher"
    assert facts["guidance_scale"]["role"] == "setting" and facts["guidance_scale"]["label"] == "guidance {}"
    assert not any(name.endswith("_sha256") for name in facts)


def test_a_missing_value_has_its_reason(opened, tmp_path):
    write_record(tmp_path / "runs", "1234")
    about, columns = table_of(opened(tmp_path / "runs").get("/data/table"))
    reason = next(each for each in about["columns"] if each["name"] == "lpips_alex_reason")
    assert reason["role"] == "reason" and reason["of"] == "lpips_alex"
    assert reason["words"][columns["lpips_alex_reason"][0]] == "no frame shows a face"
    assert np.isnan(columns["sync_mini_confidence"]).sum() == 0


def test_an_expression_gives_rows_or_its_error(opened):
    client = opened()
    answer = client.get("/data/rows", params={"where": 'gender == "male" and seed == 7'}).json()
    about, columns = table_of(client.get("/data/table"))
    gender = next(each for each in about["columns"] if each["name"] == "gender")["words"]
    assert len(answer["rows"]) == 2
    assert all(gender[columns["gender"][row]] == "male" and columns["seed"][row] == 7 for row in answer["rows"])
    wrong = client.get("/data/rows", params={"where": "nothing == 2"})
    assert "cannot be read" in wrong.json()["error"] and "rows" not in wrong.json()


def test_a_record_made_meanwhile_is_in_the_next_table(opened, tmp_path):
    write_record(tmp_path / "runs", "1234")
    client = opened(tmp_path / "runs")
    first, _ = table_of(client.get("/data/table"))
    write_record(tmp_path / "runs", "5678", seed=9)
    second, _ = table_of(client.get("/data/table"))
    assert (first["rows"], second["rows"]) == (1, 2) and first["stamp"] != second["stamp"]


def test_a_damaged_record_is_named_and_the_others_are_there(opened, tmp_path):
    runs = tmp_path / "runs"
    write_record(runs, "1234")
    write_record(runs, "5678", seed=9)
    (runs / "records/5678" / RECORD_FILE).write_text("{")
    client = opened(runs)
    for _ in range(2):
        about, _ = table_of(client.get("/data/table?fresh"))
        assert about["rows"] == 1 and len(about["left_out"]) == 1 and "5678" in about["left_out"][0]
    assert client.get("/data/record/5678").status_code == 404
    assert client.get("/data/record/1234").status_code == 200


def test_a_missing_video_is_named(opened, tmp_path):
    write_record(tmp_path / "runs", "1234")
    (tmp_path / "runs/records/1234" / RESULT_FILE).unlink()
    client = opened(tmp_path / "runs")
    answer = client.get("/media/1234/result.mp4")
    assert answer.status_code == 404 and "result.mp4" in answer.text and "1234" in answer.text
    assert table_of(client.get("/data/table"))[0]["rows"] == 1


def test_an_empty_folder_has_an_empty_table(opened, tmp_path):
    client = opened(tmp_path)
    about, columns = table_of(client.get("/data/table"))
    assert about["rows"] == 0 and columns == {} and about["runs"] == str(tmp_path)
    assert client.get("/data/live").json()["sweeps"] == []


def test_one_record_says_all_of_it(opened, runs):
    details = opened().get("/data/record/0107").json()
    assert details["pair"] == "g-clara, own voice" and details["label"].startswith("guidance 1, 20 steps, seed 7")
    assert details["command"] == f"latentsync rerun 0107 --runs {runs.resolve()}"
    metrics = {each["name"]: each for each in details["metrics"]}
    assert metrics["psnr"]["unit"] == "dB" and metrics["psnr"]["word"] == "PSNR"
    assert {each["word"] for each in details["options"]} >= {"guidance", "steps", "seed"}
    assert details["facts"]["weights of unet"] == "ead3d2ca"


def test_the_reasons_are_read_from_frames_curves_and_metrics(tmp_path):
    curves = {
        "sync_mini_by_window": [0.5, None, 0.1],
        "sync_mini_real_by_window": [0.2, 0.2, 0.2],
        "lip_gap": [0.1] * 5,
        "lip_gap_source": [0.3] * 5,
        "lpips_alex": [None, 0.25, 0.5, 0.25, 0.0],
    }
    values = {"sync_mini_offset": -2, "lip_gap_correlation": 0.5, "lpips_alex": 0.25, "lse_d": 9.0, "lse_d_real": 7.0,
              "lse_c": 7.0, "lse_c_real": 6.0}  # fmt: skip
    write_record(tmp_path, "0001", {name: entry(name, value) for name, value in values.items()})
    record = RecordStore(tmp_path).look("0001")
    write_json(record.folder / CURVES_FILE, curves)
    write_json(record.folder / RECORD_FILE, content("0001") | {"video": {"num_frames": 5, "frames_without_face": 1}})
    found = {reason.text: reason.frame for reason in reasons_of(RecordStore(tmp_path).look("0001"))}
    assert found == {
        "No face was found in 1 of 5 frames (20%).": None,
        "The lips come 2 frames (80 ms) earlier than the voice (mini SyncNet offset).": None,
        "Lips and voice fit worst from 0.00 to 0.12 s: distance 0.50 there, 0.30 on average; the real clip has 0.20 "
        "there (less is better).": 1,
        "The mouth opens 0.200 eye distances less than in the clip from 0.00 to 0.20 s (0.100, the clip 0.300).": 2,
        "The face looks least like the clip's at 0.08 s: LPIPS 0.500, 0.250 on average (less is better).": 2,
        "LSE-D is 9, that of the real clip 7 (lower is better).": None,
        "LSE-C is 7, that of the real clip 6 (higher is better). This is suspect: no lips are more in sync than the "
        "real ones.": None,
    }
    write_json(record.folder / CURVES_FILE, {})
    write_json(record.folder / METRICS_FILE, {"psnr": entry("psnr", 30.0)})
    write_json(record.folder / RECORD_FILE, content("0001"))
    assert reasons_of(RecordStore(tmp_path).look("0001")) == []


# --- the blind rating ---

STUDY = {"sweep": "guidance", "by": "guidance_scale", "rater": "Anna"}


def test_without_its_flag_there_is_no_rating(opened):
    for path in ("/rating", "/data/rating", "/data/rating/trials", "/data/rating/video"):
        answer = opened().get(path)
        assert (
            answer.status_code == 403
            and "start latentsync view with" in answer.text
            and "--allow-rating" in answer.text
        )


def test_a_served_rating_has_the_order_and_the_votes_of_a_notebooks(runs, tmp_path, opened):
    folder = shutil.copytree(runs, tmp_path / "runs")
    client = opened(folder, flags=("--allow-rating",))
    study = client.get("/data/rating").json()
    assert study["sweep"] == "guidance" and study["sweeps"] == ["guidance"]
    assert ["guidance_scale", "guidance"] in study["settings"]
    answer = client.get("/data/rating/trials", params=STUDY)
    trials = [each["id"] for each in answer.json()["trials"]]
    ballot = BallotBox(folder, "guidance").ballot("Anna")
    assert trials == [*map(name_of, ballot.trials)] and answer.json()["votes"] == {}
    words = [word for trial in ballot.trials for word in (trial.left_record, trial.right_record, trial.pair)]
    assert not [word for word in (*words, "guidance", "damaged", "equal") if word in answer.text]

    for vote in ("left", "left", "right"):  # the second says nothing new
        assert client.post("/data/rating/vote", json={**STUDY, "trial": trials[0], "vote": vote}).status_code == 200
    anew = opened(folder, flags=("--allow-rating",))  # the server was started again: the page goes on
    for vote in ("neither", None, "neither"):
        assert anew.post("/data/rating/vote", json={**STUDY, "trial": trials[1], "vote": vote}).status_code == 200
    assert anew.get("/data/rating/trials", params=STUDY).json()["votes"] == {trials[0]: "right", trials[1]: "neither"}
    assert BallotBox(folder, "guidance").ballot("Anna").votes == {0: "right", 1: "neither"}
    votes = read_votes(sweep_folder(folder, "guidance") / "votes.csv")
    assert [*votes["rater"]] == ["Anna", "Anna"] and votes["left_record"][0] == ballot.trials[0].left_record


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"trial": "000000000000"}, 404, "have changed"),
        ({"vote": "both"}, 404, "give one of left, right, neither"),
        ({"rater": "  "}, 400, "name or number"),
        ({"rater": "x" * 61}, 400, "name or number"),
        ({"by": 3}, 400, "names sweep, by and rater"),
        ({"by": "psnrs"}, 404, "no column psnrs"),
        ({"sweep": "../x"}, 404, "has no sweep"),
    ],
)
def test_a_vote_that_cannot_be_is_refused_by_a_sentence_and_nothing_is_written(opened, runs, change, status, word):
    client = opened(flags=("--allow-rating",))
    first = client.get("/data/rating/trials", params=STUDY).json()["trials"][0]["id"]
    answer = client.post("/data/rating/vote", json={**STUDY, "trial": first, "vote": "left", **change})
    assert answer.status_code == status and word in answer.text
    assert not (sweep_folder(runs, "guidance") / "votes.csv").exists()


def test_the_video_of_a_side_is_that_of_its_record(runs):
    for trial in BallotBox(runs, "guidance").ballot("Anna").trials:
        for side in ("left", "right"):
            content = (runs / "records" / getattr(trial, f"{side}_record") / RESULT_FILE).read_bytes()
            assert (side_video(runs, trial, side) == content) == (trial.kind != f"damaged {side}")


# --- records that the page makes ---

SETTINGS = {"guidance_scale": "1.7", "num_inference_steps": "20", "seed": 7}


class FakeMaker:
    """Makes a record at once, or when it may; or fails, or is stopped."""

    def __init__(self):
        self.may_end, self.jobs, self.is_cancelled, self.answer = threading.Event(), [], False, None

    def make(self, job, on_progress):
        self.jobs.append(job)
        on_progress("denoise", 3, 20)
        self.may_end.wait(10)
        return Answer(is_cancelled=True) if self.is_cancelled else self.answer

    def cancel(self):
        self.is_cancelled = True
        self.may_end.set()

    def close(self):
        self.may_end.set()


@pytest.fixture
def maker(monkeypatch):
    fake = FakeMaker()
    monkeypatch.setattr("latentsync.lab.jobs.maker.Maker", lambda: fake)
    monkeypatch.setattr("latentsync.lab.jobs.maker.shipped_model", lambda record: "mini")
    monkeypatch.setattr("latentsync.lab.jobs.maker.job_like", lambda record, **given: (record.id, given))
    return fake


def ended(client):
    """The work once it has ended."""
    ends = time.monotonic() + 10
    while (work := client.get("/data/making").json())["is_running"]:
        assert time.monotonic() < ends
        time.sleep(0.01)
    return work


def test_one_record_is_made_at_a_time_and_its_stage_is_said(runs, tmp_path, opened, maker):
    folder = shutil.copytree(runs, tmp_path / "runs")
    with opened(folder, "guidance", flags=("--allow-make",)) as client:
        assert table_of(client.get("/data/table"))[0]["allows"] == ["--allow-make"]
        assert client.get("/data/making").json() == {}
        wanted = {"like": "0107", "settings": SETTINGS, "sweep": "guidance"}
        work = client.post("/data/make", json=wanted).json()
        assert work["label"] == "g-clara, own voice, guidance 1.7, 20 steps, seed 7" and work["is_running"]
        again = client.post("/data/make", json=wanted)  # a double click
        assert again.status_code == 409 and "is being made; wait for it" in again.text
        while (work := client.get("/data/making").json())["stage"] != "denoise":
            time.sleep(0.01)
        assert (work["done"], work["total"]) == (3, 20)
        write_record(folder, "1234", seed=9)
        maker.answer = Answer("1234")
        maker.may_end.set()
        assert ended(client)["made"] == "1234"
        given = {"guidance_scale": 1.7, "num_inference_steps": 20, "seed": 7, "model": "mini", "inputs": None}
        assert maker.jobs == [("0107", given)]
        about, _ = table_of(client.get("/data/table"))
        ids = next(each for each in about["columns"] if each["name"] == "record")["words"]
        assert "1234" in ids and about["rows"] == 9
    assert collect_wide(folder, "guidance")["record"].tolist().count("1234") == 0  # it is no cell of the sweep


def test_a_job_that_fails_or_is_stopped_says_so(opened, maker):
    with opened(flags=("--allow-make",)) as client:
        wanted = {"like": "0107", "settings": SETTINGS, "sweep": None}
        maker.answer = Answer(reason="align: no face")
        maker.may_end.set()
        client.post("/data/make", json=wanted)
        assert ended(client)["reason"] == "align: no face"
        maker.may_end.clear()
        client.post("/data/make", json=wanted)
        client.post("/data/make/stop", json={})
        work = ended(client)
        assert work["is_cancelled"] and work["number"] == 2 and work["made"] is None


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"like": "nothere"}, 404, "there is no record nothere"),
        ({"like": "../0107"}, 404, "there is no record"),
        ({"settings": {"seed": 1}}, 400, "settings has to give"),
        ({"settings": {**SETTINGS, "seed": "many"}}, 404, "seed is 'many'; give a whole number"),
        ({"settings": {**SETTINGS, "seed": [1]}}, 404, "give a whole number"),
        ({"settings": {**SETTINGS, "num_inference_steps": 0}}, 404, "from 1 to 999"),
        ({"sweep": "nothere"}, 404, "has no sweep nothere"),
    ],
)
def test_a_record_that_cannot_be_made_is_refused_by_a_sentence(opened, maker, change, status, word):
    client = opened(flags=("--allow-make",))
    answer = client.post("/data/make", json={"like": "0107", "settings": SETTINGS, "sweep": None, **change})
    assert answer.status_code == status and word in answer.text and maker.jobs == []
    assert client.get("/data/making").json() == {}


def test_a_model_that_is_not_shipped_is_asked_for(opened, tmp_path):
    write_record(tmp_path, "1234")
    facts = content("1234")
    write_json(tmp_path / "records/1234" / RECORD_FILE, facts | {"model": facts["model"] | {"name": "mine"}})
    client = opened(tmp_path, flags=("--allow-make",))
    answer = client.post("/data/make", json={"like": "1234", "settings": SETTINGS, "sweep": None})
    assert answer.status_code == 404 and "start latentsync view with --model" in answer.text


# --- a sweep that runs ---


def test_the_state_of_a_sweep_has_stage_and_time_left(runs, tmp_path):
    folder = tmp_path / "runs"
    write_record(folder, "0001")
    cells = [{"overrides": ["sampler.seed=7"], "records": {"a": "0001", "b": "0002"}}]
    cells += [{"overrides": ["sampler.seed=8"], "records": {"a": "0003", "b": "0004"}}]
    write_json(sweep_folder(folder, "now") / "plan.json", {"cells": cells})
    failed = {"record": None, "status": "failed", "pair": "b", "stage": "align", "reason": "no face", "trace": None}
    note = {"overrides": ["sampler.seed=8"], "noted": 1.0, "outcomes": [failed]}
    write_json(sweep_folder(folder, "now") / "cells/x.json", note)
    stages = [("read", "0001"), ("align", "0001"), ("denoise", "0001"), ("read", "0002"), ("align", "0002")]
    events = [{"event": "stage", "stage": stage, "record": record} for stage, record in stages]
    events.insert(3, {"event": "pair", "record": "0001", "status": "done", "seconds": 40.0})
    lines = [json.dumps({"time": "2999-01-01T00:00:00Z", "process": 1, "pair": "a", **event}) for event in events]
    lines += ['{"event": "stage"}', '{"time": "soon", "event": "pair"}', '{"time": "2999-01-01T00:00:00Z"}', "{"]
    (sweep_folder(folder, "now") / LOG_FILE).write_text("\n".join(lines) + "\n")
    with RecordStore(folder).claim("0002", wait=False) as is_ours:
        assert is_ours
        (state,) = states(folder)
    assert [state[name] for name in ("done", "failed", "missing", "running")] == [1, 1, 1, 1]
    (run,) = state["runs"]
    assert (run["record"], run["pair"], run["stage"]) == ("0002", "b", "denoise")
    assert state["is_active"] and state["left_s"] == 80.0  # two records at 40 s in one process
    assert [(each["pair"], each["stage"], each["settings"]) for each in state["failures"]] == [
        ("b", "align", {"seed": "8"})
    ]


@pytest.mark.parametrize(("event", "age_s", "is_active"), [("cell", 5, True), ("cell", 500, False), ("end", 5, False)])
def test_a_run_is_active_between_records_until_its_log_ends(tmp_path, event, age_s, is_active):
    write_record(tmp_path, "0001")
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age_s))
    folder = sweep_folder(tmp_path, "now")
    folder.mkdir(parents=True)
    (folder / LOG_FILE).write_text(json.dumps({"time": moment, "event": event, "process": 1}) + "\n")
    (state,) = states(tmp_path)
    assert state["is_active"] == is_active and state["runs"] == [] and state["left_s"] is None


def test_states_are_sent_once_as_long_as_nothing_changes(opened, runs):
    client = opened()
    first = client.get("/data/live").json()
    assert first["sweeps"][0]["name"] == "guidance" and first["sweeps"][0]["failures"][0]["reason"] == HOSTILE
    assert client.get("/data/live", params={"stamp": first["stamp"]}).json() == {"stamp": first["stamp"]}


# --- the helper process ---


def square(number):
    return number * number


def fail(number):
    raise MediaError(f"{number} is no video")


def test_the_helper_takes_the_urgent_first_and_the_last_of_these(monkeypatch):
    order = []

    async def answer(self, task):
        await asyncio.sleep(0.01)
        order.append(task.arguments[0])
        return task.function(*task.arguments)

    async def gone():
        return True

    async def run():
        helper = Helper()
        calls = [helper.call(LATER, square, number) for number in (1, 2, 3)]
        calls += [helper.call(NOW, square, 4), helper.call(LATER, square, 2), helper.call(NOW, fail, 5)]
        calls += [helper.call(NOW, square, 6, is_gone=gone)]
        return await asyncio.gather(*calls, return_exceptions=True)

    monkeypatch.setattr(Helper, "_answer", answer)
    answers = asyncio.run(run())
    assert answers[:5] == [1, 4, 9, 16, 4]
    assert str(answers[5]) == "5 is no video" and "nobody waits" in str(answers[6])
    assert order == [5, 4, 3, 2, 1]


# --- the command ---


def test_the_command_names_what_is_wrong(tmp_path, capsys):
    assert main(["view", str(tmp_path / "nothing"), "--no-browser"]) == MISUSED
    assert f"there is no folder {tmp_path / 'nothing'}" in capsys.readouterr().err
    (tmp_path / "records").mkdir()
    assert main(["view", str(tmp_path), "--sweep", "x", "--no-browser"]) == MISUSED
    assert "has no sweep" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["view", str(tmp_path), "--port", str(port), "--no-browser"]) == MISUSED
    assert f"--port {port} cannot be used" in capsys.readouterr().err


def test_without_a_port_the_next_free_one_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(start, "FIRST_PORT", port)
        with start.listening_socket(None) as listener:
            assert port < listener.getsockname()[1] < port + start.PORTS
        monkeypatch.setattr(start, "PORTS", 1)
        with pytest.raises(OptionError, match="all taken"):
            start.listening_socket(None)


def test_the_link_is_printed_once_the_server_answers_on_the_loopback_address_alone(runs, monkeypatch):
    links, servers = [], []
    monkeypatch.setattr(start, "has_desktop", lambda: False)
    build = start._Server.__init__
    monkeypatch.setattr(start._Server, "__init__", lambda self, *rest: (servers.append(self), build(self, *rest))[1])
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    serving = threading.Thread(target=start.view, args=(runs, None, port, links.append))
    serving.start()
    try:
        ends = time.monotonic() + 20
        while not links and time.monotonic() < ends:
            time.sleep(0.05)
        (link,) = links
        assert link.startswith(f"http://127.0.0.1:{port}/?token=")
        answer = httpx.get(link, follow_redirects=True, trust_env=False)
        assert answer.status_code == 200 and "LatentSync" in answer.text
        assert servers[0].servers[0].sockets[0].getsockname()[0] == "127.0.0.1"
    finally:
        servers[0].should_exit = True
        serving.join(20)
    assert not serving.is_alive()
