"""espeak-ng as a synthesiser: its library gives samples and the phonemes that they hold. Standard library alone.

The library (https://github.com/espeak-ng/espeak-ng, speak_lib.h) is called in a process of its own for each sentence:
what it says depends on what it said before (noise and flutter run on), while a fresh process always says the same.
This file run as a program, `python espeak.py VOICE PITCH RATE_WPM < sentence`, is that process. It prints the rate in
Hz, one `sample mnemonic` for the start of each phoneme, an empty line, and the samples (16 bit, mono).
"""

import ctypes
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise

LIBRARY = "libespeak-ng.so.1"
NOT_INSTALLED = 3  # exit status where the library is missing
PAUSE = "pau"

# Accents by espeak-ng's names of their files. In an accent that is not rhotic an r after a vowel is not spoken.
ACCENTS = {"en-us": "en-us", "en-gb": "gmw/en", "en-gb-rp": "en-gb-x-rp", "en-gb-scotland": "en-gb-scotland"}
RHOTIC = ("en-us", "en-gb-scotland")
# Variants of every accent and their median fundamental frequency in Hz, measured on "We were away a year ago, and you
# may follow the long river home." at espeak-ng 1.51's middle pitch.
MALE_VARIANTS = {
    "m1": 92, "m2": 99, "m3": 105, "m4": 93, "m5": 102, "m6": 99, "m7": 106, "m8": 84, "Andy": 94, "Denis": 98,
    "Lee": 94, "Michael": 108, "Hugo": 108, "benjamin": 102, "john": 99, "max": 101, "michel": 104, "pablo": 109,
    "paul": 87, "robert": 102, "victor": 95,
}  # fmt: skip
FEMALE_VARIANTS = {
    "f1": 177, "f2": 193, "f3": 210, "f4": 176, "f5": 202, "Annie": 232, "Alicia": 248, "belinda": 227, "linda": 227,
    "shelby": 178, "steph": 184, "aunty": 174, "grandma": 197,
}  # fmt: skip
# Variants with an echo: its delay in ms, and its amplitude / 256. It is taken off again: rooms are recording.py's.
ECHO = {"m2": (130, 15), "pablo": (30, 30), "f2": (140, 10), "f3": (120, 10), "f4": (130, 15), "f5": (140, 10),
        "Alicia": (40, 50)}  # fmt: skip
OWN_PITCH_HZ = 99.0  # of an accent without a variant
PITCH_RANGE, RATE_RANGE_WPM = (0, 99), (80, 450)
CLOSURE_S = 0.07  # of a stop that begins after a pause
VOWEL_START_S = 0.018  # median over three voices, against PocketSphinx's alignment of the same sounds
SILENT = 128  # of 32767: pauses are zeros but for a trace of an echo; the softest phones have peaks of over 300

# espeak-ng's mnemonics (docs/phonemes.md, phsource/ph_english*) as ARPAbet. Several phones share the time equally; none
# lets the phone before go on. A trailing r is left out in accents that are not rhotic.
_PHONES = {
    "a": "ae", "aa": "ae", "a#": "ax", "A": "aa", "A:": "aa", "A~": "aa", "A@": "aa r", "E": "eh", "E2": "eh",
    "E#": "eh", "e": "eh", "e:": "ey", "e@": "eh r", "I": "ih", "I2": "ih", "I#": "ih", "i": "iy", "i:": "iy",
    "i@": "ih r", "i@3": "ih er", "IR": "er", "VR": "er", "0": "aa", "0#": "aa", "02": "aa", "O": "ao", "O2": "ao",
    "O:": "ao", "O@": "ao r", "o@": "ao r", "o": "ow", "o:": "ow", "V": "ah", "V2": "ah", "U": "uh", "U@": "uh r",
    "u": "uw", "u:": "uw", "3": "er", "3:": "er", "@": "ax", "@-": "ax", "@2": "ax", "@5": "ax", "@L": "ax l",
    "@r": "er", "aI": "ay", "aI2": "ay", "aI@": "ay ax", "aI3": "ay er", "aU": "aw", "aU@": "aw ax", "eI": "ey",
    "oU": "ow", "OI": "oy",
    "p": "p", "b": "b", "t": "t", "t#": "t", "t2": "t", "t[": "th", "d": "d", "d#": "d", "d[": "dh", "k": "k",
    "g": "g", "?": "", ";": "", "tS": "ch", "dZ": "jh", "m": "m", "n": "n", "n-": "n", "N": "ng", "f": "f", "v": "v",
    "T": "th", "D": "dh", "s": "s", "z": "z", "S": "sh", "Z": "zh", "h": "hh", "x": "k", "C": "hh", "l": "l",
    "l#": "l", "l-": "l", "L": "l", "r": "r", "r-": "r", "R": "r", "w": "w", "w#": "w", "j": "y",
}  # fmt: skip
_BRITISH = {"aa": ("aa",), "0": ("ao",), "3": ("ax",), "e@": ("eh", "ax"), "i@": ("ih", "ax"), "U@": ("uh", "ax"),
            "i@3": ("ih", "ax"), "aI3": ("ay", "ax")}  # fmt: skip

