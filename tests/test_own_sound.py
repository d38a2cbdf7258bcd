"""Whether a voice is a clip's own sound, whatever was done to it; and never another sound of the same speaker."""

import av
import numpy as np
import pytest
from scipy.signal import butter, resample_poly, sosfilt

from latentsync.audio.own_sound import find_voice
from latentsync.constants import SOUND_RATE_HZ
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.media import read_sound

SOUND = read_sound(SHIPPED_DIR / "g-clara.wav", SOUND_RATE_HZ)
OTHER = read_sound(SHIPPED_DIR / "m-oskar.wav", SOUND_RATE_HZ)
NOISE = np.random.default_rng(0).standard_normal(SOUND.size).astype(np.float32)


def from_second(seconds, samples=SOUND):
    return samples[round(seconds * SOUND_RATE_HZ) :]


def encoded(samples, path, codec, bit_rate, rate_hz):
    """The sound after a lossy codec."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate_hz, bit_rate=bit_rate, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SOUND_RATE_HZ, 0
        for part in av.AudioResampler(stream.format.name, "mono", rate_hz).resample(frame):
            file.mux(stream.encode(part))
        file.mux(stream.encode())
    return read_sound(path, SOUND_RATE_HZ)


def telephone(samples):
    sos = butter(4, (300, 3400), "bandpass", fs=SOUND_RATE_HZ, output="sos")
    return sosfilt(sos, samples).astype(np.float32)


@pytest.mark.parametrize(
    ("voice", "shift_s"),
    [
        (SOUND, 0),
        (SOUND[: 2 * SOUND_RATE_HZ], 0),
        (from_second(0.6), 0.6),
        (from_second(1.234)[:SOUND_RATE_HZ], 1.234),
        (np.concatenate([np.zeros(SOUND_RATE_HZ, np.float32), SOUND]), -1),
        ((3 * from_second(0.5)).clip(-1, 1), 0.5),
        (0.01 * SOUND, 0),
        (-SOUND, 0),
        (SOUND + 0.3 * SOUND.std() * NOISE, 0),
        (SOUND + 0.5 * OTHER[: SOUND.size], 0),
        (resample_poly(resample_poly(SOUND, 1, 2), 2, 1).astype(np.float32), 0),
        (resample_poly(resample_poly(SOUND, 441, 160), 160, 441).astype(np.float32)[1:], 0),
        (telephone(SOUND), 0),
        (np.concatenate([OTHER, from_second(1)]), 1 - OTHER.size / SOUND_RATE_HZ),
    ],
    ids=[
        "whole", "its first 2 s", "its end", "a second of it", "after a second of silence", "clipped", "quiet",
        "inverted", "noisy", "mixed", "8 kHz", "44.1 kHz", "telephone", "after another voice",
    ],
)  # fmt: skip
def test_the_own_sound_is_recognised(voice, shift_s):
    found = find_voice(SOUND, voice)
    assert found is not None and found.shift_s == pytest.approx(shift_s, abs=0.004)


@pytest.mark.parametrize(
    ("name", "codec", "bit_rate", "rate_hz"),
    [("v.mp3", "libmp3lame", 24_000, 16_000), ("v.opus", "libopus", 16_000, 48_000), ("v.m4a", "aac", 32_000, 44_100)],
)
def test_the_own_sound_is_recognised_after_a_codec(tmp_path, name, codec, bit_rate, rate_hz):
    found = find_voice(SOUND, encoded(from_second(0.5), tmp_path / name, codec, bit_rate, rate_hz))
    assert found is not None and found.shift_s == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("name", ["g-clara-weather", "m-oskar", "m-oskar-weather"])
def test_another_sound_is_none(name):
    other = read_sound(SHIPPED_DIR / f"{name}.wav", SOUND_RATE_HZ)
    assert find_voice(SOUND, other) is None and find_voice(other, SOUND) is None
    assert find_voice(SOUND, other[: SOUND_RATE_HZ // 2]) is None


@pytest.mark.parametrize("voice", [0 * SOUND, SOUND[:0], SOUND[:50], NOISE], ids=["silence", "empty", "short", "noise"])
def test_silence_and_noise_are_none(voice):
    assert find_voice(SOUND, voice) is None and find_voice(voice, SOUND) is None


def test_the_share_says_how_much_of_a_voice_is_the_clips_own():
    assert find_voice(SOUND, SOUND).share == 1
    assert 0.2 < find_voice(SOUND, np.concatenate([SOUND, OTHER, OTHER])).share < 0.5


def test_a_long_sound_is_searched_in_blocks():
    long = np.concatenate([OTHER] * 8 + [SOUND] + [OTHER] * 4)
    assert find_voice(long, from_second(1)).shift_s == pytest.approx(1 + 8 * OTHER.size / SOUND_RATE_HZ, abs=0.004)
