"""Phones become mouth shapes, one per video frame. Knows nothing of pixels.

Each phone has one target shape (a diphthong two), and neighbouring targets blend by dominance functions after Cohen and
Massaro, "Modeling coarticulation in synthetic visual speech", Models and Techniques in Computer Animation, 1993. There,
the dominance of segment s over parameter p at a distance tau from its centre is

    D_sp(tau) = alpha_sp * exp(-theta * |tau| ** c)        F_p(t) = sum_s D_sp T_sp / sum_s D_sp

Here c = 1, and tau is counted from the edge of the middle third of the segment, so that long segments reach their
targets. What must not be averaged away is applied afterwards as a gate: the closure of m, b, p and the lip-to-teeth
contact of f, v hold in every frame that overlaps the middle half of their segment.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace

import numpy as np
from jaxtyping import Float

from latentsync.constants import VIDEO_RATE_HZ
from latentsync.speakers.voice import SILENCE, Phone

FPS = int(VIDEO_RATE_HZ)  # as encoders and fractions take it


@dataclass(frozen=True)
class MouthShape:
    """A mouth, each value 0..1 unless said otherwise.

    Attributes:
        opening: gap between the inner lips; 1 is a wide "aah".
        width: -1 narrow .. 1 spread, 0 at rest.
        rounding: protrusion of pursed lips.
        jaw: drop of the chin.
        press: lips pressed together and rolled in.
        tuck: lower lip drawn under the upper teeth.
        teeth: how far the upper teeth show where the gap allows.
        tongue: tongue raised behind or between the teeth.
    """

    opening: float = 0.0
    width: float = 0.0
    rounding: float = 0.0
    jaw: float = 0.0
    press: float = 0.0
    tuck: float = 0.0
    teeth: float = 0.5
    tongue: float = 0.2


# Targets after the descriptions of Jeffers and Barley, "Speechreading", 1971, tuned by eye.
#                            open  width round  jaw  press tuck teeth tongue
SHAPES: dict[str, MouthShape] = {
    "rest": MouthShape(0.00, 0.00, 0.00, 0.02, 0.10, 0.0, 0.3, 0.1),
    "bilabial": MouthShape(0.00, -0.02, 0.05, 0.10, 1.00, 0.0, 0.0, 0.0),
    "labiodental": MouthShape(0.20, 0.10, 0.00, 0.15, 0.00, 1.0, 0.9, 0.0),
    "dental": MouthShape(0.26, 0.10, 0.00, 0.22, 0.00, 0.0, 0.8, 1.0),
    "alveolar": MouthShape(0.24, 0.15, 0.00, 0.20, 0.00, 0.0, 0.8, 0.7),
    "sibilant": MouthShape(0.18, 0.30, 0.00, 0.08, 0.00, 0.0, 1.0, 0.2),
    "postalveolar": MouthShape(0.22, -0.30, 0.60, 0.10, 0.00, 0.0, 0.9, 0.2),
    "velar": MouthShape(0.30, 0.05, 0.00, 0.26, 0.00, 0.0, 0.5, 0.2),
    "r": MouthShape(0.24, -0.25, 0.50, 0.18, 0.00, 0.0, 0.4, 0.3),
    "w": MouthShape(0.20, -0.70, 1.00, 0.12, 0.00, 0.0, 0.0, 0.1),
    "oo": MouthShape(0.36, -0.65, 0.95, 0.20, 0.00, 0.0, 0.1, 0.1),
    "oh": MouthShape(0.55, -0.45, 0.75, 0.50, 0.00, 0.0, 0.2, 0.2),
    "aw": MouthShape(0.75, -0.20, 0.45, 0.75, 0.00, 0.0, 0.3, 0.2),
    "ah": MouthShape(1.00, 0.10, 0.00, 1.00, 0.00, 0.0, 0.6, 0.2),
    "uh": MouthShape(0.62, 0.05, 0.05, 0.60, 0.00, 0.0, 0.5, 0.2),
    "ae": MouthShape(0.88, 0.45, 0.00, 0.80, 0.00, 0.0, 0.9, 0.3),
    "eh": MouthShape(0.68, 0.40, 0.00, 0.58, 0.00, 0.0, 0.9, 0.3),
    "ih": MouthShape(0.46, 0.45, 0.00, 0.34, 0.00, 0.0, 0.9, 0.3),
    "ee": MouthShape(0.38, 0.85, 0.00, 0.24, 0.00, 0.0, 1.0, 0.4),
}

_PHONES = {
    "rest": "pau",
    "bilabial": "m b p",
    "labiodental": "f v",
    "dental": "th dh",
    "alveolar": "t d n l",
    "sibilant": "s z",
    "postalveolar": "sh zh ch jh",
    "velar": "k g ng hh y",
    "r": "r er axr",
    "w": "w wh",
    "oo": "uw uh",
    "aw": "ao",
    "ah": "aa",
    "uh": "ah ax",
    "ae": "ae",
    "eh": "eh",
    "ih": "ih ix",
    "ee": "iy",
}
VISEMES: dict[str, tuple[str, ...]] = {phone: (name,) for name, phones in _PHONES.items() for phone in phones.split()}
VISEMES |= {"ay": ("ah", "ih"), "aw": ("ah", "oo"), "ey": ("eh", "ee"), "ow": ("oh", "oo"), "oy": ("aw", "ih")}
_VOWELS = "aa ae ah ao aw ax ay eh er ey ih iy ow oy uh uw"
VOWELS = frozenset(_VOWELS.split())

# alpha of each parameter group: a consonant decides what its articulator does and yields in the rest.
_NAMES = tuple(field.name for field in fields(MouthShape))
_WEAK_OPENING = 0.45  # tongue consonants: the lips follow the vowels around them
_STRONG = 6.0
THETA_CONTACT = 42.0  # 1/s: lips press, or meet the teeth, for the consonant alone
THETA_LIPS = 26.0  # 1/s: lips and tongue settle within about 40 ms
THETA_JAW = 13.0  # 1/s: the jaw is heavier
THETA_ROUND = 11.0  # 1/s: rounding spreads furthest over neighbours


def viseme_of(phone: str) -> str:
    """Name of the (first) mouth shape of a phone; a phone outside the US English set counts as a velar."""
    return VISEMES.get(phone, ("velar",))[0]


def _dominance(viseme: str) -> Float[np.ndarray, " p"]:
    alpha = dict.fromkeys(_NAMES, 1.0)
    if viseme == "rest":
        alpha = dict.fromkeys(_NAMES, 0.6) | {"opening": 2.0, "jaw": 1.2}
    elif viseme == "bilabial":
        alpha |= {"opening": 3.5, "press": _STRONG, "jaw": 0.6, "width": 0.4, "rounding": 0.3}
    elif viseme == "labiodental":
        alpha |= {"opening": 3.0, "tuck": _STRONG, "jaw": 0.7, "width": 0.4, "rounding": 0.3}
    elif viseme in ("w", "oo", "oh", "postalveolar"):
        alpha |= {"rounding": 3.0, "width": 2.5}
    elif viseme in ("dental", "alveolar", "sibilant", "velar", "r"):
        alpha |= {"opening": _WEAK_OPENING, "jaw": 0.5, "width": 0.4, "rounding": 0.35, "tongue": 2.0}
        if viseme == "sibilant":
            alpha |= {"opening": 1.2, "jaw": 1.2}  # the teeth come together for s and z
    return np.array([alpha[name] for name in _NAMES])


_THETAS = {
    "press": THETA_CONTACT,
    "tuck": THETA_CONTACT,
    "jaw": THETA_JAW,
    "rounding": THETA_ROUND,
    "width": THETA_ROUND,
}
THETA = np.array([_THETAS.get(name, THETA_LIPS) for name in _NAMES])


def mouth_track(
    phones: Sequence[Phone], count: int, intensity: float | Float[np.ndarray, " f"] = 1.0, fps: int = FPS
) -> list[MouthShape]:
    """One mouth shape for each of `count` frames; frame i shows the time (i + 0.5) / fps.

    `intensity` scales opening and jaw (1 is plain speech, 0 mumbles), as one number or one per frame.
    """
    times = (np.arange(count) + 0.5) / fps
    total = np.full((count, len(_NAMES)), 1e-9)
    blended = total * np.array(astuple(SHAPES["rest"]))
    for phone in phones:
        names = VISEMES.get(phone.name, ("velar",))
        step = (phone.end_s - phone.start_s) / len(names)
        for index, name in enumerate(names):
            start_s = phone.start_s + index * step
            centre, half = start_s + step / 2, step / 6
            tau = np.maximum(np.abs(times - centre) - half, 0.0)
            weight = _dominance(name) * np.exp(-THETA * tau[:, None])
            total += weight
            blended += weight * np.array(astuple(SHAPES[name]))
    values = blended / total
    scale = np.broadcast_to(np.asarray(intensity, float), count)
    for name in ("opening", "jaw"):
        values[:, _NAMES.index(name)] *= scale
    shapes = [MouthShape(*map(float, row)) for row in np.clip(values, -1.0, 1.3)]
    return _contacts(shapes, phones, fps)


def _contacts(shapes: list[MouthShape], phones: Sequence[Phone], fps: int) -> list[MouthShape]:
    """Close m, b, p fully and put the lower lip to the teeth for f, v, in the frames that show them."""
    shapes = list(shapes)
    for phone in phones:
        viseme = viseme_of(phone.name)
        if viseme not in ("bilabial", "labiodental"):
            continue
        quarter = (phone.end_s - phone.start_s) / 4
        first, last = int((phone.start_s + quarter) * fps), int((phone.end_s - quarter) * fps)
        for index in range(max(first, 0), min(last, len(shapes) - 1) + 1):
            shape = shapes[index]
            if viseme == "bilabial":
                shapes[index] = replace(shape, opening=0.0, press=max(shape.press, 0.8), tuck=0.0)
            elif shape.press < 0.8:  # a closure in the same frame goes first
                shapes[index] = replace(shape, opening=min(shape.opening, 0.2), tuck=max(shape.tuck, 0.85))
    return shapes


def frame_phones(phones: Sequence[Phone], count: int, fps: int = FPS) -> list[str]:
    """Name of the phone that sounds at the middle of each of `count` frames."""
    ends = np.array([phone.end_s for phone in phones])
    indices = np.searchsorted(ends, (np.arange(count) + 0.5) / fps, side="right")
    return [phones[index].name if index < len(phones) else SILENCE for index in indices]
