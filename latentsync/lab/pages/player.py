"""Videos that play in step, over the curves behind their metrics: a page of its own inside a notebook's output.

The page stands in an `iframe` with everything embedded, so that it runs in JupyterLab, in an ipywidgets view and in
exported HTML, needs no network, and shares no names with what is around it. Its script is in `player.html`.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from IPython.display import HTML

from latentsync import media
from latentsync.constants import SOUND_RATE_HZ
from latentsync.lab.figures.style import COLOURS
from latentsync.shapes import Affine

PAGE = Path(__file__).with_name("player.html")
SOURCE_COLOUR = "#555555"
MOUTH_STEP = 5  # frames between the affines of a mouth's path; the page takes those between from their neighbours
MOUTH_SIZE_PX = (308, 230)  # of the canvas: twice what a mouth has in a face of 256 px

# The plot, in units of its view box
WIDTH, LEFT, RIGHT = 1080, 48, 108
WAVE_HEIGHT, PANEL_HEIGHT, GAP, AXIS_HEIGHT, TITLE_HEIGHT = 46, 92, 10, 30, 16
WAVE_BINS_S = 0.01


@dataclass(frozen=True)
class Track:
    """One video of a player.

    Attributes:
        label: above its notes; "" shows none.
        video: an MP4 that browsers play (H.264).
        notes: lines below the label.
        warning: a line that must not be overlooked.
        curves: title of a panel -> a number for each frame (None where there is none).
        mouth: affines frame px -> canvas px of every `MOUTH_STEP`-th frame; None shows no mouth.
        is_source: drawn in grey.
    """

    label: str
    video: bytes
    notes: tuple[str, ...] = ()
    warning: str | None = None
    curves: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    mouth: Sequence[Affine] | None = None
    is_source: bool = False


def player(
    tracks: Sequence[Track],
    sound: np.ndarray | None = None,
    heard: int | None = 0,
    width_px: int = 256,
    keys: Mapping[str, str] | None = None,
    takes_focus: bool = False,
) -> HTML:
    """The tracks in one row under one play button, with their mouths, the sound's waveform and a panel per curve.

    Space plays and pauses, the arrow keys step a frame; a click into the plot goes there.

    Args:
        sound: mono samples of 16 kHz in -1..1 to draw; None draws none.
        heard: which track is heard at first; None is silence.
        width_px: of each video.
        keys: key -> CSS class of the button around the player that it presses.
        takes_focus: whether keys are heard before the player is clicked on.
    """
    around = {"keys": dict(keys or {}), "takes_focus": takes_focus}
    return HTML(in_frame(_page(tracks, sound, heard, width_px, around), _height_px(tracks, sound, width_px)))


def in_frame(page: str, height_px: int) -> str:
    """A page as a frame within another one; `height_px` holds until its script knows better."""
    return (
        f'<div><iframe srcdoc="{escape(page)}" style="width:100%;height:{height_px}px;border:0" '
        f'title="videos in step" allow="autoplay"></iframe></div>'
    )


def _page(tracks: Sequence[Track], sound: np.ndarray | None, heard: int | None, width_px: int, around: dict) -> str:
    colours = colours_of(tracks)
    figures = "".join(_figure(i, track, colours[i], width_px) for i, track in enumerate(tracks))
    sounds = "".join(
        f'<option value="{i}"{" selected" * (i == heard)}>{escape(track.label or f"video {i + 1}")}</option>'
        for i, track in enumerate(tracks)
    )
    plot, curves, length_s = _plot(tracks, colours, sound)
    facts = {
        **around,
        "fps": media.VIDEO_RATE_HZ,
        "mouth_step": MOUTH_STEP,
        "mouths": [_as_canvas(track.mouth) for track in tracks],
        "curves": curves,
        "length_s": length_s,
        "width": WIDTH,
        "left": LEFT,
        "span": WIDTH - LEFT - RIGHT,
    }
    filled = {
        "figures": figures,
        "sounds": sounds + f'<option value=""{" selected" * (heard is None)}>none</option>',
        "plot": plot,
        "facts": json.dumps(facts),
    }
    page = PAGE.read_text(encoding="utf-8")
    for name, text in filled.items():
        page = page.replace("{{" + name + "}}", text)
    return page


def colours_of(tracks: Sequence[Track]) -> list[str]:
    """A colour for each track: grey for sources, the others by the style's order."""
    results = [i for i, track in enumerate(tracks) if not track.is_source]
    return [
        SOURCE_COLOUR if track.is_source else COLOURS[results.index(i) % len(COLOURS)] for i, track in enumerate(tracks)
    ]


