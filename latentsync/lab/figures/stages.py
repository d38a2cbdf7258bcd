"""Figures of the pipeline's stages, from arrays: frames, landmarks, crops, Whisper states, latents."""

from collections.abc import Mapping, Sequence

import numpy as np
from einops import rearrange
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from latentsync.audio.features import STATES_HZ, window_indices
from latentsync.constants import SOUND_RATE_HZ, VIDEO_RATE_HZ
from latentsync.faces.geometry import apply_affine, crop_box_size, inverse_affine
from latentsync.faces.masks import pixels_to_crops
from latentsync.faces.track import AlignedFaces, alignment_points
from latentsync.lab.figures.shown import ShownFigure
from latentsync.lab.figures.style import COLOURS
from latentsync.shapes import Frame, Waveform, Windows

TILE_INCHES = 1.35
MEL_HZ = 100  # frames of the mel spectrogram per second
CHANNELS = (
    *(f"noise {i}" for i in range(4)),
    "mask",
    *(f"masked {i}" for i in range(4)),
    *(f"reference {i}" for i in range(4)),
)  # channels of the UNet's input, in order


def as_picture(image: np.ndarray | Tensor) -> np.ndarray:
    """A picture as levels, (h, w, 3) or (h, w).

    Args:
        image: a frame, a crop (3, r, r) in 0..255, a face in -1..1, or a mask (1, r, r) in 0..1.
    """
    if isinstance(image, np.ndarray):
        return image
    if len(image) == 1:
        return (image[0].float() * 255).round().byte().numpy()
    levels = pixels_to_crops(image) if image.is_floating_point() else image
    return rearrange(levels, "c h w -> h w c").numpy()


def film(rows: Mapping[str, Sequence[np.ndarray | Tensor]], titles: Sequence[str] = ()) -> Figure:
    """Pictures side by side in labelled rows; see `as_picture`.

    Args:
        titles: titles above the pictures of the first row.
    """
    columns = max(map(len, rows.values()))
    figure = ShownFigure(figsize=(TILE_INCHES * columns, (TILE_INCHES + 0.2) * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for line, (label, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(line, images, strict=False):
            axis.imshow(as_picture(image), cmap="gray", vmin=0, vmax=255)
        line[0].set_title(label, loc="left", fontsize=9)
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=9)
    return figure


def face_geometry(frame: Frame, faces: AlignedFaces, index: int) -> Figure:
    """A frame with the landmarks of its face, the three alignment points, and the box that becomes the crop."""
    figure = ShownFigure(figsize=(4.6, 4.6), layout="constrained")
    axis = figure.subplots()
    axis.imshow(frame)
    axis.scatter(*faces.landmarks[index].T, s=2, color=COLOURS[5], label=f"{len(faces.landmarks[index])} landmarks")
    points = alignment_points(faces.landmarks[index])
    axis.scatter(*points.T, s=40, color=COLOURS[1], edgecolor="white", label="alignment points: brows, nose")
    width, height = crop_box_size(faces.resolution)
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height), (0, 0)]) - 0.5
    box = apply_affine(inverse_affine(faces.matrices[index]), *corners.T)
    axis.plot(*box, color=COLOURS[4], label="box that becomes the crop")
    axis.legend(loc="lower center", fontsize=8, framealpha=0.9)
    axis.set_axis_off()
    return figure


def sound_and_states(
    waveform: Waveform, mel: Float[Tensor, "80 m"], states: Float[Tensor, "n s d"], frame: int
) -> Figure:
    """A voice, its log-mel spectrogram, and the states of Whisper's last block minus their mean over time.

    The part that one video frame sees is shaded.

    Args:
        waveform: the voice at 16 kHz.
        mel: the spectrogram, 100 frames a second.
        states: 50 moments a second; each has the input of the first block and the output of every block.
        frame: index of the video frame, at 25 Hz.
    """
    figure = ShownFigure(figsize=(9.5, 5.2), layout="constrained")
    sound, spectrogram, last = figure.subplots(3, 1, sharex=True)
    duration_s = len(waveform) / SOUND_RATE_HZ
    sound.plot(np.arange(len(waveform)) / SOUND_RATE_HZ, waveform, color=COLOURS[0], linewidth=0.4)
    sound.set(ylabel="voice", xlim=(0, duration_s))
    spectrogram.imshow(mel, origin="lower", aspect="auto", extent=(0, mel.shape[1] / MEL_HZ, 0, len(mel)))
    spectrogram.set_ylabel("mel band")
    deviations = (states[:, -1] - states[:, -1].mean(0)).T
    limit = float(np.quantile(deviations.abs(), 0.99))
    extent = (0, len(states) / STATES_HZ, 0, len(deviations))
    last.imshow(deviations, aspect="auto", extent=extent, cmap="RdBu", vmin=-limit, vmax=limit)
    last.set(ylabel="number in the state", xlabel="s")
    indices = window_indices(frame, VIDEO_RATE_HZ, len(states))
    for axis in (sound, spectrogram, last):
        axis.axvspan(indices[0] / STATES_HZ, (indices[-1] + 1) / STATES_HZ, color=COLOURS[4], alpha=0.4)
    sound.set_title(f"shaded: the {len(indices)} states that frame {frame} of the video sees", loc="left", fontsize=9)
    return figure


def window_of_states(windows: Windows, states_each: int) -> Figure:
    """The window of Whisper states of one frame, with a panel for each layer: time to the right, state values down.

    Args:
        windows: the windows of one or several frames; the first one is shown.
        states_each: the number of layers of a moment: blocks + 1.
    """
    layers = rearrange(windows[0], "(t s) d -> s d t", s=states_each)
    figure = ShownFigure(figsize=(1.6 * states_each, 2.8), layout="constrained")
    for number, (axis, layer) in enumerate(zip(figure.subplots(1, states_each), layers, strict=True)):
        limit = float(np.quantile(layer.abs(), 0.98))
        axis.imshow(layer, aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit, interpolation="nearest")
        axis.set_title("input" if number == 0 else f"block {number}", fontsize=9)
        axis.set(xticks=[0, layers.shape[2] - 1], yticks=[], xlabel="moment, 20 ms each")
    return figure


def channels(sample: Float[Tensor, "13 h w"]) -> Figure:
    """The UNet's input for one frame, with a panel for each channel. Each group of latents has its own scale."""
    groups = (slice(0, 4), slice(5, 9), slice(9, 13), slice(4, 5))
    figure = ShownFigure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.subplots(3, 5)
    for axis in axes.flat:
        axis.set_axis_off()
    for group, line in zip(groups, [*axes[:, :4], axes[0, 4:]], strict=True):
        low, high = sample[group].min(), sample[group].max()
        for number, axis in zip(range(group.start, group.stop), line, strict=True):
            axis.imshow(sample[number].float(), cmap="gray", vmin=float(low), vmax=float(high))
            axis.set_title(f"{number}: {CHANNELS[number]}", fontsize=8)
    return figure
