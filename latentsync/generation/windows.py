"""From a prepared pair to generated frames, by windows: the frames that are denoised together.

Windows of one length are denoised side by side, in a batch, for each of several settings. Only one batch is in memory.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import torch
from torch import Tensor

from latentsync import media
from latentsync.config import Options
from latentsync.device import memory_shortage_explained
from latentsync.errors import OptionError
from latentsync.faces.composite import restore
from latentsync.faces.crops import warping_of
from latentsync.faces.geometry import Warping
from latentsync.faces.masks import crops_to_pixels
from latentsync.generation.batches import WindowBatch, read_batches, silence_of
from latentsync.generation.kept import PairCache
from latentsync.generation.mouths import MouthGenerator
from latentsync.generation.networks import LipsyncNetworks
from latentsync.generation.overlap import window_batches
from latentsync.generation.results import GeneratedFrame, PreparedPair, ProgressCallback, Stopwatch
from latentsync.generation.silence import RestingMouth
from latentsync.generation.solvers import num_steps
from latentsync.shapes import Affine, Crop, Frame, Latents, Pixels

COMPOSITING_THREADS = 2

# Called after each step as (index of the step, timestep, {"latents": (b, c, f, h, w), "frames": (start, stop)}). It may
# return {"latents": ...}; these latents then replace the given ones.
WindowCallback = Callable[[int, int, dict], dict | None]


def generate_together(
    networks: LipsyncNetworks,
    cache: PairCache,
    pair: PreparedPair,
    settings: Sequence[Options],
    on_progress: ProgressCallback | None = None,
    on_step_end: WindowCallback | None = None,
    watch: Stopwatch | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[GeneratedFrame, ...]]:
    """The frames of several results of one pair, denoised side by side. Gives one frame for each setting at a time.

    Args:
        generator: draws the random numbers, in place of the seed of a single setting.

    Raises:
        OptionError: the settings differ in more than seed and guidance_scale, or there are several and a generator.
        MediaError: the clip cannot be read.
        MemoryShortageError: the memory does not hold a batch.
    """
    if len({one.but_seed_and_guidance() for one in settings}) != 1:
        raise OptionError("settings that are generated together may differ in seed and guidance_scale only")
    if generator is not None and len(settings) > 1:
        raise OptionError(f"a generator is given for {len(settings)} settings; give it for one setting at a time")
    options, watch = settings[0], watch or Stopwatch()
    at_once = max(1, options.runtime.batch_size // len(settings))
    sampler, steps_done = options.sampler, 0
    batches = window_batches(len(pair.order), sampler.num_frames, at_once, sampler.window_overlap)
    resting, shares = None, silence_of(pair, options)
    num_runs = len(batches)
    if options.video.silence == "rest" and shares.any():
        resting = RestingMouth(networks, pair, options)
        num_runs += sum(bool(shares[batch[0][0] : batch[-1][1]].any()) for batch in batches)
    steps_in_all = num_runs * num_steps(networks.scheduler, sampler.scheduler, sampler.num_inference_steps)

    def on_step(index: int, timestep: int, latents: Latents) -> Tensor | None:
        nonlocal steps_done
        steps_done += 1
        if on_progress is not None:
            on_progress("denoise", steps_done, steps_in_all)
        if on_step_end is None:
            return None
        return _returned_latents(on_step_end(index, timestep, {"latents": latents, "frames": batch.span}))

    mouths = MouthGenerator(networks, cache, settings, watch, generator, resting)
    waiting: deque[_FrameParts] = deque()
    with ThreadPoolExecutor(COMPOSITING_THREADS) as threads:
        for batch in watch.timed("read and crop", read_batches(networks, cache, pair, options, batches)):
            num_frames, size_px = len(settings) * len(batch.frames), options.video.size_px
            if on_progress is not None:
                on_progress("denoise", steps_done, steps_in_all)
            with memory_shortage_explained(f"{num_frames} frames of {size_px} px in {options.runtime.dtype}"):
                faces = mouths(batch, on_step)
            waiting.extend(_parts_of(batch, pair, options))
            ready = [waiting.popleft() for _ in faces[0]]
            yield from composited(ready, faces, options, threads, watch)
    for frame in watch.timed("read and crop", media.read_frames_in_order(pair.video_path, pair.rest, pair.rate_hz)):
        yield (GeneratedFrame(frame, frame, None, None, None, None),) * len(settings)


def _returned_latents(returned: object) -> Tensor | None:
    """The latents in what a callback returned.

    Raises:
        OptionError: it returned neither None nor a dict.
    """
    if returned is not None and not isinstance(returned, Mapping):
        raise OptionError(
            f'the callback returned {type(returned).__name__}; return None, or a dict such as {{"latents": latents}}'
        )
    return None if returned is None else returned.get("latents")


class _FrameParts(NamedTuple):
    """What a frame of the result is made of, beside the generated face; see `GeneratedFrame`.

    Attributes:
        own_share: how much of the clip's own mouth is shown, 0..1 (`silence="source"`).
    """

    source: Frame
    crop: Crop
    reference: Crop | None
    matrix: Affine
    has_face: bool
    own_share: float


def _parts_of(batch: WindowBatch, pair: PreparedPair, options: Options) -> Iterator[_FrameParts]:
    """The batch's new frames."""
    references, shares = batch.references.crops, batch.silence[-len(batch.frames) :]
    for i, (frame, matrix) in enumerate(zip(batch.frames, batch.matrices, strict=True)):
        reference, has_face = None if references is None else references[i], bool(pair.faces.has_face[batch.shown[i]])
        own_share = float(shares[i]) if options.video.silence == "source" else 0.0
        yield _FrameParts(frame, batch.crops[i], reference, matrix, has_face, own_share)


def composited(
    parts: Sequence[_FrameParts],
    faces: Sequence[Pixels],
    options: Options,
    threads: ThreadPoolExecutor,
    watch: Stopwatch,
) -> Iterator[tuple[GeneratedFrame, ...]]:
    """Frames with the generated faces of each setting. A frame without a face or with its own mouth stays as it is.

    A frame is composited in a thread from when it is given; whoever takes its `frame` waits for it.
    """
    warping = warping_of(options)
    for i, part in enumerate(parts):
        results = []
        for crops in faces:
            face = crops[i] if part.has_face and part.own_share < 1 else None
            result = part.source if face is None else threads.submit(_composited, part, face, warping, watch)
            if face is not None and part.own_share:
                face = torch.lerp(face, crops_to_pixels(part.crop), part.own_share)
            results.append(GeneratedFrame(part.source, result, part.crop, part.reference, face, part.matrix))
        yield tuple(results)


def _composited(part: _FrameParts, face: Pixels, warping: Warping, watch: Stopwatch) -> Frame:
    with watch.stage("composite"):
        result = restore(part.source, face, part.matrix, warping)
        if part.own_share:
            result = cv2.addWeighted(part.source, part.own_share, result, 1 - part.own_share, 0)
        return result
