"""Figures show what the tables say: means, intervals, significant differences, and untrained models."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from sweep_tables import sweep_table

from latentsync.errors import OptionError
from latentsync.lab.analysis.comparisons import compare_all
from latentsync.lab.analysis.intervals import mean_interval
from latentsync.lab.analysis.pareto import pareto_front
from latentsync.lab.analysis.units import per_unit
from latentsync.lab.figures import curves
from latentsync.lab.figures.style import COLOURS, UNTRAINED

SYNC = "sync_mini_confidence"


@pytest.fixture
def table() -> pd.DataFrame:
    """Two seeds of three settings of guidance over 12 clips, as a wide table; sync rises, LPIPS rises, 2 costs time."""
    women = sweep_table(12, {1.0: 0.0, 1.5: 1.0, 2.0: 1.0})
    table = women.rename(columns={"sync": SYNC})
    return table.assign(
        lpips_alex_mouth=table["guidance_scale"] / 10 + table[SYNC] / 1000,
        sync_mini_confidence_real=3.0,
        seconds=table["guidance_scale"] * 4,
        video_frames=50,
        trained=True,
        num_inference_steps=20,
        scheduler="ddim",
        record=[f"r{i}" for i in range(len(table))],
        pair=table["clip"] + "__" + table["voice"],
    )


def test_curves_draw_means_over_clips_and_their_intervals(table):
    (axis,) = curves.curves(table, metrics=[SYNC]).axes
    (bars,) = axis.containers
    line, _, (segments,) = bars
    clips = per_unit(table, [SYNC], ["guidance_scale"])[SYNC].groupby(level="guidance_scale")
    assert list(line.get_xdata()) == [1.0, 1.5, 2.0]
    np.testing.assert_allclose(line.get_ydata(), clips.mean())
    drawn = [segment[:, 1] for segment in segments.get_segments()]
    np.testing.assert_allclose(drawn, [mean_interval(clips.get_group(g)) for g in (1.0, 1.5, 2.0)])
    assert [text.get_text() for text in axis.figure.legends[0].get_texts()] == ["real clips"]


def test_a_tidy_table_gives_the_same_curves_and_groups_have_lines_of_their_own(table):
    facts = [name for name in table if not name.startswith(("sync", "lpips"))]
    both = pd.concat([table, table.assign(scheduler="unipc", record="u" + table["record"])])
    tidy = both.melt(facts, [SYNC, "lpips_alex_mouth"], "metric").sort_values("record")
    figure = curves.curves(tidy, metrics=[SYNC], by="scheduler")
    lines = [container[0] for container in figure.axes[0].containers]
    assert len(lines) == 2 and lines[0].get_color() != lines[1].get_color()
    np.testing.assert_allclose(lines[0].get_ydata(), lines[1].get_ydata())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ddim", "unipc"]


def test_full_marks_are_the_differences_that_the_tests_show(table):
    comparisons = compare_all(table, [SYNC], "guidance_scale", 1.5)
    (axis,) = curves.differences(table, "guidance_scale", 1.5, [SYNC]).axes
    marks = [line for line in axis.lines if line.get_marker() == "o"]
    np.testing.assert_allclose([mark.get_xdata()[0] for mark in marks], comparisons["difference"])
    assert [to_hex(mark.get_markerfacecolor()) == COLOURS[0].lower() for mark in marks] == (
        comparisons["p_holm"] <= 0.05
    ).tolist()
    assert {"white"} < {mark.get_markerfacecolor() for mark in marks}  # one of each kind


def test_the_pareto_figure_marks_the_front(table):
    front = pareto_front(table, ["guidance_scale"], ["lpips_alex_mouth", SYNC])
    axis = curves.pareto(table, ["guidance_scale"]).axes[0]
    full = [to_hex(line.get_markerfacecolor()) == COLOURS[0].lower() for line in axis.lines if line.get_marker() == "o"]
    assert full == front["on_front"].tolist() and 0 < sum(full) < len(full)


def test_few_clips_are_dots_and_have_no_intervals(table):
    few = table[table["clip"].isin(sorted(table["clip"].unique())[:4])]
    (axis,) = curves.curves(few, metrics=[SYNC]).axes
    (segments,) = axis.containers[0].lines[2]
    assert not segments.get_paths() or np.isnan(np.concatenate([p.vertices for p in segments.get_paths()])).any()
    assert sum(line.get_marker() == "." for line in axis.lines) == 4
    (axis,) = curves.differences(few, "guidance_scale", 1.5, [SYNC]).axes
    dots = [line for line in axis.lines if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in dots] == [4, 4]
    assert not [line for line in axis.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2][1:]
    assert not curves.pareto(few, ["guidance_scale"]).axes[0].containers
    assert len(curves.pareto(table, ["guidance_scale"]).axes[0].containers) == 3  # with 12 clips


def test_labels_of_the_front_cover_neither_each_other_nor_points(table):
    settings = [table.assign(guidance_scale=table["guidance_scale"] + step / 50) for step in range(6)]
    figure = curves.pareto(pd.concat(settings), ["guidance_scale"])
    figure.draw_without_rendering()
    axis = figure.axes[0]
    texts = [text.get_window_extent() for text in axis.texts]
    points = [axis.transData.transform((line.get_xdata()[0], line.get_ydata()[0])) for line in axis.lines
              if line.get_marker() == "o"]  # fmt: skip
    assert len(texts) >= 9 and len(points) == 18
    assert not any(one.overlaps(other) for i, one in enumerate(texts) for other in texts[:i])
    assert not any(text.contains(*point) for text in texts for point in points)


def test_seeds_of_several_settings_are_compared_within_each(table):
    """Guidance moves the values, not seeds: what lies between seeds is that of one setting."""
    axis = curves.seed_spread(table, [SYNC]).axes[0]
    within = np.sqrt(table.groupby(["clip", "voice", "guidance_scale"])[SYNC].var().mean())
    assert f"{within:.2g} between seeds" in axis.get_title() and "less the mean" in axis.get_xlabel()
    assert within < np.sqrt(table.groupby("clip")[SYNC].var().mean())


def test_time_and_seeds(table):
    (axis,) = curves.against_seconds(table, SYNC, along="guidance_scale").axes
    np.testing.assert_allclose(axis.containers[0][0].get_xdata(), [4 / 50, 6 / 50, 8 / 50])
    assert [text.get_text() for text in axis.texts] == ["1", "1.5", "2"]
    some = table[table["guidance_scale"] == 1.0]
    (axis,) = curves.seed_spread(some, [SYNC]).axes
    within = np.sqrt(some.groupby(["clip", "voice"])[SYNC].var().mean())
    assert f"{within:.2g} between seeds" in axis.get_title()
    with pytest.raises(OptionError, match="no clip has two seeds"):
        curves.seed_spread(some.drop_duplicates("clip"), [SYNC])


def test_labels_have_unit_and_direction_and_an_untrained_model_is_named(table):
    assert "higher is better" in curves.label_of(SYNC) and "lower is better" in curves.label_of("lpips_alex_mouth")
    assert "(dB" in curves.label_of("psnr_mouth")
    assert curves.curves(table.assign(trained=False), metrics=[SYNC]).get_suptitle() == UNTRAINED
    with pytest.raises(OptionError, match="no column nonsense"):
        curves.curves(table, metrics=["nonsense"])
