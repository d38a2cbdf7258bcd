"""The page of a sweep: one file, whose numbers are those of the comparisons, and in which every name stays text."""

import re
from html import escape

import numpy as np
import pytest
from written_sweep import CLIPS, GUIDANCE, HOSTILE, SEEDS, write_sweep

from latentsync.errors import OptionError
from latentsync.files import write_json
from latentsync.lab.analysis.comparisons import compare_all, per_clip
from latentsync.lab.commands.report import main
from latentsync.lab.options.schema import sweep_folder
from latentsync.lab.pages.contents import gather, means_over_clips, value_text
from latentsync.lab.pages.media import PageVideo, PairMedia, embed_videos
from latentsync.lab.pages.write import rendered, write_report
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
    clips = per_clip(table, ["lpips_alex_mouth"], ["guidance_scale"])["lpips_alex_mouth"]
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
    assert "<strong>Untrained model" in rendered(gather(tmp_path, "untrained", None))


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
