"""Who is painted: the looks of a person who does not exist. Knows nothing of pixels.

Lengths are factors of the adult averages in `surface.py`; colours are sRGB, 0..255.
"""

from dataclasses import dataclass

import numpy as np

from latentsync.config import SPEAKER_GENDERS
from latentsync.errors import OptionError

Rgb = tuple[int, int, int]
HAIR_STYLES = {"female": ("long", "bob", "updo", "fringe"), "male": ("short", "swept", "crop", "receding", "bald")}
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
GLASSES = ("none", "oval", "round", "rectangular", "cat")
CLOTHES = ("crew", "vneck", "collar")

_SKINS: tuple[Rgb, ...] = (
    (240, 208, 188), (233, 194, 170), (226, 184, 156), (214, 168, 138), (196, 146, 114), (170, 124, 98),
    (142, 101, 79), (113, 80, 64),
)  # fmt: skip
_HAIRS: tuple[Rgb, ...] = (  # from black to fair
    (22, 18, 18), (34, 26, 23), (54, 38, 29), (78, 54, 38), (108, 74, 48), (142, 100, 62), (180, 138, 90),
    (212, 180, 132),
)  # fmt: skip
_RED: Rgb = (136, 62, 34)
_GREY: Rgb = (162, 158, 152)
_IRISES: tuple[Rgb, ...] = (  # from black-brown over hazel and green to blue and grey
    (52, 34, 24), (86, 58, 38), (112, 76, 44), (112, 98, 58), (92, 112, 84), (84, 116, 136), (110, 140, 164),
    (118, 126, 134),
)  # fmt: skip
_LIPSTICKS: tuple[Rgb, ...] = (
    (176, 70, 76), (164, 76, 66), (186, 34, 46), (140, 24, 40), (120, 58, 50), (104, 36, 66), (204, 96, 110),
    (190, 110, 92),
)  # fmt: skip
_TEETH: tuple[Rgb, ...] = ((244, 241, 234), (232, 226, 212), (218, 204, 174))
_FRAMES: tuple[Rgb, ...] = ((30, 30, 32), (84, 54, 36), (150, 148, 146), (176, 146, 92), (120, 34, 40), (44, 60, 96))


@dataclass(frozen=True)
class Identity:
    """Every look of one painted person; `seed` drives the fine texture (pores, strands, bokeh).

    Attributes:
        face_width, jaw_width, chin_length, nose_width, nose_length, eye_size, lip_fullness, mouth_width, brow_weight:
            factors of the average, 1 is average.
        brow_arch, cheek_tint, age, smile: 0..1; age draws folds, smile lifts the corners of the resting mouth.
        chin_width .. neck_width, lid, lid_crease, nose_bridge, cheekbones, upper_lip, cupid, tooth_width: factors as
            well; lid is the height of the open upper lid, upper_lip the share of the upper lip's red, cupid its bow.
        eye_tilt, brow_height, mouth_drop: mm up at the outer corner, up, and down from the average.
        tooth_gap, tooth_unevenness, frame_mm: mm between the two upper teeth in front, of the teeth's edges, and of
            the thickness of the glasses' frame.
        freckles, beard_density, hardness: 0..1; hard light has dark shadows.
        light, light_height: where the key light stands, -1 left .. 1 right of the picture, 0 at the height of the face
            .. 1 far above.
        exposure, contrast, temperature, softness, grain: the camera; stops, a factor, -1 cool .. 1 warm, deviation of
            its blur in mm, and a factor of its noise.
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
    glasses: str = "none"
    hair: Rgb = (74, 50, 36)
    hair_style: str = "long"
    light: float = -0.6
    background: Rgb = (150, 160, 166)
    clothes: Rgb = (52, 74, 104)
    clothes_style: str = "crew"
    chin_width: float = 1.0
    cheekbones: float = 1.0
    neck_width: float = 1.0
    eye_spacing: float = 1.0
    eye_tilt: float = 0.0
    lid: float = 1.0
    lid_crease: float = 1.0
    brow_height: float = 0.0
    nose_bridge: float = 1.0
    mouth_drop: float = 0.0
    upper_lip: float = 1.0
    cupid: float = 1.0
    tooth_width: float = 1.0
    tooth_gap: float = 0.0
    tooth_unevenness: float = 0.0
    freckles: float = 0.2
    beard_density: float = 1.0
    beard_colour: Rgb | None = None
    frame: Rgb = (41, 41, 41)
    frame_mm: float = 1.9
    hair_volume: float = 1.0
    hair_side: int = 1
    light_height: float = 0.52
    hardness: float = 0.5
    exposure: float = 0.0
    contrast: float = 1.0
    temperature: float = 0.0
    softness: float = 0.0
    grain: float = 1.0

    def __post_init__(self) -> None:
        check_choice("gender", self.gender, SPEAKER_GENDERS)
        check_choice("hair_style", self.hair_style, sum(HAIR_STYLES.values(), ()))
        check_choice("beard", self.beard, BEARDS)
        check_choice("glasses", self.glasses, GLASSES)
        check_choice("clothes_style", self.clothes_style, CLOTHES)


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raises OptionError if `value` is none of the known ones."""
    if value not in known:
        raise OptionError(f"{name} {value!r} is unknown; choose one of {', '.join(known)}")


