"""Figures of sweeps. The functions take a tidy (`latentsync.lab.collect`) or wide table and return a matplotlib Figure.

Intervals are 95 % intervals of the mean over speakers, where they are known, else over clips (Student's t); seeds of a
voice, voices of a clip and clips of a speaker are averaged first (`analysis.units`). Faint marks are single speakers or
clips. With fewer than 5 these are dots, and there are no intervals.
"""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentsync.errors import OptionError
from latentsync.lab.analysis.comparisons import compare_all, unit_differences
from latentsync.lab.analysis.intervals import ALPHA, LEAST_DRAWN, drawn_interval
from latentsync.lab.analysis.pareto import TIME_RATIO, directions_of, pareto_front, with_distances
from latentsync.lab.analysis.seeds import seed_deviation, settings_in
from latentsync.lab.analysis.units import per_unit
from latentsync.lab.figures.shown import ShownFigure
from latentsync.lab.figures.style import COLOURS, GREY, MARKERS, mark_untrained, plain_axis
from latentsync.lab.records.labels import departures, pair_label, varied, word_of
from latentsync.lab.tables.tidy import require_columns, widen
from latentsync.metrics.definitions import DEFINITIONS, base_name, bounds_of, definition_of, direction_of

REAL = "real clips"
HEADLINES = ("sync_mini_confidence", "landmark_sync_peak", "lpips_alex_mouth")
TIMES = {"seconds": "time of generation (s)", TIME_RATIO: "time (ratio to the first setting)"}
DODGE = 0.012  # shift between lines, as a share of the axis, so that their intervals do not hide each other
MAX_COLUMNS = 4  # most pairs in a figure; the table has all
MAX_ROWS, ROW_IN = 60, 0.22  # most clips in a figure, and the height of each in inches
LABEL_PLACES = tuple((dx, dy) for reach in (1, 2, 3) for dx, dy in (
    (6 * reach, 9 * reach), (6 * reach, -9 * reach), (-6 * reach, 9 * reach), (-6 * reach, -9 * reach),
    (0, 12 * reach), (0, -12 * reach), (9 * reach, 0), (-9 * reach, 0),
))  # of a text beside its point, in points, the best first  # fmt: skip
LEGEND_LETTER_IN, LEGEND_MARK_IN = 0.078, 0.6  # width of a letter and of a mark with its gaps
LABEL_POINTS = 8  # font size


def label_of(name: str) -> str:
    """The axis label of a column; a metric's label has its unit and its better direction."""
    if base_name(name) not in DEFINITIONS:
        return TIMES.get(name) or word_of(name).replace("_", " ")
    known, way = definition_of(name), direction_of(name)
    unit = known.unit if known.unit not in ("", "distance", "correlation") else ""
    better = {"higher": "higher is better", "lower": "lower is better", "zero": "0 is best", "one": "1 is best"}.get(
        way
    )
    note = ", ".join(part for part in (unit, better) if part)
    return word_of(name) + (f"\n({note})" if note else "")


def curves(
    table: pd.DataFrame, x: str = "guidance_scale", metrics: Sequence[str] = HEADLINES, by: str | None = None
) -> Figure:
    """Each metric against a parameter: means over clips with intervals.

    There is a line for each value of `by`, and a faint line for each unit. A dashed line with a band is the score of
    the real clips, if the metric has one.

    Raises:
        OptionError: a column is missing.
    """
    wide = widen(table)
    require_columns(wide, x, *metrics, *([by] if by else []))
    figure = ShownFigure(figsize=(3.5 * len(metrics) + 0.4, 3.1 + 0.25 * bool(by)), layout="constrained")
    for axis, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        positions = _positions(axis, wide[x])
        _draw_real(axis, wide, metric)
        parts = _parts(wide, by)
        apart = DODGE * (np.ptp(list(positions.values())) or 1)
        for number, (value, part) in enumerate(parts):
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            here = {at: x + apart * (number - (len(parts) - 1) / 2) for at, x in positions.items()}
            clips = per_unit(part, [metric], [x])[metric]
            few = clips.index.get_level_values("unit").nunique() < LEAST_DRAWN
            faint = {"marker": ".", "markersize": 5, "alpha": 0.4} if few else {"alpha": 0.16}
            for _, line in clips.groupby(level="unit"):
                axis.plot([here[i] for i in line.index.get_level_values(x)], line, color=colour, lw=0.8, **faint)
            _draw_means(axis, clips.groupby(level=x), metric, here, colour, marker, value)
        axis.set_xlabel(label_of(x), fontsize=9)
        axis.set_ylabel(label_of(metric), fontsize=9)
        plain_axis(axis)
    _legend(figure)
    return _marked(figure, wide)


