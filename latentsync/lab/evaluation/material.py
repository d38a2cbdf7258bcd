"""Held-out clips for evaluation: people, sentences and a voice that no training used. They are rendered once.

People: training draws a person's seed with `SeedSequence.generate_state`, a 32-bit number. The seeds here begin at
2^32, so training cannot draw one of them. Sentences: `HELD_OUT_SENTENCES`. Voices: every other pair of cases has
`HELD_OUT_VOICE`, which `random_voice` never draws; the other pairs have voices that `random_voice` draws from the same
seeds. Real speech: LibriVox recordings, which no training uses.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from latentsync import speakers
from latentsync.config import SPEAKER_GENDERS
from latentsync.constants import SAMPLES_PER_FRAME, SOUND_RATE_HZ
from latentsync.media.sound import FULL_SCALE, write_wav
from latentsync.speakers.clip import render_clip, write_clip
from latentsync.speakers.identity import random_identity
from latentsync.speakers.painter import random_framing
from latentsync.speakers.real_speech import align_recording, find_recordings
from latentsync.speakers.sentences import HELD_OUT_SENTENCES
from latentsync.speakers.voice import HELD_OUT_VOICE, Phone, Speech, Voice, random_voice, speak
from latentsync.verbosity import bars_off
from latentsync.workers import Workers

FIRST_SEED = 2**32  # larger than any seed of a training
OTHER_TAKE = 1_000_000  # added to a person's seed for the motion of a second clip
SIZE_PX = 256  # side of the frames, for crops of 128 px
LIVELINESS = 1.0  # as in training
CRF = 10  # as for training's crops
MOST_PIECE_S = 4.0  # longest piece of a real recording
SILENCE_DBFS = -60.0  # level of a quiet room; the pipeline refuses digital silence
SENTENCE_SEED, NOISE_SEED = 71, 72


@dataclass(frozen=True)
class HeldOutClip:
    """A rendered clip: NAME.mp4, its sound NAME.wav and its truth NAME.json."""

    video: Path

    @property
    def sound(self) -> Path:
        return self.video.with_suffix(".wav")

    @cached_property
    def gaps(self) -> Float[np.ndarray, " f"]:
        """The distance between the drawn lips in each frame, in units of the face."""
        facts = json.loads(self.video.with_suffix(".json").read_text(encoding="utf-8"))
        gap, scale = (facts["columns"].index(name) for name in ("lip_gap_px", "scale"))
        return np.array([row[gap] / row[scale] for row in facts["truth"]])


@dataclass(frozen=True)
class Case:
    """A person to dub.

    Attributes:
        voice_kind: "held out", "random" or "real".
        clip: the input clip of the pipeline: the person says another sentence.
        wanted: the same person, drawn saying the sentence of the voice; its sound is the voice.
    """

    name: str
    gender: str
    voice_kind: str
    clip: HeldOutClip
    wanted: HeldOutClip


@dataclass(frozen=True)
class _Take:
    """A clip to render, with everything that a worker process needs."""

    target: Path
    seed: int
    gender: str
    motion_seed: int
    sentence: str
    voice: Voice | None
    speech: Speech
    size_px: int


class Material:
    """The held-out clips of an evaluation. Each version of the painter has its own folder.

    Args:
        folder: the folder of the clips.
        count: number of cases with synthetic voices. They alternate: held-out voice (woman, man), then random voice
            (woman, man).
        seconds: shortest and longest length of a sentence, if such a sentence exists.
        real_count: largest number of cases with real recordings; None takes all.
        workers: number of processes that render.
        size_px: side of the frames.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        seconds: tuple[float, float] = (2.8, 4.2),
        real_count: int | None = None,
        workers: int = 1,
        size_px: int = SIZE_PX,
    ) -> None:
        self.folder = folder / f"clips-{version_of(count, seconds, size_px)}"
        self.size_px = size_px
        self.count, self.seconds, self.real_count, self.workers = count, seconds, real_count, workers

    @cached_property
    def cases(self) -> list[Case]:
        """The cases with synthetic voices.

        Raises:
            MediaError: a synthesiser is not installed.
        """
        takes, cases = [], []
        for number in range(self.count):
            seed, gender = FIRST_SEED + number, SPEAKER_GENDERS[number % len(SPEAKER_GENDERS)]
            kind = "random" if number // len(SPEAKER_GENDERS) % 2 else "held out"
            voice = random_voice(seed, gender) if kind == "random" else HELD_OUT_VOICE
            name = f"{gender[0]}-{number:02d}-{voice.name.replace('+', '-')}"
            said = _sentences(voice, seed, self.seconds)
            pair = [
                _Take(
                    self.folder / f"{name}-{part}.mp4",
                    seed,
                    gender,
                    seed + take * OTHER_TAKE,
                    sentence,
                    voice,
                    spoken,
                    self.size_px,
                )
                for take, (part, (sentence, spoken)) in enumerate(zip(("shown", "wanted"), said, strict=True))
            ]
            takes += pair
            cases.append(Case(name, gender, kind, *(HeldOutClip(take.target) for take in pair)))
        self._render(takes)
        return cases

    @cached_property
    def real_cases(self) -> list[Case]:
        """The cases with pieces of real recordings, each spoken by a woman and a man of `cases`.

        Raises:
            MediaError: the recordings or the aligner are not installed.
        """
        takes, cases = [], []
        said = (spoken for spoken in _spoken_pieces() for _ in SPEAKER_GENDERS)
        for number, (transcript, piece) in enumerate(islice(said, self.real_count)):
            dubbed = self.cases[number % self.count]
            target = self.folder / f"{dubbed.gender[0]}-{number:02d}-real-{number // 2}-wanted.mp4"
            seed = FIRST_SEED + number % self.count
            motion_seed = seed + 2 * OTHER_TAKE
            takes.append(_Take(target, seed, dubbed.gender, motion_seed, transcript, None, piece, self.size_px))
            cases.append(
                Case(target.stem.removesuffix("-wanted"), dubbed.gender, "real", dubbed.clip, HeldOutClip(target))
            )
        self._render(takes)
        return cases

    def silence(self, samples: int) -> Path:
        """A file with the sound of a quiet room, with this number of samples."""
        target = self.folder / f"silence-{samples}.wav"
        if not target.is_file():
            noise = np.random.default_rng(NOISE_SEED).normal(0, FULL_SCALE * 10 ** (SILENCE_DBFS / 20), samples)
            write_wav(target, np.round(noise).astype(np.int16))
        return target

    def _render(self, takes: Sequence[_Take]) -> None:
        missing = [take for take in takes if not take.target.is_file()]
        bar = {"total": len(missing), "unit": "clip", "desc": "held-out clips", "disable": bars_off()}
        if self.workers == 1 or len(missing) < 4:
            for take in tqdm(missing, **bar):
                _make(take)
            return
        with Workers(self.workers, cv2.setNumThreads, (1,)) as pool:
            for _ in tqdm(pool.map(_make, missing), **bar):
                pass