def data_uri(video: bytes) -> str:
    """An MP4 as an address that holds it."""
    return f"data:video/mp4;base64,{b64encode(video).decode()}"


def _figure(number: int, track: Track, colour: str, width_px: int) -> str:
    width, height = MOUTH_SIZE_PX
    canvas = f'<canvas data-video="{number}" width="{width}" height="{height}"></canvas>'
    notes = "".join(f'<div class="note">{escape(note)}</div>' for note in track.notes)
    warning = f'<div class="warning">{escape(track.warning)}</div>' if track.warning else ""
    return (
        f'<figure style="--width:{width_px}px;--colour:{colour}">'
        f'<video src="{data_uri(track.video)}" preload="auto" playsinline muted aria-label="{escape(track.label)}">'
        f"</video>{canvas if track.mouth is not None else ''}"
        f'<figcaption><div class="label">{escape(track.label)}</div>{notes}{warning}</figcaption></figure>'
    )


def _height_px(tracks: Sequence[Track], sound: np.ndarray | None, width_px: int) -> int:
    """A guess, for where no script runs."""
    mouth = width_px * MOUTH_SIZE_PX[1] / MOUTH_SIZE_PX[0] if any(track.mouth is not None for track in tracks) else 0
    lines = max((len(track.notes) for track in tracks), default=0) + 1
    panels = len(_titles(tracks)) * (PANEL_HEIGHT + GAP) + (WAVE_HEIGHT if sound is not None else 0)
    return round(width_px + mouth + 18 * lines + panels + 110)


def _as_canvas(matrices: Sequence[Affine] | None) -> list[list[float]] | None:
    """Affines in the order of a canvas's `setTransform`: columns one after the other."""
    return None if matrices is None else [np.asarray(one).T.ravel().round(4).tolist() for one in matrices]


def _titles(tracks: Sequence[Track]) -> list[str]:
    return list(dict.fromkeys(title for track in tracks for title in track.curves))


def _plot(
    tracks: Sequence[Track], colours: list[str], sound: np.ndarray | None
) -> tuple[str, list[Sequence[float | None]], float]:
    """The drawing as SVG, the curves that it tells the values of at the cursor, and its length in s."""
    titles = _titles(tracks)
    lengths = [len(curve) / media.VIDEO_RATE_HZ for track in tracks for curve in track.curves.values()]
    if sound is not None and not lengths:
        lengths = [len(sound) / SOUND_RATE_HZ]
    if not lengths:
        return "", [], 1.0
    length_s, top, parts, curves = max(lengths), 0.0, [], []
    if sound is not None:
        parts.append(_wave(sound, length_s))
        top = WAVE_HEIGHT + GAP
    for title in titles:
        lines = [
            (colour, track.curves[title])
            for track, colour in zip(tracks, colours, strict=True)
            if title in track.curves
        ]
        parts.append(_panel(title, lines, top, length_s, len(curves)))
        curves += [curve for _, curve in lines]
        top += TITLE_HEIGHT + PANEL_HEIGHT + GAP
    parts.append(_axis(top - GAP, length_s))
    cursor = f'<line id="cursor" x1="{LEFT}" x2="{LEFT}" y1="0" y2="{top - GAP:g}" stroke="#000" stroke-width="1"/>'
    height = top - GAP + AXIS_HEIGHT
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img">{"".join(parts)}{cursor}</svg>', curves, length_s