def _parts(wide: pd.DataFrame, by: str | None) -> list[tuple[str | None, pd.DataFrame]]:
    if by is None:
        return [(None, wide)]
    return [(f"{value:g} {word_of(by)}" if isinstance(value, float | int) else str(value), part)
            for value, part in wide.groupby(by, sort=False)]  # fmt: skip


def _positions(axis: Axes, values: pd.Series) -> dict:
    """The x position of each value of a parameter: numbers at their value, words at equal distances."""
    there = sorted(values.dropna().unique())
    if pd.api.types.is_numeric_dtype(values):
        axis.set_xticks(there, [f"{value:g}" for value in there])
        return {value: value for value in there}
    there = list(dict.fromkeys(values.dropna()))
    axis.set_xticks(range(len(there)), there)
    axis.set_xlim(-0.5, len(there) - 0.5)
    return {value: position for position, value in enumerate(there)}


def _draw_means(axis: Axes, groups, metric: str, positions: dict, colour: str, marker: str, label: str | None) -> None:
    means = groups.mean().dropna()
    if means.empty:
        return
    reach = np.transpose([_reach(groups.get_group(value).dropna(), metric) for value in means.index])
    axis.errorbar(
        [positions[value] for value in means.index], means.to_numpy(), yerr=reach, color=colour, marker=marker,
        markersize=5, linewidth=1.8, capsize=3, label=label,
    )  # fmt: skip


def _reach(values: Sequence[float], metric: str) -> tuple[float, float]:
    """How far the interval of a mean goes below and above it; NaN for few values, so that nothing is drawn."""
    interval, mean = drawn_interval(values, bounds_of(metric)), float(np.mean(values))
    return (np.nan, np.nan) if interval is None else (mean - interval[0], interval[1] - mean)


def _draw_real(axis: Axes, wide: pd.DataFrame, metric: str) -> None:
    if f"{metric}_real" not in wide or wide[f"{metric}_real"].isna().all():
        return
    real = per_unit(wide, [f"{metric}_real"])[f"{metric}_real"].dropna()
    axis.axhline(real.mean(), color=GREY, linestyle="--", linewidth=1.2, label=REAL, zorder=1)
    if interval := drawn_interval(real, bounds_of(metric)):
        axis.axhspan(*interval, color=GREY, alpha=0.13, linewidth=0)


def _legend(figure: Figure, title: str | None = None) -> None:
    """One legend below all axes with each label once, as many in a row as fit; none if nothing has a label."""
    handles = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if REAL in handles:
        handles[REAL] = handles.pop(REAL)  # last
    if handles:
        entry_in = LEGEND_LETTER_IN * max(map(len, handles)) + LEGEND_MARK_IN
        columns = max(1, min(len(handles), 5, int(figure.get_figwidth() / entry_in)))
        options = {"frameon": False, "fontsize": 9, "title": title, "title_fontsize": 9}
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=columns, **options)


def _marked(figure: Figure, wide: pd.DataFrame) -> Figure:
    if "trained" in wide and not wide["trained"].all():
        mark_untrained(figure)
    return figure


