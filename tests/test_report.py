"""The page of a sweep: one file, whose numbers are those of the comparisons, and in which every name stays text."""

import re
from dataclasses import replace
from html import escape

import numpy as np
import pandas as pd
import pytest
from written_sweep import CLIPS, GUIDANCE, HOSTILE, SEEDS, write_many, write_sweep

from latentsync import media
from latentsync.errors import OptionError
from latentsync.files import write_json
from latentsync.lab.analysis.comparisons import compare_all
from latentsync.lab.analysis.pareto import TIME_RATIO, with_time_ratio
from latentsync.lab.analysis.units import per_unit
from latentsync.lab.commands.report import main, parser
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.pages import contents, write
from latentsync.lab.pages.chosen import chosen
from latentsync.lab.pages.contents import gather
from latentsync.lab.pages.means import means_over_clips, value_text
from latentsync.lab.pages.media import PageVideo, PairMedia, embed_videos
from latentsync.lab.pages.write import rendered, write_report
from latentsync.lab.records import index, store
from latentsync.lab.tables.tidy import collect_wide
from latentsync.metrics.definitions import WORDS


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_sweep(folder, "guidance")
    return folder


@pytest.fixture(scope="module")
def html(runs):
    """The page with everything in it, as the command writes it."""
    assert main([str(runs)]) == 0
    return (sweep_folder(runs, "guidance") / "report.html").read_text()


@pytest.mark.slow
def test_the_page_is_one_file_that_asks_nothing_of_the_network(html):
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    folders = {source for source in sources if source.startswith("../../records/")}
    assert {source.split(":")[0].split("#")[0] for source in set(sources) - folders} == {"data", ""}
    assert len(folders) == len(CLIPS) * len(GUIDANCE) * len(SEEDS)
    assert not re.search(r"url\(|@import|https?://", html)
    assert html.count('src="data:video/mp4') == len(CLIPS) * (1 + len(GUIDANCE) * len(SEEDS))
    assert html.count('src="data:image/webp') == html.count('src="data:video/mp4') and 'src="data:image/png' in html
    assert '<html lang="en">' in html and "<main" in html and "untrained" not in html.lower()
    assert all(
        text in html for text in ("2026-11-25", "2.14.1", "ead3d2ca", "LPIPS v0.1 alex", "0107", "8 done, 1 failed")
    )


def test_names_and_reasons_stay_text_and_failures_are_told(html):
    assert HOSTILE not in html and escape(HOSTILE) in html
    assert html.count("<script") == 1 and "<td>align</td>" in html and "g-x__g-x" in html


def test_metrics_have_their_names_and_keys_only_as_titles(html):
    for metric in ("lpips_alex_mouth", "psnr"):
        word = WORDS[metric]
        assert f'<span title="{metric}">{word}</span>' in html and f">{word}</option>" in html
        assert f">{metric}<" not in html
    assert "No front: a front needs two objectives, and the records have 1." in html


def test_numbers_are_those_of_the_comparisons(runs, html):
    table = collect_wide(runs, "guidance")
    clips = per_unit(table, ["lpips_alex_mouth"], ["guidance_scale"])["lpips_alex_mouth"]
    rows = {row.setting: row for row in means_over_clips(table, ["guidance_scale"], ["lpips_alex_mouth"])}
    for scale in GUIDANCE:
        row, values = rows[(scale,)], clips.loc[scale].to_numpy()
        assert (row.mean, row.low, row.high, row.clips) == (values.mean(), None, None, 2)  # two clips are dots
        assert len(row.dots) == 2 and "with fewer than 5 there is none" in html
        assert f'data-value="{row.mean}">{value_text(float(row.mean))}</td>' in html
    comparison = compare_all(table, ["lpips_alex_mouth"], "guidance_scale", 1.5).iloc[0]
    assert comparison["verdict"].startswith("too few clips") and f"<td>{comparison['verdict']}</td>" in html
    assert np.isclose(comparison["difference"], -0.005) and f"{comparison['difference']:+.4g}" in html


def test_linked_videos_are_found_from_the_page(runs, tmp_path):
    path = write_report(runs, "guidance", tmp_path / "pages" / "page.html", videos="link", baseline="1.0")
    sources = re.findall(r'<video[^>]* src="([^"]*)"', path.read_text())
    assert len(sources) == 10 and all((path.parent / source).is_file() for source in sources)
    assert path.stat().st_size < 3_000_000 and "Comparison with guidance 1.0" in path.read_text()


