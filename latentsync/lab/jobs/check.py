"""Looks at clips and voices before any model is loaded: what each file holds, whether it can be used, and what to do.

A clip is sampled. Faces are looked for in a few frames of its whole length, cuts in its first seconds and between the
keyframes of the rest. A voice is decoded whole.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from tqdm import tqdm

from latentsync.arrays import Frame
from latentsync.constants import VIDEO_RATE_HZ
from latentsync.errors import LatentSyncError, MediaError
from latentsync.faces.landmarks import LandmarkDetector, bounds
from latentsync.lab.options.inputs import refusal
from latentsync.lab.options.pairs import Pair, find_pairs, gender_of, listed_pairs
from latentsync.media import VideoInfo, probe, read_frames
from latentsync.media.channels import waveform_of
from latentsync.media.clock import clock_of
from latentsync.media.container import decode_packets, open_input, packets_of, sound_stream_of, video_stream_of
from latentsync.media.kinds import Kind, kind_of, kinds_in
from latentsync.media.limits import sound_within_limits
from latentsync.names import named_path, printable
from latentsync.verbosity import bars_off

LIST_SUFFIXES = (".csv", ".tsv", ".txt")
SAMPLED_FRAMES = 12  # so that a stretch of a tenth of the clip has one of them
SCANNED_S = 10  # in which every cut is seen
MAX_KEYFRAMES = 400  # beyond them
SOUGHT_ABOVE_FRAMES = 60 * VIDEO_RATE_HZ  # of a clip's length
THUMBNAIL_PX = 64
CUT_CHANGE = 27.0  # mean change of hue, saturation and brightness, 0..255, as scenedetect's default
SMALL_FACE_PX = 96  # narrower faces are enlarged much
LEAST_OFFSET_S = 0.04  # one frame
SILENT_DB, QUIET_DB = -80.0, -30.0  # of the peak
FULL_SCALE, CLIPPED_SHARE = 0.999, 0.001
OK, NOTE, REFUSED = "ok", "note", "refused"
NOT_USED = "not used"


@dataclass
class Picture:
    """What a clip shows.

    Attributes:
        rate_hz: of the file's own frames, on average.
        faces: in how many of the `sampled` frames there is a face.
        people: most faces in one of them.
        face_px: median width of the largest face, in px; None without any.
        face_share: the same as a share of the picture's longer side.
        cuts: changes of scene that were seen.
    """

    width: int
    height: int
    rate_hz: float
    duration_s: float
    sampled: int = 0
    faces: int = 0
    people: int = 0
    face_px: float | None = None
    face_share: float | None = None
    cuts: int = 0


@dataclass
class Sound:
    """What a voice, or a clip's own sound, holds.

    Attributes:
        peak_db, level_db: of the largest sample and of the mean square, in dB of full scale; None for digital silence.
        clipped: share of the samples that are at full scale.
        starts_s: of a clip's sound: how long after the first picture it begins, in s; before it if negative.
    """

    codec: str
    rate_hz: int
    channels: int
    duration_s: float
    peak_db: float | None
    level_db: float | None
    clipped: float
    starts_s: float | None = None


@dataclass
class FileCheck:
    """What is known about a file.

    Attributes:
        use: "clip", "voice", "clip and voice" or "not used".
        gender: of a clip.
        verdict: "ok", "note" (it can be used, but see the remarks) or "refused".
        remarks: sentences, each with its remedy.
    """

    path: str
    use: str
    gender: str | None = None
    verdict: str = OK
    remarks: list[str] = field(default_factory=list)
    picture: Picture | None = None
    sound: Sound | None = None

    def add(self, verdict: str, remark: str) -> None:
        """Adds a remark. The worst verdict counts."""
        self.verdict = max(verdict, self.verdict, key=(OK, NOTE, REFUSED).index)
        self.remarks.append(printable(remark.removeprefix(f"{self.path} ")))


@dataclass
class Check:
    """The files of a folder or list.

    Attributes:
        pairs: how many pairs they give.
        problems: rows of a list that are refused, or why a folder gives no pair.
    """

    files: list[FileCheck]
    pairs: int
    problems: list[str]

    @property
    def is_usable(self) -> bool:
        """Whether nothing is refused."""
        return not self.problems and all(one.verdict != REFUSED for one in self.files)

    def columns(self) -> dict[str, list[Any]]:
        """The columns of the table that the command prints."""
        return {
            "file": [printable(one.path) for one in self.files],
            "use": [one.use for one in self.files],
            "gender": [one.gender for one in self.files],
            "picture": [_picture_text(one.picture) for one in self.files],
            "face": [_face_text(one.picture) for one in self.files],
            "cuts": [None if one.picture is None else one.picture.cuts for one in self.files],
            "sound": [_sound_text(one.sound) for one in self.files],
            "peak": [_peak_text(one.sound) for one in self.files],
            "verdict": [one.verdict for one in self.files],
            "remarks": ["; ".join(one.remarks) or None for one in self.files],
        }

    def summary(self) -> str:
        """How many files have which verdict, and the number of pairs."""
        counts = {verdict: sum(one.verdict == verdict for one in self.files) for verdict in (OK, NOTE, REFUSED)}
        words = ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
        files, pairs = ("" if number == 1 else "s" for number in (len(self.files), self.pairs))
        return f"{len(self.files)} file{files} ({words or 'none'}), {self.pairs} pair{pairs}"

    def to_json(self) -> str:
        """Everything as JSON."""
        return json.dumps({"usable": self.is_usable, **asdict(self)}, indent=2)


def check(source: str | Path, detector: LandmarkDetector, split: str | None = None) -> Check:
    """Checks the files of a folder or of a list of pairs, or one file.

    Args:
        detector: finds the faces.
        split: only the pairs of a list's split.

    Raises:
        MediaError: there is nothing at `source`, or it is a list that is no table.
        OptionError: no pair of the list has this split.
    """
    source = named_path(source)
    if source.is_dir():
        uses, pairs, problems = _of_folder(source)
    elif source.suffix.lower() in LIST_SUFFIXES:
        uses, pairs, problems = _of_list(source, split)
    elif source.is_file():
        uses, pairs, problems = {source: _as_kind(source, kind_of(source))}, 0, []
    else:
        raise MediaError(f"there is nothing at {source}; give a folder, a list of pairs or a file")
    for path in tqdm(uses, desc="check", unit="file", disable=bars_off(), leave=False):
        try:
            _check_file(path, uses[path], detector)
        except LatentSyncError as error:  # it vanished in between
            uses[path].add(REFUSED, str(error))
    return Check(list(uses.values()), pairs, problems)


# --- which files ---


def _of_folder(folder: Path) -> tuple[dict[Path, FileCheck], int, list[str]]:
    try:
        pairing = find_pairs(folder)
        pairs, left_out, problems = len(pairing.pairs), pairing.left_out, []
    except MediaError as error:
        pairs, left_out, problems = 0, (), [str(error)]
    uses = {path: _as_kind(path, kind) for path, kind in kinds_in(folder).items()}
    by_name = {one.path: one for one in uses.values()}
    for name, reason in left_out:
        if name not in by_name:
            problems.append(f"{printable(name)}: {reason}")
        elif reason not in by_name[name].remarks:
            by_name[name].add(NOTE, reason)
    return uses, pairs, problems


def _as_kind(path: Path, kind: Kind) -> FileCheck:
    """A file before it is looked at; if it is neither clip nor voice, with the reason."""
    one = FileCheck(path.name, "clip" if kind.is_clip else kind.name or NOT_USED)
    one.gender = None if one.use == NOT_USED else gender_of(path)
    if kind.reason is not None:
        one.add(NOTE, kind.reason)
    return one


def _of_list(path: Path, split: str | None) -> tuple[dict[Path, FileCheck], int, list[str]]:
    uses: dict[Path, FileCheck] = {}
    pairs, problems = 0, []
    for pair in listed_pairs(path, split):
        if isinstance(pair, Pair):
            pairs += 1
            for file, use in ((pair.clip, "clip"), (pair.voice, "voice")):
                _add_use(uses, path.parent, file, use, pair)
        else:
            problems.append(str(pair))
    return uses, pairs, problems


def _add_use(uses: dict[Path, FileCheck], folder: Path, file: Path, use: str, pair: Pair) -> None:
    name = str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)
    one = uses.setdefault(file, FileCheck(name, use))
    if one.use not in (use, "clip and voice"):
        one.use = "clip and voice"
    if use == "clip":
        if one.gender not in (None, pair.gender):
            one.add(NOTE, f"the list calls it {one.gender} and {pair.gender}; give one gender")
        one.gender = one.gender or pair.gender


# --- one file ---


def _check_file(path: Path, one: FileCheck, detector: LandmarkDetector) -> None:
    is_clip, is_voice = "clip" in one.use, "voice" in one.use
    for use in [True] * is_clip + [False] * is_voice:
        if (reason := refusal(path, use)) is not None:
            one.add(REFUSED, reason.removeprefix(f"{path} ").removeprefix(f"{path.name} "))
            return
    if is_clip:
        try:
            one.picture = _picture_of(path, detector)
        except LatentSyncError as error:
            one.add(REFUSED, str(error))
            return
        _judge_picture(one, one.picture)
    if is_voice or (is_clip and clock_of(path).has_sound):
        try:
            one.sound = _sound_of(path)
        except LatentSyncError as error:
            if is_voice:
                one.add(REFUSED, str(error))
            else:
                one.add(NOTE, f"its own sound cannot be decoded ({error}); use it with another voice only")
            return
        if one.sound is not None:
            _judge_sound(one, one.sound, is_voice)


def _picture_of(path: Path, detector: LandmarkDetector) -> Picture:
    info = probe(path)
    picture = Picture(info.width, info.height, round(info.source_rate_hz, 3), round(info.duration_s, 3))
    picture.cuts = _cuts(path)
    widths: list[float] = []
    for frame in _samples(path, info):
        boxes = [bounds(face) for face in detector(frame)]
        picture.sampled += 1
        picture.faces += bool(boxes)
        picture.people = max(picture.people, len(boxes))
        widths += [max(box[2] - box[0] for box in boxes)] if boxes else []
    if widths:
        picture.face_px = round(float(np.median(widths)), 1)
        picture.face_share = round(picture.face_px / max(info.width, info.height), 3)
    return picture


def _samples(path: Path, info: VideoInfo) -> Iterator[Frame]:
    """A few frames, spread over the clip. A short clip is decoded once; in a long one each is sought."""
    if info.num_frames <= SAMPLED_FRAMES:
        yield from read_frames(path)
    elif info.num_frames <= SOUGHT_ABOVE_FRAMES:
        yield from read_frames(path, rate_hz=SAMPLED_FRAMES / info.duration_s)
    else:
        for middle in (np.arange(SAMPLED_FRAMES) + 0.5) * info.num_frames / SAMPLED_FRAMES:
            yield from read_frames(path, start=int(middle), stop=int(middle) + 1)


def _cuts(path: Path) -> int:
    """Changes of scene: all in the clip's first seconds, and those between keyframes of the rest. Encoders put a
    keyframe at most cuts, and reading only these takes little time."""
    pictures = clock_of(path).pictures
    scanned = pictures.start_s + SCANNED_S
    keys = sorted(pts for pts in pictures.keys if pts is not None and pts * pictures.time_base >= scanned)
    keys = set(keys[:: max(1, math.ceil(len(keys) / MAX_KEYFRAMES))])
    cuts, before = 0, None
    with open_input(path) as container:
        stream = video_stream_of(container, path)
        wanted = (
            packet
            for packet in packets_of(container, stream)
            if packet.pts is None or packet.pts in keys or packet.pts * pictures.time_base < scanned
        )
        for frame in decode_packets(wanted):
            thumbnail = _thumbnail(frame)
            cuts += before is not None and before.shape == thumbnail.shape and _differs(before, thumbnail)
            before = thumbnail
    return cuts


def _thumbnail(frame: av.VideoFrame) -> Frame:
    """A small copy in hue, saturation and brightness."""
    scale = min(1.0, THUMBNAIL_PX / max(frame.width, frame.height))
    width, height = (max(2, round(side * scale)) for side in (frame.width, frame.height))
    return cv2.cvtColor(frame.reformat(width, height, "rgb24").to_ndarray(), cv2.COLOR_RGB2HSV_FULL)


def _differs(before: Frame, after: Frame) -> bool:
    """Whether a cut lies between two thumbnails. Hue is a circle, so its change is at most half of it."""
    change = np.abs(before.astype(np.int16) - after)
    change[..., 0] = np.minimum(change[..., 0], 256 - change[..., 0])
    return bool(change.mean() > CUT_CHANGE)


def _judge_picture(one: FileCheck, picture: Picture) -> None:
    if not picture.faces:
        one.add(
            REFUSED,
            f"no face in any of {picture.sampled} frames; crop or turn the clip so that a face fills at least a tenth "
            f"of its longer side",
        )
        return
    if missing := picture.sampled - picture.faces:
        one.add(NOTE, f"{missing} of {picture.sampled} frames show no face and would stay as they are")
    if picture.people > 1:
        one.add(NOTE, f"up to {picture.people} faces in a frame, of which the largest is taken; choose with video.face")
    if picture.cuts:
        number = "a cut" if picture.cuts == 1 else f"at least {picture.cuts} cuts"
        one.add(NOTE, f"{number}, where another face may be followed; cut the clip there")
    if picture.face_px < SMALL_FACE_PX:
        one.add(NOTE, f"the face is {picture.face_px:.0f} px wide; below {SMALL_FACE_PX} px results look soft")


def _sound_of(path: Path) -> Sound | None:
    """The sound of a file; None if a clip's sound track is empty."""
    clock = clock_of(path)
    count, square, clipped, peak = 0, 0.0, 0, 0.0
    first_s: Fraction | None = None
    rate_hz = channels = seconds = 0
    with open_input(path) as container:
        stream = sound_stream_of(container, path)
        packets = clock.continued(packets_of(container, stream), stream)
        for frame in sound_within_limits(path, decode_packets(packets)):
            if first_s is None and frame.pts is not None:
                first_s = frame.pts * frame.time_base
            samples = np.abs(np.nan_to_num(waveform_of(frame).astype(np.float64)))
            count, square = count + samples.size, square + float(np.square(samples).sum())
            peak, clipped = max(peak, float(samples.max(initial=0.0))), clipped + int((samples >= FULL_SCALE).sum())
            rate_hz, channels = frame.sample_rate, frame.layout.nb_channels
            seconds += frame.samples / frame.sample_rate
        codec = stream.codec_context.codec.canonical_name
    if not count:
        return None
    starts = None if clock.pictures is None or first_s is None else float(first_s - clock.pictures.start_s)
    return Sound(
        codec, rate_hz, channels, round(seconds, 3), _decibels(peak), _decibels(math.sqrt(square / count)),
        round(clipped / count, 6), None if starts is None else round(starts, 3),
    )  # fmt: skip