def differences(
    table: pd.DataFrame, column: str, baseline: float | str, metrics: Sequence[str] = HEADLINES,
    within: Sequence[str] = (),
) -> Figure:  # fmt: skip
    """Paired differences of each setting from the baseline with Student's t intervals; one axis per metric. Few clips
    are dots.

    Full marks are significant after Holm's correction over all of them, hollow marks are not. Arguments and errors as
    for `analysis.comparisons.compare_all`, whose rows are drawn.
    """
    wide = widen(table)
    comparisons = compare_all(wide, metrics, column, baseline, within)
    settings = list(dict.fromkeys(comparisons["setting"]))
    size = (3.5 * len(metrics) + 0.4, 0.42 * len(settings) + 1.3)
    figure = ShownFigure(figsize=size, layout="constrained")
    for axis, metric in zip(figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0], metrics, strict=True):
        axis.axvline(0, color=GREY, linewidth=1)
        for row in comparisons[comparisons["metric"] == metric].itertuples():
            y = settings.index(row.setting)
            if row.units < LEAST_DRAWN:
                values, _ = unit_differences(wide, metric, column, row.setting, baseline, within)
                axis.plot(values, [y] * len(values), ".", color=COLOURS[0], markersize=5, alpha=0.4)
            elif not np.isnan(row.low):
                axis.plot([row.low, row.high], [y, y], color=COLOURS[0], linewidth=1.8, solid_capstyle="butt")
            is_shown = row.p_holm <= ALPHA
            axis.plot(
                row.difference,
                y,
                "o",
                color=COLOURS[0],
                markersize=6,
                markerfacecolor=COLOURS[0] if is_shown else "white",
            )
        axis.set_yticks(range(len(settings)), [_short(value) for value in settings])
        axis.set_ylim(len(settings) - 0.5, -0.5)
        axis.set_xlabel(label_of(metric), fontsize=9)
        axis.locator_params(axis="x", nbins=5)
        plain_axis(axis)
    figure.axes[0].set_ylabel(label_of(column), fontsize=9)
    figure.suptitle(f"difference from {label_of(column)} {_short(baseline)}", fontsize=10)
    return figure


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def pareto(
    table: pd.DataFrame, columns: Sequence[str], x: str = "lpips_alex_mouth", y: str = "sync_mini_confidence",
    also: Sequence[str] = (),
) -> Figure:  # fmt: skip
    """Settings by two objectives with intervals. Full marks are on the Pareto front of x, y and `also`.

    The number beside a setting is the share of bootstrap samples in which it is on the front. Arguments and errors as
    for `analysis.pareto.pareto_front`.
    """
    wide = widen(table)
    front = pareto_front(wide, columns, [x, y, *also])
    ways = directions_of([x, y])
    clips = per_unit(with_distances(wide, ways), [x, y], columns).dropna()
    figure = ShownFigure(figsize=(6.4, 4.6), layout="constrained")
    axis = figure.subplots()
    labels = []
    for row in front.to_dict("records"):
        key = tuple(row[name] for name in columns)
        own = clips.xs(key if len(columns) > 1 else key[0], level=list(columns) if len(columns) > 1 else columns[0])
        colour = COLOURS[0] if row["on_front"] else GREY
        if len(own) < LEAST_DRAWN:
            axis.plot(own[x], own[y], ".", color=colour, markersize=4, alpha=0.35)
        else:
            reach = {"xerr": [[far] for far in _reach(own[x], x)], "yerr": [[far] for far in _reach(own[y], y)]}
            axis.errorbar(row[x], row[y], **reach, color=colour, alpha=0.35, linewidth=1)
        axis.plot(
            row[x], row[y], "o", color=colour, markersize=7, markerfacecolor=colour if row["on_front"] else "white"
        )
        share = "" if np.isnan(row["share"]) else f" ({row['share']:.0%})"
        labels.append((row[x], row[y], ", ".join(_short(row[name]) for name in columns) + share, colour))
    line = front[front["on_front"]].sort_values(x)
    if not also:
        axis.plot(line[x], line[y], color=COLOURS[0], linewidth=1, alpha=0.5, zorder=1)
    for name, set_label in ((x, axis.set_xlabel), (y, axis.set_ylabel)):
        best = {"zero": "distance from 0: ", "one": "distance from 1: "}.get(ways[name], "")
        set_label(best + label_of(name), fontsize=9)
    over = ", ".join(word_of(name) if name not in TIMES else TIMES[name] for name in (x, y, *also))
    label = ", ".join(map(word_of, columns))
    axis.set_title(
        f"full: on the Pareto front of {over}\n({label}; in brackets: share of bootstrap samples)", fontsize=9
    )
    plain_axis(axis)
    axis.margins(0.16)
    _label_apart(axis, labels)
    return _marked(figure, wide)


