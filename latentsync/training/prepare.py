"""A raw video -> pieces to train on: one face, aligned as at inference, with its sound.

A video is read at 25 frames a second and its sound at 16 kHz. It falls into shots: at the cuts that scenedetect (extra
"train") sees, and wherever the followed face's track starts anew; without scenedetect only there, so that a cut
between two pictures whose faces overlap is missed. Each shot is aligned by itself with the rooms of inference
(`faces.align`, `geometry.warp_crop`), so a video without cuts gives the very crops that inference would see. Shots
are divided into pieces of equal length.

What is held in memory is one piece's crops and a few numbers a frame, whatever the video's length; the sound waits in
a file of the work folder. Knows nothing of where pieces are kept, or of which are there already.
"""

import hashlib
import json
import math
import wave
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float
from scipy.signal import medfilt

from latentsync.audio import MIN_DURATION_S, SILENCE_PEAK
from latentsync.errors import FaceNotFoundError, MediaError, OptionError
from latentsync.faces import AlignedFaces, align, follow
from latentsync.geometry import crop_box_size, warp_crop
from latentsync.landmarks import LandmarkDetector, bounds
from latentsync.media import VIDEO_RATE_HZ, VideoWriter, probe, read_frames
from latentsync.media.container import decode_packets, open_input, packets_of, sound_stream_of
from latentsync.media.sound import SOUND_RATE_HZ, resampled
from latentsync.metrics.speech_features import Samples
from latentsync.metrics.sync import lip_energy_correlation, lip_gap, log_energy
from latentsync.metrics.syncnet import (
    FACE_PX,
    SAMPLES_PER_FRAME,
    SyncNet,
    clip_embeddings,
    scores,
    window_distances,
)
from latentsync.shapes import Found, Frame, Landmarks
from latentsync.training.clips import SOUND_END, VIDEO_END
from latentsync.weights import file_sha256, state_dict_sha256

PREPARE_VERSION = 1  # raise it when the same input and options give other pieces

MAX_SHARE_WITHOUT_FACE = 0.10  # of a piece's frames
SHOT_SIDE_PX = 256  # longer side of the picture that cuts are looked for in
SHOT_THRESHOLD = 27.0  # scenedetect's default: mean change of hue, saturation and luma, 0..255

# The data filter of LatentSync (arXiv 2412.09262): what SyncNet v2 must say of a piece that is kept
MAX_OFFSET_FRAMES = 6
LEAST_CONFIDENCE = 3.0
# SyncNet's own framing of a face (its run_pipeline.py), in half sides of the face's box: the crop reaches 1 above the
# middle, 1.8 below, 1.4 to either side; grey beyond the picture; middle and size smoothed by a median
SYNCNET_ABOVE, SYNCNET_BELOW, SYNCNET_BESIDE = 1.0, 1.8, 1.4
SYNCNET_GREY = 110
SYNCNET_MEDIAN_FRAMES = 13

CutDetector = Callable[[Frame], bool]  # told every frame in order; says whether a shot begins with it


@dataclass(frozen=True)
class PrepareOptions:
    """What pieces are like.

    Attributes:
        size_px: side of the crops, a multiple of 8, at least 64.
        min_seconds, max_seconds: length of a piece.
        crf: constant rate factor of the H.264 crops, 0 (lossless) .. 51; 10 is visually lossless.
    """

    size_px: int = 256
    min_seconds: float = 1.0
    max_seconds: float = 10.0
    crf: int = 10

    def __post_init__(self) -> None:
        if self.size_px < 64 or self.size_px % 8:
            raise OptionError(f"size is {self.size_px}; it must be a multiple of 8 and at least 64 (256 is usual)")
        if not MIN_DURATION_S <= self.min_seconds < math.inf:
            raise OptionError(f"min_seconds is {self.min_seconds}; it must be at least {MIN_DURATION_S} (1 is usual)")
        if not 2 * self.min_seconds <= self.max_seconds < math.inf:  # so that equal parts are never too short
            raise OptionError(
                f"max_seconds is {self.max_seconds}; it must be at least twice min_seconds ({self.min_seconds})"
            )
        if not 0 <= self.crf <= 51:
            raise OptionError(f"crf is {self.crf}; it must be from 0 (lossless) to 51 (10 is usual)")

    @property
    def min_frames(self) -> int:
        return math.ceil(self.min_seconds * VIDEO_RATE_HZ)

    @property
    def max_frames(self) -> int:
        return math.floor(self.max_seconds * VIDEO_RATE_HZ)


