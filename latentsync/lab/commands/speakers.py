"""Make talking heads: the shipped samples, any number of training clips, or a sheet of faces.

latentsync speakers samples
latentsync speakers make --output_dir clips --count 20 --gender both --size 256 --seconds 3 --seed 0
latentsync speakers sheet --output faces.png
"""

import argparse
import json
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from latentsync.errors import LatentSyncError, MediaError, OptionError
from latentsync.speakers import samples
from latentsync.speakers.clip import render_clip, write_clip
from latentsync.speakers.identity import random_identity
from latentsync.speakers.painter import SIZES_PX, VIEWS_MM, Expression, Painter, Pose, random_framing
from latentsync.speakers.recording import Recording, random_recording
from latentsync.speakers.sentences import fit_random_speech, fit_rested_speech, fit_sentence
from latentsync.speakers.visemes import SHAPES
from latentsync.speakers.voice import random_voice, speak

PREFIX = {"female": "g", "male": "m"}
GENDERS = {"g": ("female",), "m": ("male",), "both": ("female", "male")}
SHEET_SHAPES = ("rest", "ah", "ee", "oo", "bilabial", "labiodental")


def make(args: argparse.Namespace) -> None:
    """Write `count` clips; clip n depends on seed and n alone, so a longer run begins with the shorter one's clips."""
    sentences = _read_sentences(args.sentences) if args.sentences else ()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    if args.workers == 1:
        for number in tqdm(range(args.count), unit="clip", desc="speakers"):
            _make_one(args, sentences, number)
        return
    spawn = multiprocessing.get_context("spawn")  # forked children would share the threads of OpenCV and FFmpeg
    with ProcessPoolExecutor(args.workers, spawn, cv2.setNumThreads, (1,)) as pool:
        waiting = [pool.submit(_make_one, args, sentences, number) for number in range(args.count)]
        try:
            for done in tqdm(as_completed(waiting), total=args.count, unit="clip", desc="speakers"):
                done.result()
        except BrokenProcessPool as error:
            raise MediaError("a worker process ended (no memory?); run again with fewer --workers") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _make_one(args: argparse.Namespace, sentences: Sequence[str], number: int) -> None:
    """Clip `number`, unless it is there; without `sentences` they are generated."""
    genders = GENDERS[args.gender]
    gender = genders[number % len(genders)]
    target = args.output_dir / f"{PREFIX[gender]}-{number + 1:05d}.mp4"
    own_seed = int(np.random.SeedSequence([args.seed, number]).generate_state(1)[0])
    identity, voice = random_identity(own_seed, gender), random_voice(own_seed, gender)
    recording = random_recording(own_seed) if args.recordings == "varied" else None
    if sentences:
        sentence = fit_sentence(sentences, voice, args.seconds, own_seed)
        speech = speak(sentence, voice)
    elif args.rest:
        sentence, speech = fit_rested_speech(voice, args.seconds, args.rest, own_seed)
    else:
        sentence, speech = fit_random_speech(voice, args.seconds, own_seed)
    if target.exists():  # clips get their name when they are whole: an interrupted run goes on where it stopped
        _require_same(target, sentence, own_seed, args.size, recording)
        return
    intensity = float(np.random.default_rng([own_seed, 31]).uniform(0.8, 1.15))
    clip = render_clip(
        identity,
        sentence,
        voice,
        own_seed,
        args.size,
        intensity,
        view_mm=random_framing(own_seed),
        liveliness=1.0,
        speech=speech,
        recording=recording,
    )
    write_clip(clip, target, preset="veryfast")


def _require_same(target: Path, sentence: str, seed: int, size_px: int, recording: Recording | None) -> None:
    """MediaError where the clip that stands at `target` is not the one that would be made."""
    try:
        truth = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))
        recorded = None if recording is None else json.loads(json.dumps(vars(recording)))
        found = truth["sentence"], truth["seed"], truth["size_px"], truth.get("recording")
        same = found == (sentence, seed, size_px, recorded)
    except (OSError, ValueError, KeyError):
        same = False
    if not same:
        raise MediaError(f"{target} exists and was made with other options; give another --output_dir or remove it")