def _label_apart(axis: Axes, labels: Sequence[tuple[float, float, str, str]]) -> None:
    """Writes a text beside each point where it covers no other text, no point and, if there is room, no interval.

    A text without a place is left out.

    Args:
        labels: x, y, text and colour; earlier ones choose first, those in colour before grey ones.
    """
    figure = axis.figure
    figure.draw_without_rendering()  # so that the places of points are known
    px = figure.dpi / 72
    points = axis.transData.transform([(x, y) for x, y, *_ in labels])
    taken = [(at[0] - 5 * px, at[1] - 5 * px, at[0] + 5 * px, at[1] + 5 * px) for at in points]
    paths = [path for bars in axis.containers for line in bars.lines[2] for path in line.get_paths()]
    intervals = [(*box.min, *box.max) for box in (path.get_extents(axis.transData) for path in paths)]
    frame = axis.bbox
    for number in sorted(range(len(labels)), key=lambda i: labels[i][3] == GREY):
        x, y, text, colour = labels[number]
        width, height = 0.56 * LABEL_POINTS * px * len(text), 1.15 * LABEL_POINTS * px
        places = {}
        for dx, dy in LABEL_PLACES:
            left = points[number][0] + dx * px - (width if dx < 0 else width / 2 if dx == 0 else 0)
            low = points[number][1] + dy * px - height / 2
            box = left, low, left + width, low + height
            if frame.x0 <= box[0] and box[2] <= frame.x1 and frame.y0 <= box[1] and box[3] <= frame.y1:
                places[dx, dy] = box
        free = [at for at, box in places.items() if not any(_overlap(box, other) for other in taken)]
        clear = [at for at in free if not any(_overlap(places[at], other) for other in intervals)]
        if free:
            dx, dy = (clear or free)[0]
            taken.append(places[dx, dy])
            side = "right" if dx < 0 else "center" if dx == 0 else "left"
            axis.annotate(text, (x, y), xytext=(dx, dy), textcoords="offset points", ha=side, va="center",
                          fontsize=LABEL_POINTS, color=colour)  # fmt: skip


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def against_seconds(
    table: pd.DataFrame, metric: str, along: str = "num_inference_steps", by: str = "scheduler"
) -> Figure:
    """A metric against the seconds of generation, means over clips; one line per value of `by`, one mark per `along`.

    Raises:
        OptionError: a column is missing.
    """
    wide = widen(table)
    require_columns(wide, metric, along, by, "seconds", "video_frames")
    wide = wide.assign(pace=wide["seconds"] / wide["video_frames"])
    figure = ShownFigure(figsize=(5.6, 3.9), layout="constrained")
    axis = figure.subplots()
    groups = sorted(wide.groupby(by), key=lambda group: -group[1][along].nunique())  # most settings first
    for number, (value, part) in enumerate(groups):
        clips = per_unit(part, ["pace", metric], [along]).groupby(level=along)
        means, colour = clips.mean(), COLOURS[number % len(COLOURS)]
        reach = np.transpose([_reach(clips.get_group(step)[metric].dropna(), metric) for step in means.index])
        pace = means["pace"].to_numpy() * (1 + 2 * DODGE * number)
        axis.errorbar(
            pace, means[metric].to_numpy(), yerr=reach, color=colour, label=str(value),
            marker=MARKERS[number % len(MARKERS)], markersize=5, linewidth=1.6, elinewidth=1, capsize=2,
        )  # fmt: skip
        if number == 0:
            for step, x, y in zip(means.index, pace, means[metric], strict=True):
                axis.annotate(_short(step), (x, y), xytext=(5, 6), textcoords="offset points", fontsize=8, color=colour)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("{x:g}")
    axis.set_xlabel(f"time of generation (s for each frame); numbers: {label_of(along)}", fontsize=9)
    axis.set_ylabel(label_of(metric), fontsize=9)
    plain_axis(axis)
    _legend(figure)
    return _marked(figure, wide)