_VOWELS = "aAeEiIoOuUV03@"
_SONORANTS = ("m", "n", "n-", "N", "l", "l#", "l-", "L", "r", "r-", "R", "w", "w#", "j")
_STOPS = ("p", "b", "t", "t#", "t2", "d", "d#", "k", "g", "tS", "dZ")


def phones_of(mnemonic: str, accent: str = "en-us") -> tuple[str, ...]:
    """ARPAbet phones of a mnemonic. An unknown mnemonic counts as the longest known start of it, else as a schwa."""
    if mnemonic.startswith("_") or not mnemonic:
        return (PAUSE,)
    is_rhotic = accent in RHOTIC
    for length in range(len(mnemonic), 0, -1):
        part = mnemonic[:length]
        if accent != "en-us" and part == "0":
            return _BRITISH["0"]
        if not is_rhotic and part in _BRITISH:
            return _BRITISH[part]
        if part in _PHONES:
            phones = tuple(_PHONES[part].split())
            return phones[:-1] if not is_rhotic and len(phones) > 1 and phones[-1] == "r" else phones
    return ("ax",)


def split_name(name: str) -> tuple[str, str]:
    """Accent and variant ("" for none) of a voice's name such as "en-us+f3"."""
    accent, _, variant = name.partition("+")
    return accent, variant


def is_known(name: str) -> bool:
    """Whether `name` is an accent, alone or with a variant."""
    accent, variant = split_name(name)
    is_variant = variant in MALE_VARIANTS or variant in FEMALE_VARIANTS
    return accent in ACCENTS and (is_variant or name == accent)


def own_pitch_hz(name: str) -> float:
    """The voice's fundamental frequency at the middle pitch."""
    return float((MALE_VARIANTS | FEMALE_VARIANTS).get(split_name(name)[1], OWN_PITCH_HZ))


def file_name(name: str) -> str:
    """What the library calls the voice."""
    accent, variant = split_name(name)
    return f"{ACCENTS[accent]}+{variant}" if variant else ACCENTS[accent]


def parse_output(output: bytes) -> tuple[int, list[tuple[int, str]], bytes]:
    """The program's output: rate in Hz, (first sample, mnemonic) of each phoneme, samples.

    Raises:
        ValueError: it is no such output.
    """
    head, _, samples = output.partition(b"\n\n")
    rate, *lines = head.decode().splitlines()
    pairs = (line.split(" ", 1) for line in lines)
    return int(rate), [(int(sample), mnemonic) for sample, mnemonic in pairs], samples