def random_identity(seed: int, gender: str) -> Identity:
    """A person of `gender` under some light before some camera; the same seed gives the same person."""
    check_choice("gender", gender, SPEAKER_GENDERS)
    draw = np.random.default_rng([seed, 7])
    tone = float(draw.uniform(0, len(_SKINS) - 1))
    age = round(float(draw.uniform(0.0, 1.0) ** 1.2), 3)
    skin = _undertone(draw, _between(_SKINS, tone))
    return Identity(
        gender=gender,
        seed=seed,
        skin=skin,
        age=age,
        **_bones(draw, gender, tone),
        **_features(draw, gender, tone),
        **_mouth(draw, gender, tone, skin),
        **_hairs(draw, gender, tone, age),
        **_things(draw),
        **_pictures(draw, skin),
    )


def _factor(draw: np.random.Generator, mean: float, deviation: float) -> float:
    """A normal draw that stays within 2.2 deviations."""
    return round(mean + deviation * float(np.clip(draw.standard_normal(), -2.2, 2.2)), 3)


def _uniform(draw: np.random.Generator, low: float, high: float) -> float:
    return round(float(draw.uniform(low, high)), 3)


def _between(colours: tuple[Rgb, ...], place: float) -> Rgb:
    """The colour at `place`, 0 .. len - 1, between two neighbours."""
    channels = np.array(colours, float).T
    return tuple(round(float(np.interp(place, range(len(colours)), channel))) for channel in channels)


def _mixed(colour: Rgb, other: Rgb, amount: float) -> Rgb:
    return tuple(round((1 - amount) * a + amount * b) for a, b in zip(colour, other, strict=True))


def _undertone(draw: np.random.Generator, skin: Rgb) -> Rgb:
    """Pink to olive, and golden to cool."""
    pink, golden = np.clip(draw.standard_normal(2), -2, 2) * (0.018, 0.022)
    shift = np.array([1 + 0.5 * pink, 1 - pink + 0.3 * golden, 1 - golden])
    return tuple(int(np.clip(round(value), 30, 250)) for value in np.array(skin) * shift)