def _decibels(amplitude: float) -> float | None:
    return round(20 * math.log10(amplitude), 1) if amplitude > 0 else None


def _judge_sound(one: FileCheck, sound: Sound, is_voice: bool) -> None:
    if sound.peak_db is None or sound.peak_db < SILENT_DB:
        one.add(NOTE, "its sound is silent; check the recording")
    elif is_voice and sound.peak_db < QUIET_DB:
        one.add(NOTE, f"its sound is quiet (peak {sound.peak_db:g} dB); raise it above {QUIET_DB:g} dB")
    if sound.clipped > CLIPPED_SHARE:
        one.add(NOTE, f"{sound.clipped:.1%} of its sound is clipped; record it at a lower level")
    if sound.starts_s is not None and abs(sound.starts_s) >= LEAST_OFFSET_S:
        when = "after" if sound.starts_s > 0 else "before"
        one.add(
            NOTE,
            f"its sound begins {abs(sound.starts_s):.2f} s {when} its pictures, and is taken so; measure lips and "
            f"sound with `latentsync resync`",
        )


# --- words ---


def _picture_text(picture: Picture | None) -> str | None:
    if picture is None:
        return None
    return f"{picture.width}x{picture.height}, {picture.rate_hz:.4g} fps, {picture.duration_s:.1f} s"


def _face_text(picture: Picture | None) -> str | None:
    if picture is None or not picture.sampled:
        return None
    size = "" if picture.face_px is None else f"{picture.face_px:.0f} px ({picture.face_share:.0%}), "
    return f"{size}in {picture.faces} of {picture.sampled}"


def _sound_text(sound: Sound | None) -> str | None:
    if sound is None:
        return None
    channels = {1: "mono", 2: "stereo"}.get(sound.channels, f"{sound.channels} channels")
    return f"{sound.codec}, {sound.rate_hz / 1000:g} kHz {channels}, {sound.duration_s:.1f} s"


def _peak_text(sound: Sound | None) -> str | None:
    if sound is None:
        return None
    return "silent" if sound.peak_db is None else f"{sound.peak_db:.1f} dB"