def corrected(events: Sequence[tuple[int, str]], samples: Sequence[int], rate_hz: int) -> list[tuple[int, str]]:
    """(first sample, mnemonic) from the library's events, which come late in two cases (synthesize.c, Generate).

    A pause before a phoneme is counted to the phoneme before it: a closure is thus said to be part of the vowel that it
    ends. Here silence belongs to what follows, after a pause CLOSURE_S of it to a stop. And a vowel's event comes after
    the start of the vowel where a nasal or an approximant precedes: there it is put back by VOWEL_START_S.
    """
    phonemes: list[tuple[int, str]] = []
    for index, (start, mnemonic) in enumerate(events):
        lowest, before = phonemes[-1] if phonemes else (0, "_")
        is_pause = before.startswith("_")
        if mnemonic[:1] in _VOWELS and before in _SONORANTS:
            start = max(start - round(VOWEL_START_S * rate_hz), (lowest + start) // 2)
        elif index and (not is_pause or mnemonic in _STOPS):
            earliest = max(start - round(CLOSURE_S * rate_hz), lowest) if is_pause else lowest + (start - lowest) // 3
            start = min(start, len(samples))
            while start > earliest and abs(samples[start - 1]) <= SILENT:
                start -= 1
        phonemes.append((start, mnemonic))
    return phonemes


def tile(events: Iterable[tuple[int, str]], total: int, accent: str) -> list[tuple[str, float, float]]:
    """(phone, first sample, end) from the starts of phonemes; they tile 0..total, neighbouring pauses as one."""
    starts = [*events, (total, "_")]
    tiled: list[tuple[str, float, float]] = []
    begin = 0.0  # sound before the first phoneme is counted to it
    for (_, mnemonic), (following, _) in pairwise(starts):
        end = float(min(following, total))
        phones = phones_of(mnemonic, accent)
        if end <= begin:
            continue
        if tiled and (not phones or phones[0] == tiled[-1][0] == PAUSE):
            tiled[-1] = (tiled[-1][0], tiled[-1][1], end)
        else:
            phones = phones or (PAUSE,)
            edges = [begin + (end - begin) * part / len(phones) for part in range(len(phones) + 1)]
            tiled += zip(phones, edges[:-1], edges[1:], strict=True)
        begin = end
    return tiled or [(PAUSE, 0.0, float(total))]


# --- the process


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("mnemonic", ctypes.c_char * 8),
    )


_LIST_END, _PHONEME = 0, 7  # espeak_EVENT_TYPE
_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples come through the callback before the call returns
_PHONEME_EVENTS, _DONT_EXIT = 0x0001, 0x8000
_RATE, _PITCH = 1, 3  # espeak_PARAMETER
_UTF8 = 1


def synthesise(voice: str, pitch: int, rate_wpm: int, text: str) -> bytes:
    """What `parse_output` reads. Once per process: see above.

    Raises:
        OSError: the library is not installed.
        ValueError: it refuses to start, or the voice.
    """
    library = ctypes.CDLL(LIBRARY)
    rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS | _DONT_EXIT)
    if rate_hz <= 0:
        raise ValueError("espeak-ng does not find its data; install it with `apt-get install espeak-ng`")
    sound: list[bytes] = []
    lines: list[str] = [str(rate_hz)]

    def receive(samples: int | None, count: int, events: "ctypes._Pointer[_Event]") -> int:
        if samples and count > 0:
            sound.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while events[index].type != _LIST_END:
            if events[index].type == _PHONEME:
                lines.append(f"{events[index].sample} {events[index].mnemonic.decode()}")
            index += 1
        return 0

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))(receive)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ValueError(f"espeak-ng has no voice {voice}; version 1.51 or later has it")
    library.espeak_SetParameter(_RATE, rate_wpm, 0)
    library.espeak_SetParameter(_PITCH, pitch, 0)
    data = text.encode()
    library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 1, 0, _UTF8, None, None)
    return "\n".join(lines).encode() + b"\n\n" + b"".join(sound)


def main(arguments: list[str]) -> int:
    voice, pitch, rate_wpm = arguments
    try:
        output = synthesise(voice, int(pitch), int(rate_wpm), sys.stdin.buffer.read().decode())
    except OSError as error:
        print(error, file=sys.stderr)
        return NOT_INSTALLED
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
