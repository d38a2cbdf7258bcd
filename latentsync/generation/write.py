"""Results to files: the video with its sound, and the frames with the mouth region painted grey."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import torch

from latentsync.config import Options
from latentsync.constants import VIDEO_RATE_HZ
from latentsync.faces.composite import face_slices, paint_hole
from latentsync.faces.crops import warping_of
from latentsync.faces.masks import mouth_mask
from latentsync.files import whole_file, write_bytes
from latentsync.generation.results import GeneratedFrame, PreparedPair, Stopwatch
from latentsync.generation.stage_cache import StageCache, stage_key
from latentsync.media import VideoInfo, VideoWriter
from latentsync.media.prefetch import behind
from latentsync.media.writer import unwritable
from latentsync.media.yuv import YuvConverter
from latentsync.shapes import Frame, Mask

MOST_KEPT_BYTES = 32 * 2**20  # of the painted frames of a pair in the stage cache
WAITING_FRAMES = 16  # that wait to be written while the networks make the next ones: 200 MB at 1080x1920 px

SYNTHETIC_NOTICE = "Synthetic video: the mouth was generated to follow the sound (audio-driven lip sync)."
UNTRAINED_NOTICE = "The model is UNTRAINED: the video shows only that the program runs, not lip sync."


class Target(NamedTuple):
    """Where one result goes; None: nowhere.

    Attributes:
        video: the path of the result.
        mask: the path of the frames with the region to be generated painted grey.
        frames: a list that gets each frame of the result.
    """

    video: Path | None
    mask: Path | None = None
    frames: list[Frame] | None = None


@cache
def _scratch() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="latentsync-")


def scratch_video() -> Path:
    """A new path for a result that got none. It is removed when the program ends."""
    return Path(tempfile.mkdtemp(dir=_scratch().name)) / "result.mp4"


def notice(is_trained: bool, consent: str | None = None) -> str:
    """The comment in the metadata of every file: that it is synthetic, whether its model has been trained, and what the
    people in the clip agreed to, if that is given."""
    parts = (SYNTHETIC_NOTICE, None if is_trained else UNTRAINED_NOTICE, consent and f"Consent: {consent}")
    return " ".join(part for part in parts if part)


def check_targets(targets: Sequence[Target], info: VideoInfo, voice: Path, options: Options) -> None:
    """Refuses what cannot be written, before anything is computed for it.

    Args:
        targets: where each result goes.
        info: of the clip, whose size the results have.
        options: the options that all results share.

    Raises:
        MediaError, OptionError: as `VideoWriter`: a folder is missing or cannot be written, a size cannot be encoded,
            or the voice cannot be read or stored.
    """
    settings, is_heard = _settings(info, options), False
    for target in targets:
        if target.video is not None:  # all results have the same voice, so it is tried once
            VideoWriter(target.video, **settings, **({} if is_heard else _sound(voice, options))).rehearse()
            is_heard = True
        if target.mask is not None:
            VideoWriter(target.mask, **settings).rehearse()


def _settings(info: VideoInfo, options: Options) -> dict[str, Any]:
    """What all files of a pair share, as arguments of `VideoWriter`."""
    return {"width": info.width, "height": info.height, "rate_hz": VIDEO_RATE_HZ, "crf": options.video.crf}


def _sound(voice: Path, options: Options) -> dict[str, Any]:
    """The sound of a result, as arguments of `VideoWriter`."""
    return {"sound": voice, "sound_coding": options.video.sound, "sound_track": options.video.voice_track}


def write_results(
    frames: Iterable[tuple[GeneratedFrame, ...]],
    pair: PreparedPair,
    targets: Sequence[Target],
    options: Options,
    comment: str,
    watch: Stopwatch,
    stored: StageCache | None = None,
) -> None:
    """Writes each result and, if wanted, the painted frames; each file appears only when it is complete.

    The painted frames are the same for all results of a pair. They are encoded once, and every target gets a copy.

    Args:
        frames: for each frame of the video, one frame of each result.
        targets: where each result goes.
        options: the options that all results share.
        comment: in the metadata of every file, see `notice`.
        stored: keeps the file of the painted frames for later results of the pair.

    Raises:
        MediaError: a file cannot be written.
    """
    settings = _settings(pair.info, options) | _rate(pair) | {"comment": comment}
    sound = _sound(pair.audio_path, options) | {"pads_sound": bool(pair.rest)}
    mouth = mouth_mask(options.video.mask, options.video.size_px)
    with ExitStack() as files:
        writers = [
            files.enter_context(VideoWriter(target.video, **settings, **sound)) if target.video else None
            for target in targets
        ]
        masks = [target.mask for target in targets if target.mask is not None]
        key = None if stored is None else _mask_key(pair, options, comment)
        mask_writer = files.enter_context(_mask_files(masks, settings, stored, key))
        to_yuv = YuvConverter(pair.info.width, pair.info.height)
        size = pair.info.height, pair.info.width

        def changed(result: GeneratedFrame) -> tuple[slice, slice]:
            if result.generated is None:
                return slice(0, 0), slice(0, 0)
            return face_slices(result.matrix, options.video.size_px, size, warping_of(options))

        def write(results: tuple[GeneratedFrame, ...]) -> None:
            pictures = [result.frame for result in results]
            with watch.stage("write"):
                yuv: list[av.VideoFrame] = []  # all are the clip's frame but for the face
                for writer, result, picture in zip(writers, results, pictures, strict=True):
                    if writer is not None:
                        yuv.append(to_yuv.changed(yuv[0], picture, *changed(result)) if yuv else to_yuv(picture))
                        writer.write_converted(yuv[-1])
                if mask_writer is not None:
                    painted = _painted(results[0], mouth)  # the same for all results
                    parts = changed(results[0])
                    mask_writer.write_converted(to_yuv.changed(yuv[0], painted, *parts) if yuv else to_yuv(painted))
            for target, picture in zip(targets, pictures, strict=True):
                if target.frames is not None:
                    target.frames.append(picture)

        with behind(write, WAITING_FRAMES) as write_later:
            for results in frames:
                write_later(results)
        with watch.stage("write"):
            files.close()  # writes the encoders' last frames, and the sound


def _mask_key(pair: PreparedPair, options: Options, comment: str) -> str | None:
    """The key of the file of the painted frames; None if it is not kept."""
    if pair.faces_key is None or options.video.silence == "source":
        return None
    depends_on = {
        "faces": pair.faces_key,
        "frames": [pair.order, pair.rest],
        "rate_hz": pair.rate_hz,
        "times_s": [str(time_s) for time_s in pair.times_s],
        "mask": options.video.mask,
        "crf": options.video.crf,
        "comment": comment,
    }
    return stage_key("painted frames", depends_on, "media", "faces", "masks", "composite", "encode")


@contextmanager
def _mask_files(
    paths: Sequence[Path], settings: dict[str, Any], stored: StageCache | None, key: str | None
) -> Iterator[VideoWriter | None]:
    """The writer of the painted frames, or None if they are stored or not wanted. At the end every path has the file.

    Args:
        key: of the file in `stored`; None: it is not kept.
    """
    known = stored.find(key) if paths and key is not None else None
    if known is not None:
        yield None
        for path in paths:
            with _media_errors(path):
                write_bytes(path, known["file"].numpy().tobytes())
    elif not paths:
        yield None
    else:
        first, *others = paths
        with VideoWriter(first, **settings, preset="veryfast") as writer:
            yield writer
        for path in others:
            with _media_errors(path), whole_file(path) as part:
                shutil.copyfile(first, part)
        with _media_errors(first):
            if key is not None and first.stat().st_size <= MOST_KEPT_BYTES:
                stored.keep(key, {"file": torch.frombuffer(bytearray(first.read_bytes()), dtype=torch.uint8)})


@contextmanager
def _media_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def _rate(pair: PreparedPair) -> dict[str, Any]:
    """The rate of a result, or the times of its frames, as arguments of `VideoWriter`."""
    if pair.rate_hz is not None:
        return {"rate_hz": pair.rate_hz}
    lengths = {after - before for before, after in pairwise(pair.times_s)}
    return {"rate_hz": 1 / lengths.pop()} if len(lengths) == 1 else {"times_s": pair.times_s}


def _painted(result: GeneratedFrame, mouth: Mask) -> Frame:
    """The clip's frame with the region to be generated painted grey; unchanged if no face was found."""
    return result.source if result.generated is None else paint_hole(result.source, mouth, result.matrix)
