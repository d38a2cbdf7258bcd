"""A sentence becomes speech: a waveform and the times of its phones. Knows nothing of faces.

There are two synthesisers. flite (Carnegie Mellon University, github.com/festvox/flite) is called as a program. Its
option `-psdur` prints one `phone:end_time_s` for each phone of the US English set, silence being `pau`. The other is
espeak-ng (see espeak.py), whose phonemes are mapped to the same set.
"""

import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from latentsync.arrays import Samples
from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import MediaError, OptionError
from latentsync.media.sound import read_wav, resampled
from latentsync.speakers import espeak

ENGINES = ("flite", "espeak")
FEMALE_VOICES = ("slt",)  # of flite
MALE_VOICES = ("rms", "awb", "kal16")
ESPEAK_RATE_WPM = 165  # at stretch 1
SILENCE = "pau"
TIMEOUT_S = 60
PITCH_RANGE_HZ = (60.0, 350.0)
STRETCH_RANGE = (0.5, 2.0)
TRACT_RANGE = (0.85, 1.15)


@dataclass(frozen=True)
class Voice:
    """A synthesiser's speaker, varied.

    Attributes:
        name: the speaker. flite's slt is a woman; rms, awb and kal16 are men. espeak's are an accent, alone or with a
            variant (f: women, m: men), such as "en-us", "en-gb+f3" or "en-gb-scotland+Andy"; see espeak.py.
        pitch_hz: mean of the fundamental frequency; None keeps the speaker's own. espeak reaches half to twice its own.
        stretch: durations relative to the speaker's own, 1.2 speaks slower.
        tract: length of the vocal tract relative to the speaker's own; 1.08 sounds larger, 0.92 smaller.
        engine: "flite" or "espeak".
    """

    name: str = "slt"
    pitch_hz: float | None = None
    stretch: float = 1.0
    tract: float = 1.0
    engine: str = "flite"

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise OptionError(f"engine {self.engine!r} of the voice is unknown; choose one of {', '.join(ENGINES)}")
        if self.engine == "flite" and self.name not in FEMALE_VOICES + MALE_VOICES:
            known = ", ".join(FEMALE_VOICES + MALE_VOICES)
            raise OptionError(f"voice {self.name!r} is unknown; choose one of {known}")
        if self.engine == "espeak" and not espeak.is_known(self.name):
            accents, variants = ", ".join(espeak.ACCENTS), ", ".join(espeak.FEMALE_VARIANTS | espeak.MALE_VARIANTS)
            raise OptionError(f"voice {self.name!r} is unknown; choose {accents}, alone or with one of +{variants}")
        _check_range("stretch", self.stretch, STRETCH_RANGE)
        _check_range("tract", self.tract, TRACT_RANGE)
        if self.pitch_hz is not None:
            _check_range("pitch_hz", self.pitch_hz, PITCH_RANGE_HZ)


def _check_range(name: str, value: float, bounds: tuple[float, float]) -> None:
    if not bounds[0] <= value <= bounds[1]:
        raise OptionError(f"{name} of the voice is {value}; it must lie between {bounds[0]} and {bounds[1]}")


HELD_OUT_VOICE = Voice("awb")  # never drawn by `random_voice`: a voice to test with


