"""Short clips and voices, cut from the shipped ones, for tests that run the whole walk."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import scipy.io.wavfile

from latentsync.lab.options.pairs import SHIPPED_DIR


def cut(path: Path, source: Path, start_s: float, duration_s: float) -> Path:
    """Writes a piece of a voice as a wav file of the same rate."""
    rate_hz, samples = scipy.io.wavfile.read(source)
    scipy.io.wavfile.write(path, rate_hz, samples[int(start_s * rate_hz) : int((start_s + duration_s) * rate_hz)])
    return path


def clip_folder(folder: Path, seconds: float, names: Iterable[str] = ("g-clara",), start_s: float = 1.0) -> Path:
    """Fills a folder, made where it is missing, with shipped clips and a piece of each one's voice, `g-voice.wav`."""
    folder.mkdir(exist_ok=True)
    for name in names:
        shutil.copy(SHIPPED_DIR / f"{name}.mp4", folder)
        cut(folder / f"{name[:2]}voice.wav", SHIPPED_DIR / f"{name}.wav", start_s, seconds)
    return folder