def version_of(count: int, seconds: tuple[float, float], size_px: int = SIZE_PX) -> str:
    """A hash of the request and of all code that draws and speaks. After a change, clips go to another folder."""
    sources = [*sorted(Path(speakers.__file__).parent.glob("*.py")), Path(__file__)]
    parts = [source.read_bytes() for source in sources] + [repr((count, seconds, size_px)).encode()]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:8]


def _make(take: _Take) -> None:
    identity = random_identity(take.seed, take.gender)
    clip = render_clip(
        identity,
        take.sentence,
        take.voice,
        take.motion_seed,
        take.size_px,
        view_mm=random_framing(take.seed),
        liveliness=LIVELINESS,
        speech=take.speech,
    )
    write_clip(clip, take.target, CRF)


def _sentences(voice: Voice, seed: int, seconds: tuple[float, float]) -> list[tuple[str, Speech]]:
    """Two held-out sentences, drawn with the seed: of a fitting length in this voice, else of the nearest length."""
    least, most = seconds
    others, chosen = [], []
    for index in np.random.default_rng([seed, SENTENCE_SEED]).permutation(len(HELD_OUT_SENTENCES)):
        sentence = HELD_OUT_SENTENCES[index]
        speech = speak(sentence, voice)
        is_fitting = least <= speech.duration_s <= most
        (chosen if is_fitting else others).append((sentence, speech))
        if len(chosen) == 2:
            return chosen
    others.sort(key=lambda said: max(least - said[1].duration_s, said[1].duration_s - most))
    return (chosen + others)[:2]


def _spoken_pieces() -> Iterator[tuple[str, Speech]]:
    """The pieces of the real recordings: the words of the whole recording, and the speech of the piece."""
    for recording in find_recordings():
        for piece in pieces_of(align_recording(recording.wav, recording.transcript)):
            yield recording.transcript, piece


def pieces_of(speech: Speech, most_s: float = MOST_PIECE_S) -> list[Speech]:
    """A speech in the smallest number of equal pieces of at most `most_s` seconds; each begins at a video frame."""
    number = max(1, int(np.ceil(speech.duration_s / most_s)))
    edges = [round(i * len(speech.sound) / number / SAMPLES_PER_FRAME) * SAMPLES_PER_FRAME for i in range(number)]
    return [_piece(speech, *ends) for ends in zip(edges, [*edges[1:], len(speech.sound)], strict=True)]


def _piece(speech: Speech, start: int, stop: int) -> Speech:
    start_s, stop_s = start / SOUND_RATE_HZ, stop / SOUND_RATE_HZ
    inside = [phone for phone in speech.phones if phone.end_s > start_s and phone.start_s < stop_s]
    moved = (Phone(p.name, max(p.start_s, start_s) - start_s, min(p.end_s, stop_s) - start_s) for p in inside)
    return Speech(speech.sound[start:stop], tuple(moved))