def _bones(draw: np.random.Generator, gender: str, tone: float) -> dict:
    """Skull, jaw and nose."""
    female = gender == "female"
    return {
        "face_width": _factor(draw, 0.98 if female else 1.02, 0.035),
        "jaw_width": _factor(draw, 0.95 if female else 1.04, 0.05),
        "chin_length": min(_factor(draw, 0.97 if female else 1.01, 0.03), 1.06),
        "chin_width": _factor(draw, 0.95 if female else 1.08, 0.09),
        "cheekbones": _factor(draw, 1.0, 0.4),
        "neck_width": _factor(draw, 1.0 if female else 0.92, 0.05),
        "nose_width": round(
            _factor(draw, 0.92 if female else 1.02, 0.10) * float(np.interp(tone, (3, 6), (1, 1.15))), 3
        ),
        "nose_length": _factor(draw, 1.0, 0.05),
        "nose_bridge": _factor(draw, 1.0, 0.5),
    }


def _features(draw: np.random.Generator, gender: str, tone: float) -> dict:
    """Eyes, brows, cheeks and freckles."""
    female = gender == "female"
    fair = tone < 3.5
    return {
        "eye_size": _factor(draw, 1.03 if female else 0.96, 0.05),
        "eye_spacing": _factor(draw, 1.0, 0.03),
        "eye_tilt": _factor(draw, 0.2, 0.8),
        "lid": _factor(draw, 0.96, 0.07),
        "lid_crease": _uniform(draw, 0.15, 1.15),
        "iris": _jitter(draw, _between(_IRISES, draw.uniform(0, 7 if fair else 2.5)), 8),
        "lashes": _uniform(draw, 0.35, 1.0) if female else _uniform(draw, 0.1, 0.4),
        "brow_weight": _factor(draw, 0.8 if female else 1.2, 0.2),
        "brow_arch": _uniform(draw, 0.2, 1.0) if female else _uniform(draw, 0.0, 0.6),
        "brow_height": _factor(draw, 0.4 if female else -0.4, 1.0),
        "cheek_tint": _uniform(draw, 0.1, 0.9) if female else _uniform(draw, 0.05, 0.5),
        "freckles": _uniform(draw, 0.3, 1.0) if draw.random() < (0.3 if fair else 0.05) else _uniform(draw, 0.0, 0.2),
    }


def _mouth(draw: np.random.Generator, gender: str, tone: float, skin: Rgb) -> dict:
    female = gender == "female"
    gap = draw.random() < 0.12
    fullness = _factor(draw, 1.06 if female else 0.92, 0.16) * float(np.interp(tone, (3, 6), (1, 1.15)))
    return {
        "lips": _lip_colour(draw, skin, female),
        "lip_fullness": round(float(np.clip(fullness, 0.62, 1.42)), 3),
        "upper_lip": _factor(draw, 0.98, 0.10),
        "cupid": _factor(draw, 1.0, 0.45),
        "mouth_width": _factor(draw, 0.98 if female else 1.02, 0.055),
        "mouth_drop": _factor(draw, 0.0, 1.3),
        "smile": _uniform(draw, 0.05, 0.6),
        "teeth": _jitter(draw, _between(_TEETH, draw.uniform(0, 2)), 4),
        "tooth_width": _factor(draw, 1.0, 0.06),
        "tooth_gap": _uniform(draw, 0.5, 1.6) if gap else 0.0,
        "tooth_unevenness": round(abs(_factor(draw, 0.0, 0.22)), 3),
    }


def _hairs(draw: np.random.Generator, gender: str, tone: float, age: float) -> dict:
    """Hair and beard: the darker the skin the darker, greying with age, now and then red, dyed or of the other cut."""
    female = gender == "female"
    place = draw.uniform(0, 1) * float(np.interp(tone, (1.5, 4, 6), (len(_HAIRS) - 1, 3.5, 1.2)))
    if female and draw.random() < 0.08:
        place = draw.uniform(0, len(_HAIRS) - 1)
    colour = _between(_HAIRS, place)
    if tone < 3 and draw.random() < 0.12:
        colour = _mixed(colour, _RED, draw.uniform(0.5, 1.0))
    grey = (
        float(np.clip(draw.normal(2.2 * (age - 0.6), 0.25), 0, 1)) if draw.random() < (0.5 if female else 0.9) else 0.0
    )
    other = HAIR_STYLES["male" if female else "female"][:3]
    styles = HAIR_STYLES[gender] if draw.random() < (0.93 if female else 0.9) else other
    beard = "none" if female else str(draw.choice(BEARDS, p=(0.36, 0.30, 0.09, 0.10, 0.15)))
    hair = _jitter(draw, _mixed(colour, _GREY, grey), 6)
    return {
        "hair": hair,
        "hair_style": str(styles[int(draw.integers(len(styles)))]),
        "hair_volume": _uniform(draw, 0.985, 1.07),
        "hair_side": int(draw.choice((-1, 1))),
        "beard": beard,
        "beard_density": _uniform(draw, 0.25, 1.0),
        "beard_colour": _jitter(draw, _mixed(hair, _GREY, draw.uniform(0, 0.5) * (age > 0.6)), 5),
    }


