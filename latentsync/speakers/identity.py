"""Who is painted: the looks of a person who does not exist. Knows nothing of pixels.

Lengths are factors of the adult averages in `surface.py`; colours are sRGB, 0..255.
"""

from dataclasses import dataclass

import numpy as np

from latentsync.errors import OptionError

Rgb = tuple[int, int, int]
GENDERS = ("female", "male")
HAIR_STYLES = {"female": ("long", "bob", "updo", "fringe"), "male": ("short", "swept", "crop", "receding")}
BEARDS = ("none", "stubble", "moustache", "full")
CLOTHES = ("crew", "vneck", "collar")

_SKINS: tuple[Rgb, ...] = (
    (240, 208, 188), (233, 194, 170), (226, 184, 156), (214, 168, 138), (196, 146, 114), (170, 124, 98),
    (142, 101, 79), (113, 80, 64),
)  # fmt: skip
_HAIRS: tuple[Rgb, ...] = (
    (28, 22, 20), (48, 34, 27), (74, 50, 36), (104, 70, 46), (142, 98, 60), (184, 142, 92), (132, 60, 34),
)  # fmt: skip
_IRISES: tuple[Rgb, ...] = ((86, 58, 38), (112, 76, 44), (104, 104, 66), (84, 116, 136), (96, 128, 116))
_CLOTHES: tuple[Rgb, ...] = (
    (52, 74, 104), (120, 52, 60), (64, 92, 84), (74, 74, 84), (158, 142, 122), (206, 200, 190), (92, 70, 104),
    (38, 44, 54),
)  # fmt: skip
_BACKGROUNDS: tuple[Rgb, ...] = (
    (150, 160, 166), (168, 156, 140), (128, 146, 140), (146, 140, 158), (176, 170, 160), (112, 126, 144),
)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """Every look of one painted person; `seed` drives the fine texture (pores, strands, bokeh).

    Attributes:
        face_width, jaw_width, chin_length, nose_width, nose_length, eye_size, lip_fullness, mouth_width, brow_weight:
            factors of the average, 1 is average.
        brow_arch, cheek_tint, age, smile: 0..1; age draws folds, smile lifts the corners of the resting mouth.
        light: where the key light stands, -1 left .. 1 right of the picture.
    """

    gender: str
    seed: int = 0
    skin: Rgb = (226, 184, 156)
    face_width: float = 1.0
    jaw_width: float = 1.0
    chin_length: float = 1.0
    nose_width: float = 1.0
    nose_length: float = 1.0
    eye_size: float = 1.0
    iris: Rgb = (112, 76, 44)
    lashes: float = 0.5
    brow_weight: float = 1.0
    brow_arch: float = 0.4
    lips: Rgb = (178, 98, 92)
    lip_fullness: float = 1.0
    mouth_width: float = 1.0
    smile: float = 0.3
    teeth: Rgb = (232, 226, 212)
    cheek_tint: float = 0.4
    age: float = 0.2
    beard: str = "none"
    glasses: bool = False
    hair: Rgb = (74, 50, 36)
    hair_style: str = "long"
    light: float = -0.6
    background: Rgb = (150, 160, 166)
    clothes: Rgb = (52, 74, 104)
    clothes_style: str = "crew"

    def __post_init__(self) -> None:
        _check_choice("gender", self.gender, GENDERS)
        _check_choice("hair_style", self.hair_style, sum(HAIR_STYLES.values(), ()))
        _check_choice("beard", self.beard, BEARDS)
        _check_choice("clothes_style", self.clothes_style, CLOTHES)


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise OptionError(f"{name} {value!r} is unknown; choose one of {', '.join(known)}")


def random_identity(seed: int, gender: str) -> Identity:
    """A person of `gender`; the same seed gives the same person."""
    _check_choice("gender", gender, GENDERS)
    draw = np.random.default_rng([seed, 7])
    female = gender == "female"

    def factor(mean: float, deviation: float) -> float:
        return round(mean + deviation * float(np.clip(draw.standard_normal(), -1.8, 1.8)), 3)

    def pick(choices: tuple) -> object:
        return choices[int(draw.integers(len(choices)))]

    tone = int(draw.integers(len(_SKINS)))
    skin = _jitter(draw, _SKINS[tone], 6)
    hair = _HAIRS[int(draw.integers(len(_HAIRS) if tone < 3 else 5 if tone < 5 else 2))]
    iris = _IRISES[int(draw.integers(len(_IRISES) if tone < 4 else 2))]
    age = round(float(draw.uniform(0.0, 0.9)), 3)
    if age > 0.65 and draw.random() < 0.6:
        hair = (150, 148, 146) if not female else (168, 160, 150)
    return Identity(
        gender=gender,
        seed=seed,
        skin=skin,
        face_width=factor(0.98 if female else 1.02, 0.02),
        jaw_width=factor(0.95 if female else 1.04, 0.03),
        chin_length=factor(0.97 if female else 1.02, 0.02),
        nose_width=factor(0.92 if female else 1.02, 0.06) * (1.0 if tone < 5 else 1.12),
        nose_length=factor(1.0, 0.03),
        eye_size=factor(1.05 if female else 0.97, 0.03),
        iris=_jitter(draw, iris, 8),
        lashes=round(float(draw.uniform(0.6, 1.0) if female else draw.uniform(0.15, 0.35)), 3),
        brow_weight=factor(0.8 if female else 1.2, 0.12),
        brow_arch=round(float(draw.uniform(0.4, 0.9) if female else draw.uniform(0.1, 0.5)), 3),
        lips=_lip_colour(draw, skin, female),
        lip_fullness=factor(1.08 if female else 0.9, 0.08) * (1.0 if tone < 5 else 1.12),
        mouth_width=factor(0.98 if female else 1.02, 0.03),
        smile=round(float(draw.uniform(0.15, 0.6)), 3),
        teeth=_jitter(draw, (232, 226, 212), 5),
        cheek_tint=round(float(draw.uniform(0.3, 0.8) if female else draw.uniform(0.1, 0.4)), 3),
        age=age,
        beard="none" if female else str(draw.choice(BEARDS, p=(0.35, 0.35, 0.08, 0.22))),
        glasses=bool(draw.random() < 0.2),
        hair=_jitter(draw, hair, 6),
        hair_style=str(pick(HAIR_STYLES[gender])),
        light=round(float(draw.choice((-1, 1)) * draw.uniform(0.35, 0.8)), 3),
        background=_jitter(draw, pick(_BACKGROUNDS), 14),
        clothes=_jitter(draw, pick(_CLOTHES), 10),
        clothes_style=str(pick(CLOTHES)),
    )


def _jitter(draw: np.random.Generator, colour: Rgb, spread: int) -> Rgb:
    common, own = draw.normal(0, spread / 2), draw.normal(0, spread / 3, 3)
    return tuple(int(np.clip(round(value + common + extra), 8, 248)) for value, extra in zip(colour, own, strict=True))


def _lip_colour(draw: np.random.Generator, skin: Rgb, female: bool) -> Rgb:
    """Skin pulled towards rose; more so, and more variously, with lipstick."""
    amount = draw.uniform(0.5, 0.85) if female else draw.uniform(0.3, 0.45)
    rose = np.array((176, 70, 76) if draw.random() < 0.7 else (164, 76, 66)) * (0.55 + 0.45 * skin[0] / 240)
    return tuple(round(float(value)) for value in (1 - amount) * np.array(skin) * 0.93 + amount * rose)
