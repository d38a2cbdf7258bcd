"""Figures, pictures and videos as small files, for pages in the repository."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from latentsync import media
from latentsync.errors import MediaError
from latentsync.files import whole_file, write_bytes
from latentsync.lab.console import say
from latentsync.lab.figures.style import png_bytes

GIF_S, GIF_HZ, GIF_PX = (0.4, 2.6), 12.5, 168
COLOURS, GIF_COLOURS = 256, 64  # colours of a picture: this saves two thirds of the size and is hardly visible


def small_png(image: Image.Image) -> bytes:
    """An RGB picture as the content of a PNG file with few colours."""
    buffer = BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def write_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as a small PNG."""
    with Image.open(BytesIO(png_bytes(figure))) as image:
        write_image(image.convert("RGB"), path)


def write_image(image: Image.Image, path: Path) -> None:
    """Writes a picture as a PNG with few colours."""
    write_bytes(path, small_png(image))
    say(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def write_gif(videos: list[Path], path: Path) -> None:
    """Writes the same piece of several videos, side by side, as an animated GIF.

    Raises:
        MediaError: a video is shorter than the piece.
    """
    numbers = [round(s * media.VIDEO_RATE_HZ) for s in np.arange(*GIF_S, 1 / GIF_HZ)]
    columns = [list(media.read_frames_in_order(video, numbers, media.VIDEO_RATE_HZ)) for video in videos]
    if any(len(frames) < len(numbers) for frames in columns):
        raise MediaError(f"{path} needs {GIF_S[1]} s of each video; give longer videos")
    size = GIF_PX, GIF_PX
    frames = [
        Image.fromarray(np.hstack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in row]))
        for row in zip(*columns, strict=True)
    ]
    first, *others = [frame.quantize(GIF_COLOURS, dither=Image.Dither.NONE) for frame in frames]
    with whole_file(path) as part:
        first.save(part, save_all=True, append_images=others, duration=round(1000 / GIF_HZ), loop=0, optimize=True)
    say(f"{path}: {path.stat().st_size / 1000:.0f} kB")