@dataclass(frozen=True)
class Source:
    """A raw video with its sound (a .wav beside it, or itself) and what a JSON file beside it tells of it, if any."""

    video: Path
    sound: Path
    sidecar: Path | None = None

    @property
    def name(self) -> str:
        return self.video.stem

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of the files."""
        files = {"video": self.video, "sound": self.sound, "sidecar": self.sidecar}
        return {what: file_sha256(path) for what, path in files.items() if path is not None}


@dataclass(frozen=True)
class Tools:
    """What looks at frames and sound.

    Attributes:
        detector: finds the faces' landmarks.
        new_cut_detector: makes what sees a video's cuts; None where nothing does.
        syncnet: SyncNet v2, to correct offsets and to filter; None for neither.
    """

    detector: LandmarkDetector
    new_cut_detector: Callable[[], CutDetector] | None = None
    syncnet: SyncNet | None = None

    @cached_property
    def identity(self) -> dict[str, str | None]:
        """What of the tools decides how pieces turn out."""
        weights = None if self.syncnet is None else state_dict_sha256(self.syncnet.state_dict())
        return {"cuts": cut_detector_name() if self.new_cut_detector else None, "syncnet": weights}


@dataclass(frozen=True)
class Piece:
    """A piece as it stands in the work folder; `facts` is what its JSON file is to hold."""

    name: str
    video: Path
    sound: Path
    facts: dict[str, Any]


@dataclass(frozen=True)
class Dropped:
    """A stretch of a source, in its frames, that gives no piece, and why."""

    start: int
    stop: int
    reason: str

    def told(self) -> dict[str, Any]:
        return {"start_s": self.start / VIDEO_RATE_HZ, "stop_s": self.stop / VIDEO_RATE_HZ, "reason": self.reason}


def signature(source: Source, options: PrepareOptions, tools: Tools) -> str:
    """One hash of all that decides what a source's pieces are: files, options, networks, and this room's version."""
    parts = [PREPARE_VERSION, source.name, source.hashes, asdict(options), tools.identity]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


# --- cuts ---


class ContentCuts:
    """scenedetect's ContentDetector, frame by frame: a shot begins where a small copy of the picture changes much.

    Raises:
        ImportError: scenedetect is not installed.
    """

    def __init__(self, threshold: float = SHOT_THRESHOLD) -> None:
        from scenedetect import ContentDetector, FrameTimecode

        self._detector = ContentDetector(threshold, min_scene_len=0)  # 0: a cut is told at once; flashes become short
        self._timecode = FrameTimecode
        self._number = 0

    def __call__(self, frame: Frame) -> bool:
        height, width = frame.shape[:2]
        scale = min(1.0, SHOT_SIDE_PX / max(height, width))
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        at = self._timecode(self._number, VIDEO_RATE_HZ)
        self._number += 1
        return bool(self._detector.process_frame(at, np.ascontiguousarray(small[..., ::-1])))


def find_cut_detector() -> Callable[[], CutDetector] | None:
    """What makes the detector of cuts; None where scenedetect is not installed."""
    try:
        ContentCuts()
    except ImportError:
        return None
    return ContentCuts


def cut_detector_name() -> str:
    """The detector with its version, which decides where shots begin."""
    for package in ("scenedetect-headless", "scenedetect"):
        with suppress(PackageNotFoundError):
            return f"scenedetect {version(package)} ContentDetector {SHOT_THRESHOLD:g}"
    return "scenedetect"


class _Shots:
    """One stream of frames handed out shot by shot; a frame that begins the next shot is kept for it."""

    def __init__(self, frames: Iterable[Frame], begins_shot: CutDetector | None) -> None:
        self._frames = iter(frames)
        self._begins_shot = begins_shot
        self._next = self._read()
        self.position = 0  # of the next frame

    def _read(self) -> tuple[Frame, bool] | None:
        frame = next(self._frames, None)
        return None if frame is None else (frame, self._begins_shot is not None and self._begins_shot(frame))

    def __bool__(self) -> bool:
        """Whether there is another frame."""
        return self._next is not None

    def frames(self) -> Iterator[Frame]:
        """The frames up to the next cut."""
        is_first = True
        while self._next is not None and (is_first or not self._next[1]):
            frame, is_first = self._next[0], False
            self._next, self.position = self._read(), self.position + 1
            yield frame


# --- one face through a shot ---


class _Recorder:
    """A detector that remembers of each frame the faces' boxes and how far their lips are apart."""

    def __init__(self, detector: LandmarkDetector, on_frame: Callable[[], None]) -> None:
        self._detector, self._on_frame = detector, on_frame
        self.boxes: list[Float[np.ndarray, "n 4"]] = []
        self.gaps: list[list[float]] = []

    def __call__(self, frame: Frame) -> list[Landmarks]:
        faces = self._detector(frame)
        self.boxes.append(np.array([bounds(face) for face in faces]).reshape(-1, 4))
        self.gaps.append([float(lip_gap(face[None])[0]) for face in faces])
        self._on_frame()
        return faces


