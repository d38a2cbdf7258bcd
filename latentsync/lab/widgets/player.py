"""The player as a widget, for outputs that change: what it shows travels as bytes, and it lives in a shadow root.

It needs a kernel. `still_picture` stands in for it in a notebook that is opened without one, and in exported HTML.
An output that does not change is better off as `pages.player.player`, which plays everywhere, also without a kernel.
"""

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from uuid import uuid4

import anywidget
import traitlets

from latentsync.lab.pages.bundle import page_file, script
from latentsync.lab.pages.player import STYLES, Track, markup
from latentsync.lab.widgets.comparison import PairView

STILL_WIDTH_PX = 220
ROOM = ".player { margin: 6px; }"  # for the outline of what has the focus
# Below the picture, JupyterLab would say "Error displaying widget: model not found".
HIDES_ERROR = (
    ".jp-OutputArea-child:has([data-still]) + .jp-OutputArea-child .jupyter-widgets:not(:has(*)) { display: none; }"
)


class PlayerWidget(anywidget.AnyWidget):
    """Players, one below the other; empty until `show`.

    Attributes:
        players: of each the markup, and the content of each video.
        still: names the picture that is hidden while the widget is there.
    """

    _esm = script("player_widget.js")
    styles = traitlets.Unicode("\n".join([*map(page_file, STYLES), ROOM])).tag(sync=True)
    players = traitlets.List().tag(sync=True)
    still = traitlets.Unicode().tag(sync=True)

    def __init__(self) -> None:
        super().__init__(still=uuid4().hex)

    def show(self, views: Sequence[PairView]) -> None:
        """Shows a player for each pair; none clears the widget."""
        self.players = [
            {
                "markup": markup([replace(t, content=None) for t in one.tracks], one.sound, one.heard, one.width_px),
                "videos": [track.content or b"" for track in one.tracks],
            }
            for one in views
        ]


def still_picture(tracks: Sequence[Track], still: str, line: str) -> str:
    """HTML with the middle frame of each track and a line of text, for where the widget cannot run.

    Args:
        still: as of the widget.
    """
    figures = "".join(_figure(track) for track in tracks if track.content is not None)
    return (
        f'<style>{HIDES_ERROR}</style><div data-still="{escape(still)}"><p>{escape(line)}</p>'
        f'<div style="display:flex;flex-wrap:wrap;gap:12px">{figures}</div></div>'
    )


def _figure(track: Track) -> str:
    picture = _middle_frame(track.content)
    image = "" if picture is None else f'<img src="data:image/jpeg;base64,{b64encode(picture).decode()}" alt="">'
    return (
        f'<figure style="margin:0;width:{STILL_WIDTH_PX}px">{image}'
        f'<figcaption style="font-size:12px">{escape(track.label)}</figcaption></figure>'
    )


def _middle_frame(content: bytes) -> bytes | None:
    """A JPEG of the frame in the middle of a video; None if it cannot be read."""
    import av
    import cv2

    try:
        with av.open(io.BytesIO(content)) as container:
            if (duration := container.duration) is not None:
                container.seek(duration // 2)
            frame = next(container.decode(video=0)).to_ndarray(format="bgr24")
    except (av.error.FFmpegError, StopIteration):
        return None
    height = max(1, round(frame.shape[0] * STILL_WIDTH_PX / frame.shape[1]))
    small = cv2.resize(frame, (STILL_WIDTH_PX, height), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
