"""Real recordings with their phones: speech that no synthesiser made, to test with. Never used in training.

The recordings are five of LibriVox (public domain, read from Jane Austen's "Sense and Sensibility") that Debian ships
for PocketSphinx's own tests. PocketSphinx (https://github.com/cmusphinx/pocketsphinx) aligns them to their words and
then to phones, by the acoustic model within its Python package.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

from latentsync.arrays import Samples
from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import MediaError
from latentsync.media.sound import read_wav
from latentsync.speakers.voice import SILENCE, Phone, Speech

FOLDER = Path("/usr/share/pocketsphinx/test/data/librivox")
FRAME_S = 0.01  # of PocketSphinx's alignments
_LINE = re.compile(r"<s>\s*(.*?)\s*</s>\s*\((.+)\)")
_NO_PHONE = ("SIL", "+NSN+", "+SPN+", "+BREATH+", "+COUGH+", "+NOISE+", "+SMACK+", "+UH+", "+UM+")


class RealRecording(NamedTuple):
    """A recording and the words that are said in it, in lower case."""

    name: str
    wav: Path
    transcript: str


def find_recordings(folder: Path = FOLDER) -> tuple[RealRecording, ...]:
    """Debian's recordings, in the order of their `fileids`; MediaError where they are not installed or not whole."""
    remedy = "install them with `apt-get install pocketsphinx-testdata`"
    try:
        names = (folder / "fileids").read_text(encoding="utf-8").split()
        lines = (folder / "transcription").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise MediaError(f"the recordings of pocketsphinx-testdata are not in {folder}; {remedy}") from error
    transcripts = {match.group(2): match.group(1) for line in lines if (match := _LINE.match(line.strip()))}
    recordings = tuple(RealRecording(name, folder / f"{name}.wav", transcripts.get(name, "")) for name in names)
    for recording in recordings:
        if not recording.transcript or not recording.wav.is_file():
            raise MediaError(f"{folder} lacks the sound or the words of {recording.name}; {remedy} again")
    return recordings


def align_recording(wav: Path, transcript: str) -> Speech:
    """A recording's sound and phones, in steps of 10 ms; silence and noises are `pau`.

    Raises:
        MediaError: PocketSphinx is not installed, the file is no 16 kHz mono 16-bit WAV, or the words do not fit it.
    """
    sound, rate_hz = read_wav(wav)
    if rate_hz != SOUND_RATE_HZ:
        raise MediaError(f"the recording {wav} has {rate_hz} Hz; it must have {SOUND_RATE_HZ}")
    words = " ".join(re.findall(r"[a-z']+", transcript.lower()))
    aligned = _align(sound, words, str(wav))
    phones: list[Phone] = []
    duration_s = len(sound) / SOUND_RATE_HZ
    for name, end_frame in aligned:
        start_s = phones[-1].end_s if phones else 0.0
        end_s = min(end_frame * FRAME_S, duration_s)
        if phones and phones[-1].name == name == SILENCE:
            phones[-1] = Phone(SILENCE, phones[-1].start_s, end_s)
        elif end_s > start_s:
            phones.append(Phone(name, start_s, end_s))
    if phones[-1].end_s < duration_s:
        tail = phones.pop() if phones[-1].name == SILENCE else Phone(SILENCE, phones[-1].end_s, duration_s)
        phones.append(Phone(SILENCE, tail.start_s, duration_s))
    return Speech(sound, tuple(phones))


def _align(sound: Samples, words: str, label: str) -> list[tuple[str, int]]:
    """(phone, end frame) in order: words are aligned first, then phones within them."""
    try:
        import pocketsphinx
    except ImportError as error:
        raise MediaError("the aligner PocketSphinx is not installed; run `pip install pocketsphinx`") from error
    # Without dithering an alignment depends on the sound alone.
    decoder = pocketsphinx.Decoder(loglevel="FATAL", logfn=os.devnull, samprate=float(SOUND_RATE_HZ), dither=False)
    try:
        decoder.set_align_text(words)
        _decode(decoder, sound)
        decoder.set_alignment()
        _decode(decoder, sound)
        alignment = decoder.get_alignment()
    except RuntimeError as error:
        raise MediaError(f"PocketSphinx cannot align {label} to {words!r} ({error}); check the words") from error
    segments = [
        (SILENCE if phone.name in _NO_PHONE else phone.name.lower(), phone.start + phone.duration)
        for word in alignment or ()
        for phone in word
    ]
    if not segments:
        raise MediaError(f"PocketSphinx finds no phone of {words!r} in {label}; check the words")
    return segments


def _decode(decoder: "pocketsphinx.Decoder", sound: Samples) -> None:  # noqa: F821
    decoder.start_utt()
    decoder.process_raw(sound.tobytes(), full_utt=True)
    decoder.end_utt()
