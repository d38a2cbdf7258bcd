"""A folder of generated clips for trainings and tests, and a sheet of faces."""

import json
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from latentsync.errors import MediaError, OptionError
from latentsync.files import write_bytes
from latentsync.speakers.bounds import GENDERS_OF, KINDS, RECORDINGS
from latentsync.speakers.clip import CRF, render_clip, write_clip
from latentsync.speakers.identity import random_identity
from latentsync.speakers.painter import Expression, Painter, Pose, random_framing
from latentsync.speakers.recording import Recording, random_recording
from latentsync.speakers.sentences import fit_random_speech, fit_rested_speech, fit_sentence
from latentsync.speakers.visemes import FPS, SHAPES
from latentsync.speakers.voice import random_voice, speak
from latentsync.speakers.wide.looks import random_person
from latentsync.speakers.wide.motion import wide_motion
from latentsync.speakers.wide.painter import WidePainter, wide_framing
from latentsync.verbosity import bars_off
from latentsync.workers import Workers

PREFIX = {"female": "g", "male": "m"}
INTENSITIES = {"plain": (0.8, 1.15), "wide": (0.55, 1.3)}  # of the articulation
SHEET_SHAPES = ("rest", "ah", "ee", "oo", "bilabial", "labiodental")


@dataclass(frozen=True)
class ClipOptions:
    """What the clips of a folder are like.

    Attributes:
        gender: "g" (women), "m" (men) or "both", who take turns.
        size_px: side of the picture, an even number from 64 to 2048.
        seconds: least length of a speech.
        rest: longest rest in a generated speech, in s; 0: none.
        seed: clip n depends on it and on n alone, so a longer run begins with the shorter one's clips.
        sentences: what is said; empty: generated speech.
        recordings: "varied" (rooms, microphones and noise) or "none" (a clean sound).
        kind: "plain" or "wide" people (`speakers.wide`).
    """

    gender: str = "both"
    size_px: int = 256
    seconds: float = 3.0
    rest: float = 0.0
    seed: int = 0
    sentences: tuple[str, ...] = ()
    recordings: str = "varied"
    kind: str = "plain"

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("gender", self.gender, GENDERS_OF),
            ("recordings", self.recordings, RECORDINGS),
            ("kind", self.kind, KINDS),
        ):
            if value not in choices:
                raise OptionError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
        if self.size_px % 2:
            raise OptionError(f"size is {self.size_px}; H.264 with 4:2:0 colour needs an even number")
        if self.rest and self.sentences:
            raise OptionError(f"rest is {self.rest:g} s, beside sentences; it is for generated speech, leave one out")

    def gender_of(self, number: int) -> str:
        """The gender of clip `number`, "female" or "male"."""
        return GENDERS_OF[self.gender][number % len(GENDERS_OF[self.gender])]


def make_clips(output_dir: Path, count: int, options: ClipOptions | None = None, workers: int = 1) -> None:
    """Writes clips named g-00001.mp4, m-00002.mp4, ... with their sound (.wav) and truth (.json); some may be there.

    Args:
        output_dir: made where it is missing.
        workers: processes.

    Raises:
        MediaError: a clip of that name was made with other options, or a process ended.
        OptionError: an option is out of range.
    """
    options = options or ClipOptions()
    output_dir.mkdir(parents=True, exist_ok=True)
    if workers == 1:
        for number in tqdm(range(count), unit="clip", desc="speakers", disable=bars_off()):
            _make_one(output_dir, options, number)
        return
    with Workers(workers, cv2.setNumThreads, (1,)) as pool:
        waiting = [pool.submit(_make_one, output_dir, options, number) for number in range(count)]
        try:
            for done in tqdm(as_completed(waiting), total=count, unit="clip", desc="speakers", disable=bars_off()):
                done.result()
        except BrokenProcessPool as error:
            raise MediaError("a worker process ended (no memory?); run again with fewer --workers") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _make_one(output_dir: Path, options: ClipOptions, number: int) -> None:
    """Clip `number`, unless it is there."""
    gender = options.gender_of(number)
    target = output_dir / f"{PREFIX[gender]}-{number + 1:05d}.mp4"
    own_seed = int(np.random.SeedSequence([options.seed, number]).generate_state(1)[0])
    voice = random_voice(own_seed, gender)
    recording = random_recording(own_seed) if options.recordings == "varied" else None
    if options.sentences:
        sentence = fit_sentence(options.sentences, voice, options.seconds, own_seed)
        speech = speak(sentence, voice)
    elif options.rest:
        sentence, speech = fit_rested_speech(voice, options.seconds, options.rest, own_seed)
    else:
        sentence, speech = fit_random_speech(voice, options.seconds, own_seed)
    if target.exists():  # clips get their name when they are whole: an interrupted run goes on where it stopped
        _require_same(target, sentence, own_seed, options, recording)
        return
    painter, is_wide = random_painter(own_seed, gender, options.size_px, options.kind), options.kind == "wide"
    intensity = float(np.random.default_rng([own_seed, 31]).uniform(*INTENSITIES[options.kind]))
    clip = render_clip(
        painter.identity,
        sentence,
        voice,
        own_seed,
        options.size_px,
        intensity,
        painter,
        liveliness=1.0,
        speech=speech,
        recording=recording,
        motion=wide_motion if is_wide else None,
    )
    write_clip(clip, target, painter.looks.crf if isinstance(painter, WidePainter) else CRF, preset="veryfast")


