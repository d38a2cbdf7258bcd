"""A room, a microphone and a line: what happens to speech before it is a file. Knows nothing of what is said."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from latentsync.arrays import Samples
from latentsync.constants import SOUND_RATE_HZ
from latentsync.errors import OptionError
from latentsync.media.sound import FULL_SCALE

EQ_HZ = (80.0, 200.0, 500.0, 1000.0, 2000.0, 3500.0, 5500.0, 8000.0)  # where `eq_db` gives the gain
NOISES = ("white", "pink", "hum")
PASSBANDS_HZ = {"telephone": (300.0, 3400.0), "coded": (0.0, 7000.0)}
STOP_DB = -60.0
CLEAN_SHARE = 0.35

Sound = Float[np.ndarray, "n"]


@dataclass(frozen=True)
class Recording:
    """How a sound is recorded; the default leaves it as it is.

    Attributes:
        seed: of the room's echoes and the noise.
        eq_db: gain at EQ_HZ, or () for none.
        rt60_s: time in which the room's echo falls by 60 dB, or None for no room.
        echo_db: energy of the echo against the direct sound's.
        noise, snr_db: kind of background (see NOISES) and the speech's level above it, or None for silence.
        level_db: level (RMS) of the whole against full scale, lower where peaks would clip; None keeps it.
        line: "telephone", "coded" (see PASSBANDS_HZ), or None for the full band.
    """

    seed: int = 0
    eq_db: tuple[float, ...] = ()
    rt60_s: float | None = None
    echo_db: float = -12.0
    noise: str | None = None
    snr_db: float = 30.0
    level_db: float | None = None
    line: str | None = None

    def __post_init__(self) -> None:
        if len(self.eq_db) not in (0, len(EQ_HZ)):
            raise OptionError(f"eq_db holds {len(self.eq_db)} gains; give {len(EQ_HZ)}, one for each of EQ_HZ, or none")
        if self.rt60_s is not None and not 0 < self.rt60_s <= 3:
            raise OptionError(f"rt60_s is {self.rt60_s}; it must lie between 0 and 3")
        for name, value, known in (("noise", self.noise, NOISES), ("line", self.line, tuple(PASSBANDS_HZ))):
            if value is not None and value not in known:
                raise OptionError(f"{name} {value!r} of the recording is unknown; choose one of {', '.join(known)}")

    def apply(self, sound: Samples) -> Samples:
        """The recorded sound: 16 kHz mono 16 bit, as long as the given one and nowhere delayed."""
        if self == Recording(seed=self.seed) or not np.any(sound):
            return sound
        wave = sound.astype(np.float64) / FULL_SCALE
        if self.rt60_s is not None:
            wave = _with_echo(wave, self.rt60_s, self.echo_db, np.random.default_rng([self.seed, 61]))
        if self.noise is not None:
            background = _background(self.noise, len(wave), np.random.default_rng([self.seed, 62]))
            wave = wave + background * _rms(wave) * 10 ** (-self.snr_db / 20)
        if self.eq_db or self.line:
            wave = _with_gain(wave, self.eq_db, self.line)
        gain = 1.0 if self.level_db is None else 10 ** (self.level_db / 20) / max(_rms(wave), 1e-9)
        wave = wave * min(gain, 0.99 / np.abs(wave).max())
        return np.round(wave * (FULL_SCALE - 1)).astype(np.int16)


CLEAN = Recording()


def random_recording(seed: int) -> Recording:
    """A recording, clean in about a third of cases; the same seed gives the same recording."""
    draw = np.random.default_rng([seed, 63])
    if draw.random() < CLEAN_SHARE:
        return CLEAN
    has_eq, has_room, has_noise, has_line = draw.random(4) < (0.8, 0.6, 0.7, 0.2)
    return Recording(
        seed=seed,
        eq_db=tuple(np.round(draw.uniform(-8, 8, len(EQ_HZ)), 1).tolist()) if has_eq else (),
        rt60_s=round(float(draw.uniform(0.1, 0.5)), 3) if has_room else None,
        echo_db=round(float(draw.uniform(-20, -4)), 1),
        noise=str(draw.choice(NOISES)) if has_noise else None,
        snr_db=round(float(draw.uniform(15, 45)), 1),
        level_db=round(float(draw.uniform(-30, -14)), 1),
        line=str(draw.choice(list(PASSBANDS_HZ))) if has_line else None,
    )


def _rms(wave: Sound) -> float:
    return float(np.sqrt(np.mean(wave**2)))


def _convolve(wave: Sound, kernel: Sound) -> Sound:
    """Full convolution through the Fourier transform, len(wave) + len(kernel) - 1 long."""
    length = len(wave) + len(kernel) - 1
    size = 1 << (length - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(kernel, size), size)[:length]


def _with_echo(wave: Sound, rt60_s: float, echo_db: float, draw: np.random.Generator) -> Sound:
    """The direct sound at once, then noise that decays by 60 dB in `rt60_s` (after Moorer, "About this reverberation
    business", Computer Music Journal, 1979), beginning 2 ms later."""
    times = np.arange(int(rt60_s * SOUND_RATE_HZ)) / SOUND_RATE_HZ
    echo = draw.standard_normal(len(times)) * 10 ** (-3 * times / rt60_s)
    echo[: int(0.002 * SOUND_RATE_HZ)] = 0
    echo *= 10 ** (echo_db / 20) / np.sqrt((echo**2).sum())
    echo[0] = 1.0
    return _convolve(wave, echo)[: len(wave)]


def _background(kind: str, count: int, draw: np.random.Generator) -> Sound:
    """Noise of RMS 1: white, pink (power falls as 1/f), or mains hum with its harmonics over a little pink noise."""
    spectrum = np.fft.rfft(draw.standard_normal(count))
    if kind != "white":
        spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(count, 1 / SOUND_RATE_HZ), 20.0))
    noise = np.fft.irfft(spectrum, count) if count > 1 else np.ones(count)
    noise /= max(_rms(noise), 1e-12)
    if kind == "hum":
        times, mains_hz = np.arange(count) / SOUND_RATE_HZ, float(draw.choice([50.0, 60.0]))
        harmonics = np.arange(1, 9)
        weights, phases = draw.uniform(0.2, 1, 8) / harmonics, draw.uniform(0, 2 * np.pi, 8)
        hum = weights @ np.sin(2 * np.pi * mains_hz * harmonics[:, None] * times + phases[:, None])
        noise = hum / _rms(hum) + 0.3 * noise
    return noise / max(_rms(noise), 1e-12)


def _with_gain(wave: Sound, eq_db: tuple[float, ...], line: str | None) -> Sound:
    """A filter of zero phase whose gain runs smoothly through `eq_db`, and falls off outside the line's passband."""
    taps = 512
    frequencies = np.fft.rfftfreq(taps, 1 / SOUND_RATE_HZ)
    gain_db = np.interp(np.log(np.maximum(frequencies, 20)), np.log(EQ_HZ), eq_db) if eq_db else 0 * frequencies
    if line is not None:
        low, high = PASSBANDS_HZ[line]
        gain_db = np.where((frequencies < low) | (frequencies > high), STOP_DB, gain_db)
    kernel = np.roll(np.fft.irfft(10 ** (gain_db / 20)), taps // 2) * np.hanning(taps + 1)[:taps]
    return _convolve(wave, kernel)[taps // 2 :][: len(wave)]