def seed_spread(table: pd.DataFrame, metrics: Sequence[str] = HEADLINES) -> Figure:
    """The records of each clip with several seeds, one row per clip, sorted by mean; the title compares both spreads.

    With several settings or voices a record is shown less the mean of its setting and voice, so that only seeds and
    clips differ. The deviation between seeds is that of `analysis.seeds.seed_deviation`.

    Raises:
        OptionError: a column is missing, or no clip has two seeds.
    """
    wide = widen(table)
    require_columns(wide, "clip", "voice", "seed", *metrics)
    if wide.groupby("clip")["seed"].nunique().max() < 2:
        raise OptionError("no clip has two seeds; give a sweep over several seeds, such as experiment=seed_variance")
    deviations = {metric: seed_deviation(wide, metric) for metric in metrics}
    settings = [name for name in settings_in(wide) if wide.groupby("clip")[name].nunique().max() > 1]
    apart = [*settings, *(["voice"] if wide.groupby("clip")["voice"].nunique().max() > 1 else [])]
    if apart:
        by_setting = wide.groupby(apart)[list(metrics)]
        wide = wide.assign(**(wide[list(metrics)] - by_setting.transform("mean")))
    left_out = list(dict.fromkeys(wide["clip"]))[MAX_ROWS:]
    wide = wide[~wide["clip"].isin(left_out)]
    names = wide["clip"].nunique()
    figure = ShownFigure(figsize=(3.5 * len(metrics) + 0.4, ROW_IN * names + 1.5), layout="constrained")
    for axis, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        means = wide.groupby("clip")[metric].mean().sort_values()
        for colour, marker, (seed, part) in zip(cycle(COLOURS), cycle(MARKERS), wide.groupby("seed"), strict=False):
            rows = means.index.get_indexer(part["clip"])
            axis.plot(part[metric], rows, marker, color=colour, markersize=4, alpha=0.8, label=f"seed {seed}")
        axis.set_title(
            f"standard deviation: {deviations[metric] or 0:.2g} between seeds,\n{means.std():.2g} between clips",
            fontsize=8,
        )
        axis.set_yticks(range(names), [name.rsplit(".", 1)[0] for name in means.index])
        axis.set_xlabel(label_of(metric) + ("\nless the mean of the setting" if apart else ""), fontsize=9)
        axis.locator_params(axis="x", nbins=5)
        plain_axis(axis)
        axis.tick_params(axis="y", labelsize=8)
    _legend(figure)
    if left_out:
        figure.suptitle(f"the first {names} of {names + len(left_out)} clips", fontsize=9)
    return _marked(figure, wide)


def sweep_figure(table: pd.DataFrame) -> Figure:
    """Each metric against the swept parameter, one column per pair (the first 4); lines are means of seeds."""
    wide = widen(table)
    metrics = [name for name in HEADLINES if name in wide and wide[name].notna().any()] or ["seconds"]
    x = next((name for name in ("guidance_scale", "num_inference_steps") if wide[name].nunique() > 1), "guidance_scale")
    lines = ["num_inference_steps" if x == "guidance_scale" else "guidance_scale", *varied(wide)]
    pairs = list(dict.fromkeys(wide["pair"]))[:MAX_COLUMNS]
    figure = ShownFigure(figsize=(2.6 * len(pairs) + 1.4, 2.3 * len(metrics) + 0.9), layout="constrained")
    axes = figure.subplots(len(metrics), len(pairs), squeeze=False, sharex=True, sharey="row")
    for metric, row in zip(metrics, axes, strict=True):
        for pair, axis in zip(pairs, row, strict=True):
            _draw_records(axis, wide[wide["pair"] == pair], x, metric, lines)
        row[0].set_ylabel(label_of(metric), fontsize=8)
    for pair, first, last in zip(pairs, axes[0], axes[-1], strict=True):
        first.set_title(pair_label(pair), fontsize=9)
        last.set_xlabel(label_of(x), fontsize=9)
    _legend(figure, "lines: means of seeds; marks: records")
    return _marked(figure, wide)


def _draw_records(axis: Axes, table: pd.DataFrame, x: str, metric: str, lines: list[str]) -> None:
    for number, ((value, *_), group) in enumerate(table.groupby(lines)):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        means = group.groupby(x)[metric].mean()
        setting = f"{value:g} steps" if lines[0] == "num_inference_steps" else f"guidance {value:g}"
        label = ", ".join([setting, *departures(group.iloc[0], lines)])
        axis.plot(means.index, means.to_numpy(), marker, ls="-", color=colour, lw=1.6, ms=4, markevery=[], label=label)
        axis.plot(group[x], group[metric], marker, color=colour, markersize=4, alpha=0.6)
    plain_axis(axis)