def random_painter(seed: int, gender: str, size_px: int, kind: str = "plain", view_mm: float | None = None) -> Painter:
    """The painter of a random person of a kind; `view_mm` None: framed at random."""
    if kind == "wide":
        return WidePainter(*random_person(seed, gender), size_px, view_mm or wide_framing(seed))
    return Painter(random_identity(seed, gender), size_px, view_mm or random_framing(seed))


def _require_same(target: Path, sentence: str, seed: int, options: ClipOptions, recording: Recording | None) -> None:
    """Raises MediaError if the clip at `target` differs from the clip that these settings make."""
    try:
        truth = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))
        recorded = None if recording is None else json.loads(json.dumps(vars(recording)))
        facts = truth["sentence"], truth["seed"], truth["size_px"], truth.get("recording"), truth.get("kind", "plain")
        same = facts == (sentence, seed, options.size_px, recorded, options.kind)
    except (OSError, ValueError, KeyError):
        same = False
    if not same:
        raise MediaError(f"{target} exists and was made with other options; give another --output_dir or remove it")


def read_sentences(path: Path) -> tuple[str, ...]:
    """The sentences of a text file, one on each line.

    Raises:
        MediaError: it cannot be read, or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(f"the sentences {path} cannot be read ({error}); give a UTF-8 text file") from error
    sentences = tuple(line.strip() for line in lines if line.strip())
    if not sentences:
        raise MediaError(f"{path} holds no sentence; write one on each line")
    return sentences


def write_sheet(output: Path, count: int = 6, options: ClipOptions | None = None, view_mm: float | None = None) -> None:
    """Writes a PNG: one row a person, one column a mouth shape; wide people turn as in their clips.

    Args:
        options: gender, size_px, seed and kind count.
        view_mm: side of the picture in the plane of the face; None: a close-up each.

    Raises:
        MediaError: the file cannot be written.
        OptionError: an option is out of range.
    """
    options, rows = options or ClipOptions(), []
    for number in tqdm(range(count), unit="face", desc="speakers", disable=bars_off()):
        seed = options.seed + number
        painter = random_painter(seed, options.gender_of(number), options.size_px, options.kind, view_mm)
        poses = [*[Pose()] * len(SHEET_SHAPES), Pose(yaw=5)]
        if options.kind == "wide":  # a moment of each second
            poses = wide_motion(seed, FPS * len(poses), np.zeros(FPS * len(poses)))[::FPS]
        frames = [
            painter.paint(pose, Expression(smile=0.1), SHAPES[name], FPS * index if options.kind == "wide" else 0)
            for index, (pose, name) in enumerate(zip(poses, SHEET_SHAPES, strict=False))
        ]
        frames.append(painter.paint(poses[-1], Expression(eyes=0.0, brows=1.0), SHAPES["rest"]))
        rows.append(np.hstack(frames))
    try:
        write_bytes(output, cv2.imencode(output.suffix, np.vstack(rows)[..., ::-1])[1].tobytes())
    except (cv2.error, OSError) as error:
        raise MediaError(f"the sheet cannot be written to {output} ({error}); give a path that ends in .png") from error