def test_what_does_not_fit_is_linked_and_said(tmp_path):
    def pair(name: str, sizes: tuple[int, ...]) -> PairMedia:
        videos = []
        for number, size in enumerate(sizes):
            path = tmp_path / f"{name}{number}.mp4"
            path.write_bytes(b"\0" * size)
            videos.append(PageVideo("", path, source=path.name))
        return PairMedia(name, "female", videos)

    pairs = [pair("a", (3000, 3000)), pair("b", (90_000,)), pair("c", (3000,))]
    note = embed_videos(pairs, 20_000)
    assert [each.is_embedded for each in pairs] == [True, False, True] and pairs[1].videos[0].source == "b0.mp4"
    assert note.startswith("3 of 4 videos are in this page")
    large = [pair("d", (3000, 90_000))]
    embed_videos(large, 20_000)
    assert [video.is_embedded for video in large[0].videos] == [True, False]


@pytest.mark.slow
def test_an_untrained_model_is_marked(tmp_path):
    write_sweep(tmp_path, "untrained", trained=False)
    assert "<strong>Untrained model" in rendered(gather(tmp_path, "untrained", None)).decode()


def test_a_sweep_of_failures_alone_has_a_page(tmp_path):
    outcome = {
        "record": None,
        "status": "failed",
        "pair": "g-a__g-a",
        "stage": "read",
        "reason": "no face",
        "trace": None,
    }
    cell = {"overrides": ["sampler.seed=1"], "noted": 0.0, "outcomes": [outcome]}
    write_json(sweep_folder(tmp_path, "lost") / "cells/1.json", cell)
    text = write_report(tmp_path, "lost").read_text()
    assert "no face" in text and "sampler.seed=1" in text and 'id="results"' not in text


def test_a_wrong_name_or_setting_is_refused_with_what_there_is(runs, tmp_path, capsys):
    assert main([str(runs), "--sweep", "guidence"]) == 2
    assert "guidence; it has guidance" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 2
    assert "give the folder" in capsys.readouterr().err
    for name in ("a", "b"):
        sweep_folder(tmp_path, name).mkdir(parents=True)
    assert main([str(tmp_path)]) == 2
    assert "choose one with --sweep: a, b" in capsys.readouterr().err
    with pytest.raises(OptionError, match=r"guidance_scale=9\.0; choose two of 1\.0, 1\.5"):
        gather(runs, "guidance", None, baseline="9")


# --- of any size ---

