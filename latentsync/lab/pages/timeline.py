"""The voice and the curves behind the metrics over time, as the plot below a player's videos.

Each lane is an SVG that is stretched to the width of the page; its texts are HTML beside it, so that they keep
their size. The horizontal unit is the frame.
"""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from types import MappingProxyType

import numpy as np

from latentsync.constants import SOUND_RATE_HZ, VIDEO_RATE_HZ

LANE_HEIGHT = 100  # units from top to bottom of a lane
MARGIN = 0.06  # of a curve's range, above and below it
BINS_A_FRAME = 4  # of the waveform
TICK_STEPS_S = (0.5, 1, 2, 5, 10, 30, 60, 120)
MAX_TICKS = 12

Curve = Sequence[float | None]


def timeline(
    lanes: dict[str, list[tuple[str, Curve]]],
    sound: np.ndarray | None = None,
    levels: Mapping[str, Sequence[tuple[str, float]]] = MappingProxyType({}),
    marks: Mapping[str, Sequence[tuple[str, tuple[int, str]]]] = MappingProxyType({}),
) -> str:
    """The plot as HTML; without a lane and sound "".

    `player.js` moves its cursor and writes the value at the cursor beside each curve, by the curve's number in the
    order of `lanes`.

    Args:
        lanes: title -> curves, each as its CSS colour and a value for each frame (None where there is none).
        sound: mono samples of 16 kHz in -1..1.
        levels: title -> dashed lines, each as its CSS colour and value: means of the source.
        marks: title -> buttons that lead to a frame, each as its CSS colour, frame and what is to be seen there.
    """
    frames = num_frames(lanes, sound)
    if not frames:
        return ""
    parts = [] if sound is None else [_wave_lane(sound, frames)]
    number = 0
    for title, curves in lanes.items():
        parts.append(_curve_lane(title, curves, frames, number, levels.get(title, ()), marks.get(title, ())))
        number += len(curves)
    return (
        f'<div class="plot">{"".join(parts)}{_axis(frames)}'
        '<div class="cursor-track"><div class="cursor"></div></div></div>'
    )


def num_frames(lanes: dict[str, list[tuple[str, Curve]]], sound: np.ndarray | None) -> int:
    """How many frames the plot shows: those of the longest curve, or of the sound if there is no curve."""
    lengths = [len(curve) for curves in lanes.values() for _, curve in curves]
    if not lengths and sound is not None:
        lengths = [round(len(sound) / SOUND_RATE_HZ * VIDEO_RATE_HZ)]
    return max(lengths, default=0)


def _svg(frames: int, drawing: str) -> str:
    return f'<svg viewBox="0 0 {frames} {LANE_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">{drawing}</svg>'


def _wave_lane(sound: np.ndarray, frames: int) -> str:
    """The waveform as one shape between the least and greatest sample of each bin."""
    size = round(SOUND_RATE_HZ / VIDEO_RATE_HZ / BINS_A_FRAME)
    part = np.asarray(sound, np.float64)[: frames * BINS_A_FRAME * size]
    bins = part[: len(part) // size * size].reshape(-1, size)
    middle = LANE_HEIGHT / 2
    reach = middle / max(1e-4, float(np.abs(bins).max(initial=0)))
    edges = [
        [f"{(i + 0.5) / BINS_A_FRAME:g},{middle - reach * peak:.1f}" for i, peak in enumerate(peaks)]
        for peaks in (bins.max(axis=1), bins.min(axis=1))
    ]
    shape = f'<polygon points="{" ".join(edges[0] + edges[1][::-1])}"/>'
    label = '<span class="tick" style="top:50%">voice</span>'
    return f'<div class="lane sound-wave"><div class="chart">{label}{_svg(frames, shape)}</div></div>'


def _curve_lane(
    title: str, curves: Sequence[tuple[str, Curve]], frames: int, first: int,
    levels: Sequence[tuple[str, float]], marks: Sequence[tuple[str, tuple[int, str]]],
) -> str:  # fmt: skip
    """A title above a box with the curves, three ticks on its left and the values at the cursor on its right."""
    known = [value for _, curve in curves for value in curve if value is not None] + [value for _, value in levels]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    margin = MARGIN * (high - low) or 0.5

    def y(value: float) -> float:
        return (high + margin - value) / (high - low + 2 * margin) * LANE_HEIGHT

    ticks = "".join(
        f'<span class="tick" style="top:{y(value) * 100 / LANE_HEIGHT:.1f}%">{value:.2f}</span>'
        for value in np.linspace(low, high, 3)
    )
    lines = "".join(
        f'<polyline points="{points}" style="stroke:{colour}"/>'
        for colour, curve in curves
        for points in _stretches(curve, y)
    )
    lines += "".join(
        f'<line class="level" x1="0" x2="{frames}" y1="{y(value):.2f}" y2="{y(value):.2f}" style="stroke:{colour}"/>'
        for colour, value in levels
    )
    means = "".join(f' <span style="color:{colour}">- - source, mean {value:.2f}</span>' for colour, value in levels)
    buttons = "".join(
        f'<button type="button" class="mark" data-frame="{frame}" style="left:{100 * (frame + 0.5) / frames:.2f}%;'
        f'--colour:{colour}" title="Go to {escape(text)}" aria-label="Go to {escape(text)}">worst</button>'
        for colour, (frame, text) in marks
    )
    values = "".join(
        f'<span data-curve="{first + i}" style="color:{colour}"></span>' for i, (colour, _) in enumerate(curves)
    )
    return (
        f'<div class="lane"><p class="title">{escape(title)}{means}</p><div class="chart">{ticks}{_svg(frames, lines)}'
        f'{buttons}<div class="values">{values}</div></div></div>'
    )


def _stretches(curve: Curve, y: Callable[[float], float]) -> list[str]:
    """The points of a line, one list for each stretch without gaps; a frame's value stands at its middle."""
    stretches: list[list[str]] = [[]]
    for frame, value in enumerate(curve):
        if value is None:
            stretches.append([])
        else:
            stretches[-1].append(f"{frame + 0.5:g},{y(value):.2f}")
    return [" ".join(stretch) for stretch in stretches if stretch]


def _axis(frames: int) -> str:
    length_s = frames / VIDEO_RATE_HZ
    step = next((step for step in TICK_STEPS_S if length_s / step <= MAX_TICKS), TICK_STEPS_S[-1])
    ticks = [
        f'<span style="left:{100 * time / length_s:.2f}%">{time:g}</span>'
        for time in np.arange(0, length_s + 1e-9, step)
    ]
    return f'<div class="axis">{"".join(ticks)}<span class="unit">time (s)</span></div>'