def _x(time_s: float, length_s: float) -> float:
    return LEFT + time_s / length_s * (WIDTH - LEFT - RIGHT)


def _wave(sound: np.ndarray, length_s: float) -> str:
    """The waveform as one shape between the least and greatest sample of each bin."""
    size = max(1, round(WAVE_BINS_S * SOUND_RATE_HZ))
    shown = np.asarray(sound, np.float64)[: int(length_s * SOUND_RATE_HZ)]
    bins = shown[: len(shown) // size * size].reshape(-1, size)
    middle, reach = WAVE_HEIGHT / 2, WAVE_HEIGHT / 2 / max(1e-4, float(np.abs(bins).max(initial=0)))
    times = [_x((i + 0.5) * size / SOUND_RATE_HZ, length_s) for i in range(len(bins))]
    upper = [f"{x:.1f},{middle - reach * peak:.1f}" for x, peak in zip(times, bins.max(axis=1), strict=True)]
    lower = [f"{x:.1f},{middle - reach * peak:.1f}" for x, peak in zip(times, bins.min(axis=1), strict=True)]
    return (
        f'<text x="{LEFT - 6}" y="{middle + 4:g}" text-anchor="end">voice</text>'
        f'<polygon points="{" ".join(upper + lower[::-1])}" fill="#888"/>'
    )


def _panel(title: str, lines: list[tuple[str, Sequence[float | None]]], top: float, length_s: float, first: int) -> str:
    """A box with a line for each track, its title above and the values at the cursor beside it."""
    known = [value for _, curve in lines for value in curve if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.5
    low, high, box = low - margin, high + margin, top + TITLE_HEIGHT

    def y(value: float) -> float:
        return box + (high - value) / (high - low) * PANEL_HEIGHT

    parts = [
        f'<text x="{LEFT}" y="{box - 4:g}">{escape(title)}</text>'
        f'<rect x="{LEFT}" y="{box:g}" width="{WIDTH - LEFT - RIGHT}" height="{PANEL_HEIGHT}" fill="#fafafa" '
        f'stroke="#ddd"/>'
    ]
    for value in np.linspace(low + margin, high - margin, 3):
        parts.append(
            f'<line x1="{LEFT - 4}" x2="{LEFT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#999"/>'
            f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>'
        )
    for number, (colour, curve) in enumerate(lines):
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"/>'
            for points in _runs(curve, length_s, y)
        ]
        parts.append(
            f'<text class="at" data-curve="{first + number}" x="{WIDTH - RIGHT + 10}" y="{box + 13 + 14 * number:g}" '
            f'style="fill:{colour}"></text>'
        )
    return "".join(parts)


def _runs(curve: Sequence[float | None], length_s: float, y: Callable[[float], float]) -> list[str]:
    """The points of a line, one run for each stretch without gaps; a frame's value stands at its middle."""
    runs: list[list[str]] = [[]]
    for frame, value in enumerate(curve):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{_x((frame + 0.5) / media.VIDEO_RATE_HZ, length_s):.1f},{y(value):.1f}")
    return [" ".join(run) for run in runs if run]


def _axis(top: float, length_s: float) -> str:
    step = next((step for step in (0.5, 1, 2, 5, 10, 30, 60) if length_s / step <= 12), 120)
    ticks = [
        f'<text x="{_x(time, length_s):.1f}" y="{top + 14:g}" text-anchor="middle">{time:g}</text>'
        for time in np.arange(0, length_s + 1e-9, step)
    ]
    end = f'<text x="{WIDTH - RIGHT + 10}" y="{top + 14:g}">time (s)</text>'
    return "".join(ticks) + end