@dataclass(frozen=True)
class _Track:
    """One face through consecutive frames of the source; it begins and ends with a frame in which it was found.

    Attributes:
        start: number of its first frame in the source.
        matrices, found: as in `AlignedFaces`.
        boxes: of the face, px, interpolated where it was not found.
        gaps: of the lips, NaN where it was not found.
    """

    start: int
    matrices: Float[np.ndarray, "f 2 3"]
    found: Found
    boxes: Float[np.ndarray, "f 4"]
    gaps: Float[np.ndarray, " f"]

    def __len__(self) -> int:
        return len(self.found)

    def part(self, start: int, stop: int) -> "_Track":
        cut = slice(start, stop)
        return _Track(self.start + start, self.matrices[cut], self.found[cut], self.boxes[cut], self.gaps[cut])


def _tracks(
    frames: Iterable[Frame], tools: Tools, size_px: int, on_frame: Callable[[], None]
) -> Iterator[_Track | Dropped]:
    """The faces that are followed through a video, shot by shot, and the shots without one."""
    shots = _Shots(frames, tools.new_cut_detector() if tools.new_cut_detector else None)
    while shots:
        first, recorder = shots.position, _Recorder(tools.detector, on_frame)
        try:
            faces = align(shots.frames(), recorder, size_px)
        except FaceNotFoundError as error:
            yield Dropped(first, shots.position, str(error))
        else:
            yield from _tracks_of_shot(first, faces, recorder)


def _tracks_of_shot(first: int, faces: AlignedFaces, recorder: _Recorder) -> Iterator[_Track]:
    """Splits a shot where `faces.follow` starts anew: another person, or a cut that nothing else saw."""
    chosen, starts = follow(recorder.boxes)
    boxes, gaps = np.zeros((len(faces), 4)), np.full(len(faces), np.nan)
    for i, index in enumerate(chosen):
        if index is not None:
            boxes[i], gaps[i] = recorder.boxes[i][index], recorder.gaps[i][index]
    edges = [*np.flatnonzero(starts).tolist(), len(faces)]
    whole = _Track(first, faces.matrices, faces.found, boxes, gaps)
    for start, stop in pairwise(edges):
        last = start + int(np.flatnonzero(faces.found[start:stop])[-1])
        track = whole.part(start, last + 1)
        yield _Track(track.start, track.matrices, track.found, _without_gaps(track.boxes, track.found), track.gaps)