MANY = {"clips": 9, "settings": 4, "seeds": 2}
FRAMES = 6


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """The page of 72 records of a video of a few frames: its path and contents, and what was read for it."""
    folder = tmp_path_factory.mktemp("many")
    frames = list(media.read_frames_in_order(SHIPPED_DIR / "g-clara.mp4", range(FRAMES)))
    with media.VideoWriter(folder / "short.mp4", 512, 512) as writer:
        for frame in frames:
            writer.write(frame)
    write_many(folder, "big", folder / "short.mp4", **MANY)
    decoded, opened, pages = [], [], []
    read_frames, read_json = media.read_frames_in_order, store.read_json

    def reading(*args):
        for frame in read_frames(*args):
            decoded.append(args[0])
            yield frame

    def opening(path, *args):
        opened.append(path)
        return read_json(path, *args)

    def gathering(*args):
        pages.append(gather(*args))
        return pages[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(media, "read_frames_in_order", reading)
        patch.setattr(store, "read_json", opening)
        patch.setattr(write, "gather", gathering)
        patch.setattr(index, "SETTLED_S", 0.0)
        path = write_report(folder, "big")
    return path, pages[0], decoded, [path for path in opened if path.name == store.RECORD_FILE]


@pytest.mark.slow
def test_a_page_of_many_records_decodes_and_opens_few(big):
    _, page, decoded, opened = big
    shown, total = len(page.choice.reasons), MANY["clips"] * MANY["settings"] * MANY["seeds"]
    assert (shown, page.choice.left_out, page.num_records) == (3 * MANY["settings"], total - shown, total)
    assert len(decoded) == shown * (FRAMES + 2)  # each mouth is cut once; every fifth frame is searched for it
    assert len(opened) <= 3 * total + 2 * shown  # looked at, indexed, and asked how it was made


def test_a_page_of_many_records_says_what_it_leaves_out_and_links_it(big):
    path, page, *_ = big
    html = path.read_text()
    assert "60 of 72 records have no video here" in html and f"latentsync view {page.runs}" in html
    assert html.count("<video") == 12 and html.count('src="data:image/webp') == 12
    links = [link for link in re.findall(r'href="([^"]*)"', html) if "records/" in link]
    assert len(links) == 72 and all((path.parent / link).is_dir() for link in links)
    (row,) = re.findall(r'<th scope="row">guidance 1</th><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>', html)
    assert ["c-8__c-8" in row[0], "c-4__c-4" in row[1], "c-0__c-0" in row[2]] == [True] * 3  # 0 is best


def test_a_table_of_very_many_records_is_data_that_no_name_can_end(big, monkeypatch):
    path, page, *_ = big
    monkeypatch.setattr(contents, "MAX_TABLE_ROWS", 60)
    page, table = replace(page), collect_wide(page.runs, "big")
    table["pair"] = table["pair"].replace("c-1__c-1", "</script>")
    labels = dict.fromkeys(table["record"], "guidance")
    contents.add_records(page, table, labels, path.parents[2] / "records", path.parent)
    assert len(page.records) == 50 and len(page.all_records["columns"][-1]["places"]) == 72
    html = rendered(page).decode()
    assert "\\u003c/script>" in html and html.count("<script") == html.count("</script>") == 2


def test_pairs_are_shown_by_name(big, capsys):
    table = collect_wide(big[1].runs, "big")
    names = parser().parse_args(["runs", "--pairs", "c-5__c-5, c-3__c-3"]).pairs
    choice = chosen(table, ["guidance_scale"], ["lpips_alex_mouth"], names)
    pairs = table.set_index("record")["pair"][list(choice.reasons)]
    assert pairs.value_counts().to_dict() == {"c-5__c-5": 4, "c-3__c-3": 4} and choice.left_out == 64
    assert main([big[1].runs, "--pairs", "c-3__c-4"]) == 2
    assert "no record of the pair 'c-3__c-4'; did you mean c-" in capsys.readouterr().err


def test_ranks_go_by_the_metric_s_own_direction_and_the_mean_of_seeds():
    rows = [
        {"record": f"{pair}{seed}", "pair": pair, "guidance_scale": 1.0, "lpips_alex_mouth": value + error}
        for pair, value in (("a", 0.3), ("b", 0.1), ("c", 0.2), *((f"d{i}", 0.2) for i in range(20)))
        for seed, error in ((1, 0.0), (2, 0.02), (3, 0.004))
    ]
    choice = chosen(pd.DataFrame(rows), ["guidance_scale"], ["seconds", "lpips_alex_mouth"])
    ranks = {reasons[0]: record for record, reasons in choice.reasons.items()}
    assert (choice.metric, ranks["worst"], ranks["best"]) == ("lpips_alex_mouth", "a3", "b3")  # nearest to the mean
    assert set(ranks) == {"worst", "median", "best"} and choice.left_out == len(rows) - 3


# --- time on the front ---


def timed(clips: int, *paces: float) -> pd.DataFrame:
    """Records whose seconds vary by a twentieth."""
    noise, rows = np.random.default_rng(0), []
    for clip in range(clips):
        own = {"clip": f"c{clip}", "voice": "v", "seed": 1}
        for scale, pace in enumerate(paces):
            rows.append({**own, "guidance_scale": scale, "seconds": pace * (1 + 0.05 * noise.normal())})
    return pd.DataFrame(rows)


def test_time_counts_as_a_ratio_only_where_it_was_measured():
    assert with_time_ratio(timed(20, 10.0, 10.0), ["guidance_scale"]) is None
    assert with_time_ratio(timed(4, 10.0, 20.0), ["guidance_scale"]) is None  # too few clips
    table = with_time_ratio(timed(20, 10.0, 10.0, 20.0), ["guidance_scale"])
    assert table.groupby("guidance_scale")[TIME_RATIO].unique().map(list).tolist() == [[1.0], [1.0], [2.0]]


def test_table_and_figure_of_the_front_have_the_same_objectives(big):
    path, page, *_ = big
    assert list(page.objectives) == ["sync_mini_confidence_minus_real", "lpips_alex_mouth"]
    html, words = path.read_text(), ", ".join(page.objectives.values())
    assert f"beats in {words} at once" in html and f"Pareto front of {words}" in html
    assert "Time does not count" in html and page.front_figure.startswith("data:image/png")
