"""The player of videos in step: its markup and data, for a notebook's output and for a report.

`player.js` makes a player of the markup; `player.css` and `theme.css` style it. Without scripts, the markup shows
the browser's own players. In a notebook the player is a page in an `iframe` with everything embedded: it runs in
JupyterLab, in an ipywidgets view and in exported HTML, needs no network, and shares no names with its surroundings.
"""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from IPython.display import HTML

from latentsync import media
from latentsync.arrays import Affine
from latentsync.lab.figures.previews import MOUTH_SIZE_PX, MOUTH_STEP
from latentsync.lab.figures.style import COLOURS
from latentsync.lab.pages.bundle import page_file, script
from latentsync.lab.pages.timeline import num_frames, timeline

STYLES = ("theme.css", "player.css")
MP4 = "video/mp4"
SOURCE_COLOUR = "var(--muted)"


@dataclass(frozen=True)
class Track:
    """One video of a player.

    Attributes:
        label: above its notes; "" shows none.
        address: of an H.264 MP4: `data_uri` of its content, or a link; "" takes `content`.
        notes: lines below the label.
        warning: a line that must not be overlooked.
        curves: title of a lane -> a value for each frame (None where there is none).
        levels: title of a lane -> a value that is drawn as a dashed line, the video's mean.
        marks: title of a lane -> a frame and what is to be seen there; a button that leads to it.
        mouth: affines frame px -> canvas px of every `MOUTH_STEP`-th frame; None shows no mouth.
        is_source: drawn in grey.
        is_silent: has no sound to be heard.
        content: of an H.264 MP4, for a player that embeds it.
    """

    label: str
    address: str
    notes: tuple[str, ...] = ()
    warning: str | None = None
    curves: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    marks: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    mouth: Sequence[Affine] | None = None
    is_source: bool = False
    is_silent: bool = False
    content: bytes | None = None

    @property
    def source(self) -> str:
        """The address that the player's markup gives to the video."""
        return data_uri(self.content) if not self.address and self.content is not None else self.address


def player(
    tracks: Sequence[Track],
    sound: np.ndarray | None = None,
    heard: int | None = 0,
    width_px: int = 256,
) -> HTML:
    """The player as the output of a notebook's cell; the arguments are those of `markup`."""
    filled = {
        "style": "\n".join(page_file(name) for name in STYLES),
        "player": markup(tracks, sound, heard, width_px),
        "script": script("framed.js"),
    }
    page = page_file("player.html")
    page = re.sub(r"{{(\w+)}}", lambda slot: filled[slot[1]], page)
    height_px = _height_px(tracks, sound, width_px)
    return HTML(
        f'<div><iframe srcdoc="{escape(page)}" style="width:100%;height:{height_px}px;border:0" '
        f'title="videos in step" allow="autoplay"></iframe></div>'
    )


def markup(
    tracks: Sequence[Track],
    sound: np.ndarray | None = None,
    heard: int | None = 0,
    width_px: int = 256,
    label: str = "Videos in step",
) -> str:
    """The tracks in one row, with their mouths, and below them the sound's waveform and a lane for each curve's title.

    The longest curve has a value for each frame of the longest video.

    Args:
        sound: mono samples of 16 kHz in -1..1 to draw; None draws none.
        heard: the track that is heard at first; None is silence.
        width_px: of each video, at most.
        label: of the whole, for screen readers.
    """
    colours = _colours(tracks)
    titles = dict.fromkeys(title for track in tracks for title in track.curves)
    coloured = list(zip(tracks, colours, strict=True))

    def of_tracks(by_title: Callable[[Track], Mapping[str, Any]]) -> dict[str, list[tuple[str, Any]]]:
        return {
            title: [(colour, by_title(track)[title]) for track, colour in coloured if title in by_title(track)]
            for title in titles
        }

    lanes = of_tracks(lambda track: track.curves)
    plot = timeline(lanes, sound, of_tracks(lambda track: track.levels), of_tracks(lambda track: track.marks))
    frames = num_frames(lanes, sound)
    facts = {
        "fps": media.VIDEO_RATE_HZ,
        "heard": heard,
        "mouth_step": MOUTH_STEP,
        "mouths": [_for_canvas(track.mouth) for track in tracks],
        "frames": frames,
        "curves": [curve for curves in lanes.values() for _, curve in curves],
    }
    figures = "".join(map(_figure, tracks, colours))
    style = f"--width:{width_px}px;--count:{len(tracks)};--frames:{frames}"
    return (
        f'<div class="player{" has-plot" if plot else ""}" role="group" aria-label="{escape(label)}" tabindex="0" '
        f'style="{style}" data-facts="{escape(json.dumps(facts))}">'
        f'<div class="stage">{figures}</div>{plot}</div>'
    )


def data_uri(content: bytes, kind: str = MP4) -> str:
    """Bytes as an address that holds them; `kind` is their media type."""
    return f"data:{kind};base64,{b64encode(content).decode()}"


def _colours(tracks: Sequence[Track]) -> list[str]:
    """A CSS colour for each track: grey for sources, the others by the style's order."""
    results = [i for i, track in enumerate(tracks) if not track.is_source]
    return [
        SOURCE_COLOUR if track.is_source else COLOURS[results.index(i) % len(COLOURS)] for i, track in enumerate(tracks)
    ]


def _figure(track: Track, colour: str) -> str:
    label, (width, height) = escape(track.label), MOUTH_SIZE_PX
    canvas = "" if track.mouth is None else f'<canvas width="{width}" height="{height}" aria-hidden="true"></canvas>'
    notes = "".join(f'<p class="details">{escape(note)}</p>' for note in track.notes)
    warning = f'<p class="alert">{escape(track.warning)}</p>' if track.warning else ""
    return (
        f'<figure data-label="{label}"{" data-silent" if track.is_silent else ""} style="--colour:{colour}">'
        f'<video controls playsinline preload="none" src="{escape(track.source)}" aria-label="{label}"></video>'
        f'{canvas}<figcaption><div class="head"><span class="label">{label}</span></div>{notes}{warning}</figcaption>'
        "</figure>"
    )


def _for_canvas(matrices: Sequence[Affine] | None) -> list[list[float]] | None:
    """Affines in the order of a canvas's `setTransform`: columns one after the other."""
    return None if matrices is None else [np.asarray(one).T.ravel().round(4).tolist() for one in matrices]


def _height_px(tracks: Sequence[Track], sound: np.ndarray | None, width_px: int) -> int:
    """An estimate of the frame's height, used if no script runs."""
    mouth = width_px * MOUTH_SIZE_PX[1] / MOUTH_SIZE_PX[0] if any(track.mouth is not None for track in tracks) else 0
    lines = max((len(track.notes) for track in tracks), default=0) + 1
    lanes = len({title for track in tracks for title in track.curves}) + (sound is not None)
    return round(width_px + mouth + 18 * lines + 110 * lanes + 110)