def _without_gaps(boxes: Float[np.ndarray, "f 4"], found: Found) -> Float[np.ndarray, "f 4"]:
    known = np.flatnonzero(found)
    return np.stack([np.interp(np.arange(len(boxes)), known, column) for column in boxes[known].T], axis=1)


def _stretches(track: _Track, options: PrepareOptions) -> Iterator[_Track | Dropped]:
    """The track in equal parts of at most max_seconds; parts that are too short or often without the face drop out."""
    number = max(1, math.ceil(len(track) / options.max_frames))
    edges = np.linspace(0, len(track), number + 1).round().astype(int).tolist()
    for start, stop in pairwise(edges):
        part = track.part(start, stop)
        missing = int((~part.found).sum())
        span = part.start, part.start + len(part)
        if len(part) < options.min_frames:
            yield Dropped(
                *span, f"one face is followed for {len(part) / VIDEO_RATE_HZ:g} s; {options.min_seconds:g} s are needed"
            )
        elif missing > MAX_SHARE_WITHOUT_FACE * len(part):
            yield Dropped(
                *span, f"{missing} of {len(part)} frames show no face; at most {MAX_SHARE_WITHOUT_FACE:.0%} may"
            )
        else:
            yield part


# --- sound ---


def _spooled_sound(path: Path, work: Path) -> Samples:
    """The sound of a file, int16 mono at 16 kHz, `(n,)`; it lies in the work folder, not in memory.

    The same samples as `media.read_sound` gives, times 32768.
    """
    spool = work / "sound.s16"
    size = 0
    with open_input(path) as container, open(spool, "wb") as file:
        frames = decode_packets(packets_of(container, sound_stream_of(container, path)))
        for frame in resampled(frames, "s16", "mono", SOUND_RATE_HZ):
            samples = frame.to_ndarray()[0]
            size += samples.size
            file.write(samples.tobytes())
    if size == 0:
        raise MediaError(f"{path} holds no sound (0 samples can be decoded); record or convert it again")
    return np.memmap(spool, np.int16, "r")


def _is_silent(samples: Samples) -> bool:
    peak = max(int(samples.max()), -int(samples.min())) / 32768
    return peak < SILENCE_PEAK


def write_wav(path: Path, samples: Samples) -> None:
    """Mono int16 samples at 16 kHz as a WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())


# --- SyncNet ---


def _syncnet_crops(frames: Iterable[Frame], boxes: Float[np.ndarray, "f 4"]) -> Iterator[Frame]:
    """Faces of 224 px in SyncNet's own framing, wider and lower than the aligned crops."""
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    places = [np.maximum(widths, heights) / 2, boxes[:, [0, 2]].mean(1), boxes[:, [1, 3]].mean(1)]
    size = min(SYNCNET_MEDIAN_FRAMES, len(boxes) - 1 + len(boxes) % 2)
    half = size // 2  # the ends are held, where scipy's median would see zeros
    smooth = [medfilt(np.pad(place, half, mode="edge"), size)[half : half + len(boxes)] for place in places]
    for frame, reach, x, y in zip(frames, *smooth, strict=True):
        scale = FACE_PX / (2 * SYNCNET_BESIDE * reach)
        left, top = x - SYNCNET_BESIDE * reach, y - SYNCNET_ABOVE * reach
        to_crop = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
        yield cv2.warpAffine(frame, to_crop, (FACE_PX, FACE_PX), borderValue=(SYNCNET_GREY,) * 3)


@dataclass(frozen=True)
class _Placement:
    """How a piece's sound is laid: frame i of the source goes with the sound of frame i - offset.

    Attributes:
        first, last: the part of the piece, in its own frames, for which the source then has sound.
        syncnet: what SyncNet said; None where it was not asked.
    """

    offset: int
    first: int
    last: int
    syncnet: dict[str, Any] | None = None


