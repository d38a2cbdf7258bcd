"""`preview=true`: a contact sheet with one window of every cell of a sweep, as a cheap look before the full run.

It shows the chosen face and the loudest window of the voice, for the first pair of each gender. No record is made. The
window gets the noise of a first window, so a mouth may differ from the record's as with another seed.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from latentsync import media
from latentsync.config import Options
from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import FaceNotFoundError, MediaError
from latentsync.faces.composite import paint_hole
from latentsync.faces.geometry import apply_affine, crop_box_size
from latentsync.faces.masks import mouth_mask, pixels_to_crops
from latentsync.generation.results import GeneratedFrame
from latentsync.lab.cells.cell import options_for
from latentsync.lab.cells.loading import pipeline_of
from latentsync.lab.console import show
from latentsync.lab.figures.sheets import PreviewWindow, preview_sheet
from latentsync.lab.figures.style import save
from latentsync.lab.options.pairs import Pair, pairs_of
from latentsync.lab.options.schema import RunConfig
from latentsync.lab.sweeps.request import SweepRequest
from latentsync.pipeline import LipsyncPipeline
from latentsync.shapes import Frame, Waveform

PREVIEW_FILE = "preview.png"
OUTLINE = (255, 196, 0)  # RGB, of the crop


def loudest_window(
    voice: Waveform, num_frames: int, window: int, rate_hz: float = media.VIDEO_RATE_HZ
) -> tuple[int, int]:
    """The frames (start, stop) of the window with the most energy, among the pipeline's windows."""
    samples = round(SOUND_RATE_HZ / rate_hz * window)
    energies = [float(np.square(voice[i * samples : (i + 1) * samples]).sum()) for i in range(-(-num_frames // window))]
    start = int(np.argmax(energies)) * window
    return start, min(start + window, num_frames)


def preview_window(pipeline: LipsyncPipeline, pair: Pair, options: Options) -> PreviewWindow:
    """Generates the loudest window of a pair.

    Raises:
        LatentSyncError: the pair cannot be lip-synced.
    """
    prepared = pipeline.prepare(pair.clip, pair.voice, options)
    voice = np.asarray(media.read_sound(pair.voice, SOUND_RATE_HZ, options.video.voice_track))
    num_frames = len(prepared.order)
    rate_hz = num_frames / float(prepared.times_s[num_frames])
    start, stop = loudest_window(voice, num_frames, options.sampler.num_frames, rate_hz)
    part = replace(
        prepared,
        order=prepared.order[start:stop],
        rest=[],
        silence=None if prepared.silence is None else prepared.silence[start:stop],
        windows=lambda first, last: prepared.windows(start + first, start + last),
    )
    frames = list(pipeline.generate(part, options))
    crops = [frame.crop for frame in frames]
    results = [
        frame.crop if frame.generated is None else pixels_to_crops(frame.generated.float().cpu()) for frame in frames
    ]
    faces = (np.stack([face.permute(1, 2, 0).numpy() for face in strip]) for strip in (crops, results))
    return PreviewWindow(*faces, chosen_face(frames, options))


def chosen_face(frames: Sequence[GeneratedFrame], options: Options) -> Frame:
    """The first frame that shows the chosen face, with the outline of its crop, and the mask's hole in grey."""
    import cv2

    shown = next((frame for frame in frames if frame.generated is not None), frames[0])
    size_px, video = shown.crop.shape[-1], options.video
    picture = paint_hole(shown.source, mouth_mask(video.mask, size_px), shown.matrix)
    width, height = crop_box_size(size_px)
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], float).T
    outline = apply_affine(cv2.invertAffineTransform(shown.matrix), *corners).T
    thickness = max(1, round(max(picture.shape) / 200))
    return cv2.polylines(picture, [outline.round().astype(np.int32)], True, OUTLINE, thickness, cv2.LINE_AA)


def labels_of(cells: list[list[str]]) -> list[str]:
    """A label for each cell: its overrides, without those that all cells share and without the group's name."""
    common = set.intersection(*map(set, cells)) if len(cells) > 1 else set()
    return [", ".join(o.removeprefix("sampler.") for o in cell if o not in common) or "as configured" for cell in cells]


def preview(request: SweepRequest, say: Callable[[str], None] = print) -> int:
    """Writes the contact sheet of a sweep into its folder.

    Returns:
        The exit status: 1 if a pair of a cell could not be shown, because of its clip or voice.

    Raises:
        LatentSyncError: the model, the device or an option that depends on them is wrong.
    """
    start = time.perf_counter()
    rows, failed = {}, 0
    for run, label in zip(request.runs, labels_of(request.cells), strict=True):
        windows, errors = first_windows(run)
        if windows or not errors:
            rows[label] = windows
        for name, error in errors.items():
            failed += 1
            show(f"error: {label}: {name}: {str(error).splitlines()[0]}")
    if rows:
        path = request.sweep_dir / PREVIEW_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        save(preview_sheet(rows), path)
        show(f"{len(rows)} cells, one window each, in {time.perf_counter() - start:.0f} s: {path}")
    return 1 if failed else 0


def first_windows(run: RunConfig) -> tuple[dict[str, PreviewWindow], dict[str, Exception]]:
    """The window of the first pair of each gender, and why a pair gives none, both by the pair's name."""
    pipeline, windows, errors = pipeline_of(run), {}, {}
    for pair in pairs_of(run.data).first(1).pairs:
        try:
            windows[pair.name] = preview_window(pipeline, pair, pipeline.resolve(options_for(pair, run)))
        except (MediaError, FaceNotFoundError) as error:
            errors[pair.name] = error
    return windows, errors