def _things(draw: np.random.Generator) -> dict:
    """Glasses and clothes."""
    glasses = GLASSES[int(draw.integers(1, len(GLASSES)))] if draw.random() < 0.22 else "none"
    return {
        "glasses": glasses,
        "frame": _jitter(draw, _FRAMES[int(draw.choice(len(_FRAMES), p=(0.4, 0.2, 0.14, 0.1, 0.08, 0.08)))], 8),
        "frame_mm": _uniform(draw, 0.9, 2.4),
        "clothes": _any_colour(draw, 0.06, 0.9),
        "clothes_style": str(CLOTHES[int(draw.integers(len(CLOTHES)))]),
    }


def _pictures(draw: np.random.Generator, skin: Rgb) -> dict:
    """Light, background and camera. A camera exposes dark skin a little longer."""
    return {
        "light": _uniform(draw, -1.0, 1.0),
        "light_height": _uniform(draw, 0.08, 1.05),
        "hardness": round(float(draw.beta(2.2, 2.6)), 3),
        "background": _any_colour(draw, 0.05, 0.95),
        "exposure": round(_factor(draw, 0.05, 0.22) + 0.35 * (1 - skin[0] / 240), 3),
        "contrast": _factor(draw, 1.0, 0.07),
        "temperature": _factor(draw, 0.0, 0.4),
        "softness": round(max(0.0, _factor(draw, 0.22, 0.2)), 3),
        "grain": _uniform(draw, 0.1, 2.2),
    }


def _any_colour(draw: np.random.Generator, dark: float, bright: float) -> Rgb:
    """Any hue, seldom a loud one; brightness from `dark` to `bright` (1 is white)."""
    hue, saturation = draw.uniform(0, 2 * np.pi), 0.55 * draw.beta(1.2, 2.6)
    value = draw.uniform(dark, bright)
    wheel = 1 + saturation * np.cos(hue - np.array([0, 2, 4]) * np.pi / 3)
    return tuple(int(np.clip(round(255 * value * channel), 6, 250)) for channel in wheel)


def _jitter(draw: np.random.Generator, colour: Rgb, spread: int) -> Rgb:
    common, own = draw.normal(0, spread / 2), draw.normal(0, spread / 3, 3)
    return tuple(int(np.clip(round(value + common + extra), 8, 248)) for value, extra in zip(colour, own, strict=True))


def _lip_colour(draw: np.random.Generator, skin: Rgb, female: bool) -> Rgb:
    """Skin pulled towards rose; or lipstick, from pale to deep red, brown and plum."""
    lit = 0.55 + 0.45 * skin[0] / 240
    if female and draw.random() < 0.5:
        amount, goal = draw.uniform(0.5, 0.95), _LIPSTICKS[int(draw.integers(len(_LIPSTICKS)))]
    else:
        amount, goal = draw.uniform(0.12, 0.5), _LIPSTICKS[int(draw.integers(2))]
    goal = np.array(_jitter(draw, goal, 10)) * lit
    return tuple(round(float(value)) for value in (1 - amount) * np.array(skin) * 0.90 + amount * goal)