def _read_sentences(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(f"the sentences {path} cannot be read ({error}); give a UTF-8 text file") from error
    sentences = tuple(line.strip() for line in lines if line.strip())
    if not sentences:
        raise MediaError(f"{path} holds no sentence; write one on each line")
    return sentences


def sheet(args: argparse.Namespace) -> None:
    """Write a PNG: one row per person, one column per mouth shape."""
    rows = []
    for number in tqdm(range(args.count), unit="face", desc="speakers"):
        gender = GENDERS[args.gender][number % len(GENDERS[args.gender])]
        view_mm = args.view_mm or random_framing(args.seed + number)
        painter = Painter(random_identity(args.seed + number, gender), args.size, view_mm)
        frames = [painter.paint(Pose(), Expression(smile=0.1), SHAPES[name]) for name in SHEET_SHAPES]
        frames.append(painter.paint(Pose(yaw=5), Expression(eyes=0.0, brows=1.0), SHAPES["rest"]))
        rows.append(np.hstack(frames))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(args.output), np.vstack(rows)[..., ::-1]):
        raise MediaError(f"the sheet cannot be written to {args.output}; give a path that ends in .png")


def _number(minimum: float, maximum: float, kind: type = int) -> Callable[[str], float]:
    """An argparse type that refuses values out of bounds with the bounds in its message."""

    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no number; give one from {minimum} to {maximum}") from error
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(f"{text} is out of range; give a number from {minimum} to {maximum}")
        return value

    return convert


def parser() -> argparse.ArgumentParser:
    main_parser = argparse.ArgumentParser(prog="latentsync speakers", description=__doc__.splitlines()[0])
    commands = main_parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("samples", help="make the shipped samples again")
    one.add_argument("--output_dir", type=Path, default=samples.FOLDER)
    two = commands.add_parser("make", help="make clips named g-00001.mp4, m-00002.mp4, ...")
    two.add_argument("--output_dir", type=Path, required=True)
    two.add_argument("--count", type=_number(1, 99_999), default=10)
    two.add_argument("--gender", choices=tuple(GENDERS), default="both")
    two.add_argument("--size", type=_number(*SIZES_PX), default=256, help="side of the picture in px, even")
    two.add_argument("--seconds", type=_number(1.0, 60.0, float), default=3.0, help="least length of a speech")
    two.add_argument(
        "--rest", type=_number(0.0, 10.0, float), default=0.0, help="longest rest in a generated speech, in seconds"
    )
    two.add_argument("--seed", type=_number(0, 2**31), default=0)
    two.add_argument("--sentences", type=Path, help="text file with one sentence on each line, else generated")
    two.add_argument("--recordings", choices=("none", "varied"), default="varied", help="rooms, microphones and noise")
    two.add_argument("--workers", type=_number(1, 256), default=1, help="processes, default %(default)s")
    three = commands.add_parser("sheet", help="write a contact sheet of faces")
    three.add_argument("--output", type=Path, required=True)
    three.add_argument("--count", type=_number(1, 40), default=6)
    three.add_argument("--gender", choices=tuple(GENDERS), default="both")
    three.add_argument("--size", type=_number(*SIZES_PX), default=256)
    three.add_argument("--seed", type=_number(0, 2**31), default=0)
    three.add_argument(
        "--view_mm", type=_number(*VIEWS_MM, float), help="side of the picture; a close-up each if not given"
    )
    return main_parser


COMMANDS = {"samples": lambda args: samples.write_samples(args.output_dir), "make": make, "sheet": sheet}


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    try:
        if getattr(args, "size", 2) % 2:
            raise OptionError(f"--size is {args.size}; H.264 with 4:2:0 colour needs an even number")
        if getattr(args, "rest", 0) and args.sentences:
            raise OptionError("--rest is for generated speech; leave out --sentences or --rest")
        COMMANDS[args.command](args)
    except (LatentSyncError, OSError) as error:  # OSError: a folder that cannot be written, a full disk
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
