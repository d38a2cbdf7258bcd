"""`preview=true`: a contact sheet with one window of every cell of a sweep, as a cheap look before the full run.

It shows the loudest window of the voice, for the first pair of each gender. No record is made. The window gets the
noise of a first window, so a mouth may differ from the record's as with another seed.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from latentsync import media
from latentsync.config import Options
from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import FaceNotFoundError, MediaError
from latentsync.faces.masks import pixels_to_crops
from latentsync.lab.cells.cell import options_for
from latentsync.lab.cells.loading import pipeline_of
from latentsync.lab.figures.sheets import PreviewWindow, preview_sheet
from latentsync.lab.figures.style import save
from latentsync.lab.options.pairs import Pair, pairs_of
from latentsync.lab.options.schema import RunConfig
from latentsync.lab.sweeps.request import SweepRequest
from latentsync.pipeline import LipsyncPipeline
from latentsync.shapes import Waveform

PREVIEW_FILE = "preview.png"


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
        windows=lambda first, last: prepared.windows(start + first, start + last),
    )
    frames = list(pipeline.generate(part, options))
    crops = [frame.crop for frame in frames]
    results = [
        frame.crop if frame.generated is None else pixels_to_crops(frame.generated.float().cpu()) for frame in frames
    ]
    return PreviewWindow(*(np.stack([face.permute(1, 2, 0).numpy() for face in faces]) for faces in (crops, results)))


def labels_of(cells: list[list[str]]) -> list[str]:
    """A label for each cell: its overrides, without those that all cells share and without the group's name."""
    common = set.intersection(*map(set, cells)) if len(cells) > 1 else set()
    return [", ".join(o.removeprefix("sampler.") for o in cell if o not in common) or "as configured" for cell in cells]


def preview(request: SweepRequest, say: Callable[[str], None] = print) -> int:
    """Writes the contact sheet of a sweep into its folder.

    Returns:
        The exit status: 1 if a cell could not be shown, because of its clip or voice.

    Raises:
        LatentSyncError: the model, the device or an option that depends on them is wrong.
    """
    start = time.perf_counter()
    rows, failed = {}, 0
    for run, label in zip(request.runs, labels_of(request.cells), strict=True):
        try:
            rows[label] = first_windows(run)
        except (MediaError, FaceNotFoundError) as error:
            failed += 1
            say(f"error: {label}: {str(error).splitlines()[0]}")
    if rows:
        path = request.sweep_dir / PREVIEW_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        save(preview_sheet(rows), path)
        say(f"{len(rows)} cells, one window each, in {time.perf_counter() - start:.0f} s: {path}")
    return 1 if failed else 0


def first_windows(run: RunConfig) -> dict[str, PreviewWindow]:
    """The window of the first pair of each gender, by the pair's name."""
    pipeline = pipeline_of(run)
    return {
        pair.name: preview_window(pipeline, pair, pipeline.resolve(options_for(pair, run)))
        for pair in pairs_of(run.data).first(1).pairs
    }