def _place_sound(source: Source, track: _Track, samples: Samples, network: SyncNet | None) -> _Placement | str:
    """Where the sound belongs by SyncNet, or why the piece is dropped; as recorded where there is no network."""
    start, stop = track.start, track.start + len(track)
    if network is None:
        return _Placement(0, 0, len(track))
    crops = _syncnet_crops(read_frames(source.video, VIDEO_RATE_HZ, start, stop), track.boxes)
    sound = np.array(samples[start * SAMPLES_PER_FRAME : stop * SAMPLES_PER_FRAME])
    found = scores(window_distances(*clip_embeddings(network, crops, sound)))
    if found.lse_c < LEAST_CONFIDENCE:
        return f"SyncNet's confidence is {found.lse_c:.2f}; at least {LEAST_CONFIDENCE:g} is needed"
    if abs(found.offset) > MAX_OFFSET_FRAMES:
        return f"SyncNet's offset is {found.offset} frames; at most {MAX_OFFSET_FRAMES} either way can be corrected"
    first = max(0, found.offset - start)
    last = min(len(track), len(samples) // SAMPLES_PER_FRAME + found.offset - start)
    told = {
        "protocol": "SyncNet v2, faces framed as its pipeline does around MediaPipe's points",
        "offset_frames": found.offset,
        "confidence": round(found.lse_c, 4),
        "distance": round(found.lse_d, 4),
        "is_corrected": True,
    }
    return _Placement(found.offset, first, last, told)


# --- what a JSON file beside the video tells ---


def read_sidecar(path: Path | None) -> dict[str, Any]:
    """The known facts of a JSON file beside a video: identity, sentence, voice, and per-frame truth at 25 Hz.

    `experiments.speakers` writes such files; of one's own, `{"identity": "a name"}` is enough to keep all videos of a
    person on one side of a held-out split. Anything else, or a file that is no JSON, tells nothing.

    Returns:
        identity, sentence, voice as they are, and truth as {"columns": [...], "rows": [[...], ...]}; what is unknown
        is absent.
    """
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    told = {name: content[name] for name in ("identity", "sentence", "voice") if name in content}
    match content:
        case {"columns": list(columns), "truth": list(rows), "fps": rate} if rate == VIDEO_RATE_HZ:
            told["truth"] = {"columns": columns, "rows": rows}
    return told


# --- the whole way ---


@dataclass(frozen=True)
class _Job:
    """One source on its way into pieces."""

    source: Source
    options: PrepareOptions
    tools: Tools
    work: Path
    samples: Samples
    told: dict[str, Any] = field(default_factory=dict)

    def make(self, name: str, track: _Track) -> Piece | Dropped:
        """Writes a piece's two files into the work folder, unless its sound says that it is useless."""
        placement = _place_sound(self.source, track, self.samples, self.tools.syncnet)
        span = track.start, track.start + len(track)
        if isinstance(placement, str):
            return Dropped(*span, placement)
        track = track.part(placement.first, placement.last)
        first = (track.start - placement.offset) * SAMPLES_PER_FRAME
        sound = np.array(self.samples[first : first + len(track) * SAMPLES_PER_FRAME])
        if len(track) < self.options.min_frames:
            return Dropped(*span, f"after the offset {placement.offset} frames of it have too little sound")
        if _is_silent(sound):
            return Dropped(*span, f"its sound is silent (peak below {SILENCE_PEAK:.0e} of full scale)")
        video, wav = self.work / f"{name}{VIDEO_END}", self.work / f"{name}{SOUND_END}"
        self._write_crops(video, track)
        write_wav(wav, sound)
        return Piece(name, video, wav, self._facts(name, track, placement, sound, video, wav))

    def _write_crops(self, path: Path, track: _Track) -> None:
        size, start = self.options.size_px, track.start
        frames = read_frames(self.source.video, VIDEO_RATE_HZ, start, start + len(track))
        with VideoWriter(path, size, size, crf=self.options.crf, comment=f"aligned from {self.source.name}") as writer:
            for frame, matrix in zip(frames, track.matrices, strict=True):
                writer.write(np.ascontiguousarray(warp_crop(frame, matrix, size).numpy().transpose(1, 2, 0)))

    def _facts(
        self, name: str, track: _Track, placement: _Placement, sound: Samples, video: Path, wav: Path
    ) -> dict[str, Any]:
        start, stop = track.start, track.start + len(track)
        facts = {
            "version": PREPARE_VERSION,
            "name": name,
            "signature": signature(self.source, self.options, self.tools),
            "source": {
                "video": self.source.video.name,
                "sound": self.source.sound.name,
                "sha256": self.source.hashes["video"],
                "sound_sha256": self.source.hashes["sound"],
            },
            "start_s": start / VIDEO_RATE_HZ,
            "start_frame": start,
            "frames": len(track),
            "fps": VIDEO_RATE_HZ,
            "rate_hz": SOUND_RATE_HZ,
            "size_px": self.options.size_px,
            "crop_box_px": list(crop_box_size(self.options.size_px)),  # what the matrices map to
            "frames_without_face": np.flatnonzero(~track.found).tolist(),
            "matrices": track.matrices.round(6).tolist(),
            "landmark_sync": _landmark_sync(track.gaps, sound),
            "syncnet": placement.syncnet,
            "files": {
                "video_bytes": video.stat().st_size,
                "sound_bytes": wav.stat().st_size,
                "sound_sha256": file_sha256(wav),
            },
        }
        facts |= {key: self.told[key] for key in ("identity", "sentence", "voice") if key in self.told}
        if "truth" in self.told and len(self.told["truth"]["rows"]) >= stop:
            facts["truth"] = {**self.told["truth"], "rows": self.told["truth"]["rows"][start:stop]}
        return facts


def _landmark_sync(gaps: Float[np.ndarray, " f"], sound: Samples) -> dict[str, Any]:
    """The measure of `metrics.sync` on a piece: told, not judged by; short pieces say little."""
    energy = log_energy(sound.astype(np.float32) / 32768, SOUND_RATE_HZ, len(gaps))
    curve = lip_energy_correlation(gaps, energy)
    return {
        "peak": None if curve.peak is None else round(curve.peak, 4),
        "lag_frames": curve.lag,
        "margin": None if curve.margin is None else round(curve.margin, 4),
        "reason": curve.reason,
    }


def prepare_source(
    source: Source,
    options: PrepareOptions,
    tools: Tools,
    work: Path,
    is_done: Callable[[str], bool] = lambda name: False,
    on_frame: Callable[[], None] = lambda: None,
) -> Iterator[Piece | Dropped | str]:
    """Makes a source's pieces one after the other in the work folder; the caller takes each away.

    A stretch that is long enough and shows its face has a number, kept or not, so that a name always means the same
    stretch of the same source and options. The last frame may lack up to 40 ms of sound and is then left out.

    Args:
        work: a folder of this call's own.
        is_done: whether the piece of that name, `STEM-000`, is there already; it is then told by its name alone.
        on_frame: called when another frame has been looked at.

    Raises:
        MediaError: the video or sound cannot be read, or is too short or silent.
    """
    info = probe(source.video, VIDEO_RATE_HZ)
    samples = _spooled_sound(source.sound, work)
    num_frames = min(info.num_frames, len(samples) // SAMPLES_PER_FRAME)
    if num_frames < options.min_frames:
        raise MediaError(
            f"{source.video.name} has {info.duration_s:.2f} s of pictures and {len(samples) / SOUND_RATE_HZ:.2f} s of "
            f"sound; at least {options.min_seconds:g} s of both are needed"
        )
    if _is_silent(samples):
        raise MediaError(
            f"{source.sound.name} is silent: its peak is below {SILENCE_PEAK:.0e} of full scale; check the recording"
        )
    job = _Job(source, options, tools, work, samples, read_sidecar(source.sidecar))
    frames = read_frames(source.video, VIDEO_RATE_HZ, 0, num_frames)
    number = 0
    for track in _tracks(frames, tools, options.size_px, on_frame):
        stretches: Sequence = [track] if isinstance(track, Dropped) else list(_stretches(track, options))
        for stretch in stretches:
            if isinstance(stretch, Dropped):
                yield stretch
                continue
            name = f"{source.name}-{number:03d}"
            number += 1
            yield name if is_done(name) else job.make(name, stretch)