@dataclass(frozen=True)
class Phone:
    """A phone of the US English set (`pau` is silence) and when it sounds."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Speech:
    """Speech at 16 kHz; the phones tile it from 0 to its end without gaps."""

    sound: Samples
    phones: tuple[Phone, ...]

    @property
    def duration_s(self) -> float:
        return len(self.sound) / SOUND_RATE_HZ


def random_voice(seed: int, gender: str) -> Voice:
    """A voice of `gender` ("female" or "male"), of either engine; the same seed gives the same voice.

    What is drawn does not depend on what is installed: `speak` says which synthesiser is missing.
    """
    generator = np.random.default_rng([seed, 11])
    is_female = gender == "female"
    engine = str(generator.choice(ENGINES))
    if engine == "flite":
        own = FEMALE_VOICES if is_female else MALE_VOICES
        name = str(generator.choice([name for name in own if name != HELD_OUT_VOICE.name]))
    else:
        variants = espeak.FEMALE_VARIANTS if is_female else espeak.MALE_VARIANTS
        name = f"{generator.choice(list(espeak.ACCENTS))}+{generator.choice(list(variants))}"
    return Voice(
        name=name,
        pitch_hz=round(float(generator.uniform(*((160, 260) if is_female else (85, 160)))), 1),
        stretch=round(float(generator.uniform(0.85, 1.25)), 3),
        tract=round(float(generator.uniform(0.9, 1.1)), 3),
        engine=engine,
    )


def speak(sentence: str, voice: Voice) -> Speech:
    """Synthesise `sentence`; MediaError where the synthesiser is missing, fails, or has nothing to say."""
    if not any(character.isalnum() for character in sentence):
        raise MediaError(f"the sentence {sentence!r} has no letter or digit to speak; give at least one word")
    if voice.engine == "espeak":
        speech = _speak_espeak(sentence, voice)
    else:
        printed, sound, rate_hz = _run_flite(sentence, voice)
        # A longer tract lowers formants and pitch alike: the sound was made faster and higher, and is played slower.
        sound = resample(sound, round(rate_hz / voice.tract), SOUND_RATE_HZ)
        speech = Speech(sound, parse_phones(printed, voice.tract, len(sound) / SOUND_RATE_HZ) if len(sound) else ())
    if len(speech.sound) == 0:
        raise MediaError(f"{voice.engine} made no sound of the sentence {sentence!r}; give at least one English word")
    return speech


def joined(speeches: Sequence[Speech], rests_s: Sequence[float]) -> Speech:
    """Speeches one after the other, with a rest of digital silence before the first, between two, and after the last.

    Args:
        rests_s: length of each rest in seconds, one more than speeches; 0 leaves it out.
    """
    sounds, phones, samples = [], [], 0
    for speech, rest_s in zip([*speeches, None], rests_s, strict=True):
        rest = np.zeros(round(rest_s * SOUND_RATE_HZ), np.int16)
        if len(rest):
            phones.append(Phone(SILENCE, samples / SOUND_RATE_HZ, (samples + len(rest)) / SOUND_RATE_HZ))
            sounds.append(rest)
            samples += len(rest)
        if speech is not None:
            start_s = samples / SOUND_RATE_HZ
            phones += [Phone(p.name, p.start_s + start_s, p.end_s + start_s) for p in speech.phones]
            sounds.append(speech.sound)
            samples += len(speech.sound)
    return Speech(np.concatenate(sounds), tuple(phones))


def _speak_espeak(sentence: str, voice: Voice) -> Speech:
    rate_hz, events, samples = _run_espeak(sentence, voice)
    accent, variant = espeak.split_name(voice.name)
    played = _without_echo(np.frombuffer(samples, "<i2").astype(np.int16), rate_hz, *espeak.ECHO.get(variant, (0, 0)))
    sound = resample(played, round(rate_hz / voice.tract), SOUND_RATE_HZ)
    per_sample = len(sound) / SOUND_RATE_HZ / max(len(played), 1)
    tiled = espeak.tile(espeak.corrected(events, played.tolist(), rate_hz), len(played), accent)
    return Speech(sound, tuple(Phone(name, start * per_sample, end * per_sample) for name, start, end in tiled))


def _without_echo(sound: Samples, rate_hz: int, delay_ms: int, amplitude: int) -> Samples:
    """Undo espeak-ng's echo, y[n] = x[n] + (y[n - d] * amplitude >> 8), exactly but where it clipped (wavegen.c)."""
    delay = delay_ms * rate_hz // 1000
    if not amplitude or len(sound) <= delay:
        return sound
    dry = sound.astype(np.int32)
    dry[delay:] -= (dry[:-delay] * amplitude) >> 8
    return np.clip(dry, -32768, 32767).astype(np.int16)


def _run_espeak(sentence: str, voice: Voice) -> tuple[int, list[tuple[int, str]], bytes]:
    """Rate in Hz, phonemes and samples; as with flite, a longer tract is made faster and higher."""
    pitch = 50.0
    if voice.pitch_hz is not None:  # the library's pitch p multiplies the own pitch by 2 ** ((p - 50) / 50)
        pitch += 50 * math.log2(voice.pitch_hz / espeak.own_pitch_hz(voice.name))
    pitch += 50 * math.log2(voice.tract)
    settings = (
        int(np.clip(round(pitch), *espeak.PITCH_RANGE)),
        int(np.clip(round(ESPEAK_RATE_WPM * voice.tract / voice.stretch), *espeak.RATE_RANGE_WPM)),
    )
    command = [sys.executable, "-I", "-S", espeak.__file__, espeak.file_name(voice.name), *map(str, settings)]
    done = _ended("espeak-ng", command, sentence, given=" ".join(sentence.split()).encode())
    if done.returncode == espeak.NOT_INSTALLED:
        raise MediaError(
            "the speech synthesiser espeak-ng is not installed; install it with `apt-get install espeak-ng`"
        )
    if done.returncode != 0:
        raise _failed("espeak-ng", done, sentence)
    return espeak.parse_output(done.stdout)


def _ended(
    name: str, command: list[str], sentence: str, given: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """A synthesiser's process when it has ended, however; MediaError where it takes too long."""
    try:
        return subprocess.run(  # noqa: S603 - a synthesiser, without a shell
            command, input=given, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise MediaError(f"{name} spent over {TIMEOUT_S} s on {sentence!r}; give a shorter sentence") from error


def _failed(name: str, done: subprocess.CompletedProcess[bytes], sentence: str) -> MediaError:
    reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
    return MediaError(f"{name} failed (code {done.returncode}: {reason}) on {sentence!r}; change the sentence")


def _run_flite(sentence: str, voice: Voice) -> tuple[str, Samples, int]:
    program = shutil.which("flite")
    if program is None:
        raise MediaError("the speech synthesiser flite is not installed; install it with `apt-get install flite`")
    command = [program, "-voice", voice.name, "-psdur", "--setf", f"duration_stretch={voice.stretch / voice.tract:.5f}"]
    if voice.pitch_hz is not None:
        command += ["--setf", f"int_f0_target_mean={voice.pitch_hz * voice.tract:.3f}"]
    with tempfile.TemporaryDirectory(prefix="speakers-") as folder:
        text, target = Path(folder) / "sentence.txt", Path(folder) / "speech.wav"
        # The sentence goes through a file, so that no sentence can be taken for an option.
        text.write_text(" ".join(sentence.split()) + "\n", encoding="utf-8")
        command += ["-f", str(text), "-o", str(target)]
        done = _ended("flite", command, sentence)
        if done.returncode != 0 or not target.is_file():
            raise _failed("flite", done, sentence)
        sound, rate_hz = read_wav(target)
    return done.stdout.decode(errors="replace"), sound, rate_hz


def parse_phones(printed: str, time_scale: float, duration_s: float) -> tuple[Phone, ...]:
    """flite's `name:end_s name:end_s ...` as phones that tile 0..duration_s; times are multiplied by `time_scale`.

    flite prints each utterance (about a sentence) on a line of its own, with times from the utterance's start. What the
    sound lacks of the printed times (0.12 s of each utterance of kal16) is missing at the utterances' ends.
    """
    lines = [[item.rpartition(":") for item in line.split()] for line in printed.splitlines()]
    utterances = [found for line in lines if (found := [(name, float(end)) for name, _, end in line if name])]
    lengths_s = [utterance[-1][1] * time_scale for utterance in utterances]
    missing_s = max(0.0, sum(lengths_s) - duration_s) / max(1, len(utterances))
    phones: list[Phone] = []
    start_s = utterance_s = 0.0
    for utterance, length_s in zip(utterances, lengths_s, strict=True):
        stop_s = duration_s if utterance is utterances[-1] else utterance_s + length_s - missing_s
        for name, end in utterance:
            end_s = min(utterance_s + end * time_scale, stop_s)
            if end_s > start_s:
                phones.append(Phone(name, start_s, end_s))
                start_s = end_s
        utterance_s = stop_s
    if start_s < duration_s:  # the waveform may ring on after the last phone
        phones.append(Phone(SILENCE, start_s, duration_s))
    return tuple(phones)


def resample(sound: Samples, from_hz: int, to_hz: int) -> Samples:
    """The same sound at another rate, through FFmpeg's band-limited resampler."""
    if from_hz == to_hz:
        return sound
    frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
    frame.sample_rate = from_hz
    parts = [part.to_ndarray()[0] for part in resampled(iter([frame]), "s16", "mono", to_hz)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)
